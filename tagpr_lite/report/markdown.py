"""report.md: the tables of a run as Markdown, from the same rows as the page."""
from __future__ import annotations

from html import escape
from pathlib import Path

from ..runs import printable
from . import differences, faithful, references
from .findings import Findings, read_findings
from .grid import grid
from .reasoning import HEADS, NOTE
from .tables import (
    AVERAGE,
    METRICS,
    arrow,
    change_text,
    columns,
    decimal,
    maybe,
    percent,
    prmu_manners,
    prmu_sentence,
)


def markdown(folder: Path, found: Findings | None = None) -> str:
    """report.md: the sentences, the lenient table with 95% intervals, the strict table, the
    differences, the reward model. found: what read_findings has read of the folder; None: it is read
    here."""
    found = found or read_findings(folder)
    rows = found.rows
    prmu = maybe(folder / "prmu/report.json", {})
    parts = [f"# tagpr_lite, run `{folder.name}`", found.headline]
    parts += [found.reached] if found.reached else []
    parts += [f"> **{word}** {escape(sentence, quote=False)}" for word, sentence in found.notices]
    if rows:
        parts += ["## Dev scores, lenient reading of the answer",
                  lenient_table(rows, references.reference_rows(found.references)),
                  ("Bold: best of the column. ↑ higher is better, ↓ lower is better. "
                   "In brackets: 95% interval."),
                  "## Dev scores, strict reading of the answer", strict_table(rows)]
    else:
        parts.append("Evaluation: not run.")
    if found.compared:
        parts += ["## Differences", grid(*differences.markdown_rows(found.compared)), differences.NOTE]
    if found.states:
        parts += ["## The state of the reasoning", grid(list(HEADS), found.states), NOTE]
    if found.faithful:
        parts += ["## Does the answer depend on the chain?", grid(list(faithful.HEADS), found.faithful),
                  faithful.NOTE]
    parts.append("## Reward model (PRMU)")
    parts.append(prmu_sentence(prmu) if prmu else "Not run.")
    if "calibration" in prmu:
        parts.append(prmu_manners(prmu))
    return printable("\n\n".join(parts) + "\n")


def lenient_table(rows: list[dict], reference_rows: list[dict]) -> str:
    """A line a system: the average, every score with its interval, the questions and the parse failures. Then
    a line in italics a reference of the built-in benchmark."""
    keys = columns(rows)
    head = ["System", AVERAGE, *map(heading, keys), "Questions", "Parse failures"]
    body = []
    for row in rows:
        scores = []
        for key in keys:
            cell = row["cells"].get(key, {})
            text = score_text(cell, "value", "best")
            if cell.get("interval"):
                low, high = cell["interval"]
                text += f" ({low:.2f}–{high:.2f})"
            scores.append(text)
        body.append([row["system"], change_text(row, len(keys)), *scores, str(row["n"]),
                     percent(row["parse_failure"])])
    for row in reference_rows:
        body.append([f"*{row['label']}*", "", *(decimal(row["cells"].get(key)) for key in keys), "", ""])
    return grid(head, body)


def strict_table(rows: list[dict]) -> str:
    """A line a system: every score under the strict reading."""
    keys = columns(rows)
    body = []
    for row in rows:
        scores = [score_text(row["cells"].get(key, {}), "strict", "best_strict") for key in keys]
        body.append([row["system"], *scores])
    return grid(["System", *map(heading, keys)], body)


def heading(key: tuple[str, str]) -> str:
    """The head of a column: "LaMP_3 MAE ↓"."""
    task, metric = key
    return f"{task} {METRICS.get(metric, metric)} {arrow(metric)}"


def score_text(cell: dict, field: str, mark: str) -> str:
    """The number cell[field], bold where cell[mark] says that it is the best."""
    text = decimal(cell.get(field))
    return f"**{text}**" if cell.get(mark) else text
