"""Text from outside, made safe to print: out of files, keys, servers and libraries' errors."""
from __future__ import annotations

import unicodedata

LONGEST_LINE = 600  # characters
# Control, format (bidirectional marks too), surrogates, private use, separators of lines.
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
KEPT = "\n\t\u200c\u200d"  # the last two join and divide letters in Persian, Hindi and emoji


def printable(text: str) -> str:
    """The text with every character that steers a terminal or hides in a page written out: ESC as \\x1b,
    U+202E as \\u202e. Line ends and tabs stay."""
    for character in set(text):
        if is_hidden(character):
            text = text.replace(character, character.encode("unicode_escape").decode("ascii"))
    return text


def whole_characters(text: str) -> str:
    """The text with "?" for every half of a surrogate pair. JSON can write one ("\\ud83d"), and Python makes
    one of each byte on a command line that is no UTF-8. No file and no tokenizer takes it."""
    return text.encode("utf-8", "replace").decode()


def is_hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN and character not in KEPT


def one_line(text: object, most: int = LONGEST_LINE) -> str:
    """Anything as one printable line of at most `most` characters."""
    line = printable(" ".join(str(text)[:20 * most].split()))
    return line if len(line) <= most else line[:most - 1] + "…"


def duration(seconds: float | None, unknown: str = "not run") -> str:
    """Seconds in the unit that reads best: "40.0 s", "12.5 min", "3.5 h"; `unknown` for None."""
    if seconds is None:
        return unknown
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
