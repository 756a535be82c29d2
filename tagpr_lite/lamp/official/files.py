"""Reading folders of LaMP-format files, and refusing what would silently spoil a run.

Decisions. A run reads train and dev: golds of the official test split are withheld. Everything is checked
before anything is used, and every fault is one line with the file and up to three ids. A questions file is
streamed (stream.py); faults of the file as a whole, such as doubled ids, are known at its end. A folder may
hold stores instead of JSON (store.py), and then only the questions that are asked for are read. The files may
also lie as on LaMP's server, in train/ and dev/, and LaMP-2 under LaMP_2/new. Two folders of one task are
merged in memory, under ids and users that carry the folder's name: a user `7` of one folder is another person
than `7` of the other.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import UserError
from ...runs import as_command
from ..tasks import Question, Task, find_task
from ..values import as_label, as_text
from .entries import check_row, detected_task, fault, is_answer, is_id, repaired_input, to_question
from .store import Stored, open_store
from .stream import one_line, stream_entries

SPLITS = ("train", "dev")
FILES = [f"{split}_{what}.json" for split in SPLITS for what in ("questions", "outputs")]
STORES = [f"{split}.db" for split in SPLITS]
WITHHELD = ("test.db", "test_questions.json")  # the questions whose golds are withheld, in one of two forms
LARGE = 200_000_000  # bytes of a questions file that is better converted
Questions = list[Question] | Stored
Splits = dict[str, Questions]
"""{"train": questions, "dev": questions}"""


# ---------------------------------------------------------------- folders

def load_folder(source: str | Path, tasks: list[str] = ()) -> dict[str, Splits]:
    """{task: {"train": [...], "dev": [...]}} of a folder with one sub-folder a task, or of one such
    sub-folder.

    tasks: which to read, such as ["LaMP_3"]; empty means all that are there.
    """
    source = Path(source)
    wanted = {find_task(word).name for word in tasks}
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; it should hold one sub-folder a task with "
                        f"{', '.join(FILES)}")
    folders = task_folders(source)
    if not folders:
        raise UserError(f"no sub-folder of {source} holds {', '.join(FILES)} or their stores, train.db and "
                        "dev.db")

    # {task: [(folder name, its splits), ...]}: a task may lie in several folders.
    loaded: dict[str, list[tuple[str, Splits]]] = {}
    for folder in folders:
        task, splits = _load_task(folder, wanted)
        if task:
            name = folder.parent.name if folder.name == "new" else folder.name
            loaded.setdefault(task.name, []).append((name, splits))
    missing = wanted - set(loaded)
    if missing:
        present = ", ".join(sorted(loaded)) or "other ones"
        raise UserError(f"{source} holds no {_names(missing)}; its tasks: {present}")
    return {task: _merge(parts) for task, parts in sorted(loaded.items())}


def withheld_questions(source: Path) -> dict[Path, Iterable[Question]]:
    """{folder of a task: the questions of its official test split, which have no golds}. As of a questions
    file, use none of them before the last."""
    folders = task_folders(source, WITHHELD) if source.is_dir() else []
    if not folders:
        raise UserError(f"{source} holds no test questions; it should be a task's folder with "
                        f"{' or '.join(WITHHELD)}, or hold one sub-folder a task")
    return {folder: _open_split(folder, "test") if (folder / "test.db").exists()
            else read_questions(file_of(folder, "test_questions.json")) for folder in folders}


def task_folders(source: Path, names: Collection[str] = (*FILES, *STORES)) -> list[Path]:
    """`source` itself or those of its sub-folders that hold a task's files. Where a folder holds a `new` one
    (LaMP-2 on the server), that one counts: the files beside it are of the old task.

    names: the files that tell a task's folder.
    """
    def holds_files(folder: Path) -> bool:
        return any(file_of(folder, name).exists() for name in names)

    if holds_files(source / "new"):
        return [source / "new"]
    if holds_files(source):
        return [source]
    folders = [path / "new" if holds_files(path / "new") else path for path in source.iterdir()]
    return sorted(folder for folder in folders if holds_files(folder))


def file_of(folder: Path, name: str) -> Path:
    """Where a task's folder has dev_questions.json: in itself, or in dev/ as on LaMP's server."""
    on_server = folder / name.split("_")[0] / name
    return on_server if on_server.exists() and not (folder / name).exists() else folder / name


def _load_task(folder: Path, wanted: set[str]) -> tuple[Task | None, Splits]:
    """(the task of one folder, its questions); (None, {}) when it is not among the wanted ones. wanted: empty
    means all."""
    splits: Splits = {split: _open_split(folder, split) for split in SPLITS
                      if (folder / f"{split}.db").exists()}
    from_json = [split for split in SPLITS if split not in splits]
    for name in FILES:
        if name.split("_")[0] in from_json and not file_of(folder, name).is_file():
            raise UserError(f"{folder / name} is missing; a task's folder holds {', '.join(FILES)}")
    outputs = {split: read_outputs(file_of(folder, f"{split}_outputs.json")) for split in from_json}

    # Stores and outputs files name their task, so an unwanted folder is known before its questions are read,
    # which may be hundreds of megabytes.
    named = {stored.task.name for stored in splits.values()}
    named |= {_task_of_field(folder, field).name for field, _ in outputs.values() if field}
    if named and wanted and not named & wanted:
        return None, {}

    for split in from_json:
        path = file_of(folder, f"{split}_questions.json")
        if path.stat().st_size > LARGE:
            print(f"{path} is large; this once makes it quick: "
                  f"{as_command('tagpr_lite.lamp.official')} --convert {folder}")
        splits[split] = list(read_questions(path, *outputs[split]))
    task = _check_splits(folder, splits)
    return (task, splits) if not wanted or task.name in wanted else (None, {})


def _open_split(folder: Path, split: str) -> Stored:
    """The store of a split; an error when it is of another split, or of other files than those beside it."""
    stored = open_store(folder / f"{split}.db")
    if stored.split != split:
        raise UserError(f"{stored.path} holds the {stored.split} split; do not rename stores")
    changed = stored.changed_source()
    if changed:
        raise UserError(f"{changed} is not what {stored.path.name} was made from; run "
                        f"{as_command('tagpr_lite.lamp.official')} --convert {folder}, or remove one of "
                        "them")
    return stored


def _check_splits(folder: Path, splits: Splits) -> Task:
    """The task of both splits; an error when they differ in it or share a question."""
    tasks = {splits[split].task if isinstance(splits[split], Stored) else splits[split][0].task
             for split in SPLITS}
    if len(tasks) > 1:
        both = " and ".join(sorted(task.name for task in tasks))
        raise UserError(f"{folder}: train and dev are of different tasks, {both}")
    shared = set(_ids(splits["train"])) & set(_ids(splits["dev"]))
    if shared:
        raise UserError(f"{folder}: questions in both train and dev: {_names(shared)}; if they are different "
                        "ones, give every question of a task an id of its own")
    return tasks.pop()


def _ids(questions: Questions) -> list[str]:
    return questions.ids if isinstance(questions, Stored) else [question.id for question in questions]


def _merge(folders: list[tuple[str, Splits]]) -> Splits:
    """The splits of several folders of one task as one; those of a single folder as they are."""
    if len(folders) == 1:
        return folders[0][1]
    merged: Splits = {split: [] for split in SPLITS}
    for split in SPLITS:
        for folder, splits in folders:
            for question in splits[split]:
                merged[split].append(replace(question, id=f"{folder}:{question.id}",
                                             user=f"{folder}:{question.user}"))
    return merged


# ---------------------------------------------------------------- one file

def read_outputs(path: str | Path) -> tuple[str | None, dict[str, str]]:
    """(task field, {id: output}) of an official outputs or prediction file {"task", "golds": [{"id",
    "output"}]}. Outputs that are no strings become the string that the official script takes them for."""
    path = Path(path)
    task_field, has_golds, rows = None, False, []
    for key, is_entry, value in stream_entries(path):
        if key == "golds" and is_entry:
            rows.append(value)
        elif key == "golds":
            has_golds = isinstance(value, list)
        elif key == "task":
            task_field = value
    good_field = task_field is None or (isinstance(task_field, str) and task_field.isprintable())
    if not has_golds or not good_field or not all(_is_output_row(row) for row in rows):
        raise fault(path, 'expected {"task": ..., "golds": [{"id": ..., "output": ...}, ...]}')
    names = [as_text(row["id"]) for row in rows]
    times = Counter(names)
    _refuse_ids(path, "doubled ids: {}", [name for name, count in times.items() if count > 1])
    _refuse_ids(path, "outputs that are lists or objects: {}",
                [name for name, row in zip(names, rows) if isinstance(row["output"], list | dict)])
    return task_field, {name: _output(row["output"]) for name, row in zip(names, rows)}


def _is_output_row(row: Any) -> bool:
    return isinstance(row, dict) and is_id(row.get("id")) and "output" in row


def _output(value: Any) -> str:
    """4 and 4.0 are "4", true is "True". Null is "", which is no answer to any task, as "None" is none to the
    official script."""
    if value is None:
        return ""
    return str(value) if isinstance(value, str | bool) else as_text(value)


def read_questions(path: str | Path, task_field: str | None = None, golds: dict[str, str] | None = None,
                   on_block: Callable[[int], Any] | None = None) -> Iterator[Question]:
    """The questions of one file, one by one. Use none of them before the last: only then is the file known to
    be good.

    task_field, golds: what read_outputs gives; golds is None for a test split, whose questions then have
    none. on_block: is called with the number of bytes of every block that is read.
    """
    path = Path(path)
    task, first_name = None, ""
    names: set[str] = set()
    doubled, without_gold, without_profile, wrong_gold = set(), [], [], []
    number = 0
    for key, is_entry, row in stream_entries(path, on_block):
        if not is_entry or key not in (None, "golds"):
            continue

        # What is wrong with the row alone is an error at once.
        number += 1
        name = check_row(path, number, row)
        row["input"] = repaired_input(row, task_field)
        detected = detected_task(path, name, row["input"], task_field)
        if task is None:
            task, first_name = detected, name
        elif detected != task:
            raise fault(path, f"mixes tasks: {task.name} (question {first_name}), {detected.name} "
                               f"(question {name})")

        # What many questions may have is collected, for one line in the end.
        if name in names:
            doubled.add(name)
        names.add(name)
        gold = golds.get(name) if golds is not None else None
        if gold is not None and task.labels:
            gold = as_label(gold, task.labels)
        if golds is not None and gold is None:
            without_gold.append(name)
        if gold is not None and not is_answer(task, gold.strip()):
            wrong_gold.append(name)
        if not row["profile"]:
            without_profile.append(name)
        yield to_question(path, task, row, gold)

    if not names:
        raise fault(path, "expected a list of questions")
    without_question = set(golds or ()) - names
    _refuse_ids(path, "doubled ids: {}", doubled)
    _refuse_ids(path, f"{len(without_gold)} questions have no gold in the outputs file: {{}}", without_gold)
    _refuse_ids(path, f"{len(without_question)} golds of the outputs file have no question: {{}}",
                without_question)
    _refuse_ids(path, f"{len(without_profile)} questions have an empty profile: {{}}; leave them out",
                without_profile)
    _refuse_ids(path, f"golds that are no answer to {task.name}: {{}}", wrong_gold)


# ---------------------------------------------------------------- faults

def _task_of_field(path: Path, word: str) -> Task:
    try:
        return find_task(word)
    except UserError as error:
        raise fault(path, str(error)) from None


def _refuse_ids(path: Path, problem: str, ids: Collection[str]) -> None:
    """An error when there are such ids. problem: a sentence with {} where the ids belong."""
    if ids:
        raise fault(path, problem.format(_names(ids)))


def _names(ids: Collection[str]) -> str:
    """The first three ids, and how many more there are."""
    first_ids = ", ".join(one_line(name, 40) for name in sorted(ids)[:3])
    return first_ids + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
