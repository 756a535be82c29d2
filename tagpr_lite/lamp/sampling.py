"""Samples and turns: a smaller sample of a task's questions, rows grouped by a key, groups that take
turns."""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
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


def sample(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` questions in their order: one of every user before a second one of any.

    questions: a list, or a store (official/store.py), of which only the sampled questions are read.
    """
    if limit is None or limit >= len(questions):
        return list(questions)
    if limit < 1:
        raise UserError(f"a limit of {limit} questions leaves nothing to work on")
    in_memory = isinstance(questions, list)
    users = [question.user for question in questions] if in_memory else questions.users
    rng = random.Random(seed_of("sample", seed))
    shuffled = rng.sample(range(len(users)), len(users))
    # round_of[position]: 0 for the first question drawn of its user, 1 for the second, ...
    drawn_of_user: Counter = Counter()
    round_of: dict[int, int] = {}
    for position in shuffled:
        round_of[position] = drawn_of_user[users[position]]
        drawn_of_user[users[position]] += 1
    by_round = sorted(shuffled, key=round_of.__getitem__)  # a stable sort keeps the shuffle within a round
    chosen = sorted(by_round[:limit])
    return [questions[position] for position in chosen] if in_memory else questions.take(chosen)
