"""Differences over the runs of a campaign: between the systems of a variant, and between variants.

Decisions. Systems are compared as in the report of one run (differences.py), run by run, on each run's own
questions; a variant is compared with the campaign's first one, run by run of the same seed. The mean over
runs has two intervals (lamp/over_seeds.py): of a new run with another seed, and of these runs.
Two runs in which one question id stands for different texts have other people, whatever their users are
called: so it is on the built-in benchmark, whose users are drawn from the seed.
"""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..lamp.differences import Scored
from ..lamp.over_seeds import over_seeds
from .differences import Answers, anchors, bold, have_common, p_text, plus
from .grid import grid
from .tables import LABELS, known_first

Pair = tuple[list[Scored], list[Scored]]
"""(first, second) of one run."""
HEADS = ["difference", "runs", "mean", "a new run: 95% interval", "p", "these runs: 95% interval", "by run"]
NOTE = ('Task reward, 0 to 1, mean over tasks, paired by question. "A new run": another seed and other '
        "users, by Student's t over the runs, right whether or not the effect differs from seed to seed; "
        'one run says nothing of it. "These runs": the very models that were trained, on other users. Bold: '
        "a new run's interval leaves out 0.")


class Run(NamedTuple):
    """One run of a campaign that has answers. folder: where its files are; None: nothing but the answers."""
    variant: str
    seed: int
    answers: Answers
    folder: Path | None = None


def differences_text(runs: Iterable[Run]) -> str:
    """Markdown of both tables; "" where nothing can be compared."""
    runs = apart(list(runs))
    tables = [("Between the systems of a variant", between_systems(runs)),
              ("Between variants", between_variants(runs))]
    parts = [f"## {title}\n\n{grid(HEADS, rows)}" for title, rows in tables if rows]
    return "\n\n".join([*parts, NOTE]) + "\n" if parts else ""


def apart(runs: list[Run]) -> list[Run]:
    """The runs with users named apart by seed where runs of two seeds have other people."""
    return [named_by_seed(run) for run in runs] if other_people(runs) else runs


def other_people(runs: list[Run]) -> bool:
    """Whether one question id stands for different texts in runs of two seeds."""
    texts_of_seed: dict[int, dict] = {}
    for run in runs:
        texts_of_seed.setdefault(run.seed, {}).update(run.answers.texts)
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    return any(seen.setdefault(key, text) != text
               for texts in texts_of_seed.values() for key, text in texts.items())


def named_by_seed(run: Run) -> Run:
    scored = {system: users_of_seed(rows, run.seed) for system, rows in run.answers.scored.items()}
    return run._replace(answers=run.answers._replace(scored=scored))


def users_of_seed(rows: list[Scored], seed: int) -> list[Scored]:
    return [row._replace(user=f"{seed}/{row.user}") for row in rows]


def between_systems(runs: list[Run]) -> list[list[str]]:
    """A line a variant, system and anchor."""
    rows = []
    for variant in dict.fromkeys(run.variant for run in runs):
        names = {name: None for run in runs if run.variant == variant for name in run.answers.scored}
        for place, against in enumerate(anchors(names)):
            for system in in_order(names):
                if system not in anchors(names)[:place + 1]:
                    rows += line(f"{variant}: {system} − {against}",
                                 system_pairs(runs, variant, against, system))
    return rows


def system_pairs(runs: list[Run], variant: str, against: str, system: str) -> list[Pair]:
    """(against, system) of every run of the variant that has both."""
    return [(run.answers.scored[against], run.answers.scored[system]) for run in runs
            if run.variant == variant and {against, system} <= run.answers.scored.keys()]


def between_variants(runs: list[Run]) -> list[list[str]]:
    """A line a system and variant, against the first variant."""
    first, *others = dict.fromkeys(run.variant for run in runs) or [""]
    rows = []
    for system in in_order({name for run in runs for name in run.answers.scored}):
        for variant in others:
            rows += line(f"{system}: {variant} − {first}", variant_pairs(runs, first, variant, system))
    return rows


def variant_pairs(runs: list[Run], first: str, variant: str, system: str) -> list[Pair]:
    """(first variant's, variant's) answers of a system, seed by seed, where both were asked the same."""
    by_seed = {(run.variant, run.seed): run.answers for run in runs}
    pairs = []
    for (of_variant, seed), answers in by_seed.items():
        against = by_seed.get((first, seed))
        if of_variant == variant and against and same_texts(answers, against):
            if system in answers.scored and system in against.scored:
                pairs.append((against.scored[system], answers.scored[system]))
    return pairs


def same_texts(first: Answers, second: Answers) -> bool:
    """Whether every question id that both have stands for one text."""
    return all(second.texts.get(key, text) == text for key, text in first.texts.items())


def in_order(systems: Iterable[str]) -> list[str]:
    return sorted(systems, key=lambda name: known_first(name, LABELS))


def line(name: str, pairs: list[Pair]) -> list[list[str]]:
    """The table's line of one difference, in a list; an empty list where no run can be compared."""
    pairs = [pair for pair in pairs if have_common(*pair)]
    if not pairs:
        return []
    found = over_seeds(pairs)
    new_run = span(found.low, found.high) if len(pairs) > 1 else "–"
    p = p_text(found.p) if len(pairs) > 1 else "–"
    by_run = ", ".join(map(plus, found.by_run))
    mean = bold(plus(found.value), found.beyond_noise)
    return [[name, str(len(pairs)), mean, new_run, p, span(*found.these), by_run]]


def span(low: float, high: float) -> str:
    return f"{plus(low)} to {plus(high)}"
