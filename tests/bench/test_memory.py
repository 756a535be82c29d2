"""The plan's formulas against the code that the steps run: what is held to the byte, the rest within 10% and
never under."""
from dataclasses import replace

import pytest
import torch

from tagpr_lite.bench import memory
from tagpr_lite.config import UserError, load
from tagpr_lite.plan.shapes import SHAPES, Shape
from tagpr_lite.plan.whole import Load, phases_of, with_settings

SMALL = Shape("small", "qwen3", 256, 768, 2, 4, 2, 64, 4096, True)
SIZES = {
    "one at a time": {"sft.micro": 1, "reward.micro": 1, "grpo.micro": 1, "grpo.layout": "recompute"},
    "several": {"sft.micro": 3, "reward.micro": 4, "grpo.micro": 4, "grpo.beta": 0.01},
    "no checkpoints": {"sft.micro": 2, "model.checkpointing": False, "grpo.layout": "kept"},
    "rank 64": {"model.lora_r": 64, "reward.tokens": 16, "reward.micro": 2, "grpo.layout": "packed"}}


def settings(sizes):
    config = load("gpu", ["lamp.retriever=dense", "sft.batch=4", "grpo.group=4", "grpo.completion=256",
                          "evaluate.batch=8", "grpo.decode_rows=12",
                          "evaluate.systems=[base, sft, sft@vote6, explore@prmu8-other]"])
    return with_settings(config, sizes)


@pytest.mark.parametrize("name, sizes", [
    ("small", "one at a time"), pytest.param("qwen3-0.6b", "several", marks=pytest.mark.long),
    pytest.param("small", "no checkpoints", marks=pytest.mark.long),
    pytest.param("qwen2.5-7b", "rank 64", marks=pytest.mark.long)])
def test_every_phase_agrees_with_the_counter(name, sizes):
    shape = SMALL if name == "small" else replace(SHAPES[name], layers=2)
    config = settings(SIZES[sizes])
    asked = Load(prompt=1024, mean_prompt=900, question=300, train=100, dev=6, val=5)
    for phase in phases_of(shape, config, asked):
        found = memory.phase_count(phase, shape, config, asked)
        assert phase.held == found.static, phase
        assert 1 <= phase.beside / (found.peak - found.static) <= 1.1, phase


def test_prmu_in_two_passes_needs_less_than_in_one():
    asked = Load(prompt=256, mean_prompt=200, question=64, train=100, dev=6)
    peaks = []
    for micro in (5, 1):
        config = settings({"reward.micro": micro})
        phase = [p for p in phases_of(SMALL, config, asked) if p.what == "PRMU's training"][0]
        peaks.append(memory.phase_count(phase, SMALL, config, asked).peak)
    assert peaks[1] < 0.8 * peaks[0]


def test_a_run_is_verified_phase_by_phase_and_shown():
    config = settings({})
    asked = Load(prompt=128, mean_prompt=128, question=64, train=10, dev=4)
    rows = memory.verify(SMALL, config, asked)
    assert [(row["step"], row["what"]) for row in rows] == [(p.step, p.what)
                                                            for p in phases_of(SMALL, config, asked)]
    assert all(row["measured"] is None and row["formula"] >= row["counted"] for row in rows)
    rows[0]["measured"], rows[1]["measured"] = "out of memory", 2**30
    lines = memory.verified_lines(rows)
    assert lines[1].endswith("out of memory") and lines[2].endswith("1.000") and len(lines) == len(rows) + 1


@pytest.mark.long
def test_the_grid_says_how_far_the_formulas_are_off(monkeypatch):
    monkeypatch.setattr(memory, "GRID_SHAPES", ("smollm2",))
    monkeypatch.setattr(memory, "GRID_SIZES", [(128, 64, 1), (256, 32, 4)])
    said = []
    found = memory.grid(2, said.append)
    assert len(said) == 2
    assert set(found) >= {"sft training", "guided updates", "guided held-out answers", "evaluate answers"}
    assert all(1 <= least <= most for least, most, _ in found.values())
    # a formula that is off is seen, and what is held must agree to the byte
    monkeypatch.setattr(memory, "phases_of", lambda *args: [replace(p, held=1) for p in phases_of(*args)])
    with pytest.raises(UserError, match="1 bytes held by formula"):
        memory.grid(2, said.append)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_none_is_measured():
    with pytest.raises(UserError, match="there is none"):
        memory.the_card(8)
