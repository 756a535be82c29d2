"""The history behind --history of `ask`: a file that is read, or one that grows.

    mine.jsonl     is read. With --interactive mine.db beside it grows, and begins with its items.
    mine.db        is read. With --interactive it grows, and is begun where it is not there.

Where both are there, a line says which was read.
"""
from __future__ import annotations

from functools import cached_property
from pathlib import Path

from ..config import UserError
from ..lamp.tasks import Item, Task
from .history import History, items_of_file, require_place

YOU = "you"


class OwnHistory:
    """A person's history of one task. path: of the file, or None. grows: whether what is said is kept."""

    def __init__(self, path: Path | None, task: Task, grows: bool):
        self.task = task
        self.file: Path | None = path
        """The SQLite file, if one is read."""
        self.given: tuple[Item, ...] = ()
        """The items of a JSONL file, until the SQLite file begins with them."""
        if path is None and grows:
            raise UserError("--interactive keeps what you say: give --history mine.db")
        if path is not None and path.suffix == ".jsonl":
            self.given = items_of_file(path, task)
            self.file = self._beside(path, grows)
        elif path is not None:
            require_place(path, "mine.jsonl or mine.db")
            if not grows and not path.exists():
                raise UserError(f"there is no history {path}; --interactive begins one")

    def _beside(self, path: Path, grows: bool) -> Path | None:
        """The file that grows beside a JSONL file, where it is wanted. Says which of the two is read."""
        beside = path.with_suffix(".db")
        if not grows:
            if beside.exists():
                print(f"note: {beside} is not read; if it has what you corrected, give --history {beside}")
            return None
        kept = History(beside).items(YOU, self.task) if beside.exists() else ()
        if kept:
            missing = sum(item.text not in {known.text for known in kept} for item in self.given)
            more = f"; {missing} items of {path} are not in it" if missing else f", not {path}"
            print(f"note: {beside} is read, with what you corrected{more}")
        else:
            print(f"note: what you correct is kept in {beside}, which begins with the items of {path}")
        return beside

    @cached_property
    def kept(self) -> History:
        """The file that grows, made where there is none."""
        return History(self.file)

    def begin(self) -> None:
        """Makes the file that grows. A question that was refused before has left nothing behind."""
        if not self.kept.items(YOU, self.task):
            self.kept.add(YOU, self.task, self.given)
        self.given = ()

    def items(self) -> tuple[Item, ...]:
        is_there = self.file is not None and self.file.exists()
        return (self.kept.items(YOU, self.task) if is_there else ()) or self.given

    # ------------------------------------------------------------ what a person says

    def add(self, text: str, label: str) -> Item:
        """Adds an answer; returns the item as it is kept."""
        (item,) = self.kept.add(YOU, self.task, [Item("", text, label)])
        return item

    def correct(self, number: int, label: str) -> str:
        """Gives an item another label; returns it in the form of the task's labels."""
        return self.kept.correct(YOU, self.task, number, label)

    def remove(self, number: int) -> None:
        self.kept.remove(YOU, self.task, number)
