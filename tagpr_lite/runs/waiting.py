"""A bound on how long something may take that has no time-out of its own."""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def within(seconds: float | None, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises; TimeoutError when that takes longer than `seconds` (None: no bound).

    `work` runs in a thread, which is left behind when the time is over: the system's look-up of a host's name
    cannot be stopped. The waiting itself can be, by Ctrl-C.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome.result(timeout=seconds)
