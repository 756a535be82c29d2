"""When memory runs out, fewer things go through the model at one time, and the run remembers how many fit.

Nothing that is computed may depend on how many that is, beyond rounding: whoever uses a BatchLimit sees to
that, and tests hold it. The file memory.json of the run folder is therefore no input of any step:

    {"sft.micro": {"planned": 8, "fits": 4}}

An entry counts for as long as the planned number is the same.
"""
from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ..config import UserError
from ..runs import read_json, write_json

FILE = "memory.json"
# How the errors begin that are no torch.OutOfMemoryError: of the machine's memory, and of what CUDA's own
# libraries ask for beside torch.
OTHER_WORDS = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
T = TypeVar("T")


class BatchLimit:
    """How many things go through the model at one time. Halved when memory runs out, and remembered."""

    def __init__(self, name: str, things: str, planned: int, folder: Path | None = None, advice: str = ""):
        """name: the setting that the number comes from, "sft.micro". things: what is counted, "sequences".
        planned: the number to begin with. folder: of the run; None: nothing is remembered. advice: what to do
        where a single one is too many."""
        self.name, self.things, self.planned, self.advice = name, things, planned, advice
        self.file = folder / FILE if folder is not None else None
        entry = self._entries().get(name)
        self.size = entry["fits"] if is_entry(entry) and entry["planned"] == planned else planned

    def attempt(self, work: Callable[[int], T], present: int | None = None,
                undo: Callable[[], None] = lambda: None) -> T:
        """work(size); when memory runs out again with half of it, until it fits.

        present: how many things there are, where they may be fewer than `size`. undo: takes back what a work
        that failed has done. UserError: memory does not suffice for a single one.
        """
        while True:
            try:
                return work(self.size)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Not within `except`: in there the traceback still holds the tensors that filled memory.
            undo()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._halve(self.size if present is None else min(self.size, present))

    def parts(self, count: int, work: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """(part, work(part)) of `count` things in their order, each part of at most `size`; 5 things by 2 are
        slice(0, 2), slice(2, 4), slice(4, 5)."""
        first = 0
        while first < count:
            def on_part(size: int, first: int = first) -> tuple[slice, T]:
                part = slice(first, min(first + size, count))
                return part, work(part)

            part, made = self.attempt(on_part, present=count - first)
            yield part, made
            first = part.stop

    def _halve(self, tried: int) -> None:
        """Half of the number that was tried, for good."""
        if tried <= 1:
            raise UserError(f"out of memory even with {self.things} one at a time ({self.name}): "
                            f"{self.advice}")
        self.size = tried // 2
        print(f"  out of memory: from now on {self.size} {self.things} at a time ({self.name})", flush=True)
        if self.file is not None:
            entries = self._entries() | {self.name: {"planned": self.planned, "fits": self.size}}
            write_json(self.file, entries)

    def _entries(self) -> dict:
        """{name: entry} of the file; {} where there is none, or one that was damaged: results do not depend
        on it."""
        if self.file is None or not self.file.exists():
            return {}
        try:
            entries = read_json(self.file)
        except UserError:
            return {}
        return entries if isinstance(entries, dict) else {}


def is_entry(entry: object) -> bool:
    """Whether it is as `_halve` writes one: {"planned": 8, "fits": 4}."""
    if not isinstance(entry, dict):
        return False
    planned, fits = entry.get("planned"), entry.get("fits")
    return type(planned) is int and type(fits) is int and 1 <= fits < planned


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, of a card or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OTHER_WORDS)


def keep_gradient(params: Iterable[nn.Parameter]) -> Callable[[], None]:
    """A function that puts the gradient back that is there now. It is kept in the machine's memory, not on
    the card."""
    kept = [(param, None if param.grad is None else param.grad.to("cpu", copy=True)) for param in params]

    def put_back() -> None:
        for param, grad in kept:
            param.grad = None if grad is None else grad.to(param.device, copy=True)

    return put_back
