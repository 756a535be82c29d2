"""The bytes and FLOPs of every phase of a run, counted: the real code runs on models without weights.

What runs is what will run: this project's own prefix, sampling, log-prob and gradient code, and AdamW. The
counter is counter.py's, the models are meta.py's. What belongs to PRMU is counted in bench/memory.py.
"""
from __future__ import annotations

import torch
from torch import nn

from ..engine.model import adapter_parameters
from ..engine.prefix import Decode, Prefill, SharedPrefix, forward
from ..engine.sample import choose, prefill
from ..engine.update import group_gradient, sft_gradient
from .counter import Count, count
from .meta import POLICY


def count_update(model: nn.Module, layout: str, prompt: int, group: int, completion: int, micro: int,
                 chunk: int, reference: str | None = None) -> Count:
    """A group of full length and the optimiser step, by the code that the GRPO loop runs; earlier groups have
    left a gradient. reference: the adapter whose log-probs the KL term needs."""
    params, optimizer = _trained(model)
    device = params[0].device
    prompt_ids = torch.zeros(prompt, dtype=torch.long, device=device)
    completions = [[0] * completion] * group

    def work():
        for p in params:
            p.grad = torch.zeros_like(p)
        group_gradient(model, prompt_ids, completions, lambda batch: (batch.logps.sum(), {}), layout=layout,
                       micro=micro, logp_chunk=chunk, reference=reference)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.train()
    return count(work, model, optimizer)


@torch.inference_mode()
def count_rollout(model: nn.Module, prompts: int, prompt: int, group: int, completion: int) -> Count:
    """`prompts` prompts prefilled, then `group` rows of each decoded together: the first and the last
    token."""
    def work():
        kv, lengths, hidden = prefill(model, [[0] * prompt] * prompts)
        state = Decode(kv, lengths, group, completion)
        del kv
        hidden = hidden[:, None].expand(-1, group, -1).reshape(prompts * group, -1)
        uniform = torch.zeros(prompts * group, dtype=torch.float64, device=lengths.device)
        for t in (0, max(0, completion - 2)):
            chosen, _ = choose(model, hidden, 1.0, uniform)
            state.t = t
            start = (state.lengths + t)[:, None].expand(-1, group).reshape(-1)
            hidden = forward(model, state, ids=chosen[:, None], start=start)[:, 0]

    model.eval()
    return count(work, model)


@torch.no_grad()
def count_scoring(model: nn.Module, prompt: int, completion: int, micro: int) -> Count:
    """A prompt and `micro` completions forwarded without gradients, as PRMU and the reference are."""
    device = next(model.parameters()).device

    def work():
        at = SharedPrefix(model, torch.zeros(prompt, dtype=torch.long, device=device))
        at.suffix(torch.zeros(micro, completion, dtype=torch.long, device=device))

    model.eval()
    return count(work, model)


def count_sft(model: nn.Module, prompt: int, completion: int, batch: int, micro: int, chunk: int) -> Count:
    """An optimiser step of SFT on `batch` sequences of full length, `micro` at a time, by the code that step 3
    runs."""
    params, optimizer = _trained(model)
    device = params[0].device
    scored = torch.ones(min(micro, batch), completion, dtype=torch.bool, device=device)

    def work():
        for first in range(0, batch, micro):
            rows = min(micro, batch - first)
            ids = torch.zeros(rows, prompt + completion, dtype=torch.long, device=device)
            sft_gradient(model, ids, scored[:rows], batch * completion, chunk)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.train()
    return count(work, model, optimizer)


@torch.no_grad()
def count_embedding(model: nn.Module, tokens: int, rows: int) -> Count:
    """`rows` texts embedded together (engine/embed.py)."""
    device = next(model.parameters()).device

    def work():
        ids = torch.zeros(rows, tokens, dtype=torch.long, device=device)
        forward(model, Prefill(keep=False), ids=ids).float()

    model.eval()
    return count(work, model)


def _trained(model: nn.Module) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    """The policy's parameters, and their optimiser with its two moments made."""
    params = list(adapter_parameters(model, POLICY).values())
    optimizer = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0, foreach=True)  # as on a CUDA card
    for p in params:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return params, optimizer
