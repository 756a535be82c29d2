"""A person's own task as a YAML file declares it.

    name: wine_notes                      # any name that no other task has
    title: tasting notes                  # how reports call it
    kind: text                            # choice, rating or text: decides metric and answer form
    instruction: Write this user's tasting note for the wine.
    records: notes.jsonl                  # beside this file
    item: {text: wine, label: note}       # the keys of a history item; text and label unless said
    labels: [red, white]                  # of a choice
    scale: [1, 10]                        # of a rating
    heldout: 0.25                         # share of users that become dev; 1: all (zero-shot transfer)

Decisions. A declaration's words are read as they are written: `labels: [yes, no]` are the words yes and no,
not YAML's booleans, and 01 is 01. Every label must be read as itself when it is given as an answer, or else
the declaration is refused: a task whose right answers are read as others cannot be scored.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import UserError, WordLoader, parse_yaml
from ..runs import one_line
from .tasks import TASKS, Task
from .values import NUMBER, shown

LONGEST_NAME = 60  # letters of a task's name, which becomes the name of files

KEYS = {"name": str, "title": str, "kind": str, "instruction": str, "records": str, "item": dict,
        "labels": list, "scale": list, "heldout": str, "language": str, "noun": str}
"""The keys of a declaration, and the types of their values: in YAML as it is read here every scalar is a
word."""
NULLS = ("", "~", "null", "Null", "NULL")  # the scalars that are YAML's null
HELD_OUT = 0.25  # share of users that become dev unless the declaration says another one
HIGHEST_RATING = 100  # that a scale may end with


def declarations(path: Path) -> list[tuple[Task, dict]]:
    """The tasks that a YAML file declares, one or a list, each with its declaration, in words."""
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8-sig"), WordLoader)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as YAML: {one_line(error, 200)}") from None
    declared = [_without_null_words(one) for one in (tree if isinstance(tree, list) else [tree])]
    tasks = [read_declaration(declaration, path) for declaration in declared]
    names = [task.name for task in tasks]
    if not tasks:
        raise UserError(f"{path} declares no task")
    if len(set(names)) < len(names):
        raise UserError(f"{path} declares a task twice: {', '.join(names)}")
    for name in names:
        check(name not in TASKS, path, f"the name {name} is taken by another task; choose another name")
    return list(zip(tasks, declared))


def _without_null_words(declaration: Any) -> Any:
    if not isinstance(declaration, dict):
        return declaration
    return {key: value for key, value in declaration.items()
            if not (isinstance(value, str) and value in NULLS)}


def read_declaration(declaration: Any, path: Path) -> Task:
    """The Task of one declaration, checked; an error names the file and the key."""
    _check_keys(declaration, path)
    name, kind = declaration["name"], declaration["kind"]
    check(name.isidentifier() and len(name) <= LONGEST_NAME, path,
          f"name: {shown(name)} should be at most {LONGEST_NAME} letters, digits and underscores")
    check(kind in ("choice", "rating", "text"), path,
          f"kind: {shown(kind)} should be choice, rating or text")
    labels = _declared_labels(declaration, path)
    keys = {"text": "text", "label": "label", **_without_null_words(declaration.get("item", {}))}
    good_keys = set(keys) == {"text", "label"} and all(isinstance(key, str) for key in keys.values())
    check(good_keys, path, "item: say {text: KEY, label: KEY}, the keys of a history item")
    held_out(declaration, path)
    language = declaration.get("language", "en")
    check(language in ("en", "zh"), path,
          "language: en or zh; en serves every language but Chinese")
    task = Task(name, declaration.get("title", name), kind, declaration.get("instruction", ""),
                keys["text"], keys["label"], labels,
                declaration.get("noun", "scores" if kind == "rating" else "answers"),
                ranked_with_label=kind == "text", language=language)
    for label in labels:
        read = task.parse_answer(label)
        check(read == label, path, f"labels: an answer {shown(label)} would be read as {shown(read)}; "
                                    "choose another word for it")
    return task


def _check_keys(declaration: Any, path: Path) -> None:
    """Only known keys, each with a value of its type, and those that every declaration needs."""
    check(isinstance(declaration, dict), path,
          "expected `key: value` lines that declare a task; see tagpr_lite/lamp/own.py")
    for key, value in declaration.items():
        check(key in KEYS, path, f"unknown key {shown(key)}; known: {', '.join(KEYS)}")
        check(isinstance(value, KEYS[key]), path, f"{key}: {shown(value)} is of a wrong type")
    for key in ("name", "kind", "records"):
        check(key in declaration, path, f"'{key}' is missing")
    check(declaration["records"].isprintable(), path, "records: no name of a file")


def held_out(declaration: dict, path: Path) -> float:
    """The share of users that become dev."""
    written = declaration.get("heldout", str(HELD_OUT))
    check(NUMBER.fullmatch(written) is not None, path,
          f"heldout: {shown(written)} is of a wrong type; say a number, such as 0.25")
    share = float(written)
    check(0 <= share <= 1, path, "heldout: a share between 0 and 1")
    return share


def _declared_labels(declaration: dict, path: Path) -> tuple[str, ...]:
    """The labels of a choice, every rating of a scale, nothing for a text. scale [1, 3] gives ("1", "2",
    "3")."""
    if declaration["kind"] == "choice":
        labels = declaration.get("labels", [])
        good = all(isinstance(label, str) and label.strip() == label != "" for label in labels)
        check(good, path, "labels: each should be a word, or words without blanks around them")
        check(len(set(labels)) == len(labels) > 1, path, "a choice needs two different `labels` or more")
        return tuple(labels)
    if declaration["kind"] == "rating":
        scale = declaration.get("scale", ["1", "5"])
        ends = [float(end) if isinstance(end, str) and NUMBER.fullmatch(end) else -1.0 for end in scale]
        whole_numbers = len(ends) == 2 and all(map(float.is_integer, ends))
        check(whole_numbers and 0 <= ends[0] < ends[1] <= HIGHEST_RATING, path,
              f"scale: {shown(scale)} should be two whole numbers, lowest and highest, within "
              f"0..{HIGHEST_RATING}")
        return tuple(map(str, range(int(ends[0]), int(ends[1]) + 1)))
    return ()


def check(good: bool, where: Any, fault: str) -> None:
    """An error of one line when something is not good. where: a file, or a file and its record."""
    if not good:
        raise UserError(f"{where}: {fault}")
