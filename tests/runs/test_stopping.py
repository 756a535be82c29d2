"""Signals: the first waits for the optimiser step, the second does not; a run goes on as if none had come."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tagpr_lite.runs import OWNER, finishing_steps, guard
from tagpr_lite.runs.stopping import Stopped, handle_signals

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def handled():
    """This process handles signals as a command does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handle_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_waits_for_the_step_and_sets_the_exit_code(handled, capsys, number, code):
    done = []

    def training():
        with finishing_steps() as stop:
            for step in range(9):
                if step == 2:
                    os.kill(os.getpid(), number)
                done.append(step)
                stop.now()

    with pytest.raises(SystemExit) as ended:
        guard(training)
    assert ended.value.code == code and done == [0, 1, 2]
    said = capsys.readouterr().err
    assert "stopping after this step" in said and "the same command goes on from here" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(handled, number):
    done = []
    with pytest.raises(Stopped), finishing_steps() as stop:
        for step in range(9):
            os.kill(os.getpid(), number)
            done.append(step)
            assert stop.asked == number
    assert done == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_of_a_training_the_first_signal_ends_at_once(handled, number):
    with finishing_steps():
        pass
    with pytest.raises(Stopped):
        os.kill(os.getpid(), number)
        time.sleep(1)


def test_without_a_signal_nothing_happens_and_another_thread_may_train(handled):
    asked = []

    def work():
        with finishing_steps() as stop:
            stop.now()
            asked.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    work()
    assert asked == [None, None]


def test_a_step_does_not_outlive_its_script(tmp_path):
    """A script that is killed outright, and the step that it had started."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a process that its parent is gone")
    step = ("import time; from tagpr_lite.runs.stopping import handle_signals; handle_signals(); "
            "print('running', flush=True); time.sleep(60)")
    script = f"export {OWNER}=$$; {sys.executable} -c \"{step}\" & echo $!; wait"
    process = subprocess.Popen(["bash", "-c", script], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    child = int(process.stdout.readline())
    assert process.stdout.readline() == "running\n"
    process.kill()
    process.wait()
    for _ in range(100):
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the step is still running")


def test_a_step_whose_script_was_killed_while_it_started_ends():
    """Nobody tells it: the kill came before it could ask for that."""
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    code = "from tagpr_lite.runs.stopping import handle_signals; handle_signals(); print('it went on')"
    step = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
                          env=os.environ | {OWNER: str(gone.pid)})
    assert (step.returncode, step.stdout) == (143, "") or sys.platform != "linux"


@pytest.mark.parametrize("module, says", [("ask", "stopped"), ("serve", "stopped"), ("export", "stopped"),
                                          ("submit", "stopped; the same command goes on from here")])
def test_a_signal_within_the_first_imports_of_a_command_is_one_line(tmp_path, module, says):
    """numpy, which all of them import, is a slow one here."""
    (tmp_path / "numpy.py").write_text("import time; print('importing', flush=True); time.sleep(30)")
    process = subprocess.Popen([sys.executable, "-m", f"tagpr_lite.{module}", "--help"], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and err == f"{says}\n"


IMPORTING = """
import sys
from pathlib import Path
Path("slow.py").write_text("import time; print('importing', flush=True)\\ntry:\\n    time.sleep(30)\\n"
                           "except BaseException:\\n    pass\\n")
sys.path.insert(0, ".")
from tagpr_lite.runs import guard
from tagpr_lite.runs.stopping import handle_signals
handle_signals()
guard(lambda: __import__("slow"))
print("it went on")
"""


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_within_an_import_ends_the_command(tmp_path, number, code):
    """Libraries catch what is raised while they are imported, and turn it into something else."""
    process = subprocess.Popen([sys.executable, "-c", IMPORTING], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code and not out
    assert err == "stopped; the same command goes on from here\n"
