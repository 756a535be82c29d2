"""Does a run that is killed again and again end with the same files as one that was left alone?

A short run of the tiny model is done once undisturbed. Then it is done again while its process is killed by
SIGKILL, which no program can handle. Half of the kills come at random moments, half at the moment in which a
file is being written. After each kill the same command goes on. When the run has come to its end, its files
are compared with the undisturbed run's, byte for byte. Another run is begun, until there were enough kills.

What is compared: adapters, heads, chains, samples, answers, scores, rollouts, checks, metrics without seconds
and memory, and what the manifests say of all of them. Not the reports, which show times.
"""
from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from .. import config as cfg
from ..runs import read_json, read_jsonl
from ..steps import STEPS

SHORT = ["lamp.mini_users=40", "lamp.train_limit=60", "lamp.dev_limit=6", "lamp.val_limit=4", "sft.epochs=4",
         "reward.pairs=16", "reward.reported=8", "reward.rollouts=4", "grpo.guided_steps=4",
         "grpo.explore_steps=2", "grpo.prompts=2", "grpo.group=4", "grpo.save_every=1", "evaluate.batch=4"]
PRELOADED = ["tagpr_lite.engine.model", "tagpr_lite.prmu.train", "tagpr_lite.grpo.loop",
             "tagpr_lite.report.page", *(step.module for step in STEPS.values())]
LONGEST_WAIT = 4.0  # seconds until a kill at a random moment
POLL = 0.002  # seconds between two looks for a file that is being written
TIMES = ("seconds", "peak_gib")  # fields of metrics and manifests that differ from run to run
TIMED = ("samples/", "eval/")  # files that hold times: their hashes in the manifests differ too
SHOWS_TIMES = ("report.html", "report.md", "manifests/report.json", "plan_table.json")
WRITTEN_IN = ("", "sft", "guided", "explore", "prmu", "chains", "data", "manifests")


def bench_kills(count: int, seed: int) -> dict:
    """{"kills", "in_writes", "by_step", "runs", "equal", "seconds"} of at least `count` kills."""
    started = time.time()
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(PRELOADED)
    rng = random.Random(seed)
    kills, in_writes, runs, equal = 0, 0, 0, 0
    by_step: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        alone = Path(home) / "alone"
        run_to_end(fork, alone)
        while kills < count:
            folder = Path(home) / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            while True:
                aimed = rng.random() < 0.5
                process = begin(fork, folder)
                killed_in = kill(process, folder, rng.uniform(0, LONGEST_WAIT), aimed)
                if killed_in is None:
                    break
                kills += 1
                in_writes += aimed
                by_step[killed_in] += 1
                if kills >= count:
                    run_to_end(fork, folder)
                    break
            runs += 1
            different = differences(alone, folder)
            equal += not different
            print(f"  {kills} kills, {runs} runs, {equal} equal", flush=True)
            for file in different:
                print(f"    differs: {file}", flush=True)
    return {"kills": kills, "in_writes": in_writes, "by_step": dict(by_step), "runs": runs, "equal": equal,
            "seconds": round(time.time() - started)}


# ---------------------------------------------------------------- one run

def run_steps(folder: str, words: list[str], steps: Iterable[str]) -> None:
    """Steps in this process, silent, with these settings."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    place = Path(folder)
    config = cfg.load("smoke", [f"results={place.parent}", f"name={place.name}", *words])
    for step in steps:
        import_module(STEPS[step].module).main(config)


def begin(fork, folder: Path, words: list[str] = SHORT, steps: Iterable[str] = tuple(STEPS)):
    """The process that does the steps."""
    process = fork.Process(target=run_steps, args=(str(folder), words, steps))
    process.start()
    return process


def run_to_end(fork, folder: Path, words: list[str] = SHORT, steps: Iterable[str] = tuple(STEPS)) -> None:
    process = begin(fork, folder, words, steps)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the run {folder} ended with exit code {process.exitcode}")


def kill(process, folder: Path, wait: float, aimed: bool) -> str | None:
    """Kills the process after `wait` seconds, or, where it is aimed, while the next file after that is being
    written. Returns the step that it was in, None where the run had come to its end before.

    RuntimeError: the process has ended with an error.
    """
    process.join(wait)
    while aimed and process.is_alive() and not is_written(folder):
        time.sleep(POLL)
    if process.is_alive():
        process.kill()
    process.join()
    if process.exitcode == 0:
        return None
    if process.exitcode > 0:
        raise RuntimeError(f"after a kill the same command ended with exit code {process.exitcode}")
    return next((step for step in STEPS if not is_done(folder, step)), "report")


def is_written(folder: Path) -> bool:
    """Whether a file or folder of the run is being written: it has a name like .kept.jsonl.4711.part."""
    for place in WRITTEN_IN:
        if (folder / place).is_dir() and any(name.endswith(".part") for name in os.listdir(folder / place)):
            return True
    return False


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
