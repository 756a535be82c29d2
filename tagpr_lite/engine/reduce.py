"""Gradients of several processes, added up once a step (runs/processes.py)."""
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..runs.processes import all_of, count, watching_peers
from .state import checksum


def sum_gradients(params: Iterable[nn.Parameter]) -> None:
    """Puts into every parameter the sum of its gradients in all processes; a process that has none adds
    nothing. All gradients go as one vector, so that there is one message a step.

    The sum over the processes is taken in another order than that of one process alone: it is equal to it up
    to rounding, and equal in all processes to the last bit.
    """
    if count() == 1:
        return
    params = list(params)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
    vector = torch.cat([part.reshape(-1) for part in parts])
    with watching_peers() as distributed:
        distributed.all_reduce(vector)
    for p, part in zip(params, vector.split([p.numel() for p in params]), strict=True):
        p.grad = part.view_as(p).clone()


def sum_reports(of_processes: list[tuple[dict[str, float], str, int]]) -> tuple[dict[str, float], str, int]:
    """(sums, what was not a finite number, how much was skipped for it) of all processes as one: sums and
    counts are added, of the faults the last is told."""
    totals: dict[str, float] = {}
    fault, skipped = "", 0
    for sums, fault_of_process, skipped_there in of_processes:
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value
        fault = fault_of_process or fault
        skipped += skipped_there
    return totals, fault, skipped


def require_equal(tensors: dict[str, Tensor], what: str) -> None:
    """RuntimeError where the tensors of the processes differ in a single bit: from here on they would train
    different models."""
    if count() == 1:
        return
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = all_of(checksum(on_cpu, {}))
    if len(set(checksums)) > 1:
        raise RuntimeError(f"{what}: the processes of this run have different values, by their checksums "
                           f"{checksums}")
