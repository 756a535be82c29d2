"""What names a question: from step 1 on an id names one question of the run, however its file was numbered.

LaMP's files number every task, and every split, by themselves. Later steps keep chains, rollouts and answers
under a question's id, so an id that two questions share would give one of them the other's.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..config import UserError
from .tasks import Question

Splits = dict[str, list[Question]]
"""{"train": questions, "val": questions, "dev": questions} of all tasks."""


def with_unique_ids(splits: Splits) -> Splits:
    """The questions, each with an id that no other one has.

        "7" in one place                       7
        "7" of two tasks                       LaMP_2/7, LaMP_3/7
        "7" of a task in both its splits       LaMP_2/train/7, LaMP_2/dev/7

    UserError: two questions of one task and split have one id.
    """
    in_run = Counter(q.id for questions in splits.values() for q in questions)
    in_task = Counter((q.task.name, q.id) for questions in splits.values() for q in questions)

    def named(question: Question, split: str) -> Question:
        name = question.task.name
        if in_run[question.id] == 1:
            return question
        if in_task[name, question.id] == 1:
            return replace(question, id=f"{name}/{question.id}")
        return replace(question, id=f"{name}/{split}/{question.id}")

    unique = {split: [named(question, split) for question in questions]
              for split, questions in splits.items()}
    counts = Counter(q.id for questions in unique.values() for q in questions)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise UserError(f"{len(doubled)} ids name more than one question, such as {doubled[0]!r}; give every "
                        "question of a file an id of its own")
    return unique
