"""One owner of a run's folder: a second command is refused while the first one lives, and only then."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.runs import OWNER, run_step
from tagpr_lite.runs.owner import FILE, identity, own

ROOT = Path(__file__).resolve().parents[2]
# A command that owns the folder, says so, and stays alive until its input ends.
OWNING = ("import sys; from pathlib import Path; from tagpr_lite.runs.owner import own; "
          "folder = Path(sys.argv[1]); (folder / 'manifests').mkdir(parents=True); own(folder); "
          "print('mine', flush=True); sys.stdin.read()")


@pytest.fixture
def other(tmp_path):
    """Another process that owns tmp_path / 'run'."""
    process = subprocess.Popen([sys.executable, "-c", OWNING, tmp_path / "run"], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def step(tmp_path, done):
    c = config.load("smoke", [f"results={tmp_path}", "name=run"])

    def work(config, folder):
        (folder / "out").write_text("x")
        done.append(True)

    run_step(c, "prepare", inputs=[], settings=["seed"], outputs=["out"], work=work)


def test_a_second_command_is_refused_in_one_line_and_writes_nothing(tmp_path, other):
    done = []
    with pytest.raises(UserError, match=f"belongs to another command.*process {other.pid}.*another name="):
        step(tmp_path, done)
    assert not done and sorted(os.listdir(tmp_path / "run")) == [FILE, "manifests"]


@pytest.mark.parametrize("ending", ["kill", "close"])
def test_an_owner_that_is_dead_owns_nothing(tmp_path, other, ending):
    other.kill() if ending == "kill" else other.stdin.close()
    other.wait()
    done = []
    step(tmp_path, done)
    assert done


def test_an_owner_that_was_killed_and_not_yet_waited_for_owns_nothing(tmp_path, other):
    other.kill()
    time.sleep(0.2)  # a zombie: its parent, this process, has not asked for it yet
    own(tmp_path / "run")


def test_steps_of_one_script_share_the_folder(tmp_path, other, monkeypatch):
    monkeypatch.setenv(OWNER, str(other.pid))
    own(tmp_path / "run")
    assert json.loads((tmp_path / "run" / FILE).read_text())["process"] == other.pid


def test_a_process_id_that_is_used_again_is_not_the_owner(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"process": os.getppid(), "started": "1"}))
    own(tmp_path)
    assert json.loads((tmp_path / FILE).read_text()) == identity(os.getpid())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000,
                                     b'{"process": 99999999999999999999, "started": ""}'])
def test_a_file_that_is_no_text_names_no_owner(tmp_path, content):
    (tmp_path / "run" / "manifests").mkdir(parents=True)
    (tmp_path / "run" / FILE).write_bytes(content)
    done = []
    step(tmp_path, done)
    assert done


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"process": "x", "started": ""}', "\0"])
def test_a_damaged_file_names_no_owner(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    own(tmp_path)


@pytest.mark.parametrize("word", ["", "x", "-1", "0", "99999999"])
def test_a_script_that_is_none_is_not_the_owner(tmp_path, monkeypatch, word):
    monkeypatch.setenv(OWNER, word)
    own(tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["process"] in (os.getpid(), 0)


def test_a_step_releases_what_it_owned_and_a_script_keeps_it(tmp_path, other, monkeypatch):
    """A notebook that did a step does not keep the folder from the next command."""
    other.kill()
    other.wait()
    step(tmp_path, [])
    assert not (tmp_path / "run" / FILE).exists()
    monkeypatch.setenv(OWNER, str(os.getppid()))
    own(tmp_path / "run")
    step(tmp_path, [])
    assert json.loads((tmp_path / "run" / FILE).read_text())["process"] == os.getppid()


def test_a_step_that_fails_ends_its_script_and_leaves_no_file(tmp_path, monkeypatch):
    step(tmp_path, [])
    monkeypatch.setenv(OWNER, str(os.getppid()))
    c = config.load("smoke", [f"results={tmp_path}", "name=run"])

    def work(config, folder):
        raise UserError("no good")

    with pytest.raises(UserError, match="no good"):
        run_step(c, "tag", inputs=["out"], settings=["seed"], outputs=["x"], work=work)
    assert not (tmp_path / "run" / FILE).exists()


def test_a_second_command_does_not_take_the_file_of_the_first(tmp_path, other):
    for _ in range(2):
        with pytest.raises(UserError, match="belongs to another command"):
            step(tmp_path, [])
    assert json.loads((tmp_path / "run" / FILE).read_text())["process"] == other.pid


def test_the_report_can_be_asked_for_while_a_run_is_at_work(tmp_path, other):
    c = config.load("smoke", [f"results={tmp_path}", "name=run"])
    done = []

    def work(config, folder):
        (folder / "report.md").write_text("x")
        done.append(True)

    run_step(c, "report", inputs=["?.owner"], settings=["seed"], outputs=["report.md"], work=work,
             of_unfinished=True)
    assert done
