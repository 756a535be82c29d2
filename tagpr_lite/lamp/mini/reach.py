"""What can be reached on the built-in benchmark: with its rule known, from the profile, and without either.

Decisions. All figures are on the dev users, by the task's metric. `oracle` knows the user's rule. `profile`
knows all rules and answers best for those that agree with the whole profile: the most that personalization
can give. The best answer without the profile is that of highest mean task reward when all rules are equally
likely; it knows how texts are made, so in expectation no model without the profile earns more. The head-room
lies between `oracle` and it. `trivial` and `copy` need no understanding.
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
        train = Counter(q.answers[u.rule] for u in users_of(seed, users, task, "train") for q in u.questions)
        constant = _best(task, train) if task.labels else None
        golds, answers = {}, {column: {} for column in COLUMNS}
        for user in users_of(seed, users, task, "dev"):
            agree = _agree(user)
            for n, q in enumerate(user.questions):
                key = f"{user.name}-{n}"
                golds[key] = answers["oracle"][key] = q.answers[user.rule]
                answers["profile"][key] = _best(task, Counter(q.answers[r] for r in agree))
                answers["no_profile"][key] = _best(task, Counter(q.answers))
                answers["trivial"][key] = constant or _lead(task, q.text)
                answers["copy"][key] = _copied(task, user, key)
        if task.form == "citation":
            answers["copy"] = None
        got = {column: preds and score(task, golds, preds)["lenient"][task.metric] for column,
               preds in answers.items()}
        gain = got["oracle"] - got["no_profile"]
        table[task.name] = {"metric": task.metric, "questions": len(golds), **got,
                       "headroom": -gain if task.lower_is_better else gain}
    return table


def _agree(user: User) -> list[int]:
    """The rules under which the user's profile would be just what it is."""
    return [r for r in range(len(user.profile[0].answers))
            if all(text.item(r) == text.item(user.rule) for text in user.profile)]


def _best(task: Task, answers: Counter) -> str:
    """The answer of highest mean task reward against equally likely `answers`: their mode, median or
    medoid."""
    worth = {a: float(answers[a]) for a in sorted(answers)}  # an answer earns 1 against itself
    for a, b in itertools.combinations(worth, 2):
        reward = item_reward(task, a, b)  # the same as of (b, a) for every kind of task
        worth[a] += answers[b] * reward
        worth[b] += answers[a] * reward
    return max(worth, key=worth.__getitem__)


def _lead(task: Task, text: str) -> str:
    """The whole of a tweet or of impressions; the first six words (ten characters) of a longer text."""
    if task.lamp_name in ("LaMP_7", "shop_reviews"):
        return text
    return " ".join(text.split()[:6]) if task.language == "en" else text[:10]


def _copied(task: Task, user: User, key: str) -> str:
    text: Text = random.Random(seed_of("copy", key)).choice(user.profile)
    words, label = text.item(user.rule)
    return label if task.label_key else words
