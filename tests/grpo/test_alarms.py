"""Every alarm: raised by what it is for, silent otherwise, said once."""
import pytest

from tagpr_lite.config import GRPO
from tagpr_lite.grpo.alarms import ALARMS, Alarms, Seen
from tagpr_lite.grpo.groups import Stage
from tagpr_lite.runs import log_metrics, read_metrics

HEALTHY = {"reward": 0.5, "clipped": 0.05, "zero_variance": 0.2, "format": 0.9, "entropy": 0.6, "kl": 0.01,
           "agreement": 0.3, "spread": {"task": 0.2, "tag": 0.1, "prmu": 0.1}}
STATE = {"form": 0.9, "claims": 8.0, "steps": 3.0}


def check(score=0.6, error=0.03, **state):
    return {"score": score, "error": error, "reasoning": {"all": STATE | state}}


def steps(count=6, **changed):
    """Lines of healthy steps; a list of a number of values sets the last ones."""
    lines = [dict(HEALTHY) for _ in range(count)]
    for key, values in changed.items():
        for line, value in zip(lines[-len(values):], values, strict=True):
            line[key] = value
    return lines


def raised(lines, checks=(), before=None):
    stage = Stage("guided", 20, 1.0, 0.2, 0.2)
    seen = Seen(GRPO(), stage, lines, list(checks), before)
    return {name for name, alarm in ALARMS.items() if alarm.find(seen) is not None}


def test_a_healthy_run_raises_none():
    rising = steps(reward=[0.4, 0.45, 0.5, 0.55, 0.6, 0.65])
    assert raised(rising, [check(0.6), check(0.64), check(0.63)], check(0.6)) == set()


@pytest.mark.parametrize("name, lines", [
    ("cut_off", steps(clipped=[0.35, 0.35, 0.35])),
    ("equal_groups", steps(zero_variance=[0.7, 0.6, 0.7])),
    ("low_format", steps(format=[0.4, 0.9, 0.9, 0.9, 0.9, 0.9])),
    ("entropy_collapse", steps(entropy=[0.29])),
    ("far_from_reference", steps(kl=[0.6, 0.6, 0.6])),
    ("sampler_differs", steps(importance=[{"difference": 0.5, "truncated": 0.2}, {"difference": 0.2,
                                                                                  "truncated": 0.1}])),
    ("prmu_against_task", steps(agreement=[-0.1, None, -0.3, 0.1])),
    ("constant_term", steps(spread=[{"task": 0.2, "tag": 0.0, "prmu": 0.1}] * 4))])
def test_what_a_step_shows(name, lines):
    assert raised(lines) == {name}


def test_chains_that_are_longer_than_a_completion_may_be():
    def found(lengths):
        stage = Stage("guided", 20, 1.0, taught_lengths=lengths)
        return ALARMS["no_room"].find(Seen(GRPO(completion=112), stage, steps(), [], None))

    assert "2% " not in found([90] * 60 + [128, 135]) and "135" in found([90] * 60 + [128, 135])
    assert found([90] * 99 + [113]) is None and found([]) is None and found([112] * 9) is None


def test_one_odd_step_is_no_trend():
    assert raised(steps(clipped=[0.35], zero_variance=[1.0], kl=[0.9], agreement=[-0.2],
                        spread=[{"task": 0.2, "tag": 0.0, "prmu": 0.1}])) == set()


def test_a_term_without_weight_may_be_constant():
    flat = steps(spread=[{"task": 0.2, "tag": 0.0, "prmu": 0.0}] * 6)
    explore = Seen(GRPO(), Stage("explore", 20, 1.0), flat, [], None)
    assert ALARMS["constant_term"].find(explore) is None
    assert raised(flat) == {"constant_term"}


def test_a_score_that_falls_says_whether_the_reward_rose():
    rising = steps(reward=[0.4, 0.4, 0.5, 0.6, 0.7, 0.7])
    fallen = [check(0.6), check(0.53)]
    found = ALARMS["score_falls"].find(Seen(GRPO(), Stage("guided", 20, 1.0), rising, fallen, fallen[0]))
    assert "0.600 to 0.530" in found and "farms" in found
    found = ALARMS["score_falls"].find(Seen(GRPO(), Stage("guided", 20, 1.0), steps(), fallen, fallen[0]))
    assert "farms" not in found
    assert raised(rising, [check(0.6), check(0.55)]) == set()  # within two standard errors


@pytest.mark.parametrize("left, is_raised", [({"form": 0.5}, True), ({"claims": 5.0}, True),
                                             ({"steps": 2.0}, True), ({"form": 0.7, "claims": 6.0}, False)])
def test_reasoning_that_evaporates(left, is_raised):
    got = raised(steps(), [check(), check(0.7, **left)], check())
    assert got == ({"reasoning_evaporates"} if is_raised else set())


def test_stage_2_is_compared_with_sft_not_with_its_own_beginning():
    hollow = check(0.7, claims=1.0)
    assert raised(steps(), [hollow, hollow], check()) == {"reasoning_evaporates"}


def test_an_alarm_is_said_once_and_written_down(tmp_path):
    said = []
    stage = Stage("guided", 9, 1.0, 0.2)
    for index in range(3):
        log_metrics(tmp_path, "guided", index=index, **HEALTHY | {"clipped": 0.9})
        Alarms(GRPO(), tmp_path, stage, said.append).look(index + 1)  # as after a restart each time
    assert len(said) == 1 and "90%" in said[0] and "grpo.completion" in said[0]
    (line,) = read_metrics(tmp_path, "guided_alarm")
    assert line["name"] == "cut_off" and line["index"] == 1 and line["text"] in said[0]


def test_every_advice_names_a_setting_or_a_file():
    assert all("grpo." in alarm.advice or "sft." in alarm.advice or "rollouts.jsonl" in alarm.advice
               for alarm in ALARMS.values())
