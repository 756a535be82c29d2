"""The fastest layout of a GRPO step within a memory budget.

Decisions. RESERVE is kept free for what no count sees: the CUDA context, library workspaces, fragmentation.
The fastest plan is the one with the least work, where one pass over the packed weights (they are unpacked
again in every forward and backward) is priced as PASS_TOKENS tokens of matrix products: consumer cards read
about 1 TB/s while they compute about 150 TFLOP/s.
"""
from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from ..config import GRPO, LAYOUTS
from .flops import group_flops, micro_batches, update_flops
from .formulas import Job, held, rollout_bytes, scoring_bytes, update_bytes
from .layers import GIB
from .shapes import base_parameters

RESERVE = (0.10, 0.75 * GIB)  # share of the budget, plus bytes
PASS_TOKENS = 300
CHUNKS = (256, 128, 64, 32)
DECODE_ROWS = GRPO.decode_rows  # completions decoded together


@dataclass(frozen=True)
class Plan:
    """One way of computing a job; bytes and FLOPs of it."""
    layout: str
    micro: int
    """Completions in one training forward."""
    logp_chunk: int
    """Tokens whose logits exist at one time."""
    rollout_prompts: int
    """Prompts decoded together."""
    checkpointing: bool
    parts: dict[str, int]
    """Bytes of weights and adapters, which stay, and of each phase beside them."""
    peak: int
    """Weights, adapters and the largest of the phases."""
    reserve: int
    budget: int
    """0: no bound."""
    flops: float
    """Of one group: rollout, scores and update."""
    cost: float
    """What plans are compared by: FLOPs of the update, and the passes over the packed weights priced as
    FLOPs."""

    @property
    def fits(self) -> bool:
        return not self.budget or self.peak + self.reserve <= self.budget


def reserve(budget: float) -> int:
    """Bytes kept free; none without a budget."""
    return int(RESERVE[0] * budget + RESERVE[1]) if budget else 0


def make(job: Job, budget: float, layout: str, micro: int, chunk: int, checkpointing: bool = True,
         together: int = 1) -> Plan:
    """The plan of these choices."""
    stays = held(job)
    phases = {"rollout": rollout_bytes(job, together), "scoring": scoring_bytes(job, micro),
              "update": update_bytes(job, layout, micro, chunk, checkpointing)}
    peak = sum(stays.values()) + max(phases.values())
    weight_passes = _weight_passes(job, layout, micro, checkpointing)
    cost = update_flops(job, layout, micro, checkpointing)
    cost += weight_passes * PASS_TOKENS * 2 * base_parameters(job.shape)
    return Plan(layout, micro, chunk, together, checkpointing, stays | phases, peak, reserve(budget),
                int(budget), group_flops(job, layout, micro, checkpointing), cost)


def _weight_passes(job: Job, layout: str, micro: int, checkpointing: bool) -> int:
    """How often an update reads all packed weights: forward and backward, and a second forward with
    checkpointing."""
    one = 3 if checkpointing else 2
    prompt = {"two_phase": one, "kept": one, "recompute": one + 1}.get(layout, 0)  # the prompt by itself
    a_micro_batch = 2 if layout == "kept" else one
    return prompt + a_micro_batch * len(micro_batches(job.group, micro))


def candidates(job: Job, budget: float) -> list[Plan]:
    """The best plan of every layout, fastest first: the fastest that fits, or, where none does, the
    smallest."""
    together = _prompts_together(job, budget)
    micros = [job.group] + [micro for micro in (32, 16, 8, 4, 2, 1) if micro < job.group]
    checkpointing_choices = (False, True) if job.settings.checkpointing else (False,)
    best_of_layouts = []
    for layout in LAYOUTS:
        plans = [make(job, budget, layout, micro, chunk, checkpointing, together)
                 for micro, chunk, checkpointing in product(micros, CHUNKS, checkpointing_choices)]
        plans.sort(key=lambda plan: (plan.cost, -plan.logp_chunk))
        fitting = [plan for plan in plans if plan.fits]
        best_of_layouts.append(fitting[0] if fitting else min(plans, key=lambda plan: plan.peak))
    return sorted(best_of_layouts, key=lambda plan: (not plan.fits, plan.cost if plan.fits else plan.peak))


def _prompts_together(job: Job, budget: float) -> int:
    """The most prompts whose groups can be decoded together within the budget; at least 1."""
    room = budget - reserve(budget) - sum(held(job).values())
    for prompts in range(min(job.prompts, DECODE_ROWS // job.group), 1, -1):
        if not budget or rollout_bytes(job, prompts) <= room:
            return prompts
    return 1
