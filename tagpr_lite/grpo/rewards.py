"""The composite reward, every term computed and logged by itself.

    R = answer * format * trust + tag_weight * tag                            stage 1, guided
    answer = task_weight * task + prmu_weight * prmu + own_weight * own
    trust = 1 - gate * (1 - tag)
    R = task_weight * task * format                                           stage 2, exploratory

The term `own` is a person's function of the text (own_term.py), where grpo.reward names one.

That there are three weights, that the first term is itself composite and that stage 2 drops the other two is
known of the paper (from its reviews); every definition and number below is our choice. With gate = 1 a right
answer counts as far as its reasoning holds. Without that, a policy earns more by shorter chains: each step
that is not written cannot be wrong. PRMU was trained on whole chains, so its score of a chain that never ends
means nothing and earns nothing.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..lamp.answers import THOUGHT_MARK, answer_of
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..tags.facts import claims, distinct_triples, substance
from ..tags.follows import soundness
from ..tags.schema import Chain, Fault, parse
from ..tags.teaching import Teaching, words_of

# The share of distinct triples of words from which a chain counts as fresh: a label of four words comes up in
# every step.
FRESH_TRIPLES = 0.85
SIZE = 0.5  # of the teacher's words that a chain needs: three words under three tags are no reasoning
LEADS_AT_LEAST = 0.25  # what a chain is worth whose answer does not follow from it at all
SOUNDNESS_POWER = 4  # one slip of eight leaves 0.59 of what leads to the answer, four slips leave 0.06


@dataclass
class Terms:
    """The parts of one completion's reward, each in [0, 1]."""
    task: float
    format: float
    tag: float
    prmu: float = 0.0
    own: float | None = None
    """None where there is no such term."""

    def total(self, task_weight: float, tag_weight: float, prmu_weight: float, gate: float = 0.0,
              own_weight: float = 0.0) -> float:
        """The reward R. gate: how much of the task, PRMU and own terms depends on the tag term, in [0, 1]."""
        trust = 1 - gate * (1 - self.tag)
        answer = task_weight * self.task + prmu_weight * self.prmu + own_weight * (self.own or 0.0)
        return answer * self.format * trust + tag_weight * self.tag


def terms(text: str, ended: bool, question: Question, teaching: Teaching, thinks: bool = True) -> Terms:
    """Task, format and tag terms of a completion. ended: whether it came to its end token within its most
    tokens. thinks: whether it is to think before it answers."""
    written_answer = answer_of(text)
    answer = question.task.parse_answer(written_answer)
    return Terms(task=item_reward(question.task, written_answer, question.gold),
                 format=format_term(text, ended, answer, question, thinks),
                 tag=tag_term(text, question, teaching) if ended else 0.0)


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


def tag_term(text: str, question: Question, teaching: Teaching) -> float:
    """0 unless the chain is well-formed with known tags; then form * leads * size * freshness * substance *
    truth.

    Each factor is at most 1, so that neither more steps nor more claims than the teacher usually makes earn
    anything.

    form         nearness of the sequence of tags to the teacher's for the task, squared (tags/teaching.py)
    leads        1/4 + 3/4 * soundness^4. soundness: the share of right parts in what leads to the answer,
                 such as the moves of a sum; 0 where the chain does not state what the teacher's chains state
                 for the answer (tags/follows.py)
    size         words of the steps / half of those of the teacher's chains, squared
    freshness    the share of distinct steps, or of distinct triples of words, whichever is less, squared
    substance    the share of steps with a word of what they are about, squared (tags/facts.py)
    truth        (1 + claims about the profile that hold) / (1 + max(claims made, the teacher's claims))
    """
    chain = parse(text, teaching.tags)
    if isinstance(chain, Fault):
        return 0.0
    form = teaching.nearness(chain, question.task.name)
    needed = teaching.supports.get(question.task.name, ())
    leads = LEADS_AT_LEAST + (1 - LEADS_AT_LEAST) * soundness(chain, question, needed)**SOUNDNESS_POWER
    words = words_of(chain, question.task.language)
    size = min(1.0, len(words) / (SIZE * teaching.words.get(question.task.name, 1.0)))
    fresh = freshness(chain, words)
    truth = truth_term(chain, question, teaching)
    return form**2 * leads * size**2 * fresh**2 * substance(chain, question)**2 * truth


def freshness(chain: Chain, words: list[str]) -> float:
    """How little a chain repeats itself, in [0, 1]. words: of its steps."""
    distinct_steps = len({" ".join(step.text.lower().split()) for step in chain.steps}) / len(chain.steps)
    return min(distinct_steps, distinct_triples(words) / FRESH_TRIPLES, 1.0)


def truth_term(chain: Chain, question: Question, teaching: Teaching) -> float:
    """(1 + claims that hold) / (1 + max(claims made, the teacher's claims)): with 8 of the teacher's, 4 that
    hold of 5 made are 5/9. The 1 is for chains that say what cannot be checked: they may be good."""
    made = [holds for _, holds in claims(chain, question)]
    wanted = max(len(made), teaching.claims.get(question.task.name, 0.0))
    return (1 + sum(made)) / (1 + wanted)
