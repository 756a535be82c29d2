"""What can be reached on the built-in benchmark: with its rule known, from the profile, and without either.

Decisions. All figures are on the dev users, by the task's metric. `oracle` knows the user's rule. `profile`
knows all rules and answers best for those that agree with the whole profile: the most that personalization
can give. The best answer without the profile is the one of highest mean task reward when all rules are
equally likely. It knows how texts are made, so in expectation no model without the profile earns more. The
headroom is the difference of `oracle` and `no_profile`. `trivial` and `copy` need no understanding.
"""
from __future__ import annotations

import itertools
import random
from collections import Counter

from ...runs import seed_of
from ..scorer import item_reward, score
from ..tasks import Task
from .people import User, tasks_of, users_of
from .text import Text

COLUMNS = ("oracle", "profile", "no_profile", "trivial", "copy")


def describe(seed: int, users: int, language: str = "en") -> dict[str, dict]:
    """{task: {"metric", "questions", "oracle", "profile", "no_profile", "trivial", "copy", "headroom"}}.

    trivial: the best constant answer of the training users, the first words of the text, or the whole of a
    text that is to be put in other words. copy: the label of a random profile item (None where labels are no
    answers).
    """
    table = {}
    for task in tasks_of(language):
        golds, answers = _answers(task, seed, users)
        scores = {column: None for column in COLUMNS}
        for column in COLUMNS:
            if column == "copy" and task.form == "citation":
                continue  # its labels are titles, not [1] or [2]
            scores[column] = score(task, golds, answers[column])["lenient"][task.metric]
        gain = scores["oracle"] - scores["no_profile"]
        table[task.name] = {"metric": task.metric, "questions": len(golds), **scores,
                            "headroom": -gain if task.lower_is_better else gain}
    return table


def _answers(task: Task, seed: int, users: int) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """({question id: gold}, {column: {question id: answer}}) of the dev users."""
    constant = _constant(task, seed, users) if task.labels else None
    golds: dict[str, str] = {}
    answers: dict[str, dict[str, str]] = {column: {} for column in COLUMNS}
    for user in users_of(seed, users, task, "dev"):
        rules = _agreeing_rules(user)
        for n, text in enumerate(user.questions):
            key = f"{user.name}-{n}"
            golds[key] = text.answers[user.rule]
            answers["oracle"][key] = text.answers[user.rule]
            answers["profile"][key] = _best(task, Counter(text.answers[rule] for rule in rules))
            answers["no_profile"][key] = _best(task, Counter(text.answers))
            answers["trivial"][key] = constant or _first_words(task, text.text)
            answers["copy"][key] = _copied(task, user, key)
    return golds, answers


def _constant(task: Task, seed: int, users: int) -> str:
    """The best constant answer of the training users."""
    golds: Counter = Counter()
    for user in users_of(seed, users, task, "train"):
        golds.update(text.answers[user.rule] for text in user.questions)
    return _best(task, golds)


def _agreeing_rules(user: User) -> list[int]:
    """The rules under which the user's profile would be just what it is."""
    rules = range(len(user.profile[0].answers))
    return [rule for rule in rules if all(text.item(rule) == text.item(user.rule) for text in user.profile)]


def _best(task: Task, answers: Counter) -> str:
    """The answer of highest mean task reward against equally likely `answers`: their mode, median or
    medoid.

    worth(a) = sum over answers b of count(b) * reward(a, b), with reward(a, a) = 1.
    """
    worth = {answer: float(answers[answer]) for answer in sorted(answers)}
    for one, other in itertools.combinations(worth, 2):
        reward = item_reward(task, one, other)  # the same as of (other, one) for every kind of task
        worth[one] += answers[other] * reward
        worth[other] += answers[one] * reward
    return max(worth, key=worth.__getitem__)


def _first_words(task: Task, text: str) -> str:
    """The whole of a tweet or of impressions; the first six words (ten characters) of a longer text."""
    if task.lamp_name in ("LaMP_7", "shop_reviews"):
        return text
    return " ".join(text.split()[:6]) if task.language == "en" else text[:10]


def _copied(task: Task, user: User, key: str) -> str:
    """The label of a profile item that is drawn by the question's id; the item's text where it has no
    label."""
    drawn: Text = random.Random(seed_of("copy", key)).choice(user.profile)
    text, label = drawn.item(user.rule)
    return label if task.label_key else text
