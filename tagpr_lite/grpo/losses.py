"""The GRPO objective as pure functions of tensors. No model, no config, no state.

Every normaliser is a constant known before the first micro-batch, so the gradient is the same however the
completions of a step are cut into micro-batches. Shapes: B prompts, G completions each, R tokens; m of them
in a micro-batch.
"""
from __future__ import annotations

import torch
from torch import Tensor

from ..config import UserError

KINDS = ("grpo", "dapo", "dr_grpo", "gspo", "cispo")


def advantages(rewards: Tensor, std_floor: float, kind: str = "dapo") -> Tensor:
    """A_i = (r_i - mean(r)) / max(std(r), floor), within each group. rewards [B, G] -> [B, G].

    dr_grpo does not divide (Dr. GRPO, arXiv 2503.20783): [1, 0, 0, 0] gives [0.75, -0.25, -0.25, -0.25].
    GRPO (Shao et al. 2024, arXiv 2402.03300, eq. 3) divides by std + eps; the floor keeps a group whose
    rewards differ by noise alone from being blown up to unit variance.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    if kind == "dr_grpo":
        return centred
    std = rewards.std(-1, unbiased=False, keepdim=True)
    return centred / std.clamp(min=std_floor)


def most_different(rewards: Tensor, count: int) -> Tensor:
    """Which `count` of a group's completions have rewards of the greatest variance: the best few and the
    worst few (PODS, arXiv 2504.13818). rewards [G] -> indices [count], rising; all where count is 0 or at
    least G.

    [0.9, 0.1, 0.8, 0.9, 0.7, 0.9] and 3 give [1, 3, 5]: the bad completion and two of the best.
    """
    if not 0 < count < len(rewards):
        return torch.arange(len(rewards))
    order = rewards.argsort(stable=True)  # from the worst to the best
    subsets = [torch.cat([order[:count - best], order[len(order) - best:]]) for best in range(count + 1)]
    return max(subsets, key=lambda subset: rewards[subset].var(unbiased=False).item()).sort().values


def has_signal(rewards: Tensor) -> Tensor:
    """[B] bool: groups whose rewards differ at all. The others have zero advantage and are not trained on."""
    return (rewards.max(-1).values - rewards.min(-1).values) > 1e-6


def policy_loss(kind: str, logps: Tensor, old_logps: Tensor, advantage: Tensor, mask: Tensor, clip_low: float,
                clip_high: float) -> Tensor:
    """The surrogate of every token, rho = exp(logp - old). logps, old_logps, mask [m, R] -> [m, R].
    advantage: [m], one for all tokens of a completion, or [m, R].

    grpo, dapo, dr_grpo   -min(rho A, clip(rho, 1 - low, 1 + high) A): PPO (arXiv 1707.06347, eq. 7) with
                          DAPO's separate upper clip (arXiv 2503.14476, eq. 8)
    gspo                  the same with one rho for the whole completion, the geometric mean of its tokens'
                          (2507.18071, eq. 7); it wants far tighter clips, 3e-4 and 4e-4
    cispo                 -min(rho, 1 + high) A logp, rho held constant: every token keeps a gradient
                          (2506.13585, eq. 4)
    """
    a = advantage[:, None] if advantage.dim() == 1 else advantage  # [m, 1] or [m, R]
    gap = logps - old_logps  # log rho
    if kind == "cispo":
        return -gap.exp().clamp(max=1 + clip_high).detach() * a * logps
    if kind == "gspo":
        gap = ((gap * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)).expand_as(gap)
    ratio = gap.exp()
    return -torch.min(ratio * a, ratio.clamp(1 - clip_low, 1 + clip_high) * a)


def kl_to_reference(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """exp(ref - logp) - (ref - logp) - 1 for every token: unbiased, never negative (the k3 estimator). [m,
    R]."""
    gap = ref_logps - logps
    return gap.exp() - gap - 1


def token_weights(kind: str, lengths: Tensor, room: int) -> Tensor:
    """The weight of each completion's tokens in the sum over a step, lengths [N] (all of the step's) -> [N].

    grpo, gspo     1 / (N * length): mean over completions of their token means (arXiv 2402.03300)
    dapo, cispo    1 / (sum of lengths): mean over the step's tokens, so that a completion counts by its
                   length (2503.14476)
    dr_grpo        1 / (N * room): a constant, no length bias (2503.20783)
    """
    n = len(lengths)
    if kind in ("grpo", "gspo"):
        return 1 / (n * lengths.float())
    if kind in ("dapo", "cispo"):
        return torch.full((n,), 1 / float(lengths.sum()))
    if kind == "dr_grpo":
        return torch.full((n,), 1 / float(n * room))
    raise UserError(f"grpo.loss={kind}: known are {', '.join(KINDS)}")


def overlong(lengths: Tensor, room: int, buffer: int) -> Tensor:
    """What is taken off a reward for length, 0..1: rises over the last `buffer` tokens before `room` (DAPO's
    soft over-long punishment, arXiv 2503.14476, eq. 13; theirs ends at -1 too). lengths [N] -> [N]; buffer 0
    switches it off."""
    if not buffer:
        return torch.zeros(len(lengths))
    return ((lengths - (room - buffer)) / buffer).clamp(0, 1)
