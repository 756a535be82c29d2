"""One optimiser step: the gradient of every group with signal, from engine/update.py, then AdamW.

When memory runs out the micro-batch is halved, for good, and the group done again from the gradient that was
there before it; the gradient does not depend on the micro-batch.
"""
from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..config import GRPO
from ..engine.check import self_check
from ..engine.finite import fault_of_gradient
from ..engine.memory import BatchLimit, keep_gradient
from ..engine.prefix import base_of
from ..engine.reduce import sum_gradients, sum_reports
from ..engine.update import MicroBatch, group_gradient
from ..runs.processes import all_of, count, number
from . import losses
from .groups import REFERENCE, Group
from .importance import weigh

CHECKED_PROMPT = 512  # tokens of a prompt that the self-check looks at
CHECKED_COMPLETION = 64  # and of a completion


def completion_limit(g: GRPO, folder: Path | None = None) -> BatchLimit:
    """Completions in one forward of GRPO, in training and when PRMU scores them."""
    return BatchLimit("grpo.micro", "completions", g.micro, folder,
                      "lower prompt.max_tokens or grpo.completion, set grpo.layout=recompute, or use a "
                      "smaller model")


def check_layout(g: GRPO, model, params: dict, group: Group) -> None:
    """The start-up self-check, on the tails of two completions of a group and of its prompt: the classic
    layout, which the check computes too, must fit wherever the chosen one does."""
    if g.layout == "classic":
        return
    completions = [s.ids[-CHECKED_COMPLETION:] for s in group.samples[:2]]
    model.train()
    differences = self_check(model, params, group.prompt_ids[-CHECKED_PROMPT:], completions, g.layout,
                             g.temperature, g.logp_chunk)
    model.eval()
    print("  self-check against the classic layout: "
          + ", ".join(f"{k} {v:.1e}" for k, v in differences.items()) + ": equal up to rounding")


def optimizer_step(g: GRPO, model, groups: list[Group], optimizer, params: dict,
                   together: BatchLimit) -> dict:
    """One step on all groups that carry signal, `together` completions in one forward. Returns {"loss", "kl",
    ...}. Groups whose gradient is not finite are left out, and counted as "skipped". Where none is left, no
    step is taken, and "fault" says what was not finite."""
    live = [trained_part(g, group) for group in groups if group.has_signal]
    nothing = {"loss": 0.0, "kl": 0.0, "entropy": 0.0, "grad_norm": 0.0, "drift": 0.0}
    if not live:
        return nothing
    # Longest first, so that what fits once fits always.
    live.sort(key=lambda group: -len(group.prompt_ids) - sum(len(s.ids) for s in group.samples))

    # The weight of every completion in the sum over the step's tokens, for all groups in one row, cut into
    # groups again.
    lengths = torch.tensor([len(s.ids) for group in live for s in group.samples])
    weights = losses.token_weights(g.loss, lengths, g.completion)
    weights_of_groups = weights.split([len(group.samples) for group in live])

    # Several processes divide the groups, the longest first; one that was forwarded for sampling, too
    # (grpo.once), stays where it is. The weights above are of all tokens, whoever computes them.
    totals: dict[str, float] = {}
    fault, skipped = "", 0
    model.train()
    for place, (group, weights) in enumerate(zip(live, weights_of_groups, strict=True)):
        if number() != (group.process if g.once else place % count()):
            continue
        put_back = keep_gradient(params.values())
        sums = together.attempt(partial(policy_gradient, g, model, group, weights),
                                present=len(group.samples), undo=put_back)
        fault_of_group = fault_of_gradient(sums["loss"], params.values())
        if fault_of_group:
            put_back()
            fault, skipped = fault_of_group, skipped + 1
            continue
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value
    model.eval()
    sum_gradients(params.values())
    totals, fault, skipped = sum_reports(all_of((totals, fault, skipped)))
    if skipped == len(live):
        optimizer.zero_grad(set_to_none=True)
        return nothing | {"skipped": skipped, "fault": fault}
    grad_norm = torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    tokens = totals.pop("tokens")
    per_token = {name: round(totals[name] / tokens, 6) for name in ("kl", "entropy", "drift")}
    stats = {"loss": round(totals["loss"], 6), **per_token, "grad_norm": round(float(grad_norm), 5)}
    return stats | {"skipped": skipped} if skipped else stats


def trained_part(g: GRPO, group: Group) -> Group:
    """The group with only those of its completions that are trained on."""
    if not 0 < g.trained < len(group.samples):
        return group
    trained = losses.most_different(group.rewards, g.trained).tolist()
    part = replace(group, samples=[group.samples[n] for n in trained], advantages=group.advantages[trained],
                   step_advantages=None if group.step_advantages is None else group.step_advantages[trained])
    group.shared_prompt = None  # it is the part's now
    return part


def policy_gradient(g: GRPO, model, group: Group, weights: Tensor, micro: int) -> dict[str, float]:
    """Adds the group's gradient of the GRPO objective; weights [G] of its completions' tokens. Returns sums
    over tokens."""
    device = base_of(model).device
    if group.mismatch is not None:
        group.mismatch.begin()

    def loss(batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """sum over tokens of weight * (importance * surrogate + beta * KL), for m completions of R tokens."""
        samples = group.samples[batch.rows]
        sampler_logps = torch.zeros(batch.mask.shape, device=device)  # [m, R]
        sampler_logps[batch.mask] = torch.tensor([logp for s in samples for logp in s.logps], device=device)
        # The old log-probs are the sampler's, or the trainer's where a server has sampled: [m, R] each.
        old_logps, importance = weigh(group.mismatch, batch.logps, sampler_logps, batch.mask)
        advantages = group.advantages[batch.rows].to(device)[:, None].expand(batch.mask.shape)  # [m, R]
        if group.step_advantages is not None:
            advantages = advantages + group.step_advantages[batch.rows, :batch.mask.shape[1]].to(device)
        token_weight = weights[batch.rows].to(device)  # [m]
        surrogate = importance * losses.policy_loss(g.loss, batch.logps, old_logps, advantages, batch.mask,
                                                    g.clip_low, g.clip_high)
        kl = torch.zeros_like(batch.logps)
        if batch.reference_logps is not None:
            kl = losses.kl_to_reference(batch.logps, batch.reference_logps)
        total = ((surrogate + g.beta * kl) * batch.mask * token_weight[:, None]).sum()
        drift = (batch.logps - sampler_logps).abs() * batch.mask  # against the trainer: rounding, or a fault
        reported = {"loss": total, "kl": (kl * batch.mask).sum(), "entropy": batch.entropy.sum(),
                    "drift": drift.sum(), "tokens": batch.mask.sum()}
        return total, {name: value.detach() for name, value in reported.items()}

    # A prompt that sampling has forwarded goes backward once; a retry forwards the prompt again.
    shared_prompt, group.shared_prompt = group.shared_prompt, None
    return group_gradient(model, torch.tensor(group.prompt_ids, device=device),
                          [s.ids for s in group.samples], loss, layout=g.layout, micro=micro,
                          temperature=g.temperature, logp_chunk=g.logp_chunk,
                          reference=REFERENCE if g.beta else None, shared_prompt=shared_prompt)
