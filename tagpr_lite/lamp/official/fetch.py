"""The official LaMP files: where they are, downloading them, making stores of them.

Decisions. LaMP-2 lies under LaMP_2/new; directly under LaMP_2 is the old news task of the same name, which
tasks.detect refuses. A download is a `.part` file that HTTP Range continues, with If-Range where the server
named the version, so that two versions are never glued together; an attempt that got further does not count
against the tries. The site answers some wrong addresses with a web page and status 200, so what arrives is
counted and looked at, before it may overwrite anything. A file with a fault that only the reader sees stays,
for it may be the official file that is at fault. Plain urllib: no package, and it honours proxy settings.
"""
from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...config import UserError
from ...runs import progress, read_json, write_json
from ..tasks import Question
from . import files, store
from .stream import short

BASE = "https://ciir.cs.umass.edu/downloads/LaMP"
SPLITS = ("train", "dev", "test")
BLOCK = 1 << 18
TIMEOUT = 60  # seconds without a byte
TRIES = 6  # in a row that got no further
WAIT = 2.0  # seconds before a second try, doubled for each one after it
LATER = (408, 425, 429)  # worth another try, as is 5xx


def names(split: str) -> list[str]:
    """The raw files of a split."""
    return [f"{split}_questions.json"] + [f"{split}_outputs.json"] * (split != "test")


def address(base: str, layout: str, task: str, name: str) -> str:
    """layout: time or user. name: such as dev_questions.json."""
    folder = "LaMP_2/new" if task == "LaMP_2" else task
    return f"{base.rstrip('/')}/{'time/' if layout == 'time' else ''}{folder}/{name.split('_')[0]}/{name}"


def get_task(task: str, layout: str, to: Path, base: str = BASE, keep: bool = False) -> Path:
    """Downloads and converts what is not there yet of one task; returns its folder."""
    folder = to / layout / task
    for split in SPLITS:
        if is_done(folder, split, task):
            continue
        for name in names(split):
            if not (folder / name).exists():
                download(address(base, layout, task, name), folder / name)
        try:
            convert(folder, split, task)
        except UserError as e:
            raise UserError(f"{e}; the downloaded file stays, delete it to download it again") from None
        tidy(folder, [split], keep)
    return folder


def tidy(folder: Path, splits: Iterable[str], keep: bool) -> None:
    """Removes raw files that have become stores."""
    for name in [name for split in splits for name in names(split)] if not keep else ():
        (folder / name).unlink()


def is_done(folder: Path, split: str, task: str | None = None) -> bool:
    """Whether the split's store is there, whole, and made of what lies beside it."""
    path = folder / f"{split}.db"
    if not path.exists():
        return False
    try:
        stored = store.open_store(path)
    except UserError as e:
        print(f"  {e}: it is made again")
        return False
    if stored.split != split or stored.task.name != (task or stored.task.name) or stored.changed_source():
        return False
    print(f"  {stored.task.name} {split}: {stored.n:,} questions are here already")
    return True


# ---------------------------------------------------------------- stores

def convert(folder: Path, split: str, task: str | None = None) -> store.Stored:
    """Makes <split>.db of a split's JSON files, which stay. task: what they must hold, where that is
    known."""
    said, golds = files.read_outputs(folder / f"{split}_outputs.json") if split != "test" else (None, None)
    path, sources = folder / names(split)[0], {name: store.fingerprint(folder / name)
                                               for name in names(split)}
    with progress(path.stat().st_size, f"  converting {path.name}", "B") as bar:
        bar.unit_scale = True
        questions = files.read_questions(path, said, golds, seen=bar.update)
        questions = _all_of(task, questions, path) if task else questions
        stored = store.write(folder / f"{split}.db", split, questions, sources)
    users, megabytes = len(set(stored.users)), [s.stat().st_size / 1e6 for s in (path, stored.path)]
    print(f"  {stored.task.name} {split}: {stored.n:,} questions of {users:,} users; {megabytes[0]:.1f} MB of JSON (sha256 "
          f"{sources[path.name][1][:16]}) became {megabytes[1]:.1f} MB", flush=True)
    return stored


def _all_of(task: str, questions: Iterable[Question], path: Path) -> Iterator[Question]:
    for q in questions:
        if q.task.name != task:
            raise UserError(f"{path} holds {q.task.name}, not {task}")
        yield q


def convert_folder(source: Path) -> None:
    """Stores beside the JSON files of a task's folder, or of each sub-folder that is one."""
    found = 0
    for folder in files.task_folders(source) if source.is_dir() else ():
        for split in SPLITS:
            if not any((folder / name).exists() for name in names(split)):
                continue
            found += 1
            if not is_done(folder, split):
                convert(folder, split)
    if not found:
        raise UserError(f"{source} has no JSON files to convert; it should hold {', '.join(files.FILES)}")


# ---------------------------------------------------------------- HTTP

def download(url: str, path: Path) -> None:
    """`path` from `url`, from where an earlier attempt stopped. Raises a UserError when it cannot be had."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url} is no http address")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    best, tries = _size(part), 0
    while problem := _attempt(url, part):
        tries = 1 if _size(part) > best else tries + 1
        best = max(best, _size(part))
        if tries == TRIES:
            raise UserError(f"{url}: {problem}, {TRIES} times in a row; the same command goes on from there")
        print(f"  {path.name}: {problem}; going on from byte {_size(part):,}", flush=True)
        time.sleep(min(60, WAIT * 2 ** (tries - 1)))
    if fault := _cut(part):
        part.unlink()
        raise UserError(f"{url}: {fault}; it was thrown away, the same command downloads it again")
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path) -> str:
    """One request that adds to `part`. "" when the file is complete, otherwise what went wrong."""
    known = read_json(_note(part)) if _note(part).exists() else {}
    start = _size(part) if known.get("url") == url else 0
    if start and start == known["bytes"]:
        return ""
    headers = {"User-Agent": "tagpr_lite", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": known["version"]} if known["version"] else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
            return _receive(url, answer, part, start, known)
    except urllib.error.HTTPError as e:
        e.close()
        if e.code == 416 and e.headers.get("Content-Range", "").endswith(f"*/{start}"):
            return ""  # all of it was here
        if e.code == 416:
            part.unlink(missing_ok=True)
            return "the server has no such range"
        if e.code in LATER or e.code >= 500:
            return f"the server answered {e.code} {short(e.reason, 60)}"
        raise UserError(f"{url}: the server answered {e.code} {short(e.reason, 60)}") from None
    except (http.client.InvalidURL, UnicodeError) as e:
        raise UserError(f"{url} is no address: {short(e, 80)}") from None
    except (OSError, http.client.HTTPException) as e:  # no connection, a lost one, a time-out
        return short(getattr(e, "reason", "") or e, 120) or type(e).__name__


def _receive(url: str, answer: http.client.HTTPResponse, part: Path, start: int, known: dict) -> str:
    """Writes the answer's body to `part`; returns as _attempt does."""
    head = answer.headers
    if answer.status == 206:
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", head.get("Content-Range", ""))
        if not sent or int(sent[1]) != start or known["bytes"] not in (None, int(sent[2])):
            part.unlink(missing_ok=True)
            return "the server sent another range, or the file has changed there"
        total = int(sent[2])
    elif answer.status == 200:  # from the start, whatever was asked for
        start, length = 0, head.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
    else:
        raise UserError(f"{url}: the server answered {answer.status}, which is no file")
    if head.get("Content-Encoding", "identity") != "identity":
        raise UserError(f"{url}: the server sent {short(head['Content-Encoding'], 40)}, not the file itself")
    block = answer.read(BLOCK)
    if start == 0 and block.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        raise UserError(f"{url}: the server sent a web page, not JSON; the address is wrong or the site is down")
    if total and shutil.disk_usage(part.parent).free < 1.7 * total - start:  # the file, and the store made of it
        raise UserError(f"{part.parent} is too full for {total / 1e6:,.0f} MB and the store made of them")
    if start == 0:
        part.unlink(missing_ok=True)  # before the note, which must never speak of another version than the part's
        write_json(_note(part), {"url": url, "bytes": total, "version": _version(head)})
    with open(part, "ab" if start else "wb") as f, progress(total, f"  {part.stem}", "B") as bar:
        bar.unit_scale, bar.initial = True, start
        while block:
            f.write(block)
            bar.update(len(block))
            block = answer.read(BLOCK)
    if total is not None and _size(part) > total:
        part.unlink()
        return "the server sent more bytes than it announced"
    return f"the connection was cut at {_size(part):,} of {total:,} bytes" if total and _size(part) < total else ""


def _version(head: http.client.HTTPMessage) -> str | None:
    """What names the file's version in If-Range, which takes no weak ETag."""
    tag = head.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else head.get("Last-Modified")


def _cut(path: Path) -> str:
    """What shows at its ends that a file is no complete JSON, or ""."""
    with open(path, "rb") as f:
        first = f.read(200).lstrip(b"\xef\xbb\xbf \r\n\t")[:1]
        f.seek(max(0, _size(path) - 200))
        last = f.read().rstrip()[-1:]
    if first + last in (b"[]", b"{}"):
        return ""
    return "the file is empty" if not first else "the file is no complete JSON list or object"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """Remembers the address, size and version of the file that `part` is the beginning of."""
    return part.with_name(f"{part.name}.json")
