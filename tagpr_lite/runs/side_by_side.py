"""Runs side by side on one machine: each is a list of commands; as many run at a time as there are places.

    jobs = [Job("full-0", {"prepare": [sys.executable, "-m", ...], "tag": [...]}), ...]
    run_all(jobs, places_on_cards("4"))

A job has a place (a card, or a share of the cores) until it ends. Its steps are processes, one after
another. A job that fails stops no other. The first Ctrl-C or SIGTERM stops all of them: trainings have
PATIENCE seconds to finish their optimiser step and to save it.

Decisions. One thread starts and watches all processes: Linux ties a child's PR_SET_PDEATHSIG to the thread
that has started it. Each process has a session of its own, so that a Ctrl-C of the terminal reaches this
process alone, which passes it on. With one place the processes write to the terminal themselves; with several
every line that they write is printed here, behind the name of its job.
"""
from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO

from ..config import UserError
from .owner import VARIABLE as OWNER
from .places import Place
from .stopping import finishing_steps
from .text import one_line

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"  # what a job may be
POLL = 0.05  # seconds between two looks at the processes
PATIENCE = 10.0  # seconds that a training has to finish its optimiser step and to save it
LAST_PATIENCE = 3.0  # seconds that a process has after a second signal, before it is killed
SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}  # {9: "SIGKILL", ...}
STOPPED_CODES = (130, 143)  # exit codes of a command that Ctrl-C or SIGTERM has ended


class Job:
    """One run: its name, and the commands of its steps, {"prepare": [python, "-m", ...]}."""

    def __init__(self, name: str, steps: dict[str, list[str]]):
        self.name, self.steps = name, steps
        self.state = WAITING
        self.failure = ""  # of a job that has failed: "step tag ended with exit code 2: ..."

    def may_begin(self) -> bool:
        """Whether what the job needs of other jobs is there."""
        return True

    def begin(self, place: Place) -> list[str]:
        """What is done before the first step; returns lines to print. A UserError or an OSError fails the
        job."""
        return []

    def fail(self, why: str) -> None:
        self.state, self.failure = FAILED, why


def run_all(jobs: list[Job], places: list[Place], one_at_a_time: Collection[str] = ()) -> None:
    """Runs all jobs; returns when each is done, has failed, or cannot begin. Stopped: a signal has come, and
    no process is left.

    one_at_a_time: steps that write into what all jobs share. While one job does one of them, no other job
    begins one of them.
    """
    team = Team(jobs, places, one_at_a_time)
    with finishing_steps() as stop:
        try:
            while team.is_at_work():
                if stop.asked:
                    break
                team.look()
                time.sleep(POLL)
        finally:
            team.end()
    stop.now()


class Team:
    """The jobs, and the workers that do them."""

    def __init__(self, jobs: list[Job], places: list[Place], one_at_a_time: Collection[str]):
        self.jobs, self.one_at_a_time = jobs, one_at_a_time
        self.free = list(places)
        self.workers: list[Worker] = []
        self.lines: SimpleQueue[tuple[Worker, str]] | None = SimpleQueue() if len(places) > 1 else None
        self.width = max((len(job.name) for job in jobs), default=0)

    def is_at_work(self) -> bool:
        """Whether a job runs or could begin."""
        return bool(self.workers) or any(job.state == WAITING and job.may_begin() for job in self.jobs)

    def look(self) -> None:
        """Gives free places to jobs, in the order of the jobs, and lets those go on whose step has ended."""
        for job in self.jobs:
            if self.free and job.state == WAITING and job.may_begin():
                self.take_up(job, self.free.pop(0))
        for worker in list(self.workers):
            self.go_on(worker)
            if worker.job.state != RUNNING:
                self.workers.remove(worker)
                self.free.append(worker.place)
        self.print_lines()

    def take_up(self, job: Job, place: Place) -> None:
        """The job has the place from now on, or has failed."""
        try:
            lines = job.begin(place)
        except (UserError, OSError) as error:
            job.fail(f"it could not begin: {one_line(error, 200)}")
            self.say(job, f"error: {job.failure}")
            self.free.append(place)
            return
        job.state = RUNNING
        self.workers.append(Worker(job, place))
        for line in lines:
            self.say(job, line)

    def go_on(self, worker: Worker) -> None:
        """Begins the worker's next step where the last one has ended well; otherwise the job has failed."""
        if worker.is_busy():
            return
        self.print_lines()  # what the step has said last
        failure = worker.failure()
        if failure:
            worker.job.fail(failure)
            self.say(worker.job, failure)
        elif not worker.left:
            worker.job.state = DONE
        elif self.is_free(worker.left[0]):
            worker.begin_next(self.lines)

    def is_free(self, step: str) -> bool:
        """Whether the step may begin, as far as the other jobs are concerned."""
        others = [worker.step for worker in self.workers if worker.is_busy()]
        return step not in self.one_at_a_time or not any(other in self.one_at_a_time for other in others)

    def end(self) -> None:
        """Ends the processes that still run, with a line of each. A second signal ends the patience."""
        busy = [worker for worker in self.workers if worker.is_busy()]
        processes = [worker.process for worker in busy]
        try:
            signal_and_wait(processes, signal.SIGTERM, PATIENCE)
        finally:
            signal_and_wait(processes, signal.SIGTERM, LAST_PATIENCE)
            signal_and_wait(processes, signal.SIGKILL, LAST_PATIENCE)
        if self.lines:  # a process that writes to the terminal itself has said so itself
            for worker in self.workers:
                where = f"in step {worker.step}" if worker in busy else "between two steps"
                self.say(worker.job, f"stopped {where}")

    # ------------------------------------------------------------ what is printed

    def say(self, job: Job, line: str) -> None:
        """Prints a line, behind the job's name where several jobs print."""
        print(f"{job.name.ljust(self.width)} | {line}" if self.lines else line, flush=True)

    def print_lines(self) -> None:
        """Prints what the processes have written."""
        while self.lines and not self.lines.empty():
            worker, line = self.lines.get()
            worker.last_line = line
            self.say(worker.job, line)


class Worker:
    """What does a job on a place: one process after another."""

    def __init__(self, job: Job, place: Place):
        self.job, self.place = job, place
        self.left = list(job.steps)  # steps that are still to be done
        self.step = ""  # the one that is done now, or was the last
        self.process: subprocess.Popen | None = None
        self.reader: threading.Thread | None = None
        self.last_line = ""

    def begin_next(self, lines: SimpleQueue | None) -> None:
        """Starts the next step's process. lines: where what it writes goes; None: it writes itself."""
        self.step = self.left.pop(0)
        self.last_line = ""
        environment = {OWNER: str(os.getpid())} | os.environ | self.place.environment
        environment |= {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        how = {} if lines is None else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(self.job.steps[self.step], env=environment, stdin=subprocess.DEVNULL,
                                        start_new_session=True, text=True, encoding="utf-8",
                                        errors="replace", **how)
        if lines is not None:
            self.reader = threading.Thread(target=self.read, args=(self.process.stdout, lines), daemon=True)
            self.reader.start()

    def read(self, stream: TextIO, lines: SimpleQueue) -> None:
        """Hands on every line that the process writes. A carriage return, with which a progress bar is drawn
        anew, ends a line too."""
        for line in stream:
            if line.strip():
                lines.put((self, line.rstrip()))

    def is_busy(self) -> bool:
        """Whether a process runs, or something that it has written is not read yet."""
        if self.process is None:
            return False
        return self.process.poll() is None or self.reader is not None and self.reader.is_alive()

    def failure(self) -> str:
        """Why the last step did not end well, "step tag was killed by SIGKILL"; "" where it did."""
        code = self.process.returncode if self.process else 0
        if code == 0:
            return ""
        if code < 0:
            return f"step {self.step} was killed by {SIGNAL_NAMES.get(-code, f'signal {-code}')}"
        if code in STOPPED_CODES:
            return f"step {self.step} was stopped by a signal"
        last = f": {one_line(self.last_line, 200)}" if self.last_line else ""
        return f"step {self.step} ended with exit code {code}{last}"


def signal_and_wait(processes: list[subprocess.Popen], number: int, seconds: float) -> None:
    """Sends a signal to the processes that still run, and waits until they end, `seconds` at most. SIGKILL
    goes to what they have started too: each has a session of its own."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in running) and time.monotonic() < end:
        time.sleep(POLL)
