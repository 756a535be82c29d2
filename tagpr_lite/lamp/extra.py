"""Further training questions out of training users' own histories.

Outside tasks 1 and 7 every profile item is an input with its output, so an item can be asked about with the
items before it as the profile. Few users have many questions, and a small model learns a task from examples.
Dev users' histories are left alone: they are what a dev question is answered from.
"""
from __future__ import annotations

from .dates import order_is_known
from .sampling import sample
from .tasks import Question

LEAST_EARLIER_ITEMS = 1  # items before the one asked about


def from_profiles(questions: list[Question], most: int, seed: int) -> list[Question]:
    """At most `most` questions (seeded, spread over users) about items that no training question asks about
    yet."""
    asked = {(question.user, question.task.payload(question.input)) for question in questions}
    made: dict[tuple[str, str], Question] = {}
    for question in questions:
        task, profile = question.task, question.profile
        if not task.asks_what_items_hold or not task.label_key:
            continue
        if not order_is_known([item.date for item in profile]):
            continue  # an "earlier" item may be a later one
        for place, item in enumerate(profile):
            key = (question.user, item.text.strip())
            if place >= LEAST_EARLIER_ITEMS and item.label and key not in asked and key not in made:
                made[key] = Question(id=f"{question.id}.p{place}", task=task, user=question.user,
                                     input=task.ask(item.text), gold=item.label, profile=profile[:place],
                                     date=item.date)
    return sample(list(made.values()), most, seed)
