"""Does a run that is killed again and again end with the same files as one that was left alone?

A short run of the tiny model is done once undisturbed. Then it is done again, and its process is disturbed in
one of three ways, drawn for each start:

    moment     SIGKILL, which no program can handle, at a random moment
    operation  SIGKILL before the n-th file that is opened for writing, renamed or removed, n random
    disk       the n-th such operation fails as on a full, a read-only or a broken disk: the command must end
               with exit code 2 and one line

After each disturbance the same command goes on. When the run has come to its end, its files are compared with
the undisturbed run's, byte for byte. Another run is begun, until there were enough disturbances.

What is compared: adapters, heads, chains, samples, answers, scores, rollouts, checks, metrics without seconds
and memory, and what the manifests say of all of them. Not the reports, which show times.
"""
from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from .. import config as cfg
from ..runs import guard, read_json, read_jsonl
from ..steps import STEPS
from .file_events import written_path

SHORT = ["lamp.mini_users=40", "lamp.train_limit=60", "lamp.dev_limit=6", "lamp.val_limit=4", "sft.epochs=4",
         "reward.pairs=16", "reward.reported=8", "reward.rollouts=4", "grpo.guided_steps=4",
         "grpo.explore_steps=2", "grpo.prompts=2", "grpo.group=4", "grpo.save_every=1", "evaluate.batch=4"]
PRELOADED = ["tagpr_lite.engine.model", "tagpr_lite.prmu.train", "tagpr_lite.grpo.loop",
             "tagpr_lite.report.page", *(step.module for step in STEPS.values())]
# SFT saves every 25 steps, so some disturbances must come late enough for a run to get on.
LONGEST_WAIT = 8.0  # seconds until a kill at a random moment
MOST_OPERATIONS = 300  # on files, until a kill or a fault of the disk
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO)
TIMES = ("seconds", "peak_gib")  # fields of metrics and manifests that differ from run to run
TIMED = ("samples/", "eval/")  # files that hold times: their hashes in the manifests differ too
SHOWS_TIMES = ("report.html", "report.md", "manifests/report.json", "plan_table.json")


class Disturbance(NamedTuple):
    """kind: "moment", "operation" or "disk". after: seconds, of a moment; otherwise the number of the file
    operation. error: the system's number of the error, of a disk."""
    kind: str
    after: float
    error: int = 0


def bench_kills(count: int, seed: int) -> dict:
    """{"disturbances", "kinds", "by_step", "runs", "equal", "seconds"}; kinds, by_step: {name: how many}."""
    started = time.time()
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(PRELOADED)
    rng = random.Random(seed)
    runs, equal = 0, 0
    kinds: Counter[str] = Counter()
    by_step: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        alone = Path(home) / "alone"
        run_to_end(fork, alone)
        while kinds.total() < count:
            folder = Path(home) / "disturbed"
            shutil.rmtree(folder, ignore_errors=True)
            while kinds.total() < count:
                disturbance = draw(rng)
                step = disturb(fork, folder, disturbance)
                if step is None:
                    break
                kinds[disturbance.kind] += 1
                by_step[step] += 1
            run_to_end(fork, folder)
            runs += 1
            different = differences(alone, folder)
            equal += not different
            print(f"  {kinds.total()} disturbances, {runs} runs, {equal} equal", flush=True)
            for file in different:
                print(f"    differs: {file}", flush=True)
    return {"disturbances": kinds.total(), "kinds": dict(kinds), "by_step": dict(by_step), "runs": runs,
            "equal": equal, "seconds": round(time.time() - started)}


def draw(rng: random.Random) -> Disturbance:
    kind = rng.choice(["moment", "operation", "disk"])
    if kind == "moment":
        return Disturbance(kind, rng.uniform(0, LONGEST_WAIT))
    error = rng.choice(DISK_ERRORS) if kind == "disk" else 0
    after = int(MOST_OPERATIONS ** rng.random())  # as many from 1 to 17 as from 17 to 300
    return Disturbance(kind, after, error)


# ---------------------------------------------------------------- one run

def run_steps(folder: str, words: list[str], steps: Iterable[str], disturbance: Disturbance | None = None
              ) -> None:
    """Steps in this process, as their commands do them; what they say goes to <folder>.said."""
    os.environ["OMP_NUM_THREADS"] = "1"
    Path(folder).parent.mkdir(parents=True, exist_ok=True)
    said = os.open(f"{folder}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(said, 2)
    place = Path(folder)
    config = cfg.load("smoke", [f"results={place.parent}", f"name={place.name}", *words])
    if disturbance is not None and disturbance.kind != "moment":
        sys.addaudithook(at_operation(disturbance, folder))
    for step in steps:
        main = import_module(STEPS[step].module).main
        guard(lambda: main(config))  # noqa: B023, it is called at once


def at_operation(disturbance: Disturbance, folder: str) -> Callable[[str, tuple], None]:
    """An audit hook that disturbs the process at its n-th operation on a file of the run."""
    count = 0

    def hook(event: str, details: tuple) -> None:
        nonlocal count
        path = written_path(event, details)
        if path is None or not path.startswith(f"{folder}/"):
            return
        count += 1
        if count != disturbance.after:
            return
        if disturbance.kind == "operation":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(disturbance.error, os.strerror(disturbance.error), path)
    return hook


def begin(fork, folder: Path, words: list[str] = SHORT, steps: Iterable[str] = tuple(STEPS),
          disturbance: Disturbance | None = None):
    """The process that does the steps."""
    process = fork.Process(target=run_steps, args=(str(folder), words, tuple(steps), disturbance))
    process.start()
    return process


def run_to_end(fork, folder: Path, words: list[str] = SHORT, steps: Iterable[str] = tuple(STEPS)) -> None:
    process = begin(fork, folder, words, steps)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the run {folder} ended with exit code {process.exitcode}: {said(folder)}")


def disturb(fork, folder: Path, disturbance: Disturbance) -> str | None:
    """Goes on with the run and disturbs it. Returns the step that it was in, None where the run has come to
    its end before.

    RuntimeError: the process has ended in another way than by the disturbance, or without one clear line.
    """
    process = begin(fork, folder, disturbance=disturbance)
    process.join(disturbance.after if disturbance.kind == "moment" else None)
    if process.is_alive():
        process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    words = said(folder)
    errors = [line for line in words.splitlines() if "error: " in line]
    is_line = (len(errors) == 1 and errors[0].startswith("error: ") and errors[0].isprintable()
               and os.strerror(disturbance.error) in errors[0] and "Traceback" not in words)
    expected = 2 if disturbance.kind == "disk" else -signal.SIGKILL
    if process.exitcode != expected or (expected == 2 and not is_line):
        raise RuntimeError(f"after {disturbance} the command ended with exit code {process.exitcode}: "
                           f"{words}")
    return next((step for step in STEPS if not is_done(folder, step)), "report")


def said(folder: Path) -> str:
    """What the last process of the run has written to stderr."""
    return folder.with_name(f"{folder.name}.said").read_text(errors="replace")


def is_done(folder: Path, step: str) -> bool:
    path = folder / "manifests" / f"{step}.json"
    return path.exists() and bool(json.loads(path.read_text() or "{}").get("done"))


# ---------------------------------------------------------------- comparison

def differences(first: Path, second: Path) -> list[str]:
    """The files of two runs that are not equal, or that only one of them has."""
    names = {str(path.relative_to(folder)) for folder in (first, second) for path in folder.rglob("*")
             if path.is_file() and path.name != ".owner"}
    return [name for name in sorted(names) if not is_equal(first, second, name)]


def is_equal(first: Path, second: Path, name: str) -> bool:
    if not (first / name).exists() or not (second / name).exists():
        return False
    if name in SHOWS_TIMES:
        return True
    if name == "metrics.jsonl" or name.startswith((*TIMED, "manifests/")):
        return comparable(first, name) == comparable(second, name)
    if name == "config.yaml":  # but for where the run lies
        places = (f"{folder.name}\n" for folder in (first, second))
        texts = (folder / name for folder in (first, second))
        return len({text.read_text().replace(place, "") for text, place in zip(texts, places)}) == 1
    return (first / name).read_bytes() == (second / name).read_bytes()


def comparable(folder: Path, name: str):
    """A file of JSON without its times and its memory, wherever they stand in it."""
    def without_times(value):
        if isinstance(value, list):
            return [without_times(part) for part in value]
        if isinstance(value, dict):
            return {key: without_times(part) for key, part in value.items()
                    if key not in TIMES and not key.startswith(TIMED) and key not in SHOWS_TIMES}
        return value

    rows = read_jsonl(folder / name) if name.endswith(".jsonl") else read_json(folder / name)
    return without_times(rows)
