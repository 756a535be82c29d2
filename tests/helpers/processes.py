"""Functions that run in several processes which know of each other, as runs/launch.py starts them."""
import io
import multiprocessing
import os
import socket

import torch

from tagpr_lite.runs import processes

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tagpr_lite.grpo.loop", "tagpr_lite.prmu.train", "tests.engine.test_prefix"])
LONGEST = 120  # seconds


def in_processes(count, function, *args):
    """[processes]: what function(*args) returns in each of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends = [FORK.Pipe(duplex=False) for _ in range(count)]
    running = [FORK.Process(target=child, args=(count, number, port, sender, function, args))
               for number, (_, sender) in enumerate(ends)]
    for process in running:
        process.start()
    found = []
    for number, (receiver, _) in enumerate(ends):
        assert receiver.poll(LONGEST), f"process {number} said nothing"
        found.append(torch.load(io.BytesIO(receiver.recv_bytes()), weights_only=False))
    for process in running:
        process.join(LONGEST)
    errors = [some for some in found if isinstance(some, BaseException)]
    if errors:
        raise errors[0]
    return found


def apart(one, other):
    """The largest difference of two adapters, as a share of the largest number in the first."""
    scale = max(float(p.abs().max()) for p in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / scale


def child(count, number, port, sender, function, args):
    """What runs in process `number`."""
    os.environ |= {"WORLD_SIZE": str(count), "RANK": str(number), "LOCAL_RANK": str(number),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        processes.join()
        result = function(*args)
    except BaseException as error:
        result = error
    # As bytes: torch would leave a tensor's memory with this process, which ends.
    stream = io.BytesIO()
    torch.save(result, stream)
    sender.send_bytes(stream.getvalue())
