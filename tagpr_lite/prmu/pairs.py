"""Preference pairs for PRMU, each with the reason why one chain is better, and no user on both sides of the split.

    other_user     a kept chain against the chain that the teacher writes for the same question from another user's
                   profile: the question says nothing, only the user embedding can tell them apart
    worse_answer   a kept chain against an attempt for the same user whose answer was wrong

Pairs from rollouts of the policy and more kinds come with a later issue.
"""
from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ..lamp.tasks import Question
from ..runs import seed_of
from ..tags import template
from ..tags.chains import UNNAMED
from ..tags.cues import learn
from ..tags.schema import render


@dataclass(frozen=True)
class Pair:
    question: Question
    chosen: str
    rejected: str
    kind: str


def make_pairs(questions: dict[str, Question], kept: list[dict], dropped: list[dict], seed: int) -> list[Pair]:
    """All pairs that the chains allow, shuffled by seed."""
    rng, cues = random.Random(seed_of(seed, "pairs")), learn(list(questions.values()))
    wrong = {}
    for row in dropped:
        if row["reason"] == "wrong answer" and UNNAMED not in row["tags"]:
            wrong.setdefault(row["id"], row["text"])
    by_task: dict[str, list[Question]] = {}
    for q in questions.values():
        by_task.setdefault(q.task, []).append(q)
    pairs = []
    for row in kept:
        q = questions[row["id"]]
        if q.id in wrong:
            pairs.append(Pair(q, row["text"], wrong[q.id], "worse_answer"))
        stranger = rng.choice(by_task[q.task])
        if stranger.user != q.user:
            other = template.write(replace(q, profile=stranger.profile, retrieved=stranger.retrieved), 0, cues)
            if other is not None and render(other) != row["text"]:
                pairs.append(Pair(q, row["text"], render(other), "other_user"))
    rng.shuffle(pairs)
    return pairs


def split_users(pairs: list[Pair], heldout: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(train, held out) with disjoint users, told apart by the hash of the user, task by task."""
    out = lambda p: seed_of(seed, "heldout", p.question.task, p.question.user) % 1000 < heldout * 1000
    return [p for p in pairs if not out(p)], [p for p in pairs if out(p)]
