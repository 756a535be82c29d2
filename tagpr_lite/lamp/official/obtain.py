"""The official files that a run asks for: what is here is used, the rest is fetched.

Decisions. Train and dev are fetched and test is not: its golds are withheld, and no step reads it. A site
that does not answer is given up after REACH seconds, before anything else is done. Once it has answered,
fetch.py's patience holds: a connection that is cut goes on from where it was.
"""
from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ...config import UserError
from ...runs import free_bytes, one_line, within
from ..tasks import OFFICIAL, find_task
from . import fetch, files, store

FOLDER = Path("data/lamp/time")
MIRROR = "TAGPR_LAMP_SITE"  # the environment variable that names another address of the same files
PUBLIC = tuple(task for task in OFFICIAL if task != "LaMP_6")
REACH = 12.0  # seconds in which the site must have answered
AT_ONCE = 6  # questions for sizes that run at the same time
NO_HEAD = (405, 501)  # HTTP codes of servers that know no HEAD


def obtain(tasks: Iterable[str], folder: Path = FOLDER) -> Path:
    """The folder of the official files, time-based split, with train and dev of these tasks (empty: 1 to 5
    and 7). UserError: they cannot be had."""
    wanted = [find_task(word).name for word in tasks] or list(PUBLIC)
    missing = {task: [split for split in files.SPLITS if not is_here(folder, task, split)] for task in wanted}
    missing = {task: splits for task, splits in missing.items() if splits}
    refused = [task for task in missing if task not in PUBLIC]
    if refused:
        raise UserError(f"{refused[0]} is not among the public files of LaMP, which are "
                        f"{', '.join(PUBLIC)}")
    if not missing:
        return folder
    base = os.environ.get(MIRROR) or fetch.BASE
    try:
        announce(base, folder, missing)
        for task, splits in missing.items():
            fetch.get_task(task, "time", folder.parent, base, splits=splits)
    except UserError as error:
        here = [task for task in wanted if task not in missing]
        advice = f"; here already: lamp.tasks={','.join(here)}" if here else ""
        raise UserError(f"{error}{advice}") from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {one_line(error, 120)}") from None
    return folder


def is_here(folder: Path, task: str, split: str) -> bool:
    """Whether a split of a task is there, as a store or as JSON files, which may lie as on LaMP's server."""
    for place in (folder / task / "new", folder / task):
        if _is_store(place, task, split):
            return True
        is_whole = all(files.file_of(place, name).is_file() for name in fetch.raw_files(split))
        if is_whole and not fetch.marker(place, split).exists():
            return True
    return False


def _is_store(place: Path, task: str, split: str) -> bool:
    if not (place / f"{split}.db").is_file():
        return False
    try:
        stored = store.open_store(place / f"{split}.db")
    except UserError:
        return False
    return (stored.task.name, stored.split) == (task, split)


# ---------------------------------------------------------------- before the first byte

def announce(base: str, folder: Path, missing: dict[str, list[str]]) -> None:
    """One line: what will be fetched, and how large it is. UserError: the site does not answer, or the disk
    has no room."""
    raw = [(fetch.address(base, "time", task, name), folder / task / name)
           for task, splits in missing.items() for split in splits for name in fetch.raw_files(split)]
    raw = [(url, path) for url, path in raw if not path.exists()]
    if not raw:
        return
    first = reach(raw[0][0])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = [first, *pool.map(lambda url: _ask(url)[0], [url for url, _ in raw[1:]])]
    known = [size for size in sizes if size is not None]
    begun = sum(part.stat().st_size for _, path in raw
                if (part := path.with_name(f"{path.name}.part")).is_file())

    parts = [f"{len(raw)} files, {sum(known) / 1e6:,.1f} MB" if known else f"{len(raw)} files"]
    if len(known) < len(raw):
        parts.append(f"the server does not tell the size of {len(raw) - len(known)} of them")
    if begun:
        parts.append(f"{begun / 1e6:,.1f} MB are here already")
    print(f"fetching {', '.join(missing)} of the official LaMP files, time-based split, into {folder}: "
          f"{'; '.join(parts)}", flush=True)

    # A file's JSON goes when its store is made: all stores and the largest JSON file are there together.
    needed = (fetch.SPACE - 1) * sum(known) + max(known, default=0) - begun
    free = free_bytes(folder)
    if not needed <= free:
        raise UserError(f"the disk of {folder} has {free / 1e6:,.0f} MB free, and about "
                        f"{needed / 1e6:,.0f} MB are needed")


def reach(url: str) -> int | None:
    """The size of a file of the site (None: not told). UserError: the site does not answer within REACH
    seconds, cannot be reached at all, or is out of order each time that it is asked."""
    end = time.monotonic() + REACH
    pause, problem = fetch.WAIT, ""
    while True:
        left = end - time.monotonic()
        if left <= 0:  # a pause may last longer than it was asked to
            raise UserError(f"{url}: {problem}")
        try:
            size, problem, passes = within(left, partial(_ask, url, left))
        except TimeoutError:  # what an earlier try was told says more
            problem, passes = problem or f"no answer within {REACH:g} seconds", False
        if not problem:
            return size
        if not passes or not pause < end - time.monotonic():
            raise UserError(f"{url}: {problem}")
        time.sleep(pause)
        pause *= 2


def _ask(url: str, seconds: float = REACH) -> tuple[int | None, str, bool]:
    """(bytes of a file, what is wrong, whether it may pass), by a request for the head alone. A code that the
    download will understand better, such as 404, is no problem here."""
    headers = {"User-Agent": "tagpr_lite", "Accept-Encoding": "identity"}
    try:
        request = urllib.request.Request(url, method="HEAD", headers=headers)
        with urllib.request.urlopen(request, timeout=seconds) as response:
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdecimal() else None, "", False
    except urllib.error.HTTPError as error:
        error.close()
        passes = error.code in fetch.PASSING_ERRORS or error.code >= 500 and error.code not in NO_HEAD
        return None, f"the server answered {error.code}" if passes else "", passes
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", "") or error
        return None, one_line(reason, 120) or type(error).__name__, False
