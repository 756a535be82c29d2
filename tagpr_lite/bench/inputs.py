"""Does every reader answer bad input with a result or with one line?

A reader takes a person's files, a run's files, or a command's words. It is given good input in which
something was changed (mutations.py), again and again. A case ends in one of these ways:

    result     the reader could use the input
    refused    one line of at most MOST_LETTERS printable characters, and exit code 2; of words that are no
               words of the command, argparse's own lines
    fault      another error, more than SECONDS, or a file written outside of the case's own folder

A fault is printed with the name of its reader and the number of its case, from which the case can be made
again.
"""
from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ..config import UserError
from ..runs import guard
from . import kills
from .file_events import written_path
from .mutations import change_words, mutate
from .readers import Reader, readers_of_a_run, readers_of_files, readers_of_words

SECONDS = 20.0
MOST_LETTERS = 2010
ALWAYS_WRITABLE = (os.devnull, "/dev/tty", "/proc/self")


class Slow(BaseException):
    """A case took more than SECONDS; no reader's `except Exception` catches it."""


def bench_inputs(count: int, seed: int, run: Path | None = None) -> dict:
    """{"cases", "seconds", "readers": {name: {"result", "refused", "fault"}}}. run: the folder of a finished
    run; None: a short one is made."""
    started = time.time()
    if run is not None and not (run / "manifests").is_dir():
        raise UserError(f"{run} is no folder of a run")
    package = str(Path(__file__).resolve().parents[2])  # the cases work in folders of their own
    os.environ |= {"HF_HUB_OFFLINE": "1", "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ""),
                   "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    sys.path.insert(0, package)
    with tempfile.TemporaryDirectory() as home, contextlib.chdir(home):
        if run is None:
            run = Path(home) / "made" / "run"
            fork = multiprocessing.get_context("forkserver")
            fork.set_forkserver_preload(kills.PRELOADED)
            kills.run_to_end(fork, run)
        known = [*readers_of_files(), *readers_of_a_run(run), *readers_of_words(run)]
        outcomes = {reader.name: Counter() for reader in known}
        written = watch_writes()
        for reader in known:
            folder = Path(home) / f"good-{reader.name}".replace(" ", "-")
            lay(folder, reader.files)
            outcome, problem = outcome_of(reader, folder, list(reader.words))
            if outcome != "result":
                raise RuntimeError(f"{reader.name} cannot be read as it is: {problem}")
        for number in range(count):
            reader = known[number % len(known)]
            folder = Path(home) / reader.name.replace(" ", "-")
            outcomes[reader.name][one_case(reader, folder, f"{seed} {number}", written)] += 1
            if number % 1000 == 999:
                faults = sum(counts["fault"] for counts in outcomes.values())
                print(f"  {number + 1} cases, {faults} faults", flush=True)
    return {"cases": count, "seconds": round(time.time() - started),
            "readers": {name: dict(counts) for name, counts in outcomes.items()}}


# ---------------------------------------------------------------- a case

def one_case(reader: Reader, folder: Path, case: str, written: list[str]) -> str:
    """"result", "refused" or "fault" of one case, in the folder of the reader."""
    rng = random.Random(f"{reader.name} {case}")
    changed, words = dict(reader.files), list(reader.words)
    if words:
        words = change_words(words, rng)
    else:
        hit = rng.choice(sorted(changed))
        changed[hit] = mutate(changed[hit], rng)
    lay(folder, changed)
    written.clear()
    what = words if reader.words else f"{hit} = {changed[hit][:200]!r}"
    outcome, problem = outcome_of(reader, folder, words)
    outside = [path for path in written if not is_inside(path, folder)]
    if outside:
        outcome, problem = "fault", f"wrote {outside[0]}"
    if outcome == "fault":
        print(f"    {reader.name}, case {case}: {problem}; {str(what)[:300]}", flush=True)
    return outcome


def lay(folder: Path, files: dict[str, bytes]) -> None:
    """Writes those of the files that are not there as they should be."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        place = folder / name
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.write_bytes(content)


def outcome_of(reader: Reader, folder: Path, words: list[str]) -> tuple[str, str]:
    """(outcome, what is wrong) of a reader in a folder; what it prints is not shown."""
    said = io.StringIO()

    def too_late(*_) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with (contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()),
              contextlib.redirect_stderr(said)):
            guard(lambda: reader.use(words))
        return "result", ""
    except SystemExit as end:
        return ("result", "") if end.code in (0, None) else judged(end.code, said.getvalue())
    except Slow:
        return "fault", f"more than {SECONDS:g} seconds"
    except BaseException as error:
        place = error.__traceback__
        while place.tb_next is not None:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        return "fault", f"{type(error).__name__} {str(error)[:150]!r} in {where}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judged(code: int | str, said: str) -> tuple[str, str]:
    """(outcome, what is wrong) of a command that ended with an exit code and these words."""
    line = said.removesuffix("\n")
    is_line = line.startswith("error: ") and line.isprintable() and len(line) <= MOST_LETTERS
    if code == 2 and (is_line or line.startswith("usage: ")):
        return "refused", line
    return "fault", f"exit code {code}: {line[:200]!r}"


def watch_writes() -> list[str]:
    """A list that gets every path that Python opens for writing, makes, moves or removes from now on."""
    written: list[str] = []

    def notice(event: str, details: tuple) -> None:
        path = written_path(event, details)
        if path is not None:
            written.append(os.path.abspath(path))

    sys.addaudithook(notice)
    return written


def is_inside(path: str, folder: Path) -> bool:
    """Whether a path is the case's own, or one that any program may write: a compiled module, a device."""
    return (Path(path).is_relative_to(folder) or path.startswith(ALWAYS_WRITABLE)
            or "__pycache__" in path)
