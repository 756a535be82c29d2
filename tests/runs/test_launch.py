"""Several processes under one command: what is printed, how it ends, what a signal does."""
import os
import signal
import subprocess
import sys
import time

import pytest

from tagpr_lite.runs import launch

# A step that several processes divide: it says what is asked of it, loops, and obeys signals as steps do.
STEP = '''
import os, signal, sys, time
from tagpr_lite.config import UserError
from tagpr_lite.runs import finishing_steps, guard, processes
from tagpr_lite.runs.stopping import handle_signals

def work():
    words = sys.argv[1:]
    processes.join()
    print("process", processes.number(), "of", processes.count(), flush=True)
    mine = [word.split("=")[1] for word in words if word.startswith(f"{processes.number()}=")]
    processes.all_of(0)
    if "kill" in mine:
        os.kill(os.getpid(), signal.SIGKILL)
    if "refuse" in mine:
        raise UserError("this is refused")
    if "fault" in mine:
        raise ZeroDivisionError("a fault of the program")
    if "loop" in words:
        with finishing_steps() as stop:
            for done in range(1000):
                processes.all_of(done)
                time.sleep(0.01 + 0.02 * processes.number())
                stop.agree()
                if stop.asked:
                    print("saved after", sum(processes.all_of(done)) / 2 - done, flush=True)
                stop.now()
    processes.all_of(1)

handle_signals()
guard(work)
'''


@pytest.fixture
def start(tmp_path):
    """A function (step's name, its words, cards) -> the running command."""
    def started(*words, name="step3_sft", cards="2"):
        (tmp_path / f"{name}.py").write_text(STEP)
        environment = os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{tmp_path}"}
        command = [sys.executable, "-m", "tagpr_lite.runs.launch", "--cards", cards, name, *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)
    return started


def ended(command):
    """(exit code, lines of stdout, lines of stderr)."""
    out, err = command.communicate(timeout=120)
    return command.returncode, out.splitlines(), err.splitlines()


def test_the_first_process_speaks_for_all(start):
    assert ended(start()) == (0, ["process 0 of 2"], [])


def test_a_step_that_is_not_divided_is_one_process(start):
    assert ended(start(name="step8_report", cards="3")) == (0, ["process 0 of 1"], [])


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_in_one_line(start, killed):
    code, _, err = ended(start(f"{killed}=kill"))
    assert code == 2 and err == [f"error: process {killed} of 2 was ended by signal 9 (SIGKILL); the same "
                                 "command goes on from here"]


@pytest.mark.parametrize("words, line", [(["0=refuse", "1=refuse"], "error: this is refused"),
                                         (["1=refuse"], "error: process 1 of 2: this is refused"),
                                         (["0=refuse"], "error: this is refused")])
def test_bad_input_is_one_line_whoever_meets_it(start, words, line):
    code, _, err = ended(start(*words))
    assert code == 2 and err == [line]


def test_a_fault_of_one_process_is_told(start):
    code, _, err = ended(start("1=fault"))
    assert code == 1 and err == ["error: process 1 of 2: ZeroDivisionError: a fault of the program"]


@pytest.mark.parametrize("number, wanted", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_after_the_same_step(start, number, wanted):
    command = start("loop")
    assert command.stdout.readline() == "process 0 of 2\n"
    time.sleep(1)
    command.send_signal(number)
    code, out, err = ended(command)
    assert code == wanted and out == ["saved after 0.0"]
    assert [line for line in err if line] == ["stopping after this step; once more stops at once",
                                              "stopped; the same command goes on from here"]


def test_the_processes_end_with_their_command(start):
    command = start("loop")
    assert command.stdout.readline() == "process 0 of 2\n"
    found = subprocess.run(["pgrep", "-P", str(command.pid)], capture_output=True, text=True)
    children = found.stdout.split()
    assert len(children) == 2
    command.kill()
    deadline = time.time() + 20
    while any(os.path.exists(f"/proc/{child}/cmdline") and open(f"/proc/{child}/cmdline").read()
              for child in children):
        assert time.time() < deadline
        time.sleep(0.1)
    command.communicate()


@pytest.mark.parametrize("cards", ["0", "-1"])
def test_a_number_of_cards_that_is_none_is_one_line(capsys, cards):
    with pytest.raises(SystemExit) as stopped:
        launch.main([f"--cards={cards}", "tagpr_lite.steps.step3_sft"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: --cards {cards}: a whole number from 1 on\n"
