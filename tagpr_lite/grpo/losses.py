"""The GRPO objective as pure functions of tensors. No model, no config, no state.

Every normaliser is a constant known before the first micro-batch, so the gradient is the same however the
completions of a step are cut into micro-batches. Shapes: B prompts, G completions each, R tokens; m of them in a
micro-batch.
"""
from __future__ import annotations

import torch
from torch import Tensor

from ..config import UserError


def advantages(rewards: Tensor, std_floor: float) -> Tensor:
    """A_i = (r_i - mean(r)) / max(std(r), floor), within each group. rewards [B, G] -> [B, G].

    GRPO (Shao et al. 2024, arXiv 2402.03300, eq. 3) divides by std + eps; the floor keeps a group whose rewards
    differ by noise alone from being blown up to unit variance.
    """
    std = rewards.std(-1, unbiased=False, keepdim=True)
    return (rewards - rewards.mean(-1, keepdim=True)) / std.clamp(min=std_floor)


def has_signal(rewards: Tensor) -> Tensor:
    """[B] bool: groups whose rewards differ at all. The others have zero advantage and are not trained on."""
    return (rewards.max(-1).values - rewards.min(-1).values) > 1e-6


def policy_loss(logps: Tensor, old_logps: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) for every token, rho = exp(logp - old). [m, R], A [m] -> [m, R].

    PPO's surrogate (arXiv 1707.06347, eq. 7) with DAPO's separate upper clip (arXiv 2503.14476, eq. 8).
    """
    ratio, a = (logps - old_logps).exp(), advantage[:, None]
    return -torch.min(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a)


def kl_to_reference(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """exp(ref - logp) - (ref - logp) - 1 for every token: unbiased, never negative (the k3 estimator). [m, R]."""
    gap = ref_logps - logps
    return gap.exp() - gap - 1


def token_weights(kind: str, lengths: Tensor, room: int) -> Tensor:
    """The weight of each completion's tokens in the sum over a step, lengths [N] (all of the step's) -> [N].

    grpo     1 / (N * length): mean over completions of their token means (arXiv 2402.03300)
    dapo     1 / (sum of lengths): mean over the step's tokens, so long completions count by length (2503.14476)
    dr_grpo  1 / (N * room): a constant, no length bias (2503.20783)
    """
    n = len(lengths)
    if kind == "grpo":
        return 1 / (n * lengths.float())
    if kind == "dapo":
        return torch.full((n,), 1 / float(lengths.sum()))
    if kind == "dr_grpo":
        return torch.full((n,), 1 / float(n * room))
    raise UserError(f"grpo.loss={kind}: known are grpo, dapo, dr_grpo")
