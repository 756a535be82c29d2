"""Which users, questions and pairs PRMU is trained on, tuned on and reported on: drawn, bounded, balanced."""
from __future__ import annotations

import random
from collections.abc import Callable, Container, Hashable, Iterable
from operator import attrgetter
from typing import TypeVar

from ..lamp.sampling import group_by, round_robin
from ..lamp.tasks import Question
from ..runs import seed_of

Pair = TypeVar("Pair")
"""A preference pair (pairs.py)."""


def tune_users(questions: list[Question], share: float, seed: int) -> set[str]:
    """The users kept out of training, for early stopping and for calibration.

    Of every task this share of its users, ordered by a hash of seed and user. At least two of each task,
    since a pair needs another user of the same side; none of a task with fewer than four users. A user drawn
    for one task is kept out of the training of all tasks.
    """
    users_of_task: dict[str, set[str]] = {}
    for question in questions:
        users_of_task.setdefault(question.task.name, set()).add(question.user)

    drawn: set[str] = set()
    for users in users_of_task.values():
        if len(users) >= 4:
            order = sorted(users, key=lambda user: seed_of(seed, "heldout", user))
            drawn.update(order[:max(2, round(share * len(order)))])
    return drawn


def enough_questions(questions: list[Question], wanted: int, kept: Container[str], always: Container[str],
                     seed: int) -> list[Question]:
    """The questions that `wanted` pairs are made of, in their order: those of the ids in `always`, and
    `wanted` of the others that have a good chain, tasks in turns and, within a task, users in turns.

    A question gives some eight pairs, of which balancing leaves half or more: of the pairs that are made, few
    are thrown away, however many questions there are. kept: ids of questions that have a good chain.
    """
    rng = random.Random(seed_of(seed, "questions of pairs"))
    candidates = shuffled([question for question in questions if question.id in kept], rng)
    by_task = group_by(candidates, attrgetter("task.name"))
    turns = [round_robin(group_by(of_task, attrgetter("user")).values()) for of_task in by_task.values()]
    chosen = {question.id for question in round_robin(turns)[:wanted]}
    return [question for question in questions if question.id in chosen or question.id in always]


def balanced(pairs: list[Pair], kinds: Iterable[str], rng: random.Random) -> list[Pair]:
    """Shuffled, and of every kind as many pairs with a longer chosen chain as with a shorter one.

    Pairs too many on one side are dropped; pairs of equal length all stay.
    """
    kept = []
    by_kind = group_by(pairs, attrgetter("kind"))
    for kind in kinds:
        of_kind = by_kind.get(kind, [])
        longer = [pair for pair in of_kind if len(pair.chosen) > len(pair.rejected)]
        shorter = [pair for pair in of_kind if len(pair.chosen) < len(pair.rejected)]
        same = [pair for pair in of_kind if len(pair.chosen) == len(pair.rejected)]
        count = min(len(longer), len(shorter))
        kept += shuffled(longer, rng)[:count]
        kept += shuffled(shorter, rng)[:count]
        kept += shuffled(same, rng)
    return shuffled(kept, rng)


def shuffled(rows: list, rng: random.Random) -> list:
    """The rows in a random order, as a new list."""
    return rng.sample(rows, len(rows))


def cases(pairs: list[Pair], limit: int = 4) -> list[list[Pair]]:
    """Pairs that share question, user and chosen chain, at most `limit` together.

    A case is scored with one forward of the prompt and one of the chosen chain. Five pairs of one chosen
    chain become a case of 4 and a case of 1.
    """
    all_cases = []
    for same_chosen in group_by(pairs, attrgetter("question.id", "chosen")).values():
        for first in range(0, len(same_chosen), limit):
            all_cases.append(same_chosen[first:first + limit])
    return all_cases


def take_turns(rows: list, limit: int, key: Callable[..., Hashable]) -> list:
    """At most `limit` of the rows; those of different keys take turns, in the order in which they come."""
    return round_robin(group_by(rows, key).values())[:limit]
