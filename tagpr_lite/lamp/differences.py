"""Is one system better than another? Differences of two systems on the same questions, with their intervals.

The score of a system is the mean over tasks of the mean over the task's questions of item_reward, so every
task counts the same. A difference is the second system's score minus the first one's, over the questions that
both have answered.

What the interval is about: these tasks, and users who are not here. Questions of one user resemble each
other, so users are drawn, not questions (clusters), and each task's users by themselves (strata). A user of
one task is never taken for a user of another.

    task t has K users; user u has n_u questions, whose differences sum to S_u
    value of t      D_t = sum_u S_u / N,   N = sum_u n_u
    variance of t   V_t = K / (K - 1) * sum_u (S_u - n_u D_t)^2 / N^2        (Cochran 1977, section 6.3)
    difference      D = mean_t D_t,   error = sqrt(sum_t V_t) / T

Decision: the 95% interval is D -+ q * error, where q is the 95% quantile of |D* - D| / error* over resamples
of the users: the symmetric bootstrap-t (Hall 1988, "On symmetric bootstrap confidence intervals", Journal of
the Royal Statistical Society B 50). The method was chosen by simulation with known effects. With eight tasks
of 16 users, one task of 40 and one of 2,000 this one covers the truth in 94 to 96% of data sets. In the task
of 40, where few users gain much, the percentile bootstrap covers 90%, the basic one 87%, Student's t with
Satterthwaite's degrees of freedom 90%; where changes are rare, Hall's correction for skewness covers 91% and
the bootstrap-t with two tails 89%. In a single task of 16 users with rare changes none of them is right. A
resample that happens to hold equal differences alone would have error* = 0, so V*_t is at least FLOOR * V_t.
`python -m tagpr_lite.bench intervals` repeats the simulation.

p is the share of resamples whose |D* - D| / error* is at least |D| / error, so p <= 0.05 where the interval
leaves out 0, and nowhere else.

Where little is known, the interval says so:
- A task of one user tells nothing of other users. Its questions are drawn in the place of users: the result
  is about further questions of that user. A single question tells nothing: the task's true difference may be
  anything from -1 to 1.
- All users of all tasks have the same difference d, such as 0: a system's answers may still differ for
  others. A share s of users who are not like them would be missed with probability (1 - s)^K, which is 5% for
  s = 1 - 0.05^(1/K); what they have lies in -1..1.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ..config import UserError
from ..runs import one_line, seed_of
from .sampling import group_by

LEVEL = 0.05  # 1 - the level of all intervals
RESAMPLES = 1999  # (RESAMPLES + 1) * LEVEL is whole, so that p and the interval agree exactly
AT_ONCE = 1_000_000  # drawn users at a time: bounds the memory
FLOOR = 0.1  # of a task's variance: the least that a resample's variance of the task may be
SAME = 1e-9  # an error below this is that of equal differences; so many errors apart is as far


class Scored(NamedTuple):
    """One answer's item_reward, `value` in 0..1."""
    task: str
    user: str
    question: str
    value: float


class Difference(NamedTuple):
    """The second system's score minus the first one's. low, high: the 95% interval. p: two-sided, of no
    difference. error: the standard error. questions, users, tasks: how many both systems have answered."""
    value: float
    low: float
    high: float
    p: float
    error: float
    questions: int
    users: int
    tasks: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the 95% interval leaves out 0."""
        return self.p <= LEVEL


class Clusters(NamedTuple):
    """A task's users, or the questions of its only user. sums, counts: [K] of each one's differences."""
    names: list[str]
    sums: np.ndarray
    counts: np.ndarray
    users: int


# ---------------------------------------------------------------- two systems

def difference(first: Iterable[Scored], second: Iterable[Scored], seed: int = 0) -> Difference:
    """second minus first, over the questions that both have, with its 95% interval and p.

    seed: of the resamples. UserError: no question is in both, or a system has a question twice.
    """
    return _difference(users_by_task(paired(first, second)), seed)


def by_task(first: Iterable[Scored], second: Iterable[Scored], seed: int = 0) -> dict[str, Difference]:
    """{task: its difference}, tasks by name. `holm` adjusts their p."""
    tasks = users_by_task(paired(first, second))
    return {task: _difference({task: clusters}, seed) for task, clusters in tasks.items()}


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """The same p adjusted for their number: an error in any of the m tests has a chance of at most 5% where
    those with an adjusted p of at most 0.05 are believed (Holm 1979, Scandinavian Journal of Statistics 6).

    The i-th smallest, from i = 0, becomes max over j <= i of min(1, (m - j) p_j).
    """
    adjusted, so_far = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = so_far
    return {name: adjusted[name] for name in p_values}


def standard_error(values: Iterable[Scored]) -> float:
    """The standard error of a score, the mean over tasks of the values' means, in closed form. A task of a
    single question counts with a variance of 1/4, the most that values in 0..1 can have.

    UserError: no values, or one twice.
    """
    return _closed_form_error(users_by_task(list(_by_question(values).values())), of_single=0.25)


def gain(first: Iterable[Scored], second: Iterable[Scored]) -> tuple[float, float]:
    """(second minus first, its standard error) in closed form, for callers that decide by the error alone. A
    task of a single question counts with a variance of 1, the most that differences in -1..1 can have.

    UserError: as of `difference`.
    """
    tasks = users_by_task(paired(first, second))
    return sum(map(mean_of, tasks.values())) / len(tasks), _closed_form_error(tasks, of_single=1.0)


def _closed_form_error(tasks: dict[str, Clusters], of_single: float) -> float:
    """sqrt(sum_t V_t) / T. of_single: the V_t of a task of a single question."""
    variances = [variance_of(clusters) if len(clusters.sums) > 1 else of_single
                 for clusters in tasks.values()]
    return math.sqrt(sum(variances)) / len(variances)


# ---------------------------------------------------------------- questions and users

def paired(first: Iterable[Scored], second: Iterable[Scored]) -> list[Scored]:
    """The differences of the questions that both have, second minus first, sorted by task and question."""
    of_first, of_second = _by_question(first), _by_question(second)
    common = sorted(of_first.keys() & of_second.keys())
    if not common:
        raise UserError("the two systems have no question in common")
    pairs = [(of_first[key], of_second[key]) for key in common]
    for one, other in pairs:
        if one.user != other.user:
            question, *users = [one_line(word, 40) for word in (one.question, one.user, other.user)]
            raise UserError(f"question {question!r} of {one.task} is of user {users[0]!r} in one system, of "
                            f"{users[1]!r} in the other")
    return [one._replace(value=other.value - one.value) for one, other in pairs]


def _by_question(values: Iterable[Scored]) -> dict[tuple[str, str], Scored]:
    rows: dict[tuple[str, str], Scored] = {}
    for row in values:
        key = (row.task, row.question)
        if key in rows:
            raise UserError(f"question {one_line(row.question, 40)!r} of {row.task} is there twice")
        if not -SAME <= row.value <= 1 + SAME:
            raise UserError(f"question {one_line(row.question, 40)!r} of {row.task} has a value of "
                            f"{row.value}, not of 0..1")
        rows[key] = row
    if not rows:
        raise UserError("there is nothing to compare: no answers")
    return rows


def users_by_task(rows: list[Scored]) -> dict[str, Clusters]:
    """{task: its users}, sorted, so that nothing depends on the order of the rows."""
    rows = sorted(rows, key=lambda row: (row.task, row.user, row.question))
    return {task: _clusters(of_task) for task, of_task in group_by(rows, lambda row: row.task).items()}


def _clusters(rows: list[Scored]) -> Clusters:
    of_user = group_by(rows, lambda row: row.user)
    groups = of_user if len(of_user) > 1 else group_by(rows, lambda row: row.question)
    values = [[row.value for row in group] for group in groups.values()]
    return Clusters(list(groups), np.array([sum(group) for group in values]),
                    np.array([len(group) for group in values], dtype=float), len(of_user))


# ---------------------------------------------------------------- the interval

def mean_of(clusters: Clusters) -> float:
    return float(clusters.sums.sum() / clusters.counts.sum())


def variance_of(clusters: Clusters) -> float:
    """V_t of the module's docstring; 0 of a single cluster."""
    many = len(clusters.sums)
    if many < 2:
        return 0.0
    residuals = clusters.sums - clusters.counts * mean_of(clusters)
    return float(many / (many - 1) * (residuals ** 2).sum() / clusters.counts.sum() ** 2)


def _difference(tasks: dict[str, Clusters], seed: int) -> Difference:
    value = sum(map(mean_of, tasks.values())) / len(tasks)
    error = math.sqrt(sum(map(variance_of, tasks.values()))) / len(tasks)

    # A task of a single question: its true difference is at most 2 away from the one that was seen.
    singles = sum(len(clusters.sums) == 1 for clusters in tasks.values())
    unknown = 2 * singles / len(tasks)
    if error < SAME:
        low, high, p = _of_equals(value, unknown, tasks)
    else:
        ratios = _ratios(tasks, seed)  # [RESAMPLES], sorted
        beyond = (abs(value) - unknown) / error  # how many errors the value is away from 0
        as_far = RESAMPLES - int(np.searchsorted(ratios, beyond - SAME))
        p = (1 + as_far) / (RESAMPLES + 1)
        half = ratios[round((1 - LEVEL) * (RESAMPLES + 1)) - 1] * error + unknown
        low, high = value - half, value + half
    questions = sum(int(clusters.counts.sum()) for clusters in tasks.values())
    users = sum(clusters.users for clusters in tasks.values())
    return Difference(value, max(-1.0, float(low)), min(1.0, float(high)), p, error, questions, users,
                      len(tasks))


def _ratios(tasks: dict[str, Clusters], seed: int) -> np.ndarray:
    """|D* - D| / error* of every resample [RESAMPLES], sorted."""
    shift = np.zeros(RESAMPLES)  # T (D* - D)
    variance = np.zeros(RESAMPLES)  # (T error*)^2
    for task, clusters in tasks.items():
        many = len(clusters.sums)
        if many < 2:
            continue
        mean, least = mean_of(clusters), FLOOR * variance_of(clusters)
        rng = np.random.default_rng(seed_of("difference", seed, task))
        at_once = max(1, AT_ONCE // many)
        for start in range(0, RESAMPLES, at_once):
            part = slice(start, min(start + at_once, RESAMPLES))
            drawn = rng.integers(many, size=(part.stop - start, many))
            sums, counts = clusters.sums[drawn], clusters.counts[drawn]  # [resamples, K]
            total = counts.sum(1)
            means = sums.sum(1) / total
            squares = ((sums - counts * means[:, None]) ** 2).sum(1)
            shift[part] += means - mean
            variance[part] += np.maximum(many / (many - 1) * squares / total ** 2, least)
    return np.sort(np.abs(shift) / np.sqrt(variance))


def _of_equals(value: float, unknown: float, tasks: dict[str, Clusters]) -> tuple[float, float, float]:
    """(low, high, p) where every user has the same difference as all others of the task: how many unlike them
    could have been missed, at worst all in the smallest task. unknown: what single questions leave open."""
    sizes = [len(clusters.sums) for clusters in tasks.values()]
    fewest = min((size for size in sizes if size > 1), default=1)
    share = (1 - LEVEL ** (1 / fewest)) / len(tasks)
    # The share of missed users of the smallest task that would make the true difference 0.
    needed = max(0.0, abs(value) - unknown) * len(tasks) / (1 + abs(value))
    p = (1 - min(1.0, needed)) ** fewest
    return value - share * (1 + value) - unknown, value + share * (1 - value) + unknown, p
