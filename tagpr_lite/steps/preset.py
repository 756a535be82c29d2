"""python -m tagpr_lite.steps.preset: which preset this machine gets, in a line that ends with its name."""
from __future__ import annotations

from ..config import Model
from ..engine.location import budget
from ..runs import guard


def choice() -> str:
    """ "a CUDA card with 11.6 GiB free: preset gpu", or "no CUDA card: preset cpu"."""
    room = budget(Model())
    return f"a CUDA card with {room:.1f} GiB free: preset gpu" if room else "no CUDA card: preset cpu"


if __name__ == "__main__":
    guard(lambda: print(choice()))
