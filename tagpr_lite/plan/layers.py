"""Bytes of a model's parts, from formulas: the weights, an adapter, keys and values, one layer at its worst.

No GPU, no weights, no network and no torch: arithmetic on a model's shape. Every formula is held against
plan/count.py, which runs the real code on torch's meta device: never under the count, at most 10% over it
(tests/plan; python -m tagpr_lite.bench memory --grid for all sizes).

Decisions. The base is NF4, the compute type bf16, adapters are fp32, as engine/model.py loads them on a CUDA
card. A layer's activations are priced at the two moments that can be the worst: its MLP's backward and its
attention's backward.

Letters in the comments: H the hidden size, I the MLP's width, A query heads, D the size of a head, Q = A D, K
key heads times D, r the LoRA rank, V the vocabulary. "4 H" means four bytes for each of the H numbers of a
token, an fp32 vector; "2 H" is a bf16 vector. Each term was found by listing the tensors that live at the
counter's peak.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..config import Model
from .shapes import Shape, adapter_parameters, linears

GIB = 2**30
BF16, FP32 = 2, 4  # bytes


# ---------------------------------------------------------------- bytes that stay

def weight_bytes(shape: Shape, settings: Model) -> int:
    """The frozen base."""
    # numbers of the seven linear maps
    maps = [inputs * outputs for inputs, outputs in linears(shape).values()]

    # NF4: half a byte a number; a scale of one byte for every 64 numbers; an fp32 scale of 256 such scales;
    # and three fp32 tables: 16 levels, 256 levels of the scales, one offset.
    nf4_layer = 0
    for numbers in maps:
        blocks = -(-numbers // 64)
        nf4_layer += numbers // 2 + blocks + FP32 * (-(-blocks // 256) + 16 + 256 + 1)
    dense_layer = BF16 * sum(maps)
    if settings.bits != 4:
        layer = dense_layer
    else:  # model.unpack keeps a dense copy beside the packed one
        layer = nf4_layer + dense_layer * settings.unpack

    # Small tensors in bf16: two norms a layer (and Qwen3's norms of queries and keys), one norm at the end,
    # Qwen2's biases of q, k and v; then the table of tokens, and the head where it is not the same table.
    small = shape.layers * 2 * shape.hidden + shape.hidden
    if shape.family == "qwen3":
        small += shape.layers * 2 * shape.head_dim
    if shape.family == "qwen2":
        small += shape.layers * (shape.q + 2 * shape.kv)
    tables = (1 if shape.tied else 2) * shape.vocab * shape.hidden
    rotary_frequencies = FP32 * shape.head_dim  # D / 2 of them, held twice
    return shape.layers * layer + BF16 * (tables + small) + rotary_frequencies


def adapter_bytes(shape: Shape, settings: Model, copies: int) -> int:
    """`copies` of an adapter, fp32: of itself, of its gradient, of each of AdamW's two moments."""
    return FP32 * adapter_parameters(shape, settings) * copies


def kv_bytes(shape: Shape, tokens: int) -> int:
    """Keys and values of all layers, bf16: 2 * 2 K a token and layer."""
    return 2 * BF16 * shape.layers * shape.kv * tokens


# ---------------------------------------------------------------- bytes of one layer

@dataclass(frozen=True)
class Batch:
    """What goes through a layer at one time."""
    tokens: int
    """Of all rows together."""
    rows: int
    """Sequences."""
    keys: int
    """Keys that each row attends to."""


def repeated_keys(shape: Shape, batch: Batch) -> int:
    """Keys and values, repeated for every query head: the attention kernels of a card want them so."""
    return 2 * BF16 * shape.q * batch.rows * batch.keys


def unpacked_weight(shape: Shape) -> int:
    """The largest weight and its fp32 block scales, unpacked for one product."""
    numbers = max(inputs * outputs for inputs, outputs in linears(shape).values())
    return numbers * BF16 + numbers // 64 * FP32


def query_key_norms(shape: Shape) -> int:
    """Fp32 copies of queries and keys before their norms, a token: Qwen3 alone of the tested families has
    these."""
    return FP32 * (shape.q + shape.kv) if shape.family == "qwen3" else 0


def layer_saved(shape: Shape, rank: int, batch: Batch) -> int:
    """What one layer keeps for its backward. Adapters compute in fp32, so that each of the seven linear maps
    keeps a copy of its input in 4 bytes."""
    of_hidden = (2 + 5) * FP32 * shape.hidden  # 28 H: the inputs of two norms; of q, k, v, gate and up
    of_queries = (BF16 + BF16 + FP32) * shape.q  # 8 Q: the queries; the attention's output; the input of o
    of_mlp = (3 * BF16 + FP32) * shape.inner  # 10 I: gate, silu(gate), up; the input of down
    of_adapters = 7 * FP32 * rank  # 28 r: A x of the seven maps
    of_heads = 2 * FP32 * shape.heads  # 8 A: the attention's row sums; the queries' norms
    token = of_hidden + of_queries + query_key_norms(shape) + of_mlp + of_adapters + of_heads
    return batch.tokens * token + repeated_keys(shape, batch)


def layer_backward(shape: Shape, rank: int, batch: Batch) -> int:
    """A layer that is recomputed and differentiated, at its worst moment.

    That is its second run, at the up or at the down projection; or, where there are many keys, the backward
    of the attention kernel.
    """
    # The second run in the MLP: all that the layer saves, and beside it 12 H: the residual stream, the output
    # of the second norm and two gradients in bf16 (4 * 2), one gradient in fp32 (4).
    beside = 12 * shape.hidden * batch.tokens
    # At up, its adapter's output stands twice in fp32, before and after scaling (8 I), where the input of
    # down, of those saved, is still to come (4 I): 4 I more.
    at_up = 4 * shape.inner * batch.tokens
    # At down: its output (2 H) and the unpacked weight; its input is there in bf16 (2 I), the fp32 copy of it
    # is still to come (4 I): 2 I less.
    at_down = (2 * shape.hidden - 2 * shape.inner) * batch.tokens + unpacked_weight(shape)
    mlp = layer_saved(shape, rank, batch) + beside + max(at_up, at_down)

    # The attention kernel's backward, when the MLP has been let go.
    # 18 H: inputs of the first norm, q, k, v; the residual's gradient
    of_hidden = (4 * FP32 + BF16) * shape.hidden
    of_queries = (4 * BF16 + FP32) * shape.q  # 12 Q: queries, output, both gradients; the sum of one in fp32
    token = of_hidden + of_queries + query_key_norms(shape) + 7 * FP32 * rank + 2 * FP32 * shape.heads
    # and the gradients of keys and values
    attention = batch.tokens * token + 2 * repeated_keys(shape, batch)
    return max(mlp, attention)


def layer_forward(shape: Shape, batch: Batch, adapted: bool = True) -> int:
    """A layer without gradients, at its worst moment. adapted: whether an adapter is active."""
    # In the MLP, 12 H: the layer's input, the residual stream, the second norm's output, the states of the
    # layer before (4 * 2), the fp32 copy for an adapter (4). At up, 12 I: gate and up in bf16 (2 * 2), the
    # adapter's output twice in fp32 (8). At down, 4 I and the unpacked weight.
    at_up = 12 * shape.inner * batch.tokens
    at_down = 4 * shape.inner * batch.tokens + unpacked_weight(shape)
    mlp = 12 * shape.hidden * batch.tokens + max(at_up, at_down)
    if not adapted:  # no fp32: 8 H; silu(gate), up and their product; or up with the unpacked weight
        at_product = 6 * shape.inner * batch.tokens
        at_up = 4 * shape.inner * batch.tokens + unpacked_weight(shape)
        mlp = 8 * shape.hidden * batch.tokens + max(at_product, at_up)
    # In the attention: four bf16 vectors of H; queries and output; keys and values new and rotated; row sums;
    # keys and values joined to the prompt's, then repeated.
    token = 4 * BF16 * shape.hidden + 2 * BF16 * shape.q + 2 * BF16 * shape.kv + FP32 * shape.heads
    follows_a_prompt = batch.rows * batch.keys > batch.tokens
    joined = 2 * BF16 * shape.kv * batch.rows * batch.keys if follows_a_prompt else 0
    attention = batch.tokens * token + repeated_keys(shape, batch) + joined
    rotary = batch.tokens * 2 * BF16 * shape.head_dim  # cosines and sines
    return rotary + max(mlp, attention)
