"""Samples and turns: a smaller sample of a task's questions, rows grouped by a key, groups that take
turns."""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from typing import TypeVar

from ..config import UserError
from ..runs import seed_of
from .tasks import Question

Row = TypeVar("Row")
Key = TypeVar("Key", bound=Hashable)


def group_by(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    """{key: its rows, in order}; the keys in the order in which they first come."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def round_robin(groups: Iterable[Sequence[Row]]) -> list[Row]:
    """All rows, the groups taking turns: [[1, 2, 3], [4], [5, 6]] becomes [1, 4, 5, 2, 6, 3]."""
    groups = list(groups)
    longest = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)]


def users_of(questions: Sequence[Question]) -> list[str]:
    """The user of every question; of a store the questions themselves are not read."""
    return [question.user for question in questions] if isinstance(questions, list) else questions.users


def held_out_users(questions: Sequence[Question], share: float, seed: int) -> set[str]:
    """About this share of the users, drawn by the seed: at least one, and never all. Empty where the share is
    0 or there is one user alone."""
    users = sorted(set(users_of(questions)))
    if not share or len(users) < 2:
        return set()
    count = min(max(1, round(share * len(users))), len(users) - 1)
    return set(random.Random(seed_of("held out", seed)).sample(users, count))


def sample(questions: Sequence[Question], limit: int | None, seed: int,
           users: Container[str] | None = None) -> list[Question]:
    """At most `limit` questions in their order: one of every user before a second one of any.

    questions: a list, or a store (official/store.py), of which only the sampled questions are read. users:
    whose questions are taken; None: everybody's.
    """
    asked_by = users_of(questions)  # the user of every position
    positions = [place for place, user in enumerate(asked_by) if users is None or user in users]
    if limit is None or limit >= len(positions):
        return taken(questions, positions)
    if limit < 1:
        raise UserError(f"a limit of {limit} questions leaves nothing to work on")
    rng = random.Random(seed_of("sample", seed))
    shuffled = rng.sample(positions, len(positions))
    # round_of[position]: 0 for the first question drawn of its user, 1 for the second, ...
    drawn_of_user: Counter = Counter()
    round_of: dict[int, int] = {}
    for position in shuffled:
        round_of[position] = drawn_of_user[asked_by[position]]
        drawn_of_user[asked_by[position]] += 1
    by_round = sorted(shuffled, key=round_of.__getitem__)  # a stable sort keeps the shuffle within a round
    return taken(questions, sorted(by_round[:limit]))


def taken(questions: Sequence[Question], positions: list[int]) -> list[Question]:
    """The questions at these positions."""
    if isinstance(questions, list):
        return [questions[position] for position in positions]
    return questions.take(positions)
