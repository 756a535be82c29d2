"""Parts run in a process of their own, which is stopped when a part takes too long."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from ..runs import one_line
from . import record
from .parts import Part, setting_of

LOG = "worker.log"
BEGIN_SECONDS = 60  # that a process may take until its first part begins: it imports torch and transformers
LOOK_SECONDS = 0.2
LEAST_SECONDS = 5  # a part is not begun with less time left


def pending(found: dict, parts: list[Part], device: str, again: bool) -> list[Part]:
    """The parts that are not done yet under their setting."""
    def is_done(part: Part) -> bool:
        entry = found["parts"].get(part.name, {})
        return entry.get("state") == "done" and entry.get("setting") == setting_of(part, device)

    return [part for part in parts if again or not is_done(part)]


def run_parts(folder: Path, parts: list[Part], device: str, seconds: float) -> list[Part]:
    """Runs the parts, all together in at most so many seconds, and says a line for each; returns those that
    were not begun."""
    ends = time.monotonic() + seconds
    left = list(parts)
    while left and ends - time.monotonic() > LEAST_SECONDS:
        finished = run_worker(folder, left, device, ends)
        left = left[finished:]
    return left


def run_worker(folder: Path, parts: list[Part], device: str, ends: float) -> int:
    """Runs a worker on the parts until it ends or has to be stopped; returns how many of them have ended,
    well or not: at least one."""
    command = [sys.executable, "-m", f"{__package__}.worker", str(folder), device,
               json.dumps([asdict(part) for part in parts])]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    since = time.time()
    with open(folder / LOG, "wb") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            is_stopped = watch(worker, folder, parts, since, ends)
        finally:
            worker.kill()
            worker.wait()

    # A part without an end of its own was stopped, or its process died.
    finished = count_ended(folder, parts, since)
    if finished < len(parts) and (is_stopped or finished == 0 or is_running(folder, parts[finished])):
        if is_stopped:
            state, reason = "out of time", "it was stopped: see the bound in tagpr_lite/doctor/parts.py"
        else:
            state = "failed"
            reason = f"its process ended with code {worker.returncode}: {last_line(folder / LOG)}"
        end_part(folder, parts[finished], device, state, reason)
        say(parts[finished], record.read(folder)["parts"][parts[finished].name])
        finished += 1
    return finished


def watch(worker: subprocess.Popen, folder: Path, parts: list[Part], since: float, ends: float) -> bool:
    """Waits for the worker and says every part that ends; True when a part has taken too long, or the time
    for all is over."""
    finished, begun = 0, time.monotonic()  # of the part that runs; at first, of the process
    bound = BEGIN_SECONDS + parts[0].bound
    while worker.poll() is None:
        time.sleep(LOOK_SECONDS)
        ended = count_ended(folder, parts, since)
        for part in parts[finished:ended]:
            say(part, record.read(folder)["parts"][part.name])
        if ended > finished:
            finished, begun = ended, time.monotonic()
            bound = parts[finished].bound if finished < len(parts) else BEGIN_SECONDS
        if time.monotonic() > min(begun + bound, ends):
            return True
    for part in parts[finished:count_ended(folder, parts, since)]:
        say(part, record.read(folder)["parts"][part.name])
    return False


def count_ended(folder: Path, parts: list[Part], since: float) -> int:
    """How many of the parts, from the first on, have begun since that time and ended."""
    entries = record.read(folder)["parts"]
    for number, part in enumerate(parts):
        entry = entries.get(part.name, {})
        if entry.get("state", "running") == "running" or not entry.get("started", 0) >= since:
            return number
    return len(parts)


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return one_line(next((line for line in reversed(lines) if line.strip()), "it said nothing"), 200)


def is_running(folder: Path, part: Part) -> bool:
    return record.read(folder)["parts"].get(part.name, {}).get("state") == "running"


def end_part(folder: Path, part: Part, device: str, state: str, reason: str) -> None:
    """Records the end of a part whose process could not; its figures stay, as far as they came."""
    entry = record.read(folder)["parts"].get(part.name)
    if entry is None or entry["state"] != "running":
        entry = {"setting": setting_of(part, device), "started": time.time(), "figures": {}, "attention": []}
    entry |= {"state": state, "reason": reason, "seconds": round(time.time() - entry["started"], 1)}
    record.put_part(folder, part.name, entry)


def say(part: Part, entry: dict) -> None:
    reason = f": {entry['reason']}" if entry["reason"] else ""
    print(f"  {part.name}: {entry['state']}, {entry['seconds']:g} s{reason}", flush=True)
