"""What a run puts through the model, and one line of its plan."""
from __future__ import annotations

from dataclasses import dataclass

from .times import Work


@dataclass(frozen=True)
class Load:
    """What a run puts through the model: tokens of its longest prompts, and how many questions there are."""
    prompt: int
    """Of the longest prompt with its profile."""
    mean_prompt: int
    question: int
    """Of the longest prompt without a profile, which PRMU reads."""
    train: int
    """Training questions."""
    dev: int
    """Questions that every system answers."""
    val: int = 0
    """Questions of held-out users, which GRPO's policy answers in every check."""


@dataclass(frozen=True)
class Phase:
    """One line of the table: a step, what it does with the model, how much at a time, the bytes that are held
    and those beside them, and what there is to compute."""
    step: str
    what: str
    at_once: str
    """How much goes through the model together, in words: "4 sequences"."""
    held: int
    beside: int
    work: Work

    @property
    def peak(self) -> int:
        return self.held + self.beside
