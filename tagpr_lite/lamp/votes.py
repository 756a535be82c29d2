"""Which of several answers to a question is taken, by the answers alone.

    choice    the answer that most samples give; of several, the one that came first
    rating    the same; of several, the one nearest to the median of all ratings, then the one that came first
    text      the answer that is most like the others, by the task's own reward: the medoid

The first two are self-consistency (Wang et al. 2022, arXiv 2203.11171). The third is minimum Bayes risk
decoding with samples as references (Kumar and Byrne 2004; Eikema and Aziz 2020, arXiv 2005.10283). A text
that gives no answer has no vote. All functions take texts as a model wrote them and return a position in
their list; where no text gives an answer, 0.
"""
from __future__ import annotations

from collections import Counter
from math import fsum
from statistics import median

from .answers import answer_of
from .scorer import item_reward
from .tasks import Question, Task


def voted(task: Task, texts: list[str]) -> int:
    """The position of the first text with the answer that the texts together give.

        ratings 4, 5, 4, unreadable      position 0
        ratings 1, 5, 1, 5, 4            position 1: two say 1 and two say 5, and the median is 4
    """
    answers = [task.parse_answer(text) for text in texts]
    given = [answer for answer in answers if answer is not None]
    if not given:
        return 0
    if task.kind == "text":
        return answers.index(medoid(task, given))
    return answers.index(majority(task, given))


def majority(task: Task, given: list[str]) -> str:
    """The answer that is given most often; ties as above."""
    counts = Counter(given)  # in the order in which the answers first come
    tied = [answer for answer, count in counts.items() if count == max(counts.values())]
    if task.kind == "rating":
        middle = median(float(answer) for answer in given)
        return min(tied, key=lambda answer: abs(float(answer) - middle))
    return tied[0]


def medoid(task: Task, given: list[str]) -> str:
    """The answer with the highest mean reward when the other samples are taken for the truth; of several, the
    first. An answer that two samples give has a perfect likeness in the other."""
    counts = Counter(given)

    def likeness(answer: str) -> float:
        """Summed over the other samples, whose number is the same for every answer."""
        rewards: list[float] = []
        for other, count in (counts - Counter([answer])).items():
            rewards += [item_reward(task, answer, other)] * count
        return fsum(rewards)

    return max(counts, key=likeness)


def best(question: Question, texts: list[str]) -> int:
    """The position of the first text with the highest task reward: the oracle's choice, which sees the
    gold."""
    rewards = [item_reward(question.task, answer_of(text), question.gold) for text in texts]
    return rewards.index(max(rewards))
