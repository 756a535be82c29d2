"""What results/read_a_run.ipynb shows: a run's drawings and its report, for a notebook's cell.

A notebook shows whatever has `_repr_html_` or `_repr_markdown_`; nothing of Jupyter is imported here.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import UserError
from ..runs import read_jsonl
from . import figures
from .curves import curves


@dataclass(frozen=True)
class Picture:
    """An SVG. As the last value of a cell, the notebook draws it."""
    svg: str

    def _repr_html_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Text:
    """Markdown. As the last value of a cell, the notebook lays it out."""
    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown


def metrics_of(folder: Path) -> dict[str, list[dict]]:
    """{step: its rows of metrics.jsonl}, such as {"guided": [{"index": 0, "reward": 0.7, ..}, ..]}."""
    rows_of: dict[str, list[dict]] = {}
    for row in read_jsonl(folder / "metrics.jsonl"):
        rows_of.setdefault(row["step"], []).append(row)
    return rows_of


def drawings(folder: Path, *titles: str) -> Picture:
    """The report's charts with these titles, side by side. UserError: the run has no data for one."""
    drawn = {chart["title"]: chart["svg"] for chart in curves(metrics_of(folder))}
    for title in titles:
        if title not in drawn:
            raise UserError(f"{folder} has no chart '{title}'; it has {', '.join(drawn)}")
    return Picture(figures.alone([drawn[title] for title in titles]))


def learning(folders: list[Path]) -> Picture:
    """Reward, task term and tag term over both GRPO stages, a line a run."""
    return Picture(figures.alone(figures.learning(folders)))


def section(folder: Path, title: str) -> Text:
    """One section of report.md, such as "Differences". UserError: it has no such section."""
    parts = (folder / "report.md").read_text(encoding="utf-8").split("\n## ")
    for part in parts[1:]:
        heading, _, body = part.partition("\n")
        if heading.strip() == title:
            return Text(body.strip())
    known = ", ".join(part.partition("\n")[0] for part in parts[1:])
    raise UserError(f"{folder / 'report.md'} has no section '{title}'; it has {known}")


def headline(folder: Path) -> Text:
    """What the report says first: what came out, and what looked wrong."""
    first_part = (folder / "report.md").read_text(encoding="utf-8").split("\n## ")[0]
    return Text(first_part.partition("\n")[2].strip())
