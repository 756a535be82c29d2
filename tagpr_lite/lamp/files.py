"""Reading folders of LaMP-format files, and refusing what would silently spoil a run.

Decisions. Only train and dev are read: golds of the official test split are withheld. Everything is checked before
anything is used, and every fault is one line with the file and up to three ids. Files are read whole (a trimmed copy
of the largest official ones is the caller's business). Two folders of one task are merged under ids and users that
carry the folder's name, so that nobody's history is mixed with a namesake's.
"""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import UserError
from ..runs import read_json, seed_of
from .tasks import INSTRUCTION, PREFIX, TASKS, Item, Question, detect, task_name

SPLITS = ("train", "dev")
FILES = [f"{split}_{what}.json" for split in SPLITS for what in ("questions", "outputs")]

# task -> the profile item's keys of (text, label)
ITEM_KEYS = {"LaMP_1": ("abstract", "title"), "LaMP_2": ("description", "tag"), "LaMP_3": ("text", "score"),
             "LaMP_4": ("text", "title"), "LaMP_5": ("abstract", "title"), "LaMP_6": ("text", "title"),
             "LaMP_7": ("text", None)}


def load_folder(source: str | Path, tasks: list[str] = ()) -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}} of a folder with one sub-folder a task, or of one such sub-folder.

    tasks: which to read, such as ["LaMP_3"]; empty means all that are there.
    """
    source, wanted = Path(source), {task_name(t) for t in tasks}
    if not source.is_dir():
        raise UserError(f"{source} is not a folder; it should hold one sub-folder a task with {', '.join(FILES)}")
    holds_some = lambda folder: any((folder / name).exists() for name in FILES)
    folders = [source] if holds_some(source) else sorted(p for p in source.iterdir() if holds_some(p))
    if not folders:
        raise UserError(f"no sub-folder of {source} holds {', '.join(FILES)}")
    found: dict[str, list[tuple[str, dict]]] = {}
    for folder in folders:
        if loaded := _load_task(folder, wanted):
            found.setdefault(loaded[0], []).append((folder.name, loaded[1]))
    if missing := wanted - set(found):
        raise UserError(f"{source} holds no {_names(missing)}; its tasks: {', '.join(sorted(found)) or 'other ones'}")
    return {task: _merge(parts) for task, parts in sorted(found.items())}


def _load_task(folder: Path, wanted: set[str]) -> tuple[str, dict[str, list[Question]]] | None:
    """The task of one folder and its questions; None when it is not among the wanted ones."""
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing; a task's folder holds {', '.join(FILES)}")
    outputs = {split: read_outputs(folder / f"{split}_outputs.json") for split in SPLITS}
    said = outputs["dev"][0]
    if said and wanted and task_name(said) not in wanted:
        return None  # before its questions are read, which may be hundreds of megabytes
    splits, seen = {}, set()
    for split in SPLITS:
        task, splits[split] = _read_questions(folder / f"{split}_questions.json", *outputs[split])
        seen.add(task)
    if len(seen) > 1:
        raise UserError(f"{folder}: train and dev are of different tasks, {' and '.join(sorted(seen))}")
    if twice := {q.id for q in splits["train"]} & {q.id for q in splits["dev"]}:
        raise UserError(f"{folder}: questions in both train and dev: {_names(twice)}")
    return (task, splits) if not wanted or task in wanted else None


def _merge(parts: list[tuple[str, dict]]) -> dict[str, list[Question]]:
    if len(parts) == 1:
        return parts[0][1]
    return {split: [replace(q, id=f"{folder}:{q.id}", user=f"{folder}:{q.user}")
                    for folder, splits in parts for q in splits[split]] for split in SPLITS}


# ---------------------------------------------------------------- one file

def read_outputs(path: str | Path) -> tuple[str | None, dict[str, str]]:
    """(task field, {id: output}) of an official outputs or prediction file {"task", "golds": [{"id", "output"}]}."""
    path = Path(path)
    tree = _read(path)
    rows = tree.get("golds") if isinstance(tree, dict) else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "id" in r and "output" in r for r in rows):
        raise UserError(f'{path}: expected {{"task": ..., "golds": [{{"id": ..., "output": ...}}, ...]}}')
    _no_doubles(path, [str(r["id"]) for r in rows])
    if wrong := [str(r["id"]) for r in rows if not isinstance(r["output"], str)]:
        raise UserError(f"{path}: outputs that are not strings: {_names(wrong)}")
    return tree.get("task"), {str(r["id"]): _whole(r["output"]) for r in rows}


def _read_questions(path: Path, said: str | None, golds: dict[str, str]) -> tuple[str, list[Question]]:
    rows = _read(path)
    if isinstance(rows, dict):  # the official script writes LaMP-6 so
        rows = rows.get("golds")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: expected a list of questions")
    for n, row in enumerate(rows, 1):
        _check(isinstance(row, dict) and isinstance(row.get("id"), str | int), path, n, "has no id")
        _check(isinstance(row.get("input"), str), path, row["id"], "has no input string")
        _check(isinstance(row.get("profile"), list), path, row["id"], "has no profile list")
    ids = [str(row["id"]) for row in rows]
    _no_doubles(path, ids)
    if absent := [i for i in ids if i not in golds]:
        raise UserError(f"{path}: {len(absent)} questions have no gold in the outputs file: {_names(absent)}")
    if extra := set(golds) - set(ids):
        raise UserError(f"{path}: {len(extra)} golds of the outputs file have no question: {_names(extra)}")
    if empty := [i for i, row in zip(ids, rows) if not row["profile"]]:
        raise UserError(f"{path}: {len(empty)} questions have an empty profile: {_names(empty)}; leave them out")
    tasks = {}
    for row in rows:
        row["input"] = _whole(_repaired(row, said))
        try:
            tasks.setdefault(detect(row["input"], said), str(row["id"]))
        except UserError as e:
            raise UserError(f"{path}: question {row['id']}: {e}") from None
    if len(tasks) > 1:
        raise UserError(f"{path} mixes tasks: " + ", ".join(f"{t} (question {i})" for t, i in tasks.items()))
    task = next(iter(tasks))
    labels = TASKS[task].labels
    if wrong := [i for i in ids if not golds[i].strip() or (labels and golds[i].strip() not in labels)]:
        raise UserError(f"{path}: golds that are no answer to {task}: {_names(wrong)}")
    return task, [_question(path, task, row, golds[str(row["id"])]) for row in rows]


def _repaired(row: dict, said: str | None) -> str:
    """Question 110 of the official LaMP-2 dev file lacks its instruction and tag list; it gets them back."""
    if str(row["id"]) == "110" and said and task_name(said) == "LaMP_2" \
            and not row["input"].startswith(("Which category", PREFIX["LaMP_2"])):
        print("LaMP_2 question 110 came without its instruction (a known defect of the official file): repaired")
        return f"{INSTRUCTION['LaMP_2']} {row['input'].removeprefix('x ').strip()}"
    return row["input"]


def _question(path: Path, task: str, row: dict, gold: str) -> Question:
    text_key, label_key = ITEM_KEYS[task]
    items = []
    for item in row["profile"]:
        _check(isinstance(item, dict), path, row["id"], "has a profile item that is not an object")
        for key in filter(None, ("id", text_key, label_key)):
            _check(key in item, path, row["id"], f"has a profile item without '{key}'")
        label = item[label_key] if label_key else ""
        label = str(label) if type(label) is int else label
        date = item.get("date") or ""
        _check(isinstance(item["id"], str | int) and isinstance(item[text_key], str) and isinstance(label, str)
               and type(date) in (str, int), path, row["id"], f"has a profile item of wrong types: {item['id']!r}")
        _check(task != "LaMP_3" or label in TASKS[task].labels, path, row["id"],
               f"has a profile item whose score is not 1 to 5: {label[:20]!r}")
        items.append(Item(str(item["id"]), _whole(item[text_key]), _whole(label), str(date)))
    if all(i.date for i in items):
        items.sort(key=lambda i: i.date)  # ISO dates and years sort as strings
    user = row.get("user_id")
    _check(user is None or isinstance(user, str | int), path, row["id"], "has a user_id that is no string or number")
    return Question(str(row["id"]), task, str(row["id"] if user is None else user), row["input"], gold, tuple(items))


def _read(path: Path) -> Any:
    if path.is_file():
        with open(path, "rb") as f:
            if f.read(200).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
                raise UserError(f"{path} holds a web page, not JSON: the download went to a wrong address")
    return read_json(path)


def _whole(text: str) -> str:
    """`text` without halves of surrogate pairs (cut emoji in JSON escapes), which no file or tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _check(good: bool, path: Path, name: Any, fault: str) -> None:
    if not good:
        raise UserError(f"{path}: question {name} {fault}")


def _no_doubles(path: Path, ids: list[str]) -> None:
    if doubled := [i for i, n in Counter(ids).items() if n > 1]:
        raise UserError(f"{path}: doubled ids: {_names(doubled)}")


def _names(ids: Iterable[str]) -> str:
    """The first three ids, and how many more there are."""
    ids = sorted(ids)
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


# ---------------------------------------------------------------- samples

def sample(questions: list[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` questions in their order: one of every user before a second one of any."""
    if limit is None or limit >= len(questions):
        return list(questions)
    if limit < 1:
        raise UserError(f"a limit of {limit} questions leaves nothing to work on")
    rng = random.Random(seed_of("sample", seed))
    shuffled = rng.sample(range(len(questions)), len(questions))
    turn, nth = Counter(), {}
    for position in shuffled:  # nth[position]: 0 for the first question drawn of its user, 1 for the second, ...
        nth[position] = turn[questions[position].user]
        turn[questions[position].user] += 1
    chosen = sorted(shuffled, key=nth.__getitem__)[:limit]  # a stable sort keeps the shuffle within a turn
    return [questions[p] for p in sorted(chosen)]
