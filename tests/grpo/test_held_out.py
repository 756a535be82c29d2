"""The held-out score: what is better, what is kept, when a stage ends, and what a resumed run decides."""
from dataclasses import asdict, replace

import pytest
import torch

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.grpo.held_out import Answer, Check, HeldOut, is_better, mean_score
from tagpr_lite.grpo.rewards import terms
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.runs import append_jsonl, read_jsonl, read_metrics
from tagpr_lite.tags.teaching import Teaching


def check_of(scores, index=0):
    """A check with these scores: {task: [scores]}, each question of a user of its own."""
    return Check(index, [Answer(f"{task}-{n}", task, f"{task}-{n}", "", 5, 0.5, score, 1.0, 0.5)
                         for task, of_task in scores.items() for n, score in enumerate(of_task)])


def test_the_score_is_the_mean_over_tasks():
    assert mean_score(check_of({"a": [1.0, 0.0], "b": [0.25] * 6})) == pytest.approx(0.375)


@pytest.mark.parametrize("new, better", [
    ([0.5, 0.5, 0.5, 0.5], False),  # a tie
    ([0.6, 0.6, 0.6, 0.6], True),  # small and of everybody
    ([0.4, 0.4, 0.4, 0.4], False),
    ([1.0, 0.0, 0.9, 0.3], False),  # the mean is 0.05 higher, its standard error about 0.24
    ([1.0, 0.9, 0.5, 0.6], True)])
def test_what_lies_within_its_noise_is_no_better(new, better):
    assert is_better(check_of({"a": new}), check_of({"a": [0.5] * 4})) is better


@pytest.mark.parametrize("tags, better", [
    ([0.5] * 4, True), ([0.9] * 4, True),
    ([0.4] * 4, False),  # all chains lost
    ([0.5, 0.5, 0.5, 0.3], True),  # one chain: within its noise
    ([0.1, 0.5, 0.2, 0.1], False)])
def test_a_score_that_costs_the_reasoning_is_no_better(tags, better):
    new = check_of({"a": [0.6] * 4})
    for n, tag in enumerate(tags):
        new.answers[n] = replace(new.answers[n], tag=tag)
    assert is_better(new, check_of({"a": [0.5] * 4})) is better


@pytest.fixture
def conf(tmp_path):
    return config.load("smoke", [f"results={tmp_path}", "name=r", "grpo.completion=24", "grpo.patience=2"])


def held_out(conf, folder, questions=()):
    return HeldOut(conf, folder, "guided", list(questions), Teaching())


class Scripted(HeldOut):
    """Checks whose scores are given: one list of scores of one task for each."""
    def answer(self, model, tokenizer):
        return check_of({"LaMP_3": self.script.pop(0)}).answers

    def summary(self, check):
        return {"score": mean_score(check)}


def scripted(conf, folder, script):
    made = Scripted(conf, folder, "guided", [None], Teaching())
    made.script = script
    return made


SCRIPT = [[0.5] * 4, [0.7] * 4, [0.7] * 4, [0.2] * 4]


def run_checks(made, params, indices):
    for index in indices:
        with torch.no_grad():
            params["w"].fill_(index)
        made.check(None, None, params, index)


def test_the_best_parameters_are_kept_and_a_stage_without_progress_is_stalled(conf, tmp_path):
    params = {"w": torch.nn.Parameter(torch.zeros(2))}
    made = scripted(conf, tmp_path, list(SCRIPT))
    stalled = []
    for index in range(4):
        run_checks(made, params, [index])
        stalled.append(made.is_stalled)
    assert made.best.index == 1 and made.params["w"].tolist() == [1.0, 1.0]
    assert stalled == [False, False, False, True]
    assert [line["best"] for line in read_metrics(tmp_path, "guided_check")] == [True, True, False, False]
    made.config.grpo.patience = 0
    assert not made.is_stalled


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_resumed_run_decides_as_the_whole_one(conf, tmp_path, done):
    params = {"w": torch.nn.Parameter(torch.zeros(2))}
    made = scripted(conf, tmp_path, list(SCRIPT))
    best_of = {}
    for index in range(4):
        run_checks(made, params, [index])
        best_of[index] = {name: tensor.clone() for name, tensor in made.params.items()}
    whole = (tmp_path / "guided" / "checks.jsonl").read_bytes()

    again = scripted(conf, tmp_path, SCRIPT[done + 1:])
    again.resume(done, best_of[done])
    run_checks(again, params, range(done + 1, 4))
    assert again.best == made.best and again.since_best == made.since_best
    assert torch.equal(again.params["w"], made.params["w"])
    assert (tmp_path / "guided" / "checks.jsonl").read_bytes() == whole


def test_a_run_without_a_saved_state_begins_anew(conf, tmp_path):
    append_jsonl(tmp_path / "guided" / "checks.jsonl", [asdict(check_of({"a": [0.9]}, index=0))])
    made = held_out(conf, tmp_path)
    made.resume(0, {})
    assert made.best is None and read_jsonl(made.file) == []


def test_a_damaged_file_of_checks_is_one_line(conf, tmp_path):
    append_jsonl(tmp_path / "guided" / "checks.jsonl", [{"index": 2}])
    with pytest.raises(UserError, match="checks.jsonl"):
        held_out(conf, tmp_path).resume(4, {})


def test_checks_are_due_at_the_beginning_every_so_often_and_at_the_end(conf, tmp_path):
    conf.grpo.check_every = 3
    made = held_out(conf, tmp_path, questions=[None])
    assert [index for index in range(9) if made.is_due(index, 8)] == [0, 3, 6, 8]
    conf.grpo.check_every = 0
    assert not any(made.is_due(index, 8) for index in range(9))
    conf.grpo.check_every = 3
    assert not held_out(conf, tmp_path).is_due(0, 8)  # nobody was held out


def test_answers_are_greedy_and_scored_as_rewards_are(conf, tmp_path):
    questions = [replace(q, retrieved=retrieve(q, "bm25", 2, 0))
                 for q in mini.build(0, 4, ["LaMP_3"])["LaMP_3"]["train"][:3]]
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, "policy")
    params = engine.adapter_parameters(model, "policy")
    made = held_out(conf, tmp_path, questions)
    made.check(model, tokenizer, params, 0)
    one_by_one = [held_out(conf, tmp_path, [q]).answer(model, tokenizer)[0] for q in questions]
    # Whatever is answered together; an entropy is the same up to rounding.
    for answer, alone in zip(made.best.answers, one_by_one, strict=True):
        assert replace(answer, entropy=None) == replace(alone, entropy=None)
        assert answer.entropy == pytest.approx(alone.entropy, abs=1e-4) and answer.entropy > 0
    for answer, question in zip(made.best.answers, questions, strict=True):
        found = terms(answer.text, False, question, Teaching())
        assert answer.score == found.task and answer.user == question.user and answer.tokens == 24
    (line,) = read_metrics(tmp_path, "guided_check")
    assert line["score"] == pytest.approx(mean_score(made.best), abs=1e-5) and line["best"]
    assert line["reasoning"]["all"]["completions"] == 3
    assert made.params.keys() == params.keys() and all(torch.equal(made.params[n], params[n]) for n in params)
