"""Reading folders of LaMP-format files, and refusing what would silently spoil a run.

Decisions. Only train and dev are read: golds of the official test split are withheld. Everything is checked
before anything is used, and every fault is one line with the file and up to three ids. A questions file is
streamed (stream.py); what concerns the file as a whole, such as doubled ids, is known at its end. A folder
may hold stores instead of JSON, and then only the questions that are asked for are read. Two folders of one
task are merged in memory, under ids and users that carry the folder's name, so that nobody's history is mixed
with a namesake's.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import UserError
from ..tasks import TASKS, Item, Question, Task, detect, find_task
from .store import Stored, open_store
from .stream import parts, short

SPLITS = ("train", "dev")
FILES = [f"{split}_{what}.json" for split in SPLITS for what in ("questions", "outputs")]
LARGE = 200_000_000  # bytes of a questions file that is better converted
Questions = list[Question] | Stored


def load_folder(source: str | Path, tasks: list[str] = ()) -> dict[str, dict[str, Questions]]:
    """{task: {"train": [...], "dev": [...]}} of a folder with one sub-folder a task, or of one such
    sub-folder.

    tasks: which to read, such as ["LaMP_3"]; empty means all that are there.
    """
    source, wanted = Path(source), {find_task(word).name for word in tasks}
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; it should hold one sub-folder a task with {', '.join(FILES)}")
    if not (folders := task_folders(source)):
        raise UserError(f"no sub-folder of {source} holds {', '.join(FILES)} or their stores, train.db and dev.db")
    found: dict[str, list[tuple[str, dict]]] = {}
    for folder in folders:
        if loaded := _load_task(folder, wanted):
            found.setdefault(loaded[0].name, []).append((folder.name, loaded[1]))
    if missing := wanted - set(found):
        raise UserError(f"{source} holds no {_names(missing)}; its tasks: {', '.join(sorted(found)) or 'other ones'}")
    return {task: _merge(folders) for task, folders in sorted(found.items())}


def task_folders(source: Path) -> list[Path]:
    """`source` itself or those of its sub-folders that hold a task's files."""
    names = FILES + [f"{split}.db" for split in SPLITS]
    holds_some = lambda folder: any((folder / name).exists() for name in names)
    return [source] if holds_some(source) else sorted(p for p in source.iterdir() if holds_some(p))


def _load_task(folder: Path, wanted: set[str]) -> tuple[Task, dict[str, Questions]] | None:
    """The task of one folder and its questions; None when it is not among the wanted ones."""
    splits = {split: _stored(folder, split) for split in SPLITS if (folder / f"{split}.db").exists()}
    for name in FILES:
        if name.split("_")[0] not in splits and not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; a task's folder holds {', '.join(FILES)}")
    outputs = {split: read_outputs(folder / f"{split}_outputs.json") for split in SPLITS
               if split not in splits}
    said = {s.task.name for s in splits.values()} | {_task(folder, word).name for word, _ in outputs.values()
                                                     if word}
    if said and wanted and not said & wanted:
        return None  # before its questions are read, which may be hundreds of megabytes
    for split in outputs:
        path = folder / f"{split}_questions.json"
        if path.stat().st_size > LARGE:
            print(f"{path} is large; this once makes it quick: python -m tagpr_lite.lamp.official --convert {folder}")
        splits[split] = list(read_questions(path, *outputs[split]))
    found = {splits[split].task if isinstance(splits[split], Stored) else splits[split][0].task
             for split in SPLITS}
    if len(found) > 1:
        raise UserError(f"{folder}: train and dev are of different tasks, {' and '.join(sorted(t.name for t in found))}")
    ids = {split: q.ids if isinstance(q, Stored) else [one.id for one in q] for split, q in splits.items()}
    if twice := set(ids["train"]) & set(ids["dev"]):
        raise UserError(f"{folder}: questions in both train and dev: {_names(twice)}")
    task = found.pop()
    return (task, splits) if not wanted or task.name in wanted else None


def _stored(folder: Path, split: str) -> Stored:
    stored = open_store(folder / f"{split}.db")
    if stored.split != split:
        raise UserError(f"{stored.path} holds the {stored.split} split; do not rename stores")
    if changed := stored.changed_source():
        raise UserError(f"{changed} is not what {stored.path.name} was made from; run python -m tagpr_lite.lamp.official "
                        f"--convert {folder}, or remove one of them")
    return stored


def _merge(folders: list[tuple[str, dict]]) -> dict[str, Questions]:
    if len(folders) == 1:
        return folders[0][1]
    return {split: [replace(q, id=f"{folder}:{q.id}", user=f"{folder}:{q.user}")
                    for folder, splits in folders for q in splits[split]] for split in SPLITS}


# ---------------------------------------------------------------- one file

def read_outputs(path: str | Path) -> tuple[str | None, dict[str, str]]:
    """(task field, {id: output}) of an official outputs or prediction file {"task", "golds": [{"id",
    "output"}]}."""
    path, said, shaped, rows = Path(path), None, False, []
    for key, element, value in parts(path):
        if key == "golds" and element:
            rows.append(value)
        elif key == "golds":
            shaped = isinstance(value, list)
        elif key == "task":
            said = value
    good = lambda row: isinstance(row, dict) and _is_id(row.get("id")) and "output" in row
    if not shaped or not all(map(good, rows)) or not (said is None or isinstance(said, str)
                                                      and said.isprintable()):
        raise _fault(path, 'expected {"task": ..., "golds": [{"id": ..., "output": ...}, ...]}')
    ids = Counter(str(row["id"]) for row in rows)
    _none(path, "doubled ids: {}", [i for i, times in ids.items() if times > 1])
    _none(path, "outputs that are not strings: {}",
          [str(r["id"]) for r in rows if not isinstance(r["output"], str)])
    return said, {str(row["id"]): row["output"] for row in rows}


def read_questions(path: str | Path, said: str | None = None, golds: dict[str, str] | None = None,
                   seen: Callable[[int], Any] | None = None) -> Iterator[Question]:
    """The questions of one file, one by one. Use none of them before the last: only then is the file known to
    be good.

    said, golds: what read_outputs gives; None for a test split. seen: is told of the bytes read, block by
    block.
    """
    path, task, first, ids = Path(path), None, "", set()
    doubled, absent, empty, wrong = set(), [], [], []
    rows = (value for key, element, value in parts(path, seen) if element and key in (None, "golds"))
    for n, row in enumerate(rows, 1):
        _check(isinstance(row, dict) and _is_id(row.get("id")), path, n,
               "has no id, or one that is no short word")
        name = str(row["id"])
        _check(isinstance(row.get("input"), str), path, name, "has no input string")
        _check(isinstance(row.get("profile"), list), path, name, "has no profile list")
        row["input"] = _repaired(row, said)
        try:
            found = detect(row["input"], said)
        except UserError as e:
            raise _fault(path, f"question {name}: {e}") from None
        task, first = task or found, first or name
        if found != task:
            raise _fault(path, f"mixes tasks: {task.name} (question {first}), {found.name} (question {name})")
        gold = golds.get(name) if golds is not None else None
        doubled |= {name} & ids
        ids.add(name)
        absent += [name] * (golds is not None and gold is None)
        empty += [name] * (not row["profile"])
        wrong += [name] * (gold is not None and not _answers(task, gold.strip()))
        yield _question(path, task, row, gold)
    if not ids:
        raise _fault(path, "expected a list of questions")
    _none(path, "doubled ids: {}", doubled)
    _none(path, f"{len(absent)} questions have no gold in the outputs file: {{}}", absent)
    extra = set(golds or ()) - ids
    _none(path, f"{len(extra)} golds of the outputs file have no question: {{}}", extra)
    _none(path, f"{len(empty)} questions have an empty profile: {{}}; leave them out", empty)
    _none(path, f"golds that are no answer to {task.name if task else None}: {{}}", wrong)


def _is_id(word: Any) -> bool:
    """Ids are shown to people, and nothing else is asked of them."""
    return type(word) in (str, int) and 0 < len(str(word)) <= 64 and str(word).isprintable()


def _answers(task: Task, gold: str) -> bool:
    return gold in task.labels if task.labels else bool(gold)


def _repaired(row: dict, said: str | None) -> str:
    """Question 110 of the official LaMP-2 dev file lacks its instruction and tag list; it gets them back."""
    movies = TASKS["LaMP_2"]
    if str(row["id"]) == "110" and said and find_task(said) == movies \
            and not row["input"].startswith(("Which category", movies.prefix)):
        print("LaMP_2 question 110 came without its instruction (a known defect of the official file): repaired")
        return f"{movies.instruction} {row['input'].removeprefix('x ').strip()}"
    return row["input"]


def _question(path: Path, task: Task, row: dict, gold: str | None) -> Question:
    text_key, label_key = task.text_key, task.label_key
    items = []
    for item in row["profile"]:
        _check(isinstance(item, dict), path, row["id"], "has a profile item that is not an object")
        for key in filter(None, ("id", text_key, label_key)):
            _check(key in item, path, row["id"], f"has a profile item without '{key}'")
        label = item[label_key] if label_key else ""
        label = str(label) if type(label) is int else label
        date = item.get("date") or ""
        _check(type(item["id"]) in (str, int) and isinstance(item[text_key], str) and isinstance(label, str)
               and type(date) in (str, int), path, row["id"],
               f"has a profile item of wrong types: {item['id']!r}")
        _check(task.kind != "rating" or label in task.labels, path, row["id"],
               f"has a profile item whose score is not 1 to 5: {label[:20]!r}")
        items.append(Item(str(item["id"]), item[text_key], label, str(date)))
    if all(i.date for i in items):
        items.sort(key=lambda i: i.date)  # ISO dates and years sort as strings
    user = row.get("user_id")
    _check(user is None or type(user) in (str, int), path, row["id"],
           "has a user_id that is no string or number")
    return Question(str(row["id"]), task, str(row["id"] if user is None else user), row["input"], gold,
                    tuple(items))


def _task(where: Path, word: str) -> Task:
    try:
        return find_task(word)
    except UserError as e:
        raise _fault(where, str(e)) from None


def _check(good: bool, path: Path, name: Any, fault: str) -> None:
    if not good:
        raise _fault(path, f"question {short(name, 40)} {fault}")


def _none(path: Path, fault: str, ids: Collection[str]) -> None:
    if ids:
        raise _fault(path, fault.format(_names(ids)))


def _names(ids: Collection[str]) -> str:
    """The first three ids, and how many more there are."""
    ids = sorted(ids)
    return ", ".join(short(i, 40) for i in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def _fault(path: Path, text: str) -> UserError:
    return UserError(f"{path}: {short(text, 200)}")
