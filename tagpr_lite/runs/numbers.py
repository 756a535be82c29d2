"""Numbers that are none: NaN passes every comparison `x > bound`, and a mean of it is NaN for ever."""
from __future__ import annotations

import math

from ..config import UserError


def require_finite_number(value: float, what: str, advice: str) -> float:
    """The value; UserError where it is NaN or infinite. what: "guided, step 3: the loss", say."""
    if not math.isfinite(value):
        raise UserError(f"{what} is not a finite number; {advice}. The step was not taken")
    return value
