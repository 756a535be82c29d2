"""Files of tensors with a checksum: what a kill leaves of writing one."""
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tagpr_lite import runs
from tagpr_lite.engine.state import read_checked, save_checked
from tagpr_lite.runs.manifests import made_files

WRITER = """
import sys
from pathlib import Path
import torch
from tagpr_lite.engine.state import save_checked
from tagpr_lite.runs import whole_file
while True:
    with whole_file(Path(sys.argv[1])) as beside:
        save_checked(beside, {"values": torch.ones(20_000_000)})
"""


def test_a_kill_inside_the_library_leaves_no_file_behind(tmp_path):
    """safetensors writes to a temporary file of its own and renames that one. The process is killed while
    such a file is there: it is no output of the step, and the next writing removes it."""
    folder = tmp_path / "guided"
    path = folder / "state.safetensors"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    while not list(folder.glob("**/.tmp*")):
        assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert set(made_files(tmp_path, ["guided"])) <= {"guided/state.safetensors"}

    with runs.whole_file(path) as beside:
        save_checked(beside, {"values": torch.zeros(3)})
    assert os.listdir(folder) == ["state.safetensors"]
    assert read_checked(path)[0]["values"].tolist() == [0, 0, 0]


def test_a_file_without_a_checksum_is_said_to_be_older(tmp_path):
    save_file({"x": torch.ones(2)}, tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match="no checksum: an older version wrote it"):
        read_checked(tmp_path / "old.safetensors")
