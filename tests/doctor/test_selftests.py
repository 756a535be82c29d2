"""The parts on the CPU in their small size: their figures are finite, and faults are noticed."""
import json
import math
from types import SimpleNamespace

import bitsandbytes as bnb
import pytest
import torch

from tagpr_lite.bench import grpo as bench
from tagpr_lite.bench import memory, trl
from tagpr_lite.config import LAYOUTS, Model, UserError
from tagpr_lite.doctor import __main__ as front
from tagpr_lite.doctor import against, here, machine, made, parts, record, selftests
from tagpr_lite.doctor.packages import Check
from tagpr_lite.doctor.parts import ON_A_CPU, SMALL, Part
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.engine.location import find
from tagpr_lite.plan.whole import phases_of

FORWARD = prefix.forward
PLAN, SPEED = (Part(family, "small", ON_A_CPU.prompt, ON_A_CPU.group, ON_A_CPU.completion)
               for family in ("plan", "speed"))
CELL = Part("trl", "small", 64, 2, 12)  # other than the tokens of a warm-up

pytestmark = [pytest.mark.long,
              pytest.mark.skipif(torch.cuda.is_available(), reason="the small size is for a CPU")]



@pytest.fixture(autouse=True)
def folder(tmp_path_factory, monkeypatch):
    """Made models in a folder of the tests', made once."""
    there = tmp_path_factory.getbasetemp() / "made"
    monkeypatch.setattr(made, "made_folder", lambda: there)
    return there


def numbers(tree):
    for value in tree.values() if isinstance(tree, dict) else [tree]:
        yield from numbers(value) if isinstance(value, dict) else [value]


def finite(figures):
    return all(math.isfinite(value) for value in numbers(figures) if not isinstance(value, str))


# ---------------------------------------------------------------- the made model

def test_a_made_model_has_its_shape_and_is_made_once(folder):
    there = made.made_model(SMALL)
    config = json.loads((there / "config.json").read_text())
    assert there == folder / "small" and config["hidden_size"] == SMALL.hidden
    assert config["num_key_value_heads"] == SMALL.kv_heads and config["vocab_size"] == SMALL.vocab
    assert machine.bytes_of_weights(SMALL) == pytest.approx(
        (there / "model.safetensors").stat().st_size / 2, rel=0.01)  # fp32 on a CPU
    before = (there / "model.safetensors").stat().st_mtime_ns
    assert made.made_model(SMALL) == there and (there / "model.safetensors").stat().st_mtime_ns == before


# ---------------------------------------------------------------- layouts

@pytest.fixture(scope="module")
def told():
    """What layouts told on the way."""
    return []


def test_every_layout_and_sampling_are_exact_here(told):
    figures, attention = selftests.layouts(Part("layouts"), told.append)
    assert not attention and finite(figures)
    assert set(figures["layouts"]) == set(LAYOUTS) - {"classic"}
    assert len(told) == len(LAYOUTS) - 1
    assert figures["sampling"]["logp"] < 1e-5 < figures["sampling"]["bound"]


def test_a_layout_that_is_not_exact_is_named(monkeypatch):
    """Completions one place too far: the shared layouts are wrong, packed has no such place."""
    def one_too_far(model, mode, **how):
        if isinstance(mode, prefix.Suffix):
            how["start"] += 1
        return FORWARD(model, mode, **how)

    monkeypatch.setattr(prefix, "forward", one_too_far)
    figures, attention = selftests.layouts(Part("layouts"), lambda figures: None)
    assert "fault" in figures["layouts"]["two_phase"] and "logp" in figures["layouts"]["packed"]
    assert len(attention) == 4 and "grpo.layout=two_phase" in attention[0]
    assert "log-probs of sampling" in attention[-1]


def test_memory_that_runs_out_is_no_fault_of_a_layout(monkeypatch):
    def full(*args, **how):
        raise torch.OutOfMemoryError("full")
    monkeypatch.setattr(selftests, "self_check", full)
    with pytest.raises(torch.OutOfMemoryError):
        selftests.layouts(Part("layouts"), lambda figures: None)


# ---------------------------------------------------------------- NF4

def test_nf4_goes_round_trip_and_its_products_are_right():
    figures, attention = selftests.nf4(Part("nf4"), lambda figures: None)
    assert not attention and finite(figures) and set(figures["product"]) == {"1", "3", "8", "64"}
    assert 0.05 < figures["round trip"]["rms"] < 0.12


def test_a_wrong_product_and_a_wrong_round_trip_are_noticed(monkeypatch):
    right = bnb.matmul_4bit
    monkeypatch.setattr(bnb, "matmul_4bit", lambda x, *rest: right(x, *rest) * (1 + 0.1 * (len(x) == 1)))
    _, attention = selftests.nf4(Part("nf4"), lambda figures: None)
    assert len(attention) == 1 and "of 1 rows" in attention[0]
    back = bnb.functional.dequantize_4bit
    monkeypatch.setattr(bnb, "matmul_4bit", right)
    monkeypatch.setattr(bnb.functional, "dequantize_4bit", lambda *args: back(*args).roll(1))
    _, attention = selftests.nf4(Part("nf4"), lambda figures: None)
    assert any("do not come back" in line for line in attention)


# ---------------------------------------------------------------- the plan

def test_the_plan_is_counted_on_a_cpu(monkeypatch):
    """Two of its phases: tests/bench/test_memory.py has them all."""
    monkeypatch.setattr(selftests, "phases_of", lambda *how: [
        phase for phase in phases_of(*how) if (phase.step, phase.what) in (("sft", "training"),
                                                                           ("explore", "rollouts"))])
    told = []
    figures, attention = selftests.plan(PLAN, lambda figures: told.append(len(figures["phases"])))
    assert not attention and finite(figures)
    assert list(figures["phases"]) == ["sft, training", "explore, rollouts"] and told == [1, 2]
    assert all(0.9 < row["ratio"] <= 1.0 for row in figures["phases"].values())


def test_a_card_that_takes_more_than_the_plan_says_needs_attention(monkeypatch):
    mib = 2**20
    monkeypatch.setattr(selftests, "measured_phases", lambda *how: [
        ("rollouts", {"formula": 1000 * mib, "measured": 1060 * mib}),  # a library's workspace
        ("updates", {"formula": 1000 * mib, "measured": 1200 * mib})])
    figures, attention = selftests.plan(PLAN, lambda figures: None)
    assert len(attention) == 1 and "updates takes 1.20 times" in attention[0]
    assert figures["phases"]["rollouts"]["ratio"] == pytest.approx(1.06)


def test_on_a_card_phases_are_measured_less_what_earlier_ones_have_left(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "phase_count", lambda phase, shape, config, load, device: asked.append(device)
                        or SimpleNamespace(peak=12))
    monkeypatch.setattr(selftests, "allocated", lambda: 2)
    card = torch.device("cuda", 0)
    rows = dict(selftests.measured_phases(PLAN, 4.0, card))
    assert {row["measured"] for row in rows.values()} == {10} and set(asked) == {card}


def test_a_run_that_does_not_fit_says_what_would():
    with pytest.raises(UserError, match="fit"):
        list(selftests.measured_phases(PLAN, 0.01, torch.device("cpu")))


# ---------------------------------------------------------------- speed, and TRL beside us

def test_speed_has_finite_figures():
    figures, attention = selftests.speed(SPEED, lambda figures: None)
    assert not attention and finite(figures) and min(numbers(figures)) > 0
    assert figures["together"]["rows"] == 4 * ON_A_CPU.group


def test_a_cell_measures_both_sides_and_writes_ours_first():
    told = []
    figures, attention = against.cell(CELL, lambda figures: told.append(json.loads(json.dumps(figures))))
    assert not attention and finite(figures)
    assert list(told[0]) == ["ours"] and told[0]["ours"] == figures["ours"]
    ours, trl = figures["ours"], figures["trl"]
    for what in ("rollout", "update", "step"):
        assert figures["ratio"][what] == pytest.approx(trl[f"{what}_s"] / ours[f"{what}_s"])
    assert figures["ratio"]["peak"] > 1


def test_the_warm_up_is_short_and_the_measured_step_is_not():
    """Tokens that TRL's model sees in the measured step: G (P + R) in the update, G (P + R - 1) before."""
    lengths = []
    begin = trl._Lengths.on_step_begin

    def noted(self, args, state, control, **how):
        begin(self, args, state, control, **how)
        lengths.append(self.trainer.generation_config.max_new_tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trl._Lengths, "on_step_begin", noted)
        run = against.trl_run(selftests.config_of(CELL))
    assert lengths == [selftests.WARM_COMPLETION, CELL.completion, CELL.completion]
    assert run.meter.tokens["rollout"] == CELL.group * (CELL.prompt + CELL.completion - 1)


@pytest.fixture
def false_card(monkeypatch):
    """torch says that there is a card; tensors stay on the CPU, whose bytes are counted."""
    cuda = torch.cuda
    for name, value in (("is_available", True), ("synchronize", None), ("empty_cache", None),
                        ("memory_allocated", 0), ("is_bf16_supported", False)):
        monkeypatch.setattr(cuda, name, lambda *args, value=value: value)
    on_cpu = lambda: (torch.device("cpu"), torch.float32)
    for module in (bench, engine, made, selftests, trl):
        monkeypatch.setattr(module, "placement", on_cpu)


def test_on_a_card_each_side_takes_one_step_that_is_timed_and_counted(false_card, monkeypatch):
    """What differs from a CPU is the order of steps: nothing is counted apart."""
    steps, begin = [], trl._Steps.on_step_begin
    monkeypatch.setattr(bench, "counted", None)  # a step of its own
    def noted(self, *args, **how):
        steps.append(self.index)
        begin(self, *args, **how)

    monkeypatch.setattr(trl._Steps, "on_step_begin", noted)
    figures, attention = against.cell(CELL, lambda figures: None)
    assert steps == [0, 1] and not attention and finite(figures) and min(numbers(figures)) > 0
    assert set(figures["ratio"]) == {"rollout", "update", "step", "peak"}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"),
                                   RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")])
def test_trl_without_memory_is_a_result_of_the_cell(monkeypatch, error):
    def full(config):
        raise error
    monkeypatch.setattr(against, "trl_run", full)
    monkeypatch.setattr(against, "ours", lambda config: {"update_s": 1.0})
    figures, attention = against.cell(CELL, lambda figures: None)
    assert figures == {"ours": {"update_s": 1.0}, "trl": {"fault": "out of memory"}} and not attention


def test_another_error_of_trl_is_none(monkeypatch):
    def broken(config):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    monkeypatch.setattr(against, "trl_run", broken)
    monkeypatch.setattr(against, "ours", lambda config: {"update_s": 1.0})
    with pytest.raises(RuntimeError, match="illegal"):
        against.cell(CELL, lambda figures: None)


# ---------------------------------------------------------------- the whole command

def test_the_command_runs_parts_in_a_process_and_makes_a_page(tmp_path, monkeypatch, capsys):
    find(Model(name="tiny"))
    monkeypatch.setattr(here, "look", lambda: ([Check("CPU", "ok", "2 cores")], None))
    words = ["--cpu", "--only", "nf4,speed", "--to", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        front.main(words)
    said = capsys.readouterr().out
    assert stop.value.code == 0, said
    assert "nf4: done" in said and "speed small: done" in said
    entries = record.read(tmp_path)["parts"]
    assert finite(entries["speed small"]["figures"])
    text = (tmp_path / "doctor.md").read_text()
    assert "## Self-test: nf4" in text and "## Self-test: speed" in text
    with pytest.raises(SystemExit):
        front.main(words)
    assert "2 of 2 parts are done already" in capsys.readouterr().out
    assert parts.setting_of(Part("nf4"), "cpu") == entries["nf4"]["setting"]
