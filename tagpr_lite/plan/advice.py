"""The plan for people: why a run does not fit and what would, and the rows of the table."""
from __future__ import annotations

import math
from dataclasses import replace

from ..config import Config
from .choice import RESERVE
from .layers import GIB
from .phase import Load, Phase
from .shapes import SHAPES, Shape, base_parameters
from .times import Rates, seconds
from .whole import plan_run, with_settings


def refusal(shape: Shape, config: Config, load: Load, budget: float) -> str:
    """Why the run does not fit, and the nearest changes with which it would."""
    plan = plan_run(shape, config, load, budget)
    tightest = plan.tightest
    left = max(0.0, budget - plan.reserve)
    # The budget whose rest after the reserve is the peak, rounded up to half a GiB.
    enough = math.ceil((tightest.peak + RESERVE[1]) / (1 - RESERVE[0]) / GIB * 2) / 2
    g = config.grpo

    def fits(shape: Shape = shape, prompt: int = load.prompt, completion: int = g.completion) -> bool:
        shorter = replace(load, prompt=prompt, question=min(load.question, prompt))
        return plan_run(shape, with_settings(config, {"grpo.completion": completion}), shorter, budget).fits

    shorter_prompts = range((load.prompt - 1) // 256 * 256, 0, -256)
    shorter_completions = range((g.completion - 1) // 64 * 64, 0, -64)
    smaller_shapes = [one for one in SHAPES.values() if base_parameters(one) < base_parameters(shape)]
    smaller_shapes.sort(key=base_parameters, reverse=True)
    advice = [f"prompt.max_tokens={n}" for n in shorter_prompts if fits(prompt=n)][:1]
    advice += [f"grpo.completion={n}" for n in shorter_completions if fits(completion=n)][:1]
    advice += [one.name for one in smaller_shapes if fits(shape=one)][:1]
    advice.append(f"a budget of {enough:g} GiB")
    return (f"{shape.name} with prompts of {load.prompt} and {g.group} completions of {g.completion} "
            f"tokens needs {tightest.peak / GIB:.2f} GiB in step {tightest.step} ({tightest.what}); a "
            f"budget of {budget / GIB:g} less a reserve of {plan.reserve / GIB:.2f} leaves "
            f"{left / GIB:.2f}. What would fit: {'; '.join(advice)}")


def rows_of(phases: list[Phase], rates: Rates | None) -> list[dict]:
    """The table as rows of JSON, bytes and seconds; seconds None without rates."""
    return [{"step": phase.step, "what": phase.what, "at_once": phase.at_once, "held": phase.held,
             "peak": phase.peak, "seconds": round(seconds(phase.work, rates), 1) if rates else None}
            for phase in phases]
