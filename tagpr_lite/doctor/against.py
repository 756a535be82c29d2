"""One cell: our GRPO step and TRL's on the same card, the same made model, prompt and sizes, one after the
other in one process. bench/grpo.py and bench/trl.py do the work.

Decisions. Our side is let go before TRL's is loaded, so that each has the whole card; its figures are written
before. Each side takes one short step that nothing is measured of, and one that everything is measured of: a
card's allocator is asked for the peak, which costs no time. On a CPU bytes are counted in a step of their
own. Bytes are those beside what else the process holds.
"""
from __future__ import annotations

import torch

from ..bench import grpo as bench
from ..config import Config
from ..plan.counter import watched
from .parts import Part
from .selftests import WARM_COMPLETION, Result, Tell, allocated, config_of, warm_side

OUT_OF_MEMORY = "out of memory"


def cell(part: Part, tell: Tell) -> Result:
    """{"ours", "trl": {"rollout_s", "update_s", "step_s", "peak_bytes"}, "ratio": TRL's over ours}. Where TRL
    runs out of memory, "trl" is {"fault": "out of memory"}, and there is no ratio."""
    config = config_of(part)
    figures = {"ours": ours(config)}
    tell(figures)
    figures["trl"] = theirs(config)
    if "fault" not in figures["trl"]:
        figures["ratio"] = {what.rpartition("_")[0]: figures["trl"][what] / figures["ours"][what]
                            for what in figures["ours"]}
    return figures, []


def ours(config: Config) -> dict:
    """Our step. A function of its own, so that nothing of it outlives it."""
    before = allocated()
    side = warm_side(config, config.prompt.max_tokens)
    prompt = bench.prompts_of(side.tokenizer, 1, config.prompt.max_tokens)[0]
    if torch.cuda.is_available():
        with watched(side.model, side.optimizer) as counter:
            bench.step(side, prompt)
        peak = counter.peak
    else:
        bench.step(side, prompt)
        counts = bench.counted(side, prompt)
        peak = max(counts["rollout"][0], counts["update"][0])
    return seconds_and_bytes(side.meter, peak - before)


def theirs(config: Config) -> dict:
    """TRL's step, or {"fault"} where it runs out of memory."""
    before = allocated()
    try:
        run = trl_run(config)
    except torch.OutOfMemoryError:
        run = None  # in here the traceback still holds what filled the memory
    except RuntimeError as error:
        if "ALLOC_FAILED" not in str(error):  # a matrix library's words for the same
            raise
        run = None
    if run is None:
        allocated()
        return {"fault": OUT_OF_MEMORY}
    peak = max(run.counted["rollout"][0], run.counted["update"][0])
    return seconds_and_bytes(run.meter, peak - before)


def trl_run(config: Config):
    from ..bench.trl import run_trl
    model, tokenizer, params = bench.policy(config, "sdpa")
    prompt = bench.prompts_of(tokenizer, 1, config.prompt.max_tokens)[0]
    repeat = 0 if torch.cuda.is_available() else 1  # the last step is counted as well
    return run_trl(config, model, tokenizer, list(params.values()), (prompt, prompt),
                   bench.rewards_of(config), repeat, lambda: None, completions_only=False,
                   warm_completion=WARM_COMPLETION)


def seconds_and_bytes(meter: bench.Meter, peak: int) -> dict:
    """The last measured step; what is left of it after its rollout is the update."""
    rollout, step = meter.seconds["rollout"][-1], meter.seconds["step"][-1]
    return {"rollout_s": rollout, "update_s": step - rollout, "step_s": step, "peak_bytes": peak}
