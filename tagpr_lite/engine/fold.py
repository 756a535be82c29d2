"""Sampling on a CPU: every linear layer as one product, its adapters added in, its weight laid out for a few
rows.

A decode step multiplies a handful of rows by every weight there is, so it costs what reading the weights and
calling the layers cost. Three products a layer (base, A, B) become one, NF4 is unpacked once a rollout
instead of at every token, and oneDNN's blocked layout reads two to three times faster than a row-major matrix
at 8 rows. The copy, 4 bytes a parameter, lives for a rollout; the adapters themselves are never written to,
so nothing drifts.

Decision: on a CPU only. There the sum W + s B A is an fp32 one, as exact as any other order of summing; a
card computes in bf16, whose 8 bits would round a young adapter away, and has no memory for a dense copy.
"""
from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

# of the machine's memory, at most, for the copy; all of it, not what is free: a rerun must decide the same
SHARE = 0.25
FOLDED = weakref.WeakSet()  # models that compute by folded copies now
ROWS = 8  # oneDNN picks its blocks for this many; more rows run well on them too


def values(layer: nn.Module) -> Tensor:
    """A linear layer's weight [out, in], unpacked where it is NF4."""
    if isinstance(layer, bnb.nn.Linear4bit):
        return bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return layer.weight.data


def with_adapters(layer: nn.Module) -> Tensor:
    """W + the sum of s B A over the adapters in use: what the layer multiplies by, as one matrix."""
    if not isinstance(layer, LoraLayer):
        return values(layer)
    names = [] if layer.disable_adapters else [n for n in layer.active_adapters if n in layer.lora_A]
    return sum((layer.get_delta_weight(n) for n in names), values(layer.get_base_layer()))


def product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x -> x W^T + bias."""
    if weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return lambda x: F.linear(x, weight, bias)
    # what torch.compile does with frozen weights
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Within the block the model's linear layers, lm_head among them, compute by their folded copies.
    Inference only. A block within such a block changes nothing: who answers many questions, folds once."""
    if model in FOLDED:
        yield
        return
    layers = _linear_layers(model)
    size = sum(4 * m.in_features * m.out_features for m in layers)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if next(model.parameters()).device.type != "cpu" or size > SHARE * memory:
        yield
        return
    before = [m.__dict__.get("forward") for m in layers]
    with torch.no_grad():
        copies = [product(with_adapters(m), m.bias) for m in layers]
    FOLDED.add(model)
    try:
        for m, copy in zip(layers, copies):
            m.forward = copy
        yield
    finally:
        FOLDED.discard(model)
        for m, own in zip(layers, before):
            del m.forward
            if own is not None:
                m.forward = own


def _linear_layers(model: nn.Module) -> list[nn.Module]:
    """Every linear layer once: with its adapters where it has any, else by itself."""
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)
              and isinstance(m.get_base_layer(), nn.Linear)]
    inner = {id(part) for m in layers for part in m.modules()}
    return layers + [m for m in model.modules() if isinstance(m, nn.Linear) and id(m) not in inner]
