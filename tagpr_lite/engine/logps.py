"""Log-probs of chosen tokens without ever holding a [tokens, vocabulary] tensor for all of them.

The head is frozen and a log-prob is one number, so all that a backward will ever want of a token's row of
logits is one vector, d log p(token) / d hidden, as wide as the hidden state. It is taken while the row
exists, `chunk` rows at a time: logits are made once, die in the forward, and backward is a product with a
number. No kernel is needed.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import UserError
from .prefix import base_of


def padded(completions: list[list[int]], device, pad: int = 0) -> tuple[Tensor, Tensor]:
    """(ids [m, R] right-padded, mask [m, R] bool). The mask comes from lengths, never from token values."""
    lengths = torch.tensor([len(c) for c in completions])
    ids = torch.full((len(completions), int(lengths.max())), pad)
    for row, c in zip(ids, completions):
        row[:len(c)] = torch.tensor(c)
    return ids.to(device), (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(device)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probs [N, V] of fp32 logits. Not torch's own: on a CPU its sum over 49k tokens is off by 2e-5 nats,
    always to the same side, and those that sample must round like those that train."""
    return logits - logits.logsumexp(-1, keepdim=True)


class Chosen(torch.autograd.Function):
    """(log-probs [N] of tokens [N], entropies [N]) after hidden states [N, H]: softmax(W hidden /
    temperature), W [V, H].

    d log p(token) / d hidden = (e_token - p) W / temperature. Entropies carry no gradient.
    """

    @staticmethod
    def forward(ctx, hidden: Tensor, tokens: Tensor, weight: Tensor, temperature: float):
        logits = F.linear(hidden, weight)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).div_(temperature)
        total = logits.logsumexp(-1, keepdim=True)
        logps, p = (logits.gather(-1, tokens[:, None]) - total)[:, 0], (logits - total).exp_()
        # in place: no third table; a dot product would round far worse
        entropy = total[:, 0] - logits.mul_(p).sum(-1)
        ctx.mark_non_differentiable(entropy)
        if ctx.needs_input_grad[0]:
            del logits
            p.neg_().scatter_add_(-1, tokens[:, None], torch.ones_like(p[:, :1]))
            ctx.save_for_backward((p.to(weight.dtype) @ weight).div_(temperature))
        return logps, entropy

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        slope, = ctx.saved_tensors
        return grad[:, None].to(slope.dtype) * slope, None, None, None


def token_logps(model: nn.Module, hidden: Tensor, ids: Tensor, mask: Tensor, temperature: float = 1.0,
                chunk: int = 256) -> tuple[Tensor, Tensor]:
    """(log-probs [m, R], entropies [m, R]) in nats, of softmax(logits / temperature); 0 where mask is False.
    fp32, or fp64 where the model is.

    hidden [m, R, H] predicts ids [m, R].
    """
    head = base_of(model).lm_head
    if type(head) is not nn.Linear or head.bias is not None or head.weight.requires_grad:
        raise UserError("log-probs need a frozen, plain lm_head: leave it out of model.lora_targets")
    parts = [Chosen.apply(h, t, head.weight, temperature)
             for h, t in zip(hidden[mask].split(chunk), ids[mask].split(chunk))]
    index = mask.nonzero(as_tuple=True)

    def placed(values: list[Tensor]) -> Tensor:
        """Values of the real tokens, one after another, at their places in [m, R]."""
        joined = torch.cat(values)
        return torch.zeros(ids.shape, dtype=joined.dtype, device=ids.device).index_put(index, joined)

    return placed([logp for logp, _ in parts]), placed([entropy for _, entropy in parts])
