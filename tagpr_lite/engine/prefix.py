"""One prompt, G completions: the prompt is computed once, in sampling and in training. The heart of the
project.

A LaMP prompt carries a user's profile and is long; its G completions are short. Trainers that repeat the
prompt for every completion forward G (P + R) tokens where P + G R do. One attention function, registered with
transformers under NAME, serves four modes, each a small object handed down the model's forward as `shared=`:

    Prefill   causal attention over the prompt; its keys and values are kept
    Suffix    completions [m, R] attend to the prompt's keys and values and, causally, to themselves
    Packed    prompt and completions as one row under a mask (the layout `packed`)
    Decode    one new token a row attends to the prompt's keys and values, never copied, and to its own past
              (engine/decode.py)

Training in two exact phases. The prompt is forwarded once and its outputs cut off as leaves; completions go
forward and backward in micro-batches against those leaves, which collect their gradients; one backward
through the prompt ends it. The gradients equal those of G separate forwards (tests/engine/test_prefix.py),
and memory does not grow with G. A forward without `shared` raises: a mask that silently failed to arrive
would train on nonsense.

Prior art; none of this was found first here. The two phases are those of schedule-level prefix reuse (arXiv
2606.01143): prefix forward once, micro-batches of suffixes that add up the gradients of its keys and values,
prefix backward once. AReaL-DTA (2602.00482) does it for trees, depth first. PrefixGrouper (2506.05433) splits
a layer's attention into that of the prefix to itself and that of the suffixes to both. Decoding from one
prompt: bifurcated attention (2403.08845) makes two products of a step, with the prompt's keys and with a
row's own; Hydragen (2402.05099) takes the queries of all rows together in the first of them, and joins two
softmaxes where Decode takes one over both.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from torch.nn.attention.bias import CausalBias, causal_lower_right
from transformers import AttentionInterface

from ..config import LAYOUTS, UserError

NAME = "shared_prefix"
TESTED = ("qwen3", "qwen2", "llama", "mistral", "phi3")
# Devices whose every attention kernel lets several query heads read one key head.
SHARES_HEADS = ("cpu",)
KV = list[tuple[Tensor, Tensor]]  # per layer: keys and values, each [B, Hkv, P, D]


def check_architecture(config) -> None:
    """Refuses what a shared prefix would silently break: sliding windows, linear attention, untested
    families."""
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if config.model_type not in TESTED or layers != {"full_attention"} or window:
        raise UserError(f"model type '{config.model_type}' with {', '.join(sorted(layers))} layers and "
                        f"sliding window {window} cannot share a prompt; "
                        f"tested: {', '.join(TESTED)} with full attention")


def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask, scaling=None, dropout=0.0, *,
              shared=None, **_):
    """transformers' attention signature: q [B, H, T, D], k and v [B, Hkv, T, D] -> [B, T, H, D]."""
    if shared is None:
        raise RuntimeError("shared_prefix attention was reached without its state; call it through "
                           "engine.prefix")
    return shared.attend(module.layer_idx, q, k, v, scaling).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attention)


def shares_heads(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """Whether attention can run on keys and values [m, Hkv, T, D] as they are, with more query heads than key
    heads.

    Of a card's kernels flash can. It takes no mask but a causal one (CausalBias), and the type, the head size
    and the card have to suit it: torch is asked, in the words in which it asks itself before it chooses.
    """
    if q.device.type in SHARES_HEADS:
        return True
    if q.device.type != "cuda" or not (mask is None or isinstance(mask, CausalBias)):
        return False
    return can_use_flash_attention(SDPAParams(q, k, v, None, 0.0, False, True))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scaling: float, mask: Tensor | None = None, **how) -> Tensor:
    if shares_heads(q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, mask, scale=scaling, enable_gqa=True, **how)
    n = q.shape[1] // k.shape[1]  # grouped-query attention: n query heads read one key head
    return F.scaled_dot_product_attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), mask,
                                          scale=scaling, **how)


def attend_causally(q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
    """The last T of S tokens attend to those up to themselves: q [m, H, T, D], k and v [m, Hkv, S, D]."""
    return _sdpa(q, k, v, scaling, causal_lower_right(q.shape[2], k.shape[2]))


@dataclass
class Prefill:
    """Causal attention that keeps the keys and values of every layer (or, keep=False, of none)."""
    keep: bool = True
    kv: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def attend(self, layer, q, k, v, scaling):
        # activation checkpointing runs this twice: the first pass counts
        if self.keep and layer not in self.kv:
            self.kv[layer] = (k, v)
        return _sdpa(q, k, v, scaling, is_causal=True)


@dataclass
class Suffix:
    """m completions of one prompt, right-padded; padding lies in the future of every real token, so no
    mask."""
    kv: KV

    def attend(self, layer, q, k, v, scaling):
        prompt_k, prompt_v = self.kv[layer]  # [1, Hkv, P, D]
        k = torch.cat([prompt_k.expand(k.shape[0], -1, -1, -1), k], 2)  # [m, Hkv, P + R, D]
        v = torch.cat([prompt_v.expand(v.shape[0], -1, -1, -1), v], 2)
        return attend_causally(q, k, v, scaling)


@dataclass
class Packed:
    """One row that holds the prompt and several completions; sees [T, T] bool says who attends to whom."""
    sees: Tensor

    def attend(self, layer, q, k, v, scaling):
        return _sdpa(q, k, v, scaling, self.sees)


def base_of(model: nn.Module) -> nn.Module:
    """The transformers model under the adapters, which live in its layers."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def forward(model: nn.Module, shared, *, ids: Tensor | None = None, embeds: Tensor | None = None,
            start: int | Tensor = 0, positions: Tensor | None = None) -> Tensor:
    """Last hidden states [B, T, H] of ids [B, T] (or embeds [B, T, H]) whose first position is `start` (int
    or [B]), unless all `positions` [B, T] are given."""
    inputs = ids if ids is not None else embeds
    rows, length = inputs.shape[:2]
    if positions is None:  # start [7, 9] and three tokens give [[7, 8, 9], [9, 10, 11]]
        first = torch.as_tensor(start, device=inputs.device).reshape(-1, 1).expand(rows, 1)
        positions = first + torch.arange(length, device=inputs.device)
    # The 4D mask is never read: it keeps transformers from guessing packed documents out of position_ids.
    never_read = torch.ones(1, 1, 1, 1, device=inputs.device)
    return base_of(model).model(input_ids=ids, inputs_embeds=embeds, position_ids=positions,
                                attention_mask=never_read, use_cache=False, shared=shared).last_hidden_state


@contextmanager
def unchecked(model: nn.Module) -> Iterator[None]:
    """Activation checkpointing is off within the block; what was forwarded before it is still recomputed."""
    layers = [m for m in base_of(model).modules() if getattr(m, "gradient_checkpointing", False)]
    for m in layers:
        m.gradient_checkpointing = False
    try:
        yield
    finally:
        for m in layers:
            m.gradient_checkpointing = True


class Forwarded(Protocol):
    """A prompt that was forwarded: keys and values of each layer [1, Hkv, P, D], and the last position's
    hidden state [1, H], which predicts a completion's first token."""
    kv: KV
    last: Tensor


class SharedPrefix:
    """A prompt forwarded once, for any number of completions: the layouts `two_phase`, `kept` and
    `recompute`.

    With `grad`: `predict` or `suffix` as often as wanted, each followed by a backward of its own loss, then
    `backward` once for the prompt. Without: only the first part, for scoring. `recompute` forwards the prompt
    without a graph first and again before its backward, so that prompt and completions never hold activations
    at the same time. `keep`: where activations are checkpointed, those of the completions are not. The
    prompt's have to wait for every micro-batch and are worth computing twice; a micro-batch's are used at
    once.
    """

    def __init__(self, model: nn.Module, ids: Tensor | None = None, embeds: Tensor | None = None,
                 grad: bool = False, recompute: bool = False, keep: bool = False):
        """ids [P], or embeds [P, H] (soft tokens and prompt)."""
        self.model, self._recompute, self._keep = model, recompute, keep
        self._prompt = {"ids": None if ids is None else ids[None],
                        "embeds": None if embeds is None else embeds[None]}
        # The outputs cut off as leaves [k, v, k, v, .., last state]: completions leave their gradients in
        # them.
        with torch.set_grad_enabled(grad and not recompute):
            self._leaves = [output.detach().requires_grad_(grad) for output in self._forward()]
        self.kv = list(zip(self._leaves[:-1:2], self._leaves[1:-1:2], strict=True))
        self.last = self._leaves[-1]  # [1, H]: the hidden state that predicts a completion's first token
        self.length = self.kv[0][0].shape[2]

    def _forward(self) -> list[Tensor]:
        """Keys and values of every layer in turn, and the last position's hidden state."""
        self._mode = Prefill()
        hidden = forward(self.model, self._mode, **self._prompt)
        outputs = [tensor for layer in sorted(self._mode.kv) for tensor in self._mode.kv[layer]]
        outputs.append(hidden[:, -1].clone())  # a view would hold the states of the whole prompt
        # Where the backward will enter the graph. An edge holds no tensor, so keys and values can be let go.
        self._edges = [get_gradient_edge(output) if output.requires_grad else None for output in outputs]
        return outputs

    def suffix(self, ids: Tensor) -> Tensor:
        """Hidden states [m, R, H] at the tokens of completions ids [m, R]."""
        with unchecked(self.model) if self._keep else nullcontext():
            return forward(self.model, Suffix(self.kv), ids=ids, start=self.length)

    def predict(self, ids: Tensor) -> Tensor:
        """Hidden states [m, R, H] that predict each token of ids [m, R]: the prompt's last, then the
        completion's own, one place to the left."""
        first = self.last[:, None].expand(ids.shape[0], 1, -1)
        return first if ids.shape[1] == 1 else torch.cat([first, self.suffix(ids[:, :-1])], 1)

    def backward(self) -> None:
        """The one backward through the prompt, from the gradients that its leaves have collected; it ends the
        prefix."""
        grads = [leaf.grad for leaf in self._leaves]
        self.kv = self.last = self._leaves = None  # let go before the prompt's activations come back
        if self._recompute:
            self._forward()
        self._mode.keep, self._mode.kv = False, {}
        entered = [(edge, grad) for edge, grad in zip(self._edges, grads, strict=True)
                   if edge is not None and grad is not None]
        # An edge keeps its part of the graph. Where no gradient enters, as at the last state in PRMU, that
        # part would be recomputed and held until the end.
        self._edges = None
        torch.autograd.backward([edge for edge, _ in entered], [grad for _, grad in entered])


class PackedPrompt:
    """The layout `packed`: [prompt | c1 | .. | cm] as one row under a mask, the prompt once a micro-batch.
    For budgets so small that the prompt's keys and values should not outlive a micro-batch; the mask is
    dense, T^2 bytes."""

    def __init__(self, model: nn.Module, ids: Tensor):
        self.model, self.prompt, self.length = model, ids, len(ids)

    def predict(self, ids: Tensor) -> Tensor:
        """Hidden states [m, R, H] that predict each token of ids [m, R]."""
        (m, R), P, device = ids.shape, self.length, ids.device
        row = torch.cat([self.prompt, ids.reshape(-1)])  # [P + m R]
        # Example of P = 2, m = 2, R = 2: segment [0, 0, 1, 1, 2, 2], place [0, 1, 2, 3, 2, 3].
        of_completions = torch.arange(1, m + 1, device=device).repeat_interleave(R)
        segment = torch.cat([torch.zeros(P, device=device), of_completions])
        place = torch.cat([torch.arange(P, device=device), torch.arange(P, P + R, device=device).repeat(m)])
        # [query, key]: a token sees the prompt and its own completion, up to itself.
        sees = (segment == 0) | (segment[:, None] == segment)
        mode = Packed(sees & torch.ones_like(sees).tril())
        hidden = forward(self.model, mode, ids=row[None], positions=place[None])[0]
        own = hidden[P:].view(m, R, -1)
        return torch.cat([hidden[P - 1].expand(m, 1, -1), own[:, :-1]], 1)

    def backward(self) -> None:
        """Nothing is left to do: every micro-batch went back through its own prompt."""


class ClassicPrompt:
    """The layout `classic`: prompt and completion forwarded together, row by row, as other trainers do. It is
    what the others are compared with, and a last resort."""

    def __init__(self, model: nn.Module, ids: Tensor):
        self.model, self.prompt, self.length = model, ids, len(ids)

    def predict(self, ids: Tensor) -> Tensor:
        """Hidden states [m, R, H] that predict each token of ids [m, R]."""
        rows = torch.cat([self.prompt.expand(len(ids), -1), ids], 1)
        return forward(self.model, Prefill(keep=False), ids=rows)[:, self.length - 1:-1]

    def backward(self) -> None:
        """Nothing is left to do, as in `packed`."""


class PromptLayout(Protocol):
    """A prompt [P] in training: how its completions are forwarded, and how their gradients reach it."""

    def predict(self, ids: Tensor) -> Tensor:
        """Hidden states [m, R, H] that predict each token of completions ids [m, R]."""

    def backward(self) -> None:
        """Once, after the backward of every micro-batch."""


def forward_prompt(layout: str, model: nn.Module, prompt_ids: Tensor) -> PromptLayout:
    """The prompt ids [P] forwarded for training, in one of config.LAYOUTS."""
    if layout not in LAYOUTS:
        raise UserError(f"grpo.layout={layout}: known are {', '.join(LAYOUTS)}")
    if layout == "packed":
        return PackedPrompt(model, prompt_ids)
    if layout == "classic":
        return ClassicPrompt(model, prompt_ids)
    return SharedPrefix(model, prompt_ids, grad=True, recompute=layout == "recompute", keep=layout == "kept")
