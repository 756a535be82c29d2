"""What step 1 decided about how a run computes: plan.json, which every later step follows.

With a memory budget the planner chooses how GRPO computes a group; without one the settings stand. `follow`
puts the plan into a run's settings, so that config.yaml and the report show what really ran.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..config import Config, UserError
from ..engine.location import budget, find, identity, sized
from ..runs import read_json, write_json
from .choice import choose
from .formulas import GIB, Job
from .shapes import shape_of

FILE = "plan.json"


@dataclass(frozen=True)
class GRPOPlan:
    """The settings of config.GRPO that the planner decides, and the peak that it expects of them."""
    layout: str
    once: bool
    micro: int
    logp_chunk: int
    decode_rows: int
    checkpointing: bool


@dataclass(frozen=True)
class RunPlan:
    """model: where the weights come from, a name, a folder or a hub id. identity: changes when the model
    does. budget_gib 0: there is none, and `grpo` is None. peak_gib and reserve_gib: what GRPO is expected to
    need, and what is kept free. source: what lamp.source=auto or official stands for,
    empty for any other. replaced: a sentence of each thing that could not be had and has another in its
    place."""
    model: str
    identity: str
    bits: int
    device: str
    compute_type: str
    threads: int
    budget_gib: float = 0.0
    peak_gib: float = 0.0
    reserve_gib: float = 0.0
    grpo: GRPOPlan | None = None
    source: str = ""
    replaced: list[str] = field(default_factory=list)


def make_plan(config: Config, source: str = "", replaced: Sequence[str] = ()) -> RunPlan:
    """Fetches the model, and decides how GRPO computes a group within the budget; refuses with advice where
    nothing fits."""
    from ..engine.model import placement  # torch: who only reads a plan does without it
    device, dtype = placement()
    where, room, g = find(config.model), budget(config.model), config.grpo
    plan = RunPlan(model=sized(config.model), source=source, replaced=list(replaced),
                   identity=identity(where), bits=config.model.bits, device=str(device),
                   compute_type=str(dtype).removeprefix("torch."), threads=config.model.threads
                   or os.cpu_count() or 1)
    if not room:
        return plan
    job = Job(shape_of(where), config.model, config.prompt.max_tokens, g.group, g.completion,
              max(1, g.decode_rows // g.group), bool(g.beta))
    best = choose(job, room * GIB)
    # `once` holds what a prompt's backward needs from sampling to training, which no formula counts: it is
    # switched off.
    decided = GRPOPlan(layout=best.layout, once=False, micro=best.micro, logp_chunk=best.logp_chunk,
                       decode_rows=best.rollout_prompts * g.group, checkpointing=best.checkpointing)
    return replace(plan, budget_gib=round(room, 2), peak_gib=round(best.peak / GIB, 2),
                   reserve_gib=round(best.reserve / GIB, 2), grpo=decided)


def follow(config: Config, plan: RunPlan) -> Config:
    """The settings with what the plan decided in their place: what really runs."""
    if plan.source:  # the name keeps the folder, which otherwise bears the source's
        config = replace(config, name=config.folder.name, lamp=replace(config.lamp, source=plan.source))
    model = replace(config.model, name=plan.model)
    grpo = replace(config.grpo, **asdict(plan.grpo)) if plan.grpo else config.grpo
    return replace(config, model=model, grpo=grpo)


def write_plan(folder: Path, plan: RunPlan) -> None:
    write_json(folder / FILE, asdict(plan))


def read_plan(folder: Path) -> RunPlan:
    """The plan of a run folder."""
    tree = read_json(folder / FILE)
    try:
        grpo = tree.pop("grpo", None)
        return RunPlan(**tree, grpo=GRPOPlan(**grpo) if grpo else None)
    except (TypeError, AttributeError):
        raise UserError(f"{folder / FILE} is not as this version's step 1 writes it; delete it and run step "
                        "1 again") from None


def planned_models(config: Config) -> list[str]:
    """The folder of the run's base model, without loading it: what a step's key holds of it. Empty
    before step 1."""
    if not (config.folder / FILE).exists():
        return []
    return [find(replace(config.model, name=read_plan(config.folder).model))]


def lines(plan: RunPlan, config: Config) -> list[tuple[str, str]]:
    """(what, value) for people; config: the settings that follow the plan."""
    g = config.grpo
    weights = "NF4, double quantisation" if plan.bits == 4 else plan.compute_type
    rows = [("model", plan.model), ("identity", plan.identity), ("weights", weights), ("device", plan.device),
            ("budget", f"{plan.budget_gib:g} GiB" if plan.budget_gib else "none"),
            ("compute type", plan.compute_type), ("threads", plan.threads),
            ("prompt tokens", config.prompt.max_tokens), ("group", g.group),
            ("completion tokens", g.completion), ("layout", g.layout), ("micro-batch", g.micro),
            ("activation checkpointing", "on" if g.checkpointing and config.model.checkpointing else "off")]
    if plan.budget_gib:
        rows += [("peak of GRPO", f"{plan.peak_gib:g} GiB"), ("reserve", f"{plan.reserve_gib:g} GiB")]
    return [(what, str(value)) for what, value in rows]
