"""Runs side by side: as many as there are places, each failing and ending alone, stopped together."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tagpr_lite.config import UserError
from tagpr_lite.runs.places import Place
from tagpr_lite.runs.side_by_side import DONE, FAILED, WAITING, Job, Worker, run_all

ROOT = Path(__file__).parents[2]
TWO = [Place("", {"WHERE": "first"}), Place("", {"WHERE": "second"})]
# A step that writes when it began and ended, and where: {"name", "where", "began", "ended"}.
TIMED = """
import json, os, sys, time
began = time.monotonic()
time.sleep(0.3)
line = {"name": sys.argv[1], "where": os.environ["WHERE"], "began": began, "ended": time.monotonic()}
with open(sys.argv[2], "a") as stream:
    stream.write(json.dumps(line) + "\\n")
"""


def job(name, *steps):
    """A job whose steps are Python programs: job("a", "print(1)") has the step "step1"."""
    return Job(name, {f"step{number}": [sys.executable, "-c", code] for number, code in enumerate(steps, 1)})


def timed(names, file, step="step1"):
    return [Job(name, {step: [sys.executable, "-c", TIMED, name, str(file)]}) for name in names]


def lines_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def overlap(one, other):
    return one["began"] < other["ended"] and other["began"] < one["ended"]


def test_as_many_run_at_a_time_as_there_are_places_and_never_two_on_one(tmp_path, monkeypatch):
    monkeypatch.setenv("WHERE", "nowhere")  # the place's word counts
    jobs = timed("abcde", tmp_path / "times")
    run_all(jobs, TWO)
    assert [one.state for one in jobs] == [DONE] * 5
    times = lines_of(tmp_path / "times")
    pairs = [(one, other) for one in times for other in times if one["name"] < other["name"]]
    assert any(overlap(*pair) for pair in pairs)
    assert not any(overlap(one, other) for one, other in pairs if one["where"] == other["where"])
    assert {one["where"] for one in times} == {"first", "second"}


def test_a_step_of_those_that_write_into_what_all_share_has_no_other_beside_it(tmp_path):
    jobs = timed("ab", tmp_path / "times", "prepare") + timed("c", tmp_path / "times", "tag")
    run_all(jobs, [*TWO, Place("", {"WHERE": "third"})], one_at_a_time=("prepare", "tag"))
    times = lines_of(tmp_path / "times")
    assert len(times) == 3
    assert not any(overlap(one, other) for one in times for other in times if one["name"] < other["name"])


def test_steps_follow_one_another_and_a_failed_one_ends_its_job_alone(tmp_path, capfd):
    touch = "import pathlib; pathlib.Path({!r}).touch()"
    after, other = tmp_path / "after", tmp_path / "other"
    broken = job("a", "import sys; print('error: no such thing'); sys.exit(2)", touch.format(str(after)))
    whole = job("bcd", f"import pathlib; assert not pathlib.Path({str(other)!r}).exists()",
                touch.format(str(other)))
    run_all([broken, whole], TWO)
    assert (broken.state, whole.state) == (FAILED, DONE) and other.exists() and not after.exists()
    assert broken.failure == "step step1 ended with exit code 2: error: no such thing"
    assert capfd.readouterr().out.splitlines() == ["a   | error: no such thing", f"a   | {broken.failure}"]


def test_a_killed_process_is_named_in_one_line(capfd):
    killed = job("a", "import os; os.kill(os.getpid(), 9)")
    run_all([killed, job("b", "pass")], TWO)
    assert capfd.readouterr().out == "a | step step1 was killed by SIGKILL\n"
    stopped = job("c", "raise SystemExit(143)")
    run_all([stopped], TWO)
    assert stopped.failure == "step step1 was stopped by a signal"


def test_what_a_process_writes_last_is_waited_for(capfd):
    long = job("a", "import sys; print('line\\n' * 50000 + 'error: the last'); sys.exit(2)")
    run_all([long, job("b", "pass")], TWO)
    assert long.failure.endswith("exit code 2: error: the last")
    assert len(capfd.readouterr().out.splitlines()) == 50002
    # A process that has ended, and what it has written is still being read.
    worker, is_read = Worker(long, TWO[0]), threading.Event()
    worker.process = SimpleNamespace(poll=lambda: 0)
    worker.reader = threading.Thread(target=is_read.wait)
    worker.reader.start()
    assert worker.is_busy()
    is_read.set()
    worker.reader.join()
    assert not worker.is_busy()


def test_every_line_begins_with_the_name_of_its_job(capfd):
    """What a progress bar draws anew is a line too; so is an end without a line's end."""
    code = ("import sys; print('begin', '\\n\\n'); sys.stderr.write('\\rbar 10%\\rbar 90%\\n');"
            "sys.stdout.buffer.write('näh'.encode() + b'\\xff'); sys.stdout.flush()")
    run_all([job("one", code), job("second", "print(2)")], TWO)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == "" and sorted(lines) == sorted(["one    | begin", "one    | bar 10%", "one    | bar 90%",
                                                  "one    | näh\ufffd", "second | 2"])


def test_with_one_place_the_processes_write_themselves(capfd):
    run_all([job("one", "import sys; print('out'); print('err', file=sys.stderr)")], TWO[:1])
    assert capfd.readouterr() == ("out\n", "err\n")


class Dependent(Job):
    def __init__(self, name, needs, error=None):
        super().__init__(name, {"step1": [sys.executable, "-c", "pass"]})
        self.needs, self.error = needs, error

    def may_begin(self):
        return all(one.state == DONE for one in self.needs)

    def begin(self, place):
        assert self.may_begin()
        if self.error:
            raise self.error
        return ["it begins"]


def test_a_job_waits_for_what_it_needs_and_one_that_cannot_begin_is_left(capfd):
    first = job("a", "import time; time.sleep(0.3)")
    second = Dependent("b", [first])
    refused, again = (Dependent(name, [], UserError("no folder")) for name in "cf")
    full = Dependent("d", [], OSError(28, "No space left"))
    left = Dependent("e", [refused])
    run_all([refused, again, full, second, first, left], TWO)  # each gives its place back
    states = [one.state for one in (first, second, refused, again, full, left)]
    assert states == [DONE, DONE, FAILED, FAILED, FAILED, WAITING]
    assert refused.failure == "it could not begin: no folder" and "No space left" in full.failure
    assert "b | it begins" in capfd.readouterr().out


# ---------------------------------------------------------------- signals

# Two jobs; each tells its process id and sleeps. Job b may be a training, which ends with the second signal
# and then writes a file, or stubborn, which no signal but SIGKILL ends.
STOPPABLE = """
import sys
from tagpr_lite.runs import guard, side_by_side
from tagpr_lite.runs.places import Place
from tagpr_lite.runs.stopping import handle_signals
side_by_side.PATIENCE = 1.0
sleeping = ("import os, time; from tagpr_lite.runs.stopping import handle_signals; handle_signals();"
            "print('process', os.getpid(), flush=True); time.sleep(60)")
training = ("import os, time; from tagpr_lite.runs.stopping import finishing_steps\\n"
            "try:\\n    with finishing_steps():\\n        print('process', os.getpid(), flush=True)\\n"
            "        time.sleep(60)\\nexcept KeyboardInterrupt:\\n    open(" + repr(sys.argv[2]) + ", 'w')")
stubborn = ("import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: None);"
            "print('process', os.getpid(), flush=True); [time.sleep(1) for _ in range(60)]")
jobs = [side_by_side.Job(name, {"guided": [sys.executable, "-c", code]})
        for name, code in (("a", sleeping), ("b", globals()[sys.argv[1]]))]
handle_signals()
guard(lambda: side_by_side.run_all(jobs, [Place("", {}), Place("", {})]))
print("it went on")
"""


def lives(process):
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def stoppable(request, tmp_path):
    command = [sys.executable, "-c", STOPPABLE, request.param, str(tmp_path / "ended")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    children = [int(re.fullmatch(r"[ab] \| process (\d+)\n", process.stdout.readline())[1]) for _ in range(2)]
    assert [os.getsid(child) for child in children] == children  # a terminal's Ctrl-C does not reach them
    yield process, children
    for one in [process.pid, *children]:
        if lives(one):
            os.kill(one, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stoppable", ["sleeping", "training", "stubborn"], indirect=True)
def test_a_signal_ends_all_within_seconds_in_a_line_each(stoppable, number, code, tmp_path, request):
    process, children = stoppable
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 10 and process.returncode == code
    assert out == "a | stopped in step guided\nb | stopped in step guided\n"
    assert err.splitlines()[-1] == "stopped; the same command goes on from here"
    assert not any(lives(child) for child in children)
    assert (tmp_path / "ended").exists() == ("training" in request.node.name)


@pytest.mark.parametrize("stoppable", ["sleeping"], indirect=True)
def test_processes_do_not_outlive_a_command_that_is_killed(stoppable):
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent is gone")
    process, children = stoppable
    process.kill()
    end = time.monotonic() + 10
    while any(lives(child) for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(lives(child) for child in children)
