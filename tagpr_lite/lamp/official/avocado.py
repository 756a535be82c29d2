"""LaMP-6: the official files name e-mails by id, and the user's own licensed Avocado folder (LDC2015T03) has
the text.

Written from what the official script does: a question's input becomes the instruction and the e-mail's body,
its gold the e-mail's subject; a profile item gets the body as `text` and the subject as `title`. The results
are files in the official form, which are then converted as those of any task.

Decisions. The zip files are read in place, one member at a time, and nothing of them is extracted, so that
names inside them mean nothing to the file system. Parsed e-mails wait in a temporary SQLite file, not in
memory. An id is a member's base name, with or without its ending. Of an e-mail with several parts the plain
text counts, or the HTML where there is none; bytes that do not fit the charset an e-mail names are read as
UTF-8, else as Latin-1.
"""
from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ...config import UserError
from ...runs import progress, whole_file, write_json
from ..tasks import TASKS
from . import fetch
from .stream import parts, short

TASK = "LaMP_6"
LARGEST = 1 << 26  # bytes of an e-mail; there is none like it, and a zip member may claim to be anything


def get_task(layout: str, to: Path, base: str, mails: Path, ids: Path | None = None,
             keep: bool = False) -> Path:
    """Fills and converts what is not there yet of LaMP-6; returns its folder.

    mails: avocado-1.0.2/data/text. ids: a folder with the official id files; they are downloaded when it is
    None.
    """
    folder = to / layout / TASK
    sources = {split: (ids or folder / "ids") / f"{split}_questions.json" for split in fetch.SPLITS
               if not fetch.is_done(folder, split, TASK)}
    if not sources:
        return folder
    for path in sources.values() if ids is None else ():
        if not path.exists():
            fetch.download(fetch.address(base, layout, TASK, path.name), path)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as own, closing(sqlite3.connect(Path(own) / "mails.db")) as db:
        db.execute("create table mails (id text primary key, subject text, content text) without rowid")
        collect(db, mails, {i for path in sources.values() for row in id_rows(path) for i in ids_of(row)})
        for split, path in sources.items():
            fill(db, path, folder, split)
    for split in sources:
        fetch.convert(folder, split, TASK)
    fetch.tidy(folder, sources, keep)
    if ids is None and not keep:
        shutil.rmtree(folder / "ids")
    return folder


def id_rows(path: Path) -> Iterator[dict]:
    """The rows of an official id file: {"id", "input": an e-mail's id, "profile": [{"id", "text": an e-mail's
    id}]}."""
    n = 0
    for key, element, row in parts(path):
        if not element or key not in (None, "golds"):
            continue
        n += 1
        items = row.get("profile") if isinstance(row, dict) else None
        good = isinstance(items, list) and "id" in row and isinstance(row.get("input"), str)
        if not good or not all(isinstance(i, dict) and isinstance(i.get("text"), str) for i in items):
            raise UserError(f"{path}: question {n} does not name its e-mails by `input` and each profile item's `text`")
        yield row
    if not n:
        raise UserError(f"{path}: expected a list of questions")


def ids_of(row: dict) -> list[str]:
    return [row["input"]] + [item["text"] for item in row["profile"]]


def collect(db: sqlite3.Connection, mails: Path, wanted: set[str]) -> None:
    """Puts the wanted e-mails of the folder's zip files into `db`; it is an error when some are in none."""
    archives = sorted(mails.glob("*.zip"))
    if not archives:
        raise UserError(f"{mails} holds no zip files; it should be the folder avocado-1.0.2/data/text")
    missing = set(wanted)
    for archive in progress_over(archives):
        for name, raw in members(archive, missing):
            missing.discard(name)
            db.execute("insert into mails values (?, ?, ?)", [name, *parse(raw)])
    if missing:
        some = ", ".join(short(i, 40) for i in sorted(missing)[:3])
        raise UserError(f"{mails} lacks {len(missing)} of the {len(wanted)} e-mails that LaMP-6 needs: {some}"
                        + (" ..." if len(missing) > 3 else ""))


def progress_over(archives: list[Path]) -> Iterator[Path]:
    with progress(len(archives), "  reading e-mails", "zip") as bar:
        for archive in archives:
            yield archive
            bar.update()


def members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(id, bytes) of the members of a zip file that are wanted at that moment."""
    try:
        with zipfile.ZipFile(archive) as z:
            for info in z.infolist():
                file = PurePosixPath(info.filename)
                name = next((n for n in (file.name, file.stem) if n in wanted), None)
                if name is None or info.is_dir():
                    continue
                if info.file_size > LARGEST:
                    raise UserError(f"{archive}: {short(info.filename, 80)} is too large for an e-mail")
                yield name, z.read(info)
    except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f"{archive} cannot be read: {short(e, 120)}") from None


def parse(raw: bytes) -> tuple[str, str]:
    """(subject, body without blanks around it) of an e-mail."""
    try:
        message = message_from_bytes(raw, policy=policy.default)
        subject, body = message["subject"], message.get_body(("plain", "html"))
        content = body.get_payload(decode=True) if body is not None else b""
        charset = body.get_content_charset() if body is not None else None
    except Exception:  # broken headers kill the modern parser in many ways; the old one takes all, undecoded
        message = message_from_bytes(raw, policy=policy.compat32)
        subject, content, charset = message["subject"], message.get_payload(decode=True), None
    whole = lambda text: text.encode("utf-8", "replace").decode()
    return whole(str(subject or "")), whole(decode(content or b"", charset).strip())


def decode(content: bytes, charset: str | None) -> str:
    for name in (charset or "ascii", "utf-8"):
        try:
            return content.decode(name)
        except (LookupError, ValueError):
            pass
    return content.decode("latin-1")


def fill(db: sqlite3.Connection, path: Path, folder: Path, split: str) -> None:
    """Writes a split's questions file, and for train and dev its outputs file, with the text of the
    e-mails."""
    mail = lambda name: db.execute("select subject, content from mails where id = ?", [name]).fetchone()
    golds = []
    with whole_file(folder / f"{split}_questions.json") as p, open(p, "w", encoding="utf-8") as f:
        for n, row in enumerate(id_rows(path)):
            subject, content = mail(row["input"])
            golds.append({"id": row["id"], "output": subject})
            profile = [{**item, "title": title, "text": text}
                       for item in row["profile"] for title, text in [mail(item["text"])]]
            filled = {**row, "input": TASKS[TASK].ask(content), "profile": profile}
            f.write((",\n" if n else "[") + json.dumps(filled))
        f.write("]\n")
    if split != "test":
        write_json(folder / f"{split}_outputs.json", {"task": TASK, "golds": golds})
