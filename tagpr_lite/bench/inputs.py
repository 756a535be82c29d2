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
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .. import config as cfg
from ..config import UserError
from ..lamp import mini
from ..lamp.official.files import load_folder
from ..lamp.own import load_own
from ..lamp.rows import from_row, read_questions, to_row
from ..lamp.tasks import TASKS
from ..plan.run_plan import read_plan
from ..runs import accept_changes, guard, run_step, write_json
from ..steps import step8_report
from ..tags import labels
from ..tags.chains import read_chains, read_tags
from ..tags.discover import read_synonyms
from ..tags.schema import PRIMARY
from ..tags.teachers import replies
from ..tags.teaching import read_teaching
from . import kills
from .file_events import written_path
from .mutations import change_words, mutate

SECONDS = 20.0
MOST_LETTERS = 2010
ALWAYS_WRITABLE = (os.devnull, "/dev/tty", "/proc/self")


class Reader(NamedTuple):
    """name: of what is read. files: {path: content} of good input, one of which is changed; of words, what
    they name, unchanged. use: reads the input in the working folder. words: of the command; () of files."""
    name: str
    files: dict[str, bytes]
    use: Callable[[list[str]], None]
    words: tuple[str, ...] = ()


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


# ---------------------------------------------------------------- a person's files

def lamp_files(folder: str) -> dict[str, bytes]:
    """The four files of task LaMP_3."""
    history = [{"id": "a", "text": "new", "score": "5", "date": "2013-01-02"},
               {"id": "b", "text": "old", "score": "4", "date": "2012-03-04"}]
    files = {}
    for split in ("train", "dev"):
        questions = [{"id": f"{split}{n}", "input": f"{TASKS['LaMP_3'].instruction} fine “{n}” \U0001f600",
                      "user_id": n, "profile": history} for n in range(3)]
        golds = {"task": "LaMP_3", "golds": [{"id": question["id"], "output": "4"} for question in questions]}
        files |= {f"{folder}{split}_questions.json": as_json(questions),
                  f"{folder}{split}_outputs.json": as_json(golds)}
    return files


def readers_of_files() -> Iterator[Reader]:
    yield Reader("LaMP files", lamp_files(""), lambda _: use_folder())
    golds = as_json({"task": "LaMP_3", "golds": [{"id": "1", "output": "4"}, {"id": "2", "output": "5"}]})
    words = ["--golds", "golds.json", "--preds", "preds.json"]
    yield Reader("predictions", {"golds.json": golds, "preds.json": golds},
                 lambda _: run_command("tagpr_lite.score", words))

    records = [{"user": f"u{n % 3}", "input": f"wine {n}", "output": str(n), "date": f"20{n + 10}-01-01",
                "history": [{"text": "older", "stars": 9, "date": "2020"}]} for n in range(8)]
    own = {"task.yaml": b"name: cups\nrecords: records.jsonl\nkind: rating\nscale: [0, 10]\n"
                        b"instruction: Rate it.\nitem: {text: text, label: stars}\n",
           "records.jsonl": as_lines(records)}
    yield Reader("own task", own, lambda _: load_own("task.yaml", 0))
    yield Reader("synonyms", {"map.json": b'{"look_back": "examine_examples", "guess": "conclude"}'},
                 lambda _: read_synonyms("map.json"))
    yield Reader("tag names", {"tags.txt": "\n".join(["# nine", *PRIMARY]).encode()},
                 lambda _: read_tags("tags.txt"))

    asked = {question.id: question for question in mini.build(0, 12, tasks=["LaMP_3"])["LaMP_3"]["train"]}
    text = "<think>\n<analyze_query>Rate it.</analyze_query>\n<conclude>It is bad.</conclude>\n</think>\n4"
    chains = as_lines([{"id": name, "text": text} for name in list(asked)[:4]])
    yield Reader("chains", {"chains.jsonl": chains}, lambda _: read_chains("chains.jsonl", asked, PRIMARY))
    preset = (cfg.PRESETS / "cpu.yaml").read_bytes()
    yield Reader("preset", {"mine.yaml": preset}, lambda _: cfg.load("mine.yaml", []))
    yield Reader("campaign", {"c.yaml": CAMPAIGN},
                 lambda _: run_command("tagpr_lite.campaign", ["c.yaml", "--table"]))
    answer = {"choices": [{"message": {"content": "1. look_back\n2. conclude it"}, "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    yield Reader("teacher's answer", {"answer.json": as_json(answer)}, lambda _: use_reply())


CAMPAIGN = b"""preset: smoke
seeds: [0, 1]
steps: []
share: true
settings: {lamp: {k: 2}, results: .}
variants:
  plain: {}
  other: {grpo: {alpha_tag: 0.0}}
"""


def use_folder() -> None:
    for splits in load_folder(".").values():
        for question in splits["train"] + splits["dev"]:
            if from_row(json.loads(json.dumps(to_row(question)))) != question:
                raise AssertionError("a question that is stored and read is another one")


def use_reply() -> None:
    try:
        reply = replies.read(200, {}, Path("answer.json").read_bytes(), (10, 10))
    except replies.Failure as failure:
        raise UserError(failure.words) from None
    labels.read(reply.text, 2, PRIMARY)


# ---------------------------------------------------------------- a run's files

def readers_of_a_run(run: Path) -> Iterator[Reader]:
    """The files of a run that a person may have changed and accepted, or that no hash guards."""
    settings = cfg.load("smoke", ["results=.", "name=run"])
    files = {f"run/{path.relative_to(run)}": path.read_bytes() for path in sorted(run.rglob("*"))
             if path.suffix in (".json", ".jsonl", ".yaml") and not path.name.startswith(".")}
    yield Reader("report", files, lambda _: step8_report.main(settings))
    yield Reader("report of accepted changes", files, lambda _: accepted(lambda: step8_report.main(settings)))
    yield Reader("step of accepted changes", files,
                 lambda _: accepted(lambda: read_teaching_in_a_step(settings)))


def accepted(work: Callable[[], None]) -> None:
    """The work, in a run whose owner says that the changes are meant."""
    accept_changes(Path("run"))
    work()


def read_teaching_in_a_step(config: cfg.Config) -> None:
    """A step that reads what the steps of GRPO read, and trains nothing."""
    def read(_: cfg.Config, folder: Path) -> None:
        read_plan(folder)
        read_teaching(folder, read_questions(folder, "train"))
        write_json(folder / "read.json", 0)

    (config.folder / "read.json").unlink(missing_ok=True)
    run_step(config, "read", inputs=["data", "chains", "plan.json"], settings=[], outputs=["read.json"],
             work=read)


# ---------------------------------------------------------------- a command's words

def readers_of_words(run: Path) -> Iterator[Reader]:
    of_run = {f"run/{name}": (run / name).read_bytes() for name in ("metrics.jsonl", "config.yaml")}
    golds = {"golds.json": as_json({"task": "LaMP_3", "golds": [{"id": "1", "output": "4"}]})}
    for module, words, files in (
            ("config", ["grpo.group"], {}), ("config", ["--explain", "grpo.group"], {}),
            ("plan", ["--model", "Qwen3-4B", "--vram", "8", "--prompt", "1024", "--group", "8",
                      "--completion", "256", "--lora-r", "8", "--on", "4090", "grpo.beta=0.1"], {}),
            ("score", ["--golds", "golds.json", "--preds", "golds.json", "--against", "golds.json",
                       "--task", "LaMP_3"], golds),
            ("campaign", ["c.yaml", "--table", "--name", "mine", "lamp.k=2"], {"c.yaml": CAMPAIGN}),
            ("runs", ["."], {"manifests/tag.json": b"{}"}),
            ("report.figures", ["learning", "out.svg", "run"], of_run),
            ("lamp.official", ["--convert", "lamp"], lamp_files("lamp/")),
            ("lamp.mini", ["--seed", "3", "--users", "12", "--language", "en"], {}),
            ("steps.step8_report", ["--preset", "smoke", "results=.", "name=run", "lamp.k=2"],
             of_run)):
        yield Reader(f"words of {module} {words[0].lstrip('-')}", files,
                     lambda words, module=module: run_command(f"tagpr_lite.{module}", words),
                     tuple(words))


def run_command(module: str, words: list[str]) -> None:
    """`python -m MODULE WORDS` in this process."""
    before = sys.argv
    sys.argv = [module, *words]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the module may be imported already
            runpy.run_module(module, run_name="__main__", alter_sys=False)
    finally:
        sys.argv = before


def as_json(tree) -> bytes:
    return json.dumps(tree).encode()


def as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
