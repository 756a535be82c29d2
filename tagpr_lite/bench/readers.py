"""What `bench inputs` changes: every reader with good input of its own.

A reader takes a person's files, a run's files, or a command's words.
"""
from __future__ import annotations

import json
import runpy
import sys
import warnings
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
from ..runs import accept_changes, run_step, write_json
from ..steps import step8_report
from ..tags import labels
from ..tags.chains import read_chains, read_tags
from ..tags.discover import read_synonyms
from ..tags.schema import PRIMARY
from ..tags.teachers import replies
from ..tags.teaching import read_teaching


class Reader(NamedTuple):
    """name: of what is read. files: {path: content} of good input, one of which is changed; of words, what
    they name, unchanged. use: reads the input in the working folder. words: of the command; () of files."""
    name: str
    files: dict[str, bytes]
    use: Callable[[list[str]], None]
    words: tuple[str, ...] = ()


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
    names = ("metrics.jsonl", "config.yaml", "manifests/prepare.json")
    of_run = {f"run/{name}": (run / name).read_bytes() for name in names}
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
