"""A row of a campaign's page: one difference over its runs, and the sentences that say it.

A row is judged by the interval of a new run. One run has none, and is judged by the interval of these runs.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..lamp.over_seeds import Pooled, over_seeds
from .differences import MINUS, have_common, names, plus
from .over_seeds import Pair, Run, span
from .tables import counted
from .tracks import is_known

BETTER, WORSE, NOISE = "better", "worse", "within noise"
MOST_NAMED = 3  # variants within noise that the sentence at the top names


class Row(NamedTuple):
    """One difference. note: what a reader should know of it, such as the settings of a variant."""
    name: str
    found: Pooled
    note: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval by which the row is judged."""
        return (self.found.low, self.found.high) if len(self.found.by_run) > 1 else self.found.these

    @property
    def verdict(self) -> str:
        low, high = self.interval
        if low > 0:
            return BETTER
        return WORSE if high < 0 else NOISE

    @property
    def ends(self) -> list[tuple[str, str]]:
        """(which interval, its ends) as text."""
        several = [("a new run", (self.found.low, self.found.high))] if len(self.found.by_run) > 1 else []
        return [(which, span(*ends) if is_known(ends) else "not known")
                for which, ends in [*several, ("these runs", self.found.these)]]


class Group(NamedTuple):
    """Rows that belong together. said: a sentence of what they show. variant: whose they are."""
    title: str
    rows: list[Row]
    said: str = ""
    variant: str = ""


class Curve(NamedTuple):
    """The reward of a system over the number of items that it is shown. points: {items: reward}."""
    title: str
    points: dict[int, Pooled]

    @property
    def several(self) -> bool:
        """Whether there are several runs, so that a new run has an interval."""
        return all(len(found.by_run) > 1 for found in self.points.values())


def compared(name: str, pairs: Iterable[Pair], note: str = "") -> list[Row]:
    """The row of a difference, in a list; an empty list where no run can be compared."""
    pairs = [pair for pair in pairs if have_common(*pair)]
    return [Row(name, over_seeds(pairs), note)] if pairs else []


def minus(first: str, second: str) -> str:
    return f"{first} {MINUS} {second}"


def variants_of(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in runs))


def titled(variant: str, words: str, runs: list[Run]) -> str:
    """The words, with the variant where there are several."""
    return f"{variant}: {words}" if len(variants_of(runs)) > 1 else words


# ---------------------------------------------------------------- sentences

def sentence(subject: str, row: Row) -> str:
    """"explore − sft: +0.051 (95% interval of a new run −0.007 to +0.108), within noise."."""
    which, ends = row.ends[0]
    colon = "" if subject.endswith(" by") else ":"
    value = f"{plus(row.found.value)} (95% interval of {which} {ends})"
    return f"{subject}{colon} {value}, {certain(row.verdict)}."


def certain(verdict: str) -> str:
    return verdict if verdict == NOISE else f"{verdict} beyond noise"


def headline(stage: list[Row], variant: list[Row], first: str) -> str:
    """The result in words: the last stage against SFT, then the variants."""
    rows = stage + variant
    if not rows:
        return "Nothing was compared in this campaign yet, so there is no result to summarise."
    counts = {len(row.found.by_run) for row in rows}
    parts = [] if any(row.verdict != NOISE for row in rows) else ["Nothing here is beyond noise."]
    if stage:
        last = stage[-1].name.split(f" {MINUS} ")[0]
        told = [row for row in stage if row.name == minus(last, "sft")] or stage[-1:]
        one, against = told[0].name.split(f" {MINUS} ")
        subject = f"{names(one)} minus {names(against)}"
        subject = f"In {first}, {subject}" if variant else subject[0].upper() + subject[1:]
        parts.append(sentence(subject, told[0]))
    if variant:
        parts.append(variants_sentence(variant, first))
    if counts == {1}:
        parts.append("One seed says nothing of another one: these intervals are of the very models that were "
                     "trained, on other users.")
    else:
        over = counted(max(counts), "run") if len(counts) == 1 else f"at most {counted(max(counts), 'run')}"
        parts.append(f"(Over {over}; task reward, 0 to 1, mean over tasks.)")
    return " ".join(parts)


def variants_sentence(rows: list[Row], first: str) -> str:
    """Which variants differ from the first one beyond noise; of the others only a few are named."""
    if len(rows) == 1:
        return sentence(rows[0].name, rows[0])
    said = {True: [], False: []}  # {whether beyond noise: "blind (−0.020)"}
    for row in rows:
        name = row.name.removesuffix(f" {MINUS} {first}")
        said[row.verdict != NOISE].append(f"{name} ({plus(row.found.value)})")
    within = said[False] if len(said[False]) <= MOST_NAMED else [counted(len(said[False]), "variant")]
    parts = [f"{words}: {', '.join(some)}" for words, some in
             (("beyond noise", said[True]), ("within noise", within)) if some]
    return f"Against {first}, {'; '.join(parts)}."
