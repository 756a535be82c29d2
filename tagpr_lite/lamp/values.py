"""What a value in a person's file means: numbers are texts, nulls are absent, and what is neither is named.

    4, 4.0        "4"        pandas makes floats of whole numbers where a column has gaps
    null          absent     as if its key were not there
    "4.0"         "4"        where the labels are numbers
    "\\ud83d"      "?"        half of a character
    nan, [4]      an error that names the value

One place, so that no reader turns null into the word "None" or 4.0 into another answer than 4.
"""
from __future__ import annotations

import math
import re
import reprlib
from typing import Any

from ..runs import whole_characters

NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
LARGEST_WHOLE_FLOAT = 1e15  # beyond it a float does not hold every whole number
NAMES = {bool: "true or false", list: "a list", dict: "an object", type(None): "null"}


def without_nulls(row: dict) -> dict:
    """The row with those of its keys alone that have a value."""
    return {key: value for key, value in row.items() if value is not None}


def as_text(value: Any) -> str:
    """A string or a number as a text: 4.0 is "4". ValueError: what the value is instead."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        what = NAMES.get(type(value), "no text")
        raise ValueError(f"{shown(value)}, {what}, where a text or a number belongs")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value}, which is no number")
        whole = value.is_integer() and abs(value) < LARGEST_WHOLE_FLOAT
        return str(int(value)) if whole else str(value)
    return whole_characters(str(value))


def as_label(text: str, labels: tuple[str, ...]) -> str:
    """The one of the labels that the text is, also where it writes the same number in another way ("4.0"). A
    text that is none of them is given back, without the white space around it."""
    text = text.strip()
    if text in labels or not NUMBER.fullmatch(text):
        return text
    equal = [label for label in labels if NUMBER.fullmatch(label) and float(label) == float(text)]
    return equal[0] if equal else text


def shown(value: Any) -> str:
    """A value for a message: short, in one line, however large or deep it is."""
    return reprlib.repr(value)
