"""The bytes and FLOPs of every phase of a run, counted: the real code runs on models without weights.

What runs is what will run: this project's own prefix, sampling, log-prob and gradient code, and AdamW. The
counter is counter.py's, the models are meta.py's. What belongs to PRMU is counted in bench/memory.py.
"""
from __future__ import annotations

import torch
from torch import nn

from ..engine.decode import Decode, Sampler
from ..engine.model import adapter_parameters
from ..engine.prefix import Prefill, SharedPrefix, forward
from ..engine.sample import prefill
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
        quantiles = torch.zeros(prompts * group, completion, dtype=torch.float64, device=lengths.device)
        sampler = Sampler(model, state, 1.0, quantiles)
        sampler.first(hidden)
        for t in sorted({0, completion - 2}) if completion > 1 else ():
            sampler.next(t)

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
