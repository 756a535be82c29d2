"""The scores of a campaign by task, what can be reached there, and the state of the reasoning."""
from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import NamedTuple

from ..lamp.rows import read_tasks
from ..lamp.tasks import LOWER_IS_BETTER
from . import references, tracks
from .over_seeds import Run, in_order
from .reasoning import TEACHER, combined, read_states, teacher_states
from .tables import METRICS, arrow, collect, decimal, main_columns, number, percent

Values = dict[tuple[str, str], dict[tuple[str, str], list[float]]]
"""{(variant, system): {(task, metric): [a value for each finished run]}}."""
CEILINGS = ("no_profile", "profile", "oracle")  # what is shown of references.SHORT
MEASURES = {"form": "In form", "follows": "Follows", "true": "True claims", "claims": "Claims a chain"}


class Line(NamedTuple):
    """A row of a task's drawing. note: in small, below the value."""
    name: str
    svg: str
    value: str
    note: str = ""


class TaskPlot(NamedTuple):
    """One task's main metric. groups: [(variant, its lines)]; the last of them is what can be reached where
    `reachable` says so."""
    title: str
    metric: str
    better: str
    groups: list[tuple[str, list[Line]]]
    axis: tracks.Axis
    reachable: bool

    @property
    def noted(self) -> bool:
        """Whether some line has a share of the head-room."""
        return any(line.note for _, lines in self.groups for line in lines)

    @property
    def many(self) -> bool:
        """Whether several variants must be told apart."""
        return len(self.groups) - self.reachable > 1


def scores(runs: Iterable[Run]) -> Values:
    """Every variant's main metric of each task and system, a value for each finished run."""
    values: Values = {}
    for run in runs:
        for row in collect(run.folder):
            for key in main_columns([row]):
                value = row["cells"][key]["value"]
                if value is not None:
                    values.setdefault((run.variant, row["system"]), {}).setdefault(key, []).append(value)
    return values


def score_table(values: Values) -> tuple[list[str], list[list[str]]]:
    """(heads, a line a variant and system): the mean over finished seeds and their range."""
    columns = sorted({key for of_system in values.values() for key in of_system})
    heads = ["variant", "system", "seeds"]
    heads += [f"{task} {METRICS.get(metric, metric)} {arrow(metric)}" for task, metric in columns]
    lines = []
    for (variant, system), of_system in values.items():
        seeds = max(len(of_seeds) for of_seeds in of_system.values())
        cells = [mean_and_range(of_system.get(key, [])) for key in columns]
        lines.append([variant, system, str(seeds), *cells])
    return heads, lines


def mean_and_range(values: list[float]) -> str:
    """"0.600 (0.500 to 0.700)"."""
    if not values:
        return "-"
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


# ---------------------------------------------------------------- a drawing a task

def task_plots(runs: list[Run], values: Values) -> list[TaskPlot]:
    """A drawing for every task that some run has scores of. Systems with another view or decoding are left
    out where there are plain ones: the page has other parts for them."""
    plain = {names: of_system for names, of_system in values.items() if "@" not in names[1]}
    values = plain or values
    ceilings, reached = reachable(runs), head_room(runs)
    tasks = {name: task for run in runs for name, task in read_tasks(run.folder).items()}
    plots = []
    for key in sorted({key for of_system in values.values() for key in of_system}):
        task, metric = key
        title = f"{task} · {tasks[task].title}" if task in tasks else task
        better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
        rows = {names: of_system[key] for names, of_system in values.items() if key in of_system}
        shares = {names: by_task[task] for names, by_task in reached.items() if task in by_task}
        groups, axis = lines_of(rows, ceilings.get(key, {}), shares)
        plots.append(TaskPlot(title, METRICS.get(metric, metric), better, groups, axis, key in ceilings))
    return plots


def lines_of(rows: dict[tuple[str, str], list[float]], ceilings: dict[str, float],
             shares: dict[tuple[str, str], float]) -> tuple[list[tuple[str, list[Line]]], tracks.Axis]:
    """The lines of one task, variant by variant, and their axis. rows: {(variant, system): values}. shares:
    of the head-room, {(variant, system): share}."""
    axis = tracks.axis([value for of_runs in rows.values() for value in of_runs] + list(ceilings.values()))
    guide = ceilings.get("no_profile")
    groups: list[tuple[str, list[Line]]] = []
    for variant in dict.fromkeys(variant for variant, _ in rows):
        lines = []
        for system in in_order(name for of_variant, name in rows if of_variant == variant):
            of_runs = rows[variant, system]
            share = shares.get((variant, system))
            drawn = tracks.score(mean(of_runs), of_runs, axis, guide)
            lines.append(Line(system, drawn, decimal(mean(of_runs)),
                              "" if share is None else references.percent(share)))
        groups.append((variant, lines))
    if ceilings:
        groups.append(("can be reached", [
            Line(references.SHORT[name], tracks.reference(ceilings[name], axis, guide),
                 decimal(ceilings[name])) for name in CEILINGS if name in ceilings]))
    return groups, axis


def reachable(runs: list[Run]) -> dict[tuple[str, str], dict[str, float]]:
    """{(task, metric): {reference: its mean over the runs that have it}}."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in runs:
        for task, columns in references.read_references(run.folder).items():
            for name in CEILINGS:
                for metric, value in columns.get(name, {}).items():
                    if value is not None:
                        found.setdefault((task, metric), {}).setdefault(name, []).append(value)
    return {key: {name: mean(values) for name, values in by_name.items()} for key, by_name in found.items()}


def head_room(runs: list[Run]) -> dict[tuple[str, str], dict[str, float]]:
    """{(variant, system): {task: the share of the head-room that is reached, mean over runs}}."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in runs:
        known = references.read_references(run.folder)
        for system, rows in run.answers.scored.items():
            for task, (_, _, share) in references.shares(known, rows).items():
                found.setdefault((run.variant, system), {}).setdefault(task, []).append(share)
    return {names: {task: mean(shares) for task, shares in by_task.items()}
            for names, by_task in found.items()}


# ---------------------------------------------------------------- the reasoning

def reasoning_rows(runs: list[Run]) -> list[dict]:
    """{variant, name, known, cells} of every system that reasons, all tasks and runs together; before them
    the teacher's chains of the first variant. cells: [(value as text, its bar)] of MEASURES."""
    found: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        for system, by_task in read_states(run.folder).items():
            found.setdefault((run.variant, system), []).extend(by_task.values())
    if not found:
        return []
    first = runs[0].variant
    teachers = [teacher["all"] for run in runs if run.variant == first
                and (teacher := teacher_states(run.folder))]
    order = [(variant, system) for variant in dict.fromkeys(variant for variant, _ in found)
             for system in in_order(name for of_variant, name in found if of_variant == variant)]
    rows = [("", TEACHER, combined(teachers))] if teachers else []
    rows += [(variant, system, combined(found[variant, system])) for variant, system in order]
    most = max((number(state["claims"]) or 0 for _, _, state in rows), default=0)
    return [{"variant": variant, "name": name, "known": name == TEACHER and not variant,
             "cells": [cell(number(state[key]), key, most) for key in MEASURES]}
            for variant, name, state in rows]


def cell(value: float | None, key: str, most: float) -> tuple[str, str]:
    """(the value as text, its bar): of a share of 1, of claims of the most that any row has."""
    text = decimal(value, 2) if key == "claims" else percent(value)
    return text, "" if value is None else tracks.share(value, most if key == "claims" else 1.0)
