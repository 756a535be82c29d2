"""The composite reward, every term computed and logged by itself.

    R = (alpha * task + gamma * prmu) * format + beta * tag          stage 1, guided
    R = alpha * task * format                                        stage 2, exploratory

That there are three weights, that the first term is itself composite and that stage 2 drops the other two is known
of the paper (from its reviews); every definition and number below is our choice. PRMU was trained on whole chains, so
what it thinks of one that never ends means nothing and earns nothing.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..lamp.words import length_units
from ..tags.facts import distinct_triples, groundedness, substance
from ..tags.schema import Fault, answer_of, parse

RECURRING = 0.85  # share of distinct triples of words that is fresh enough: a label of four words comes up in every step


@dataclass
class Terms:
    """The parts of one completion's reward, each in [0, 1]."""
    task: float
    format: float
    tag: float
    prmu: float = 0.0

    def total(self, alpha: float, beta: float, gamma: float) -> float:
        return (alpha * self.task + gamma * self.prmu) * self.format + beta * self.tag


def terms(text: str, ended: bool, question: Question, allowed: tuple[str, ...], min_tags: int) -> Terms:
    """Task, format and tag terms of a completion; `ended` is whether it came to its end token within the room."""
    answer = question.task.parse_answer(answer_of(text))
    return Terms(task=item_reward(question.task, answer, question.gold), format=format_term(text, ended, answer, question),
                 tag=tag_term(text, question, allowed, min_tags) if ended else 0.0)


def format_term(text: str, ended: bool, answer: str | None, question: Question) -> float:
    """1 when the completion ended, thought in one closed block, and answered in the gold's own form."""
    if not ended or answer is None or text.count("</think>") != 1 or not text.lstrip().startswith("<think>"):
        return 0.0
    said = answer_of(text)
    return float(said == answer if question.task.kind != "text" else "\n" not in said)


def tag_term(text: str, question: Question, allowed: tuple[str, ...], min_tags: int) -> float:
    """Well-formed with known tags, else 0; then variety x freshness x substance x truth, each at most 1, so that neither more
    steps nor more tags than needed earn anything.

    variety: distinct tags / min_tags. freshness: the share of distinct steps, or of distinct triples of words, whichever is
    less, squared. substance: the share of steps with a word of what they are about, squared. truth: the share of checkable
    claims about the profile that hold (both in tags/facts.py).
    """
    chain = parse(text, allowed)
    if isinstance(chain, Fault):
        return 0.0
    tags = min(1.0, len(set(chain.tags)) / min_tags)
    steps = [" ".join(s.text.lower().split()) for s in chain.steps]
    words = length_units(" ".join(steps), question.task.language)
    fresh = min(len(set(steps)) / len(steps), distinct_triples(words) / RECURRING, 1.0)
    return tags * fresh**2 * substance(chain, question)**2 * groundedness(chain, question)
