"""Words and characters of any script: how texts are split, counted and compared.

    Latin, Russian, Hindi, Arabic, Korean ...   "यह शराब"    यह, शराब          words, with their vowel signs
    Chinese, Japanese kanji                     "雨夜"        雨, 夜            characters
    kana, Thai, Lao, Khmer, Burmese ...         "เก็บไว้"     เก็บ, บไว้         pairs of characters with vowels

Decisions. In a script that is written without spaces a "word" between two spaces may be a page long, so its
characters are counted. Long runs of anything else (an address, "xxxx...") are cut into pieces for the same
reason. There is no dictionary: a pair of neighbouring characters is as near to a word as one gets.
"""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST_WORD = 40  # characters of a word; what is longer counts as several
LEAST_CONTENT = 4  # letters of a word that says something about a subject

# Ranges of characters, to stand between the brackets of a regular expression.
CHINESE = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
SOUTH_EAST_ASIAN = ("\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"
                    "\ua980-\ua9ff\uaa60-\uaadf")
UNSPACED = CHINESE + KANA + SOUTH_EAST_ASIAN
VOWELS_BEFORE = "\u0e40-\u0e44\u0ec0-\u0ec4"  # Thai and Lao: written before the consonant that they follow
VOWELS_AFTER = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"
STACKERS = "\u1039\u17d2"  # Burmese and Khmer: the next consonant is written below


def _marks() -> str:
    """Ranges of the signs that belong to the character before them: accents and vowel signs. For Python's
    `\\w` they end a word."""
    last_code = 0x11fff  # beyond it there are marks of notation alone
    marks = [code for code in range(0x300, last_code) if unicodedata.category(chr(code)).startswith("M")]
    starts = [code for code, before in zip(marks, [0, *marks]) if code != before + 1]
    ends = [code for code, after in zip(marks, [*marks[1:], 0]) if code + 1 != after]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends))


MARKS = _marks()
CHINESE_RUN = f"[{UNSPACED}]"  # one character of a script without spaces
LETTER_OR_DIGIT = rf"(?![{UNSPACED}])[^\W_][{MARKS}]*"
CHARACTERS = (rf"[{VOWELS_BEFORE}]?(?=[^\W_])[{UNSPACED}][{MARKS}{VOWELS_AFTER}]*"
              rf"(?:(?<=[{STACKERS}])[{UNSPACED}][{MARKS}{VOWELS_AFTER}]*)*")
CHARACTER = re.compile(CHARACTERS)
_WORD = rf"(?:{LETTER_OR_DIGIT})+|[{CHINESE}][{MARKS}]*"
_RUN = rf"(?:(?![{CHINESE}]){CHARACTERS})+"  # of a script without spaces, other than Chinese
_WORD_OR_RUN = re.compile(f"({_WORD})|({_RUN})")
_LETTER = rf"(?![{UNSPACED}])[^\W\d_]"
_CONTENT_WORD = rf"{_LETTER}(?:[{MARKS}]|{_LETTER}){{{LEAST_CONTENT - 1},{LONGEST_WORD - 1}}}"
_WORD_OR_PAIR = re.compile(f"(?=((?:{CHARACTERS}){{2}})){CHARACTERS}|({_CONTENT_WORD})")
_UNSPACED_CHARACTER = re.compile(CHINESE_RUN)
_PIECE = re.compile(rf"[A-Za-z0-9]{{1,{LONGEST_WORD}}}|{CHARACTERS}|(?:{LETTER_OR_DIGIT})")
_INVISIBLE = re.compile("[\u00ad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


def words_of(text: str) -> list[str]:
    """The words of a text in any script, in one spelling: small letters, composed, without invisible signs.

    Of a text in ASCII these are the runs of a-z and 0-9. Of Chinese they are its characters; of the scripts
    without spaces that have few letters (kana, Thai ...) pairs of neighbouring ones, because single letters
    occur in every text. A text without any word, such as "!!" or an emoji, gives its characters.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold())
        text = unicodedata.normalize("NFC", text)
    words = []
    for word, run in _WORD_OR_RUN.findall(text.lower()):
        words += [word] if word else in_pairs(CHARACTER.findall(run))
    return words or [character for character in text if not character.isspace()]


def in_pairs(characters: Sequence[str]) -> list[str]:
    """Overlapping pairs of neighbours; a single character stands alone. "abc" gives ["ab", "bc"]."""
    last_start = max(len(characters) - 2, 0)
    return ["".join(characters[start:start + 2]) for start in range(last_start + 1)]


def content_tokens(text: str) -> list[str]:
    """Words of four letters or more, as shorter ones say little about a subject; pairs of neighbouring
    characters of a script without spaces."""
    return [pair or word for pair, word in _WORD_OR_PAIR.findall(text)]


def length_units(text: str, language: str) -> list[str]:
    """What the length of a text is counted in: words with their punctuation, or for Chinese characters (Latin
    words and numbers whole). A "word" of another script without spaces is its characters, too, and a word of
    more than LONGEST_WORD characters is several.

    Example: "a b!" in English gives ["a", "b!"], "雨夜 2024!" in Chinese ["雨", "夜", "2024"].
    """
    if language != "en":
        return _PIECE.findall(text)
    units = []
    for word in text.split():
        if _UNSPACED_CHARACTER.search(word):
            units += _PIECE.findall(word)
        else:
            units += [word[start:start + LONGEST_WORD] for start in range(0, len(word), LONGEST_WORD)]
    return units


def counts_characters(texts: list[str], language: str) -> bool:
    """Whether `length_units` of these texts are for the greater part characters, not words."""
    if language != "en":
        return True
    unspaced = sum(len(_UNSPACED_CHARACTER.findall(text)) for text in texts)
    return unspaced > 0 and 2 * unspaced > sum(len(length_units(text, language)) for text in texts)


def normalised(text: str) -> str:
    """Lower case, single spaces, no full stop or ellipsis at the end: how texts are compared."""
    return " ".join(text.lower().split()).rstrip(".… ")
