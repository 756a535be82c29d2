"""The numbers of a run, read once from eval/ and printed once: the page and the Markdown show the same rows.

Decision: nothing is computed here that a reader cannot check by hand. Scores, intervals and parse failures
are copied from eval/<system>/<task>.json. Ours are only the bold (best of a column), the sums over tasks, and
the mean relative change over `base`; that average is named as our own wherever it is shown. Whether one
system is better than another is differences.py's.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config.systems import parse_system, profile_words
from ..lamp.tasks import LOWER_IS_BETTER
from ..runs import read_json

LABELS = {"base": "Base, no profile", "base_profile": "Base, with profile", "sft": "SFT on tagged chains",
          "guided": "GRPO 1, guided", "explore": "GRPO 2, exploratory"}
# What the other parts of a system's word are called.
DECODINGS = {"vote": "vote of", "prmu": "PRMU's choice of", "best": "oracle's choice of", "random": "one of"}
ASKED_WITH = {"own": "", "other": " for another user", "none": " for no user"}
METRICS = {"accuracy": "accuracy", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "rouge1": "ROUGE-1",
           "rougeL": "ROUGE-L"}
AVERAGE = "mean relative change over base (our averaging)"


# ---------------------------------------------------------------- reading

def maybe(path: Path, default: Any) -> Any:
    """The JSON file, or `default` where the step that writes it was not run, or it holds another type."""
    found = read_json(path) if path.exists() else default
    return found if isinstance(found, type(default)) else default


def number(value: Any) -> float | None:
    """`value` if it is a finite number: a metric of nothing (no answer parsed) may be null or NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        value = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return value if math.isfinite(value) else None


def known_first(name: str, known: Iterable[str]) -> tuple[int, str]:
    """Sort key: the known names in their order, then any other by name."""
    order = list(known)
    return (order.index(name) if name in order else len(order), name)


def in_order(word: str) -> tuple:
    """Sort key of systems: the adapters in the order of the method, then by name."""
    adapter = word.partition("@")[0]
    return known_first(adapter.removesuffix("_last"), LABELS), word


def label(word: str) -> str:
    """A system's word for people: "explore@none@vote8" is "GRPO 2, exploratory, no profile, vote of 8"."""
    try:
        system = parse_system(word)
    except ValueError:  # a folder that somebody else has made
        return word
    stage, _, last = system.adapter.partition("_")  # "guided_last" is guided, last
    if stage == "base":
        parts = [LABELS.get(system.answerer, f"Base, {profile_words(system.profile)}")]
    else:
        profile = "" if system.profile == "own" else profile_words(system.profile)
        parts = [LABELS[stage], "last step" if last else "", profile]
    if system.decoding != "greedy":
        parts.append(f"{DECODINGS[system.decoding]} {system.samples}{ASKED_WITH[system.asked_with]}")
    return ", ".join(part for part in parts if part)


def collect(folder: Path) -> list[dict]:
    """One row a system, in the order of the method: {system, label, cells, n_by_task, n, parse_failure,
    relative, compared}.

    cells: {(task, metric): cell}. A cell holds `value` (lenient), `strict`, `interval` (95%, of the lenient
    value, or None), `best` and `best_strict`. n: dev questions. relative: the mean relative change over
    `base`, an average of `compared` scores.
    """
    rows = []
    systems = sorted((folder / "eval").glob("[!.]*"), key=lambda path: in_order(path.name))
    for system_folder in systems:
        files = sorted(system_folder.glob("[!.]*.json"))
        scores = {path.stem: maybe(path, {}).get("scores") or {} for path in files}
        if scores:
            rows.append(_row(system_folder.name, scores))
    for key in columns(rows):
        _mark_best(rows, key, "value", "best")
        _mark_best(rows, key, "strict", "best_strict")
    base = next((row for row in rows if row["system"] == "base"), None)
    for row in rows:
        has_base = base is not None and row is not base
        row["relative"], row["compared"] = relative_change(row, base) if has_base else (None, 0)
    return rows


def _row(system: str, scores: dict[str, dict]) -> dict:
    """A system's row without its comparison. scores: {task: the `scores` of its file}."""
    cells = {}
    n_by_task = {}
    failed = 0.0  # questions whose answer could not be read
    for task, task_scores in scores.items():
        n_by_task[task] = task_scores.get("n") or 0
        failed += (number(task_scores.get("parse_failure")) or 0.0) * n_by_task[task]
        strict = task_scores.get("strict") or {}
        intervals = task_scores.get("interval") or {}
        for metric, value in (task_scores.get("lenient") or {}).items():
            low, high = [number(end) for end in intervals.get(metric) or (None, None)]
            interval = None if low is None or high is None else (low, high)
            cells[task, metric] = {"value": number(value), "strict": number(strict.get(metric)),
                                   "interval": interval}
    total = sum(n_by_task.values())
    return {"system": system, "label": label(system), "cells": cells, "n_by_task": n_by_task,
            "n": total, "parse_failure": failed / total if total else None}


def columns(rows: list[dict]) -> list[tuple[str, str]]:
    """Every (task, metric) that some system has, tasks by name, the task's main metric first."""
    keys = {key for row in rows for key in row["cells"]}
    return sorted(keys, key=lambda key: (key[0], known_first(key[1], METRICS)))


def main_columns(rows: list[dict]) -> list[tuple[str, str]]:
    """The main metric of each task: accuracy, MAE or ROUGE-1."""
    first: dict[str, str] = {}
    for task, metric in columns(rows):
        first.setdefault(task, metric)
    return list(first.items())


# ---------------------------------------------------------------- comparing

def _mark_best(rows: list[dict], key: tuple[str, str], field: str, mark: str) -> None:
    """Sets cell[mark] in the column `key`: whether the cell has the column's best cell[field]. No cell is
    best where one system stands alone or all are equal, and the oracle's, which has seen the gold, never
    is."""
    _, metric = key
    for row in rows:
        row["cells"].get(key, {})[mark] = False
    cells = [row["cells"][key] for row in rows if key in row["cells"] and "@best" not in row["system"]]
    values = [cell[field] for cell in cells if cell[field] is not None]
    best = None
    if len(set(values)) > 1:
        best = min(values) if metric in LOWER_IS_BETTER else max(values)
    for cell in cells:
        cell[mark] = best is not None and cell[field] == best


def relative_change(row: dict, base: dict, keys: list | None = None) -> tuple[float | None, int]:
    """(mean over scores of (value - base) / |base|, the number of scores in it).

    The sign is turned for MAE and RMSE, so that more is better. Scores that either side lacks, and scores
    whose base is zero (the ratio does not exist), are left out. keys: the scores; None: all of the row's.
    """
    changes = []
    for key in keys if keys is not None else row["cells"]:
        _, metric = key
        value = row["cells"].get(key, {}).get("value")
        base_value = base["cells"].get(key, {}).get("value")
        if value is None or not base_value:
            continue
        gain = base_value - value if metric in LOWER_IS_BETTER else value - base_value
        changes.append(gain / abs(base_value))
    return (sum(changes) / len(changes), len(changes)) if changes else (None, 0)


# ---------------------------------------------------------------- sentences

def prmu_sentence(report: dict) -> str:
    """What the reward model's accuracies mean, good or bad.

    With n pairs, the difference of own and other is noise below 1.96 sqrt((own (1 - own) + other (1 -
    other)) / n), the 95% half-width of the difference of two shares.
    """
    own = number(report.get("accuracy"))
    other = number(report.get("shuffled"))
    pairs = f"{report['heldout_pairs']} pairs" if "heldout_pairs" in report else "pairs"
    sentence = (f"On {pairs} of users it was not trained on, PRMU picks what fits the user {percent(own)} "
                "of the time")
    if own is None or other is None:
        return sentence + "."
    gap = own - other
    n = report.get("heldout_pairs") or 1
    noise = 1.96 * math.sqrt((own * (1 - own) + other * (1 - other)) / n)
    if gap > noise:
        reading = f"the {100 * gap:.0f} points between are what it knows about users, not about answers"
    else:
        reading = (f"the difference is within the noise of {n} pairs, so nothing shows that it knows the "
                   "user")
    return (f"{sentence}, and {percent(other)} with another user's history in the place of their own: "
            f"{reading}.")


def prmu_manners(report: dict) -> str:
    """Where only the user differs, calibration, and what a reward model should not care about: the length
    of a chain and its form."""
    sentences = []
    user_only = report.get("user_only") or {}
    if user_only.get("n"):
        own, other, generic = [percent(number(user_only.get(embedding)))
                               for embedding in ("accuracy", "shuffled", "generic")]
        sentences.append(f"Where only the user differs ({user_only['n']} pairs): {own} with the own "
                         f"embedding, {other} with another's, {generic} with none.")
    calibration = report["calibration"]
    sentences.append(f"Calibration error {decimal(calibration['ece'], 2)} at temperature "
                     f"{decimal(calibration['temperature'], 2)}.")
    bias = report.get("bias") or {}
    if "length_rho" in bias:
        sentences.append(f"Score and length: Spearman's ρ {decimal(bias['length_rho'], 2)}.")
    if "over_untagged" in bias:
        sentences.append(f"A chain scores above itself without tags in {percent(bias['over_untagged'])} of "
                         f"cases, without an end of thinking in {percent(bias['over_unclosed'])}.")
    return " ".join(sentences)


# ---------------------------------------------------------------- printing

def signed(change: float | None) -> str:
    return "–" if change is None else f"{100 * change:+.1f}%".replace("-", "−")


def decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def counted(count: int, noun: str) -> str:
    """"1 task", "3 tasks"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def arrow(metric: str) -> str:
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def change_text(row: dict, scores: int) -> str:
    """The row's average; says of how many scores where it is not all of them."""
    part = f" ({row['compared']} of {scores} scores)" if 0 < row["compared"] < scores else ""
    return signed(row["relative"]) + part
