"""Does the answer depend on the chain? A table of what leaving a part of the chain out costs.

The rows of samples/faithful.json (steps/faithful.py) are compared chain by chain: the task reward of the
answer behind the changed chain less that of the answer behind the whole one.
"""
from __future__ import annotations

from pathlib import Path

from ..lamp.differences import Scored, difference
from ..lamp.sampling import group_by
from .differences import with_interval
from .tables import label, maybe, number

FILE = "samples/faithful.json"
HEADS = ("System", "Left out of the chain", "Chains", "Reward before", "Reward after", "Difference")
NOTE = ("The answer is decoded again behind a chain without the steps of one tag, without any step, or "
        "behind the chain of another user. Reward: the task reward, mean over tasks. In brackets: 95% "
        "interval. Where leaving steps out costs nothing, the answer does not depend on them.")
WORDS = {"nothing": "all steps", "other": "all, for another user's chain"}


def faithful_rows(folder: Path) -> list[list[str]]:
    """The table's rows as text under HEADS, of every system the tag first whose loss costs most; [] where
    nothing was changed."""
    table = []
    for system, by_change in read_changes(folder).items():
        lines = []
        for change, (before, after) in by_change.items():
            found = difference(before, after)
            lines.append((change in WORDS, found.value, [
                label(system), WORDS.get(change, change), str(found.questions), f"{by_task_mean(before):.3f}",
                f"{by_task_mean(after):.3f}", with_interval(found)]))
        lines.sort(key=lambda line: line[:2])
        table += [cells for _, _, cells in lines]
    return table


def read_changes(folder: Path) -> dict[str, dict[str, tuple[list[Scored], list[Scored]]]]:
    """{system: {change: (scores before it, scores after it)}}."""
    changed = maybe(folder / FILE, {})
    found: dict[str, dict[str, tuple[list[Scored], list[Scored]]]] = {}
    for system, rows in (changed.items() if isinstance(changed, dict) else ()):
        whole_rows = [row for row in rows if is_row(row)] if isinstance(rows, list) else []
        for change, of_change in group_by(whole_rows, lambda row: row["change"]).items():
            found.setdefault(system, {})[change] = ([scored(row, "whole") for row in of_change],
                                                    [scored(row, "score") for row in of_change])
    return found


def is_row(row: object) -> bool:
    """Whether a row is as step 7 writes it."""
    return (isinstance(row, dict) and all(isinstance(row.get(key), str) for key in
                                          ("id", "task", "user", "change"))
            and all(number(row.get(key)) is not None for key in ("score", "whole")))


def scored(row: dict, key: str) -> Scored:
    return Scored(row["task"], row["user"], row["id"], float(row[key]))


def by_task_mean(rows: list[Scored]) -> float:
    """The mean over tasks of the mean of their rows."""
    means = [sum(row.value for row in of_task) / len(of_task)
             for of_task in group_by(rows, lambda row: row.task).values()]
    return sum(means) / len(means)
