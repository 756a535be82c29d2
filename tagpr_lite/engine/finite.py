"""Gradients that are no numbers are not stepped on: they are skipped and counted, and too many of them in a
row end the training.

One such gradient makes every parameter NaN. A single one may come of one odd batch; several in a row say that
the parameters themselves are at fault, by a learning rate that is too large.
"""
from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from ..config import UserError

MOST_IN_ROW = 3  # optimiser steps of which nothing could be used


def fault_of_gradient(loss: float, params: Iterable[nn.Parameter]) -> str:
    """"the loss" or "the gradient", whichever is not a finite number; "" where both are. Of all parameters at
    once: on a card, each look at a value waits for it."""
    if not math.isfinite(loss):
        return "the loss"
    norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    return "" if bool(norm.isfinite()) else "the gradient"


class FiniteSteps:
    """Counts the optimiser steps in a row of which nothing could be used."""

    def __init__(self, name: str, advice: str):
        """name: of the training, such as "sft". advice: what to change, "lower sft.lr"."""
        self.name, self.advice = name, advice
        self.in_row = 0

    def see(self, fault: str) -> None:
        """After each step. fault: what was not a finite number; "" where the step was taken. UserError: it is
        the last of MOST_IN_ROW."""
        self.in_row = self.in_row + 1 if fault else 0
        if self.in_row >= MOST_IN_ROW:
            raise UserError(f"{self.name}: {fault} is not a finite number; {self.advice}. None of the last "
                            f"{self.in_row} steps was taken; the last good state is kept")
