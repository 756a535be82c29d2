"""What a campaign's page compares: stages, variants, views of the profile, ways to choose, changed chains.

Every comparison is a Row (campaign_rows.py) in task reward.
"""
from __future__ import annotations

from ..config.systems import ITEMS, System, parse_system, profile_words
from ..lamp.differences import Scored
from ..lamp.over_seeds import over_seeds
from .campaign_rows import Curve, Group, Row, compared, minus, sentence, titled, variants_of
from .faithful import WORDS, read_changes
from .over_seeds import Pair, Run, in_order, other_people, system_pairs, users_of_seed, variant_pairs
from .tables import LABELS, counted

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
                minus(profile_words(f"k{items}"), profile_words(f"k{fewest}")),
                system_pairs(whole, variant, by_items[fewest], by_items[items]))]
            if not rows:
                continue
            said = sentence(f"With {profile_words(f'k{others[-1]}')} instead of {fewest}, {plain} changes by",
                            rows[-1])
            title = titled(variant, plain, runs)
            gains = Group(f"{title}, more items against the fewest", rows, said)
            curves.append((Curve(title, points), gains))
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
    groups = []
    for variant in variants_of(runs):
        for system, by_change in change_pairs(runs, variant).items():
            rows = {change: row for change, pairs in by_change.items()
                    for row in compared(WORDS.get(change, change), pairs, chain_count(pairs))}
            # A change named in WORDS is of the whole chain: those come last.
            order = sorted(rows, key=lambda change: (change in WORDS, rows[change].found.value))
            said = ""
            if order and order[0] not in WORDS:
                said = sentence(f"Without its {order[0]} steps, the reward of {system} changes by",
                                rows[order[0]])
            groups.append(Group(titled(variant, system, runs), [rows[change] for change in order], said,
                                variant))
    return groups


def change_pairs(runs: list[Run], variant: str) -> dict[str, dict[str, list[Pair]]]:
    """{system: {change: (before, after) of every run of the variant that made it}}."""
    by_seed = other_people(runs)
    pairs: dict[str, dict[str, list[Pair]]] = {}
    for run in runs:
        changes = read_changes(run.folder) if run.variant == variant and run.folder else {}
        for system, by_change in changes.items():
            for change, pair in by_change.items():
                first, second = [users_of_seed(rows, run.seed) if by_seed else rows for rows in pair]
                pairs.setdefault(system, {}).setdefault(change, []).append((first, second))
    return pairs


def chain_count(pairs: list[Pair]) -> str:
    return counted(sum(len(after) for _, after in pairs), "chain")
