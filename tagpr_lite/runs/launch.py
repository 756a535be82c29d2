"""Starts a step in several processes, one a card, and watches over them.

    python -m tagpr_lite.runs.launch --cards 2 tagpr_lite.steps.step5_guided --preset gpu

`accelerate launch --multi_gpu --num_processes 2 -m tagpr_lite.steps.step5_guided --preset gpu` and `torchrun`
do the same; this command is quieter. Process 0 alone prints. When one process ends badly all end, and a line
says which it was. Ctrl-C and SIGTERM reach process 0, which ends the training after its step for all of them;
a second signal ends all at once. Steps that train nothing run in one process.

Without a card the processes share the CPU's cores.
"""
from __future__ import annotations

import argparse
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import BinaryIO

from ..config import UserError
from .commands import complain, guard
from .owner import VARIABLE as OWNER
from .places import THREADS, cores
from .processes import LAUNCHED, PEER_LOST
from .side_by_side import SIGNAL_NAMES, signal_and_wait
from .stopping import SIGNALS, handle_signals

DIVIDED = ("step3_sft", "step4_reward", "step5_guided", "step6_explore", "step7_evaluate")
"""The steps whose work several processes divide."""
PATIENCE = 5.0  # seconds for a process that is asked to end, before it is killed
COMPANY = 2.0  # seconds in which the others end too, when one has ended badly
MISSED = 20.0  # seconds in which the process ends that another one misses
LOOK = 0.05  # seconds between two looks at the processes
BEFORE_WORDS = re.compile(r"^(\[rank\d+\]: )?(error: )?")  # of a line of error: torch names the process, too


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.runs.launch", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, required=True, metavar="N", help="how many processes")
    parser.add_argument("step", help="a module, tagpr_lite.steps.step5_guided")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the step's own")
    args = parser.parse_args(words)
    handle_signals()
    codes: list[int] = []
    guard(lambda: codes.append(launch(args.cards, [args.step, *args.words])))
    raise SystemExit(codes[0])


def launch(cards: int, words: list[str]) -> int:
    """Runs `python -m WORDS` in as many processes; returns the exit code of all as one."""
    if cards < 1:
        raise UserError(f"--cards {cards}: a whole number from 1 on")
    if words[0].rpartition(".")[2] not in DIVIDED:
        cards = 1
    with ExitStack() as stack:
        errors = [None, *(stack.enter_context(tempfile.TemporaryFile()) for _ in range(cards - 1))]
        processes = start(words, environments(cards), errors)
        try:
            first = watch(processes)
        finally:
            signal_and_wait(processes, signal.SIGTERM, PATIENCE)
            signal_and_wait(processes, signal.SIGKILL, PATIENCE)
        return told(processes, first, errors)


def environments(cards: int) -> list[dict[str, str]]:
    """[processes]: the variables of each. One process has none of them, and knows nothing of others."""
    common = dict(os.environ)
    common.setdefault(OWNER, str(os.getpid()))  # whom the run's folder belongs to
    if cards == 1:
        return [common]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common |= {"WORLD_SIZE": str(cards), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LAUNCHED: "1"}
    common.setdefault("PYTHONHASHSEED", "0")  # sets have the same order in all
    common.setdefault(THREADS, str(max(1, cores() // cards)))
    return [common | {"RANK": str(number), "LOCAL_RANK": str(number)} for number in range(cards)]


def start(words: list[str], variables: list[dict[str, str]], errors: list[BinaryIO | None]
          ) -> list[subprocess.Popen]:
    """The processes. Those after the first print nothing, and their errors go to a file each. Each has a
    session of its own, so that a Ctrl-C of the terminal reaches this command alone."""
    processes = []
    for number, environment in enumerate(variables):
        processes.append(subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, start_new_session=True,
            stdout=None if number == 0 else subprocess.DEVNULL, stderr=errors[number]))
    return processes


def watch(processes: list[subprocess.Popen]) -> int:
    """Waits until all have ended well, or one has not. Returns its number, the least where several met the
    same, 0 where all ended well. A signal is handed to process 0, a second one too, which then ends at
    once."""
    def hand_on(number: int, _frame: object) -> None:
        if processes[0].poll() is None:
            processes[0].send_signal(number)

    for number in SIGNALS:
        signal.signal(number, hand_on)
    deadline = math.inf
    while True:
        codes = [process.poll() for process in processes]
        failed = [number for number, code in enumerate(codes) if code not in (None, 0)]
        # Whose peer has gone has not failed by itself: the peer is waited for.
        own_faults = [number for number in failed if codes[number] != PEER_LOST]
        if failed:
            deadline = min(deadline, time.monotonic() + (COMPANY if own_faults else MISSED))
        if all(code is not None for code in codes) or time.monotonic() > deadline:
            return min(own_faults or failed, default=0)
        time.sleep(LOOK)


def told(processes: list[subprocess.Popen], first: int, errors: list[BinaryIO | None]) -> int:
    """The exit code of the process that ended badly first, if any, after a line that says what it was, unless
    it has said so itself."""
    code = processes[first].returncode
    if code == PEER_LOST:
        complain("error: the processes have lost each other; the same command goes on from here")
        return 2
    if code < 0:
        complain(f"error: process {first} of {len(processes)} was ended by signal {-code} "
                 f"({SIGNAL_NAMES.get(-code, 'no name')}); the same command goes on from here")
        return 2
    if first > 0 and code != 0:
        errors[first].seek(0)
        lines = errors[first].read().decode("utf-8", "replace").strip().splitlines()
        complain(f"error: process {first} of {len(processes)}: "
                 f"{BEFORE_WORDS.sub('', lines[-1]) if lines else f'exit code {code}'}")
    return code


if __name__ == "__main__":
    main()
