"""What people have said so far, in one SQLite file: their texts, and what they answered or corrected.

    items: number | user | task | text | label | date

A row is an item of a profile, as in LaMP's files. What is added is known to the next answer; nothing is
trained. The file is the only state: several programs may read it, and a program that is killed leaves it
whole.
"""
from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from ..config import UserError
from ..lamp.own import history_items
from ..lamp.tasks import Item, Task
from ..lamp.values import as_label
from ..runs import one_line, read_jsonl, whole_characters

APPLICATION = 0x54616750  # "TagP": says whose file it is
TABLE = """CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, task TEXT NOT NULL,
    text TEXT NOT NULL, label TEXT NOT NULL, date TEXT NOT NULL)"""
WAIT = 10.0  # seconds that another program's write is waited for
MOST_DIGITS = 18  # of an item's number: SQLite's numbers have 64 bits


def items_of_file(path: Path, task: Task) -> tuple[Item, ...]:
    """The items of a JSONL file, one a line, with the task's own keys: {"text", "score", "date"} of LaMP_3.
    Oldest first where all are dated."""
    return history_items(str(path), task, read_jsonl(path))


def require_place(path: Path, names: str) -> None:
    """UserError: a history cannot be kept at the path. names: what it might be called instead."""
    if path.suffix != ".db":
        raise UserError(f"--history {path}: a history is a file such as {names}")
    if not path.parent.is_dir():
        raise UserError(f"--history {path}: there is no folder {path.parent}")


class History:
    """The file of a path, made where there is none. UserError: it is no such file, or cannot be used."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as db:
            (owner,), (tables,) = (db.execute(query).fetchone() for query in
                                   ("PRAGMA application_id", "SELECT count(*) FROM sqlite_master"))
            if owner != APPLICATION and tables:
                raise UserError(f"{path} is a database of another program")
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(TABLE)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are all written when the block ends, or none."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT)) as db, db:
                yield db
        except sqlite3.Error as error:
            raise UserError(f"the history {self.path} cannot be used: {one_line(error, 200)}") from None

    def items(self, user: str, task: Task) -> tuple[Item, ...]:
        """The user's items, oldest first; the id of an item is its number in the file."""
        with self._open() as db:
            rows = db.execute("SELECT number, text, label, date FROM items WHERE user = ? AND task = ? "
                              "ORDER BY number", (user, task.name)).fetchall()
        return tuple(Item(str(number), text, label, date) for number, text, label, date in rows)

    def users(self) -> list[str]:
        with self._open() as db:
            return [user for (user,) in db.execute("SELECT DISTINCT user FROM items ORDER BY user")]

    def add(self, user: str, task: Task, items: Sequence[Item]) -> list[Item]:
        """Adds items behind the others; returns them as they are kept. UserError: a label is no answer to
        the task."""
        kept = [replace(item, text=whole_characters(item.text), label=label_of(task, item.label))
                for item in items]
        with self._open() as db:
            numbers = [db.execute("INSERT INTO items (user, task, text, label, date) VALUES (?, ?, ?, ?, ?)",
                                  (user, task.name, item.text, item.label, item.date)).lastrowid
                       for item in kept]
        return [replace(item, id=str(number)) for item, number in zip(kept, numbers)]

    def correct(self, user: str, task: Task, number: int, label: str) -> str:
        """Gives an item another label; returns the label as it is kept."""
        label = label_of(task, label)
        with self._open() as db:
            changed = db.execute("UPDATE items SET label = ? WHERE number = ? AND user = ? AND task = ?",
                                 (label, number, user, task.name)).rowcount
        self._require(changed, number)
        return label

    def remove(self, user: str, task: Task, number: int) -> None:
        with self._open() as db:
            removed = db.execute("DELETE FROM items WHERE number = ? AND user = ? AND task = ?",
                                 (number, user, task.name)).rowcount
        self._require(removed, number)

    def _require(self, found: int, number: int) -> None:
        if not found:
            raise UserError(f"there is no item {number}")


def item_number(digits: str) -> int:
    """The number of an item, as a person or a request writes it. UserError: no item can have it."""
    if len(digits.lstrip("0")) > MOST_DIGITS:
        raise UserError(f"there is no item {one_line(digits, 40)}")
    return int(digits[-MOST_DIGITS:])


def label_of(task: Task, text: str) -> str:
    """A person's answer in the form of the task's labels. UserError: it is none."""
    text = whole_characters(text).strip()
    label = as_label(text, task.labels) if task.labels else text
    if not label or (task.labels and label not in task.labels):
        known = f"; they are {', '.join(task.labels)}" if task.labels else ""
        raise UserError(f"{one_line(text, 60)!r} is no answer to {task.name}{known}")
    if "\0" in label:
        raise UserError("an answer cannot hold the character NUL")
    return label
