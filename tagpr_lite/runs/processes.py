"""Several processes that train one model, one a card: what they share and when.

    part_of(things)      those of the things that are this process's, [0, 2, 4] of six in process 0 of two
    gathered(mine)       the things of all processes, in their order again
    agreed(value)        the value of process 0, in every process
    sum_gradients(ps)    the gradients of all processes added up, once a step (engine/reduce.py)

All processes run the same program on the same files and with the same seeds. Each computes its part of a
step, and then all know the whole: so all take the same step, and their parameters stay equal, bit for bit.
One process alone is the same program: its part is the whole. This is what DistributedDataParallel does, with
the gradients reduced once a step in the place of once a backward, as the two-phase backward wants it.

Process 0 alone writes into the run's folder. The others work in a copy of it, which is removed at the end
(`follow`), so that no file has two writers and every file reads the same for all.

The environment says how many there are: WORLD_SIZE, RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as
`accelerate launch`, `torchrun` and runs/launch.py set them.
"""
from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..config import Config, UserError
from .owner import FILE as OWNER_FILE

T = TypeVar("T")
LAUNCHED = "TAGPR_LAUNCHED"
"""The environment variable that says that runs/launch.py watches over the processes."""
PEER_LOST = 75
"""Exit code of a process whose peer has gone: launch.py tells of the peer."""
COPIED = (".jsonl",)  # files that lines are appended to; all others are replaced as a whole, and are linked


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Which of them this is, from 0 on."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def card() -> int:
    """The number of this process's card on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if count() > 1 else 0


def part_of(things: list[T]) -> list[T]:
    """Every n-th of the things, from this process's number on: of neighbours alike in length each gets as
    many."""
    return things[number()::count()]


def gathered(mine: list[T], to_send: Callable[[T], Any] = lambda thing: thing) -> list[T]:
    """The things of all processes in the order of which `part_of` has made parts. mine: this process's, which
    come back as they are. to_send: what the others get of a thing, where it is more than they need."""
    if count() == 1:
        return mine
    parts = all_of([to_send(thing) for thing in mine])
    parts[number()] = mine
    longest = max(len(part) for part in parts)
    return [part[place] for place in range(longest) for part in parts if place < len(part)]


def joined(mine: Iterator[list[T]]) -> Iterator[list[T]]:
    """Lists of all processes, joined, one list of each process at a time, until the last has no more."""
    if count() == 1:
        yield from mine
        return
    while True:
        parts = all_of(next(mine, None))
        if all(part is None for part in parts):
            return
        yield [thing for part in parts if part is not None for thing in part]


def all_of(value: T) -> list[T]:
    """[processes]: the value of each."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    with watching_peers() as distributed:
        distributed.all_gather_object(values, value)
    return values


def agreed(value: T) -> T:
    """The value that process 0 has."""
    if count() == 1:
        return value
    values = [value]
    with watching_peers() as distributed:
        distributed.broadcast_object_list(values, src=0)
    return values[0]


# ---------------------------------------------------------------- a step of a run

def join() -> None:
    """Connects this process with the others, where there are any; the first time only."""
    if count() == 1:
        return
    import torch
    import torch.distributed as distributed
    if distributed.is_initialized():
        return
    has_card = torch.cuda.is_available()
    if has_card and count() > torch.cuda.device_count():
        raise UserError(f"--cards {count()}: this machine has {torch.cuda.device_count()}")
    if has_card:
        torch.cuda.set_device(card())
    with watching_peers():
        # Objects go by the CPU, gradients by where they are.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if has_card else "gloo")
    # Left to the end of Python, gloo's threads abort the process now and then, after all its work is done.
    atexit.register(distributed.destroy_process_group)


def follow(config: Config, work: Callable[[Config, Path], None]) -> None:
    """What the processes after the first do of a step: the work, in a copy of the run's folder, when process
    0 says that there is any. Process 0 calls `lead` in its place."""
    join()
    with watching_peers() as distributed:
        if agreed(None) is None:  # process 0 has nothing to do
            return
        copy = copy_of(config.folder, number())
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(config.folder, copy, copy_function=link_or_copy,
                            ignore=shutil.ignore_patterns(OWNER_FILE, ".*.part", ".*.old"))
            distributed.barrier()  # from now on process 0 may write
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # process 0 speaks for all
                work(replace(config, results=str(copy.parent), name=copy.name), copy)
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def lead(folder: Path, has_work: bool) -> None:
    """Process 0 tells the others whether there is work, and waits until they have copied the run's folder."""
    if count() == 1:
        return
    join()
    for stale in folder.parent.glob(copy_of(folder, "*").name):  # a kill has left it
        shutil.rmtree(stale, ignore_errors=True)
    with watching_peers() as distributed:
        agreed("work" if has_work else None)
        if has_work:
            distributed.barrier()


def copy_of(folder: Path, process: int | str) -> Path:
    """Where a process keeps its copy of a run's folder: results/.cpu.process1.part."""
    return folder.with_name(f".{folder.name}.process{process}.part")


def link_or_copy(source: str, target: str) -> None:
    """A second name of the file, which costs no room; a copy of one that is appended to, or where the disk
    has no links."""
    if not source.endswith(COPIED):
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)


@contextmanager
def watching_peers() -> Iterator[Any]:
    """Yields torch.distributed. Where a message fails, another process has gone, and this one ends: under
    launch.py without a word, since that knows which it was."""
    import torch.distributed as distributed
    try:
        yield distributed
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        if os.environ.get(LAUNCHED):
            os._exit(PEER_LOST)
        raise UserError("another process of this run has ended; the same command goes on from here") from None


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether an error says that a connection has broken."""
    import torch.distributed as distributed
    words = ("gloo", "Gloo", "Connection closed", "Connection reset", "NCCL", "Broken pipe")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)
