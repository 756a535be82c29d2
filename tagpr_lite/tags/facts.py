"""What can be checked of a chain against the profile it claims to have looked at.

A chain that states wrong numbers about its profile, or quotes words that are not there, should cost reward: it is
the cheapest proof of flawed reasoning. Three kinds of claim are found: the user's past scores, their mean, and
anything in double quotes, which must stand in the profile or in the question.
"""
from __future__ import annotations

import re

from ..lamp.prompts import rating_stats
from ..lamp.tasks import TASKS, Question, plain
from .schema import Chain

SCORES = re.compile(r"\bscores?:? (\d{1,2}(?:[ ,]+\d{1,2})+)", re.I)
MEAN = re.compile(r"\b(?:mean|average)(?: of| is)? (\d+(?:\.\d+)?)", re.I)
QUOTE = re.compile(r'"([^"]{3,})"')


def past_scores(question: Question) -> list[int]:
    """The past ratings of a rating question, oldest first; [] for the other kinds."""
    return rating_stats(question.profile)[0] if TASKS[question.task].kind == "rating" else []


def mean_text(scores: list[int]) -> str:
    """A mean with one decimal, as prompts and chains write it."""
    return f"{sum(scores) / len(scores):.1f}"


def claims(chain: Chain, question: Question) -> list[tuple[str, bool]]:
    """(claim, whether it holds) for every checkable statement of the chain's steps."""
    scores = past_scores(question)
    seen = plain(" ".join([question.input, *(f"{i.text} {i.label}" for i in question.profile)]))
    found = []
    for step in chain.steps:
        if scores:
            for said in SCORES.findall(step.text):
                digits = [int(d) for d in re.findall(r"\d+", said)]
                found.append((said.strip(), _is_run(digits, scores)))
            for said in MEAN.findall(step.text):
                found.append((f"mean {said}", abs(float(said) - sum(scores) / len(scores)) <= 0.051))
        for said in QUOTE.findall(step.text):
            found.append((f'"{said}"', plain(said) in seen))
    return found


def groundedness(chain: Chain, question: Question) -> float:
    """Share of the chain's checkable claims that hold; 1 when it makes none."""
    found = claims(chain, question)
    return sum(ok for _, ok in found) / len(found) if found else 1.0


def _is_run(part: list[int], whole: list[int]) -> bool:
    """Whether `part` is a contiguous stretch of `whole`, so that the newest few may be quoted."""
    return any(whole[i:i + len(part)] == part for i in range(len(whole) - len(part) + 1))
