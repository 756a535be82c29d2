"""The plan of a whole run: every step within the budget, refusals that follow their own advice, and the
table."""
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from tagpr_lite.config import LAYOUTS, UserError, load
from tagpr_lite.plan import run_plan
from tagpr_lite.plan.__main__ import longest_load
from tagpr_lite.plan.advice import refusal, rows_of
from tagpr_lite.plan.choice import reserve
from tagpr_lite.plan.layers import GIB
from tagpr_lite.plan.run_plan import RunPlan, read_plan, write_plan
from tagpr_lite.plan.shapes import SHAPES, Shape, shape_of
from tagpr_lite.plan.times import CARD_CALL, Rates, Work, seconds, stated_rates
from tagpr_lite.plan.whole import Load, phases_of, plan_run, with_settings
from tagpr_lite.runs import write_json
from tagpr_lite.steps import STEPS

SMALL = Shape("small", "qwen3", 256, 768, 2, 4, 2, 64, 4096, True)
FOUR_B = SHAPES["qwen3-4b"]


def planned(shape, gib, *words, preset="gpu"):
    config = load(preset, list(words))
    return plan_run(shape, config, longest_load(config), gib * GIB)


@pytest.mark.parametrize("preset", ["gpu", "paper"])
@pytest.mark.parametrize("gib, name", [(8, "qwen3-4b"), (12, "qwen3-8b"), (16, "qwen3-8b"), (24, "qwen3-8b")])
def test_every_step_of_a_preset_fits_into_its_card(preset, gib, name):
    plan = planned(SHAPES[name], gib, preset=preset)
    assert plan.fits
    assert {phase.step for phase in plan.phases} == {"sft", "reward", "guided", "explore", "evaluate"}
    for phase in plan.phases:
        assert phase.peak + reserve(gib * GIB) <= gib * GIB, phase
    order = [phase.step for phase in plan.phases]
    assert order == sorted(order, key=list(STEPS).index)


def test_less_memory_means_fewer_at_a_time_and_none_more():
    sizes = [[planned(SHAPES["qwen3-8b"], gib).decided[key] for key in ("sft.micro", "evaluate.batch")]
             for gib in (12, 16, 24)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    # twice as many would not have fitted
    config = load("gpu", [])
    plan = planned(FOUR_B, 8)
    doubled = with_settings(config, {**plan.decided, "sft.micro": 2 * plan.decided["sft.micro"]})
    sft = [p for p in phases_of(FOUR_B, doubled, longest_load(config)) if p.step == "sft"][0]
    assert sft.peak + plan.reserve > plan.budget


def test_without_a_budget_the_settings_stand():
    config = load("gpu", ["sft.micro=3", "grpo.layout=packed"])
    plan = plan_run(FOUR_B, config, longest_load(config), 0)
    assert plan.fits and plan.decided == {} and plan.reserve == 0
    words = {phase.step + " " + phase.what: phase.at_once for phase in plan.phases}
    assert words["sft training"] == "3 sequences" and words["guided updates"].endswith("packed")


def test_what_is_decided_never_exceeds_what_was_asked_for():
    plan = planned(SMALL, 24, "sft.batch=3", "evaluate.batch=5", "grpo.group=6", "reward.micro=2")
    decided = plan.decided
    assert decided["sft.micro"] <= 3 and decided["evaluate.batch"] <= 5
    assert decided["reward.micro"] <= 2 and decided["grpo.micro"] <= 6
    assert decided["grpo.decode_rows"] % 6 == 0


@pytest.mark.parametrize("name, gib, words", [
    ("qwen3-8b", 8, ()), ("qwen3-8b", 9.5, ("prompt.max_tokens=4096",)),
    ("qwen3-4b", 4.5, ("grpo.completion=1024",)), ("qwen3-0.6b", 2.2, ())])
def test_a_refusal_gives_advice_that_works(name, gib, words):
    config = load("gpu", list(words))
    asked = longest_load(config)
    plan = plan_run(SHAPES[name], config, asked, gib * GIB)
    assert not plan.fits
    says = refusal(SHAPES[name], config, asked, gib * GIB)
    assert "\n" not in says
    assert f"in step {plan.tightest.step}" in says and f"{plan.reserve / GIB:.2f}" in says
    advice = says.partition("What would fit: ")[2]
    enough = float(re.search(r"a budget of ([\d.]+) GiB", advice)[1])
    assert plan_run(SHAPES[name], config, asked, enough * GIB).fits
    assert not plan_run(SHAPES[name], config, asked, (enough - 1) * GIB).fits
    for word in re.findall(r"[a-z_.]+=\d+", advice):
        changed = load("gpu", [*words, word])
        assert plan_run(SHAPES[name], changed, longest_load(changed), gib * GIB).fits, word
    if smaller := re.search(r"Qwen[\d.]+-[\d.]+B", advice):
        assert plan_run(shape_of(smaller[0]), config, asked, gib * GIB).fits


def test_the_longest_question_decides_not_the_longest_allowed():
    config = load("gpu", [])
    short = Load(prompt=300, mean_prompt=250, question=120, train=100, dev=50)
    micro = plan_run(FOUR_B, config, short, 8 * GIB).decided["sft.micro"]
    assert micro > planned(FOUR_B, 8).decided["sft.micro"]
    assert plan_run(FOUR_B, config, short, 0).peak < planned(FOUR_B, 0).peak


# ---------------------------------------------------------------- times

def test_time_is_work_over_rates():
    rates = Rates(flops=1e12, bytes=1e9, call=1e-6, source="measured")
    work = Work(flops=6e11, bytes=8e8, calls=1000)
    assert seconds(work, rates) == pytest.approx(1 + 1 + 0.001)
    assert seconds(work + work, rates) == pytest.approx(2 * seconds(work, rates))
    assert seconds(work * 3, rates) == pytest.approx(3 * seconds(work, rates))


@pytest.mark.parametrize("name", ["4090", "RTX 4090", "NVIDIA GeForce RTX 4090", "rtx 4090"])
def test_a_card_is_known_by_any_of_its_names(name):
    assert stated_rates(name) == Rates(165e12, 1008e9, CARD_CALL, "RTX 4090")


def test_an_unknown_card_is_refused():
    with pytest.raises(UserError, match="'5'.*known: RTX 3090"):
        stated_rates("5")


def test_more_steps_take_longer_and_a_faster_card_is_faster():
    config = load("gpu", [])
    asked = longest_load(config)

    def hours(config, card):
        return sum(row["seconds"] for row in rows_of(phases_of(FOUR_B, config, asked), stated_rates(card)))

    longer = with_settings(config, {"grpo.guided_steps": 400})
    assert hours(longer, "4090") > hours(config, "4090") > hours(config, "H100") > 0
    group = config.grpo.group
    half, whole = (with_settings(config, {"grpo.trained": trained}) for trained in (group // 2, group))
    assert hours(half, "4090") < hours(config, "4090") == hours(whole, "4090")


# ---------------------------------------------------------------- the table of a run

def test_the_table_has_no_empty_column_and_its_columns_line_up():
    rows = rows_of(planned(FOUR_B, 8).phases, stated_rates("4090"))
    lines = run_plan.table_lines(rows)
    assert len(lines) == len(rows) + 2 and lines[-1].startswith("all")
    assert len({len(line) for line in lines}) == 1
    without = run_plan.table_lines([row | {"held": None, "peak": None, "seconds": None} for row in rows])
    assert "GiB" not in without[0] and "about" not in without[0]


def run(*args):
    return subprocess.run([sys.executable, "-m", "tagpr_lite.plan", *args], capture_output=True, text=True)


def test_the_command_prints_the_run_and_needs_no_torch():
    done = run("--model", "Qwen3-8B", "--vram", "12", "--on", "4090", "--layouts")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("all")][0].endswith(" h")
    assert any(line.startswith("decided: grpo.layout=") for line in lines)
    assert sum(line.startswith(LAYOUTS) for line in lines) == len(LAYOUTS)
    code = "import sys, tagpr_lite.plan.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_command_speaks_json_and_takes_settings():
    done = run("--model", "Qwen3-1.7B", "--vram", "6", "--json", "sft.batch=2", "--prompt", "512")
    told = json.loads(done.stdout)
    assert told["load"]["prompt"] == 512 and told["decided"]["sft.micro"] == 2 and told["fits"]
    assert max(row["peak"] for row in told["rows"]) + told["reserve"] <= told["budget"] == 6 * GIB


@pytest.mark.parametrize("args, says", [
    (("--model", "Qwen3-8B", "--vram", "6"), "What would fit"), (("--model", "gpt5"), "not known"),
    (("--group", "1"), "grpo.group"), (("--vram", "nan"), "--vram nan"), (("--on", "abacus"), "abacus"),
    (("sft.micor=1",), "sft.micor")])
def test_the_command_refuses_in_one_line(args, says):
    done = run(*args)
    errors = done.stderr.splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0]


def test_a_plan_is_followed_where_it_decided_and_nowhere_else():
    config = load("gpu", ["grpo.micro=1", "sft.lr=3e-4"])
    plan = run_plan.RunPlan("tiny", "abc", 4, "cpu", "float32", 2, decided={"grpo.micro": 4, "sft.micro": 2})
    followed = run_plan.follow(config, plan)
    assert (followed.grpo.micro, followed.sft.micro, followed.model.name) == (4, 2, "tiny")
    assert replace(followed, grpo=config.grpo, sft=config.sft, model=config.model) == config
    assert config.grpo.micro == 1 and followed.sft.lr == config.sft.lr


@pytest.mark.parametrize("change", [{"model": 5}, {"model": None}, {"decided": [1]}, {"load": []},
                                    {"load": {"prompt": "x"}}, {"bits": "4"}, {"replaced": 0}])
def test_a_plan_of_other_types_is_one_line(tmp_path, change):
    plan = RunPlan("tiny", "abc", 4, "cpu", "float32", 1, load={"prompt": 7})
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    write_json(tmp_path / "plan.json", asdict(plan) | change)
    with pytest.raises(UserError, match="plan.json"):
        read_plan(tmp_path)
