"""What a system sees of a profile: its own, another user's, half of each, other items, in another order.

A view is a question with another profile, or with other items of it shown. Every view is a function of the
run's seed and the question alone.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from ..config import Config
from ..lamp.retrieve import RETRIEVERS, Embed, retrieve
from ..lamp.tasks import Question
from ..runs import seed_of

OF_OTHERS = ("other", "half")
"""Views that need another user of the task."""
AS_PREPARED = ("own", "none", "shuffled")
"""Views that show items which step 1 has retrieved."""


def view_of(config: Config, profile: str, question: Question, asked_by_other: Question | None,
            embed: Callable[[], Embed] | None = None) -> Question:
    """The question as a system with this profile sees it. profile: a word of config/systems.py.

    asked_by_other: the question with another user's profile, where the view needs one. embed: gives the
    encoder of the retriever `dense`.
    """
    lamp = config.lamp
    if profile in ("own", "none"):
        return question
    if profile == "other":
        return asked_by_other
    if profile == "shuffled":
        rng = random.Random(seed_of(config.seed, "shuffled", question.id))
        return replace(question, retrieved=tuple(rng.sample(question.retrieved, len(question.retrieved))))
    retriever, k = lamp.retriever, lamp.k
    if profile == "half":
        question = half_of_each(config, question, asked_by_other)
    elif profile in RETRIEVERS:
        retriever = profile
    else:
        k = int(profile[1:])
    needed = embed() if retriever == "dense" and k else None
    return replace(question, retrieved=retrieve(question, retriever, k, config.seed, needed))


def half_of_each(config: Config, question: Question, asked_by_other: Question) -> Question:
    """The question with every second item of its profile replaced by an item of the other user: of 7 items,
    3 are replaced. The other items are drawn; where that user has too few, fewer are replaced."""
    rng = random.Random(seed_of(config.seed, "half", question.id))
    own, other = question.profile, asked_by_other.profile
    count = min(len(own) // 2, len(other))
    drawn = rng.sample(range(len(other)), count)
    profile = list(own)
    for place, index in zip(range(1, 2 * count, 2), sorted(drawn), strict=True):
        profile[place] = other[index]
    return replace(question, profile=tuple(profile), retrieved=())
