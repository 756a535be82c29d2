"""Preference pairs for PRMU, each with the reason why one chain is better for this user.

    other_user      the same question answered from another user's profile. Where it can be done, the same two chains come
                    a second time, asked by that other user and the other way round: no reader of the chains
                    alone can be right on both
    no_profile      the policy's answer without a profile
    worse_answer    an answer from the right profile that scores worse
    others_answer   the user's chain with another user's true answer put at its end
    contradiction   the user's chain and answer, but its steps about the history are another user's

Chains come from the teacher (kept and dropped), from the template for other users, and from rollouts of the
policy (rollouts.py). Where hidden rules are known (the built-in benchmark), they say what another user's true
answer is. Users are divided first and strangers are of the same side, so no pair crosses the split. Within a
kind, as many chosen chains are longer than their rejected ones as are shorter: length says nothing.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..lamp.retrieve import retrieve
from ..lamp.sampling import group_by, round_robin
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..runs import seed_of
from ..tags.chains import rejection_reason
from ..tags.facts import LOOKS, groundedness
from ..tags.schema import Chain, Fault, parse, render
from ..tags.teachers import template
from ..tags.teachers.cues import Cues

KINDS = ("other_user", "no_profile", "worse_answer", "others_answer", "contradiction")
VIEWS = {"own": "worse_answer", "none": "no_profile", "other": "other_user"}  # of a rollout, and what its pairs are
TRIED = 8  # strangers looked at for one whose answer differs
ATTEMPTS = 4  # readings of the template
Rules = dict[str, tuple[int, tuple[str, ...]]]  # question id -> (its user's rule, the answer of each rule)


@dataclass(frozen=True)
class Written:
    """The policy's text for a question, from the question's own profile ("own"), another user's ("other") or
    none ("none")."""
    question: Question
    text: str
    view: str


@dataclass(frozen=True)
class Pair:
    """For question.user, `chosen` is better than `rejected`; gap: by how much in task score, [0, 1]."""
    question: Question
    chosen: str
    rejected: str
    kind: str
    gap: float
    source: str
    mirrored: bool = False


def tune_users(questions: list[Question], share: float, seed: int) -> set[str]:
    """The users to stop and to calibrate on: of every task this share, at least two where there are four (a
    stranger must be among them), by the hash of the user alone. Whoever is drawn for one task is left out of
    the training of all."""
    users: dict[str, set[str]] = {}
    for q in questions:
        users.setdefault(q.task.name, set()).add(q.user)
    drawn: set[str] = set()
    for of_task in users.values():
        order = sorted(of_task, key=lambda user: seed_of(seed, "heldout", user))
        drawn.update(order[:max(2, round(share * len(order)))] if len(order) >= 4 else ())
    return drawn


def make_pairs(questions: list[Question], kept: dict[str, str], rollouts: list[Written], rules: Rules,
               cues: Cues, seed: int, strangers: int = 2) -> list[Pair]:
    """All pairs of one side's questions, shuffled, balanced by length. kept: {question id: its good
    chain}."""
    rng = random.Random(seed_of(seed, "pairs"))
    by_task: dict[str, list[Question]] = {}
    for q in questions:
        by_task.setdefault(q.task.name, []).append(q)
    rolled: dict[str, list[Written]] = {}
    for w in rollouts:
        rolled.setdefault(w.question.id, []).append(w)
    found: dict[Pair, None] = {}  # a dict: each once, in order
    for q in questions:
        own = chain_of(kept[q.id]) if q.id in kept else None
        if own is not None:
            found.update(dict.fromkeys(_against_strangers(q, own, by_task[q.task.name], strangers, rules,
                                                          cues, rng)))
            found.update(dict.fromkeys(_worse(q, own, cues)))
        found.update(dict.fromkeys(_of_rollouts(q, own, rolled.get(q.id, []))))
    return balanced(list(found), rng)


def chain_of(text: str) -> Chain | None:
    found = parse(text, allowed=None)
    return None if isinstance(found, Fault) else found


def asked_by(q: Question, by: Question, rules: Rules) -> Question:
    """The question as that other user would ask it: their profile, and their gold where the rules know it (""
    elsewhere)."""
    gold = rules[q.id][1][rules[by.id][0]] if q.id in rules and by.id in rules else ""
    other = replace(q, id=f"{q.id}@{by.user}", user=by.user, profile=by.profile, gold=gold, retrieved=())
    return replace(other, retrieved=retrieve(other, "bm25", max(3, len(q.retrieved)), 0))


def _against_strangers(q: Question, own: Chain, others: list[Question], most: int, rules: Rules, cues: Cues,
                       rng: random.Random) -> list[Pair]:
    """Of the first strangers drawn who would answer otherwise, `most`; and what else can be made of their
    chains."""
    drawn = {o.user: o for o in rng.sample(others, len(others)) if o.user != q.user}
    mine, pairs, used = render(own), [], set()
    for by in list(drawn.values())[:TRIED]:
        if len(used) == most:
            break
        other = asked_by(q, by, rules)
        theirs = written_for(other, cues)
        if theirs and theirs not in used and _differ(own.answer, theirs.answer):
            used.add(theirs)
            pairs += [Pair(q, mine, render(theirs), "other_user", _gap(q, own.answer, theirs.answer),
                           "template"),
                      Pair(other, render(theirs), mine, "other_user",
                           _gap(replace(other, gold=theirs.answer), theirs.answer, own.answer), "template",
                           mirrored=True)]
        true = other.gold or by.gold  # to this question where the rules know it, else to one of their own
        if _differ(own.answer, true):
            pairs.append(Pair(q, mine, render(replace(own, answer=true)), "others_answer",
                              _gap(q, own.answer, true), "template"))
        mixed = contradicting(own, theirs or template.write(replace(other, gold=own.answer), 0, cues), q)
        if mixed is not None:
            pairs.append(Pair(q, mine, render(mixed), "contradiction", 0.0, "template"))
    return pairs


def written_for(other: Question, cues: Cues) -> Chain | None:
    """What the template writes for a question that another user asks: of its readings the one that is right
    for them, where that is known; else its first. A free text cannot be written without their answer."""
    if other.task.kind == "text":
        return template.write(other, 0, cues)
    tried = readings(other, cues)
    if other.gold:
        tried = [c for c in tried if not rejection_reason(c, other)]
    return tried[0] if tried else None


def readings(q: Question, cues: Cues) -> list[Chain]:
    """The template's chains for a question, most plausible first."""
    return [c for n in range(ATTEMPTS) if (c := template.write(q, n, cues))]


def contradicting(own: Chain, theirs: Chain | None, q: Question) -> Chain | None:
    """`own` with the steps that look at the history taken from `theirs`, if that is false of the user's
    profile."""
    if theirs is None:
        return None
    about = [s for s in theirs.steps if LOOKS.search(s.tag)]
    rest = [s for s in own.steps if not LOOKS.search(s.tag)]
    mixed = Chain((*about, *rest), own.answer)
    return mixed if about and rest and groundedness(mixed, q) < 1.0 else None


def _worse(q: Question, own: Chain, cues: Cues) -> list[Pair]:
    """The template's wrong readings from the right profile."""
    if q.task.kind == "text":
        return []
    return [Pair(q, render(own), render(c), "worse_answer", _gap(q, own.answer, c.answer), "template")
            for c in readings(q, cues) if _differ(own.answer, c.answer)][:2]


def _of_rollouts(q: Question, own: Chain | None, rows: list[Written]) -> list[Pair]:
    """The best chain that is known for the user's own profile (the kept one, or the policy's best) against
    the policy's texts of every view that score worse, or, without a profile or from another's, no better."""
    worth = lambda text: score(q, text)
    views = {kind: [w.text for w in rows if w.view == view] for view, kind in VIEWS.items()}
    mine = views["worse_answer"] = sorted(views["worse_answer"], key=worth)
    best = render(own) if own is not None else mine.pop() if mine else ""
    if not best or not worth(best):
        return []
    pairs = []
    for kind, texts in views.items():
        for text in texts:
            gap, chain = worth(best) - worth(text), chain_of(text)
            if gap > 0 or gap == 0 and kind != "worse_answer" and _differ(chain_of(best).answer, chain.answer
                                                                          if chain else ""):
                pairs.append(Pair(q, best, text, kind, gap, "policy"))
    return pairs


def score(q: Question, text: str) -> float:
    """The task reward of a text; one that is no chain has none."""
    chain = chain_of(text)
    return item_reward(q.task, q.task.parse_answer(chain.answer), q.gold) if chain and q.gold else 0.0


def _gap(q: Question, better: str, worse: str) -> float:
    """Difference in task reward, not below 0: what a pair claims is more than a score."""
    return max(0.0,
               item_reward(q.task, better, q.gold) - item_reward(q.task, worse, q.gold)) if q.gold else 0.0


def _differ(a: str, b: str) -> bool:
    return " ".join(a.split()).lower() != " ".join(b.split()).lower()


# ---------------------------------------------------------------- balance

def balanced(pairs: list[Pair], rng: random.Random) -> list[Pair]:
    """Shuffled; within a kind as many pairs whose chosen chain is the longer one as pairs whose chosen chain
    is the shorter one, so that length predicts nothing."""
    kept = []
    for kind in KINDS:
        of_kind = [pair for pair in pairs if pair.kind == kind]
        longer = shuffled([pair for pair in of_kind if len(pair.chosen) > len(pair.rejected)], rng)
        shorter = shuffled([pair for pair in of_kind if len(pair.chosen) < len(pair.rejected)], rng)
        same = shuffled([pair for pair in of_kind if len(pair.chosen) == len(pair.rejected)], rng)
        count = min(len(longer), len(shorter))  # what one side has too many is dropped
        kept += longer[:count] + shorter[:count] + same
    return shuffled(kept, rng)


def shuffled(rows: list, rng: random.Random) -> list:
    return rng.sample(rows, len(rows))


def cases(pairs: list[Pair], most: int = 4) -> list[list[Pair]]:
    """Pairs that share question, user and chosen chain, at most `most` together: they share one forward of
    both."""
    by: dict[tuple, list[list[Pair]]] = {}
    for p in pairs:
        rows = by.setdefault((p.question.id, p.chosen), [[]])
        if len(rows[-1]) == most:
            rows.append([])
        rows[-1].append(p)
    return [part for rows in by.values() for part in rows]


def take_turns(rows: list, most: int, key: Callable) -> list:
    """At most `most` of the rows; those of different keys take turns, in the order in which they come."""
    return round_robin(group_by(rows, key).values())[:most]
