"""The official LaMP files: where they are, downloading them, making stores of them.

Decisions. LaMP-2 lies under LaMP_2/new; directly under LaMP_2 is the old news task of the same name, which
tasks.detect refuses. A download is a `.part` file that HTTP Range continues. A `.part.json` beside it notes
the address, the size and the server's name of the version, and If-Range asks for that version, so that two
versions are never joined. An attempt that got further does not count against the tries. The site answers some
wrong addresses with a web page and status 200, so what arrives is checked before it may overwrite anything. A
file with a fault that only the reader sees stays, because the official file itself may be at fault. Plain
urllib: no package, and it honours proxy settings.
"""
from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path

from ...config import UserError
from ...runs import progress, read_json, write_json
from ..tasks import Question
from . import files, store
from .stream import BYTE_ORDER_MARK, one_line

BASE = "https://ciir.cs.umass.edu/downloads/LaMP"
SPLITS = ("train", "dev", "test")
BLOCK = 1 << 18  # bytes
TIMEOUT = 60  # seconds without a byte
TRIES = 6  # in a row that got no further
WAIT = 2.0  # seconds before a second try, doubled for each one after it
LONGEST_WAIT = 60  # seconds
PASSING_ERRORS = (408, 425, 429)  # HTTP codes that are worth another try, as is 5xx
SPACE = 1.7  # free bytes for each byte of a file: the file, and the store made of it
NO_CONTENT = BYTE_ORDER_MARK + b" \r\n\t"  # bytes that may stand before JSON


def raw_files(split: str) -> list[str]:
    """The names of a split's JSON files. The official golds of test are withheld."""
    questions, outputs = f"{split}_questions.json", f"{split}_outputs.json"
    return [questions] if split == "test" else [questions, outputs]


def address(base: str, layout: str, task: str, name: str) -> str:
    """layout: time or user. name: such as dev_questions.json."""
    layout_folder = "time/" if layout == "time" else ""
    task_folder = "LaMP_2/new" if task == "LaMP_2" else task
    split = name.split("_")[0]
    return f"{base.rstrip('/')}/{layout_folder}{task_folder}/{split}/{name}"


def get_task(task: str, layout: str, to: Path, base: str = BASE, keep: bool = False,
             splits: Iterable[str] = SPLITS) -> Path:
    """Downloads and converts what is not there yet of one task; returns its folder. keep: the JSON files stay
    beside the stores."""
    folder = to / layout / task
    for split in splits:
        if is_done(folder, split, task):
            continue
        begun = marker(folder, split)
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.touch()
        for name in raw_files(split):
            if not (folder / name).exists():
                download(address(base, layout, task, name), folder / name)
        try:
            convert(folder, split, task)
        except UserError as error:
            raise UserError(f"{error}; the downloaded file stays, delete it to download it again") from None
        if not keep:
            remove_raw_files(folder, [split])
        begun.unlink()
    return folder


def marker(folder: Path, split: str) -> Path:
    """A file that is there while a split is fetched: its JSON files are ours, and not yet a store."""
    return folder / f"{split}.fetching"


def remove_raw_files(folder: Path, splits: Iterable[str]) -> None:
    """Removes the JSON files of splits that have become stores."""
    for split in splits:
        for name in raw_files(split):
            (folder / name).unlink()


def is_done(folder: Path, split: str, task: str | None = None) -> bool:
    """Whether the split's store is there, whole, and made of what lies beside it."""
    path = folder / f"{split}.db"
    if not path.exists():
        return False
    try:
        stored = store.open_store(path)
    except UserError as error:
        print(f"  {error}: it is made again")
        return False
    is_right = stored.split == split and task in (None, stored.task.name)
    if not is_right or stored.changed_source():
        return False
    print(f"  {stored.task.name} {split}: {stored.n:,} questions are here already")
    return True


# ---------------------------------------------------------------- stores

def convert(folder: Path, split: str, task: str | None = None) -> store.Stored:
    """Makes <split>.db of a split's JSON files, which stay. task: what they must hold, where that is
    known."""
    task_field, golds = None, None
    if split != "test":
        task_field, golds = files.read_outputs(files.file_of(folder, f"{split}_outputs.json"))
    path = files.file_of(folder, f"{split}_questions.json")
    sources = {name: store.fingerprint(files.file_of(folder, name)) for name in raw_files(split)}
    with progress(path.stat().st_size, f"  converting {path.name}", "B") as bar:
        bar.unit_scale = True
        questions = files.read_questions(path, task_field, golds, on_block=bar.update)
        if task:
            questions = _all_of_task(task, questions, path)
        stored = store.write(folder / f"{split}.db", split, questions, sources)
    users = len(set(stored.users))
    json_mb, store_mb = (file.stat().st_size / 1e6 for file in (path, stored.path))
    sha256 = sources[path.name][1]
    print(f"  {stored.task.name} {split}: {stored.n:,} questions of {users:,} users; {json_mb:.1f} MB of "
          f"JSON (sha256 {sha256[:16]}) became {store_mb:.1f} MB", flush=True)
    return stored


def _all_of_task(task: str, questions: Iterable[Question], path: Path) -> Iterator[Question]:
    """The questions as they come; an error at the first one of another task."""
    for question in questions:
        if question.task.name != task:
            raise UserError(f"{path} holds {question.task.name}, not {task}")
        yield question


def convert_folder(source: Path) -> None:
    """Stores beside the JSON files of a task's folder, or of each sub-folder that is one."""
    splits_seen = 0
    for folder in files.task_folders(source) if source.is_dir() else ():
        for split in SPLITS:
            if not any(files.file_of(folder, name).exists() for name in raw_files(split)):
                continue
            splits_seen += 1
            if not is_done(folder, split):
                convert(folder, split)
    if not splits_seen:
        raise UserError(f"{source} has no JSON files to convert; it should hold {', '.join(files.FILES)}")


# ---------------------------------------------------------------- HTTP

def download(url: str, path: Path) -> None:
    """`path` from `url`, from where an earlier attempt stopped. Raises a UserError when it cannot be had."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url} is no http address")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")

    largest = _size(part)  # bytes that the best attempt so far has left
    tries = 0  # attempts in a row that got no further
    while problem := _attempt(url, part):
        tries = 1 if _size(part) > largest else tries + 1
        largest = max(largest, _size(part))
        if tries == TRIES:
            raise UserError(f"{url}: {problem}, {TRIES} times in a row; the same command goes on from there")
        print(f"  {path.name}: {problem}; going on from byte {_size(part):,}", flush=True)
        time.sleep(min(LONGEST_WAIT, WAIT * 2 ** (tries - 1)))

    fault = _json_fault(part)
    if fault:
        part.unlink()
        raise UserError(f"{url}: {fault}; it was thrown away, the same command downloads it again")
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path) -> str:
    """One request that adds to `part`. Returns "" when the file is complete, otherwise what went wrong; an
    error that no second try mends is a UserError."""
    note = read_json(_note(part)) if _note(part).exists() else {}
    start = _size(part) if note.get("url") == url else 0
    if start and start == note["bytes"]:
        return ""
    headers = {"User-Agent": "tagpr_lite", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if note["version"]:
            headers["If-Range"] = note["version"]
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return _receive(url, response, part, start, note)
    except urllib.error.HTTPError as error:
        error.close()
        return _http_problem(url, error, part, start)
    except (http.client.InvalidURL, UnicodeError) as error:
        raise UserError(f"{url} is no address: {one_line(error, 80)}") from None
    except (OSError, http.client.HTTPException) as error:  # no connection, a lost one, a time-out
        reason = getattr(error, "reason", "") or error
        return one_line(reason, 120) or type(error).__name__


def _http_problem(url: str, error: urllib.error.HTTPError, part: Path, start: int) -> str:
    """What an answer with an error code means; returns as _attempt does."""
    range_refused = error.code == 416
    if range_refused and error.headers.get("Content-Range", "").endswith(f"*/{start}"):
        return ""  # `part` has all `start` bytes of the file
    if range_refused:
        part.unlink(missing_ok=True)
        return "the server has no such range"
    answered = f"the server answered {error.code} {one_line(error.reason, 60)}"
    if error.code in PASSING_ERRORS or error.code >= 500:
        return answered
    raise UserError(f"{url}: {answered}") from None


def _receive(url: str, response: HTTPResponse, part: Path, start: int, note: dict) -> str:
    """Writes the response's body to `part`, from byte `start` on; returns as _attempt does."""
    # Which bytes come: the rest of the file, or all of it, whatever was asked for.
    if response.status == 206:
        total = _promised_total(response.headers, start, note)
        if total is None:
            part.unlink(missing_ok=True)
            return "the server sent another range, or the file has changed there"
    elif response.status == 200:
        start = 0
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    else:
        raise UserError(f"{url}: the server answered {response.status}, which is no file")

    # Nothing is written before the first block looks like a JSON file that has room here.
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UserError(f"{url}: the server sent {one_line(encoding, 40)}, not the file itself")
    block = response.read(BLOCK)
    if start == 0 and block.lstrip(NO_CONTENT).startswith(b"<"):
        raise UserError(f"{url}: the server sent a web page, not JSON; the address is wrong or the site is "
                        "down")
    if total and shutil.disk_usage(part.parent).free < SPACE * total - start:
        raise UserError(f"{part.parent} is too full for {total / 1e6:,.0f} MB and the store made of them")

    # The old part goes before the note is written: a note must never describe another version than the part.
    if start == 0:
        part.unlink(missing_ok=True)
        write_json(_note(part), {"url": url, "bytes": total, "version": _version(response.headers)})
    with open(part, "ab" if start else "wb") as file, progress(total, f"  {part.stem}", "B") as bar:
        bar.unit_scale = True
        bar.initial = start
        while block:
            file.write(block)
            bar.update(len(block))
            block = response.read(BLOCK)
    return _length_problem(part, total)


def _promised_total(headers: HTTPMessage, start: int, note: dict) -> int | None:
    """The size of the whole file, from the Content-Range of a partial answer; None when the answer does not
    continue `part` at byte `start`. Example: "bytes 40-99/100" gives 100 for start 40."""
    sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
    if not sent:
        return None
    first, total = int(sent[1]), int(sent[2])
    return total if first == start and note.get("bytes") in (None, total) else None


def _length_problem(part: Path, total: int | None) -> str:
    """What is wrong with the length of what has arrived, or "". total: the announced bytes, where known."""
    size = _size(part)
    if total is not None and size > total:
        part.unlink()
        return "the server sent more bytes than it announced"
    if total and size < total:
        return f"the connection was cut at {size:,} of {total:,} bytes"
    return ""


def _version(headers: HTTPMessage) -> str | None:
    """What names the file's version in If-Range, which takes no weak ETag."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _json_fault(path: Path) -> str:
    """What shows at its ends that a file is no complete JSON, or ""."""
    with open(path, "rb") as file:
        first = file.read(200).lstrip(NO_CONTENT)[:1]
        file.seek(max(0, _size(path) - 200))
        last = file.read().rstrip()[-1:]
    if first + last in (b"[]", b"{}"):
        return ""
    return "the file is empty" if not first else "the file is no complete JSON list or object"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """The file that notes the address, size and version of the file that `part` is the beginning of."""
    return part.with_name(f"{part.name}.json")
