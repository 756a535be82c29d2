"""A person's own users and histories: one JSONL of records and one YAML that says what kind of task they are.

    name: wine_notes                      # any name that no other task has
    title: tasting notes                  # how reports call it
    kind: text                            # choice, rating or text: decides metric and answer form
    instruction: Write this user's tasting note for the wine.
    records: notes.jsonl                  # beside this file
    item: {text: wine, label: note}       # the keys of a history item; text and label unless said
    labels: [red, white]                  # of a choice
    scale: [1, 10]                        # of a rating
    heldout: 0.25                         # share of users that become dev; 1: all (zero-shot transfer)

A record is {"user", "input", "output", "history": [{"wine", "note", "date"}, ...]}; `id`, `date` and `split`
(train or dev) may be added. Without `history` it is the user's earlier records (by `date`, else in file
order).

Decisions. The same Task that describes LaMP's tasks describes these, so that the whole pipeline works on
them. Splits are by user, never by record, unless a record names its split. Records without any history are
left out and counted: there is nothing to personalise on.
"""
from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from ..config import UserError
from ..runs import read_jsonl, seed_of
from .tasks import TASKS, Item, Question, Task

KEYS = {"name": str, "title": str, "kind": str, "instruction": str, "records": str, "item": dict,
        "labels": list, "scale": list, "heldout": (int, float), "language": str, "noun": str}
"""The keys of a declaration, and the types of their values."""
HELD_OUT = 0.25  # share of users that become dev unless the declaration says another one
HIGHEST_RATING = 100  # that a scale may end with


def load_own(path: str | Path, seed: int) -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}} of the tasks that a file declares."""
    path = Path(path)
    splits_of_task = {}
    for task, declaration in declarations(path):
        records_path = path.parent / declaration["records"]
        records = read_records(records_path, task)
        splits_of_task[task.name] = divide(records, declaration.get("heldout", HELD_OUT), seed)
        _check(bool(records), records_path, "no record has a history, so there is nothing to personalise on")
    return splits_of_task


# ---------------------------------------------------------------- the declaration

def declarations(path: Path) -> list[tuple[Task, dict]]:
    """The tasks that a YAML file declares, one or a list, each with its declaration as the file has it."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from None
    declared = tree if isinstance(tree, list) else [tree]
    tasks = [read_declaration(declaration, path) for declaration in declared]
    names = [task.name for task in tasks]
    if not tasks:
        raise UserError(f"{path} declares no task")
    if len(set(names)) < len(names):
        raise UserError(f"{path} declares a task twice: {', '.join(names)}")
    for name in names:
        _check(name not in TASKS, path, f"the name {name} is taken by another task; choose another name")
    return list(zip(tasks, declared))


def read_declaration(declaration: Any, path: Path) -> Task:
    """The Task of one declaration, checked; an error names the file and the key."""
    _check_keys(declaration, path)
    name, kind = declaration["name"], declaration["kind"]
    _check(name.isidentifier(), path, f"name: '{name}' should be letters, digits and underscores")
    _check(kind in ("choice", "rating", "text"), path, f"kind: '{kind}' should be choice, rating or text")
    labels = _declared_labels(declaration, path)
    keys = {"text": "text", "label": "label", **declaration.get("item", {})}
    good_keys = set(keys) == {"text", "label"} and all(isinstance(key, str) for key in keys.values())
    _check(good_keys, path, "item: say {text: KEY, label: KEY}, the keys of a history item")
    _check(0 <= declaration.get("heldout", HELD_OUT) <= 1, path, "heldout: a share between 0 and 1")
    language = declaration.get("language", "en")
    _check(language in ("en", "zh"), path, "language: en or zh")
    return Task(name, declaration.get("title", name), kind, declaration.get("instruction", ""),
                keys["text"], keys["label"], labels,
                declaration.get("noun", "scores" if kind == "rating" else "answers"),
                ranked_with_label=kind == "text", language=language)


def _check_keys(declaration: Any, path: Path) -> None:
    """Only known keys, each with a value of its type, and those that every declaration needs."""
    _check(isinstance(declaration, dict), path,
           "expected `key: value` lines that declare a task; see tagpr_lite/lamp/own.py")
    for key, value in declaration.items():
        _check(key in KEYS, path, f"unknown key '{key}'; known: {', '.join(KEYS)}")
        good_type = isinstance(value, KEYS[key]) and not isinstance(value, bool)
        _check(good_type, path, f"{key}: {value!r} is of a wrong type")
    for key in ("name", "kind", "records"):
        _check(key in declaration, path, f"'{key}' is missing")


def _declared_labels(declaration: dict, path: Path) -> tuple[str, ...]:
    """The labels of a choice, every rating of a scale, nothing for a text. scale [1, 3] gives ("1", "2",
    "3")."""
    if declaration["kind"] == "choice":
        labels = tuple(map(str, declaration.get("labels", ())))
        _check(len(set(labels)) == len(labels) > 1, path, "a choice needs two different `labels` or more")
        return labels
    if declaration["kind"] == "rating":
        scale = declaration.get("scale", [1, 5])
        whole_numbers = len(scale) == 2 and all(type(end) is int for end in scale)
        _check(whole_numbers and 0 <= scale[0] < scale[1] <= HIGHEST_RATING, path,
               f"scale: {scale} should be two whole numbers, lowest and highest, within 0..{HIGHEST_RATING}")
        return tuple(map(str, range(scale[0], scale[1] + 1)))
    return ()


# ---------------------------------------------------------------- the records

def read_records(path: Path, task: Task) -> list[tuple[str, Question]]:
    """(the record's own split or "", question) of every record that has a history, in file order."""
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        _check_record(f"{path} record {number}", task, row)

    # In the order of time, so that the records a user has so far are the history of the next one.
    order = list(range(len(rows)))
    if all(row.get("date") for row in rows):
        order.sort(key=lambda place: str(rows[place]["date"]))
    earlier: dict[str, list[Item]] = {}
    questions: dict[int, Question] = {}  # by the record's place in the file
    for place in order:
        row = rows[place]
        user, input, gold = str(row["user"]), str(row["input"]), str(row["output"]).strip()
        name = str(row.get("id", f"{task.name}-{place + 1}"))
        date = str(row.get("date") or "")
        if "history" in row:
            items = _history(f"{path} record {place + 1}", task, row)
        else:
            items = tuple(earlier.get(user, ()))
        questions[place] = Question(name, task, user, task.ask(input), gold, items, date=date)
        earlier.setdefault(user, []).append(Item(name, input, gold, date))

    times = Counter(question.id for question in questions.values())
    doubled = [name for name, count in times.items() if count > 1]
    _check(not doubled, path, f"doubled ids: {', '.join(doubled[:3])}")
    kept = [(rows[place].get("split", ""), questions[place]) for place in range(len(rows))
            if questions[place].profile]
    if len(kept) < len(rows):
        print(f"  {task.name}: {len(rows) - len(kept)} of {len(rows)} records have no history and are left "
              "out")
    return kept


def _check_record(where: str, task: Task, row: dict) -> None:
    """A user, an input and an output of the task's kind; perhaps a split. where: the file and the record."""
    for key in ("user", "input", "output"):
        value = row.get(key)
        good_type = isinstance(value, str | int) and not isinstance(value, bool)
        _check(good_type and bool(str(value).strip()), where, f"'{key}' is missing, empty or no string")
    split = row.get("split", "")
    _check(split in ("", "train", "dev"), where, f"split {str(split)[:20]!r} should be train or dev")
    _check_answer(where, task, row["output"])


def _check_answer(where: str, task: Task, answer: Any) -> None:
    """A task with labels takes no other answers."""
    known = ", ".join(task.labels[:6]) + (", ..." if len(task.labels) > 6 else "")
    _check(not task.labels or str(answer).strip() in task.labels, where,
           f"{str(answer)[:30]!r} is no answer to {task.name}; they are {known}")


def _history(where: str, task: Task, row: dict) -> tuple[Item, ...]:
    """A record's own history: oldest first when every item is dated, otherwise in file order."""
    items = []
    _check(isinstance(row["history"], list), where, "'history' should be a list of items")
    for number, item in enumerate(row["history"], 1):
        for key in (task.text_key, task.label_key):
            has_key = isinstance(item, dict) and isinstance(item.get(key), str | int)
            _check(has_key, where, f"history item {number} has no '{key}'")
        _check_answer(where, task, item[task.label_key])
        label = str(item[task.label_key]).strip()
        items.append(Item(str(item.get("id", number)), str(item[task.text_key]), label,
                          str(item.get("date") or "")))
    if all(item.date for item in items):
        items.sort(key=lambda item: item.date)
    return tuple(items)


def divide(records: list[tuple[str, Question]], heldout: float, seed: int) -> dict[str, list[Question]]:
    """{"train": questions, "dev": questions}: by the records' own `split`, the others by user.

    heldout: the share of users that go to dev, at least one of them when it is above 0.
    """
    users = sorted({question.user for split, question in records if not split})
    random.Random(seed_of("own", seed)).shuffle(users)
    dev_count = max(round(heldout * len(users)), 1 if heldout > 0 else 0)
    dev_users = set(users[:dev_count])
    splits: dict[str, list[Question]] = {"train": [], "dev": []}
    for split, question in records:
        own_split = split or ("dev" if question.user in dev_users else "train")
        splits[own_split].append(question)
    return splits


def _check(good: bool, where: Any, fault: str) -> None:
    """An error of one line when something is not good. where: a file, or a file and its record."""
    if not good:
        raise UserError(f"{where}: {fault}")
