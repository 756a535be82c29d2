"""Do the intervals of lamp/differences.py and lamp/over_seeds.py hold what they promise? Simulated data sets
with known effects.

Decisions. A kind of task is a function that draws the differences of many users' questions, as item_reward
has them: many are 0, the others skewed, and users differ. Its true mean is drawn too, from 2 million users.
A scenario is counted as covered where the interval holds the true mean; 1,000 data sets tell a coverage to
about 0.7 points (one standard error).
"""
from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np

from ..lamp.differences import Scored, difference
from ..lamp.over_seeds import over_seeds
from ..runs import seed_of

Kind = Callable[[np.random.Generator, int, int], np.ndarray]
"""(rng, users, questions of each) -> differences [users, questions]."""
MANY = 2_000_000  # users whose mean is the truth


# ---------------------------------------------------------------- kinds of tasks

def choice(rng: np.random.Generator, users: int, questions: int, gain: float = 0.35,
           loss: float = 0.15) -> np.ndarray:
    """Right or wrong. A wrong answer becomes right with a chance that differs from user to user, `gain` in
    the mean, and a right one wrong, `loss`."""
    shape = (users, questions)
    was_right = rng.random(shape) < rng.beta(2, 2, (users, 1))
    gains = rng.random(shape) < gain * rng.gamma(2, 0.5, (users, 1))
    losses = rng.random(shape) < loss * rng.gamma(2, 0.5, (users, 1))
    return np.where(was_right, -losses.astype(float), gains.astype(float))


def rare(rng: np.random.Generator, users: int, questions: int) -> np.ndarray:
    """Right or wrong, and hardly any answer changes."""
    return choice(rng, users, questions, gain=0.10, loss=0.03)


def one_way(rng: np.random.Generator, users: int, questions: int) -> np.ndarray:
    """Right or wrong, and no answer gets worse."""
    return choice(rng, users, questions, gain=0.2, loss=0.0)


def rating(rng: np.random.Generator, users: int, questions: int) -> np.ndarray:
    """Steps of a quarter; a share of the answers changes, which differs from user to user."""
    shape = (users, questions)
    errors = [0, 0.25, 0.5, 0.75, 1]
    before = rng.choice(errors, shape, p=[0.35, 0.35, 0.2, 0.07, 0.03])
    after = rng.choice(errors, shape, p=[0.5, 0.3, 0.12, 0.05, 0.03])
    changes = rng.random(shape) < rng.beta(2, 3, (users, 1))
    return np.where(changes, before - after, 0.0)


def text(rng: np.random.Generator, users: int, questions: int) -> np.ndarray:
    """ROUGE: low and skewed, half of the answers unchanged."""
    shape = (users, questions)
    before = rng.beta(1.2, 4, shape)
    better = rng.random(shape) < rng.beta(3, 2, (users, 1))
    moved = np.where(better, before + rng.gamma(1.2, 0.12, shape), before - rng.gamma(1.2, 0.1, shape))
    changes = rng.random(shape) < rng.beta(3, 3, (users, 1))
    return np.where(changes, np.clip(moved, 0, 1) - before, 0.0)


def few_users_gain(rng: np.random.Generator, users: int, questions: int) -> np.ndarray:
    """One user in five gains much, the others lose a little or nothing."""
    shape = (users, questions)
    gains = (rng.random((users, 1)) < 0.2) & (rng.random(shape) < 0.7)
    losses = np.where(rng.random(shape) < 0.3, -rng.beta(1, 9, shape), 0.0)
    return np.where(gains, rng.beta(2, 1, shape), losses)


@cache
def truth(kind: Kind) -> float:
    return float(kind(np.random.default_rng(seed_of("truth", kind.__name__)), MANY, 1).mean())


KINDS = (choice, rare, one_way, rating, text, few_users_gain)
MIXED = (choice, choice, rating, text, text, text, text, rating)  # of the eight tasks of the benchmark
Scenario = tuple[str, tuple[Kind, ...], int, tuple[int, int]]
"""name, a kind for each task, users a task, questions a user at least and at most."""
SCENARIOS: list[Scenario] = [
    *[(f"8 tasks of 16 users, {kind.__name__}", (kind,) * 8, 16, (1, 3)) for kind in KINDS],
    ("8 tasks of 16 users, mixed", MIXED, 16, (1, 3)),
    *[(f"1 task of 40 users, {kind.__name__}", (kind,), 40, (1, 3)) for kind in KINDS],
    *[(f"1 task of 2000 users, {kind.__name__}", (kind,), 2000, (1, 1)) for kind in (choice, rare, text)]]
SEEDS_SCENARIOS = [(f"3 seeds, spread {spread}, {users}", spread, users == "the same users")
                   for spread in (0.0, 0.03, 0.1) for users in ("other users", "the same users")]


# ---------------------------------------------------------------- data sets

def data_set(rng: np.random.Generator, kinds: tuple[Kind, ...], users: int,
             questions: tuple[int, int]) -> tuple[list[Scored], list[Scored]]:
    """(first, second) of one simulated data set."""
    rows = []
    for task, kind in enumerate(kinds):
        values = kind(rng, users, questions[1])
        for user, count in enumerate(rng.integers(questions[0], questions[1] + 1, users)):
            rows += [Scored(f"task {task}", f"user {user}", f"{user}-{n}", value)
                     for n, value in enumerate(values[user, :count].tolist())]
    return two_systems(rows)


def two_systems(differences: list[Scored]) -> tuple[list[Scored], list[Scored]]:
    """(first, second) with values in 0..1 that differ by just these differences of -1..1."""
    return ([row._replace(value=max(0.0, -row.value)) for row in differences],
            [row._replace(value=max(0.0, row.value)) for row in differences])


def runs_of_seeds(rng: np.random.Generator, spread: float, same_users: bool,
                  seeds: int = 3) -> list[tuple[list[Scored], list[Scored]]]:
    """Runs of 4 tasks of 16 users, whose true effect is normal around 0 over seeds, with the standard
    deviation `spread`. A user has an effect of their own, in every run where they are the same."""
    def user_effects() -> np.ndarray:
        return rng.normal(0, 0.1, (4, 16))  # [tasks, users]

    shared = user_effects()
    runs = []
    for seed in range(seeds):
        own = shared if same_users else user_effects()
        values = own + rng.normal(0, spread) + rng.normal(0, 0.2, (4, 16))
        names = "" if same_users else f"{seed}/"
        values = np.clip(values, -1, 1)
        runs.append(two_systems([Scored(f"task {task}", f"{names}user {user}", f"{user}", values[task, user])
                                 for task in range(4) for user in range(16)]))
    return runs


# ---------------------------------------------------------------- coverage

def coverage(scenario: Scenario, data_sets: int, seed: int = 0) -> dict:
    """{"scenario", "effect", "covered": share, "width": mean width of the interval, "seconds": of one
    difference}."""
    name, kinds, users, questions = scenario
    effect = sum(map(truth, kinds)) / len(kinds)
    rng = np.random.default_rng(seed_of("intervals", seed, name))
    covered, width, seconds = 0, 0.0, 0.0
    for n in range(data_sets):
        first, second = data_set(rng, kinds, users, questions)
        started = time.perf_counter()
        found = difference(first, second, seed=n)
        seconds += time.perf_counter() - started
        covered += found.low <= effect <= found.high
        width += found.high - found.low
    return {"scenario": name, "effect": round(effect, 4), "covered": covered / data_sets,
            "width": round(width / data_sets, 4), "seconds": round(seconds / data_sets, 4)}


def coverage_over_seeds(name: str, spread: float, same_users: bool, data_sets: int, seed: int = 0) -> dict:
    """The same of `over_seeds`. "these": the width of the interval for these very runs."""
    rng = np.random.default_rng(seed_of("intervals", seed, name))
    found = [over_seeds(runs_of_seeds(rng, spread, same_users)) for _ in range(data_sets)]
    return {"scenario": name, "effect": 0.0,
            "covered": sum(one.low <= 0 <= one.high for one in found) / data_sets,
            "width": round(sum(one.high - one.low for one in found) / data_sets, 4),
            "these": round(sum(one.these[1] - one.these[0] for one in found) / data_sets, 4)}


def bench_intervals(data_sets: int, seed: int = 0) -> list[dict]:
    """Every scenario's coverage over so many data sets."""
    return [coverage(scenario, data_sets, seed) for scenario in SCENARIOS] + \
        [coverage_over_seeds(*scenario, data_sets, seed) for scenario in SEEDS_SCENARIOS]
