"""The state of the reasoning: whether chains keep their form, say what can be checked, and lead to their
answer.

    {"completions": 41, "chains": 0.98, "steps": 2.9, "tokens": 92.0, "form": 0.88, "claims": 8.7,
     "true": 0.93, "follows": 0.83, "tags": {"examine_examples": 41, ...}, "entropy": 0.41}

A policy can raise its score while its chains become hollow: two steps in the place of four, nothing that
could be checked, an answer that no step leads to. Each of these figures sees one side of that. All means and
shares are over all completions: a text that is no chain has no steps, no claims and no form, and its answer
does not follow.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import mean
from typing import NamedTuple

from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from .facts import claims
from .follows import follows
from .schema import Chain, parse
from .teaching import Teaching


class Written(NamedTuple):
    """A completion as it was sampled."""
    question: Question
    text: str
    tokens: int = 0
    entropy: float | None = None
    """Mean nats a token of the policy's distribution; None where it was not measured."""


def states(completions: Iterable[Written], teaching: Teaching) -> dict:
    """{"all": the state of all completions, "by_task": {task: its state}}."""
    completions = list(completions)
    by_task = group_by(completions, lambda written: written.question.task.name)
    return {"all": state_of(completions, teaching),
            "by_task": {task: state_of(of_task, teaching) for task, of_task in sorted(by_task.items())}}


def state_of(completions: Iterable[Written], teaching: Teaching) -> dict:
    """The state of the reasoning of some completions, as the head of this file shows it.

    completions     their number
    chains          share that parses as a chain, with tags of any name
    steps, tokens   means
    form            share whose sequence of tags is one of the teacher's for the task
    claims, true    mean checkable claims (tags/facts.py); the share of all claims that hold, None without any
    follows         share whose answer follows from the chain (tags/follows.py), and the chain states what the
                    teacher's chains state for it
    tags            {tag: its steps}, the most frequent first
    entropy         mean over the completions that have one, nats a token; None without any
    """
    completions = list(completions)
    count = len(completions)

    # 1. What each chain is, says and leads to.
    tags: Counter[str] = Counter()
    chain_count = in_form = claim_count = true_claims = following = 0
    for question, text, *_ in completions:
        chain = parse(text, allowed=None)
        if not isinstance(chain, Chain):
            continue
        chain_count += 1
        tags.update(chain.tags)
        task = question.task.name
        in_form += tuple(chain.tags) in teaching.forms.get(task, ())
        holding = [holds for _, holds in claims(chain, question)]
        claim_count += len(holding)
        true_claims += sum(holding)
        following += follows(chain, question, teaching.supports.get(task, ()))

    # 2. Means over all completions.
    def per_completion(total: float) -> float:
        return round(total / count, 4) if count else 0.0

    entropies = [written.entropy for written in completions if written.entropy is not None]
    in_order = sorted(tags.items(), key=lambda tag_and_steps: (-tag_and_steps[1], tag_and_steps[0]))
    return {
        "completions": count,
        "chains": per_completion(chain_count),
        "steps": per_completion(tags.total()),
        "tokens": per_completion(sum(written.tokens for written in completions)),
        "form": per_completion(in_form),
        "claims": per_completion(claim_count),
        "true": round(true_claims / claim_count, 4) if claim_count else None,
        "follows": per_completion(following),
        "tags": dict(in_order),
        "entropy": round(mean(entropies), 4) if entropies else None,
    }
