"""Leaks: answers that a question gives away, counted in every run and left out where asked (`lamp.exclude`).

    gold    the answer stands in the profile: a past title equals it, or it is part of a past text
    asked   the question's own text is a profile item, label and all
    future  a profile item is dated after the question
    taught  a dev question's text is an item of a training profile
    shared  a user is in train and in dev

Decisions. Official LaMP has a few of the first two (nine golds of LaMP-5 dev are titles in the user's own profile), and
leaderboard numbers include them, so counting is the default. Leaving out takes away items where items are at fault
(gold, asked, future, taught), so that the questions scored stay the same ones, and training questions where the user is
(shared). A gold of one or two words inside a longer text is no leak: "comedy" occurs everywhere.
"""
from __future__ import annotations

from dataclasses import replace

from ..config import UserError
from .tasks import TASKS, Item, Question, pieces, plain

KINDS = ("gold", "asked", "future", "taught", "shared")
LONG = 3  # words from which a gold inside a text is more than chance


def check(train: list[Question], dev: list[Question], exclude: list[str]
          ) -> tuple[list[Question], list[Question], dict[str, dict[str, int]]]:
    """(train, dev, {kind: {"train": questions, "dev": questions}}): the counts are of before anything is left out."""
    if unknown := set(exclude) - set(KINDS):
        raise UserError(f"lamp.exclude: unknown {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    counts = {kind: {"train": 0, "dev": 0} for kind in KINDS}
    asked_in_dev = {plain(TASKS[q.task].payload(q.input)) for q in dev}
    both = {q.user for q in train} & {q.user for q in dev}
    kept: dict[str, list[Question]] = {"train": [], "dev": []}
    for split, questions in (("train", train), ("dev", dev)):
        for question in questions:
            found = faults(question, asked_in_dev if split == "train" else set())
            seen = {kind for kinds in found for kind in kinds} | ({"shared"} if question.user in both else set())
            for kind in seen:
                counts[kind][split] += 1
            items = tuple(i for i, kinds in zip(question.profile, found) if not kinds & set(exclude))
            gone = split == "train" and "shared" in seen and "shared" in exclude
            if items and not gone:
                kept[split].append(question if len(items) == len(found) else replace(question, profile=items))
    return kept["train"], kept["dev"], counts


def faults(question: Question, asked_in_dev: set[str]) -> list[set[str]]:
    """For every profile item, which leaks it is."""
    task = TASKS[question.task]
    asked, gold = plain(task.payload(question.input)), plain(_gold_text(question))
    long = len(pieces(gold, task.language)) >= LONG

    def of(item: Item) -> set[str]:
        text, label = plain(item.text), plain(item.label)
        checks = {"gold": task.shape == "LaMP_1" and label == gold  # labels of choices and ratings recur by design
                  or task.kind == "text" and bool(gold) and (gold in (text, label) or long and gold in text),
                  "asked": text == asked and task.shape != "LaMP_1",
                  "future": later(item.date, question.date),
                  "taught": text in asked_in_dev and task.shape != "LaMP_1"}
        return {kind for kind, is_so in checks.items() if is_so}

    return [of(item) for item in question.profile]


def later(one: str, other: str) -> bool:
    """Whether one ISO date is after another, compared to the precision that both have: 2012-05 is not after 2012."""
    n = min(len(one), len(other))
    return one[:n] > other[:n]


def _gold_text(question: Question) -> str:
    """The gold; of a citation the title that it points to."""
    if TASKS[question.task].shape == "LaMP_1" and question.gold in ("[1]", "[2]"):
        options = TASKS[question.task].options(question.input)
        return options[int(question.gold[1]) - 1] if options else ""
    return question.gold or ""


def lines(counts: dict[str, dict[str, int]], exclude: list[str]) -> list[str]:
    """One sentence for every kind that occurs."""
    what = {"gold": "have their answer in the profile", "asked": "stand in their own profile",
            "future": "have a later item in the profile", "taught": "have a dev question in the profile",
            "shared": "are of users in both splits"}
    return [f"{n['train']} train and {n['dev']} dev questions {what[kind]}"
            + (" (left out)" if kind in exclude else "") for kind, n in counts.items() if sum(n.values())]
