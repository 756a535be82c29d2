"""The numbers of a run, read once from eval/ and printed once: the page and the Markdown show the same rows.

Decision: nothing is computed here that a reader cannot check by hand. Scores, intervals and parse failures
are copied from eval/<system>/<task>.json. Ours are only the bold (best of a column), the sums over tasks, and
the mean relative change over `base`; that average is named as our own wherever it is shown.
"""
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..lamp.tasks import LOWER_IS_BETTER
from ..runs import read_json

LABELS = {"base": "Base, no profile", "base_profile": "Base, with profile", "sft": "SFT on tagged chains",
          "guided": "GRPO 1, guided", "explore": "GRPO 2, exploratory"}
METRICS = {"accuracy": "accuracy", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "rouge1": "ROUGE-1",
           "rougeL": "ROUGE-L"}
AVERAGE = "mean relative change over base (our averaging)"


# ---------------------------------------------------------------- reading

def maybe(path: Path, default: Any) -> Any:
    """The JSON file, or `default` where the step that writes it was not run."""
    return read_json(path) if path.exists() else default


def number(value: Any) -> float | None:
    """`value` if it is a finite number: a metric of nothing (no answer parsed) may be null or NaN."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def place(name: str, known: Any) -> tuple:
    """Sort key: the known names in their order, then any other by name."""
    known = list(known)
    return (known.index(name) if name in known else len(known), name)


def collect(folder: Path) -> list[dict]:
    """One row a system: its label, `cells` {(task, metric): cell}, and what is summed over tasks.

    A cell holds `value` (lenient), `strict`, `interval` (95%, of the lenient value, or None), `best` and
    `best_strict`.
    """
    rows = []
    for home in sorted((folder / "eval").glob("[!.]*"), key=lambda p: place(p.name, LABELS)):
        scores = {p.stem: read_json(p).get("scores") or {} for p in sorted(home.glob("[!.]*.json"))}
        if scores:
            rows.append(_row(home.name, scores))
    for key in columns(rows):
        _mark_best(rows, key, "value", "best")
        _mark_best(rows, key, "strict", "best_strict")
    base = next((r for r in rows if r["system"] == "base"), None)
    for row in rows:
        row["relative"], row["compared"] = relative_change(row, base) if base and row is not base else (None, 0)
    return rows


def _row(system: str, scores: dict[str, dict]) -> dict:
    cells, n, failed = {}, {}, 0.0
    for task, s in scores.items():
        n[task] = s.get("n") or 0
        failed += (number(s.get("parse_failure")) or 0.0) * n[task]
        for metric, value in (s.get("lenient") or {}).items():
            low, high = [number(v) for v in (s.get("interval") or {}).get(metric) or (None, None)]
            cells[task, metric] = {"value": number(value),
                                   "strict": number((s.get("strict") or {}).get(metric)), "interval": None
                                   if low is None or high is None else (low, high)}
    total = sum(n.values())
    return {"system": system, "label": LABELS.get(system, system), "cells": cells, "n_by_task": n, "n": total,
            "parse_failure": failed / total if total else None}


def columns(rows: list[dict]) -> list[tuple[str, str]]:
    """Every (task, metric) that some system has, tasks by name, the task's main metric first."""
    keys = {key for row in rows for key in row["cells"]}
    return sorted(keys, key=lambda k: (k[0], place(k[1], METRICS)))


def main_columns(rows: list[dict]) -> list[tuple[str, str]]:
    """The main metric of each task: accuracy, MAE or ROUGE-1."""
    first: dict[str, str] = {}
    for task, metric in columns(rows):
        first.setdefault(task, metric)
    return list(first.items())


# ---------------------------------------------------------------- comparing

def _mark_best(rows: list[dict], key: tuple[str, str], field: str, mark: str) -> None:
    values = [row["cells"][key][field] for row in rows if key in row["cells"]]
    values = [v for v in values if v is not None]
    contest = len(set(values)) > 1  # one system alone, or all the same: nobody is best
    best = (min if key[1] in LOWER_IS_BETTER else max)(values) if contest else None
    for row in rows:
        if key in row["cells"]:
            row["cells"][key][mark] = best is not None and row["cells"][key][field] == best


def relative_change(row: dict, base: dict, keys: list | None = None) -> tuple[float | None, int]:
    """Mean over scores of (value - base) / base, with the sign turned for MAE and RMSE, and how many scores
    it is of.

    Scores that either side lacks, and scores whose base is zero (the ratio does not exist), are left out.
    """
    changes = []
    for key in keys if keys is not None else row["cells"]:
        new, old = [r["cells"].get(key, {}).get("value") for r in (row, base)]
        if new is not None and old:
            changes.append((old - new if key[1] in LOWER_IS_BETTER else new - old) / abs(old))
    return (sum(changes) / len(changes), len(changes)) if changes else (None, 0)


def overlaps(rows: list[dict], one: dict, two: dict) -> tuple[int, int]:
    """On how many tasks the two systems' 95% intervals of the main metric overlap, of how many that have
    both."""
    hits = total = 0
    for key in main_columns(rows):
        a, b = [r["cells"].get(key, {}).get("interval") for r in (one, two)]
        if a and b:
            total, hits = total + 1, hits + (a[0] <= b[1] and b[0] <= a[1])
    return hits, total


def summary(rows: list[dict]) -> str:
    """One sentence from the numbers alone. It says so when the last stage did not beat SFT."""
    by = {row["system"]: row for row in rows}
    final = next((by[s] for s in ("explore", "guided", "sft", "base_profile") if s in by), None)
    if final is None:
        return "No system was compared in this run yet, so there is no result to summarise."
    tasks = len(final["n_by_task"])
    head = f"On {final['n']:,} dev questions of {tasks} task{'s' * (tasks != 1)}"
    gain = relative_change(final, by["base"])[0] if "base" in by else None
    text = f"{head}, {final['system']} was scored" + (" without a base model to compare with" if gain is None
                                                      else "")
    if gain is not None:
        text = f"{head}, {final['system']} is {signed(gain)} over the base model without a profile"
        text += " (mean relative change, our averaging)"
    if final["system"] not in ("explore", "guided") or "sft" not in by:
        return text + "."
    return text + _against_sft(rows, final, by["sft"], by.get("base")) + "."


def _against_sft(rows: list[dict], final: dict, sft: dict, base: dict | None) -> str:
    both = [k for k in final["cells"] if k in sft["cells"]]
    anchor = base or sft
    ours, theirs = [relative_change(r, anchor, both)[0] for r in (final, sft)]
    if ours is None or theirs is None:
        return ""
    shown = f" and SFT alone {signed(theirs)}" if base else ""
    verdict = "added to SFT" if ours > theirs else "did not beat SFT"
    hits, total = overlaps(rows, final, sft)
    doubt = f"; their 95% intervals overlap on {hits} of {total} task{'s' * (total != 1)}" if total else ""
    return f"{shown}, so the reinforcement learning {verdict}{doubt}"


def prmu_sentence(report: dict) -> str:
    """What the reward model's accuracies mean, good or bad."""
    own, other = number(report.get("accuracy")), number(report.get("shuffled"))
    pairs = f"{report['heldout_pairs']} pairs" if "heldout_pairs" in report else "pairs"
    said = f"On {pairs} of users it was not trained on, PRMU picks what fits the user {percent(own)} of the time"
    if own is None or other is None:
        return said + "."
    gap, n = own - other, report.get("heldout_pairs") or 1
    noise = 1.96 * math.sqrt((own * (1 - own) + other * (1 - other)) / n)  # 95%, of the difference of two shares
    verdict = (f"the {100 * gap:.0f} points between are what it knows about users, not about answers"
               if gap > noise
               else f"the difference is within the noise of {n} pairs, so nothing shows that it knows the user")
    return f"{said}, and {percent(other)} with another user's history in the place of their own: {verdict}."


def prmu_manners(report: dict) -> str:
    """Where only the user differs, calibration, and what a reward model should not care about."""
    said, only = [], report.get("user_only") or {}
    if only.get("n"):
        said.append(f"Where only the user differs ({only['n']} pairs): {percent(number(only.get('accuracy')))} with the own "
                    f"embedding, {percent(number(only.get('shuffled')))} with another's, {percent(number(only.get('generic')))} "
                    "with none.")
    c, b = report["calibration"], report.get("bias") or {}
    said.append(f"Calibration error {decimal(c['ece'], 2)} at temperature {decimal(c['temperature'], 2)}.")
    if "length_rho" in b:
        said.append(f"Score and length: Spearman's ρ {decimal(b['length_rho'], 2)}.")
    if "over_untagged" in b:
        said.append(f"A chain scores above itself without tags in {percent(b['over_untagged'])} of cases, without an end of "
                    f"thinking in {percent(b['over_unclosed'])}.")
    return " ".join(said)


# ---------------------------------------------------------------- printing

def signed(change: float | None) -> str:
    return "–" if change is None else f"{100 * change:+.1f}%".replace("-", "−")


def decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "not run"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def arrow(metric: str) -> str:
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def grid(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table, padded so that it reads well before it is rendered."""
    lines = [[str(c).replace("|", "\\|").replace("\n", " ") for c in line] for line in [head, *body]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]
    rule = ["-" * (w - bool(i)) + ":" * bool(i) for i, w in enumerate(widths)]
    text = [[c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths))] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [text[0], rule, *text[1:]])


def _table(rows: list[dict], field: str, mark: str, interval: bool) -> str:
    keys = columns(rows)
    head = ["System", *([AVERAGE] if interval else []),
            *(f"{t} {METRICS.get(m, m)} {arrow(m)}" for t, m in keys)]
    body = []
    for row in rows:
        line = [row["system"], *([change_text(row, len(keys))] if interval else [])]
        for key in keys:
            cell = row["cells"].get(key, {})
            text = decimal(cell.get(field))
            text = f"**{text}**" if cell.get(mark) else text
            if interval and cell.get("interval"):
                text += " ({:.2f}–{:.2f})".format(*cell["interval"])
            line.append(text)
        body.append(line + ([str(row["n"]), percent(row["parse_failure"])] if interval else []))
    return grid(head + (["Questions", "Parse failures"] if interval else []), body)


def change_text(row: dict, scores: int) -> str:
    """The row's average; says of how many scores where it is not all of them."""
    part = f" ({row['compared']} of {scores} scores)" if 0 < row["compared"] < scores else ""
    return signed(row["relative"]) + part


def markdown(folder: Path) -> str:
    """report.md: the sentence, the lenient table with 95% intervals, the strict table, the reward model."""
    rows, prmu = collect(folder), maybe(folder / "prmu/report.json", {})
    parts = [f"# tagpr_lite, run `{folder.name}`", summary(rows)]
    if rows:
        parts += ["## Dev scores, lenient reading of the answer", _table(rows, "value", "best", True),
                  "Bold: best of the column. ↑ higher is better, ↓ lower is better. In brackets: 95% interval.",
                  "## Dev scores, strict reading of the answer", _table(rows, "strict", "best_strict", False)]
    else:
        parts += ["Evaluation: not run."]
    parts += ["## Reward model (PRMU)"]
    parts += [prmu_sentence(prmu) if prmu else "Not run."]
    parts += [prmu_manners(prmu)] if "calibration" in prmu else []
    return "\n\n".join(parts) + "\n"
