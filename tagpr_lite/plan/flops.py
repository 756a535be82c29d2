"""FLOPs of a model's passes, from formulas, held against the counter as the bytes are (plan/count.py)."""
from __future__ import annotations

from .formulas import Job
from .shapes import adapter_parameters, base_parameters


def pass_flops(job: Job, tokens: int, keys: int, passes: str) -> float:
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


def head_flops(job: Job) -> int:
    """The head's product for every token of the G completions."""
    return 2 * job.shape.hidden * job.shape.vocab * job.group * job.completion


def update_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    """FLOPs of one group's update."""
    P, G, R = job.prompt, job.group, job.completion
    passes = "ffb" if checkpointing else "fb"
    reference = 0.0
    if job.reference:
        reference = head_flops(job) + pass_flops(job, P, P, "f") + pass_flops(job, G * R, P + R, "f")
    if layout == "classic":
        layers = pass_flops(job, G * (P + R), P + R, passes)
    elif layout == "packed":
        layers = sum(pass_flops(job, P + m * R, P + m * R, passes) for m in micro_batches(G, micro))
    else:
        prompt_passes = passes + "f" if layout == "recompute" else passes
        completion_passes = "fb" if layout == "kept" else passes
        layers = pass_flops(job, P, P, prompt_passes) + pass_flops(job, G * R, P + R, completion_passes)
    # the head twice: logits, and the one vector a token (logps.py)
    return layers + 2 * head_flops(job) + reference


def group_flops(job: Job, layout: str, micro: int, checkpointing: bool = True) -> float:
    """FLOPs of rollout, PRMU's scores and update of one group."""
    P, G, R = job.prompt, job.group, job.completion
    # a completion's tokens see R / 2 of its own
    decode = pass_flops(job, G * R, P + R // 2, "f") + head_flops(job)
    score = pass_flops(job, P, P, "f") + pass_flops(job, G * R, P + R, "f")
    return decode + pass_flops(job, P, P, "f") + score + update_flops(job, layout, micro, checkpointing)


def micro_batches(group: int, micro: int) -> list[int]:
    """Sizes of the micro-batches of a group: 10 completions in micro-batches of 4 are [4, 4, 2]."""
    return [min(micro, group - first) for first in range(0, group, micro)]
