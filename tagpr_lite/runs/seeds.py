"""Every random choice is a function of what it is for."""
from __future__ import annotations

import hashlib
from typing import Any


def seed_of(*parts: Any) -> int:
    """A 63-bit seed that is a function of its parts: (run seed, step, question id, sample index), say."""
    first_bytes = hashlib.sha256(repr(parts).encode()).digest()[:8]
    return int.from_bytes(first_bytes, "big") >> 1
