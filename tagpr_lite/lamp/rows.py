"""The run folder's questions: data/train.jsonl and data/dev.jsonl, and the tasks that a person declared for them."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from ..config import UserError
from ..runs import read_json, read_jsonl, write_json, write_jsonl
from .tasks import BUILT_IN, TASKS, Question, Task, declare, from_row, to_row

DECLARED = "data/tasks.json"


def write_questions(folder: Path, split: str, questions: Iterable[Question]) -> None:
    write_jsonl(folder / "data" / f"{split}.jsonl", map(to_row, questions))


def read_questions(folder: Path, split: str) -> list[Question]:
    read_declared(folder)
    return [from_row(row) for row in read_jsonl(folder / "data" / f"{split}.jsonl")]


def write_declared(folder: Path) -> None:
    """Every later step is a process of its own: what step 1 was told of a person's tasks goes with the data."""
    write_json(folder / DECLARED, [asdict(task) for name, task in TASKS.items() if name not in BUILT_IN])


def read_declared(folder: Path) -> None:
    """Makes the run's declared tasks known; without the file there are none."""
    path = folder / DECLARED
    for row in read_json(path) if path.exists() else ():
        try:
            declare(Task(**{**row, "labels": tuple(row["labels"])}))
        except (TypeError, KeyError):
            raise UserError(f"{path} is not as step 1 writes it; run step 1 again") from None
