"""What a GRPO step needs, from formulas: peak bytes and FLOPs of rollout, scoring and update.

No GPU, no weights, no network and no torch: arithmetic on a model's shape. Every formula below is held
against plan/count.py, which runs the real code on torch's meta device: never under the count, at most 10%
over it (tests/plan/test_formulas.py; python -m tagpr_lite.plan --grid for all sizes).

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
from .shapes import Shape, adapter_parameters, base_parameters, linears

GIB = 2**30
BF16, FP32 = 2, 4  # bytes


@dataclass(frozen=True)
class Job:
    """What is planned: a model with its adapters, and one GRPO group."""
    shape: Shape
    settings: Model
    prompt: int
    """Tokens of the prompt, P."""
    group: int
    """Completions, G."""
    completion: int
    """Tokens of a completion, R."""
    prompts: int = 4
    """Most prompts decoded together."""
    reference: bool = False
    """Whether the KL term needs the prompt's keys and values under the reference adapter too."""


# ---------------------------------------------------------------- bytes that stay

def held(job: Job, adapters: int = 3) -> dict[str, int]:
    """The weights; the adapters (policy, ref, PRMU) and the policy's two AdamW moments."""
    shape = job.shape
    # numbers of the seven linear maps
    maps = [inputs * outputs for inputs, outputs in linears(shape).values()]

    # NF4: half a byte a number; a scale of one byte for every 64 numbers; an fp32 scale of 256 such scales;
    # and three fp32 tables: 16 levels, 256 levels of the scales, one offset.
    nf4_layer = 0
    for numbers in maps:
        blocks = -(-numbers // 64)
        nf4_layer += numbers // 2 + blocks + FP32 * (-(-blocks // 256) + 16 + 256 + 1)
    dense_layer = BF16 * sum(maps)
    if job.settings.bits != 4:
        layer = dense_layer
    else:  # model.unpack keeps a dense copy beside the packed one
        layer = nf4_layer + dense_layer * job.settings.unpack

    # Small tensors in bf16: two norms a layer (and Qwen3's norms of queries and keys), one norm at the end,
    # Qwen2's biases of q, k and v; then the table of tokens, and the head where it is not the same table.
    small = shape.layers * 2 * shape.hidden + shape.hidden
    if shape.family == "qwen3":
        small += shape.layers * 2 * shape.head_dim
    if shape.family == "qwen2":
        small += shape.layers * (shape.q + 2 * shape.kv)
    tables = (1 if shape.tied else 2) * shape.vocab * shape.hidden
    rotary_frequencies = FP32 * shape.head_dim  # D / 2 of them, held twice
    weights = shape.layers * layer + BF16 * (tables + small) + rotary_frequencies
    moments = 2  # of AdamW, for the policy alone
    return {"weights": weights,
            "adapters": FP32 * adapter_parameters(shape, job.settings) * (adapters + moments)}


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


def _repeated_keys(shape: Shape, batch: Batch) -> int:
    """Keys and values, repeated for every query head: the attention kernels of a card want them so."""
    return 2 * BF16 * shape.q * batch.rows * batch.keys


def _unpacked_weight(shape: Shape) -> int:
    """The largest weight and its fp32 block scales, unpacked for one product."""
    numbers = max(inputs * outputs for inputs, outputs in linears(shape).values())
    return numbers * BF16 + numbers // 64 * FP32


def _query_key_norms(shape: Shape) -> int:
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
    token = of_hidden + of_queries + _query_key_norms(shape) + of_mlp + of_adapters + of_heads
    return batch.tokens * token + _repeated_keys(shape, batch)


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
    at_down = (2 * shape.hidden - 2 * shape.inner) * batch.tokens + _unpacked_weight(shape)
    mlp = layer_saved(shape, rank, batch) + beside + max(at_up, at_down)

    # The attention kernel's backward, when the MLP has been let go.
    # 18 H: inputs of the first norm, q, k, v; the residual's gradient
    of_hidden = (4 * FP32 + BF16) * shape.hidden
    of_queries = (4 * BF16 + FP32) * shape.q  # 12 Q: queries, output, both gradients; the sum of one in fp32
    token = of_hidden + of_queries + _query_key_norms(shape) + 7 * FP32 * rank + 2 * FP32 * shape.heads
    # and the gradients of keys and values
    attention = batch.tokens * token + 2 * _repeated_keys(shape, batch)
    return max(mlp, attention)


def layer_forward(shape: Shape, batch: Batch) -> int:
    """A layer without gradients, at its worst moment."""
    # In the MLP, 12 H: the layer's input, the residual stream, the second norm's output, the states of the
    # layer before (4 * 2), the fp32 copy for an adapter (4). At up, 12 I: gate and up in bf16 (2 * 2), the
    # adapter's output twice in fp32 (8). At down, 4 I and the unpacked weight.
    at_up = 12 * shape.inner * batch.tokens
    at_down = 4 * shape.inner * batch.tokens + _unpacked_weight(shape)
    mlp = 12 * shape.hidden * batch.tokens + max(at_up, at_down)
    # In the attention: four bf16 vectors of H; queries and output; keys and values new and rotated; row sums;
    # keys and values joined to the prompt's, then repeated.
    token = 4 * BF16 * shape.hidden + 2 * BF16 * shape.q + 2 * BF16 * shape.kv + FP32 * shape.heads
    joined = 2 * BF16 * shape.kv * batch.rows * batch.keys
    attention = batch.tokens * token + _repeated_keys(shape, batch) + joined
    rotary = batch.tokens * 2 * BF16 * shape.head_dim  # cosines and sines
    return rotary + max(mlp, attention)


# ---------------------------------------------------------------- bytes of a phase, beside what stays

def _graph(job: Job, batch: Batch, checkpointing: bool) -> int:
    """What a forward leaves for its backward: every layer's input (2 H), or all that the layers save; and
    once for all layers cosines and sines, positions and the last norm's statistics."""
    shape = job.shape
    if checkpointing:
        layer = batch.tokens * BF16 * shape.hidden
    else:
        layer = layer_saved(shape, job.settings.lora_r, batch)
    return shape.layers * layer + batch.tokens * (2 * BF16 * shape.head_dim + 32)


def _worst_moment(job: Job, batch: Batch, scored: int, chunk: int, checkpointing: bool) -> int:
    """The most that is needed beside the graph: a layer's backward, or the log-probs of a chunk of tokens.

    scored: tokens whose log-probs are taken. The logits of a chunk stand twice in fp32 (8 V a token); beside
    them the last norm's fp32 input (4 H), and its output twice, whole and gathered, with a gradient (6 H).
    """
    shape, rank = job.shape, job.settings.lora_r
    layer = layer_backward(shape, rank, batch)
    if not checkpointing:
        layer -= layer_saved(shape, rank, batch)  # it is in the graph already
    logits = 2 * FP32 * shape.vocab * min(chunk, scored)
    log_probs = batch.tokens * FP32 * shape.hidden + scored * 3 * BF16 * shape.hidden + logits
    return max(layer, log_probs)


def update_bytes(job: Job, layout: str, micro: int, chunk: int, checkpointing: bool = True) -> int:
    """Peak of one group's forward and backward, beside what is held. chunk: tokens whose logits exist at one
    time."""
    micro = min(micro, job.group)
    if layout in ("packed", "classic"):
        return _whole_rows_bytes(job, layout, micro, chunk, checkpointing)
    shape = job.shape
    scored = micro * job.completion
    states = scored * BF16 * shape.hidden  # those that predict the completions' tokens
    kv = kv_bytes(shape, job.prompt)
    always = FP32 * adapter_parameters(shape, job.settings)  # the policy's gradients
    always += job.reference * kv  # the prompt under the reference adapter

    # While the completions are forwarded and go back. Before them, the prompt's keys and values and, unless
    # the layout computes them again, its graph with the states of its last layer and of the last norm.
    prompt_batch = Batch(job.prompt, 1, job.prompt)
    completion_batch = Batch(scored, micro, job.prompt + job.completion)
    prompt_graph = _graph(job, prompt_batch, checkpointing)
    before = kv
    if layout != "recompute":
        before += prompt_graph + job.prompt * 2 * BF16 * shape.hidden
    again = checkpointing and layout != "kept"  # whether the completions' activations are computed twice
    own_graph = _graph(job, completion_batch, again)
    # From the second micro-batch on, the prompt's gradients (as large as its keys and values) stand beside
    # the graph. In the only one they come while its graph goes, layer by layer.
    graph_and_gradients = own_graph + kv if job.group > micro else max(own_graph, kv)
    completions = before + graph_and_gradients + states
    completions += _worst_moment(job, completion_batch, scored, chunk, again)

    # While the prompt goes back: its graph, the gradients of its keys and values, and a layer at its worst.
    worst = _worst_moment(job, prompt_batch, 1, 1, checkpointing)
    if layout == "recompute":  # its second forward makes keys and values once more before it goes back
        worst = max(worst, kv + (layer_forward(shape, prompt_batch) if checkpointing else worst))
    prompt_backward = prompt_graph + kv + states + worst
    return _with_small_tensors(always + max(completions, prompt_backward))


def _whole_rows_bytes(job: Job, layout: str, micro: int, chunk: int, checkpointing: bool) -> int:
    """The layouts in which prompt and completions are forwarded together: all in one row, or row by row."""
    shape = job.shape
    scored, state = micro * job.completion, BF16 * shape.hidden
    always = FP32 * adapter_parameters(shape, job.settings) + job.reference * kv_bytes(shape, job.prompt)
    if layout == "packed":
        length = job.prompt + scored
        batch = Batch(length, 1, length)
        # A mask as booleans (1 byte), and as bf16 to be added to the scores (2), [length, length]; then the
        # states that predict, gathered from the row and copied.
        kept = 3 * length**2 + 2 * scored * state
    else:
        length = job.prompt + job.completion
        batch = Batch(micro * length, micro, length)
        kept = (scored + batch.tokens) * state  # those that predict are a view of all states
    graph = _graph(job, batch, checkpointing)
    worst = _worst_moment(job, batch, scored, chunk, checkpointing)
    return _with_small_tensors(always + kept + graph + worst)


def scoring_bytes(job: Job, micro: int) -> int:
    """Peak of PRMU's scores: a prompt and completions, `micro` at a time, without gradients."""
    shape = job.shape
    prompt = layer_forward(shape, Batch(job.prompt, 1, job.prompt))
    completions = layer_forward(shape, Batch(micro * job.completion, micro, job.prompt + job.completion))
    return _with_small_tensors(kv_bytes(shape, job.prompt) + max(prompt, completions))


def rollout_bytes(job: Job, together: int) -> int:
    """Peak of prefilling `together` prompts one by one and decoding their groups together."""
    shape, rows = job.shape, together * job.group
    kv = kv_bytes(shape, together * job.prompt)
    # Prefill: a layer's forward of one prompt, or, when all are there, one layer's keys and values stacked
    # anew.
    prefill = kv + max(layer_forward(shape, Batch(job.prompt, 1, job.prompt)), 2 * kv // shape.layers)
    # One decoded token a row: its log-probs in fp32 and two fp64 tensors on the way to their cumulative sum
    # (20 V); or the attention's scores: bf16 joined (2), fp32 (4), softmax in fp32 (4), weights in bf16 (2);
    # or the MLP.
    logits = rows * shape.vocab * (FP32 + 2 * 8)
    scores = rows * shape.heads * (job.prompt + job.completion) * 12
    # few rows multiply packed weights
    mlp = rows * 12 * shape.inner + (_unpacked_weight(shape) if rows > 4 else 0)
    own_kv = kv_bytes(shape, rows * job.completion)
    decode = kv + own_kv + rows * 20 * shape.hidden + max(logits, scores, mlp)
    return _with_small_tensors(max(prefill, decode))


def _with_small_tensors(size: int) -> int:
    """One percent more, for row statistics, indices and the like."""
    return size + size // 100


# ---------------------------------------------------------------- FLOPs

def _flops(job: Job, tokens: int, keys: int, passes: str) -> float:
    """FLOPs of all layers. passes: f (forward) and b (backward) as often as they happen, "ffb" with
    checkpointing.

    A product of one token with a map of n numbers takes 2 n. The frozen base needs the gradients of its
    inputs alone, 2 n again; an adapter of a numbers needs those of its weights too, 4 a. Attention takes two
    products a pair of a query and a key, 4 Q, forward and five, 10 Q, backward. It is counted whole, as
    kernels do it, not its causal half.
    """
    base, adapter = base_parameters(job.shape), adapter_parameters(job.shape, job.settings)
    attention = 4 * job.shape.q * job.shape.layers * tokens * keys
    forward = 2 * (base + adapter) * tokens + attention
    backward = (2 * base + 4 * adapter) * tokens + 2.5 * attention
    return passes.count("f") * forward + passes.count("b") * backward


def _head_flops(job: Job) -> int:
    """The head's product for every token of the G completions."""
    return 2 * job.shape.hidden * job.shape.vocab * job.group * job.completion


def update_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    """FLOPs of one group's update."""
    P, G, R = job.prompt, job.group, job.completion
    passes = "ffb" if checkpointing else "fb"
    reference = 0.0
    if job.reference:
        reference = _head_flops(job) + _flops(job, P, P, "f") + _flops(job, G * R, P + R, "f")
    if layout == "classic":
        layers = _flops(job, G * (P + R), P + R, passes)
    elif layout == "packed":
        layers = sum(_flops(job, P + m * R, P + m * R, passes) for m in micro_batches(G, micro))
    else:
        prompt_passes = passes + "f" if layout == "recompute" else passes
        completion_passes = "fb" if layout == "kept" else passes
        layers = _flops(job, P, P, prompt_passes) + _flops(job, G * R, P + R, completion_passes)
    # the head twice: logits, and the one vector a token (logps.py)
    return layers + 2 * _head_flops(job) + reference


def group_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    """FLOPs of rollout, PRMU's scores and update of one group."""
    P, G, R = job.prompt, job.group, job.completion
    # a completion's tokens see R / 2 of its own
    decode = _flops(job, G * R, P + R // 2, "f") + _head_flops(job)
    score = _flops(job, P, P, "f") + _flops(job, G * R, P + R, "f")
    return decode + _flops(job, P, P, "f") + score + update_flops(job, layout, micro, checkpointing)


def micro_batches(group: int, micro: int) -> list[int]:
    """Sizes of the micro-batches of a group: 10 completions in micro-batches of 4 are [4, 4, 2]."""
    return [min(micro, group - first) for first in range(0, group, micro)]
