"""The composite reward, every term computed and logged by itself.

    R = (task_weight * task + prmu_weight * prmu) * format + tag_weight * tag          stage 1, guided
    R = task_weight * task * format                                                    stage 2, exploratory

That there are three weights, that the first term is itself composite and that stage 2 drops the other two is
known of the paper (from its reviews); every definition and number below is our choice. PRMU was trained on
whole chains, so its score of a chain that never ends means nothing and earns nothing.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..lamp.answers import THOUGHT_MARK, answer_of
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..lamp.words import length_units
from ..tags.facts import distinct_triples, groundedness, substance
from ..tags.schema import Fault, parse

# The share of distinct triples of words from which a chain counts as fresh: a label of four words comes up in
# every step.
FRESH_TRIPLES = 0.85
# Words (characters, where a language has no spaces) for each of the `min_tags` steps that a chain needs:
# three words of the question under three tags are no reasoning. The template's shortest chains have 15.
WORDS_A_STEP = 3


@dataclass
class Terms:
    """The parts of one completion's reward, each in [0, 1]."""
    task: float
    format: float
    tag: float
    prmu: float = 0.0

    def total(self, task_weight: float, tag_weight: float, prmu_weight: float) -> float:
        """The reward R."""
        return (task_weight * self.task + prmu_weight * self.prmu) * self.format + tag_weight * self.tag


def terms(text: str, ended: bool, question: Question, allowed: tuple[str, ...], min_tags: int,
          thinks: bool = True) -> Terms:
    """Task, format and tag terms of a completion. ended: whether it came to its end token within its most
    tokens. thinks: whether it is to think before it answers."""
    written_answer = answer_of(text)
    answer = question.task.parse_answer(written_answer)
    return Terms(task=item_reward(question.task, written_answer, question.gold),
                 format=format_term(text, ended, answer, question, thinks),
                 tag=tag_term(text, question, allowed, min_tags) if ended else 0.0)


def format_term(text: str, ended: bool, answer: str | None, question: Question, thinks: bool = True) -> float:
    """1 when the completion ended, thought in one closed block (not at all where `thinks` is false), and
    answered in the gold's own form."""
    thought_once = text.lstrip().startswith("<think>") and text.count("</think>") == 1
    thought_not = THOUGHT_MARK.search(text) is None
    if not ended or answer is None or not (thought_once if thinks else thought_not):
        return 0.0
    written_answer = answer_of(text)
    if question.task.kind == "text":
        # Where the gold has one line, only the first line is scored, and more of them would cost nothing.
        return float("\n" not in written_answer or "\n" in question.gold.strip())
    return float(written_answer == answer)


def tag_term(text: str, question: Question, allowed: tuple[str, ...], min_tags: int) -> float:
    """0 unless the chain is well-formed with known tags; then variety * size * freshness * substance * truth.

    Each factor is at most 1, so that neither more steps nor more tags than needed earn anything.

    variety      distinct tags / min_tags
    size         words of the steps / (3 * min_tags), squared
    freshness    the share of distinct steps, or of distinct triples of words, whichever is less, squared
    substance    the share of steps with a word of what they are about, squared (tags/facts.py)
    truth        the share of checkable claims about the profile that hold (tags/facts.py)
    """
    chain = parse(text, allowed)
    if isinstance(chain, Fault):
        return 0.0
    variety = min(1.0, len(set(chain.tags)) / min_tags)
    steps = [" ".join(step.text.lower().split()) for step in chain.steps]
    words = length_units(" ".join(steps), question.task.language)
    distinct_steps = len(set(steps)) / len(steps)
    freshness = min(distinct_steps, distinct_triples(words) / FRESH_TRIPLES, 1.0)
    size = min(1.0, len(words) / (WORDS_A_STEP * min_tags))
    return variety * size**2 * freshness**2 * substance(chain, question)**2 * groundedness(chain, question)
