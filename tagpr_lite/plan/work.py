"""The work of a phase, for estimates of its time: FLOPs, bytes read and written, operations started."""
from __future__ import annotations

from .flops import head_flops, pass_flops
from .formulas import Job
from .layers import kv_bytes
from .shapes import adapter_parameters, base_parameters
from .times import Work

# A pass over packed weights reads half a byte a number, writes it unpacked in bf16, and reads that.
PACKED_PASS = 0.5 + 2 + 2
CALLS = {"f": 100, "b": 175}  # operations of a layer's forward and backward, counted on the meta device


def overhead(job: Job, passes: str, times: float) -> tuple[float, float]:
    """(bytes, operations) of `times` forwards (f) and backwards (b) beside their products: the weights are
    unpacked and read in each."""
    packed = job.settings.bits == 4 and not job.settings.unpack
    size = base_parameters(job.shape) * (PACKED_PASS if packed else 2)
    size += 4 * adapter_parameters(job.shape, job.settings)
    calls = job.shape.layers * sum(CALLS[one] for one in passes)
    return times * len(passes) * size, times * calls


def passes_work(job: Job, tokens: float, keys: int, passes: str, times: float) -> Work:
    """`tokens` in all through all layers, in `times` forwards (and backwards)."""
    return Work(pass_flops(job, tokens, keys, passes), *overhead(job, passes, times))


def sampling_work(job: Job, prompts: float, together: int) -> Work:
    """`prompts` prompts and their groups, `together` decoded at a time: a prefill each, then every decoded
    token reads all weights, the prompts' keys and values, and half of the rows' own."""
    shape, batches = job.shape, prompts / together
    work = passes_work(job, prompts * job.prompt, job.prompt, "f", times=prompts)
    decode_flops = pass_flops(job, job.group * job.completion, job.prompt + job.completion // 2, "f")
    read = kv_bytes(shape, job.prompt * together) + kv_bytes(shape, job.group * together) * job.completion / 2
    read += 2 * shape.hidden * shape.vocab
    weights, calls = overhead(job, "f", times=1)
    decode = Work(0, (weights + read) * job.completion, calls * job.completion) * batches
    return work + decode + Work(flops=(decode_flops + head_flops(job)) * prompts)
