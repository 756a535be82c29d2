"""Dates: one reading, one spelling, one comparison.

    2020-9-14, 2020/09/14, 20200914        2020-09-14
    2020, 2020.0, 2020-09                  2020, 2020, 2020-09
    2020-09-14T10:00:00+02:00              2020-09-14T08:00:00    in UTC; without a zone it is UTC already
    970000000, 970000000000 ("..." too)    2000-09-26T20:26:40    unix seconds (9, 10 digits), milliseconds
    12/20/2019, 20.12.2019                 2019-12-20             where dates beside it tell day from month

Decisions. Files are read into this spelling, in which the order of texts is the order of time, and nothing
later reads a date again. Dates of the official files keep the order that the official code gives them, which
compares their numbers (2013-10-2 is newer than 2013-9-14). What cannot be read is an error that names it,
because a wrong date puts the future into a history. So is 01/02/2020 where nothing tells which number is the
month, and so are 2020 and 2020-05 of one user: nobody knows which is earlier.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from .values import as_text, shown

EARLIEST_YEAR = 1000
DAY = len("2020-09-14")
# What the digits of a whole number mean: 10^n of them are a second.
UNIX = {9: 0, 10: 0, 12: 3, 13: 3, 15: 6, 16: 6, 18: 9, 19: 9}
ISO = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})(?:\2(\d{1,2}))?)?")
COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
NUMBERS = re.compile(r"\d{1,4}(?:-\d{1,2}){0,2}")
TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?", re.I)


class DateError(ValueError):
    """Why a date, or dates beside each other, cannot be read."""


def read_dates(values: Sequence[Any], month_first: bool | None = None, official: bool = False) -> list[str]:
    """The dates in one spelling, "" for null and blank ones. DateError names a date that cannot be read.

    month_first: what `month_comes_first` says of the whole file; None: these dates tell, or nothing does.
    official: 2013-2-30 and 2013-0-0 are taken as they are, as the official code does.

    Example: [970000000, "2020-9-14", None] gives ["2000-09-26T20:26:40", "2020-09-14", ""].
    """
    texts = [_text(value) for value in values]
    if month_first is None:
        month_first = month_comes_first(texts)
    return [_read(text, month_first, official) if text else "" for text in texts]


def month_comes_first(values: Iterable[Any]) -> bool | None:
    """Whether dates such as 12/20/2019 begin with the month; None where nothing tells, or two disagree."""
    month_first = day_first = False
    for value in values:
        match = YEAR_LAST.match(value.strip()) if isinstance(value, str) else None
        if match:
            month_first |= int(match[3]) > 12
            day_first |= int(match[1]) > 12
    return month_first if month_first != day_first else None


def is_later(one: str, other: str) -> bool:
    """Whether a date is after another one, as far as both are known: 2012-05 is not after 2012. "": unknown,
    after nothing and before nothing."""
    length = min(len(one), len(other))
    if length > DAY:  # times of a day are full seconds, with or without a fraction
        return one > other
    return one[:length] > other[:length]


def oldest_first(dates: Sequence[str]) -> list[int]:
    """The places of the dates in the order of time, equal ones in theirs; as they are where one is
    unknown."""
    places = list(range(len(dates)))
    return sorted(places, key=lambda place: dates[place]) if all(dates) else places


def check_order(dates: Sequence[str]) -> None:
    """DateError where the order of one user's dates is not known: a year beside a month of that year, or
    dates that go back in time in a list that is undated in part, so that its order has to be trusted."""
    known = [date for date in dates if date]
    in_order = sorted(known)
    for one, other in zip(in_order, in_order[1:]):
        if len(one) < len(other) and len(one) <= DAY and other.startswith(one):
            raise DateError(f"{one} and {other} cannot be compared: write both to the same precision")
    if len(known) < len(dates):
        for one, other in zip(known, known[1:]):
            if is_later(one, other):
                raise DateError(f"{one} stands before {other}, and others have no date: date all of them, or "
                                "put them in the order of time")


def order_is_known(dates: Sequence[str]) -> bool:
    """Whether all of one user's dates are there and can be compared."""
    try:
        check_order(dates)
    except DateError:
        return False
    return all(dates)


# ---------------------------------------------------------------- one date

def _text(value: Any) -> str:
    """A value of a file without white space around it; "" for null."""
    try:
        return "" if value is None else as_text(value).strip()
    except ValueError as error:
        raise DateError(f"date {error}") from None


def _read(text: str, month_first: bool | None, official: bool) -> str:
    """One date in our spelling."""
    try:
        number = re.fullmatch(r"(\d{4,19})(?:\.(\d{1,9}))?", text)
        if number and len(number[1]) in UNIX:
            return _of_unix(number[1], number[2])
        if number and not (number[2] or "").strip("0"):
            text = number[1]  # 2020.0 is a year out of a column of floats
        return _of_calendar(text, month_first)
    except DateError:
        raise
    except (ValueError, OverflowError):
        if official and NUMBERS.fullmatch(text):
            year, *rest = text.split("-")
            return "-".join([f"{int(year):04}", *(f"{int(number):02}" for number in rest)])
        raise DateError(f"date {shown(text)} cannot be read; write 2020-09-14, or unix seconds") from None


def _of_calendar(text: str, month_first: bool | None) -> str:
    """A date of a year, a month and a day, perhaps with a time. ValueError: it is none."""
    if match := YEAR_LAST.match(text):
        if month_first is None:
            raise DateError(f"date {shown(text)} may begin with the day or with the month; write it as "
                            f"{match[4]}-MM-DD")
        month, day = (match[1], match[3]) if month_first else (match[3], match[1])
        year = match[4]
    elif match := COMPACT.fullmatch(text):
        year, month, day = match.groups()
    elif match := ISO.match(text):
        year, _, month, day = match.groups()
    else:
        raise ValueError("no date")
    return _spelled(year, month, day, text[match.end():])


def _of_unix(digits: str, fraction: str | None) -> str:
    """Whole seconds are all that is kept of a finer unit's digits, but for the fraction."""
    power = UNIX[len(digits)]
    whole, rest = (digits[:-power], digits[-power:]) if power else (digits, fraction or "")
    moment = datetime(1970, 1, 1) + timedelta(seconds=int(whole))
    return moment.isoformat() + _fraction(rest)


def _fraction(digits: str | None) -> str:
    """".5" for "500"; "" for nothing but zeros."""
    digits = (digits or "").rstrip("0")
    return f".{digits}" if digits else ""


def _spelled(year: str, month: str | None, day: str | None, rest: str) -> str:
    """The date, to the precision that it has. rest: what follows the day: nothing, or a time."""
    if int(year) < EARLIEST_YEAR:
        raise ValueError
    moment = datetime(int(year), int(month or 1), int(day or 1))
    if not rest:
        return moment.strftime("%Y-%m-%d")[:4 if not month else 7 if not day else DAY]
    time = TIME.fullmatch(rest.lstrip(" Tt,").strip())
    if not day or not time or rest[0] not in " Tt,":
        raise ValueError
    hour, minute, second, fraction, zone = time.groups()
    moment += timedelta(hours=int(hour), minutes=int(minute), seconds=int(second or 0))
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        raise ValueError
    if zone and zone[0] in "+-":
        moment = moment.replace(tzinfo=datetime.strptime(zone, "%z").tzinfo).astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat() + _fraction(fraction)
