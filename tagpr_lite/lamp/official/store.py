"""A split of a task in one compact file, so that a thousand questions are read without the other nineteen
thousand.

Decisions. One SQLite file a split: it needs only the standard library, random access is its business, and any
tool opens it. A question is its row (tasks.to_row) as JSON under zlib level 1: a quarter of the default
level's time for a tenth more bytes. Ids, users and golds have a table of their own: sampling reads users
alone, and among the packed rows they would lie pages apart. A store is written beside and renamed, and is
opened read-only; what it was made from (names, bytes, sha256) is kept in it, so that a changed source is
noticed.
"""
from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...config import UserError
from ...runs import whole_file
from ..rows import from_row, to_row
from ..tasks import Question, Task, find_task
from .stream import short

FORMAT = "tagpr_lite questions 1"
TABLES = """
    pragma journal_mode = off; pragma synchronous = off; -- the file is new and is thrown away if this is cut off
    create table meta (key text primary key, value text);
    create table questions (position integer primary key, id text, user text, gold text);
    create table rows (position integer primary key, row blob);
    begin
"""


@dataclass(frozen=True)
class Stored:
    """The questions of a store: a sequence that reads what it is asked for."""
    path: Path
    task: Task
    split: str
    n: int
    sources: dict[str, list]
    """{name of a file it was made from: [bytes, sha256]}"""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, at: int | slice) -> Question | list[Question]:
        chosen = range(self.n)[at]
        return self.take(chosen) if isinstance(at, slice) else self.take([chosen])[0]

    def __iter__(self) -> Iterator[Question]:
        with _reading(self.path) as db:
            for position in range(self.n):
                yield _row(db, position)

    def take(self, positions: Iterable[int]) -> list[Question]:
        """The questions at these positions, in the order given."""
        with _reading(self.path) as db:
            return [_row(db, p) for p in positions]

    @property
    def users(self) -> list[str]:
        return self._column("user")

    @property
    def ids(self) -> list[str]:
        return self._column("id")

    def _column(self, name: str) -> list[str]:
        with _reading(self.path) as db:
            return [value for (value,) in db.execute(f"select {name} from questions order by position")]

    def changed_source(self) -> Path | None:
        """A file that lies beside the store under a source's name without being that source any more."""
        beside = {self.path.parent / name: mark for name, mark in self.sources.items()}
        return next((p for p, mark in beside.items() if p.is_file() and fingerprint(p) != mark), None)


def fingerprint(path: Path) -> list:
    """[bytes, sha256] of a file."""
    with open(path, "rb") as f:
        return [path.stat().st_size, hashlib.file_digest(f, "sha256").hexdigest()]


def write(path: Path, split: str, questions: Iterable[Question], sources: dict[str, list]) -> Stored:
    """Writes the store of a split, one question at a time; a fault in `questions` leaves no file."""
    with whole_file(path) as beside:
        beside.unlink(missing_ok=True)  # a killed conversion's
        try:
            with closing(sqlite3.connect(beside, isolation_level=None)) as db:
                db.executescript(TABLES)
                name, n = "", 0
                for n, q in enumerate(questions, 1):
                    name = q.task.name
                    db.execute("insert into questions values (?, ?, ?, ?)", [n - 1, q.id, q.user, q.gold])
                    db.execute("insert into rows values (?, ?)", [n - 1, _pack(q)])
                about = {"format": FORMAT, "task": name, "split": split, "n": str(n),
                         "sources": json.dumps(sources)}
                db.executemany("insert into meta values (?, ?)", about.items())
                db.execute("commit")
        except sqlite3.Error as e:
            raise UserError(f"{path} cannot be written: {e}") from None
    return open_store(path)


def open_store(path: str | Path) -> Stored:
    """The store at `path`, checked as far as that costs nothing; each row is checked when it is read."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing")
    with _reading(path) as db:
        pages, size = (db.execute(f"pragma {what}").fetchone()[0] for what in ("page_count", "page_size"))
        meta = dict(db.execute("select key, value from meta"))
        if meta.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        sources = {name: [int(size), str(sha)] for name, (size, sha) in json.loads(meta["sources"]).items()}
        stored = Stored(path, find_task(meta["task"]), meta["split"], int(meta["n"]), sources)
        (n,) = db.execute("select count(*) from questions").fetchone()
        if n != stored.n or pages * size != path.stat().st_size:
            raise ValueError("it is not complete")
        return stored


def _pack(question: Question) -> bytes:
    return zlib.compress(json.dumps(to_row(question), ensure_ascii=False).encode(), level=1)


def _row(db: sqlite3.Connection, position: int) -> Question:
    packed, name = db.execute("select row, id from rows join questions using (position) where position = ?",
                              [position]).fetchone()
    question = from_row(json.loads(zlib.decompress(packed)))
    if question.id != name:
        raise ValueError("its rows are mixed up")
    return question


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection. Whatever a damaged or foreign file makes of the reading becomes one line."""
    try:
        where = f"{path.resolve().as_uri()}?mode=ro&immutable=1"  # works in a folder that cannot be written to
        with closing(sqlite3.connect(where, uri=True)) as db:
            yield db
    except (sqlite3.Error, zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError,
            UserError) as e:
        raise UserError(f"{path} is damaged or no store of questions ({short(e, 100)}); make it again") from None
