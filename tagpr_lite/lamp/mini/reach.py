"""What can be reached on the built-in benchmark: with its rule known, from the profile, and without either.

Decisions. All figures are on the dev users, by the task's metric. `oracle` knows the user's rule. `profile`
knows all rules and answers best for those that agree with the whole profile: the most that personalization
can give. The best answer without the profile is the one of highest mean task reward when all rules are
equally likely. It knows how texts are made, so in expectation no model without the profile earns more. The
headroom is the difference of `oracle` and `no_profile`. `trivial` and `copy` need no understanding.
`describe` is of all dev users, `references` of a run's own dev questions.
"""
from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterable

from ...runs import seed_of
from ..sampling import group_by
from ..scorer import item_reward, score
from ..tasks import Question, Task
from .people import User, question_texts, tasks_of, users_of
from .text import Text

COLUMNS = ("oracle", "profile", "no_profile", "trivial", "copy")


def describe(seed: int, users: int, language: str = "en") -> dict[str, dict]:
    """{task: {"metric", "questions", "oracle", "profile", "no_profile", "trivial", "copy", "headroom"}}.

    trivial: the best constant answer of the training users, the first words of the text, or the whole of a
    text that is to be put in other words. copy: the label of a random profile item (None where labels are no
    answers).
    """
    table = {}
    for task in tasks_of(language):
        golds, answers = _answers(task, seed, users)
        scores = {column: None for column in COLUMNS}
        for column in COLUMNS:
            if column == "copy" and task.form == "citation":
                continue  # its labels are titles, not [1] or [2]
            scores[column] = score(task, golds, answers[column])["lenient"][task.metric]
        gain = scores["oracle"] - scores["no_profile"]
        table[task.name] = {"metric": task.metric, "questions": len(golds), **scores,
                            "headroom": -gain if task.lower_is_better else gain}
    return table


def references(questions: Iterable[Question], seed: int, users: int,
               people: str = "new") -> dict[str, dict[str, dict[str, float] | None]]:
    """{task: {column of COLUMNS: {"reward": mean item_reward, and every metric of the task}}} on these dev
    questions of `build(seed, users, people=people)`; None where a column has no answers (copy of LaMP_1)."""
    table = {}
    for task, asked in group_by(questions, lambda question: question.task).items():
        golds, answers = _answers(task, seed, users, people, {question.id for question in asked})
        table[task.name] = {column: _scores(task, golds, answers[column])
                            if column != "copy" or task.form != "citation" else None for column in COLUMNS}
    return table


def _scores(task: Task, golds: dict[str, str], answers: dict[str, str]) -> dict[str, float]:
    rewards = [item_reward(task, answers[name], gold) for name, gold in golds.items()]
    return {"reward": sum(rewards) / len(rewards), **score(task, golds, answers)["lenient"]}


def _answers(task: Task, seed: int, users: int, people: str = "new", asked: Collection[str] | None = None
             ) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """({question id: gold}, {column: {question id: answer}}) of the dev users. asked: of these questions
    alone; None: of all."""
    constant = _constant(task, seed, users) if task.labels else None
    golds: dict[str, str] = {}
    answers: dict[str, dict[str, str]] = {column: {} for column in COLUMNS}
    for user in users_of(seed, users, task, "dev", people):
        rules = None
        for n, (question_id, text) in enumerate(question_texts(user)):
            if asked is not None and question_id not in asked:
                continue
            rules = rules or _agreeing_rules(user)
            golds[question_id] = text.answers[user.rule]
            answers["oracle"][question_id] = text.answers[user.rule]
            answers["profile"][question_id] = _best(task, Counter(text.answers[rule] for rule in rules))
            answers["no_profile"][question_id] = _best(task, Counter(text.answers))
            answers["trivial"][question_id] = constant or _first_words(task, text.text)
            answers["copy"][question_id] = _copied(task, user, f"{user.name}-{n}")
    return golds, answers


def _constant(task: Task, seed: int, users: int) -> str:
    """The best constant answer of the training users."""
    golds: Counter = Counter()
    for user in users_of(seed, users, task, "train"):
        golds.update(text.answers[user.rule] for text in user.questions)
    return _best(task, golds)


def _agreeing_rules(user: User) -> list[int]:
    """The rules under which the user's profile would be just what it is."""
    rules = range(len(user.profile[0].answers))
    return [rule for rule in rules if all(text.item(rule) == text.item(user.rule) for text in user.profile)]


def _best(task: Task, answers: Counter) -> str:
    """The answer of highest mean task reward against equally likely `answers`: their mode, median or
    medoid.

    worth(a) = sum over answers b of count(b) * reward(a, b), with reward(a, a) = 1.
    """
    worth = {answer: float(answers[answer]) for answer in sorted(answers)}
    for one, other in itertools.combinations(worth, 2):
        reward = item_reward(task, one, other)  # the same as of (other, one) for every kind of task
        worth[one] += answers[other] * reward
        worth[other] += answers[one] * reward
    return max(worth, key=worth.__getitem__)


def _first_words(task: Task, text: str) -> str:
    """The whole of a tweet or of impressions; the first six words (ten characters) of a longer text."""
    if task.lamp_name in ("LaMP_7", "shop_reviews"):
        return text
    return " ".join(text.split()[:6]) if task.language == "en" else text[:10]


def _copied(task: Task, user: User, key: str) -> str:
    """The label of a profile item that is drawn by the question's id; the item's text where it has no
    label."""
    drawn: Text = random.Random(seed_of("copy", key)).choice(user.profile)
    text, label = drawn.item(user.rule)
    return label if task.label_key else text
