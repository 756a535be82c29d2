"""What can be checked of a chain against the profile that it claims to have looked at.

A chain that states wrong numbers about its profile, or quotes words that are not there, should cost reward:
it is the cheapest proof of flawed reasoning. These claims are recognised:

    Past scores 5 4 5        a contiguous stretch of the user's scores, in order
    mean 4.7, usually 5      their mean, and the mean rounded
    scores from 4 to 5       their least and greatest
    used comedy 3 times      how often a label was used
    12 past reviews          how many items there are
    "It broke"               words that must stand in the profile or in the question
    "It broke" got 2         the score or label of a past text that has these words, also as
                             'Got 2; without "It broke" bad 2 to 2, "soft" good 2 to 1', and in a choice
                             as '"A spy flees" is action'
    About 4 words, plain case, no end mark
                             the style of the user's titles (lamp/style.py), in a task of free text

Reinforcement finds what a claim can be had for: after a hundred steps a policy wrote 'Similar past item: "In
the" is" is" is" is"', sixteen quotations that stand in every text. So what a chain says again is no further
claim; a quotation of one or two letters that holds is none; and marks that do not close, or that enclose a
space at their edge, quote nothing that is there.

A chain may also say nothing that could be wrong. So every step must have some substance: a step that looks at
the history (its tag says so) a word or number of the profile, any other step one of the profile or of the
question.
"""
from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from ..lamp.prompts import facts, rating_stats
from ..lamp.style import style_claims, style_of
from ..lamp.tasks import Item, Question
from ..lamp.words import content_tokens, normalised
from .schema import Chain, Step

STOP = set("this that with from have they them their there about would could should which while where were "
           "been into over than then when what your some such very just only also more most other each will "
           "does doing these those because being after before between through during against under again "
           "here both same".split())
SCORES = re.compile(r"\b(?:scores?|ratings?)(?: (?:are|were|of|was))?:? "
                    r"(\d{1,2}(?:(?:[ ,]+|,? and )\d{1,2})+)", re.I)
MEAN = re.compile(r"\b(?:mean|average)(?: score| rating)?(?: of| is|:)? (\d+(?:\.\d+)?)", re.I)
USUAL = re.compile(r"\busually (\d+)", re.I)
RANGE = re.compile(r"\b(?:scores?|ratings?)[^.0-9]{0,20} (\d{1,2}) to (\d{1,2})\b", re.I)
TIMES = re.compile(r"\bused ([^.,]+?) (\d+) times?\b", re.I)
ITEMS = re.compile(r"\b(\d+) (?:past|earlier|previous) (?:items|reviews|ratings|papers|titles|articles"
                   r"|headlines|posts|tweets|movies|e-?mails|scores)\b", re.I)
GOT = re.compile(r'(?P<words>(?:"[^"]+"(?:, | and )?)+) got (?P<label>\w+)'
                 r'|\b[Gg]ot (?P<score>\d{1,9}); without '
                 r'(?P<remarks>(?:"[^"]+" (?:good|bad) \d{1,9} to \d{1,9}(?:, )?)+)')
QUOTE = re.compile(r'"([^"]*)"')
UNQUOTABLE = re.compile(r'["<>]')
"""Marks that cannot stand in a quotation of a step; where a text has one, its quotation has a space."""
SHORTEST_QUOTATION = 3  # characters; of a script without spaces one is enough
NUMBER = re.compile(r"\d+(?:\.\d+)?")
LOOKS = re.compile(r"example|histor|profile|past|pattern|habit|record|previous|prior")
"""Found in the tag of a step that looks at the history."""
MEAN_TOLERANCE = 0.051  # a mean that is stated with one decimal

Claim = tuple[str, bool]
"""(what is claimed, whether it holds)."""


def content_words(text: str) -> set[str]:
    """Lower-case words of four letters or more that are not function words; pairs of Chinese characters."""
    return {word for word in content_tokens(text.lower()) if word not in STOP}


def distinct_triples(words: list[str]) -> float:
    """Share of distinct triples among the triples of neighbouring words; 1 for texts too short to repeat."""
    triples = list(zip(words, words[1:], words[2:]))
    return len(set(triples)) / len(triples) if len(triples) > 3 else 1.0


def quotable(text: str) -> str:
    """The text as quotations are compared with: normalised, without the marks that no quotation can hold."""
    return normalised(UNQUOTABLE.sub(" ", text))


# ---------------------------------------------------------------- claims

def claims(chain: Chain, question: Question) -> list[Claim]:
    """(claim, whether it holds) for every checkable statement of the chain's steps."""
    return [claim for checked in claims_of_steps(chain, question) for claim in checked]


def claims_of_steps(chain: Chain, question: Question) -> list[list[Claim]]:
    """The claims of each step of the chain, in the order of the steps; a claim counts where it is made first.
    """
    # 1. The truth about the profile: scores, counts such as {"comedy": 3}, and all words that may be quoted.
    profile = question.profile
    is_rating = question.task.kind == "rating" and profile
    scores, mean, usual = rating_stats(profile) if is_rating else ([], 0.0, 0)
    label_counts = Counter(item.label.lower() for item in profile)
    item_texts = [f"{item.text} {item.label}" for item in profile]
    all_text = quotable(" ".join([question.input, *item_texts]))

    style = style_of(question) if question.task.kind == "text" and profile else None

    # 2. The claims, step by step, each beside what it says.
    by_step: list[list[Claim]] = []
    for step in chain.steps:
        checked: list[Claim] = []
        if scores:
            checked += _score_claims(step.text, scores, mean, usual)
        if style is not None:
            checked += style_claims(step.text, style)
        if question.task.form == "choice" and question.task.labels:
            checked += _choice_claims(step.text, question)
        for label, count in TIMES.findall(step.text):
            if label.lower() in label_counts:
                checked.append((f"{label} {count} times", label_counts[label.lower()] == int(count)))
        for count in ITEMS.findall(step.text):
            checked.append((f"{count} items", int(count) == len(profile)))
        for got in GOT.finditer(step.text):
            quotations, label = got["words"] or got["remarks"], got["label"] or got["score"]
            holds = any(_got(item, quotations, label) for item in profile)
            checked.append((f"{quotations} got {label}", holds))
        checked += _quotation_claims(step.text, all_text)
        by_step.append(checked)

    # 3. What is said again is no further claim.
    made: set[str] = set()
    for number, checked in enumerate(by_step):
        first_made = [claim for claim in dict.fromkeys(checked) if claim[0] not in made]
        made |= {said for said, _ in first_made}
        by_step[number] = first_made
    return by_step


def _quotation_claims(text: str, all_text: str) -> list[Claim]:
    """The claims that the quotations of a step stand in `all_text`."""
    checked: list[Claim] = []
    for quotation in QUOTE.findall(text):
        wanted = normalised(quotation)
        if wanted:
            holds = quotation == quotation.strip() and wanted in all_text
            # A letter or two, such as "is", stand in every text: to quote them shows nothing.
            if not holds or len(wanted) >= SHORTEST_QUOTATION or not wanted.isascii():
                checked.append((f'"{quotation}"', holds))
    if text.count('"') % 2:
        checked.append(("a quotation that does not end", False))
    return checked


def _score_claims(text: str, scores: list[int], mean: float, usual: int) -> list[Claim]:
    """The claims of a step about the user's past scores."""
    checked: list[Claim] = []
    for stretch in SCORES.findall(text):
        stated = [int(digits) for digits in re.findall(r"\d+", stretch)]
        checked.append((stretch.strip(), _is_stretch(stated, scores)))
    for number in MEAN.findall(text):
        checked.append((f"mean {number}", abs(float(number) - mean) <= MEAN_TOLERANCE))
    for number in USUAL.findall(text):
        checked.append((f"usually {number}", int(number) == usual))
    for low, high in RANGE.findall(text):
        checked.append((f"{low} to {high}", (int(low), int(high)) == (min(scores), max(scores))))
    return checked


def _choice_claims(text: str, question: Question) -> list[Claim]:
    """The claims of a step about the labels of past texts."""
    checked: list[Claim] = []
    for quotation, label in is_label(question.task.labels).findall(text):
        holds = any(item.label.lower() == label.lower() and normalised(quotation) in quotable(item.text)
                    for item in question.profile)
        checked.append((f'"{quotation}" is {label}', holds))
    return checked


@lru_cache
def is_label(labels: tuple[str, ...]) -> re.Pattern:
    """What finds '"words" is label'; of "dark comedy" and "comedy" the longer one."""
    longest_first = sorted(labels, key=len, reverse=True)
    return re.compile(rf'"([^"]+)" (?:is|was) ({"|".join(map(re.escape, longest_first))})\b', re.I)


def _is_stretch(part: list[int], whole: list[int]) -> bool:
    """Whether `part` is a contiguous stretch of `whole`, so that the newest few may be quoted."""
    return any(whole[start:start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def _got(item: Item, quotations: str, label: str) -> bool:
    """Whether the item has the label, and every quotation of `"one" and "two"` stands in its text."""
    if item.label != label:
        return False
    text = quotable(item.text)
    return all(normalised(quotation) in text for quotation in QUOTE.findall(quotations))


def groundedness(chain: Chain, question: Question) -> float:
    """Share of the chain's checkable claims that hold; 1 when it makes none."""
    checked = claims(chain, question)
    return sum(holds for _, holds in checked) / len(checked) if checked else 1.0


# ---------------------------------------------------------------- substance

def substance(chain: Chain, question: Question) -> float:
    """Share of the steps that name something of the profile, or, where the tag does not look at the history,
    of the question or the answer.

    A step names a content word, a number, a label of a choice, or a quotation of three characters or more.
    """
    # 1. What a step may name: of the profile alone, or of everything.
    task = question.task
    past = " ".join([facts(question), *(f"{item.text} {item.label}" for item in question.profile)])
    past_content = _content(past)
    all_content = past_content | _content(task.payload(question.input)) | _content(chain.answer)
    past_text = quotable(past)
    all_text = quotable(f"{past} {question.input}")
    labels = {normalised(item.label) for item in question.profile} if task.kind == "choice" else set()
    answer = normalised(chain.answer)

    # 2. The steps that name it.
    def has_substance(step: Step) -> bool:
        text = normalised(step.text)
        looks_back = LOOKS.search(step.tag) is not None
        if _content(step.text) & (past_content if looks_back else all_content):
            return True
        if any(label in text for label in labels):
            return True
        if not looks_back and answer in text:
            return True
        source = past_text if looks_back else all_text
        quotations = [normalised(quotation) for quotation in QUOTE.findall(step.text)]
        return any(len(quotation) >= SHORTEST_QUOTATION and quotation in source for quotation in quotations)

    return sum(has_substance(step) for step in chain.steps) / len(chain.steps)


def _content(text: str) -> set[str]:
    """Content words and numbers."""
    return content_words(text) | set(NUMBER.findall(text))
