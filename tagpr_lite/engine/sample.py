"""Sampling: B prompts x G rows decoded together, each prompt prefilled once and held once.

A row is decoded until it has ended and no longer (engine/decode.py). The log-probs that come back are those
of the distribution sampled from, temperature included, with no top-k and no top-p, so they are the old
log-probs of GRPO at no cost. Every row draws from a stream of its own seed, and its tokens do not depend on
what is sampled beside it. On a CPU the layers are folded for it (engine/fold.py); on a card a step is
recorded as a graph (engine/graph.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import UserError
from .decode import Decode, Sampler
from .fold import folded
from .prefix import KV, Forwarded, Prefill, base_of, forward

Listen = Callable[[int, int], bool]
"""(row, token) of every token as it is drawn -> whether the row goes on; row = prompt * G + number."""


@dataclass
class Sample:
    """One completion: token ids (the end token included when it came), their log-probs, and whether it
    ended."""
    ids: list[int]
    logps: list[float]
    ended: bool
    entropy: float = 0.0
    """Mean over the tokens, in nats, of the model's own distribution, whatever the temperature: 0 where every
    token was certain."""

    def add(self, token: int, logp: float, entropy: float, ends: set[int]) -> None:
        """One more token, with the entropy of the distribution that it was drawn from."""
        self.ids.append(token)
        self.logps.append(logp)
        self.entropy += (entropy - self.entropy) / len(self.ids)
        self.ended = token in ends


def end_tokens(model: nn.Module, tokenizer) -> set[int]:
    """Every id that ends a completion: the tokenizer's and all that the model's generation config names."""
    more = getattr(base_of(model).generation_config, "eos_token_id", None)
    more = more if isinstance(more, list) else [more]
    return {i for i in [tokenizer.eos_token_id, *more] if i is not None}


def prefill(model: nn.Module, prompts: list[list[int]], tick: Callable[[], None] = lambda: None,
            prefixes: Sequence[Forwarded] | None = None) -> tuple[KV, Tensor, Tensor]:
    """(kv per layer [B, Hkv, P, D] right-padded, lengths [B], last hidden states [B, H]).

    Prompts are forwarded one by one, so that no padding is computed. prefixes: the prompts where they are
    forwarded already. tick: called after each prompt.
    """
    device = base_of(model).device
    if prefixes is not None:
        kv_of_prompts = [dict(enumerate(prefix.kv)) for prefix in prefixes]
        last_states = [prefix.last for prefix in prefixes]
    else:
        kv_of_prompts, last_states = [], []
        for prompt_ids in prompts:
            mode = Prefill()
            ids = torch.tensor(prompt_ids, device=device)[None]
            # Neither a view nor a variable: either would hold the states of the whole prompt.
            last_states.append(forward(model, mode, ids=ids)[:, -1].clone())
            kv_of_prompts.append(mode.kv)
            tick()
    longest = max(len(prompt_ids) for prompt_ids in prompts)

    def stacked(layer: int, side: int) -> Tensor:
        """Keys (side 0) or values (1) of all prompts, [B, Hkv, longest, D]."""
        tensors = [kv[layer][side] for kv in kv_of_prompts]
        return torch.cat([F.pad(tensor, (0, 0, 0, longest - tensor.shape[2])) for tensor in tensors])

    kv = []
    for layer in sorted(kv_of_prompts[0]):
        kv.append((stacked(layer, 0), stacked(layer, 1)))
        for unpadded in kv_of_prompts:  # let go layer by layer, so that both never stand whole
            del unpadded[layer]
    lengths = torch.tensor([len(prompt_ids) for prompt_ids in prompts], device=device)
    return kv, lengths, torch.cat(last_states)


def require_finite_states(hidden: Tensor) -> None:
    """UserError where a state is NaN or infinite: argmax and quantiles of NaN are tokens like any other."""
    if not bool(hidden.isfinite().all()):
        raise UserError("the model's states are not finite numbers: its weights or its adapter are damaged")


@torch.inference_mode()
def sample(model: nn.Module, prompts: list[list[int]], group: int, room: int, ends: set[int], *,
           temperature: float = 1.0, seeds: list[list[int]] | None = None,
           prefixes: Sequence[Forwarded] | None = None, tick: Callable[[], None] = lambda: None,
           listen: Listen | None = None) -> list[list[Sample]]:
    """[B][G] completions of at most `room` tokens.

    ends: the ids that end a completion. temperature 0 is greedy; otherwise seeds [B][G] are needed. prefixes
    [B]: the prompts where they are forwarded already. tick: called after each prompt and each decoded token.
    listen: gets every token as it is drawn.
    """
    with folded(model):
        kv, lengths, hidden = prefill(model, prompts, tick, prefixes)
        require_finite_states(hidden)
        completions = [Sample([], [], False) for _ in range(len(prompts) * group)]  # prompt by prompt
        quantiles = None if temperature == 0 else _uniforms(seeds, room, lengths.device)  # [B * G, room]
        state = Decode(kv, lengths, group, room)
        del kv
        sampler = Sampler(model, state, temperature, quantiles)
        drawn = sampler.first(hidden)
        over: set[int] = set()  # rows that have ended, or that nobody listens to any more
        for t in range(room):
            # 1. The tokens of place t join their completions.
            values_of_rows = zip(state.rows, *(values.tolist() for values in drawn), strict=True)
            for row, token, logp, entropy in values_of_rows:
                if row not in over:
                    completions[row].add(token, logp, entropy, ends)
                    goes_on = listen is None or listen(row, token)
                    if completions[row].ended or not goes_on:
                        over.add(row)
            tick()

            # 2. What is over is dropped, and the others are asked for their next token.
            ended = [row in over for row in state.rows]
            if t == room - 1 or all(ended):
                break
            sampler.drop(ended)
            drawn = sampler.next(t)
    return [completions[first:first + group] for first in range(0, len(completions), group)]


def _uniforms(seeds: list[list[int]], room: int, device) -> Tensor:
    """[B * G, room] numbers in [0, 1), each row from its own seed, drawn on the CPU so that every device
    agrees."""
    def row(seed: int) -> Tensor:
        return torch.rand(room, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return torch.stack([row(seed) for of_prompt in seeds for seed in of_prompt]).to(device)
