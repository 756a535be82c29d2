"""What every task of the built-in benchmark is made of: texts that carry the answer of each rule."""
from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """One text of a user's history, or one that a question asks about."""
    text: str
    """What a question asks about: the input without its instruction. Empty for LaMP_1's past papers."""
    answers: tuple[str, ...]
    """[rules] what each rule answers to this text."""
    items: tuple[tuple[str, str], ...] = ()
    """[rules] (text, label) of the profile item that this text becomes. Empty where that is (text, answer);
    LaMP_1 and LaMP_7 differ."""

    def item(self, rule: int) -> tuple[str, str]:
        """(text, label) of the profile item under a rule."""
        return self.items[rule] if self.items else (self.text, self.answers[rule])


Writer = Callable[[random.Random, int, int], tuple[int, list[Text]]]
"""Draws a user: (random numbers, profile length, questions) -> (rule, texts in the order of time, questions
last).

What a user is (rule, interests) is drawn before the texts, and the texts are drawn one by one. So a user with
more questions has the same rule and the same earlier texts.
"""

DrawFacts = Callable[[random.Random], tuple[str, dict[str, str]]]
"""Draws a text and the facts that it was made of: ("The bus is free ...", {"gadget": "the bus", ...})."""


def in_forms(draw: DrawFacts, forms: tuple[str, ...], bare: bool = False) -> Writer:
    """The writer of a task whose rules are `forms`: templates that are filled with the facts of a text.

    bare: profile items are the answers alone, without a label.
    """
    def write(rng: random.Random, profile: int, questions: int) -> tuple[int, list[Text]]:
        rule = rng.randrange(len(forms))
        texts: list[Text] = []
        seen: set[str] = set()
        while len(texts) < profile + questions:
            text, facts = draw(rng)
            answers = tuple(form.format(**facts) for form in forms)
            if answers[rule] in seen:  # an answer that is in the profile already would be given away
                continue
            seen.add(answers[rule])
            items = tuple((answer, "") for answer in answers) if bare else ()
            texts.append(Text(text, answers, items))
        return rule, texts
    return write


def fresh(draw: Callable[[], str], seen: set[str]) -> str:
    """Draws until a text comes that is not in `seen`, and adds it there."""
    drawn = draw()
    while drawn in seen:
        drawn = draw()
    seen.add(drawn)
    return drawn


def pick(rng: random.Random, **lists: tuple[str, ...]) -> dict[str, str]:
    """One entry of each list: pick(rng, place=PLACES) is such as {"place": "Leeds"}."""
    return {name: rng.choice(values) for name, values in lists.items()}


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[:1].upper() + text[1:]
