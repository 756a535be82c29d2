"""A finished run as it is used: its settings, its tasks, the stage whose adapter answers."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import Config, Lamp, UserError, from_dict
from ..engine.location import find, identity
from ..lamp.retrieve import Embed, retrieve
from ..lamp.rows import read_tasks
from ..lamp.tasks import Item, Question, Task, find_task
from ..plan.run_plan import follow, read_plan
from ..runs import read_config, read_json, whole_characters
from ..runs.manifests import refuse_changed

STAGES = ("explore", "guided", "sft")
"""The stages whose adapters can answer, the last of the method first."""


@dataclass(frozen=True)
class FinishedRun:
    """folder: of the run. stage: whose adapter answers. config: the settings that follow the run's plan.
    tasks: {name: task} of those that the run was trained on."""
    folder: Path
    stage: str
    config: Config
    tasks: dict[str, Task]

    @property
    def adapter(self) -> Path:
        return self.folder / self.stage / "adapter"

    def task(self, name: str | None) -> Task:
        """The task of this name or number; without a name the run's only one. UserError: it has no such
        task."""
        known = ", ".join(sorted(self.tasks))
        if name:
            task = find_task(f"LaMP_{name}" if name.isdigit() else name, read_tasks(self.folder))
            if task.name not in self.tasks:
                raise UserError(f"{self.folder} was not trained on {task.name}; it knows {known}")
            return task
        if len(self.tasks) > 1:
            raise UserError(f"the run knows several tasks: say --task with one of {known}")
        return next(iter(self.tasks.values()))


def open_run(folder: Path, stage: str | None = None, reads: Sequence[str] = ()) -> FinishedRun:
    """The run of a folder. stage: None takes the last one that is there. reads: what else is read of the run.
    UserError: it is no run, or has no such adapter, or a file of it is not as its step has left it."""
    if not folder.name:  # "." has none, and a run's settings hold its folder's name
        folder = folder.resolve()
    tree = read_config(folder)
    if not tree:
        raise UserError(f"{folder} is no folder of a run: it has no config.yaml")
    there = [name for name in STAGES if (folder / name / "adapter").is_dir()]
    if stage is None and not there:
        raise UserError(f"{folder} has no adapter yet: run SFT first (bash run_all.sh)")
    stage = stage or there[0]
    if stage not in there:
        raise UserError(f"{folder} has no adapter of '{stage}'; it has {', '.join(there) or 'none'}")
    config = replace(from_dict(tree), results=str(folder.parent), name=folder.name)  # it may have moved
    files = [f"{stage}/adapter", "plan.json", "data/tasks.json", "data/summary.json", *reads]
    refuse_changed(folder, "", files, config.preset)
    of_run = read_json(folder / "data" / "summary.json")["tasks"]
    tasks = {name: task for name, task in read_tasks(folder).items() if name in of_run}
    return FinishedRun(folder, stage, follow(config, read_plan(folder)), tasks)


def tell_of_other_base(run: FinishedRun) -> None:
    """Prints a line where the base model here is not, file by file, what the run was made over."""
    if identity(find(run.config.model)) != read_plan(run.folder).identity:
        print(f"note: the files of {run.config.model.name} here are not those that {run.folder} was made "
              "over: other weights, or the same with another file beside them", flush=True)


def question_of(task: Task, text: str, items: tuple[Item, ...], lamp: Lamp, seed: int,
                embed: Embed | None = None, user: str = "you") -> Question:
    """A person's question about a text, with the items that the run's retriever finds in their history.

    text: a review, an article ..., or the whole input as the task's files have it.
    """
    text = whole_characters(text)
    if not text.strip():
        raise UserError("the question is empty")
    input = text if text.startswith(task.prefix) else task.ask(text)
    if task.form == "citation" and not task.options(input):
        raise UserError(f"{task.name} asks about a title and two references: give the whole input, as the "
                        "task's files have it")
    question = Question("asked", task, user, input, None, items)
    return replace(question, retrieved=retrieve(question, lamp.retriever, lamp.k, seed, embed))
