"""What report.html and report.md both say, read and computed once: rewards, differences and their intervals,
and the state of the teacher's chains take most of a report's time."""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from . import differences, faithful, notices, reasoning, references, tables


class Findings(NamedTuple):
    """rows: of the table of scores (tables.collect). compared: the table of differences. headline, reached:
    the sentences at the top. references: what can be reached. teacher: the state of the teacher's chains.
    states: the table of the reasoning. faithful: the table of changed chains. notices: what stands above all
    numbers, (word, sentence)."""
    rows: list[dict]
    compared: list[differences.Comparison]
    headline: str
    reached: str
    references: references.References
    teacher: dict
    states: list[list[str]]
    faithful: list[list[str]]
    notices: list[tuple[str, str]]


def read_findings(folder: Path) -> Findings:
    """All of it from the files of a run folder; a part whose files are missing is empty."""
    systems = differences.read_answers(folder).scored
    compared = differences.comparisons(systems)
    known = references.read_references(folder)
    teacher = reasoning.teacher_states(folder)
    return Findings(tables.collect(folder), compared, differences.headline(systems, compared),
                    references.sentence(known, systems, differences.last_stage(systems)), known, teacher,
                    reasoning.state_rows(folder, teacher), faithful.faithful_rows(folder),
                    notices.notices(folder))
