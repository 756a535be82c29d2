"""One thread that owns the model, and a queue of those who wait for it.

Requests that wait at the same time are decoded together (engine/sample.py); each gets its tokens as they are
drawn. A request whose client has gone is dropped in the middle, and costs no further token.
"""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .answerer import Answerer

GATHERING = 0.01  # seconds in which requests that come at the same time find each other


@dataclass
class Request:
    """A prompt that waits for its completion. room: the most tokens that are wanted. told: called, in the
    worker's thread, with every token, then once with None, or with the error that ended it."""
    prompt: list[int]
    room: int
    told: Callable[[int | None | Exception], None]
    gone: threading.Event = field(default_factory=threading.Event)
    """Set by who asked, when nobody waits any more."""
    written: int = 0


class Worker(threading.Thread):
    """together: the most requests that are decoded at one time. waiting: the most that may wait."""

    def __init__(self, answerer: Answerer, together: int, waiting: int):
        super().__init__(name="model", daemon=True)
        self.answerer, self.together = answerer, together
        self.queue: queue.Queue[Request | None] = queue.Queue(waiting)

    def ask(self, request: Request) -> None:
        """Lets a request wait. queue.Full: too many do already."""
        self.queue.put_nowait(request)

    def stop(self) -> None:
        """Ends the thread after what it is doing."""
        self.queue.put(None)

    def run(self) -> None:
        while True:
            first = self.queue.get()
            if first is None:
                return
            requests, ends = [first], False
            try:
                while len(requests) < self.together:
                    further = self.queue.get(timeout=GATHERING)
                    if further is None:
                        ends = True
                        break
                    requests.append(further)
            except queue.Empty:
                pass
            self.answer([request for request in requests if not request.gone.is_set()])
            if ends:
                return

    def answer(self, requests: list[Request]) -> None:
        """Decodes the completions of these requests together. A fault ends these, and not the thread."""
        def listen(row: int, token: int) -> bool:
            request = requests[row]
            request.told(token)
            request.written += 1
            return request.written < request.room and not request.gone.is_set()

        if not requests:
            return
        outcome = None
        try:
            self.answerer.write([request.prompt for request in requests], listen)
        except Exception as error:  # whatever it is, those who wait must hear of it
            outcome = error
        for request in requests:
            request.told(outcome)
