"""What a GRPO step needs, from formulas: peak bytes and FLOPs of rollout, scoring and update.

No GPU, no weights, no network and no torch: arithmetic on a model's shape. Every formula below is held
against plan/count.py, which runs the real code on torch's meta device: never under the count, at most 10%
over it (tests/plan/test_formulas.py; python -m tagpr_lite.plan --grid for all sizes).

Decisions. The base is NF4, the compute type bf16, adapters are fp32, as engine/model.py loads them on a CUDA
card. A layer's activations are priced at the two moments that can be the worst: its MLP's backward and its
attention's backward.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..config import Model
from .shapes import Shape, adapter_parameters, base_parameters, linears

GIB = 2**30
BF16, FP32 = 2, 4


@dataclass(frozen=True)
class Job:
    """What is planned: a model, its adapters, and one GRPO group: a prompt of `prompt` tokens, `group`
    completions of `completion` tokens. prompts: most prompts decoded together. reference: the KL term needs
    the prompt's keys and values under the reference adapter too."""
    shape: Shape
    settings: Model
    prompt: int
    group: int
    completion: int
    prompts: int = 4
    reference: bool = False


# ---------------------------------------------------------------- bytes that stay

def held(job: Job, adapters: int = 3) -> dict[str, int]:
    """The weights; the adapters (policy, ref, PRMU) and the policy's two AdamW moments."""
    s, maps = job.shape, [a * b for a, b in linears(job.shape).values()]
    blocks = [-(-n // 64) for n in maps]  # a scale of one byte each, and one of four bytes for every 256 scales
    dense, code_books = BF16 * sum(maps), 16 + 256 + 1
    layer = sum(n // 2 + b + FP32 * (-(-b // 256) + code_books) for n, b in zip(maps, blocks))
    layer = dense if job.settings.bits != 4 else layer + dense * job.settings.unpack
    small = s.layers * (2 * s.hidden + (2 * s.head_dim if s.family == "qwen3" else 0)) + s.hidden  # norms
    small += s.layers * (s.q + 2 * s.kv) if s.family == "qwen2" else 0  # biases
    tables = (1 if s.tied else 2) * s.vocab * s.hidden
    return {"weights": s.layers * layer + BF16 * (tables + small) + FP32 * s.head_dim,
            "adapters": FP32 * adapter_parameters(s, job.settings) * (adapters + 2)}


def kv_bytes(s: Shape, tokens: int) -> int:
    """Keys and values of all layers."""
    return 2 * BF16 * s.layers * s.kv * tokens


# ---------------------------------------------------------------- bytes of one layer
# H hidden, A query heads x head size, K key heads x head size, I the MLP's width, all a token and a layer;
# counted in the real layer, tensor by tensor. Adapters compute in fp32: each linear map keeps a copy of its
# input, 4 bytes each.

@dataclass(frozen=True)
class Load:
    """`tokens` in `rows` sequences, each of which attends to `keys` keys."""
    tokens: int
    rows: int
    keys: int


def _repeated(s: Shape, at: Load) -> int:
    """Keys and values, repeated for every query head."""
    return 2 * BF16 * s.q * at.rows * at.keys


def _unpacked(s: Shape) -> int:
    """The largest weight and its block scales, unpacked for one product."""
    n = max(a * b for a, b in linears(s).values())
    return n * BF16 + n // 64 * FP32


def _qk_norms(s: Shape) -> int:
    return FP32 * (s.q + s.kv) if s.family == "qwen3" else 0  # it alone of the tested families norms queries and keys


def layer_saved(s: Shape, rank: int, at: Load) -> int:
    """What a layer keeps for its backward: fp32 copies of what enters the norms and the seven linear maps, q,
    the attention's output, gate, silu(gate), up."""
    token = 28 * s.hidden + 8 * s.q + _qk_norms(s) + 10 * s.inner + 28 * rank + 8 * s.heads
    return at.tokens * token + _repeated(s, at)


def layer_backward(s: Shape, rank: int, at: Load) -> int:
    """A layer that is recomputed and differentiated, at its worst: its second run's up or down projection,
    or, where there are many keys, the attention kernel's backward."""
    up = 4 * s.inner * at.tokens
    down = at.tokens * (2 * s.hidden - 2 * s.inner) + _unpacked(s)
    mlp = layer_saved(s, rank, at) + at.tokens * 12 * s.hidden + max(up, down)
    attention = at.tokens * (18 * s.hidden + 12 * s.q + _qk_norms(s) + 28 * rank
                             + 8 * s.heads) + 2 * _repeated(s, at)
    return max(mlp, attention)


def layer_forward(s: Shape, at: Load) -> int:
    """A layer without gradients."""
    mlp = at.tokens * 12 * s.hidden + max(12 * s.inner * at.tokens, 4 * s.inner * at.tokens + _unpacked(s))
    attention = at.tokens * (8 * s.hidden + 4 * s.q + 4 * s.kv + 4 * s.heads) + _repeated(s, at) \
        + 2 * BF16 * s.kv * at.rows * at.keys
    return at.tokens * 4 * s.head_dim + max(mlp, attention)


# ---------------------------------------------------------------- bytes of a phase, beside what stays

def _graph(job: Job, at: Load, checkpointing: bool) -> int:
    """What a forward leaves for its backward: every layer's input, or all that the layers save."""
    s = job.shape
    layer = at.tokens * BF16 * s.hidden if checkpointing else layer_saved(s, job.settings.lora_r, at)
    return s.layers * layer + at.tokens * (4 * s.head_dim + 32)


def _worst(job: Job, at: Load, scored: int, chunk: int, checkpointing: bool) -> int:
    """Beside the graph: a layer's backward, or the log-probs of a chunk of the `scored` tokens (two fp32
    tensors of logits, the final norm's input and the copies of its output)."""
    s, rank = job.shape, job.settings.lora_r
    layer = layer_backward(s, rank, at) - (0 if checkpointing else layer_saved(s, rank, at))
    return max(layer, at.tokens * 4 * s.hidden + scored * 6 * s.hidden
               + 2 * FP32 * s.vocab * min(chunk, scored))


def update_bytes(job: Job, layout: str, micro: int, chunk: int, checkpointing: bool = True) -> int:
    """Peak of one group's forward and backward."""
    s, micro = job.shape, min(micro, job.group)
    scored, state, kv = micro * job.completion, BF16 * s.hidden, kv_bytes(s, job.prompt)
    always = FP32 * adapter_parameters(s, job.settings) + job.reference * kv  # gradients; the reference's prefix
    if layout in ("packed", "classic"):
        length = job.prompt + (scored if layout == "packed" else job.completion)
        at = Load(length, 1, length) if layout == "packed" else Load(micro * length, micro, length)
        # A mask as booleans, and as bf16 to be added to the scores; or the states that the completions' are a
        # view of.
        kept = scored * state + (3 * length**2 + scored * state if layout == "packed" else at.tokens * state)
        return _rounded(always + kept + _graph(job, at, checkpointing)
                        + _worst(job, at, scored, chunk, checkpointing))
    start = Load(job.prompt, 1, job.prompt)
    at = Load(scored, micro, job.prompt + job.completion)
    prompt = _graph(job, start, checkpointing)
    before = kv + (0 if layout == "recompute" else prompt + job.prompt * 2 * state)
    again = checkpointing and layout != "kept"  # the completions' activations are computed twice
    own = _graph(job, at, again)
    # The first micro-batch's backward frees its graph layer by layer while the prompt's gradients come.
    completions = before + (own + kv if job.group > micro else max(own, kv)) + scored * state \
        + _worst(job, at, scored, chunk, again)
    worst = _worst(job, start, 1, 1, checkpointing)
    if layout == "recompute":  # its second forward makes keys and values once more before the backward lets them go
        worst = max(worst, kv + (layer_forward(s, start) if checkpointing else worst))
    last = prompt + kv + scored * state + worst
    return _rounded(always + max(completions, last))


def scoring_bytes(job: Job, micro: int) -> int:
    """Peak of PRMU's scores: a prompt and completions, `micro` at a time, without gradients."""
    s = job.shape
    prompt = layer_forward(s, Load(job.prompt, 1, job.prompt))
    at = Load(micro * job.completion, micro, job.prompt + job.completion)
    return _rounded(kv_bytes(s, job.prompt) + max(prompt, layer_forward(s, at)))


def rollout_bytes(job: Job, together: int) -> int:
    """Peak of prefilling `together` prompts one by one and decoding their groups together."""
    s, rows, kv = job.shape, together * job.group, kv_bytes(job.shape, together * job.prompt)
    prefill = kv + max(layer_forward(s, Load(job.prompt, 1, job.prompt)), 2 * kv // s.layers)
    logits = rows * s.vocab * (FP32 + 16)  # log-probs, and two fp64 tensors on the way to their cumulative sum
    scores = rows * s.heads * (job.prompt + job.completion) * 12
    step = max(logits, scores, rows * 12 * s.inner + (_unpacked(s) if rows > 4 else 0))
    return _rounded(max(prefill, kv + kv_bytes(s, rows * job.completion) + rows * 20 * s.hidden + step))


def _rounded(n: int) -> int:
    return n + n // 100  # row statistics, indices and the like


# ---------------------------------------------------------------- FLOPs

def _flops(job: Job, tokens: int, keys: int, passes: str) -> float:
    """Of all layers. passes: f (forward) and b (backward) as often as they happen. Attention is counted
    whole, as kernels do it, not its causal half; the frozen base needs gradients of its inputs alone."""
    n, a = base_parameters(job.shape), adapter_parameters(job.shape, job.settings)
    pairs = 4 * job.shape.q * job.shape.layers * tokens * keys
    forward, backward = 2 * (n + a) * tokens + pairs, (2 * n + 4 * a) * tokens + 2.5 * pairs
    return passes.count("f") * forward + passes.count("b") * backward


def update_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    P, G, R, passes = job.prompt, job.group, job.completion, "ffb" if checkpointing else "fb"
    head = 2 * job.shape.hidden * job.shape.vocab * G * R
    reference = head + _flops(job, P, P, "f") + _flops(job, G * R, P + R, "f") if job.reference else 0
    if layout == "classic":
        layers = _flops(job, G * (P + R), P + R, passes)
    elif layout == "packed":
        layers = sum(_flops(job, P + m * R, P + m * R, passes) for m in parts(G, micro))
    else:
        layers = _flops(job, P, P, passes + "f" * (layout == "recompute")) \
            + _flops(job, G * R, P + R, "fb" if layout == "kept" else passes)
    return layers + 2 * head + reference


def group_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    """Rollout, PRMU's scores and update of one group."""
    P, G, R = job.prompt, job.group, job.completion
    decode = _flops(job, G * R, P + R // 2, "f") + 2 * job.shape.hidden * job.shape.vocab * G * R
    score = _flops(job, P, P, "f") + _flops(job, G * R, P + R, "f")
    return decode + _flops(job, P, P, "f") + score + update_flops(job, layout, micro, checkpointing)


def parts(group: int, micro: int) -> list[int]:
    """Sizes of the micro-batches of a group."""
    return [min(micro, group - i) for i in range(0, group, micro)]
