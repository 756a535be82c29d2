"""Sampling: B prompts x G rows decoded together, each prompt prefilled once and held once.

The linear layers take all rows at a time, attention goes prompt by prompt through engine.prefix.Decode. The
log-probs that come back are those of the distribution sampled from, temperature included, with no top-k and
no top-p, so they are the old log-probs of GRPO at no cost. Every row draws from a stream of its own seed:
batching changes nothing. On a CPU the layers are folded for it (engine/fold.py).
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .fold import folded
from .logps import log_softmax
from .prefix import Decode, Prefill, SharedPrefix, base_of, forward


@dataclass
class Sample:
    """One completion: token ids (the end token included when it came), their log-probs, and whether it
    ended."""
    ids: list[int]
    logps: list[float]
    ended: bool


def end_tokens(model: nn.Module, tokenizer) -> set[int]:
    """Every id that ends a completion: the tokenizer's and all that the model's generation config names."""
    more = getattr(base_of(model).generation_config, "eos_token_id", None)
    more = more if isinstance(more, list) else [more]
    return {i for i in [tokenizer.eos_token_id, *more] if i is not None}


def prefill(model: nn.Module, prompts: list[list[int]], tick: Callable[[], None] = lambda: None,
            prefixes: list[SharedPrefix] | None = None):
    """(kv per layer [B, Hkv, P, D] right-padded, lengths [B], last hidden states [B, H]); prompts go one by
    one, or have gone as `prefixes`."""
    device = base_of(model).device
    kvs, last = [dict(enumerate(at.kv)) for at in prefixes or ()], [at.last for at in prefixes or ()]
    for ids in prompts if prefixes is None else ():
        mode = Prefill()
        last.append(forward(model, mode, ids=torch.tensor(ids, device=device)[None])[:, -1].clone())  # not a view of all
        kvs.append(mode.kv)
        tick()
    longest = max(map(len, prompts))
    stack = lambda layer, side: torch.cat([torch.nn.functional.pad(kv[layer][side],
                                                                   (0, 0, 0,
                                                                    longest - kv[layer][side].shape[2]))
                                           for kv in kvs])
    kv = []
    for layer in sorted(kvs[0]):
        kv.append((stack(layer, 0), stack(layer, 1)))
        for one in kvs:  # the unpadded copies go layer by layer, so that both never stand whole
            del one[layer]
    return kv, torch.tensor([len(p) for p in prompts], device=device), torch.cat(last)


@torch.inference_mode()
def sample(model: nn.Module, prompts: list[list[int]], group: int, room: int, ends: set[int], *,
           temperature: float = 1.0, seeds: list[list[int]] | None = None, prefixes: list[SharedPrefix]
           | None = None, tick: Callable[[], None] = lambda: None) -> list[list[Sample]]:
    """[B][G] completions of at most `room` tokens. temperature 0 is greedy; otherwise seeds [B][G] are
    needed. `prefixes` [B]: the prompts where they are forwarded already."""
    with folded(model):
        kv, lengths, hidden = prefill(model, prompts, tick, prefixes)
        rows = [[Sample([], [], False) for _ in range(group)] for _ in prompts]
        state, live = Decode(kv, lengths, group, room), list(range(len(prompts)))
        del kv
        uniform = None if temperature == 0 else _uniforms(seeds, room, lengths.device)  # [B, G, room]
        hidden = hidden[:, None].expand(-1, group, -1).reshape(len(prompts) * group, -1)
        for t in range(room):
            chosen, logps = choose(model, hidden, temperature, None if uniform is None
                                   else uniform[live, :, t].reshape(-1))
            for i, (token, lp) in enumerate(zip(chosen.tolist(), logps.tolist())):
                row = rows[live[i // group]][i % group]
                if not row.ended:
                    row.ids.append(token)
                    row.logps.append(lp)
                    row.ended = token in ends
            tick()
            alive = [not all(r.ended for r in rows[b]) for b in live]
            if t == room - 1 or not any(alive):
                break
            if not all(alive):
                keep = torch.tensor(alive, device=lengths.device)
                state.keep(keep)
                chosen = chosen.view(-1, group)[keep].reshape(-1)
                live = [b for b, a in zip(live, alive) if a]
            state.t = t
            start = (state.lengths + t)[:, None].expand(-1, group).reshape(-1)
            hidden = forward(model, state, ids=chosen[:, None], start=start)[:, 0]
    return rows


def choose(model: nn.Module, hidden: Tensor, temperature: float, u: Tensor | None) -> tuple[Tensor, Tensor]:
    """(tokens [N], their log-probs [N]) after hidden states [N, H]: at the quantiles u [N], or greedily where
    u is None."""
    logp = log_softmax(base_of(model).lm_head(hidden).float() / (temperature or 1.0))
    chosen = logp.argmax(-1) if u is None else _inverse_cdf(logp, u)
    return chosen, logp.gather(-1, chosen[:, None])[:, 0]


def _uniforms(seeds: list[list[int]], room: int, device) -> Tensor:
    """[B, G, room] numbers in [0, 1), each row from its own seed, drawn on the CPU so that every device
    agrees."""
    draw = lambda s: torch.rand(room, generator=torch.Generator().manual_seed(s), dtype=torch.float64)
    return torch.stack([torch.stack([draw(s) for s in row]) for row in seeds]).to(device)


def _inverse_cdf(logp: Tensor, u: Tensor) -> Tensor:
    """Tokens [N] at quantiles u [N] of the distributions logp [N, V]; fp64, since fp32 sums drift over 150k
    terms."""
    cdf = logp.double().exp().cumsum(-1)
    return torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0].clamp(max=logp.shape[1] - 1)
