"""The difference of two systems over several runs, which differ in their seed: of a new run, and of these."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtrit

from ..config import UserError
from .differences import LEVEL, SAME, Clusters, Scored, mean_of, paired, users_by_task, variance_of


class Pooled(NamedTuple):
    """A difference over several runs, which differ in their seed. value: the mean over runs. low, high, p,
    error: for a run with another seed and other users. these: the 95% interval for these very runs with other
    users. by_run: each run's difference."""
    value: float
    low: float
    high: float
    p: float
    error: float
    these: tuple[float, float]
    by_run: tuple[float, ...]

    @property
    def beyond_noise(self) -> bool:
        """Whether the 95% interval of a new run leaves out 0."""
        return self.p <= LEVEL


def over_seeds(runs: Sequence[tuple[list[Scored], list[Scored]]]) -> Pooled:
    """The difference over several runs: the mean of the runs' differences D_1..D_S.

    runs: (first, second) of each. A user of one name in two runs is the same person.

    Decision: two intervals, because they answer two questions. `low` and `high` are for a new run, with
    another seed: Student's t over the runs, S - 1 degrees of freedom, which is right whether or not the
    effect differs from seed to seed (with few runs no narrower interval is; Guolo and Varin 2017,
    "Random-effects meta-analysis: the number of studies matters"). Three runs are few: q is 4.3. Runs that
    share users share their luck; that part comes on top, the mean covariance of two runs:

        V_new = var_s(D_s) / S + max(0, V_users - V_cells) S / (S - 1)
        V_users: a user's differences in all runs are one cluster.  V_cells: each run's users by themselves.

    `these` is for these very runs: sqrt(V_users), users alone are drawn. Three runs that agree by luck would
    make a new run look surer than these very runs are, so its interval is never the narrower of the two. One
    run says nothing of other seeds.
    In simulations of three runs (bench/intervals.py) the interval of a new run covers 95.5 to 97% where the
    effect differs from seed to seed, and 98 to 99% where it does not.
    UserError: no run, or a run's systems have no question in common.
    """
    if not runs:
        raise UserError("there is no run to compare")
    tasks_of_runs = [users_by_task(paired(first, second)) for first, second in runs]
    by_run = [sum(map(mean_of, tasks.values())) / len(tasks) for tasks in tasks_of_runs]
    value = sum(by_run) / len(runs)
    cells = sum(sum(map(variance_of, tasks.values())) / len(tasks) ** 2 for tasks in tasks_of_runs)
    cells /= len(runs) ** 2
    users, freedom = _user_variance(tasks_of_runs)
    *these, p_these = _student(value, (users, freedom))
    if len(runs) == 1:  # of other seeds nothing is known
        return Pooled(value, -1.0, 1.0, 1.0, math.sqrt(users), tuple(these), tuple(by_run))

    between = float(np.var(by_run, ddof=1)) / len(runs)
    shared = max(0.0, users - cells) * len(runs) / (len(runs) - 1)
    low, high, p = _student(value, (between, len(runs) - 1), (shared, freedom))
    if p_these > p:  # both are centred on `value`, so the larger p has the wider interval
        low, high, p = *these, p_these
    error = math.sqrt(max(between + shared, users))
    return Pooled(value, low, high, p, error, tuple(these), tuple(by_run))


def _user_variance(tasks_of_runs: list[dict[str, Clusters]]) -> tuple[float, float]:
    """(V_users, its degrees of freedom): the variance of the mean over runs, where a user's part in all runs
    is one cluster."""
    # {task: {user: what the user adds to the mean over runs and tasks}}, and the users of each run, counted.
    added: dict[str, dict[str, float]] = {}
    users: dict[str, list[int]] = {}
    for tasks in tasks_of_runs:
        for task, clusters in tasks.items():
            many = len(clusters.sums)
            weight = clusters.counts.sum() * len(tasks) * len(tasks_of_runs)
            residuals = (clusters.sums - clusters.counts * mean_of(clusters)) / weight
            residuals *= math.sqrt(many / max(1, many - 1))
            users.setdefault(task, []).append(many)
            of_task = added.setdefault(task, {})
            for name, residual in zip(clusters.names, residuals, strict=True):
                of_task[name] = of_task.get(name, 0.0) + float(residual)

    variance = parts = 0.0
    for task, of_task in added.items():
        of_task_variance = sum(residual ** 2 for residual in of_task.values())
        # K - 1 where the runs share all users; S (K - 1) where they share none.
        freedom = len(of_task) * (1 - len(users[task]) / sum(users[task]))
        variance += of_task_variance
        parts += of_task_variance ** 2 / max(1.0, freedom)
    return variance, variance ** 2 / parts if parts else 1.0


def _student(value: float, *parts: tuple[float, float]) -> tuple[float, float, float]:
    """(low, high, p) of Student's t. parts: (variance, degrees of freedom) of independent parts of the error;
    their margins add as squares (Zou and Donner 2008, Statistics in Medicine 27).

    A variance of nothing leaves the interval at -1..1: equal values of a few runs prove nothing.
    """
    if sum(variance for variance, _ in parts) < SAME ** 2:
        return -1.0, 1.0, 1.0

    def margin(level: float) -> float:
        return math.sqrt(sum(stdtrit(freedom, 1 - level / 2) ** 2 * variance for variance, freedom in parts))

    half = margin(LEVEL)
    p = brentq(lambda level: margin(level) - abs(value), 1e-12, 1.0) if abs(value) < margin(1e-12) else 1e-12
    return max(-1.0, value - half), min(1.0, value + half), float(p)
