"""Whether the arithmetic of a rating's chain is right: a sum of stars, or a comparison of two texts.

    a sum           Usually 3; "" bad 3 to 2, "" good 2 to 3.
    a comparison    Got 3; without "" good 3 to 2.  |  From 2; with "" good 2 to 3.

Texts come without their quotations ("" stands for each), because a quotation may hold numbers of its own.
"""
from __future__ import annotations

import re

COUNT = re.compile(r"(?<![\w.])\d+(?= (?:past |earlier |previous )?(?:words?|characters?|times?|items?"
                   r"|reviews?|ratings|scores|days?|weeks?|months?|years?)\b)", re.I)
"""A number that counts something else than stars: "About 4 words"."""
USUAL = re.compile(r"\busual(?:ly)?\b[^.;,\d]{0,20}?(\d{1,9})", re.I)
SPAN = re.compile(r"\b(?:scale|scores?|ratings?|range[sd]?|between)\b[^.;,\d]{0,20}\d+ (?:to|and) \d+", re.I)
"""Two numbers with "to" between them that are no move: "scores from 1 to 5"."""
MOVE = re.compile(r"(?:\b(good|bad) )?(?<![\w.])(\d{1,9}) ?(?:to|->|→|到|至) ?(\d{1,9})(?![\w.]*\d)", re.I)
REMARKS = r'((?:"" (?:good|bad) \d{1,9} to \d{1,9}(?:, )?)+)'
WITHOUT = re.compile(rf"\bgot (\d{{1,9}}); without {REMARKS}", re.I)
WITH = re.compile(rf"\bfrom (\d{{1,9}}); with {REMARKS}", re.I)
REMARK = re.compile(r'"" (good|bad) (\d{1,9}) to (\d{1,9})')
"""What the template's comparison of two texts says: 'Got 3; without "soap" good 3 to 2' and
'From 2; with "box" bad 2 to 2'."""
SAYS_LITTLE = re.compile(USUAL.pattern + r".*\bsays (?:little|nothing)\b", re.I | re.S)
"""After the usual score: nothing moves it."""


def sum_checks(answer: int, text: str, scale: tuple[int, int]) -> list[bool]:
    """For each part of the sum of a text without quotations whether it is right: every move, then the end.
    [] without a sum.

    A sum has moves such as "bad 3 to 2". Each begins where the one before it ended, the first at the stated
    usual score. Each is one star, up for "good" and down for "bad", and stays where the scale ends. The last
    one ends at the answer. "Usually 3; good 3 to 4, bad 4 to 2" and 2 give [True, False, True].
    """
    usual, moves = moves_of(text)
    if not moves:
        return [] if SAYS_LITTLE.search(text) is None else [usual == answer]

    score = moves[0][1] if usual is None else usual
    checks = []
    for side, before, after in moves:
        checks.append(before == score and after in next_scores(before, side, scale))
        score = after  # one slip is one fault: the next move begins where this one says that it ended
    return [*checks, score == answer]


def moves_of(text: str) -> tuple[int | None, list[tuple[str | None, int, int]]]:
    """(the stated usual score, the moves) of a text without quotations, each move (its side, from, to): all
    that have a side, and of the others those after the usual score. "Usually 3; bad 3 to 2" gives
    (3, [("bad", 3, 2)])."""
    text = COUNT.sub(" ", SPAN.sub(" ", WITHOUT.sub(" ", WITH.sub(" ", text))))
    usual = USUAL.search(text)
    moves = [(move[1], int(move[2]), int(move[3])) for move in MOVE.finditer(text)
             if move[1] or (usual and move.start() >= usual.end())]
    return (int(usual[1]) if usual else None), moves


def next_scores(score: int, side: str | None, scale: tuple[int, int]) -> set[int]:
    """Where one move may lead: from 3 up to 4 ("good"), down to 2 ("bad"), or both where no side is stated.
    From 5 of 5, "good" stays at 5."""
    lowest, highest = scale
    if not lowest <= score <= highest:
        return set()
    up, down = min(score + 1, highest), max(score - 1, lowest)
    if side is None:
        return {up, down}
    return {up} if side.lower() == "good" else {down}


def comparison_checks(answer: int, text: str, scale: tuple[int, int]) -> list[bool]:
    """For each part of the comparison of two texts, in a text without quotations, whether it is right: the
    remarks of the past text, where the new text begins, its remarks, and the end. [] where there is none.

        Got 3; without "" good 3 to 2, "" bad 2 to 2.  |  From 2; with "" good 2 to 3, "" good 3 to 4.

    From the past text's score each good remark takes a star away; from there each good remark of the new text
    adds one, within the scale. A bad remark changes nothing. With the answer 4 all of the above are right:
    [True, True, True, True, True, True].
    """
    past, new = WITHOUT.search(text), WITH.search(text)
    if past is None and new is None:
        return []
    if past is None or new is None:
        return [False]
    start = int(new[1])
    of_past, base = remark_checks(int(past[1]), past[2], -1, scale)
    of_new, score = remark_checks(start, new[2], +1, scale)
    return [*of_past, start == base, *of_new, score == answer]


def remark_checks(score: int, remarks: str, change: int, scale: tuple[int, int]) -> tuple[list[bool], int]:
    """(whether each remark begins at the score before it and moves it rightly, the stated score behind the
    last one). change: what a good remark adds. '"" good 3 to 4, "" bad 4 to 4' from 3 gives ([True, True],
    4)."""
    lowest, highest = scale
    checks = []
    for side, before, after in REMARK.findall(remarks):
        moved = min(highest, max(lowest, score + change)) if side.lower() == "good" else score
        checks.append((int(before), int(after)) == (score, moved))
        score = int(after)
    return checks, score


def checks_by_step(texts: list[str], scale: tuple[int, int]) -> tuple[list[list[bool]], int | None]:
    """(for each step whether its parts are right, the score that the moves end at; None without any move).
    texts: of the steps, without their quotations.

    Each move begins where the one before it ended, in whatever step. ['Usually 3; "" bad 3 to 2.', '"" good 1
    to 2.'] gives ([[True], [False]], 2).
    """
    score: int | None = None
    checks: list[list[bool]] = []
    for text in texts:
        own: list[bool] = []
        if past := WITHOUT.search(text):
            of_remarks, score = remark_checks(int(past[1]), past[2], -1, scale)
            own += of_remarks
        if new := WITH.search(text):
            if score is not None:
                own.append(int(new[1]) == score)
            of_remarks, score = remark_checks(int(new[1]), new[2], +1, scale)
            own += of_remarks
        usual, moves = moves_of(text)
        if usual is not None:
            score = usual
        for side, before, after in moves:
            own.append(score in (None, before) and after in next_scores(before, side, scale))
            score = after
        checks.append(own)
    return checks, (score if any(checks) else None)
