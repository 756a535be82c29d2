"""A smaller sample of a task's questions, spread over its users."""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from ..config import UserError
from ..runs import seed_of
from .tasks import Question


def sample(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` questions in their order: one of every user before a second one of any.

    questions: a list, or a store (official/store.py), of which only the sampled questions are read.
    """
    if limit is None or limit >= len(questions):
        return list(questions)
    if limit < 1:
        raise UserError(f"a limit of {limit} questions leaves nothing to work on")
    in_memory = isinstance(questions, list)
    users = [q.user for q in questions] if in_memory else questions.users
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
