"""Threads are set before torch is imported: two busy processes on two cores slow each other down tenfold."""
import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tagpr_lite.config import Model
from tagpr_lite.engine import model as engine

ROOT = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

# exactness is asked for in fp32; in bf16 goes what runs as a process of its own
if torch.cuda.is_available():
    engine.placement = lambda: (torch.device("cuda", 0), torch.float32)


def pytest_configure(config):
    """The tiny model is made before there are workers, who would all make it."""
    if not hasattr(config, "workerinput"):
        engine.find(Model(name="tiny"))


def pytest_collection_modifyitems(items):
    """The longest file goes first, so that no worker begins it when the others have nothing left to do. Tests
    that are marked `long` run when they are asked for: TAGPR_LONG_TESTS=1 bash run_all.sh test."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py")
    if not os.environ.get("TAGPR_LONG_TESTS"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long"))
