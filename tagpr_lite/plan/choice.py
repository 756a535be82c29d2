"""The fastest plan of a GRPO step within a memory budget, or why there is none and what would fit.

Decisions. RESERVE is kept free for what no count sees: the CUDA context, library workspaces, fragmentation.
The fastest plan is the one with the least work, where one pass over the packed weights (they are unpacked
again in every forward and backward) is priced as PASS_TOKENS tokens of matrix products: consumer cards read
about 1 TB/s while they compute about 150 TFLOP/s.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..config import GRPO, LAYOUTS, UserError
from .formulas import (
    GIB,
    Job,
    group_flops,
    held,
    micro_batches,
    rollout_bytes,
    scoring_bytes,
    update_bytes,
    update_flops,
)
from .shapes import SHAPES, base_parameters

RESERVE = (0.10, 0.75 * GIB)  # share of the budget, plus bytes
PASS_TOKENS = 300
CHUNKS = (256, 128, 64, 32)
DECODE_ROWS = GRPO().decode_rows  # completions decoded together


@dataclass(frozen=True)
class Plan:
    """One way of computing a job. parts and peak in bytes: peak = weights + adapters + the largest of the
    phases."""
    layout: str
    micro: int
    logp_chunk: int
    rollout_prompts: int
    checkpointing: bool
    parts: dict[str, int]
    peak: int
    reserve: int
    budget: int
    flops: float
    cost: float

    @property
    def fits(self) -> bool:
        return not self.budget or self.peak + self.reserve <= self.budget


def reserve(budget: float) -> int:
    return int(RESERVE[0] * budget + RESERVE[1]) if budget else 0


def make(job: Job, budget: float, layout: str, micro: int, chunk: int, checkpointing: bool = True,
         together: int = 1) -> Plan:
    """The plan of these choices."""
    stays = held(job)
    phases = {"rollout": rollout_bytes(job, together), "scoring": scoring_bytes(job, micro),
              "update": update_bytes(job, layout, micro, chunk, checkpointing)}
    whole = 3 if checkpointing else 2
    passes = {"two_phase": whole, "kept": whole, "recompute": whole + 1}.get(layout, 0)  # over the prompt by itself
    passes += (2 if layout == "kept" else whole) * len(micro_batches(job.group, micro))
    cost = update_flops(job, layout, micro, checkpointing) + passes * PASS_TOKENS * 2 * base_parameters(job.shape)
    peak = sum(stays.values()) + max(phases.values())
    return Plan(layout, micro, chunk, together, checkpointing, stays | phases, peak, reserve(budget),
                int(budget), group_flops(job, layout, micro, checkpointing), cost)


def candidates(job: Job, budget: float) -> list[Plan]:
    """The best plan of every layout, fastest first: the fastest that fits, or, where none does, the
    smallest."""
    room = budget - reserve(budget) - sum(held(job).values())
    together = next((n for n in range(min(job.prompts, DECODE_ROWS // job.group), 1, -1)
                     if not budget or rollout_bytes(job, n) <= room), 1)
    micros = [job.group] + [m for m in (32, 16, 8, 4, 2, 1) if m < job.group]
    checkpointing, best = (False, True) if job.settings.checkpointing else (False,), []
    for layout in LAYOUTS:
        plans = [make(job, budget, layout, m, chunk, kept, together) for m in micros for chunk in CHUNKS
                 for kept in checkpointing]
        plans.sort(key=lambda p: (p.cost, -p.logp_chunk))
        best.append(next((p for p in plans if p.fits), min(plans, key=lambda p: p.peak)))
    return sorted(best, key=lambda p: (not p.fits, p.cost if p.fits else p.peak))


def choose(job: Job, budget: float) -> Plan:
    """The fastest plan that fits `budget` bytes (0: no bound) less the reserve; UserError says what would
    fit."""
    plan = candidates(job, budget)[0]
    if not plan.fits:
        raise UserError(refusal(job, budget))
    return plan


def refusal(job: Job, budget: float) -> str:
    """Why nothing fits, and the nearest changes that would make it fit."""
    def first(key: str, values, what: str) -> list[str]:
        fitting = (v for v in values if candidates(replace(job, **{key: v}), budget)[0].fits)
        return [what.format(getattr(v, "name", v)) for v in fitting][:1]

    smaller = [s for s in SHAPES.values() if base_parameters(s) < base_parameters(job.shape)]
    least, left = candidates(job, budget)[0].peak, max(0.0, budget - reserve(budget))
    enough = math.ceil((least + RESERVE[1]) / (1 - RESERVE[0]) / GIB * 2) / 2
    advice = [*first("prompt", range((job.prompt - 1) // 256 * 256, 0, -256), "a prompt of {} tokens"),
              *first("completion", range((job.completion - 1) // 64 * 64, 0, -64),
                     "completions of {} tokens"),
              *first("shape", sorted(smaller, key=base_parameters, reverse=True), "{}"),
              f"a budget of {enough:g} GiB"]
    return (f"{job.shape.name} with a prompt of {job.prompt} and {job.group} completions of {job.completion} tokens "
            f"needs {least / GIB:.2f} GiB; a budget of {budget / GIB:g} less a reserve of {reserve(budget) / GIB:.2f} "
            f"leaves {left / GIB:.2f}. What would fit: {'; '.join(advice)}")
