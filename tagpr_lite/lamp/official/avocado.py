"""LaMP-6: the official files name e-mails by id; the text is in the user's own licensed Avocado folder
(LDC2015T03).

Written from what the official script does. A question's input becomes the instruction and the e-mail's body,
its gold the e-mail's subject; a profile item gets the body as `text` and the subject as `title`. The results
are files in the official form, which are then converted as those of any task.

Decisions. The zip files are read in place, one member at a time, and nothing of them is extracted, so that
names inside them mean nothing to the file system. Parsed e-mails wait in a temporary SQLite file, not in
memory. An id is a member's base name, with or without its ending. Of an e-mail with several parts the plain
text counts, or the HTML where there is none. Bytes that do not fit the charset an e-mail names are read as
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
from typing import Any

from ...config import UserError
from ...runs import progress, whole_characters, whole_file, write_json
from ..tasks import TASKS
from . import fetch
from .stream import one_line, stream_entries

TASK = "LaMP_6"
LARGEST = 1 << 26  # bytes of an e-mail; none comes near it, but a zip member may claim any size


def get_task(layout: str, to: Path, base: str, mails: Path, ids: Path | None = None,
             keep: bool = False) -> Path:
    """Fills and converts what is not there yet of LaMP-6; returns its folder.

    mails: avocado-1.0.2/data/text. ids: a folder with the official id files; they are downloaded when it is
    None.
    """
    folder = to / layout / TASK
    id_folder = ids or folder / "ids"
    id_files = {split: id_folder / f"{split}_questions.json" for split in fetch.SPLITS
                if not fetch.is_done(folder, split, TASK)}
    if not id_files:
        return folder
    if ids is None:
        for path in id_files.values():
            if not path.exists():
                fetch.download(fetch.address(base, layout, TASK, path.name), path)

    # E-mails of all splits are collected in one pass over the archives, then every split is filled in.
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as beside, closing(sqlite3.connect(Path(beside) / "mails.db")) as db:
        db.execute("create table mails (id text primary key, subject text, content text) without rowid")
        wanted: set[str] = set()
        for path in id_files.values():
            for row in id_rows(path):
                wanted.update(ids_of(row))
        collect(db, mails, wanted)
        for split, path in id_files.items():
            fill(db, path, folder, split)
    for split in id_files:
        fetch.convert(folder, split, TASK)

    if not keep:
        fetch.remove_raw_files(folder, id_files)
        if ids is None:
            shutil.rmtree(id_folder)
    return folder


# ---------------------------------------------------------------- the id files

def id_rows(path: Path) -> Iterator[dict]:
    """The rows of an official id file, each checked.

    Example: {"id": "7", "input": "an e-mail's id", "profile": [{"id": "7a", "text": "an e-mail's id"}]}.
    """
    number = 0
    for key, is_entry, row in stream_entries(path):
        if not is_entry or key not in (None, "golds"):
            continue
        number += 1
        if not _names_its_mails(row):
            raise UserError(f"{path}: question {number} does not name its e-mails by `input` and each "
                            "profile item's `text`")
        yield row
    if not number:
        raise UserError(f"{path}: expected a list of questions")


def _names_its_mails(row: Any) -> bool:
    if not isinstance(row, dict) or "id" not in row or not isinstance(row.get("input"), str):
        return False
    items = row.get("profile")
    if not isinstance(items, list):
        return False
    return all(isinstance(item, dict) and isinstance(item.get("text"), str) for item in items)


def ids_of(row: dict) -> list[str]:
    """The ids of the e-mails that a row names."""
    return [row["input"]] + [item["text"] for item in row["profile"]]


# ---------------------------------------------------------------- the e-mails

def collect(db: sqlite3.Connection, mails: Path, wanted: set[str]) -> None:
    """Puts the wanted e-mails of the folder's zip files into `db`; it is an error when some are in none."""
    archives = sorted(mails.glob("*.zip"))
    if not archives:
        raise UserError(f"{mails} holds no zip files; it should be the folder avocado-1.0.2/data/text")
    missing = set(wanted)
    with progress(len(archives), "  reading e-mails", "zip") as bar:
        for archive in archives:
            for name, raw in members(archive, missing):
                missing.discard(name)
                subject, content = parse(raw)
                db.execute("insert into mails values (?, ?, ?)", [name, subject, content])
            bar.update()
    if missing:
        first_ids = ", ".join(one_line(name, 40) for name in sorted(missing)[:3])
        more = " ..." if len(missing) > 3 else ""
        raise UserError(f"{mails} lacks {len(missing)} of the {len(wanted)} e-mails that LaMP-6 needs: "
                        f"{first_ids}{more}")


def members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(id, bytes) of the members of a zip file that are wanted at that moment: the caller may take ids out of
    `wanted` as they come."""
    try:
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                member = PurePosixPath(info.filename)
                if member.name in wanted:
                    name = member.name
                elif member.stem in wanted:
                    name = member.stem
                else:
                    continue
                if info.is_dir():
                    continue
                if info.file_size > LARGEST:
                    raise UserError(f"{archive}: {one_line(info.filename, 80)} is too large for an e-mail")
                yield name, opened.read(info)
    except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile,
            zlib.error) as error:
        raise UserError(f"{archive} cannot be read: {one_line(error, 120)}") from None


def parse(raw: bytes) -> tuple[str, str]:
    """(subject, body without blanks around it) of an e-mail."""
    try:
        message = message_from_bytes(raw, policy=policy.default)
        subject, body = message["subject"], message.get_body(("plain", "html"))
        content = body.get_payload(decode=True) if body is not None else b""
        charset = body.get_content_charset() if body is not None else None
    except Exception:  # the modern parser fails on many broken headers; the old one takes all, undecoded
        message = message_from_bytes(raw, policy=policy.compat32)
        subject, content, charset = message["subject"], message.get_payload(decode=True), None
    text = decode(content or b"", charset).strip()
    return whole_characters(str(subject or "")), whole_characters(text)


def decode(content: bytes, charset: str | None) -> str:
    """By the charset that the e-mail names, else as UTF-8, else as Latin-1, which takes every byte."""
    for name in (charset or "ascii", "utf-8"):
        try:
            return content.decode(name)
        except (LookupError, ValueError):
            pass
    return content.decode("latin-1")


# ---------------------------------------------------------------- the filled files

def fill(db: sqlite3.Connection, path: Path, folder: Path, split: str) -> None:
    """Writes a split's questions file, and for train and dev its outputs file, with the text of the
    e-mails."""
    golds = []
    questions_file = folder / f"{split}_questions.json"
    with whole_file(questions_file) as beside, open(beside, "w", encoding="utf-8") as file:
        for number, row in enumerate(id_rows(path)):
            subject, content = _mail(db, row["input"])
            golds.append({"id": row["id"], "output": subject})
            profile = []
            for item in row["profile"]:
                title, text = _mail(db, item["text"])
                profile.append({**item, "title": title, "text": text})
            filled = {**row, "input": TASKS[TASK].ask(content), "profile": profile}
            file.write((",\n" if number else "[") + json.dumps(filled))
        file.write("]\n")
    if split != "test":
        write_json(folder / f"{split}_outputs.json", {"task": TASK, "golds": golds})


def _mail(db: sqlite3.Connection, name: str) -> tuple[str, str]:
    """(subject, body) of a collected e-mail."""
    return db.execute("select subject, content from mails where id = ?", [name]).fetchone()
