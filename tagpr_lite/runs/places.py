"""Where runs work side by side on one machine: each has a card of its own, or a share of the cores."""
from __future__ import annotations

import os
from dataclasses import dataclass

from ..config import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable with the cards that a process sees, "0,1"; CUDA reads it."""
THREADS = "OMP_NUM_THREADS"
"""The environment variable with the CPU threads that torch takes where `model.threads` says nothing."""


@dataclass(frozen=True)
class Place:
    """Where one run at a time works, and the variables that its processes get."""
    name: str
    """"card 2"; "" for a share of the cores."""
    environment: dict[str, str]


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def places_on_cards(words: str) -> list[Place]:
    """A place on each card. words: how many cards, "4", or their numbers, "0,2,3"; "3," is card 3 alone.

    UserError: no such words, or no such card.
    """
    visible = visible_cards()
    numbers = card_numbers(words)
    for number in numbers:
        if number >= len(visible):
            raise UserError(f"--cards {words}: there is no card {number}; this machine shows {len(visible)}, "
                            "counted from 0. Without cards: --at-once 2")
    return [Place(f"card {number}", {VISIBLE: visible[number]} | share_of_cores(len(numbers)))
            for number in numbers]


def card_numbers(words: str) -> list[int]:
    """The cards that are meant, counted from 0: "2" is [0, 1], "0,2" is [0, 2]. UserError: no such words."""
    parts = [part.strip() for part in words.split(",")]
    is_list = len(parts) > 1
    if is_list and not parts[-1]:  # the comma of "3,"
        parts.pop()
    if not all(part.isdecimal() and len(part) < 5 for part in parts):
        raise UserError(f"--cards {words}: a number of cards, such as 4, or their numbers, such as 0,2,3")
    numbers = [int(part) for part in parts]
    if not is_list:
        numbers = list(range(numbers[0]))
    if not numbers or len(set(numbers)) < len(numbers):
        raise UserError(f"--cards {words}: at least one card, and none twice")
    return numbers


def visible_cards() -> list[str]:
    """What CUDA calls the cards that this process sees, ["0", "1"]. Where CUDA_VISIBLE_DEVICES is set, they
    are its words: card 0 of "4,5" is called "4"."""
    import torch
    count = torch.cuda.device_count()
    named = os.environ.get(VISIBLE)
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def places_on_cores(count: int) -> list[Place]:
    """`count` places that divide the cores. One alone has them all, and its processes get no variable."""
    if count < 1:
        raise UserError(f"--at-once {count}: at least one run at a time")
    return [Place("", share_of_cores(count)) for _ in range(count)]


def share_of_cores(count: int) -> dict[str, str]:
    """The variable with the threads of each of `count` runs: eight cores are two threads for each of four.
    What the user has set stands."""
    if count == 1 or THREADS in os.environ:
        return {}
    return {THREADS: str(max(1, cores() // count))}
