"""What can be reached on the built-in benchmark, beside what was reached: rows of the table of scores, marks
of the plots, and a sentence. lamp/mini/reach.py has computed it on the run's own dev questions; a run of
other data has no references, and then all of this is empty.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from ..lamp.differences import Scored
from ..lamp.sampling import group_by
from .tables import maybe, number

FILE = "data/references.json"
LABELS = {"oracle": "Oracle: knows the user's rule", "profile": "Best answer with the profile",
          "no_profile": "Best answer without the profile", "trivial": "Trivial answer",
          "copy": "Copy of a profile item"}
SHORT = {"oracle": "oracle", "profile": "with profile", "no_profile": "without profile",
         "trivial": "trivial", "copy": "copy"}
References = dict[str, dict[str, dict[str, float | None]]]
"""{task: {name: {"reward": value, metric: value}}}."""


def read_references(folder: Path) -> References:
    found = maybe(folder / FILE, {})
    references: References = {}
    for task, columns in found.items() if isinstance(found, dict) else ():
        for name in LABELS:
            values = columns.get(name) if isinstance(columns, dict) else None
            if isinstance(values, dict):
                numbers = {metric: number(value) for metric, value in values.items()}
                references.setdefault(task, {})[name] = numbers
    return references


def reference_rows(references: References) -> list[dict]:
    """A row a reference, {label, cells}: cells {(task, metric): value}."""
    rows = []
    for name, label in LABELS.items():
        cells = {(task, metric): value for task, columns in references.items()
                 for metric, value in columns.get(name, {}).items()}
        if cells:
            rows.append({"label": label, "cells": cells})
    return rows


def marks(references: References, key: tuple[str, str]) -> list[tuple[str, float]]:
    """(short name, value) of every reference of one task's metric; for a plot."""
    task, metric = key
    found = [(SHORT[name], columns.get(metric)) for name, columns in references.get(task, {}).items()]
    return [(name, value) for name, value in found if value is not None]


def shares(references: References, scored: list[Scored]) -> dict[str, tuple[float, float, float]]:
    """{task: (the system's mean reward, that of the best answer without the profile, the share of the
    head-room that the system reaches)}. Head-room: from that answer to the oracle."""
    found = {}
    for task, rows in sorted(group_by(scored, lambda row: row.task).items()):
        columns = references.get(task, {})
        without, oracle = (columns.get(name, {}).get("reward") for name in ("no_profile", "oracle"))
        if without is None or oracle is None or not oracle > without:
            continue
        reached = mean(row.value for row in rows)
        found[task] = (reached, without, (reached - without) / (oracle - without))
    return found


def sentence(references: References, systems: Mapping[str, list[Scored]], final: str | None) -> str:
    """Where the last stage ends below the best answer that sees no profile, and how much of the head-room it
    reaches; "" without references."""
    found = shares(references, systems[final]) if final else {}
    if not found:
        return ""
    below = [f"{task} ({reached:.3f} against {without:.3f})"
             for task, (reached, without, _) in found.items() if reached < without]
    if below:
        first = (f"{final} ends below the best answer that sees no profile on {', '.join(below)} "
                 "(task reward)")
    else:
        first = f"{final} ends above the best answer that sees no profile on every task"
    by_task = ", ".join(f"{task} {percent(share)}" for task, (_, _, share) in found.items())
    average = percent(mean(share for _, _, share in found.values()))
    return (f"{first}. Of the way from that answer to the oracle it goes {average} in the mean over tasks: "
            f"{by_task}.")


def percent(share: float) -> str:
    return f"{100 * share:.0f}%".replace("-", "−")
