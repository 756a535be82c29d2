"""Where the words of a checked claim stand in a step, so that the page can mark them true or false there."""
from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

from ..runs import printable
from ..tags.facts import Claim

MOST_CLAIMS = 40  # of a step that are marked
SHORT = 4  # words of a claim that may stand apart, as "mean 4.7" does in "mean score of 4.7"
BETWEEN = r"\W+(?:\w+\W+){0,2}?"  # what may stand between two of them


class Piece(NamedTuple):
    """A part of a step's text. claim: the number of the claim that it states, or None."""
    text: str
    claim: int | None


def pieces(text: str, checked: list[Claim]) -> list[Piece]:
    """The printable text, cut where the words of a claim begin and end.

    A claim within another one has its own piece: `"It broke" got 2` is `"It broke"`, a quotation, and
    ` got 2`. A claim whose words are not found, or are all within other claims, has no piece.

    Example: ("So mean 4.7.", [("mean 4.7", True)]) gives "So ", "mean 4.7" of claim 0, and ".".
    """
    # 1. Where each claim stands. Equal claims stand one after the other.
    spans: list[tuple[int, int, int]] = []  # (start, end, claim)
    end_of: dict[str, int] = {}
    for number, (claim, _) in enumerate(checked[:MOST_CLAIMS]):
        found = place(text, printable(claim), end_of.get(claim, 0))
        if found:
            spans.append((*found, number))
            end_of[claim] = found[1]

    # 2. Whose every character is: the longest claims first, so that the shorter ones within them stay seen.
    owners: list[int | None] = [None] * len(text)
    for start, end, number in sorted(spans, key=lambda span: span[0] - span[1]):
        owners[start:end] = [number] * (end - start)

    # 3. Neighbours of one owner are a piece.
    cut = []
    for owner, run in groupby(zip(text, owners), key=lambda pair: pair[1]):
        cut.append(Piece("".join(character for character, _ in run), owner))
    return cut


def place(text: str, claim: str, start: int) -> tuple[int, int] | None:
    """(start, end) of the claim's words in the text from `start` on, or None.

    The words are tried as they are; a short claim also with few words between, and then without its last
    word, which the claim may say otherwise than the text ("about 4 words" for "about 4 characters").
    """
    words = claim.split()
    tries = [re.escape(claim)]
    if len(words) <= SHORT and '"' not in claim:
        tries.append(BETWEEN.join(map(re.escape, words)))
        if len(words) > 2:
            tries.append(BETWEEN.join(map(re.escape, words[:-1])))
    for words_pattern in tries:
        # No letter or digit may go on before or after: "4 to 5" is not found in "14 to 50".
        found = re.compile(rf"(?<!\w)(?:{words_pattern})(?!\w)", re.IGNORECASE).search(text, start)
        if found is None and not (claim[:1].isalnum() and claim[-1:].isalnum()):
            found = re.compile(words_pattern, re.IGNORECASE).search(text, start)
        if found and found.end() > found.start():
            return found.span()
    return None
