"""Bytes and FLOPs, counted without a GPU: the real code runs on torch's meta device, where tensors have no
data.

A dispatch mode sees every operation, adds up the storages that live at the same time, and applies torch's
FLOP formulas. What is run is count.py's, the models without weights are meta.py's.

Decisions. Meta tensors would take torch's plain attention, so `cuda_sdpa` puts the kernels of a CUDA card in
its place: flash without a mask, memory-efficient with one. What CUDA kernels allocate inside themselves is
added by hand (`_inside`). A boolean mask on meta has no values: it counts as all True, the longest case. Not
counted: the CUDA context, library workspaces and fragmentation, which plan/formulas.py keeps a reserve for.
"""
from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from bitsandbytes.functional import QuantState
from torch import Tensor, nn
from torch.nn.attention.bias import CausalBias, causal_lower_right
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..engine import prefix

aten = torch.ops.aten
CPU_SDPA = F.scaled_dot_product_attention
NF4_MATMUL = torch.ops.bitsandbytes.gemm_4bit.default
ATTENTION_BACKWARD = (aten._scaled_dot_product_flash_attention_backward.default,
                      aten._scaled_dot_product_efficient_attention_backward.default)


@dataclass
class Count:
    """static: bytes held before; peak: most bytes at a time, `at` which operation; flops: multiply-adds times
    two, None on a card."""
    static: int
    peak: int
    at: str
    flops: int | None


class Counter(TorchDispatchMode):
    """Follows every storage on `device` from the operation that makes it to its end."""

    def __init__(self, device: str, held: Iterator[Tensor]):
        super().__init__()
        self.device, self.sizes, self.live, self.peak, self.at, self.flops = device, {}, 0, 0, "", 0
        for t in held:
            self.follow(t)
        self.static = self.peak = self.live

    def follow(self, t: Tensor) -> None:
        if t.layout == torch.strided:
            storage = t.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
        else:  # a weight in oneDNN's layout (engine/fold.py) has no storage to ask, and no views
            storage = t
            key, size = id(t), t.numel() * t.element_size()
        if t.device.type == self.device and key not in self.sizes:
            self.sizes[key] = size
            self.live += size
            weakref.finalize(storage, self.end, key)

    def restart(self) -> None:
        """From here on: the peak of what comes, and its FLOPs."""
        self.peak, self.flops = self.live, 0

    def end(self, key: int) -> None:
        self.live -= self.sizes.pop(key, 0)

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if op.overloadpacket not in flop_registry:
            # under inference_mode linear and matmul arrive whole: see the operations they are made of
            with self:
                out = op.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = _run(op, args, kwargs)
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                self.follow(t)
        if op is NF4_MATMUL:
            self.flops += 2 * (args[0].numel() // args[0].shape[-1]) * args[2][0] * args[2][1]
        elif op.overloadpacket in flop_registry:
            self.flops += flop_registry[op.overloadpacket](*args, **kwargs, out_val=out)
        inside = _inside(op, args)
        if self.live + inside > self.peak:
            self.peak, self.at = self.live + inside, str(op)
        return out


class CardCounter:
    """The same on a CUDA card, asked of its allocator. FLOPs are not counted: torch's formulas do not know
    the signatures of every kernel that other libraries call there."""
    at, flops = "the card", None

    def __init__(self):
        torch.cuda.empty_cache()
        self.static = torch.cuda.memory_allocated()
        self.restart()

    def restart(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    @property
    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()


def _run(op, args, kwargs):
    """The operation itself; those whose output's size depends on a mask's values take the mask as all
    True."""
    if op is aten.nonzero.default and args[0].is_meta:
        return args[0].new_empty(args[0].numel(), args[0].dim(), dtype=torch.long)
    if op is aten.index.Tensor and args[0].is_meta:
        places = [[None] if i is None else [i] if i.dtype != torch.bool else
                  [i.new_empty(i.numel(), dtype=torch.long)] * i.dim() for i in args[1]]
        return op(args[0], sum(places, []))
    return op(*args, **kwargs)


def cuda_sdpa(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """scaled_dot_product_attention with the kernels that a CUDA card picks for bf16; a CPU has its own."""
    if q.device.type == "cpu":
        if isinstance(attn_mask, CausalBias):
            attn_mask = attn_mask._materialize(q.device)
        return CPU_SDPA(q, k, v, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if attn_mask is None or isinstance(attn_mask, CausalBias):
        causal = is_causal or attn_mask is not None
        return aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, causal, False, scale=scale)[0]
    if attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
    bias = attn_mask.expand(q.shape[0], q.shape[1], -1, -1)
    return aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, dropout_p, is_causal,
                                                        scale=scale)[0]


def _inside(op, args) -> int:
    """Bytes that a CUDA kernel takes while it runs and no dispatch mode sees."""
    # fewer rows are multiplied without unpacking
    if op is NF4_MATMUL and args[0].numel() // args[0].shape[-1] > 4:
        n, k = args[2]
        # the unpacked weight and its block scales
        return n * k * args[0].element_size() + n * k // args[4] * 4
    if op in ATTENTION_BACKWARD:
        return args[1].numel() * 4  # the queries' gradient, summed in fp32
    return 0


@contextmanager
def watched(model: nn.Module, optimizer=None) -> Iterator[Counter | CardCounter]:
    """Counts the block's bytes and FLOPs, from what `model` and `optimizer` hold upwards, with the kernels of
    the device. Of a card the bytes are what its allocator gave."""
    if next(model.parameters()).is_cuda:
        yield CardCounter()
        return

    def unwatched(*size):  # torch cannot make a CausalBias while a dispatch mode looks on
        with _disable_current_modes():
            return causal_lower_right(*size)

    counter = Counter(next(model.parameters()).device.type, held(model, optimizer))
    with patch.object(prefix, "causal_lower_right", unwatched), counter:
        yield counter


def count(work: Callable[[], object], model: nn.Module, optimizer=None) -> Count:
    """Runs `work` with a CUDA card's kernels and reports what it took beside what `model` and `optimizer`
    hold."""
    with patch.object(F, "scaled_dot_product_attention", cuda_sdpa), watched(model, optimizer) as counter:
        work()
    return Count(counter.static, counter.peak, counter.at, counter.flops)


def held(model: nn.Module, optimizer=None) -> Iterator[Tensor]:
    """Every tensor that stays: weights, their NF4 scales, adapters, optimiser states."""
    yield from model.parameters()
    yield from model.buffers()
    for layer in model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            yield from (getattr(part, key) for part, key in scales(layer.weight.quant_state))
    for state in optimizer.state.values() if optimizer else ():
        yield from (state["exp_avg"], state["exp_avg_sq"])  # the step count stays on the CPU


def scales(state: QuantState) -> tuple[tuple[QuantState, str], ...]:
    """Where an NF4 weight's scales and codes are: twice quantised."""
    second = state.state2  # the scales' own scales
    return (state, "absmax"), (state, "code"), (state, "offset"), (second, "absmax"), (second, "code")
