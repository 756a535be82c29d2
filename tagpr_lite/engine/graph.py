"""A step of fixed shapes, run again and again: on a card as a CUDA graph, elsewhere as it is.

A decode step launches some hundred kernels that take microseconds each, and Python needs longer to launch
them than a card needs to run them. A graph records the launches once and replays them in one call. It holds
the addresses of every tensor that the step reads or writes: new values are copied into the same tensors
before each replay, and what comes out is overwritten by the next one.
"""
from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

from ..runs import one_line

Step = Callable[[], tuple[Tensor, ...]]
LEAST_REPEATS = 16  # recording takes about as long as three plain steps: it has to pay


class CudaGraph:
    """One step, recorded on a card."""

    def __init__(self):
        self._graph = torch.cuda.CUDAGraph()

    def capture(self, step: Step) -> tuple[Tensor, ...]:
        """Records `step` and returns its results, which hold values only after a replay. The step runs once
        before, for libraries do their set-up at their first call and cannot do it while they are
        recorded."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
        torch.cuda.current_stream().wait_stream(stream)
        # thread_local: what another thread asks of the card meanwhile is not an error
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            return step()

    def replay(self) -> None:
        self._graph.replay()


GRAPHS = {"cuda": CudaGraph}  # by the type of device
_failed: list[str] = []  # why this process records no more


class Repeated:
    """Calls a step as a graph where the device has graphs and the step can be recorded, plainly elsewhere.

    repeats: how often it will be called, at most. The step must be one that can run twice with one result.
    It is handed over at each call and not kept: who repeats holds this object, and a circle of the two would
    hold the memory of both for longer than it is needed.
    """

    def __init__(self, device: torch.device, repeats: int):
        self.recorded, self.results = None, ()
        self.graph = GRAPHS.get(device.type) if repeats >= LEAST_REPEATS and not _failed else None

    def __call__(self, step: Step) -> tuple[Tensor, ...]:
        if self.recorded is None and self.graph is not None:
            self._record(step)
        if self.recorded is None:
            return step()
        self.recorded.replay()
        return self.results

    def forget(self) -> None:
        """The step has other shapes now: it is recorded anew at the next call."""
        self.recorded, self.results = None, ()

    def _record(self, step: Step) -> None:
        recorded = self.graph()
        try:
            self.results = recorded.capture(step)
            self.recorded = recorded
        except RuntimeError as error:  # torch's errors of CUDA and of memory are all of this kind
            self.graph = None
            if not _failed:
                _failed.append(one_line(error))
                print(f"decoding without a CUDA graph (capture failed: {_failed[0]})", file=sys.stderr,
                      flush=True)
