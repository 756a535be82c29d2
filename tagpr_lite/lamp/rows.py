"""Questions as JSON rows, and the run folder's questions: data/train.jsonl, data/val.jsonl (of held-out
training users), data/dev.jsonl, data/tasks.json."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from ..config import UserError
from ..runs import read_json, read_jsonl, write_json, write_jsonl
from .tasks import TASKS, Item, Question, Task

DECLARED = "data/tasks.json"
"""The tasks that a person declared for the run; the built-in ones are not repeated there."""


# ---------------------------------------------------------------- one row

def to_row(question: Question) -> dict:
    """As JSON has it. Not asdict, which copies deeply: a third of the time of a conversion."""
    return {**vars(question), "task": question.task.name,
            "profile": [dict(vars(item)) for item in question.profile],
            "retrieved": list(question.retrieved)}


def from_row(row: dict, tasks: Mapping[str, Task] = TASKS) -> Question:
    """The inverse of `to_row` after a trip through JSON. tasks: those that a row may name."""
    try:
        items = tuple(Item(**item) for item in row["profile"])
        retrieved = tuple(row.get("retrieved", ()))
        question = Question(**{**row, "task": tasks[row["task"]], "profile": items, "retrieved": retrieved})
        texts = [question.id, question.user, question.input]
        texts += [text for item in items for text in (item.id, item.text, item.label, item.date)]
        good_texts = all(isinstance(text, str) for text in texts) and isinstance(question.gold, str | None)
        good_places = all(type(place) is int and 0 <= place < len(items) for place in retrieved)
        good = good_texts and good_places
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        name = row.get("id", "?") if isinstance(row, dict) else "?"
        raise UserError(f"question row {str(name)[:40]!r} has not the shape that step 1 writes; run step 1 "
                        "again")
    return question


# ---------------------------------------------------------------- the run folder

def write_questions(folder: Path, split: str, questions: Iterable[Question]) -> None:
    write_jsonl(folder / "data" / f"{split}.jsonl", map(to_row, questions))


def read_questions(folder: Path, split: str) -> list[Question]:
    """The questions of data/<split>.jsonl, each with its Task."""
    tasks = read_tasks(folder)
    return [from_row(row, tasks) for row in read_jsonl(folder / "data" / f"{split}.jsonl")]


def write_tasks(folder: Path, questions: Iterable[Question]) -> None:
    """Every later step is a process of its own: a person's tasks are written beside the questions."""
    declared = {question.task.name: question.task for question in questions
                if question.task.name not in TASKS}
    write_json(folder / DECLARED, [asdict(declared[name]) for name in sorted(declared)])


def read_tasks(folder: Path) -> dict[str, Task]:
    """{name: Task} of the built-in tasks and of those declared for this run."""
    path = folder / DECLARED
    tasks = dict(TASKS)
    for row in read_json(path) if path.exists() else ():
        try:
            task = Task(**{**row, "labels": tuple(row["labels"])})
        except (TypeError, KeyError):
            raise UserError(f"{path} is not as step 1 writes it; run step 1 again") from None
        tasks[task.name] = task
    return tasks
