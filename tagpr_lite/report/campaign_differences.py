"""What a campaign's page compares, and the sentences that say what came out.

A row is one difference over the runs of a campaign (over_seeds.py) in task reward. Several runs: a row is
judged by the interval of a new run. One run has none, and is judged by the interval of these runs.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..config.systems import ITEMS, System, parse_system, profile_words
from ..lamp.differences import Scored
from ..lamp.over_seeds import Pooled, over_seeds
from .differences import MINUS, have_common, names, plus
from .faithful import WORDS, read_changes
from .over_seeds import Pair, Run, in_order, other_people, span, system_pairs, users_of_seed, variant_pairs
from .tables import LABELS, counted
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


# ---------------------------------------------------------------- the stages and the variants

def stages(runs: list[Run], variant: str) -> list[str]:
    """The systems of the method that the variant has, in order, without other views and decodings."""
    return [name for name in LABELS
            if any(run.variant == variant and name in run.answers.scored for run in runs)]


def stage_rows(runs: list[Run]) -> list[Row]:
    """Each system of the first variant against SFT and against the one before it."""
    rows = []
    for variant in variants_of(runs)[:1]:
        order = stages(runs, variant)
        for place, system in enumerate(order):
            earlier = order[:place]
            for against in dict.fromkeys([name for name in earlier if name == "sft"] + earlier[-1:]):
                rows += compared(minus(system, against), system_pairs(runs, variant, against, system))
    return rows


def variant_rows(runs: list[Run], settings: dict[str, str]) -> list[Row]:
    """Each other variant against the first one, for the last system that both have. settings: {variant: what
    it changes}."""
    rows = []
    first, *others = variants_of(runs) or [""]
    for variant in others:
        common = [name for name in stages(runs, first) if name in stages(runs, variant)]
        if common:
            note = f"{common[-1]}; {settings.get(variant, '')}".rstrip("; ")
            rows += compared(minus(variant, first), variant_pairs(runs, first, variant, common[-1]), note)
    return rows


# ---------------------------------------------------------------- what a system sees, and how it decides

def parsed(runs: list[Run], variant: str) -> list[tuple[str, System]]:
    """(word, system) of every system of the variant whose word can be read, in order."""
    found = []
    for word in in_order({name for run in runs if run.variant == variant for name in run.answers.scored}):
        try:
            found.append((word, parse_system(word)))
        except ValueError:  # a folder that somebody else has made
            continue
    return found


def items_of(runs: list[Run], variant: str) -> dict[str, dict[int, str]]:
    """{plain system: {items: system}} of the systems such as explore@k4, where there are several."""
    words: dict[str, dict[int, str]] = {}
    for word, system in parsed(runs, variant):
        if ITEMS.fullmatch(system.profile) and system.decoding == "greedy":
            words.setdefault(System(system.adapter).answerer, {})[int(system.profile[1:])] = word
    return {plain: dict(sorted(by_items.items())) for plain, by_items in words.items() if len(by_items) > 1}


def item_curves(runs: list[Run]) -> list[tuple[Curve, Group]]:
    """The reward over the number of items, and its gain over the fewest; from the runs that have all of
    them."""
    curves = []
    for variant in variants_of(runs):
        for plain, by_items in items_of(runs, variant).items():
            whole = [run for run in runs if run.variant == variant
                     and set(by_items.values()) <= run.answers.scored.keys()]
            if not whole:
                continue
            points = {items: over_seeds([(zeros(run, word), run.answers.scored[word]) for run in whole])
                      for items, word in by_items.items()}
            fewest, *others = by_items
            rows = [row for items in others for row in compared(
                f"{profile_words(f'k{items}')} {MINUS} {fewest}",
                system_pairs(whole, variant, by_items[fewest], by_items[items]))]
            if not rows:
                continue
            said = sentence(f"with {profile_words(f'k{others[-1]}')} instead of {fewest}, {plain} changes by",
                            rows[-1])
            title = titled(variant, plain, runs)
            curves.append((Curve(title, points), Group(f"{title}, more items against the fewest", rows, said)))
    return curves


def zeros(run: Run, word: str) -> list[Scored]:
    """A system without any reward on the same questions: the difference to it is the reward."""
    return [row._replace(value=0.0) for row in run.answers.scored[word]]


def view_groups(runs: list[Run]) -> list[Group]:
    """Systems that see another profile than the user's own, against the plain system."""
    groups = []
    for variant in variants_of(runs):
        rows = []
        in_curves = {word for by_items in items_of(runs, variant).values() for word in by_items.values()}
        for word, system in parsed(runs, variant):
            plain = System(system.adapter).answerer
            if system.decoding == "greedy" and word not in {plain, "base"} | in_curves:
                rows += compared(minus(word, plain), system_pairs(runs, variant, plain, word),
                                 profile_words(system.profile))
        if rows:
            groups.append(Group(titled(variant, "other views of the profile", runs), rows))
    return groups


def choice_groups(runs: list[Run]) -> list[Group]:
    """Systems that choose one of several samples, against the vote and against a random one; and PRMU's
    choice with the user's own embedding against its choice with another's."""
    groups = []
    for variant in variants_of(runs):
        asked: dict[tuple[str, int], dict[str, str]] = {}  # {(answerer, samples): {choice: word}}
        for word, system in parsed(runs, variant):
            if system.decoding != "greedy":
                whose = "" if system.asked_with == "own" else f"-{system.asked_with}"
                choice = f"{system.decoding}{system.samples}{whose}"
                asked.setdefault((system.answerer, system.samples), {})[choice] = word
        for (answerer, samples), words in asked.items():
            own, other, vote, random = (f"{name}{samples}" + end for name, end in
                                        (("prmu", ""), ("prmu", "-other"), ("vote", ""), ("random", "")))
            order = [own, other, f"{own}-none", vote, f"best{samples}"]
            wanted = [(own, other), *((choice, against) for against in (vote, random) for choice in order)]
            rows = [row for choice, against in wanted
                    if choice != against and choice in words and against in words
                    for row in compared(minus(choice, against),
                                        system_pairs(runs, variant, words[against], words[choice]),
                                        choice_note(choice, against))]
            if rows:
                told = [row for row in rows if row.name in (minus(own, vote), minus(own, other))]
                said = " ".join(sentence(row.name, row) for row in told)
                groups.append(Group(titled(variant, f"{answerer}, {samples} samples", runs), rows, said))
    return groups


def choice_note(choice: str, against: str) -> str:
    """What a reader should know of the two ways to choose."""
    if against.endswith("-other"):
        return "what the user's own embedding is worth"
    if choice.startswith("best"):
        return "the oracle: it has seen the gold"
    _, _, whose = choice.partition("-")
    return {"other": "asked with another user's embedding", "none": "asked with no user's"}.get(whose, "")


# ---------------------------------------------------------------- the tags

def tag_groups(runs: list[Run]) -> list[Group]:
    """What leaving a part of the chain out costs, over the runs of a variant: the tag first whose loss costs
    most, then all steps and another user's chain."""
    by_seed = other_people(runs)
    groups = []
    for variant in variants_of(runs):
        pairs: dict[str, dict[str, list[Pair]]] = {}  # {system: {change: a pair a run}}
        for run in runs:
            if run.variant == variant and run.folder:
                for system, changes in read_changes(run.folder).items():
                    for change, (before, after) in changes.items():
                        if by_seed:
                            before, after = users_of_seed(before, run.seed), users_of_seed(after, run.seed)
                        pairs.setdefault(system, {}).setdefault(change, []).append((before, after))
        for system, of_system in pairs.items():
            rows = {change: row for change, some in of_system.items()
                    for row in compared(WORDS.get(change, change), some, chain_count(some))}
            order = sorted(rows, key=lambda change: (change in WORDS, rows[change].found.value))
            said = " ".join(sentence(f"without its {change} steps, the reward of {system} changes by", rows[change])
                            for change in order[:1] if change not in WORDS)
            groups.append(Group(titled(variant, system, runs), [rows[change] for change in order], said, variant))
    return groups


def chain_count(pairs: list[Pair]) -> str:
    return counted(sum(len(after) for _, after in pairs), "chain")


# ---------------------------------------------------------------- sentences

def sentence(subject: str, row: Row) -> str:
    """"Explore − sft: +0.051 (95% interval of a new run −0.007 to +0.108), within noise."."""
    which, ends = row.ends[0]
    subject = subject[:1].upper() + subject[1:]
    colon = "" if subject.endswith(" by") else ":"
    return f"{subject}{colon} {plus(row.found.value)} (95% interval of {which} {ends}), {certain(row.verdict)}."


def certain(verdict: str) -> str:
    return verdict if verdict == NOISE else f"{verdict} beyond noise"


def headline(stage: list[Row], variant: list[Row], first: str) -> str:
    """The result in words: the last stage against SFT, then the variants."""
    rows = stage + variant
    if not rows:
        return "Nothing was compared in this campaign yet, so there is no result to summarise."
    runs = max(len(row.found.by_run) for row in rows)
    parts = [] if any(row.verdict != NOISE for row in rows) else ["Nothing here is beyond noise."]
    if stage:
        last = stage[-1].name.split(f" {MINUS} ")[0]
        told = [row for row in stage if row.name == minus(last, "sft")] or stage[-1:]
        one, against = told[0].name.split(f" {MINUS} ")
        where = f"in {first}, " if variant else ""
        parts.append(sentence(f"{where}{names(one)} minus {names(against)}", told[0]))
    if variant:
        parts.append(variants_sentence(variant, first))
    if runs == 1:
        parts.append("One seed says nothing of another one: these intervals are of the very models that were "
                     "trained, on other users.")
    else:
        parts.append(f"({counted(runs, 'run')} at most a comparison; task reward, 0 to 1, mean over tasks.)")
    return " ".join(parts)


def variants_sentence(rows: list[Row], first: str) -> str:
    """Which variants differ from the first one beyond noise; of the others only a few are named."""
    said = {True: [], False: []}  # {whether beyond noise: "blind (−0.020)"}
    for row in rows:
        name = row.name.removesuffix(f" {MINUS} {first}")
        said[row.verdict != NOISE].append(f"{name} ({plus(row.found.value)})")
    within = said[False] if len(said[False]) <= MOST_NAMED else [counted(len(said[False]), "variant")]
    parts = [f"{words}: {', '.join(some)}" for words, some in
             (("beyond noise", said[True]), ("within noise", within)) if some]
    return f"Against {first}, {'; '.join(parts)}."
