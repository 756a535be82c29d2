"""What can be checked of a chain against the profile it claims to have looked at.

A chain that states wrong numbers about its profile, or quotes words that are not there, should cost reward:
it is the cheapest proof of flawed reasoning. Claims that are found: the user's past scores, their mean (also
rounded) and range, how often a label was used, how many items there are, anything in double quotes, which
must stand in the profile or in the question, and what a past text with such words got.

A chain may also say nothing that could be wrong. So every step must have something of what it is about: one
that looks at the history (its tag says so) a word or number of the profile, any other one of the question or
of the profile.
"""
from __future__ import annotations

import re
from collections import Counter

from ..lamp.prompts import facts, rating_stats
from ..lamp.tasks import Question
from ..lamp.words import content_tokens, normalised
from .schema import Chain, Step

STOP = set("this that with from have they them their there about would could should which while where were been "
           "into over than then when what your some such very just only also more most other each will does doing "
           "these those because being after before between through during against under again here both same".split())
SCORES = re.compile(r"\b(?:scores?|ratings?)(?: (?:are|were|of|was))?:? (\d{1,2}(?:(?:[ ,]+|,? and )\d{1,2})+)",
                    re.I)
MEAN = re.compile(r"\b(?:mean|average)(?: score| rating)?(?: of| is|:)? (\d+(?:\.\d+)?)", re.I)
USUAL = re.compile(r"\busually (\d+)", re.I)
RANGE = re.compile(r"\b(?:scores?|ratings?)[^.0-9]{0,20} (\d{1,2}) to (\d{1,2})\b", re.I)
TIMES = re.compile(r"\bused ([^.,]+?) (\d+) times?\b", re.I)
ITEMS = re.compile(r"\b(\d+) (?:past|earlier|previous) (?:items|reviews|ratings|papers|titles|articles|headlines|posts|tweets"
                   r"|movies|e-?mails|scores)\b", re.I)
GOT = re.compile(r'((?:"[^"]+"(?:, | and )?)+) got (\w+)')
QUOTE = re.compile(r'"([^"]*)"')
NUMBER = re.compile(r"\d+(?:\.\d+)?")
LOOKS = re.compile(r"example|histor|profile|past|pattern|habit|record|previous|prior")


def content_words(text: str) -> set[str]:
    """Lower-case words of four letters or more that are not function words; pairs of Chinese characters."""
    return {w for w in content_tokens(text.lower()) if w not in STOP}


def distinct_triples(words: list[str]) -> float:
    """Share of distinct triples among the triples of neighbouring words; 1 for texts too short to repeat."""
    triples = list(zip(words, words[1:], words[2:]))
    return len(set(triples)) / len(triples) if len(triples) > 3 else 1.0


# ---------------------------------------------------------------- claims

def claims(chain: Chain, question: Question) -> list[tuple[str, bool]]:
    """(claim, whether it holds) for every checkable statement of the chain's steps."""
    scores, mean, usual = rating_stats(question.profile) if question.task.kind == "rating" else ([], 0.0, 0)
    labels = Counter(i.label.lower() for i in question.profile)
    seen = normalised(" ".join([question.input, *(f"{i.text} {i.label}" for i in question.profile)]))
    found = []
    for step in chain.steps:
        if scores:
            found += _of_scores(step.text, scores, mean, usual)
        for label, times in TIMES.findall(step.text):
            if label.lower() in labels:
                found.append((f"{label} {times} times", labels[label.lower()] == int(times)))
        for number in ITEMS.findall(step.text):
            found.append((f"{number} items", int(number) == len(question.profile)))
        for said, label in GOT.findall(step.text):
            found.append((f"{said} got {label}",
                          any(i.label == label
                              and all(normalised(q) in normalised(i.text) for q in QUOTE.findall(said))
                              for i in question.profile)))
        for said in QUOTE.findall(step.text):
            if normalised(said):
                found.append((f'"{said}"', normalised(said) in seen))
    return found


def _of_scores(text: str, scores: list[int], mean: float, usual: int) -> list[tuple[str, bool]]:
    found = []
    for said in SCORES.findall(text):
        found.append((said.strip(), _is_run([int(d) for d in re.findall(r"\d+", said)], scores)))
    for said in MEAN.findall(text):
        found.append((f"mean {said}", abs(float(said) - mean) <= 0.051))
    for said in USUAL.findall(text):
        found.append((f"usually {said}", int(said) == usual))
    for low, high in RANGE.findall(text):
        found.append((f"{low} to {high}", (int(low), int(high)) == (min(scores), max(scores))))
    return found


def groundedness(chain: Chain, question: Question) -> float:
    """Share of the chain's checkable claims that hold; 1 when it makes none."""
    found = claims(chain, question)
    return sum(ok for _, ok in found) / len(found) if found else 1.0


def _is_run(part: list[int], whole: list[int]) -> bool:
    """Whether `part` is a contiguous stretch of `whole`, so that the newest few may be quoted."""
    return any(whole[i:i + len(part)] == part for i in range(len(whole) - len(part) + 1))


# ---------------------------------------------------------------- substance

def substance(chain: Chain, question: Question) -> float:
    """Share of the steps that have a word, number, label or quotation of what they are about."""
    task = question.task
    past = " ".join([facts(question), *(f"{i.text} {i.label}" for i in question.profile)])
    labels = {normalised(i.label) for i in question.profile if task.kind == "choice"}
    profile = _content(past)
    both = profile | _content(task.payload(question.input)) | _content(chain.answer)

    def has(step: Step) -> bool:
        text, looks = normalised(step.text), LOOKS.search(step.tag)
        return bool(_content(step.text) & (profile if looks else both)
                    or any(label in text for label in labels) or not looks
                    and normalised(chain.answer) in text
                    or any(len(normalised(q)) > 2
                           and normalised(q) in normalised(past if looks else f"{past} {question.input}")
                           for q in QUOTE.findall(step.text)))

    return sum(map(has, chain.steps)) / len(chain.steps)


def _content(text: str) -> set[str]:
    return content_words(text) | set(NUMBER.findall(text))
