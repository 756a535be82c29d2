"""Tracking: the numbers of metrics.jsonl, shown in TensorBoard or Trackio too (the setting `track`).

    a line          {"step": "guided", "index": 7, "reward": 0.61, "by_task": {"LaMP_3": 0.7}}
    its points      guided/reward = 0.61 and guided/by_task/LaMP_3 = 0.7, at step 7

metrics.jsonl stays the record: nothing is read back, and no result depends on a tracker. A step that goes on
after a cut logs some lines again, but each point is in the tracker once (trackers.py). A step that was done
before it was tracked is sent whole. A fault of the tracker is said once, and the step goes on without it.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import Config, UserError
from .commands import as_command
from .metrics import FOLLOWERS, split_lines
from .text import one_line
from .trackers import TRACKERS, Tracker


@contextmanager
def tracked(config: Config, step: str, key: dict) -> Iterator[None]:
    """Within the block every line that the step logs goes to the tracker; lines that it has logged before go
    first. key: what the step is made from. UserError: the library cannot be imported."""
    if not config.track:
        yield
        return
    mirror = Mirror(find_tracker(config, step, key), config.track, config.folder, step)
    FOLLOWERS[config.folder] = mirror.see
    try:
        yield
        mirror.catch_up()
    finally:
        del FOLLOWERS[config.folder]
        mirror.close()


def track_finished(config: Config, step: str, key: dict) -> None:
    """Sends what a step has logged that has nothing left to do."""
    with tracked(config, step, key):
        pass


def find_tracker(config: Config, step: str, key: dict) -> Tracker:
    """The tracker that the settings name. UserError: its library cannot be imported."""
    name = config.track
    try:
        return TRACKERS[name](config.folder, step, key)
    except Exception as error:  # a broken library raises whatever it likes
        raise UserError(f"track={name}: {name} cannot be imported ({one_line(error, 100)}); install it with "
                        f"{as_command(f'pip install {name}')}, or leave track out") from None


class Mirror:
    """The lines of one step on their way to a tracker."""

    def __init__(self, tracker: Tracker, name: str, folder: Path, step: str,
                 say: Callable[[str], None] = print):
        """name: of the tracker. say: where its fault is said."""
        self.tracker, self.name, self.folder, self.step, self.say = tracker, name, folder, step, say
        self.has_begun = False
        self.has_failed = False

    def see(self, line: dict) -> None:
        """The step has logged a line. With its first one go all that it has logged before: by then a step
        that goes on after a cut has removed those that it will log again."""
        if self.has_begun:
            self._attempt(lambda: self._send(line))
        else:
            self.catch_up()

    def catch_up(self) -> None:
        """Sends all lines of the step that are there, where none was sent yet."""
        if not self.has_begun:
            self.has_begun = True
            self._attempt(self._send_all)

    def close(self) -> None:
        self._attempt(self.tracker.close)

    def _send_all(self) -> None:
        lines, _ = split_lines(self.folder, self.step)
        if lines:
            self.tracker.open()
        for line in lines:
            self._send(line)

    def _send(self, line: dict) -> None:
        points = points_of(line)
        if points and isinstance(line.get("index"), int):
            self.tracker.add(line["step"], line["index"], points)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Does something with the tracker. Its first fault is said, and is the end of the mirror."""
        if self.has_failed:
            return
        try:
            action()
        except Exception as error:
            self.has_failed = True
            self.say(f"  WARNING: {self.name} has failed, and {self.step} goes on without it: "
                     f"{type(error).__name__}: {one_line(error, 200)}")


def points_of(line: dict) -> dict[str, float]:
    """Every finite number of a line, such as {"guided/reward": 0.61, "guided/by_task/LaMP_3": 0.7}."""
    values = {key: value for key, value in line.items() if key not in ("step", "index")}
    return dict(numbers_in(values, line["step"]))


def numbers_in(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """(name, number) of a value's numbers; those of a map bear its key. To Python True is a number, but not
    here."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers_in(part, f"{name}/{key}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)
