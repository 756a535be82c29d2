"""The official test questions answered by a stage of a run, in the shape that LaMP's leaderboard takes.

    python -m tagpr_lite.submit --run results/gpu --questions data/lamp/time --to submission

--questions is a folder as `python -m tagpr_lite.lamp.official` writes it, with LaMP_3/test.db and the like,
or one with the official test_questions.json. Their golds are withheld, so nothing is scored here. For every
task appear

    submission/LaMP_3.json             {"task": "LaMP_3", "golds": [{"id": ..., "output": ...}, ...]}
    submission/answers/LaMP_3.jsonl    what the model wrote, chains and all, as it came

The same command goes on from what has been answered. A task's file appears when it has passed the official
rules: every id of its questions once and no other, and in choices and ratings a label each. There an answer
that cannot be read becomes the middle of the scale, or the first label of a choice; elsewhere it is an empty
text. How many they were is printed.
"""
from __future__ import annotations

from .runs.commands import begin_command

if __name__ == "__main__":  # before the imports that are slow: Ctrl-C within them is one line
    begin_command()

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .answering.run import FinishedRun, open_run, tell_of_other_base
from .config import Config, System, UserError
from .lamp import leaks
from .lamp.official.files import read_outputs, withheld_questions
from .lamp.retrieve import Embed
from .lamp.rows import to_row
from .lamp.tasks import OFFICIAL, Question, Task
from .plan.run_plan import planned_models
from .runs import append_jsonl, guard, progress, read_jsonl, whole_file, write_jsonl
from .runs.files import as_json
from .runs.owner import own, release
from .runs.steps import refuse_unfinished, step_key
from .steps.answer import draw_of, header_of, read_by, written
from .steps.step1_prepare import with_retrieved

ANSWERS = "answers"  # the folder of what the model wrote
Load = Callable[[], Any]
"""Gives the run's model (answering/answerer.py), which is loaded when it is first needed."""


# ---------------------------------------------------------------- questions

def prepare(run: FinishedRun, source: Path, load: Load) -> list[list[Question]]:
    """The questions of every task, prepared: all faults of the files are known before the first answer.
    UserError: the folder holds none, faulty ones, or a task twice."""
    embed = load().embed if run.config.lamp.retriever == "dense" else None
    tasks = []
    for folder, questions in withheld_questions(source).items():
        tasks.append([prepared(question, run.config, embed) for question in questions])
        task = tasks[-1][0].task.name
        print(f"{task}: {len(tasks[-1]):,} test questions of {folder}", flush=True)
        if task not in run.tasks:
            print(f"  the run was not trained on {task}")
    counts = Counter(questions[0].task.name for questions in tasks)
    doubled = [task for task, count in counts.items() if count > 1]
    if doubled:
        raise UserError(f"{source} holds {doubled[0]} more than once")
    return tasks


def prepared(question: Question, config: Config, embed: Embed | None) -> Question:
    """The question as step 1 prepares one of dev: without what leaks, where the run leaves that out, and with
    its retrieved items."""
    _, kept, _ = leaks.check([], [question], config.lamp.exclude)
    # One whose whole profile leaks is left out of dev; here every question wants an answer.
    return with_retrieved(kept[0] if kept else question, config, embed)


def key_of(run: FinishedRun, questions: list[Question]) -> dict:
    """All that the answers depend on. questions: prepared, and so with the items that are shown."""
    settings = read_by(run.config, draw_of(System(run.stage)))
    key = step_key(run.config, "submit", [f"{run.stage}/adapter"], settings, (), planned_models(run.config))
    asked = hashlib.sha256()
    for question in questions:
        asked.update(json.dumps(to_row(question)).encode())
    return key | {"questions": asked.hexdigest()}


# ---------------------------------------------------------------- answers

class Submitted(NamedTuple):
    """A task's answers. unread: how many could not be read, and are what `fallback` says."""
    task: Task
    outputs: dict[str, str]
    unread: int

    @property
    def sentence(self) -> str:
        labels = ", every one a label" if self.task.labels else ""
        given = repr(fallback(self.task)) if self.task.labels else "an empty text"
        return (f"{self.task.name}: {len(self.outputs):,} answers, every id once{labels}; {self.unread:,} "
                f"could not be read, given as {given}")


def answer_task(run: FinishedRun, questions: list[Question], to: Path, load: Load) -> Submitted:
    """The answers to all questions of a task: those that are there, and what is missing."""
    task = questions[0].task
    path = to / ANSWERS / f"{task.name}.jsonl"
    texts = texts_so_far(path, header_of(key_of(run, questions)))
    missing = [question for question in questions if question.id not in texts]
    with progress(len(questions), task.name, "answer") as bar:
        bar.update(len(texts))
        for rows in answers(load(), missing) if missing else ():
            append_jsonl(path, rows)
            texts |= texts_of(rows)
            bar.update(len(rows))
    read = {question.id: task.parse_answer(texts[question.id]) for question in questions}
    outputs = {name: fallback(task) if answer is None else answer for name, answer in read.items()}
    return Submitted(task, outputs, list(read.values()).count(None))


def answers(answerer: Any, questions: list[Question]) -> Iterator[list[dict]]:
    """Rows {"id", "completions"} of what the model writes, batch after batch."""
    from .engine.rollout import prompt_limit
    built = {question.id: answerer.prompt(question) for question in questions}
    prompts = {name: ids for name, (ids, _) in built.items()}
    long = sum(report.over_budget for _, report in built.values())
    if long:  # every id wants an answer; step 7 answers such dev questions too
        print(f"  {questions[0].task.name}: {long:,} of {len(questions):,} prompts are longer than "
              f"prompt.max_tokens; they are answered whole, as step 7 does", flush=True)
    limit = prompt_limit("evaluate.batch", answerer.run.config.evaluate.batch)
    return written(answerer.model, answerer.tokenizer, prompts, answerer.room, limit)


def texts_so_far(path: Path, header: dict) -> dict[str, str]:
    """{question id: what was written} of a file that was begun with this header; begins it where there is
    none. UserError: it was begun with another header, or is damaged."""
    rows = read_jsonl(path, partial=True)
    if not rows:
        write_jsonl(path, [header])
    elif rows[0] != header:
        raise UserError(f"{path} holds answers to other questions, or of another stage, run or setting: "
                        "remove it, or choose another --to")
    try:
        texts = texts_of(rows[1:])
        good = all(isinstance(text, str) for text in texts.values())
    except (LookupError, TypeError):
        good = False
    if not good:
        raise UserError(f"{path} is not as this command writes it: remove it")
    return texts


def texts_of(rows: list[dict]) -> dict[str, str]:
    """{question id: the text of its one completion}."""
    return {row["id"]: row["completions"][0]["text"] for row in rows}


def fallback(task: Task) -> str:
    """What an answer that cannot be read becomes: the middle of a scale, the first label of a choice, an
    empty text."""
    if not task.labels:
        return ""
    return task.labels[len(task.labels) // 2] if task.kind == "rating" else task.labels[0]


# ---------------------------------------------------------------- the leaderboard's file

def write_checked(submitted: Submitted, to: Path) -> None:
    """Writes the task's file; it appears when it has passed the official rules."""
    task, outputs = submitted.task, submitted.outputs
    tree = {"task": task.name, "golds": [{"id": name, "output": output} for name, output in outputs.items()]}
    path = to / f"{task.name}.json"
    with whole_file(path) as beside:
        beside.write_text(as_json(tree, path, indent=1) + "\n", encoding="utf-8")
        check(beside, task, list(outputs))


def check(path: Path, task: Task, ids: list[str]) -> None:
    """UserError: what stands in the file breaks an official rule. ids: of the task's questions."""
    named, read = read_outputs(path)  # refuses another shape, and an id that comes twice
    if named != task.name:
        raise UserError(f"{path} names the task {named}, not {task.name}")
    if sorted(read) != sorted(ids):
        raise UserError(f"{path} has {len(read)} ids, and not those of the {len(ids)} questions")
    wrong = [name for name, output in read.items() if task.labels and output not in task.labels]
    if wrong:
        raise UserError(f"{path}: {len(wrong)} answers are no label of {task.name}, such as that to "
                        f"{wrong[0]}")


# ---------------------------------------------------------------- the command

def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.submit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--questions", type=Path, required=True, metavar="FOLDER",
                        help="with the test questions of one task, or with a sub-folder a task")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the answers go")
    parser.add_argument("--stage", help="sft, guided or explore; the last one that is there")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)
    guard(lambda: submit(args.run, args.questions, args.to, args.stage), debug=args.debug)


def submit(folder: Path, source: Path, to: Path, stage: str | None) -> None:
    """Answers every task of the questions' folder and writes its file."""
    # 1. What cannot be done is refused before the model is loaded.
    run = open_run(folder, stage)
    refuse_unfinished(run.folder, "submit", [f"{run.stage}/adapter"])
    refuse_target(to)
    load = cache(lambda: load_answerer(run))
    tasks = prepare(run, source, load)
    tell_of_other_base(run)

    # 2. Task by task: the answers that are missing, then the file.
    (to / ANSWERS).mkdir(parents=True, exist_ok=True)
    own(to)  # two commands would mix their answers
    try:
        for questions in tasks:
            submitted = answer_task(run, questions, to, load)
            write_checked(submitted, to)
            print(f"  {submitted.sentence}", flush=True)
    finally:
        release(to)
    names = ", ".join(questions[0].task.name for questions in tasks)
    print(f"{run.stage} of {run.folder} has answered {names}; the files are in {to}")
    if len(tasks) < len(OFFICIAL):
        print(f"  the official script scores one task, or all {len(OFFICIAL)} at once")


def load_answerer(run: FinishedRun) -> Any:
    """The run's model. torch is imported here: who has nothing to answer does without."""
    from .answering.answerer import Answerer
    return Answerer(run)


def refuse_target(to: Path) -> None:
    """UserError: something is there that is no submission."""
    is_ours = not to.exists() or to.is_dir() and ((to / ANSWERS).is_dir() or not any(to.iterdir()))
    if not is_ours:
        raise UserError(f"{to} holds something else than a submission; choose another --to")


if __name__ == "__main__":
    main()
