"""What the teacher's chains of a task are like, as far as a policy's chain is compared with them.

A chain of the policy may borrow the form of another task, drop the steps that decide, or say nothing that
could be checked, and still end with the right answer. The teacher's own chains show what is missing.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from operator import itemgetter
from pathlib import Path
from statistics import mean, quantiles

from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..lamp.words import length_units
from ..runs import read_json, read_jsonl
from .facts import claims
from .schema import PRIMARY, Chain, parse
from .step_checks import checks_of_steps

Forms = dict[str, set[tuple[str, ...]]]
"""{task: sequences of tags}, such as {"LaMP_1": {("examine_examples", "compare_options", "conclude")}}."""
SUPPORT_SHARE = 0.75  # of the teacher's chains that state something: then a policy's chain has to as well


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
    supports: dict[str, frozenset[str]] = field(default_factory=dict)
    """{task: what three of four of its chains state that an answer is held against}, such as {"LaMP_3":
    {"comparison"}} (tags/follows.py, `supports`)."""
    checks: dict[tuple[str, str], float] = field(default_factory=dict)
    """{(task, tag): mean number of checkable parts of such a step}, such as {("LaMP_3", "apply_preferences"):
    1.0} (tags/step_checks.py)."""

    def nearness(self, chain: Chain, task: str) -> float:
        """How near the chain's sequence of tags is to one of the teacher's for the task: 1 for the same one,
        2 * (tags in common, in order) / (tags of both) for the nearest. A task without chains is compared
        with the forms of all tasks; 1 without any."""
        forms = self.forms.get(task) or set().union(*self.forms.values())
        ratios = [SequenceMatcher(None, form, chain.tags, autojunk=False).ratio() for form in forms]
        return max(ratios, default=1.0)


def teaching_of(kept: list[dict], tags: Iterable[str] = PRIMARY, questions: Iterable[Question] = ()
                ) -> Teaching:
    """The teaching of a run. kept: rows of chains/kept.jsonl; questions: the training questions, which the
    claims are checked against. Without them nothing is known of claims and words."""
    question_of = {question.id: question for question in questions}
    claim_counts: dict[str, list[int]] = {}
    word_counts: dict[str, list[int]] = {}
    check_counts: dict[tuple[str, str], list[int]] = {}
    for row in kept:
        question = question_of.get(row["id"])
        chain = parse(row["text"], allowed=None) if question is not None else None
        if isinstance(chain, Chain):
            holding = sum(holds for _, holds in claims(chain, question))
            claim_counts.setdefault(row["task"], []).append(holding)
            word_counts.setdefault(row["task"], []).append(len(words_of(chain, question.task.language)))
            for step, checks in zip(chain.steps, checks_of_steps(chain, question), strict=True):
                check_counts.setdefault((row["task"], step.tag), []).append(len(checks))
    return Teaching(tuple(tags), forms_of(kept), lower_quartiles(claim_counts), lower_quartiles(word_counts),
                    supports_of(kept),
                    {of_tag: mean(counts) for of_tag, counts in sorted(check_counts.items())})


def read_teaching(folder: Path, questions: Iterable[Question]) -> Teaching:
    """The teaching of the run in `folder`, from chains/."""
    tags = read_json(folder / "chains" / "tags.json")["primary"]
    return teaching_of(read_jsonl(folder / "chains" / "kept.jsonl"), tags, questions)


def forms_of(kept: Iterable[dict]) -> Forms:
    """The sequences of tags that the teacher's chains have, by task."""
    forms: Forms = {}
    for row in kept:
        forms.setdefault(row["task"], set()).add(tuple(row["tags"]))
    return forms


def supports_of(kept: Iterable[dict]) -> dict[str, frozenset[str]]:
    """{task: what SUPPORT_SHARE of its chains state, or more}."""
    common = {}
    for task, rows in group_by(kept, itemgetter("task")).items():
        counts = Counter(support for row in rows for support in row.get("supports", ()))
        common[task] = frozenset(support for support, count in counts.items()
                                 if count >= SUPPORT_SHARE * len(rows))
    return common


def words_of(chain: Chain, language: str) -> list[str]:
    """The words of a chain's steps in small letters; characters, where the language has no spaces."""
    return length_units(" ".join(step.text.lower() for step in chain.steps), language)


def lower_quartiles(counts: dict[str, list[int]]) -> dict[str, float]:
    """{task: the number that a quarter of its counts lies below}: {"a": [2, 8, 9, 9]} gives {"a": 6.5}."""
    return {task: quantiles(of_task, n=4, method="inclusive")[0] if len(of_task) > 1 else float(of_task[0])
            for task, of_task in sorted(counts.items())}
