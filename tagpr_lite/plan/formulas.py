"""Peak bytes of every phase of a run, from formulas: update, scoring, rollout, SFT, embeddings, PRMU.

A phase is priced beside what is held throughout. What the model's parts take is layers.py's, FLOPs are
flops.py's; the letters of the comments are explained in layers.py. Every formula is held against
plan/count.py: never under the count, at most 10% over it.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..config import Model
from .layers import (
    BF16,
    FP32,
    Batch,
    adapter_bytes,
    kv_bytes,
    layer_backward,
    layer_forward,
    layer_saved,
    unpacked_weight,
    weight_bytes,
)
from .shapes import Shape, adapter_parameters


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
    return {"weights": weight_bytes(job.shape, job.settings),
            "adapters": adapter_bytes(job.shape, job.settings, adapters + 2)}


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


def sft_bytes(job: Job, batch: int, micro: int, chunk: int, checkpointing: bool = True) -> int:
    """Peak of an optimiser step of SFT: sequences of prompt and completion, `micro` of the batch at a time."""
    return _whole_rows_bytes(job, "classic", min(micro, batch), chunk, checkpointing)


def embedding_bytes(shape: Shape, tokens: int, rows: int) -> int:
    """Peak of embedding `rows` texts of `tokens` together: a layer at its worst, or the last states in bf16
    and, copied, in fp32 (engine/embed.py)."""
    count = rows * tokens
    layer = layer_forward(shape, Batch(count, rows, tokens))
    states = count * (2 * BF16 + FP32) * shape.hidden
    return _with_small_tensors(max(layer, states))


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
    mlp = rows * 12 * shape.inner + (unpacked_weight(shape) if rows > 4 else 0)
    own_kv = kv_bytes(shape, rows * job.completion)
    decode = kv + own_kv + rows * 20 * shape.hidden + max(logits, scores, mlp)
    return _with_small_tensors(max(prefill, decode))


def _with_small_tensors(size: int) -> int:
    """One percent more, for row statistics, indices and the like."""
    return size + size // 100
