"""Log-probs of chosen tokens without ever holding a [tokens, vocabulary] tensor for all of them.

Logits are made for `chunk` tokens at a time and recomputed in backward. The head is frozen, so a checkpoint around
each chunk is exact and enough; no kernel is needed.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .prefix import base_of


def padded(completions: list[list[int]], device, pad: int = 0) -> tuple[Tensor, Tensor]:
    """(ids [m, R] right-padded, mask [m, R] bool). The mask comes from lengths, never from token values."""
    lengths = torch.tensor([len(c) for c in completions])
    ids = torch.full((len(completions), int(lengths.max())), pad)
    for row, c in zip(ids, completions):
        row[:len(c)] = torch.tensor(c)
    return ids.to(device), (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(device)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probs [N, V] of fp32 logits. Not torch's own: on a CPU its sum over 49k tokens is off by 2e-5 nats, always to the
    same side, and those that sample must round like those that train."""
    return logits - logits.logsumexp(-1, keepdim=True)


class Chosen(torch.autograd.Function):
    """(log-probs [N] of tokens [N], entropies [N]) of softmax(logits [N, V]). By hand for memory: neither way holds more
    than one table beside the logits. d log p(token) / d logits = [is the token] - p; entropies carry no gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, tokens: Tensor):
        total = logits.logsumexp(-1, keepdim=True)
        ctx.save_for_backward(logits, total, tokens[:, None])
        ctx.mark_non_differentiable(entropy := total[:, 0] - (logits - total).exp_().mul_(logits).sum(-1))
        return (logits.gather(-1, tokens[:, None]) - total)[:, 0], entropy

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        logits, total, tokens = ctx.saved_tensors
        return (logits - total).exp_().mul_(-grad[:, None]).scatter_add_(-1, tokens, grad[:, None]), None


def token_logps(model: nn.Module, hidden: Tensor, ids: Tensor, mask: Tensor, temperature: float = 1.0,
                chunk: int = 256) -> tuple[Tensor, Tensor]:
    """(log-probs [m, R], entropies [m, R]) in nats, fp32, of softmax(logits / temperature); 0 where mask is False.

    hidden [m, R, H] predicts ids [m, R].
    """
    head = base_of(model).lm_head

    def score(h: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return Chosen.apply(head(h).float() / temperature, tokens)

    flat_hidden, flat_ids = hidden[mask], ids[mask]
    parts = [checkpoint(score, h, t, use_reentrant=False) if torch.is_grad_enabled() else score(h, t)
             for h, t in zip(flat_hidden.split(chunk), flat_ids.split(chunk))]
    logps, entropies = (torch.zeros(ids.shape, device=ids.device) for _ in range(2))
    index = mask.nonzero(as_tuple=True)
    return (logps.index_put(index, torch.cat([p for p, _ in parts])),
            entropies.index_put(index, torch.cat([e for _, e in parts])))
