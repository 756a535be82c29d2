"""Ctrl-C and SIGTERM: a training finishes its optimiser step, saves its state, and ends; a second one ends it
at once.

    with finishing_steps() as stop:
        while done < steps:
            ...
            stop.agree()
            if stop.asked:
                save(...)
                stop.now()

Everywhere else the first signal ends the command at once: what is written is written whole. The exit code is
130 after Ctrl-C and 143 after SIGTERM, as a shell has them, and the same command goes on afterwards.
"""
from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from .files import is_alive
from .owner import VARIABLE
from .processes import agreed, count

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "stopped; the same command goes on from here"
STOPPED_SIMPLY = "stopped"  # of a command that has nothing to go on with
PARENT_DIES = 1  # Linux's PR_SET_PDEATHSIG


class Stopped(KeyboardInterrupt):
    """A signal has ended the command; SIGTERM too, so that what cleans up after Ctrl-C does after both."""

    def __init__(self, number: int, words: str = STOPPED):
        super().__init__(number)
        self.exit_code, self.words = 128 + number, words


class Stop:
    """Which signal has asked for the end of a training, if any. asked: that counts from now on. noted: that
    has come; where several processes train together it counts when all know of it (`agree`)."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.noted: int | None = None

    def note(self, number: int, _frame: object) -> None:
        """The handler of a signal: the first is noted, the second ends the command."""
        if self.noted is not None:
            raise Stopped(number)
        self.noted = number
        if count() == 1:
            self.asked = number
        print("\nstopping after this step; once more stops at once", file=sys.stderr, flush=True)

    def agree(self) -> None:
        """Once a step, where several processes train together: what process 0 was asked counts for all, so
        that all end after the same step."""
        if count() > 1:
            self.asked = agreed(self.noted)

    def now(self) -> None:
        """Ends the command as it was asked to."""
        if self.asked is not None:
            raise Stopped(self.asked)


def end_at_once(number: int, frame: FrameType | None, words: str = STOPPED) -> None:
    """The handler of a signal outside of trainings. Within an import libraries catch whatever is raised, and
    make another error of it, or none: there the process ends as a kill would end it."""
    if is_importing(frame):
        print(words, file=sys.stderr, flush=True)
        os._exit(128 + number)
    raise Stopped(number, words)


def is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that has called it, is Python's import of a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def handle_signals(words: str = STOPPED) -> None:
    """For commands: SIGINT and SIGTERM raise Stopped. words: what is then said. A step
    that a script has started gets SIGTERM when the script is gone: a kill of the script would leave it
    running."""
    for number in SIGNALS:
        signal.signal(number, partial(end_at_once, words=words))
    script = os.environ.get(VARIABLE, "")
    if script and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGTERM)
        if script.isdecimal() and not is_alive(int(script)):  # it was killed while this process started
            print(STOPPED, file=sys.stderr, flush=True)
            raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def finishing_steps() -> Iterator[Stop]:
    """Within the block the first SIGINT or SIGTERM is noted, and the second raises Stopped. In another thread
    than the main one signals cannot be handled, and the block changes nothing."""
    stop = Stop()
    try:
        before = {number: signal.signal(number, stop.note) for number in SIGNALS}
    except ValueError:
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
