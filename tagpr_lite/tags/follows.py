"""Does the answer of a chain follow from the chain?

    a rating    Usually 3; "soap" bad 3 to 2. | Comes to 2.        2           yes
                Usually 3; "soap" bad 3 to 2. | Comes to 4.        4           no, the sum ends at 2
    a choice    This user used comedy 3 times. | So comedy.        comedy      yes
    a text      About 3 words, no end mark. | Key words: rain.     Rain again  yes
                About 3 words, no end mark. | Key words: rain.     Late trains no, no key word is used
                The text says "Snow fell in Graz".                 Snow in Graz yes

This says nothing about truth: whether the steps are true of the profile is checked in tags/facts.py. A chain
of a real teacher is free prose, so a conclusion is looked for in several wordings, and a sum, key words or a
style are asked about only where the chain states them. So a chain that states less would follow more easily:
what the teacher's chains of the task state (`supports`), a policy's chain has to state as well.
"""
from __future__ import annotations

import re
from collections.abc import Collection

from ..lamp import answers
from ..lamp.style import CASE, END_MARK, LENGTH, style_stats
from ..lamp.tasks import Question, Task
from ..lamp.words import content_tokens, normalised
from .arithmetic import COUNT, WITH, WITHOUT, comparison_checks, moves_of, sum_checks
from .facts import QUOTE, content_words, quotable
from .schema import Chain

CONCLUDES = re.compile(r"\b(?:so(?! (?:much|many|few|far|often|well|that))|thus|hence|therefore|comes? to"
                       r"|conclude|(?:answer|score|rating|tag|label|choice) (?:is|would be|should be))\b"
                       r"|所以|因此|因而|那么|故(?!事)|应为|应该是", re.I)
"""What a conclusion begins with."""
QUOTED = re.compile(r'"[^"]*"|“[^”]*”|「[^」]*」')
REFERENCE = re.compile(r"\[([12])\]|\b(?:option|reference|candidate|paper|title|number) ([12])\b"
                       r"|\b(?:the )(first|second)\b", re.I)
REJECTED = re.compile(r"\b(?:not|than|instead of|over|unlike)(?: (?:a|an|the))? ?[\"“]?$", re.I)
"""Found before a label that is named to be turned down: "comedy rather than action"."""
REJECTION_LENGTH = 24  # characters before a label that are looked at
KEY_WORDS = re.compile(r"(?:\bkey ?words?\b|关键词)[^.:：。]{0,20}[:：] *([^.。;；\n]+)", re.I)
MOST_CONCLUSIONS = 8  # of a step that are looked at: a policy may write "so so so ..."
SAYS = re.compile(r'\bsays?:? "([^"]+)"')
KEY_SHARE = 0.5  # of the stated key words that the answer must hold
QUOTED_SHARE = 0.3  # of the answer's content words that its quotations must hold; they may be cut
LENGTH_SLACK = 2  # words or characters by which an answer may differ from the stated length
LENGTH_SHARE = 1 / 3  # the same as a share of the stated length; the larger of both counts


def supports(chain: Chain, question: Question) -> set[str]:
    """What the chain states that its answer is held against: of a rating {"conclusion", "sum",
    "comparison"}, of a choice {"conclusion"}, of a text {"plan", "length", "case", "end mark"}. A plan is key
    words, or a sentence that the question says."""
    texts = [without_quotations(step.text) for step in chain.steps]
    if question.task.kind == "text":
        text = " ".join(step.text for step in chain.steps)
        stated = {"plan": stated_key_words(text) or SAYS.search(text), "length": LENGTH.search(text),
                  "case": CASE.search(text), "end mark": END_MARK.search(text)}
    elif question.task.kind == "rating":
        stated = {"conclusion": concluded_rating(texts[-1], question.task),
                  "sum": moves_of(" ".join(texts))[1],
                  "comparison": WITHOUT.search(" ".join(texts)) and WITH.search(" ".join(texts))}
    else:
        stated = {"conclusion": concluded_choice(chain.steps[-1].text, question)}
    return {kind for kind, found in stated.items() if found}


def follows(chain: Chain, question: Question, needed: Collection[str] = ()) -> bool:
    """Whether the chain's answer is what its steps lead to, in every part."""
    return soundness(chain, question, needed) == 1.0


def soundness(chain: Chain, question: Question, needed: Collection[str] = ()) -> float:
    """The share of what the answer is held against that agrees with it, in [0, 1]; 0 where the answer cannot
    be read, and where the chain does not state what is `needed` (see `supports`).

    A rating: the last step states a number (the one after "so" or "comes to", else the last one), and this
    is the answer. Where the chain has a sum, every move of the sum is right, and it ends at the answer. A
    choice: the last step names the answer in the same way. A text: the answer holds the stated key words and
    has the stated style.
    """
    answer = question.task.parse_answer(chain.answer)
    if answer is None or not supports(chain, question).issuperset(needed):
        return 0.0
    last_step = chain.steps[-1].text
    if question.task.kind == "text":
        checks = text_checks(chain, answer, question)
    elif question.task.kind == "rating":
        text = " ".join(without_quotations(step.text) for step in chain.steps)
        checks = [stated_rating(last_step, question.task) == answer,
                  *sum_checks(int(answer), text, question.task.scale),
                  *comparison_checks(int(answer), text, question.task.scale)]
    else:
        checks = [named_choice(last_step, question) == answer]
    return sum(checks) / len(checks)


def conclusions(text: str) -> list[str]:
    """What stands after each word that a conclusion begins with, the last one first, MOST_CONCLUSIONS at
    most."""
    last_ones = list(CONCLUDES.finditer(text))[-MOST_CONCLUSIONS:]
    return [text[mark.end():] for mark in reversed(last_ones)]


def without_quotations(text: str) -> str:
    """The text with a mark in the place of every quotation, because a quotation may hold numbers of its
    own."""
    return QUOTED.sub('""', text)


# ---------------------------------------------------------------- ratings

def stated_rating(text: str, task: Task) -> str | None:
    """The rating that a step states: "Comes to 4." gives "4"; "About 4 words" gives None, since the number
    counts words."""
    text = without_quotations(text)
    concluded = concluded_rating(text, task)
    if concluded is not None:
        return concluded
    # Without a conclusion the last number counts.
    text = COUNT.sub(" ", text)
    in_range = answers.ratings(text, *task.scale)
    return in_range[-1] if in_range else answers.rating(text, *task.scale)


def concluded_rating(text: str, task: Task) -> str | None:
    """The rating behind the last conclusion that has one. text: without quotations."""
    ratings = [answers.rating(rest, *task.scale) for rest in conclusions(COUNT.sub(" ", text))]
    return next((rating for rating in ratings if rating is not None), None)


# ---------------------------------------------------------------- choices

def named_choice(text: str, question: Question) -> str | None:
    """The label that a step decides for: the first one after a conclusion's beginning ("So comedy."), else
    the last one. A label that is turned down ("rather than action") is not counted."""
    concluded = concluded_choice(text, question)
    if concluded is not None:
        return concluded
    named = names_in(text, question)
    return named[-1] if named else None


def concluded_choice(text: str, question: Question) -> str | None:
    """The first label behind the last conclusion that has one."""
    named = [names_in(rest, question) for rest in conclusions(text)]
    return next((names[0] for names in named if names), None)


def names_in(text: str, question: Question) -> list[str]:
    """The candidates or labels that a text names, in order."""
    names = reference_names if question.task.form == "citation" else label_names
    return names(text, question)


def label_names(text: str, question: Question) -> list[str]:
    """The labels that a text names, in order; of "dark comedy" the longer label alone, not "comedy"."""
    found: list[tuple[int, int, str]] = []  # (start, end, label)
    for label in sorted(question.task.labels, key=len, reverse=True):
        for match in re.finditer(answers.label_pattern(label), text, re.IGNORECASE):
            start, end = match.span()
            is_part = any(start < other_end and other_start < end for other_start, other_end, _ in found)
            if not is_part:
                found.append((start, end, label))
    return [label for start, _, label in sorted(found) if not is_rejected(text, start)]


def reference_names(text: str, question: Question) -> list[str]:
    """The candidates of a citation that a text names, in order: by number ("[1]", "option 1", "the first")
    or by title."""
    for number, title in enumerate(question.task.options(question.input), 1):
        if title:
            text = re.sub(re.escape(title), f"[{number}]", text, flags=re.IGNORECASE)
    names = []
    for match in REFERENCE.finditer(text):
        number = match[1] or match[2] or ("1" if match[3].lower() == "first" else "2")
        if not is_rejected(text, match.start()):
            names.append(f"[{number}]")
    return names


def is_rejected(text: str, start: int) -> bool:
    """Whether the words before `start` turn down what stands there."""
    return REJECTED.search(text[max(0, start - REJECTION_LENGTH):start]) is not None


# ---------------------------------------------------------------- free texts

def text_checks(chain: Chain, answer: str, question: Question) -> list[bool]:
    """Whether the answer holds the stated key words, and has each part of the stated style. Where the chain
    quotes a sentence of the question, the answer is made of its quotations.

    Without key words or a style there is nothing that it could follow from but the words of the steps: then
    one content word of the answer must be among them, and not in a quotation of a past text.
    """
    text = " ".join(step.text for step in chain.steps)
    key_words = stated_key_words(text)
    is_quoted = SAYS.search(text) is not None
    is_styled = any(habit.search(text) for habit in (LENGTH, CASE, END_MARK))
    if not key_words and not is_styled and not is_quoted:
        return [shares_words(text, answer, question)]
    checks = style_checks(text, answer, question.task.language)
    if key_words:
        checks.append(holds_key_words(key_words, answer))
    if is_quoted:
        checks.append(is_made_of(answer, text))
    return checks


def is_made_of(answer: str, text: str) -> bool:
    """Whether an answer is made of what a text quotes: a content word of it stands in a sentence that the
    question is said to have, and QUOTED_SHARE of its content words in that or another quotation."""
    words = content_words(answer)
    said = content_words(" ".join(SAYS.findall(text)))
    quoted = content_words(" ".join(QUOTE.findall(text)))
    return not words or (bool(words & said) and len(words & quoted) >= QUOTED_SHARE * len(words))


def stated_key_words(text: str) -> list[str]:
    """["soap", "box"] of "Key words: soap, Box, soap."; small letters, each once."""
    key_words = []
    for listed in KEY_WORDS.findall(text):
        key_words += [word.strip(" \"'“”*").lower() for word in re.split(r"[,，、/]| and ", listed)]
    return [word for word in dict.fromkeys(key_words) if word]


def holds_key_words(key_words: list[str], answer: str) -> bool:
    """Whether the answer has KEY_SHARE of the key words or more, as words of their own."""
    held = [word for word in key_words
            if re.search(answers.label_pattern(word), answer, re.IGNORECASE)]
    return len(held) >= KEY_SHARE * len(key_words)


def style_checks(text: str, answer: str, language: str) -> list[bool]:
    """Of each length, case and end mark that a text states, whether an answer has it.

    "About 8 words" allows 6 to 10 words, LENGTH_SLACK or LENGTH_SHARE to either side. "Title case" is asked
    of answers that have it or are all in small letters; of a single word nobody can tell.
    """
    style = style_stats([answer], language)
    checks = []
    for number in LENGTH.findall(text):
        allowed = max(LENGTH_SLACK, LENGTH_SHARE * int(number))
        checks.append(abs(style["words"] - int(number)) <= allowed)
    for case in CASE.findall(text):
        contradicted = style["lower case"] if case.lower() == "title case" else style["Title Case"]
        checks.append(not contradicted)
    for article in END_MARK.findall(text):
        checks.append((article.lower() == "an") == bool(style["end mark"]))
    return checks


def shares_words(text: str, answer: str, question: Question) -> bool:
    """Whether a content word of the answer stands in the text, outside of quotations of the profile."""
    past = quotable(" ".join(f"{item.text} {item.label}" for item in question.profile))

    def unless_past(quotation: re.Match) -> str:
        return "" if normalised(quotation[1]) in past else quotation[0]

    own_words = content_words(QUOTE.sub(unless_past, text))
    return any(word.lower() in own_words for word in content_tokens(answer))
