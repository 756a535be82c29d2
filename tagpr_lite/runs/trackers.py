"""The two trackers, TensorBoard and Trackio: how a point gets there, and how it stays there alone.

    TensorBoard    The files of a step, <run>/tensorboard/<step>, are written anew out of metrics.jsonl
                   whenever the step begins or goes on.
    Trackio        A point that was sent cannot be taken back. So <run>/trackio/<step>-<hash of its key>.json
                   notes which were sent. What the step logs again after a cut is not sent again.

Neither folder is an output of a step. A library is imported when its tracker is made, and only then.
"""
from __future__ import annotations

import io
import os
import time
import uuid
from contextlib import redirect_stdout
from pathlib import Path
from typing import Protocol

from .files import read_json, write_json
from .kept import place_of

PROJECT = "tagpr_lite"  # Trackio's name for what belongs together
EVENT_FILES = "events.out.tfevents"  # how the names of TensorBoard's files begin


class Tracker(Protocol):
    """Made of (folder of the run, step, the step's key): an error where its library cannot be imported."""

    def open(self) -> None:
        """There is something to send: `add` is called with all that the step has logged so far, then with
        each further line."""

    def add(self, name: str, index: int, points: dict[str, float]) -> None:
        """The points of a line. name, index: of the line, such as "guided_check" and 4."""

    def close(self) -> None:
        """Nothing more will come; it may be that nothing came."""


class TensorBoard:
    """One file of events, in TensorBoard's own format.

    torch's SummaryWriter writes the same events. But it imports torch, and writes in a thread of its own,
    where a fault of the disk is a traceback that nobody can catch.
    """

    def __init__(self, folder: Path, step: str, key: dict):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
        self.event, self.session_log, self.summary, self.writer = Event, SessionLog, Summary, RecordWriter
        self.folder = folder / "tensorboard" / step
        self.records = None

    def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for earlier in self.folder.glob(f"{EVENT_FILES}.*"):
            if earlier.stat().st_size == 0:
                earlier.unlink()
            else:  # emptied and not removed: a TensorBoard that reads it would not go on to the next one
                os.truncate(earlier, 0)
        now = time.time()
        path = self.folder / f"{EVENT_FILES}.{now:.6f}.{PROJECT}"  # a later file has a later name
        self.records = self.writer(open(path, "wb"))
        self._write(self.event(file_version="brain.Event:2"))
        # A TensorBoard that is open forgets what it has read of the earlier file.
        self._write(self.event(step=0, session_log=self.session_log(status=self.session_log.START)))

    def add(self, name: str, index: int, points: dict[str, float]) -> None:
        values = [self.summary.Value(tag=tag, simple_value=value) for tag, value in points.items()]
        self._write(self.event(step=index, summary=self.summary(value=values)))
        self.records.flush()

    def close(self) -> None:
        if self.records is not None:
            self.records.close()

    def _write(self, event) -> None:
        event.wall_time = time.time()
        self.records.write(event.SerializeToString())


class Trackio:
    """A run of the project `tagpr_lite` for each step and key: another key has other points.

    A point is noted before it is sent, so that none is there twice. Trackio writes down every half second
    what it was sent: a point that a kill takes before that is missing.
    """

    def __init__(self, folder: Path, step: str, key: dict):
        from trackio import finish, init, log
        self.init, self.log, self.finish = init, log, finish
        self.note = folder / "trackio" / f"{place_of(folder, step, key).name}.json"
        self.name = f"{folder.name}-{step}-{uuid.uuid4().hex[:8]}"  # unless the note has one
        self.sent: dict[str, int] = {}  # {"guided": 7, "guided_check": 6}, the last index of each
        self.is_running = False

    def open(self) -> None:
        if self.note.exists():
            noted = read_json(self.note)
            self.name, self.sent = noted["run"], noted["sent"]

    def add(self, name: str, index: int, points: dict[str, float]) -> None:
        if index <= self.sent.get(name, -1):
            return
        if not self.is_running:
            with redirect_stdout(io.StringIO()):  # it prints advice in colours
                self.init(project=PROJECT, name=self.name, resume="allow")
            self.is_running = True
        self.sent[name] = index
        write_json(self.note, {"run": self.name, "sent": self.sent})
        self.log(points, step=index)

    def close(self) -> None:
        if self.is_running:
            with redirect_stdout(io.StringIO()):
                self.finish()


TRACKERS = {"tensorboard": TensorBoard, "trackio": Trackio}
