"""Words and characters: how texts are split, counted and compared, in English and in Chinese (our
extension)."""
from __future__ import annotations

import re

CHINESE_RUN = r"[\u3400-\u9fff]"
_WORD_OR_PAIR = re.compile(rf"(?=({CHINESE_RUN}{{2}})){CHINESE_RUN}|((?:(?!{CHINESE_RUN})[^\W\d_]){{4,}})")


def content_tokens(text: str) -> list[str]:
    """Words of four letters or more, as shorter ones say little about a subject; pairs of neighbouring
    Chinese characters, which is as near to a word as one gets without a dictionary."""
    return [pair or word for pair, word in _WORD_OR_PAIR.findall(text)]


def length_units(text: str, language: str) -> list[str]:
    """What the length of a text is counted in: words, or for Chinese characters (Latin words and numbers
    whole)."""
    return text.split() if language == "en" else re.findall(r"[A-Za-z0-9]+|[^\W_]", text)


def normalised(text: str) -> str:
    """Lower case, single spaces, no full stop or ellipsis at the end: how texts are compared."""
    return " ".join(text.lower().split()).rstrip(".… ")
