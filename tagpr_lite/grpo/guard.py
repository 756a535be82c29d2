"""A guard for PRMU as a reward: its term is lowered, or dropped, when the reward model cannot be trusted.
Loudly.

Two things are watched. The accuracy on held-out users, once, before GRPO begins; and, step by step, the
correlation of PRMU's scores with the task term within groups: a reward model that prefers wrong answers is
worse than none.

    trust = clamp((value - bound) / MARGIN, 0, 1)

of accuracy and of correlation; the smaller of the two counts, and within a run trust only falls.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import GRPO

MARGIN = 0.1  # above a bound, over which trust grows from 0 to 1
WINDOW = 8  # steps over which the correlation is averaged
LEAST_STEPS = 4  # with a correlation, before it is judged


def trust_above(value: float, bound: float) -> float:
    """0 at the bound and below it, 1 from `MARGIN` above it on, in proportion between: 0.60 over 0.55 is
    0.5."""
    return round(min(1.0, max(0.0, (value - bound) / MARGIN)), 6)


class Guard:
    """trust: what the weight of the PRMU term is multiplied by."""

    def __init__(self, accuracy: float, settings: GRPO, say: Callable[[str], None] = print):
        """accuracy: of PRMU on held-out users, under their own embeddings. say: where warnings go."""
        self.settings = settings
        self.say = say
        self.correlations: list[float] = []  # of the last WINDOW steps that had one
        self.trust = trust_above(accuracy, settings.guard_accuracy)
        if self.trust < 1:
            self._warn(f"its accuracy on held-out users is {accuracy:.3f}, "
                       f"with its full weight from {settings.guard_accuracy + MARGIN:g} on and none below "
                       f"{settings.guard_accuracy:g}")

    def see(self, correlation: float | None) -> None:
        """One step's correlation with the task term; None where no group had one."""
        if correlation is None or not self.trust:
            return
        self.correlations = [*self.correlations, correlation][-WINDOW:]
        if len(self.correlations) < LEAST_STEPS:
            return
        mean = sum(self.correlations) / len(self.correlations)
        trust = trust_above(mean, self.settings.guard_agreement)
        if trust < self.trust:
            self.trust = trust
            steps = len(self.correlations)
            self._warn(f"its correlation with the task term is {mean:.2f} over {steps} steps, "
                       f"with its full weight from {self.settings.guard_agreement + MARGIN:g} on and none "
                       f"below {self.settings.guard_agreement:g}")

    def _warn(self, reason: str) -> None:
        outcome = f"lowered to {self.trust:.0%}" if self.trust else "dropped"
        self.say(f"  WARNING: PRMU's term is {outcome}: {reason}")


def mean_correlation(groups: list[tuple[list[float], list[float]]]) -> float | None:
    """Mean Pearson correlation of (PRMU scores, task terms) within groups; None where no group has one.

    Only groups of three or more count in which both vary: two points always correlate.
    """
    correlations = []
    for scores, tasks in groups:
        if len(scores) > 2 and np.ptp(scores) > 1e-6 and np.ptp(tasks) > 1e-6:
            correlations.append(float(np.corrcoef(scores, tasks)[0, 1]))
    return round(sum(correlations) / len(correlations), 4) if correlations else None
