"""What can be checked of each step of a chain, and whether it is right.

    Got 3; without "soap" bad 3 to 3, "soft" good 3 to 1.     [True, True, True, True, False]
    From 1; with "box" good 1 to 2.                           [True, True, True]
    Comes to 4.                                               [False]

The first step's checks are the past score with its two quotations, each quotation, and two moves, of which
"good 3 to 1" is wrong. A fault counts once: the next step may begin at the wrong 1, because there the step
before it ended. Whether the answer is right is no check of a step; nothing here has seen the gold answer.
"""
from __future__ import annotations

import re

from ..lamp.tasks import Question
from .arithmetic import checks_by_step
from .facts import claims_of_steps, content_words
from .follows import stated_rating, without_quotations
from .schema import Chain

BOTH_HAVE = re.compile(r"\bboth have ([^.;\"]+)", re.I)
"""In a choice: words that stand in the question and in a past text."""


def checks_of_steps(chain: Chain, question: Question) -> list[list[bool]]:
    """For each step of the chain whether its claims about the profile hold (tags/facts.py), and, of a rating,
    whether each of its moves is right and the last step states where the moves ended; of a choice, whether
    the words that it says are shared with a past text are."""
    checks = [[holds for _, holds in claims] for claims in claims_of_steps(chain, question)]
    if question.task.form == "choice":
        return [claims + shared_words(step.text, question)
                for claims, step in zip(checks, chain.steps, strict=True)]
    if question.task.kind != "rating":
        return checks

    texts = [without_quotations(step.text) for step in chain.steps]
    of_moves, score = checks_by_step(texts, question.task.scale)
    checks = [claims + moves for claims, moves in zip(checks, of_moves, strict=True)]
    stated = stated_rating(chain.steps[-1].text, question.task)
    if score is not None and stated is not None:
        checks[-1].append(int(stated) == score)
    return checks


def shared_words(text: str, question: Question) -> list[bool]:
    """For each word of "Both have spy and train." whether it stands in the question and in a past text."""
    asked = content_words(question.task.payload(question.input))
    past = content_words(" ".join(item.text for item in question.profile))
    return [word.lower() in asked & past for listed in BOTH_HAVE.findall(text)
            for word in re.split(r", (?:and )?| and ", listed.strip())]
