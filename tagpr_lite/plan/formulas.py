"""Peak bytes of every phase of a run, from formulas: update, scoring, rollout, SFT, embeddings, PRMU.

A phase is priced beside what is held throughout. What the model's parts take is layers.py's, FLOPs are
flops.py's; the letters of the comments are explained in layers.py. Every formula is held against
plan/count.py: never under the count, at most 10% over it.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..config import Model, Reward
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
    prmu_parts: int = 0
    """Bytes of what is PRMU's alone, held in GRPO's stage 1 (`prmu_held`)."""

# ---------------------------------------------------------------- bytes that stay

def held(job: Job, adapters: int = 3) -> dict[str, int]:
    """The weights; the adapters (policy, ref, PRMU), the policy's two AdamW moments, and PRMU's parts."""
    return {"weights": weight_bytes(job.shape, job.settings),
            "adapters": adapter_bytes(job.shape, job.settings, adapters + 2) + job.prmu_parts}


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
    shape = job.shape
    layer = _layer_at_worst(job, batch, checkpointing)
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
    completions = before + graph_and_gradients + 2 * states  # as they come, and gathered
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
    """Peak of an optimiser step of SFT: sequences of prompt and completion, `micro` of a batch at a time."""
    return _whole_rows_bytes(job, "classic", min(micro, batch), chunk, checkpointing)


def embedding_bytes(shape: Shape, tokens: int, rows: int) -> int:
    """Peak of embedding `rows` texts of `tokens` together by the bare base: a layer at its worst, or the last
    states in bf16 and, copied, in fp32 (engine/embed.py)."""
    count = rows * tokens
    layer = layer_forward(shape, Batch(count, rows, tokens), adapted=False)
    states = count * (2 * BF16 + FP32) * shape.hidden
    return _with_small_tensors(max(layer, states))


PRMU_WIDTH = 128  # prmu/users.py, INNER: the width of the parts' MLPs


def prmu_parameters(shape: Shape, reward: Reward, users: int = 0) -> tuple[int, int]:
    """(numbers that are trained, numbers that are only held) of PRMU's parts (prmu/model.py, prmu/users.py).
    users: those with a learned row of their own."""
    H, t, W = shape.hidden, reward.tokens, PRMU_WIDTH
    attention = t * W + 2 * t + (H * W + W) + (2 * H * W + W)  # queries, sharp and gate, key, value
    write = (W * W + W) + (W * H + H)
    user_tokens = t * H + attention + write + users * t * H  # t H: the generic user
    head = 2 * H + (2 * H + 1)  # a norm, and a map of two states to a number
    phrase = 1 + H + (2 * H * W + W) + (W * H + H)  # s, q and the MLP of phi
    statistics = t * H + 5 * H + H  # e_0 at its start, c, means and deviations; the mean of chains
    return user_tokens + head + phrase, statistics


def prmu_held(shape: Shape, reward: Reward, trains: bool) -> int:
    """The parts, fp32, and where PRMU is trained their two moments."""
    trained, statistics = prmu_parameters(shape, reward)
    return FP32 * (trained * (3 if trains else 1) + statistics)


def prmu_bytes(job: Job, reward: Reward, chains: int, micro: int, checkpointing: bool = True) -> int:
    """Peak of PRMU's training on a case: a prompt with the user's tokens, and `chains` chains after it,
    `micro` at a time. job.completion: tokens of a chain."""
    shape, settings = job.shape, job.settings
    micro = min(micro, chains)
    prompt = job.prompt + reward.tokens
    scored = micro * job.completion
    kv = kv_bytes(shape, prompt)
    gradients = FP32 * (adapter_parameters(shape, settings) + prmu_parameters(shape, reward)[0])
    prompt_batch = Batch(prompt, 1, prompt)
    chain_batch = Batch(scored, micro, prompt + job.completion)

    # While the chains are forwarded and go back: the prompt with its embeddings (2 H), its last states, whole
    # and normed (4 H), its keys and values, and its graph.
    prompt_graph = _graph(job, prompt_batch, checkpointing)
    before = kv + prompt_graph + prompt * 3 * BF16 * shape.hidden
    before += scored * 2 * BF16 * shape.hidden  # the chains' last states, before and after the last norm
    own_graph = _graph(job, chain_batch, checkpointing)
    graph_and_gradients = own_graph + kv if chains > micro else max(own_graph, kv)
    # The head: the last states in bf16 (2 H) and fp32 (4 H), the words in fp32 (4 H), and one product of each
    # (8 H); beside them the last norm's fp32 input (4 H). Or a layer at its worst.
    head = scored * (BF16 + 5 * FP32) * shape.hidden
    worst = max(head, _layer_at_worst(job, chain_batch, checkpointing))
    of_chains = before + graph_and_gradients + worst

    # While the prompt goes back: its graph, the gradients of its keys and values, and a layer at its worst.
    of_prompt = prompt_graph + kv + prompt * BF16 * shape.hidden
    of_prompt += _layer_at_worst(job, prompt_batch, checkpointing)
    # What reading the user keeps for its backward: the history's states, the soft tokens, their gradients.
    user = FP32 * shape.hidden * (6 * reward.history + 8 * reward.tokens)
    return _with_small_tensors(gradients + user + max(of_chains, of_prompt))


def _layer_at_worst(job: Job, batch: Batch, checkpointing: bool) -> int:
    """A layer's backward, beside the graph."""
    layer = layer_backward(job.shape, job.settings.lora_r, batch)
    if not checkpointing:
        layer -= layer_saved(job.shape, job.settings.lora_r, batch)  # it is in the graph already
    return layer


def scoring_bytes(job: Job, micro: int, reward: Reward | None = None) -> int:
    """Peak of PRMU's scores: a prompt and completions, `micro` at a time, without gradients. reward:
    where the user is read for it too."""
    shape = job.shape
    prompt = layer_forward(shape, Batch(job.prompt, 1, job.prompt))
    scored = micro * job.completion
    completions = layer_forward(shape, Batch(scored, micro, job.prompt + job.completion))
    head = scored * (BF16 + 5 * FP32) * shape.hidden  # as in training
    embeddings = job.prompt * BF16 * shape.hidden  # of the prompt with the user's tokens
    user = FP32 * shape.hidden * 2 * reward.tokens if reward else 0  # e_u and e_0
    worst = max(prompt, completions, head)
    return _with_small_tensors(kv_bytes(shape, job.prompt) + embeddings + user + worst)


def rollout_bytes(job: Job, together: int) -> int:
    """Peak of prefilling `together` prompts one by one and decoding their groups together."""
    shape, rows = job.shape, together * job.group
    kv = kv_bytes(shape, together * job.prompt)
    # Prefill: a layer's forward of one prompt, or, when all are there, one layer's keys and values stacked
    # anew, and the padded copies of its values.
    stacking = 3 * kv // (2 * shape.layers)
    prefill = kv + max(layer_forward(shape, Batch(job.prompt, 1, job.prompt)), stacking)
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
