"""A guard for PRMU as a reward: its term is lowered, or dropped, when it does not earn its trust. Loudly.

Two things are watched. The accuracy on held-out users, once, before GRPO begins; and, step by step, the correlation of its
scores with the task term within groups: a reward model that prefers what is wrong is worse than none. Trust is 1 from a
margin above a bound on, 0 below the bound, in proportion between; the smaller of the two counts, and within a run it only falls.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import GRPO

MARGIN = 0.1  # above a bound, over which trust grows from 0 to 1
WINDOW, LEAST = 8, 4  # steps over which agreement is averaged, and how many it takes to judge


def ramp(value: float, bound: float) -> float:
    return round(min(1.0, max(0.0, (value - bound) / MARGIN)), 6)


class Guard:
    """trust: what the term's weight is multiplied by."""

    def __init__(self, accuracy: float, settings: GRPO, say: Callable[[str], None] = print):
        self.settings, self.say, self.seen = settings, say, []
        self.trust = ramp(accuracy, settings.guard_accuracy)
        if self.trust < 1:
            self._tell(f"its accuracy on held-out users is {accuracy:.3f}, the bound {settings.guard_accuracy}")

    def see(self, value: float | None) -> None:
        """One step's agreement; None where no group could say."""
        if value is None or not self.trust:
            return
        self.seen = [*self.seen, value][-WINDOW:]
        now = ramp(sum(self.seen) / len(self.seen), self.settings.guard_agreement) if len(self.seen) >= LEAST else 1.0
        if now < self.trust:
            self.trust = now
            self._tell(f"its correlation with the task term is {sum(self.seen) / len(self.seen):.2f} over {len(self.seen)} steps, "
                       f"the bound {self.settings.guard_agreement}")

    def _tell(self, why: str) -> None:
        self.say(f"  WARNING: PRMU's term is {'dropped' if not self.trust else f'lowered to {self.trust:.0%}'}: {why}")


def correlation(groups: list[tuple[list[float], list[float]]]) -> float | None:
    """Mean Pearson correlation of (scores, task terms) within groups where both vary, of three or more: two points always
    correlate. None where there is no such group."""
    found = [float(np.corrcoef(a, b)[0, 1]) for a, b in groups
             if len(a) > 2 and np.ptp(a) > 1e-6 and np.ptp(b) > 1e-6]
    return round(sum(found) / len(found), 4) if found else None
