"""Truncated importance weights: what makes up for a sampler that is not quite the trainer.

A server samples with kernels and number formats of its own. So the probability that it gave to a token
differs from the trainer's, although both have the same adapter. A mean over its tokens is then a mean under
the wrong distribution. Each token's surrogate is multiplied by

    weight = min(pi_trainer(token) / pi_sampler(token), cap)

which puts that right, but for the few tokens that the cap cuts; the cap bounds the variance. No gradient goes
through the weight. Prior art: truncated importance sampling (Ionides 2008); for this mismatch, Yao et al.
2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training", with a cap of 2; it is verl's,
and TRL's `vllm_importance_sampling_mode="token_truncate"`.

pi_trainer is the trainer's policy before the update. One update is made of each batch, so the update's own
forward has the parameters of before: its log-probs, without their gradient, are the old ones. A forward for
them alone would cost time and give the same numbers.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_SHOWN = 1e9  # a ratio beyond it is logged as this one: JSON has no infinity

@dataclass
class Mismatch:
    """The weights of one group's tokens, and what is reported of them: sums over its trained tokens."""
    cap: float
    """The largest weight, 2.0 say."""
    tokens: int = 0
    weights: float = 0.0
    """Sum of the weights, after the cap."""
    largest: float = 0.0
    """The largest ratio, before the cap."""
    truncated: int = 0
    """Tokens whose ratio is above the cap."""
    difference: float = 0.0
    """Sum of |trainer's log-prob - sampler's|, in nats."""

    def begin(self) -> None:
        """Forgets what was counted: an update that ran out of memory forwards its group again."""
        self.tokens, self.weights, self.largest, self.truncated, self.difference = 0, 0.0, 0.0, 0, 0.0

    def weigh(self, logps: Tensor, sampler_logps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(old log-probs, weights) of a micro-batch, both [m, R] and without a gradient; it is counted.

        logps: the trainer's, from the update's forward, [m, R] in nats. sampler_logps [m, R]: as the server
        reported them. mask [m, R] bool: True at real tokens; elsewhere a weight is 1.
        """
        # 1. What the trainer would have sampled with: log-probs of -0.7 where the server had -0.9.
        old_logps = logps.detach()
        gap = torch.where(mask, old_logps - sampler_logps, 0.0)  # 0.2

        # 2. The ratio of the probabilities, cut at the cap: exp(0.2) = 1.22. It may overflow to infinity; the
        # cap bounds that, too.
        ratio = gap.exp()
        weights = ratio.clamp(max=self.cap)

        # 3. What is reported.
        real = ratio[mask]  # [tokens]
        self.tokens += len(real)
        self.weights += weights[mask].sum().item()
        self.largest = max(self.largest, real.max().item())
        self.truncated += int((real > self.cap).sum())
        self.difference += gap.abs().sum().item()
        return old_logps, weights


def weigh(mismatch: Mismatch | None, logps: Tensor, sampler_logps: Tensor, mask: Tensor
          ) -> tuple[Tensor, Tensor]:
    """(old log-probs, weights), [m, R] each. Without a mismatch the engine here has sampled: its log-probs
    are the old ones, and every weight is 1."""
    if mismatch is None:
        return sampler_logps, torch.ones_like(sampler_logps)
    return mismatch.weigh(logps, sampler_logps, mask)


def figures(mismatches: Sequence[Mismatch | None]) -> dict:
    """What metrics.jsonl holds of a step, from the mismatches of its groups: {"importance": {"mean" and "max"
    of the weight (the maximum is before the cap), "truncated" (a share), "difference" (mean, in nats a
    token)}}. {} where the engine here has sampled, or nothing was trained on."""
    counted = [mismatch for mismatch in mismatches if mismatch is not None and mismatch.tokens]
    if not counted:
        return {}
    tokens = sum(mismatch.tokens for mismatch in counted)
    weights = sum(mismatch.weights for mismatch in counted)
    truncated = sum(mismatch.truncated for mismatch in counted)
    difference = sum(mismatch.difference for mismatch in counted)
    largest = max(mismatch.largest for mismatch in counted)
    return {"importance": {"mean": round(weights / tokens, 6),
                           "max": round(min(largest, LARGEST_SHOWN), 6),
                           "truncated": round(truncated / tokens, 6),
                           "difference": round(difference / tokens, 6)}}

