"""How long work takes on a machine: its FLOPs, bytes and operations over what the machine does in a second.

    seconds = FLOPs / (0.6 flops)  +  bytes / (0.8 bytes)  +  operations * call

Decisions. The three are added: products, copies and the starting of kernels overlap only in part, and an
estimate should err on the long side. 0.6 and 0.8 are the shares of the peak rates that a mix of shapes
reaches; both are our assumption. Rates are measured here in about a second; for a card that is not here the
maker's dense bf16 rate and memory bandwidth are taken. An estimate is good to about a factor of two.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..config import UserError

OF_FLOPS, OF_BYTES = 0.6, 0.8
CARD_CALL = 8e-6  # seconds to start an operation from Python on a card; our assumption for cards not here
# {name: (TFLOP/s of dense bf16 products with fp32 sums, GB/s)}, as the maker states them
CARDS = {"RTX 3090": (71, 936), "RTX 4090": (165, 1008), "RTX 5090": (209, 1792), "L4": (121, 300),
         "A100": (312, 1555), "H100": (989, 3350), "H200": (989, 4800)}


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second."""
    flops: float
    bytes: float
    call: float
    """Seconds to start one operation."""
    source: str
    """`measured`, or the name of the card whose maker states them."""


@dataclass(frozen=True)
class Work:
    """What there is to do. Sums of work are work."""
    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes, self.calls + other.calls)

    def __mul__(self, times: float) -> Work:
        return Work(self.flops * times, self.bytes * times, self.calls * times)


def seconds(work: Work, rates: Rates) -> float:
    """About how long the work takes."""
    products = work.flops / (OF_FLOPS * rates.flops)
    copies = work.bytes / (OF_BYTES * rates.bytes)
    return products + copies + work.calls * rates.call


def stated_rates(name: str) -> Rates:
    """The maker's rates of a known card: "4090", "RTX 4090" and "NVIDIA GeForce RTX 4090" are one."""
    words = name.lower().replace("nvidia", "").replace("geforce", "").strip()
    for card, (tflops, gigabytes) in CARDS.items():
        if words in (card.lower(), card.lower().removeprefix("rtx ")):
            return Rates(tflops * 1e12, gigabytes * 1e9, CARD_CALL, card)
    raise UserError(f"the rates of '{name}' are not known; known: {', '.join(CARDS)}")


def measured_rates() -> Rates:
    """What this machine does: its card where it has one, else its CPU. Takes about a second."""
    import torch

    from ..engine.model import placement
    device, dtype = placement()
    size = 4096 if device.type == "cuda" else 768
    a = torch.randn(size, size, device=device, dtype=dtype)
    block = torch.zeros(64 * 2**20 // a.element_size(), device=device, dtype=dtype)  # 64 MiB
    other = torch.empty_like(block)
    one = torch.zeros(1, device=device, dtype=dtype)
    products = _best_time(lambda: a @ a, device)
    copies = _best_time(lambda: other.copy_(block), device)
    # Eight small operations in a row: a card works on one while Python starts the next.
    calls = _best_time(lambda: one + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1, device) / 8
    return Rates(2 * size**3 / products, 2 * 64 * 2**20 / copies, calls, "measured")


def _best_time(operation: Callable[[], object], device) -> float:
    """Seconds of one operation: the least of several rounds, since other programs only make it longer."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    operation()
    wait()
    best = float("inf")
    for _ in range(5):
        started, rounds = time.perf_counter(), 0
        while time.perf_counter() - started < 0.05:
            for _ in range(4):
                operation()
            rounds += 4
            wait()
        best = min(best, (time.perf_counter() - started) / rounds)
    return best
