"""What a disk or the system refuses is one line with what to do, whichever library met it."""
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tagpr_lite.config import UserError
from tagpr_lite.runs import commands, guard, write_text
from tagpr_lite.runs.commands import REMEDIES, refused_by_system

ROOT = Path(__file__).resolve().parents[2]


def ended(work, capsys, **how):
    """(exit code, what was said) of a command that does `work`."""
    with pytest.raises(SystemExit) as stop:
        guard(work, **how)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize("number", sorted(REMEDIES))
def test_a_fault_of_the_system_is_one_line_with_the_path_and_what_to_do(number, capsys):
    def work():
        raise OSError(number, os.strerror(number), "results/cpu/x")

    code, said = ended(work, capsys)
    assert code == 2 and said.count("\n") == 1 and said.startswith("error: ")
    assert "results/cpu/x" in said and REMEDIES[number] in said and "goes on afterwards" in said


def test_a_disk_that_is_full(capsys):
    def work():
        with open("/dev/full", "w") as stream:
            stream.write("x" * 100_000)

    code, said = ended(work, capsys)
    assert code == 2 and "No space left on device: make room" in said


def test_a_library_that_wraps_the_fault(capsys, tmp_path):
    """safetensors writes by itself, and raises an error of its own."""
    def work():
        save_file({"x": torch.zeros(1000)}, tmp_path / "missing" / "x.safetensors")

    code, said = ended(work, capsys)
    assert code == 2 and said.count("\n") == 1 and REMEDIES[errno.ENOENT] in said


def test_the_error_that_led_to_another_one_is_looked_at():
    try:
        try:
            raise OSError(errno.EROFS, "Read-only file system")
        except OSError as first:
            raise RuntimeError("could not save") from first
    except RuntimeError as error:
        assert "on a disk that can be written" in refused_by_system(error)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("errno"), OSError("no number"),
                                   RuntimeError("(os error 999)")])
def test_other_errors_keep_their_traceback(error):
    def work():
        raise error

    with pytest.raises(type(error)):
        guard(work)


def test_debug_shows_the_traceback():
    def work():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError):
        guard(work, debug=True)


def test_bad_input_stays_what_it_is(capsys):
    def work():
        raise UserError("no good")

    assert ended(work, capsys) == (2, "error: no good\n")


def test_a_file_that_cannot_grow_leaves_the_old_one_whole(tmp_path, capsys):
    """A limit of the process stands for a full disk: the kernel refuses the write in the same way."""
    write_text(tmp_path / "x", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        code, said = ended(lambda: write_text(tmp_path / "x", "y" * 5000), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2 and "ulimit -f" in said
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_text() == "old"


def test_a_run_whose_disk_is_full_goes_on_when_there_is_room(tmp_path):
    """Step 1 under a limit of 20 kB a file: one line. Without the limit the same command ends well."""
    step = [sys.executable, "-m", "tagpr_lite.steps.step1_prepare", "--preset", "smoke",
            f"results={tmp_path}"]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, preexec_fn=limited, check=False)
    assert full.returncode == 2, full.stderr
    assert "ulimit -f" in full.stderr.splitlines()[-1] and "Traceback" not in full.stderr
    assert not list((tmp_path / "smoke").rglob("*.part"))
    assert subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False).returncode == 0


def test_the_line_of_an_error_stands_below_a_progress_bar(capsys):
    kept = []

    def work():
        kept.append(commands.progress(10, "sft", "step"))  # it lives on in the frame of a traceback
        kept[0].update(3)
        raise UserError("no such file")

    with pytest.raises(SystemExit):
        commands.guard(work)
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert lines[-1] == "error: no such file" and any("sft" in line for line in lines)
