"""Several cards on paper: one card is the plan's own, more never hold more, and the parts add up."""
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import Model, UserError, load
from tagpr_lite.engine import adapters
from tagpr_lite.engine import model as engine
from tagpr_lite.plan.__main__ import longest_load
from tagpr_lite.plan.advice import rows_of
from tagpr_lite.plan.cards import card_counts, cost_of, table
from tagpr_lite.plan.formulas import prmu_parameters
from tagpr_lite.plan.many_cards import (
    ALL_REDUCE,
    IDLE,
    PARTS,
    SMALL,
    UNDIVIDED,
    Line,
    Machine,
    all_reduce_seconds,
    all_reduces,
    cases_of_a_batch,
    dealt_out,
    line_of,
    loading_seconds,
    name_of,
    phases_of_a_card,
    share_of_time_at_work,
)
from tagpr_lite.plan.shapes import SHAPES, Shape, shape_of
from tagpr_lite.plan.times import stated_rates
from tagpr_lite.plan.whole import phases_of

ROOT = Path(__file__).parents[2]
FOUR_B = SHAPES["qwen3-4b"]
SMALL_SHAPE = Shape("small", "qwen3", 256, 768, 2, 4, 2, 64, 4096, True)
MACHINE = Machine(stated_rates("4090"), link=10e9, disk=1e9, without_model=600)


def line(cards, *words, shape=FOUR_B, machine=MACHINE):
    config = load("gpu", list(words))
    return line_of(shape, config, longest_load(config), cards, machine)


@pytest.mark.parametrize("words", [(), ("grpo.prompts=3", "sft.batch=5"), ("lamp.retriever=dense",),
                                   ("evaluate.systems=[explore@vote8,explore@prmu8]",)])
def test_one_card_takes_what_the_plan_says_and_holds_as_much(words):
    config = load("gpu", list(words))
    asked = longest_load(config)
    phases = phases_of(FOUR_B, config, asked)
    alone = line(1, *words)
    planned = sum(row["seconds"] for row in rows_of(phases, MACHINE.rates))
    beside = loading_seconds(FOUR_B, phases, MACHINE.disk) + MACHINE.without_model
    assert alone.seconds == pytest.approx(planned + beside, rel=1e-4)  # the rows are rounded to 0.1 s
    assert alone.peak == max(phase.peak for phase in phases)
    assert alone.parts[ALL_REDUCE] == 0 and abs(alone.parts[IDLE]) + abs(alone.parts[SMALL]) < 1e-6


COUNTS = st.integers(1, 20)


@settings(max_examples=40, deadline=None)
@given(prompts=COUNTS, batch=COUNTS, pairs=COUNTS, dev=st.integers(1, 400), val=st.integers(0, 50),
       cards=COUNTS)
def test_more_cards_never_hold_more_and_take_longer_by_their_communication_at_most(prompts, batch, pairs, dev,
                                                                                   val, cards):
    config = load("gpu", [f"grpo.prompts={prompts}", f"sft.batch={batch}", f"reward.batch={pairs}"])
    asked = replace(longest_load(config), dev=dev, val=val)
    before, after = (line_of(SMALL_SHAPE, config, asked, count, MACHINE) for count in (cards, cards + 1))
    assert after.peak <= before.peak
    without = [one.seconds - one.parts[ALL_REDUCE] for one in (before, after)]
    assert without[1] <= without[0] * (1 + 1e-9)
    for one in (before, after):
        assert one.seconds == pytest.approx(sum(one.parts.values())) and list(one.parts) == list(PARTS)
        assert all(took >= -1e-6 for took in one.parts.values()), one
        assert one.parts[one.bottleneck.partition(":")[0]] == max(one.parts.values())


@pytest.mark.parametrize("count, cards, busy", [(8, 1, 1), (8, 8, 1), (4, 8, 1 / 2), (8, 3, 8 / 9),
                                                (1, 8, 1 / 8), (0, 8, 1)])
def test_the_slowest_card_decides(count, cards, busy):
    assert share_of_time_at_work(count, cards) == pytest.approx(busy)


def test_cards_beyond_the_questions_of_a_step_are_idle():
    """With 4 questions, rows and cases a step, 8 cards do as much as 4, and half of their time is idle."""
    config = load("gpu", ["grpo.prompts=4", "sft.batch=4", "reward.batch=8"])
    asked = replace(longest_load(config), dev=4, val=4)
    four, eight = ([phase for phase in phases_of_a_card(FOUR_B, config, asked, cards)
                    if name_of(phase) != ("reward", "PRMU's scores")] for cards in (4, 8))  # many cases
    assert four == eight
    found = line_of(FOUR_B, config, asked, 8, MACHINE)
    divided = found.seconds - found.parts[ALL_REDUCE] - found.parts[UNDIVIDED]
    assert divided * 0.49 < found.parts[IDLE] < divided / 2
    assert line_of(FOUR_B, config, asked, 4, MACHINE).parts[IDLE] < divided / 1000


def test_what_is_dealt_out_is_there_and_the_rest_is_done_by_one_card():
    config = load("gpu", ["lamp.retriever=dense", "evaluate.systems=[sft,explore@vote8,explore@prmu8]"])
    asked = longest_load(config)
    phases = phases_of(FOUR_B, config, asked)
    names, counts = {name_of(phase) for phase in phases}, dealt_out(config, asked)
    assert counts.keys() - names == {("explore", "PRMU's scores")}  # stage 2 is without PRMU
    undivided = {("prepare", "embeddings of texts"), ("reward", "embeddings of texts"),
                 ("reward", "rollouts")}
    assert names - counts.keys() == undivided
    of_a_card = phases_of_a_card(FOUR_B, config, asked, 8)
    for whole, part in zip(phases, of_a_card, strict=True):
        if name_of(whole) in undivided:
            assert part == whole
        else:
            assert part.work.flops == pytest.approx(whole.work.flops / 8, rel=0.1) or "PRMU's tr" in part.what


def test_a_card_reads_the_weights_as_often_for_fewer_prompts_decoded_together():
    config = load("gpu", [])  # 8 prompts a step, all decoded together
    asked = longest_load(config)
    works = [next(phase.work for phase in phases_of_a_card(FOUR_B, config, asked, cards)
                  if name_of(phase) == ("explore", "rollouts")) for cards in (1, 8)]
    assert works[1].flops == pytest.approx(works[0].flops / 8)
    assert works[1].calls > 0.9 * works[0].calls * (1 + 1 / 512) / (1 + 8 / 512)
    assert works[1].bytes > 0.6 * works[0].bytes
    assert line(8).peak < line(1).peak
    # As many forwards of SFT: eight rows together, or one on each card.
    sft = [next(phase.work for phase in phases_of_a_card(FOUR_B, config, asked, cards) if phase.step == "sft")
           for cards in (1, 8)]
    assert sft[1].calls == sft[0].calls and sft[1].flops == pytest.approx(sft[0].flops / 8)


# ---------------------------------------------------------------- the all-reduce

def test_the_bytes_of_an_all_reduce_are_those_of_a_real_adapters_gradients():
    settings_of_model = Model(name="tiny", lora_r=4)
    model = adapters.add_adapter(engine.load(settings_of_model)[0], settings_of_model, "policy")
    gradients = [p for p in adapters.adapter_parameters(model, "policy").values() if p.requires_grad]
    engine_bytes = sum(p.element_size() * p.numel() for p in gradients)
    config = load("smoke", ["model.lora_r=4"])
    shape = shape_of(engine.find(settings_of_model))
    (_, sft), (_, prmu), (steps, grpo) = all_reduces(shape, config, longest_load(config))
    assert sft == grpo == engine_bytes > 0 and steps == config.grpo.guided_steps + config.grpo.explore_steps
    assert prmu == engine_bytes + 4 * prmu_parameters(shape, config.reward)[0]


def test_a_ring_sends_the_gradients_almost_twice():
    assert all_reduce_seconds(1000, 1, 10) == 0
    assert all_reduce_seconds(1000, 2, 10) == 100
    assert all_reduce_seconds(1000, 8, 10) == 175
    config = load("gpu", ["sft.batch=7", "sft.epochs=2", "tag.most=70", "reward.pairs=100", "reward.batch=9"])
    steps = [count for count, _ in all_reduces(FOUR_B, config, longest_load(config))]
    assert steps == [20, 50 / 4, 400] and cases_of_a_batch(config) == 4
    slow, fast = (line(4, machine=replace(MACHINE, link=rate)).parts[ALL_REDUCE] for rate in (1e9, 10e9))
    assert slow == pytest.approx(10 * fast) and fast > 0


# ---------------------------------------------------------------- the command

def test_the_table_says_hours_cost_and_the_largest_part():
    parts = dict(zip(PARTS, (3600.0, 1800.0, 9000.0, 3600.0, 0.0, 0.0)))
    one = Line("m", 4, 3 * 2**30, parts, {SMALL: "reading"})
    assert one.bottleneck == "small batches: reading" and cost_of(one, 1.5) == 30
    assert replace(one, most_of={}).bottleneck == "small batches"
    row = table([one], 1.5)[2]
    assert row == "| m | 4 | 3.0 | 5.0 | 30 | 20 | 10 | 50 | 20 | 0 | 0 | small batches: reading |"


@pytest.mark.parametrize("words", ["", "0", "1,,2", "two", "5000", "1,-2"])
def test_numbers_of_cards_that_are_none_are_refused(words):
    with pytest.raises(UserError, match="numbers of cards"):
        card_counts(words)


def run(*args):
    command = [sys.executable, "-m", "tagpr_lite.plan.cards", *args]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_speaks_json_and_needs_no_torch():
    told = json.loads(run("--models", "Qwen3-4B", "--cards", "2,4", "--json", "--price", "3").stdout)
    assert [(one["model"], one["cards"]) for one in told] == [("Qwen3-4B", 2), ("Qwen3-4B", 4)]
    expected = line(4)
    assert told[1]["seconds"] == pytest.approx(expected.seconds, abs=0.1) and told[1]["peak"] == expected.peak
    assert told[1]["cost"] == pytest.approx(3 * 4 * expected.seconds / 3600, abs=0.01)
    code = "import sys, tagpr_lite.plan.cards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("args, says", [(("--models", "gpt5"), "not known"), (("--on", "abacus"), "abacus"),
                                        (("--cards", "x"), "--cards x"), (("--link", "0"), "--link 0"),
                                        (("--price", "nan"), "--price nan"),
                                        (("grpo.group=1",), "grpo.group")])
def test_the_command_refuses_in_one_line(args, says):
    done = run(*args)
    errors = done.stderr.splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0]


def test_the_tables_that_are_shown_are_those_that_are_printed():
    page = (ROOT / "results" / "reference" / "plan" / "cards.md").read_text()
    commands = re.findall(r"^python -m tagpr_lite\.plan\.cards(.*)$", page, re.M)
    assert commands == ["", " --on H100"]
    for words in commands:
        printed = run(*words.split()).stdout
        assert f"python -m tagpr_lite.plan.cards{words}\n```\n\n{printed}" in page and len(printed) > 1000


def test_the_summary_of_the_results_is_the_table():
    """A row of results/README.md gathers a model's four rows of the whole table."""
    page = (ROOT / "results" / "reference" / "plan" / "cards.md").read_text().partition("--on H100")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")]
            for row in re.findall(r"^\| Qwen3.*", page, re.M)]
    summary = (ROOT / "results" / "README.md").read_text()
    for model in dict.fromkeys(row[0] for row in rows):
        of_model = [row for row in rows if row[0] == model]
        assert [row[1] for row in of_model] == ["1", "2", "4", "8"]
        hours, costs = (" / ".join(row[place] for row in of_model) for place in (3, 4))
        first, last = of_model[0], of_model[-1]
        assert (f"| {model} | {first[2]} / {last[2]} | {hours} | {costs} | {first[-1]} | {last[-1]} |"
                in summary)
