"""A person's own users and histories: one JSONL of records and one YAML that says what kind of task they are.

    name: wine_notes                      # any name that no other task has
    title: tasting notes                  # how reports call it
    kind: text                            # choice, rating or text: decides metric and answer form
    instruction: Write this user's tasting note for the wine.
    records: notes.jsonl                  # beside this file
    item: {text: wine, label: note}       # the keys of a history item; text and label unless said
    labels: [red, white]                  # of a choice
    scale: [1, 10]                        # of a rating
    heldout: 0.25                         # share of users that become dev; 1: only evaluated (zero-shot transfer)

A record is {"user", "input", "output", "history": [{"wine", "note", "date"}, ...]}; `id`, `date` and `split`
(train or dev) may be added. Without `history` it is the user's earlier records (by `date`, else in file
order).

Decisions. The same Task that describes LaMP's tasks describes these, so that the whole pipeline works on
them. Splits are by user, never by record. Users without any history are left out and counted: there is
nothing to personalise on.
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


def load_own(path: str | Path, seed: int) -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}} of the tasks that a file declares."""
    found = {}
    for task, said in declarations(Path(path)):
        records = Path(path).parent / said["records"]
        found[task.name] = divide(read_records(records, task), said.get("heldout", 0.25), seed)
        if not any(found[task.name].values()):
            raise UserError(f"{records}: no record has a history, so there is nothing to personalise on")
    return found


def declarations(path: Path) -> list[tuple[Task, dict]]:
    """The tasks that a YAML file declares, one or a list, with what it says of each."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(e).split())[:200]}") from None
    found = [(read_declaration(said, path), said) for said in (tree if isinstance(tree, list) else [tree])]
    names = [task.name for task, _ in found]
    if not found or len(set(names)) < len(names):
        raise UserError(f"{path} declares " + (f"a task twice: {', '.join(names)}" if found else "no task"))
    if taken := [name for name in names if name in TASKS]:
        raise UserError(f"{path}: the name {taken[0]} is taken by another task; choose another name")
    return found


def read_declaration(said: Any, path: Path) -> Task:
    def check(good: bool, fault: str) -> None:
        if not good:
            raise UserError(f"{path}: {fault}")

    check(isinstance(said, dict),
          "expected `key: value` lines that declare a task; see tagpr_lite/lamp/own.py")
    for key, value in said.items():
        check(key in KEYS, f"unknown key '{key}'; known: {', '.join(KEYS)}")
        check(isinstance(value, KEYS[key]) and not isinstance(value, bool),
              f"{key}: {value!r} is of a wrong type")
    for key in ("name", "kind", "records"):
        check(key in said, f"'{key}' is missing")
    kind, name = said["kind"], said["name"]
    check(name.isidentifier(), f"name: '{name}' should be letters, digits and underscores")
    check(kind in ("choice", "rating", "text"), f"kind: '{kind}' should be choice, rating or text")
    labels = tuple(map(str, said.get("labels", ())))
    check(kind != "choice" or len(set(labels)) == len(labels) > 1,
          "a choice needs two different `labels` or more")
    if kind == "rating":
        scale = said.get("scale", [1, 5])
        check(len(scale) == 2 and all(type(s) is int for s in scale) and 0 <= scale[0] < scale[1] <= 100,
              f"scale: {scale} should be two whole numbers, lowest and highest, within 0..100")
        labels = tuple(map(str, range(scale[0], scale[1] + 1)))
    keys = {"text": "text", "label": "label", **said.get("item", {})}
    check(set(keys) == {"text", "label"} and all(isinstance(k, str) for k in keys.values()),
          "item: say {text: KEY, label: KEY}, the keys of a history item")
    check(0 <= said.get("heldout", 0.25) <= 1, "heldout: a share between 0 and 1")
    check(said.get("language", "en") in ("en", "zh"), "language: en or zh")
    return Task(name, said.get("title", name), kind, said.get("instruction", ""), keys["text"], keys["label"],
                labels if kind != "text" else (),
                said.get("noun", "scores" if kind == "rating" else "answers"),
                ranked_with_label=kind == "text", language=said.get("language", "en"))


def read_records(path: Path, task: Task) -> list[tuple[str, Question]]:
    """(the record's own split or "", question) of every record that has a history."""
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        for key in ("user", "input", "output"):
            if not isinstance(row.get(key), str | int) or isinstance(row[key], bool) or not str(row[key]).strip():
                raise UserError(f"{path} record {number}: '{key}' is missing, empty or no string")
        if row.get("split", "") not in ("", "train", "dev"):
            raise UserError(f"{path} record {number}: split {str(row['split'])[:20]!r} should be train or dev")
        _answer(path, number, task, row["output"])
    dated = rows and all(row.get("date") for row in rows)
    order = sorted(range(len(rows)), key=lambda n: str(rows[n]["date"])) if dated else range(len(rows))
    earlier: dict[str, list[Item]] = {}
    made: dict[int, tuple[str, Question]] = {}
    for n in order:
        row, user = rows[n], str(rows[n]["user"])
        name, date = str(row.get("id", f"{task.name}-{n + 1}")), str(row.get("date") or "")
        items = _history(path, n + 1, task, row) if "history" in row else tuple(earlier.get(user, ()))
        question = Question(name, task, user, task.ask(str(row["input"])), str(row["output"]).strip(), items,
                            date=date)
        earlier.setdefault(user, []).append(Item(name, str(row["input"]), question.gold, date))
        made[n] = (row.get("split", ""), question)
    if doubled := [i for i, n in Counter(q.id for _, q in made.values()).items() if n > 1]:
        raise UserError(f"{path}: doubled ids: {', '.join(doubled[:3])}")
    kept = [made[n] for n in range(len(rows)) if made[n][1].profile]
    if len(kept) < len(rows):
        print(f"  {task.name}: {len(rows) - len(kept)} of {len(rows)} records have no history and are left out")
    return kept


def _history(path: Path, number: int, task: Task, row: dict) -> tuple[Item, ...]:
    where, items = f"{path} record {number}", []
    if not isinstance(row["history"], list):
        raise UserError(f"{where}: 'history' should be a list of items")
    for n, item in enumerate(row["history"], 1):
        for key in (task.text_key, task.label_key):
            if not isinstance(item, dict) or not isinstance(item.get(key), str | int):
                raise UserError(f"{where}: history item {n} has no '{key}'")
        _answer(path, number, task, item[task.label_key])
        items.append(Item(str(item.get("id", n)), str(item[task.text_key]), str(item[task.label_key]).strip(),
                          str(item.get("date") or "")))
    return tuple(sorted(items, key=lambda i: i.date) if all(i.date for i in items) else items)


def _answer(path: Path, number: int, task: Task, answer: Any) -> None:
    if task.labels and str(answer).strip() not in task.labels:
        shown = ", ".join(task.labels[:6]) + (", ..." if len(task.labels) > 6 else "")
        raise UserError(f"{path} record {number}: {str(answer)[:30]!r} is no answer to {task.name}; they are {shown}")


def divide(records: list[tuple[str, Question]], heldout: float, seed: int) -> dict[str, list[Question]]:
    """By the records' own `split`; those without one by user, `heldout` of the users to dev (at least one
    when > 0)."""
    users = sorted({q.user for split, q in records if not split})
    random.Random(seed_of("own", seed)).shuffle(users)
    dev = set(users[:max(round(heldout * len(users)), heldout > 0)])
    place = lambda split, q: split or ("dev" if q.user in dev else "train")
    return {name: [q for split, q in records if place(split, q) == name] for name in ("train", "dev")}
