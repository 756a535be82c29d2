"""A split of a task in one compact file, so that a thousand questions are read without the other nineteen
thousand.

Decisions. One SQLite file a split: it needs only the standard library, random access is what it is made for,
and any tool opens it. A question is its row (rows.to_row) as JSON under zlib level 1: a quarter of the
default level's time for a tenth more bytes. Ids, users and golds have a table of their own, because sampling
reads users alone, and among the packed rows they would lie pages apart. A store is written beside and
renamed, and is opened read-only. It keeps what it was made from (names, bytes, sha256), so that a changed
source is noticed.
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
from .stream import one_line

FORMAT = "tagpr_lite questions 2"  # 1 had dates as its source wrote them
# No journal: the file is new, and it is thrown away if the writing is cut off.
TABLES = """
    pragma journal_mode = off; pragma synchronous = off;
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
    """Questions."""
    sources: dict[str, list]
    """{name of a file it was made from: [bytes, sha256]}"""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int | slice) -> Question | list[Question]:
        chosen = range(self.n)[index]
        return self.take(chosen) if isinstance(index, slice) else self.take([chosen])[0]

    def __iter__(self) -> Iterator[Question]:
        with _reading(self.path) as db:
            for position in range(self.n):
                yield _read_question(db, position)

    def take(self, positions: Iterable[int]) -> list[Question]:
        """The questions at these positions, in the order given."""
        with _reading(self.path) as db:
            return [_read_question(db, position) for position in positions]

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
        """A file that lies beside the store, or in train/ or dev/, under a source's name without being that
        source any more."""
        for name, original in self.sources.items():
            for beside in (self.path.parent / name, self.path.parent / self.split / name):
                if beside.is_file() and fingerprint(beside) != original:
                    return beside
        return None


def fingerprint(path: Path) -> list:
    """[bytes, sha256] of a file."""
    with open(path, "rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def write(path: Path, split: str, questions: Iterable[Question], sources: dict[str, list]) -> Stored:
    """Writes the store of a split, one question at a time; a fault in `questions` leaves no file."""
    with whole_file(path) as beside:
        beside.unlink(missing_ok=True)  # what a killed conversion has left
        try:
            with closing(sqlite3.connect(beside, isolation_level=None)) as db:
                db.executescript(TABLES)
                _write_rows(db, split, questions, sources)
                db.execute("commit")
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be written: {error}") from None
    return open_store(path)


def _write_rows(db: sqlite3.Connection, split: str, questions: Iterable[Question],
                sources: dict[str, list]) -> None:
    """Every question, then what the store is of: its task is known only when the questions have come."""
    task_name = ""
    count = 0
    for question in questions:
        task_name = question.task.name
        db.execute("insert into questions values (?, ?, ?, ?)",
                   [count, question.id, question.user, question.gold])
        db.execute("insert into rows values (?, ?)", [count, _pack(question)])
        count += 1
    meta = {"format": FORMAT, "task": task_name, "split": split, "n": str(count),
            "sources": json.dumps(sources)}
    db.executemany("insert into meta values (?, ?)", meta.items())


def open_store(path: str | Path) -> Stored:
    """The store at `path`, checked as far as that costs nothing; each row is checked when it is read."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is missing")
    with _reading(path) as db:
        (pages,) = db.execute("pragma page_count").fetchone()
        (page_bytes,) = db.execute("pragma page_size").fetchone()
        meta = dict(db.execute("select key, value from meta"))
        if meta.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        sources = {name: [int(size), str(sha256)]
                   for name, (size, sha256) in json.loads(meta["sources"]).items()}
        stored = Stored(path, find_task(meta["task"]), meta["split"], int(meta["n"]), sources)
        kinds = dict(db.execute("select name, type from sqlite_master"))
        if kinds.get("questions") != "table" or kinds.get("rows") != "table":  # a view may have no end
            raise ValueError("it has other tables")
        (count,) = db.execute("select count(*) from questions").fetchone()
        if count != stored.n or pages * page_bytes != path.stat().st_size:
            raise ValueError("it is not complete")
        return stored


def _pack(question: Question) -> bytes:
    return zlib.compress(json.dumps(to_row(question), ensure_ascii=False).encode(), level=1)


def _read_question(db: sqlite3.Connection, position: int) -> Question:
    packed, name = db.execute("select row, id from rows join questions using (position) where position = ?",
                              [position]).fetchone()
    question = from_row(json.loads(zlib.decompress(packed)))
    if question.id != name:
        raise ValueError("its rows are mixed up")
    return question


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection. Whatever error a damaged or foreign file causes becomes one line."""
    try:
        # `immutable` makes no lock file, so that a folder that cannot be written to works.
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as db:
            yield db
    except (sqlite3.Error, zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError,
            UserError) as error:
        raise UserError(f"{path} is damaged or no store of questions ({one_line(error, 100)}); make it again"
                        ) from None
