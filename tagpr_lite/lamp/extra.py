"""Further training questions out of training users' own histories.

Outside tasks 1 and 7 every profile item is an input with its output, so an item can be asked about with the items before it
as the profile. Few users have many questions, and a small model learns a task from examples. Dev users' histories are
left alone: they are what a dev question is answered from.
"""
from __future__ import annotations

from .sampling import sample
from .tasks import TASKS, Question

LEAST = 1  # items before the one asked about


def from_profiles(questions: list[Question], most: int, seed: int) -> list[Question]:
    """At most `most` questions (seeded, spread over users) about items that no training question asks about yet."""
    asked = {(q.user, TASKS[q.task].payload(q.input)) for q in questions}
    made = {}
    for q in questions:
        task = TASKS[q.task]
        if task.shape == "LaMP_1" or not task.label_key or not all(i.date for i in q.profile):
            continue  # without dates an "earlier" item may be a later one
        for n, item in enumerate(q.profile[LEAST:], LEAST):
            key = (q.user, item.text.strip())
            if key not in asked and item.label:
                made.setdefault(key, Question(f"{q.id}.p{n}", q.task, q.user, TASKS[q.task].ask(item.text),
                                              item.label, q.profile[:n]))
    return sample(list(made.values()), most, seed)
