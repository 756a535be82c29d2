"""How a user writes: the habits of style of their past titles, headlines, subjects or tweets.

One rule serves three readers: the prompt's line of facts shows the habits (prompts.py), the template teacher
states them (tags/teachers/template.py), and a chain that states them wrongly is caught (tags/facts.py).
"""
from __future__ import annotations

import re
from collections.abc import Iterable

from .tasks import Question
from .words import counts_characters, length_units

QUESTION_MARKS = ("?", "？", "؟")
EXCLAMATION_MARKS = ("!", "！")
END_MARKS = (".", "。", "।", "۔", "။", "។", *QUESTION_MARKS, *EXCLAMATION_MARKS)
HABIT = 0.5  # a habit is what more than this share of a user's texts shows
LONGEST_SMALL_WORD = 3  # letters of a word that keeps its small letter in Title Case
LENGTH = re.compile(r"\babout (\d+) (?:words|characters)\b", re.IGNORECASE)
CASE = re.compile(r"\b(title case|plain case)\b", re.IGNORECASE)
END_MARK = re.compile(r"\b(an|no) end mark\b", re.IGNORECASE)


def past_texts(question: Question) -> list[str]:
    """What the user wrote: the items' labels, or their texts where items have no label."""
    has_labels = question.task.label_key is not None
    return [item.label if has_labels else item.text for item in question.profile]


def length_unit(question: Question) -> str:
    """What the length of the user's texts is counted in, as a word for prompts and chains."""
    return "characters" if counts_characters(past_texts(question), question.task.language) else "words"


def style_stats(texts: list[str], language: str = "en") -> dict[str, float]:
    """Mean words (Chinese: characters) of the texts, and the share of them (0..1) that shows each habit.

    Example of two titles, "A Study of Rivers" and "On rain": {"words": 3.0, "Title Case": 0.5, ...}.
    """
    words_of_texts = [length_units(text, language) for text in texts]

    def share(hits: Iterable[bool]) -> float:
        return sum(map(bool, hits)) / max(len(texts), 1)

    return {
        "words": sum(map(len, words_of_texts)) / max(len(texts), 1),
        "Title Case": share(map(_is_title_case, words_of_texts)),
        "lower case": share(text.islower() for text in texts),
        "CAPS word": share(map(_has_caps_word, words_of_texts)),
        "colon": share(":" in text or "：" in text for text in texts),
        "question": share(text.rstrip().endswith(QUESTION_MARKS) for text in texts),
        "exclamation": share(text.rstrip().endswith(EXCLAMATION_MARKS) for text in texts),
        "end mark": share(text.rstrip().endswith(END_MARKS) for text in texts),
    }


def _is_title_case(words: list[str]) -> bool:
    """Two words of four letters or more, or more of them, all with a capital; "of" and "the" do not count."""
    long_words = [word for word in words if len(word) > LONGEST_SMALL_WORD and word[0].isalpha()]
    return len(long_words) > 1 and all(word[0].isupper() for word in long_words)


def _has_caps_word(words: list[str]) -> bool:
    return any(len(word) > LONGEST_SMALL_WORD and word.isupper() for word in words)


def style_of(question: Question) -> dict[str, float]:
    """`style_stats` of the question's whole profile."""
    return style_stats(past_texts(question), question.task.language)


def style_sentence(question: Question) -> str:
    """The habits in words: "About 8 words, Title Case, no end mark." Chinese has no case."""
    style = style_of(question)
    english = question.task.language == "en"
    parts = [f"About {style['words']:.0f} {length_unit(question)}"]
    if english:
        parts.append("Title Case" if style["Title Case"] > HABIT else "plain case")
    parts.append(f"{'an' if style['end mark'] > HABIT else 'no'} end mark.")
    return ", ".join(parts)


def style_claims(text: str, style: dict[str, float]) -> list[tuple[str, bool]]:
    """(claim, whether it holds) of every habit that a text states: length, case, end mark."""
    claims = []
    for number in LENGTH.findall(text):
        claims.append((f"about {number} words", abs(int(number) - style["words"]) <= 0.5))
    for case in CASE.findall(text):
        claims.append((case, (case.lower() == "title case") == (style["Title Case"] > HABIT)))
    for article in END_MARK.findall(text):
        claims.append((f"{article} end mark", (article.lower() == "an") == (style["end mark"] > HABIT)))
    return claims
