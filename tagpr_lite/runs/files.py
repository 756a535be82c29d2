"""Files of a run: whole or not at all, JSON without NaN, and hashes that say when something changed."""
from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from glob import escape
from pathlib import Path
from typing import Any

from ..config import UserError
from .text import one_line

SAMPLED_BLOCKS, BLOCK = 64, 1 << 16  # of a large file that is fingerprinted


def cache_folder() -> Path:
    """What may be fetched or paid for once and used by every run: models, a teacher's answers."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tagpr_lite"


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk on which a folder lies or will lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to; renames it to `path` when the block ends well, removes it when it does
    not.

    The path lies in a folder of its own, `.kept.jsonl.4711.part/kept.jsonl` for process 4711. A library may
    write to a temporary file beside the path it is given (safetensors: `.tmpW6HWZI`): after a kill such a
    file is known by the folder and goes with the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_parts(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write the same file
    part.mkdir(exist_ok=True)
    try:
        yield part / path.name
        os.replace(part / path.name, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_stale_parts(path: Path) -> None:
    """Removes what processes that no longer live have left of writing the file: .kept.jsonl.4711.part."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdigit() and not is_alive(int(process)):
            shutil.rmtree(part, ignore_errors=True)


def content_files(place: Path) -> list[Path]:
    """A file, or the files of a folder in order of their names, without what a kill has left of writing."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [file for file in files if file.is_file()
            and not any(fnmatch(part, ".*.part") for part in file.relative_to(place).parts)]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 asks only
    except (ProcessLookupError, OverflowError):  # no process has a number beyond the system's
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to write to; renames it to `path` when the block ends well, removes it when it does
    not. An old folder at `path` stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def as_json(value: Any, path: Path, **how: Any) -> str:
    """The value as JSON text. NaN and infinity are no JSON: other readers refuse them, and a comparison with
    them is always false. Half of a surrogate pair, which no file can hold, becomes "?". path: where it will
    be written, for the error."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, **how)
    except ValueError:
        raise UserError(f"{path}: a value is not a finite number; nothing was written") from None
    return text.encode("utf-8", "replace").decode()


def parse_json(text: str) -> Any:
    """The value of JSON text; ValueError where the text is no JSON, NaN included, or nested too deeply."""
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not a number")

    def finite(digits: str) -> float:
        return float(digits) if math.isfinite(float(digits)) else refuse(digits)  # 1e999 is infinite

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_text(path: Path) -> str:
    """The text of a file of UTF-8. A byte-order mark, as some editors write it, is no part of it (utf-8-sig).
    A device, which may have no end, is no file."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("not a regular file")
    return Path(path).read_text(encoding="utf-8-sig")


def write_json(path: Path, value: Any) -> None:
    write_text(path, as_json(value, path, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file; UserError where it is missing or is none."""
    try:
        return parse_json(read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a JSON file: {one_line(error)}") from None


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    with whole_file(path) as beside, open(beside, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(as_json(row, path) + "\n")


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Adds lines at the end. A last line that was cut by a kill goes first: what is glued to it is lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [as_json(row, path) + "\n" for row in rows]
    drop_cut_line(path)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("".join(lines))


def drop_cut_line(path: Path) -> None:
    """Shortens the file to its last line end; a file that ends with one, or is missing, stays."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)


def jsonl_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """(its number from 1 on, the line, whether it is the text's last) of every line that is not blank."""
    lines = text.split("\n")  # not splitlines, which would cut at U+2028 inside a string too
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line, number == len(lines)


def read_jsonl(path: Path, partial: bool = False) -> list[dict]:
    """The rows of a JSONL file.

    partial: the file is one that lines are appended to. It may be missing, and a last line that was cut by a
    kill is dropped.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        if partial and isinstance(error, FileNotFoundError):
            return []
        raise UserError(f"{path} cannot be read: {one_line(error)}") from None
    rows = []
    for number, line, is_last in jsonl_lines(text):
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            rows.append(row)
        except ValueError as error:
            if partial and is_last:
                break
            raise UserError(f"{path} line {number}: {error}") from None
    return rows


# ---------------------------------------------------------------- hashes

def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's names and files."""
    sha = hashlib.sha256()
    for file in content_files(path):
        sha.update(file.name.encode())
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()[:16]


def fingerprint(path: Path) -> str:
    """A hash of a model's folder that costs little: every file's name and size, small files whole, and 64
    blocks of every large one. Other weights of the same size have another fingerprint; a single changed byte
    need not. A path that does not exist stands for itself."""
    if not path.exists():
        return str(path)
    sha = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        size = file.stat().st_size
        sha.update(f"{file.name} {size}".encode())
        distance = max(BLOCK, size // SAMPLED_BLOCKS)  # between the blocks that are looked at
        with open(file, "rb") as stream:
            for start in range(0, size, distance):
                stream.seek(start)
                sha.update(stream.read(BLOCK))
    return sha.hexdigest()[:16]
