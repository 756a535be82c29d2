"""The gradients of the policy: of one group in GRPO, and of whole sequences in SFT.

    group_gradient   the prompt forwarded once, its completions in micro-batches, one backward through the
                     prompt
    sft_gradient     whole sequences, one micro-batch of them

This is the one place where these gradients are made. The GRPO loop calls `group_gradient` with the policy
loss, the self-check with a sum of log-probs in two layouts, SFT calls `sft_gradient`, and the memory counter
calls both with tensors that have no data: what is counted and checked is what runs.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .logps import padded, token_logps
from .model import using
from .prefix import Prefill, PromptLayout, SharedPrefix, forward, forward_prompt


@dataclass(frozen=True)
class MicroBatch:
    """m completions of one prompt after their forward; R is the length of the longest of them.

    rows: which of the group's completions these are, slice(0, 4) say. mask [m, R] bool: True at real tokens.
    logps, entropy [m, R]: of the sampled tokens, in nats, 0 where mask is False. reference_logps [m, R]: the
    same tokens under the reference adapter, or None where no reference was asked for.
    """
    rows: slice
    mask: Tensor
    logps: Tensor
    entropy: Tensor
    reference_logps: Tensor | None


Loss = Callable[[MicroBatch], tuple[Tensor, dict[str, Tensor]]]
"""(loss to go backward from, detached sums to report) of a micro-batch."""


def group_gradient(model: nn.Module, prompt_ids: Tensor, completions: list[list[int]], loss: Loss, *,
                   layout: str, micro: int, temperature: float = 1.0, logp_chunk: int = 256,
                   reference: str | None = None,
                   shared_prompt: PromptLayout | None = None) -> dict[str, float]:
    """Adds the group's gradient to the active adapter; returns the sums that `loss` reported.

    prompt_ids [P]; completions: G lists of token ids. layout: one of config.LAYOUTS; all give the same
    gradient. micro: completions in one forward; the gradient does not depend on it. reference: the adapter
    whose log-probs the KL term needs. shared_prompt: the prompt where sampling has forwarded it already.
    """
    # 1. The prompt, once: under the policy with a graph, under the reference without.
    if shared_prompt is None:
        shared_prompt = forward_prompt(layout, model, prompt_ids)
    reference_prompt = None
    if reference is not None:
        with torch.no_grad(), using(model, reference):
            reference_prompt = SharedPrefix(model, prompt_ids)

    # 2. The completions, `micro` at a time. Their gradients with respect to the prompt collect in its leaves.
    sums: dict[str, float] = {}
    for first in range(0, len(completions), micro):
        rows = slice(first, first + micro)
        ids, mask = padded(completions[rows], prompt_ids.device)  # [m, R]
        reported = _micro_batch_backward(model, shared_prompt, reference_prompt, reference, rows, ids, mask,
                                         loss, temperature, logp_chunk)
        for name, value in reported.items():
            sums[name] = sums.get(name, 0.0) + value

    # 3. One backward through the prompt, from what its leaves have collected.
    shared_prompt.backward()
    return sums


def _micro_batch_backward(model: nn.Module, shared_prompt: PromptLayout,
                          reference_prompt: SharedPrefix | None, reference: str | None, rows: slice,
                          ids: Tensor, mask: Tensor, loss: Loss, temperature: float,
                          logp_chunk: int) -> dict[str, float]:
    """Forward and backward of m completions. A function of its own, so that nothing of the graph, which holds
    the prompt's keys and values, outlives it: the prompt's backward needs that memory."""
    # `predict` gives the states that predict each token, [m, R, H]; they are in no variable, so that they can
    # be let go.
    logps, entropy = token_logps(model, shared_prompt.predict(ids), ids, mask, temperature, logp_chunk)
    reference_logps = None
    if reference_prompt is not None:
        with torch.no_grad(), using(model, reference):
            reference_logps, _ = token_logps(model, reference_prompt.predict(ids), ids, mask, temperature,
                                             logp_chunk)
    total, reported = loss(MicroBatch(rows, mask, logps, entropy, reference_logps))
    total.backward()
    return {name: value.item() for name, value in reported.items()}


def sft_gradient(model: nn.Module, ids: Tensor, scored: Tensor, divisor: Tensor | int,
                 logp_chunk: int = 256) -> Tensor:
    """Adds the gradient of SFT's loss on a micro-batch to the active adapter; returns the loss, detached, in
    nats.

        loss = - sum over the scored tokens of log p(token | the tokens before it) / divisor

    ids [m, T]: prompt and completion, right-padded; padding lies in the future of every real token, so that
    no mask is needed. scored [m, R] bool, R < T: of the last R tokens of every row, those that the loss
    covers. divisor: the scored tokens of the whole batch that the micro-batch is a part of, so that the parts
    add up to the mean. logp_chunk: tokens whose logits are in memory at one time.
    """
    R = scored.shape[1]
    # The states before each of the last R tokens predict these, [m, R, H]. They are in no variable, so that
    # the states of the prompt can be let go.
    logps, _ = token_logps(model, forward(model, Prefill(keep=False), ids=ids)[:, -R - 1:-1], ids[:, -R:],
                           scored, chunk=logp_chunk)
    loss = -logps.sum() / divisor
    loss.backward()
    return loss.detach()
