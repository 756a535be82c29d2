"""Leaks: answers that a question gives away, counted in every run and left out where asked (`lamp.exclude`).

    gold    the answer stands in the profile: a past title equals it, or it is part of a past text
    asked   the question's own text is a profile item, label and all
    future  a profile item is dated after the question
    taught  a dev question's text is an item of a training profile
    shared  a user is in train and in dev

Decisions. Official LaMP has a few of the first two (nine golds of LaMP-5 dev are titles in the user's own
profile), and leaderboard numbers include them, so counting is the default. Leaving out takes away items where
items are at fault (gold, asked, future, taught), so that the questions scored stay the same ones, and
training questions where the user is (shared). A gold of one or two words inside a longer text is no leak:
"comedy" occurs everywhere.
"""
from __future__ import annotations

from dataclasses import replace

from ..config import UserError
from .dates import is_later
from .tasks import Item, Question
from .words import length_units, normalised

KINDS = ("gold", "asked", "future", "taught", "shared")
LONG_GOLD = 3  # words from which a gold inside a text is more than chance
SENTENCES = {"gold": "have their answer in the profile", "asked": "stand in their own profile",
             "future": "have a later item in the profile", "taught": "have a dev question in the profile",
             "shared": "are of users in both splits"}
Counts = dict[str, dict[str, int]]
"""{kind: {"train": questions, "dev": questions}}"""


def check(train: list[Question], dev: list[Question], exclude: list[str]
          ) -> tuple[list[Question], list[Question], Counts]:
    """(train, dev, counts): the counts are of before anything is left out."""
    if unknown := set(exclude) - set(KINDS):
        raise UserError(f"lamp.exclude: unknown {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")
    counts: Counts = {kind: {"train": 0, "dev": 0} for kind in KINDS}
    asked_in_dev = {normalised(question.task.payload(question.input)) for question in dev}
    in_both = {question.user for question in train} & {question.user for question in dev}
    kept: dict[str, list[Question]] = {"train": [], "dev": []}
    for split, questions in (("train", train), ("dev", dev)):
        for question in questions:
            # What leaks is counted first: by item, and for the user.
            leaks_of_items = item_leaks(question, asked_in_dev if split == "train" else set())
            kinds = set().union(*leaks_of_items)
            if question.user in in_both:
                kinds.add("shared")
            for kind in kinds:
                counts[kind][split] += 1

            # Then what is to be excluded is left out: the question of a shared user, or items of the profile.
            if split == "train" and "shared" in kinds and "shared" in exclude:
                continue
            items = tuple(item for item, leaks in zip(question.profile, leaks_of_items)
                          if not leaks & set(exclude))
            if items:  # a question whose whole profile leaks has nothing left to be answered from
                unchanged = len(items) == len(question.profile)
                kept[split].append(question if unchanged else replace(question, profile=items))
    return kept["train"], kept["dev"], counts


def item_leaks(question: Question, asked_in_dev: set[str]) -> list[set[str]]:
    """For every profile item, the kinds of leak that it is. asked_in_dev: texts of dev questions,
    normalised."""
    task = question.task
    asked = normalised(task.payload(question.input))
    leaks_of_items = []
    for item in question.profile:
        text = normalised(item.text)
        leaks: set[str] = set()
        if gives_gold_away(item, question):
            leaks.add("gold")
        if task.asks_what_items_hold and text == asked:
            leaks.add("asked")
        if task.asks_what_items_hold and text in asked_in_dev:
            leaks.add("taught")
        if is_later(item.date, question.date):
            leaks.add("future")
        leaks_of_items.append(leaks)
    return leaks_of_items


def gives_gold_away(item: Item, question: Question) -> bool:
    """Whether the item holds the answer. Labels of choices and ratings recur by design, so they never do."""
    gold = normalised(question.gold_text)
    text = normalised(item.text)
    label = normalised(item.label)
    if question.task.form == "citation":
        return label == gold
    if question.task.form == "text" and gold:
        is_long = len(length_units(gold, question.task.language)) >= LONG_GOLD
        return gold in (text, label) or (is_long and gold in text)
    return False


def lines(counts: Counts, exclude: list[str]) -> list[str]:
    """One sentence for every kind that occurs."""
    sentences = []
    for kind, questions in counts.items():
        if sum(questions.values()):
            left_out = " (left out)" if kind in exclude else ""
            sentences.append(f"{questions['train']} train and {questions['dev']} dev questions "
                             f"{SENTENCES[kind]}{left_out}")
    return sentences
