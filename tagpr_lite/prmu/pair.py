"""What a preference pair is, what it is made of, and how much better its chosen chain is."""
from __future__ import annotations

from dataclasses import dataclass

from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..tags.schema import Chain, Fault, parse

KINDS = ("other_user", "no_profile", "worse_answer", "others_answer", "contradiction", "hollow")
Rules = dict[str, tuple[int, tuple[str, ...]]]
"""{question id: (the rule of its user, the answer of every rule)}, such as {"q1": (0, ("5", "2"))}."""


@dataclass(frozen=True)
class PolicyText:
    """The policy's text for a question.

    view: the profile it was written from, the question's own ("own"), another user's ("other") or none
    ("none").
    """
    question: Question
    text: str
    view: str


@dataclass(frozen=True)
class Pair:
    """For question.user, `chosen` is better than `rejected`. gap: by how much in task reward, in [0, 1]."""
    question: Question
    chosen: str
    rejected: str
    kind: str
    gap: float
    source: str
    mirrored: bool = False


def chain_of(text: str) -> Chain | None:
    """The chain that a text is, with tags of any name; None for a malformed text."""
    parsed = parse(text, allowed=None)
    return None if isinstance(parsed, Fault) else parsed


def text_reward(question: Question, text: str) -> float:
    """The task reward of a chain as text, in [0, 1]; 0 for a malformed one or where no gold is known."""
    chain = chain_of(text)
    if chain is None or not question.gold:
        return 0.0
    return item_reward(question.task, question.task.parse_answer(chain.answer), question.gold)


def reward_gap(question: Question, better: str, worse: str) -> float:
    """max(0, reward(better) - reward(worse)) of two answers; 0 where no gold is known.

    Not below 0, because a pair claims more than a task reward: the better chain may be the truer one.
    """
    if not question.gold:
        return 0.0
    better_reward = item_reward(question.task, better, question.gold)
    worse_reward = item_reward(question.task, worse, question.gold)
    return max(0.0, better_reward - worse_reward)


def answers_differ(first: str, second: str) -> bool:
    """Whether two answers differ in more than case and white space."""
    return " ".join(first.split()).lower() != " ".join(second.split()).lower()
