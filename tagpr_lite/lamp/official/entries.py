"""One entry of a LaMP-format questions file, and what may be wrong with it.

Numbers may stand for texts and texts for numbers, and a null is as if its key were absent (values.py): files
that went through pandas have 4.0 for 4 and null for what is not there.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ...config import UserError
from ..dates import oldest_first, read_dates
from ..tasks import TASKS, Item, Question, Task, detect, find_task
from ..values import as_label, as_text, shown, without_nulls
from .stream import one_line


def check_row(path: Path, number: int, row: Any) -> str:
    """The id of a question row that has an id, an input and a profile. number: its place in the file, from
    1."""
    _check(isinstance(row, dict) and is_id(row.get("id")), path, number,
           "has no id, or one that is no short word")
    name = as_text(row["id"])
    for key, kind, what in (("input", str, "string"), ("profile", list, "list")):
        found = "" if row.get(key) is None else f" but {shown(row[key])}"
        _check(isinstance(row.get(key), kind), path, name, f"has no {key} {what}{found}")
    return name


def is_id(word: Any) -> bool:
    """Whether it can be an id: a number or a short printable string, as ids occur in messages."""
    try:
        name = as_text(word)
    except ValueError:
        return False
    return 0 < len(name) <= 64 and name.isprintable()


def is_answer(task: Task, gold: str) -> bool:
    return gold in task.labels if task.labels else bool(gold)


def repaired_input(row: dict, task_field: str | None) -> str:
    """The row's input. Question 110 of the official LaMP-2 dev file lacks its instruction and tag list; it
    gets them back."""
    movies = TASKS["LaMP_2"]
    if as_text(row["id"]) != "110" or not task_field or find_task(task_field) != movies:
        return row["input"]
    if row["input"].startswith(("Which category", movies.prefix)):
        return row["input"]
    print("LaMP_2 question 110 came without its instruction (a known defect of the official file): repaired")
    return f"{movies.instruction} {row['input'].removeprefix('x ').strip()}"


def detected_task(path: Path, name: str, input: str, task_field: str | None) -> Task:
    try:
        return detect(input, task_field)
    except UserError as error:
        raise fault(path, f"question {name}: {error}") from None


def to_question(path: Path, task: Task, row: dict, gold: str | None) -> Question:
    name = as_text(row["id"])
    for item in row["profile"]:
        _check(isinstance(item, dict), path, name, "has a profile item that is not an object")
    rows = [without_nulls(item) for item in row["profile"]]
    try:
        dates = read_dates([item.get("date") for item in rows], official=True)
    except ValueError as error:
        raise fault(path, f"question {one_line(name, 40)} has a profile item with a {error}") from None
    items = [_item(path, task, name, item, date) for item, date in zip(rows, dates)]
    user = name if row.get("user_id") is None else _text(path, name, "a user_id", row["user_id"])
    profile = tuple(items[place] for place in oldest_first(dates))
    return Question(name, task, user, row["input"], gold, profile)


def _item(path: Path, task: Task, question: str, item: dict, date: str) -> Item:
    """A profile item of a file, checked. question: the id of the question that it belongs to."""
    for key in ("id", task.text_key, task.label_key):
        _check(not key or key in item, path, question, f"has a profile item without '{key}'")
    texts = [_text(path, question, f"a profile item with a wrong type of '{key}':", item[key]) if key else ""
             for key in ("id", task.text_key, task.label_key)]
    name, text, label = texts
    if task.kind == "rating":
        label = as_label(label, task.labels)
        _check(label in task.labels, path, question,
               f"has a profile item whose score is not 1 to 5: {label[:20]!r}")
    return Item(name, text, label, date)


def _text(path: Path, question: str, what: str, value: Any) -> str:
    """A text or a number as a text. what: what the question has when it is neither."""
    try:
        return as_text(value)
    except ValueError as error:
        raise fault(path, f"question {one_line(question, 40)} has {what} {error}") from None


def _check(good: bool, path: Path, question: Any, problem: str) -> None:
    if not good:
        raise fault(path, f"question {one_line(question, 40)} {problem}")


def fault(path: Path, text: str) -> UserError:
    return UserError(f"{path}: {one_line(text, 200)}")
