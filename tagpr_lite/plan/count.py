"""The bytes and FLOPs of every phase of a run, counted: the real code runs on models without weights.

What runs is what will run: this project's own prefix, sampling, log-prob and gradient code, and AdamW. The
counter is counter.py's, the models are meta.py's. What belongs to PRMU is counted in bench/memory.py.
"""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..engine.model import adapter_parameters, using
from ..engine.prefix import Decode, Prefill, SharedPrefix, forward
from ..engine.sample import choose, prefill
from ..engine.update import group_gradient, sft_gradient
from .counter import Count, count
from .meta import POLICY

Work = Callable[[], object]


# ---------------------------------------------------------------- what the steps do, at full length

def trained(model: nn.Module, adapter: str = POLICY,
            parts: nn.Module | None = None) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    """The parameters of an adapter (and of `parts`), and their optimiser with its two moments made."""
    params = list(adapter_parameters(model, adapter).values())
    params += list(parts.parameters()) if parts is not None else []
    optimizer = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0, foreach=True)  # as on a CUDA card
    give_gradients(params)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return params, optimizer


def give_gradients(params: list[nn.Parameter]) -> None:
    """Gradients of zero, as an earlier group or batch has left them."""
    for param in params:
        param.grad = torch.zeros_like(param)


def finish_step(params: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    """What follows the last gradient of an optimiser step."""
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def update_work(model: nn.Module, params: list[nn.Parameter], optimizer: torch.optim.Optimizer, layout: str,
                prompt: int, group: int, completion: int, micro: int, chunk: int,
                reference: str | None = None) -> Work:
    """A group and the optimiser step, by the code that the GRPO loop runs. reference: the adapter whose
    log-probs the KL term needs."""
    prompt_ids = torch.zeros(prompt, dtype=torch.long, device=params[0].device)
    completions = [[0] * completion] * group

    def work() -> None:
        model.train()
        give_gradients(params)
        group_gradient(model, prompt_ids, completions, lambda batch: (batch.logps.sum(), {}), layout=layout,
                       micro=micro, logp_chunk=chunk, reference=reference)
        finish_step(params, optimizer)

    return work


def sft_work(model: nn.Module, params: list[nn.Parameter], optimizer: torch.optim.Optimizer, prompt: int,
             completion: int, batch: int, micro: int, chunk: int) -> Work:
    """An optimiser step of SFT on `batch` sequences, `micro` at a time, by the code that step 3 runs."""
    device = params[0].device
    scored = torch.ones(min(micro, batch), completion, dtype=torch.bool, device=device)

    def work() -> None:
        model.train()
        for first in range(0, batch, micro):
            rows = min(micro, batch - first)
            ids = torch.zeros(rows, prompt + completion, dtype=torch.long, device=device)
            sft_gradient(model, ids, scored[:rows], batch * completion, chunk)
        finish_step(params, optimizer)

    return work


def rollout_work(model: nn.Module, prompts: int, prompt: int, group: int, completion: int) -> Work:
    """`prompts` prompts prefilled, then `group` rows of each decoded together: the first and the last
    token."""
    @torch.inference_mode()
    def work() -> None:
        model.eval()
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

    return work


def scoring_work(model: nn.Module, prompt: int, completion: int, micro: int) -> Work:
    """A prompt and `micro` completions forwarded without gradients, as the reference is."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def work() -> None:
        model.eval()
        at = SharedPrefix(model, torch.zeros(prompt, dtype=torch.long, device=device))
        at.suffix(torch.zeros(micro, completion, dtype=torch.long, device=device))

    return work


def embedding_work(model: nn.Module, tokens: int, rows: int) -> Work:
    """`rows` texts embedded together (engine/embed.py)."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def work() -> None:
        model.eval()
        ids = torch.zeros(rows, tokens, dtype=torch.long, device=device)
        with using(model, None):
            forward(model, Prefill(keep=False), ids=ids).float()

    return work


# ---------------------------------------------------------------- counted in a model that holds no more

def count_update(model: nn.Module, layout: str, prompt: int, group: int, completion: int, micro: int,
                 chunk: int, reference: str | None = None) -> Count:
    params, optimizer = trained(model)
    work = update_work(model, params, optimizer, layout, prompt, group, completion, micro, chunk, reference)
    return count(work, model, optimizer)


def count_sft(model: nn.Module, prompt: int, completion: int, batch: int, micro: int, chunk: int) -> Count:
    params, optimizer = trained(model)
    work = sft_work(model, params, optimizer, prompt, completion, batch, micro, chunk)
    return count(work, model, optimizer)


def count_rollout(model: nn.Module, prompts: int, prompt: int, group: int, completion: int) -> Count:
    return count(rollout_work(model, prompts, prompt, group, completion), model)


def count_scoring(model: nn.Module, prompt: int, completion: int, micro: int) -> Count:
    return count(scoring_work(model, prompt, completion, micro), model)


def count_embedding(model: nn.Module, tokens: int, rows: int) -> Count:
    return count(embedding_work(model, tokens, rows), model)
