"""What the teacher's chains of a task are like, as far as a policy's chain is compared with them.

A chain of the policy may borrow the form of another task, drop the steps that decide, or say nothing that
could be checked, and still end with the right answer. The teacher's own chains show what is missing.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from statistics import quantiles

from ..lamp.tasks import Question
from ..lamp.words import length_units
from ..runs import read_json, read_jsonl
from .facts import claims
from .reasoning import Forms, forms_of
from .schema import PRIMARY, Chain, parse


@dataclass(frozen=True)
class Teaching:
    """The teacher's chains in a few figures."""
    tags: tuple[str, ...] = PRIMARY
    """The nine primary tags."""
    forms: Forms = field(default_factory=dict)
    """{task: its sequences of tags}."""
    claims: dict[str, float] = field(default_factory=dict)
    """{task: checkable claims that hold}, as many as three of four of the teacher's chains have or more, such
    as {"LaMP_3": 8.0}. The lower quartile counts, because chains in free prose differ."""
    words: dict[str, float] = field(default_factory=dict)
    """{task: words of the steps}, characters where a language has no spaces; the lower quartile again."""

    def nearness(self, chain: Chain, task: str) -> float:
        """How near the chain's sequence of tags is to one of the teacher's for the task: 1 for the same one,
        2 * (tags in common, in order) / (tags of both) for the nearest. A task without chains is compared
        with the forms of all tasks; 1 without any."""
        forms = self.forms.get(task) or set().union(*self.forms.values())
        ratios = [SequenceMatcher(None, form, chain.tags, autojunk=False).ratio() for form in forms]
        return max(ratios, default=1.0)


def teaching_of(tags: Iterable[str], kept: list[dict], questions: Iterable[Question]) -> Teaching:
    """The teaching of a run. kept: rows of chains/kept.jsonl; questions: the training questions, which the
    claims are checked against."""
    question_of = {question.id: question for question in questions}
    claim_counts: dict[str, list[int]] = {}
    word_counts: dict[str, list[int]] = {}
    for row in kept:
        question = question_of.get(row["id"])
        chain = parse(row["text"], allowed=None)
        if question is not None and isinstance(chain, Chain):
            holding = sum(holds for _, holds in claims(chain, question))
            claim_counts.setdefault(row["task"], []).append(holding)
            word_counts.setdefault(row["task"], []).append(len(words_of(chain, question.task.language)))
    return Teaching(tuple(tags), forms_of(kept), lower_quartiles(claim_counts), lower_quartiles(word_counts))


def read_teaching(folder: Path, questions: Iterable[Question]) -> Teaching:
    """The teaching of the run in `folder`, from chains/."""
    tags = read_json(folder / "chains" / "tags.json")["primary"]
    return teaching_of(tags, read_jsonl(folder / "chains" / "kept.jsonl"), questions)


def words_of(chain: Chain, language: str) -> list[str]:
    """The words of a chain's steps in small letters; characters, where the language has no spaces."""
    return length_units(" ".join(step.text.lower() for step in chain.steps), language)


def lower_quartiles(counts: dict[str, list[int]]) -> dict[str, float]:
    """{task: the number that a quarter of its counts lies below}: {"a": [2, 8, 9, 9]} gives {"a": 6.5}."""
    return {task: quantiles(of_task, n=4, method="inclusive")[0] if len(of_task) > 1 else float(of_task[0])
            for task, of_task in sorted(counts.items())}
