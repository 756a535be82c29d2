"""What step 1 decided about how a run computes: plan.json, which every later step follows.

With a memory budget the planner decides how much goes through the model at one time; without one the settings
stand. `follow` puts the plan into a run's settings, so that config.yaml and the report show what really ran.
The table of the whole run, plan_table.json, is for people: no step reads it.
"""
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import Config, UserError, to_dict
from ..engine.location import budget, find, identity, sized
from ..runs import duration, read_json, write_json
from .advice import refusal, rows_of
from .layers import GIB
from .shapes import shape_of
from .times import measured_rates
from .whole import Load, phases_of, plan_run, with_settings

FILE = "plan.json"
TABLE = "plan_table.json"
SHOWN = ("lamp", "model", "tag", "sft", "reward", "grpo", "evaluate")  # settings that the table is made of


@dataclass(frozen=True)
class RunPlan:
    """model: where the weights come from, a name, a folder or a hub id. identity: changes when the model
    does. budget_gib 0: there is none, and nothing is decided. peak_gib and reserve_gib: what the run is
    expected to need at most, and what is kept free. decided: {dotted setting: value}, {"sft.micro": 2}.
    source: what lamp.source=auto or official stands for, empty for any other. replaced: a sentence of each
    thing that could not be had and has another in its place."""
    model: str
    identity: str
    bits: int
    device: str
    compute_type: str
    threads: int
    budget_gib: float = 0.0
    peak_gib: float = 0.0
    reserve_gib: float = 0.0
    decided: dict[str, Any] = field(default_factory=dict)
    load: dict[str, int] = field(default_factory=dict)
    """What the run puts through the model (whole.Load)."""
    source: str = ""
    replaced: list[str] = field(default_factory=list)


def make_plan(config: Config, load: Load, source: str = "", replaced: Sequence[str] = ()) -> RunPlan:
    """What later steps follow. UserError with advice: the run does not fit into the budget."""
    from ..engine.model import placement  # torch: who only reads a plan does without it
    device, dtype = placement()
    where, room = find(config.model), budget(config.model)
    plan = RunPlan(model=sized(config.model), source=source, replaced=list(replaced),
                   identity=identity(where), bits=config.model.bits, device=str(device),
                   compute_type=str(dtype).removeprefix("torch."),
                   threads=config.model.threads or os.cpu_count() or 1, load=asdict(load))
    if not room:
        return plan
    shape = shape_of(where)
    whole = plan_run(shape, config, load, room * GIB)
    if not whole.fits:
        raise UserError(refusal(shape, config, load, room * GIB))
    return replace(plan, budget_gib=round(room, 2), peak_gib=round(whole.peak / GIB, 2),
                   reserve_gib=round(whole.reserve / GIB, 2), decided=whole.decided)


def follow(config: Config, plan: RunPlan) -> Config:
    """The settings with what the plan decided in their place: what really runs."""
    if plan.source:  # the name keeps the folder, which otherwise bears the source's
        config = replace(config, name=config.folder.name, lamp=replace(config.lamp, source=plan.source))
    return with_settings(config, {"model.name": plan.model, **plan.decided})


def write_plan(folder: Path, plan: RunPlan) -> None:
    write_json(folder / FILE, asdict(plan))


def read_plan(folder: Path) -> RunPlan:
    """The plan of a run folder."""
    tree = read_json(folder / FILE)
    try:
        plan = RunPlan(**tree)
        if not is_plan(plan):
            raise TypeError
        return plan
    except TypeError:
        raise UserError(f"{folder / FILE} is not as this version's step 1 writes it; delete it and run step "
                        "1 again") from None


def is_plan(plan: RunPlan) -> bool:
    """Whether what a file says of a plan has the right types."""
    texts = (plan.model, plan.identity, plan.device, plan.compute_type, plan.source)
    numbers = (plan.bits, plan.threads, plan.budget_gib, plan.peak_gib, plan.reserve_gib)
    return (all(isinstance(text, str) for text in texts) and bool(plan.model)
            and all(isinstance(number, int | float) for number in numbers)
            and isinstance(plan.decided, dict) and isinstance(plan.load, dict)
            and all(type(count) is int for count in plan.load.values())
            and isinstance(plan.replaced, list))


def planned_models(config: Config) -> list[str]:
    """The folder of the run's base model, without loading it: what a step's key holds of it. Empty
    before step 1."""
    if not (config.folder / FILE).exists():
        return []
    model = with_settings(config, {"model.name": read_plan(config.folder).model}).model
    return [find(model)]


# ---------------------------------------------------------------- for people

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
        rows += [("peak of the run", f"{plan.peak_gib:g} GiB"), ("reserve", f"{plan.reserve_gib:g} GiB")]
    return [(what, str(value)) for what, value in rows]


def show_table(config: Config, plan: RunPlan) -> None:
    """Prints the table of the whole run and writes plan_table.json, where the settings or the plan have
    changed since it was written. config: the settings that follow the plan."""
    tree = to_dict(config)
    made_of = {"plan": asdict(plan), "settings": {name: tree[name] for name in SHOWN}}
    path = config.folder / TABLE
    if read_table(path).get("made_of") == json.loads(json.dumps(made_of)):
        return
    try:
        shape = shape_of(find(config.model))
    except UserError:  # a kind of model that has no formulas; a run without a budget does without
        return
    rates = measured_rates()
    rows = rows_of(phases_of(shape, config, Load(**plan.load)), rates)
    if not plan.budget_gib:  # a CPU computes in fp32 with kernels of its own: the bytes are those of a card
        rows = [row | {"held": None, "peak": None} for row in rows]
    write_json(path, {"made_of": made_of, "rates": asdict(rates), "rows": rows})
    print("  the whole run, largest prompts and completions; times are estimates:")
    for line in table_lines(rows):
        print(f"    {line}")


def read_table(path: Path) -> dict:
    """plan_table.json, {"made_of", "rates", "rows"}; {} where there is none or it was damaged."""
    try:
        found = read_json(path) if path.exists() else {}
    except UserError:
        return {}
    is_table = isinstance(found, dict) and isinstance(found.get("rows", []), list)
    return found if is_table and all(map(is_row, found.get("rows", []))) else {}


def is_row(row: object) -> bool:
    """Whether it is a row of the table: words, and numbers or None."""
    if not isinstance(row, dict):
        return False
    numbers = [row.get(key) for key in ("held", "peak", "seconds")]
    return (all(isinstance(row.get(key), str) for key in ("step", "what", "at_once"))
            and {"held", "peak", "seconds"} <= row.keys()
            and all(number is None or isinstance(number, int | float) and abs(number) < 1e18
                    for number in numbers))


def table_cells(rows: list[dict]) -> list[tuple[str, ...]]:
    """The table with its heading and its sum, with columns only for what is known; [] without rows."""
    if not rows:
        return []
    cells = [("step", "what", "at a time", "held", "peak GiB", "about")]
    for row in rows:
        cells.append((row["step"], row["what"], row["at_once"], gib(row["held"]), gib(row["peak"]),
                      duration(row["seconds"], "")))
    total = sum(row["seconds"] or 0 for row in rows)
    peaks = [row["peak"] for row in rows if row["peak"] is not None]
    cells.append(("all", "", "", "", gib(max(peaks)) if peaks else "", duration(total or None, "")))
    columns = [column for column in zip(*cells, strict=True) if any(column[1:])]
    return list(zip(*columns, strict=True))


def table_lines(rows: list[dict]) -> list[str]:
    """The table as lines of text."""
    cells = table_cells(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) if place < 3 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
    return lines


def gib(size: float | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"
