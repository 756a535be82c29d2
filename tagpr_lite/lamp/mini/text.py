"""What every task of the built-in benchmark is made of: texts that carry the answer of each rule."""
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    text: str
    """What a question asks about: the input without its instruction. Empty for LaMP_1's past papers."""
    answers: tuple[str, ...]
    """[rules] what each rule answers to this text."""
    items: tuple[tuple[str, str], ...] = ()
    """[rules] (text, label) of the profile item this makes, where that is not (text, answer): LaMP_1 and
    LaMP_7."""

    def item(self, rule: int) -> tuple[str, str]:
        return self.items[rule] if self.items else (self.text, self.answers[rule])


Writer = Callable[[random.Random, int, int], tuple[int, list[Text]]]
"""Draws a user: (random numbers, profile length, questions) -> (rule, texts in the order of time, questions
last).

What a user is (rule, interests) is drawn before the texts, and these one by one: more questions leave the
rest as is.
"""


def in_forms(draw: Callable[[random.Random], tuple[str, dict[str, str]]], forms: tuple[str, ...],
             bare: bool = False) -> Writer:
    """The writer of a task whose rules are `forms`: templates, filled with the facts of a text.

    draw: gives a text and its facts. bare: profile items are the answers alone, without a label.
    """
    def write(rng: random.Random, profile: int, questions: int) -> tuple[int, list[Text]]:
        rule, texts, seen = rng.randrange(len(forms)), [], set()
        while len(texts) < profile + questions:
            text, facts = draw(rng)
            answers = tuple(form.format(**facts) for form in forms)
            if answers[rule] not in seen:  # a user who writes the same twice would give an answer away
                seen.add(answers[rule])
                texts.append(Text(text, answers, tuple((a, "") for a in answers) if bare else ()))
        return rule, texts
    return write


def fresh(draw: Callable[[], str], seen: set[str]) -> str:
    """Draws until something comes that is not in `seen`, and puts it there."""
    while (drawn := draw()) in seen:
        pass
    seen.add(drawn)
    return drawn


def pick(rng: random.Random, **lists: tuple[str, ...]) -> dict[str, str]:
    """One of each list."""
    return {name: rng.choice(values) for name, values in lists.items()}


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
