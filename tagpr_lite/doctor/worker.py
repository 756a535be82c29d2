"""The process in which parts run, in turn: `python -m tagpr_lite.doctor.worker FOLDER DEVICE PARTS`.

Every part's entry is written before it begins, whenever it tells figures, and when it ends. A part that
fails ends the process, since a card's fault stays in its process; watch.py starts another one for the rest.
"""
from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..config import UserError
from ..runs import keep_memory, one_line
from . import record
from .parts import AGAINST, FAMILIES, Part, setting_of

# Where a family's work is: the module is imported when its first part begins.
WORK = {family: ("selftests", family) for family in FAMILIES} | {AGAINST: ("against", "cell")}
PARENT_SECONDS = 1.0


def main(words: list[str]) -> None:
    folder, device, parts = Path(words[0]), words[1], [Part(**row) for row in json.loads(words[2])]
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    for part in parts:
        if not run_part(folder, part, device):
            raise SystemExit(1)


def end_with_parent(parent: int) -> None:
    """Ends this process when the one that started it has gone: nothing must go on computing on a card that
    the next command measures."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def work_of(family: str) -> Callable:
    module, name = WORK[family]
    return getattr(import_module(f".{module}", __package__), name)


def run_part(folder: Path, part: Part, device: str) -> bool:
    """Runs one part and records it; whether it ended well. Whatever it raises is its reason: the other parts
    still run."""
    entry = {"state": "running", "setting": setting_of(part, device), "started": time.time(), "seconds": 0.0,
             "figures": {}, "attention": [], "reason": ""}
    record.put_part(folder, part.name, entry)
    started = time.perf_counter()

    def tell(figures: dict) -> None:
        record.put_part(folder, part.name, entry | {"figures": figures})
        entry["figures"] = figures

    try:
        figures, attention = work_of(part.family)(part, tell)
        tell(figures)  # here, so that a figure that is no number is a failure like any other
        entry |= {"state": "done", "attention": attention}
    except Exception as error:
        entry |= {"state": "failed", "reason": reason_of(error)}
    entry["seconds"] = round(time.perf_counter() - started, 1)
    record.put_part(folder, part.name, entry)
    return entry["state"] == "done"


def reason_of(error: Exception) -> str:
    if isinstance(error, UserError):
        return one_line(error, 300)
    return one_line(f"{type(error).__name__}: {error}", 300)


if __name__ == "__main__":
    keep_memory()
    main(sys.argv[1:])
