"""A run on several cards of one machine, on paper: what each card holds, how long it takes, and what for.

The scheme. Every card has a process of its own with the whole base and all adapters. What an optimiser step
looks at is dealt out: the questions of a GRPO step (a group stays whole), the rows of a batch of SFT, the
cases of a batch of PRMU. Each process goes forward and backward on its part; then the gradients of the
adapter are summed over the processes, once a step. The questions of an evaluation are dealt out too. The
steps and phases that `dealt_out` does not name are done by one card while the others wait.

The time is divided into six parts that add up to it:

    sampling, training     what the divided phases would take if n cards took an n-th of one card's time
    small batches          what they take beyond that, because the weights are read and the operations are
                           started as often for fewer rows
    idle cards             a step ends with its slowest card: 4 questions leave 4 of 8 cards idle
    all-reduce             2 (n - 1) / n times the bytes of the gradients, over the link, once a step
    undivided              what one card does alone, loading, and the steps without a model

Nothing of this was measured on several cards. One card's time is the plan's (times.py), good to about a
factor of two. Not counted: the delay of a message (some microseconds a step), small all-reduces (rewards,
losses), and completions that end early, which make a group shorter and cards wait for each other.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..config import Config
from .formulas import prmu_parameters
from .layers import BF16, FP32, adapter_bytes
from .phase import Load, Phase
from .shapes import Shape, base_parameters
from .times import Rates, Work, seconds
from .whole import PAIRS_OF_A_CASE, phases_of, prmu_cases, prmu_scored_cases, sft_sequences, with_settings

SAMPLING, TRAINING, SMALL = "sampling", "training", "small batches"
IDLE, ALL_REDUCE, UNDIVIDED = "idle cards", "all-reduce", "undivided"
PARTS = (SAMPLING, TRAINING, SMALL, IDLE, ALL_REDUCE, UNDIVIDED)
SAMPLED = ("rollouts", "held-out answers", "answers", "samples")  # phases that write tokens one by one


@dataclass(frozen=True)
class Machine:
    """What is assumed of a machine with several cards."""
    rates: Rates
    """Of each card."""
    link: float
    """Bytes a second that each card sends to the next one in a ring."""
    disk: float
    """Bytes a second at which weights are read."""
    without_model: float
    """Seconds of the steps prepare, tag and report beside what the plan counts."""


@dataclass(frozen=True)
class Line:
    """A run of one model on so many cards."""
    model: str
    cards: int
    peak: int
    """Bytes that the fullest card holds at most."""
    parts: dict[str, float]
    """{part: seconds}, in the order of PARTS."""
    most_of: dict[str, str]
    """{part: what most of it goes to}: products, reading, or starting operations."""

    @property
    def seconds(self) -> float:
        return sum(self.parts.values())

    @property
    def bottleneck(self) -> str:
        """The largest part, and what most of it goes to: "sampling: reading"."""
        largest = max(self.parts, key=self.parts.get)
        return f"{largest}: {self.most_of[largest]}" if largest in self.most_of else largest


def line_of(shape: Shape, config: Config, load: Load, cards: int, machine: Machine) -> Line:
    """The run on so many cards. config: what one card would do; load: of the whole run."""
    alone = phases_of(shape, config, load)
    shared = phases_of_a_card(shape, config, load, cards)
    counts = dealt_out(config, load)
    parts = dict.fromkeys(PARTS, 0.0)
    work_of = dict.fromkeys((SAMPLING, TRAINING, SMALL), Work())
    for phase, of_a_card in zip(alone, shared, strict=True):
        before, now = seconds(phase.work, machine.rates), seconds(of_a_card.work, machine.rates)
        if name_of(phase) not in counts:
            parts[UNDIVIDED] += now
            continue
        kind = SAMPLING if phase.what in SAMPLED else TRAINING
        busy = share_of_time_at_work(counts[name_of(phase)], cards)
        parts[kind] += before / cards
        parts[IDLE] += now * (1 - busy)
        parts[SMALL] += now * busy - before / cards
        work_of[kind] += phase.work
        work_of[SMALL] += of_a_card.work * busy + phase.work * (-1 / cards)
    parts[ALL_REDUCE] = sum(count * all_reduce_seconds(size, cards, machine.link)
                            for count, size in all_reduces(shape, config, load))
    parts[UNDIVIDED] += loading_seconds(shape, alone, machine.disk) + machine.without_model
    peak = max(phase.peak for phase in shared)
    most_of = {part: largest_of(work, machine.rates) for part, work in work_of.items()}
    return Line(shape.name, cards, peak, parts, most_of)


# ---------------------------------------------------------------- how the work is divided

def dealt_out(config: Config, load: Load) -> dict[tuple[str, str], float]:
    """{(step, what it does): how many things are dealt out to the cards at a time} of the phases that are
    divided: {("guided", "updates"): 8} for 8 questions in a GRPO step."""
    g = config.grpo
    counts = {("sft", "training"): config.sft.batch,
              ("reward", "PRMU's training"): cases_of_a_batch(config),
              ("reward", "PRMU's scores"): prmu_scored_cases(config)}
    for stage in ("guided", "explore"):
        counts |= {(stage, what): g.prompts for what in ("rollouts", "PRMU's scores", "updates")}
        counts[stage, "held-out answers"] = load.val
    return counts | {("evaluate", what): load.dev for what in ("answers", "samples", "PRMU's choices")}


def name_of(phase: Phase) -> tuple[str, str]:
    return phase.step, phase.what


def cases_of_a_batch(config: Config) -> int:
    """Cases in an optimiser step of PRMU, whose batch is given in pairs."""
    return max(1, config.reward.batch // PAIRS_OF_A_CASE)


def largest_share(count: float, cards: int) -> int:
    """What the card with the most gets: 8 questions over 3 cards are 3, 3 and 2."""
    return math.ceil(count / cards)


def share_of_time_at_work(count: float, cards: int) -> float:
    """The part of the time in which a card has something to do, the mean over the cards: 4 questions over 8
    cards give 0.5."""
    return count / (cards * largest_share(count, cards)) if count else 1.0


def phases_of_a_card(shape: Shape, config: Config, load: Load, cards: int) -> list[Phase]:
    """The phases of `phases_of` for the card that gets the most of each; an undivided phase is whole."""
    g, sft = config.grpo, config.sft
    rows = largest_share(sft.batch, cards)
    settings = {"grpo.prompts": largest_share(g.prompts, cards), "sft.batch": rows,
                "sft.micro": min(sft.micro or sft.batch, rows)}
    part = replace(load, val=largest_share(load.val, cards), dev=largest_share(load.dev, cards))
    counts = dealt_out(config, load)
    # Of these the plan counts the work of all batches: a card has its share of each.
    by_batches = [("sft", "training"), ("reward", "PRMU's training"), ("reward", "PRMU's scores")]
    phases = []
    for whole, of_a_card in zip(phases_of(shape, config, load),
                                phases_of(shape, with_settings(config, settings), part), strict=True):
        name = name_of(whole)
        if name not in counts:
            phases.append(whole)
        elif name in by_batches and counts[name]:
            share = largest_share(counts[name], cards) / counts[name]
            phases.append(replace(of_a_card, work=of_a_card.work * share))
        else:
            phases.append(of_a_card)
    return phases


# ---------------------------------------------------------------- what comes on top

def all_reduces(shape: Shape, config: Config, load: Load) -> list[tuple[float, int]]:
    """(optimiser steps, bytes of the gradients of each) of SFT, PRMU and both stages of GRPO; fp32."""
    adapter = adapter_bytes(shape, config.model, 1)
    parts_of_prmu = FP32 * prmu_parameters(shape, config.reward)[0]
    return [(sft_sequences(config, load) / config.sft.batch, adapter),
            (prmu_cases(config, load) / cases_of_a_batch(config), adapter + parts_of_prmu),
            (config.grpo.guided_steps + config.grpo.explore_steps, adapter)]


def all_reduce_seconds(size: int, cards: int, link: float) -> float:
    """A ring all-reduce of `size` bytes: each card sends and receives 2 (n - 1) / n of them."""
    return 2 * (cards - 1) / cards * size / link


def loading_seconds(shape: Shape, phases: list[Phase], disk: float) -> float:
    """Each step that uses the model reads its bf16 weights from the disk. The processes of a step read the
    same files at the same time, so that more cards read no more."""
    tables = (1 if shape.tied else 2) * shape.vocab * shape.hidden
    size = BF16 * (base_parameters(shape) + tables)
    return len({phase.step for phase in phases}) * size / disk


def largest_of(work: Work, rates: Rates) -> str:
    """What most of the time of some work goes to."""
    times = {"products": seconds(Work(flops=work.flops), rates),
             "reading": seconds(Work(bytes=work.bytes), rates),
             "starting operations": seconds(Work(calls=work.calls), rates)}
    return max(times, key=times.get)
