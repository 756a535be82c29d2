"""Cores, memory, and the room on the disks where results, data and models go."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from .. import config as cfg
from ..config import Model, UserError
from ..engine.location import sized
from ..plan.shapes import Shape, adapter_parameters, base_parameters, shape_of
from ..runs import cache_folder
from ..runs.places import cores
from .card import GIB
from .packages import Check

LEAST_MEMORY = 7.5 * GIB  # the preset cpu was run on machines of 8 GB
FP32, BF16 = 4, 2  # bytes
# Adapters that a run keeps, in multiples of one: those of SFT, PRMU, guided and explore, and a training state
# (values and two moments) of the last three.
ADAPTERS_OF_A_RUN = 4 + 3 * 3
OF_TEXT = 1 * GIB  # prompts, chains, samples and scores of a run, a generous guess of ours


def memory(group: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of the machine, or of the container that this process is in."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(group.read_text()))
    except (OSError, ValueError):  # no container, or one without a bound: "max"
        return machine


def look_at_machine() -> list[Check]:
    size = memory()
    checks = [Check("CPU", "ok", f"{cores()} cores")]
    if size >= LEAST_MEMORY:
        checks.append(Check("memory", "ok", f"{size / GIB:.1f} GiB"))
    else:
        checks.append(Check("memory", "attention", f"{size / GIB:.1f} GiB",
                            f"the preset cpu wants {LEAST_MEMORY / GIB:g} GiB; bash run_all.sh smoke needs "
                            "less"))
    return checks


# ---------------------------------------------------------------- disks

def planned_shape(has_card: bool) -> Shape:
    """The shape of the model that run_all.sh would take here."""
    if not has_card:
        return shape_of("smollm2")
    try:
        return shape_of(sized(Model(name="auto")))
    except UserError:
        return shape_of("Qwen3-0.6B")


def made_folder() -> Path:
    """Where models of random weights lie while parts run (made.py)."""
    return cache_folder() / "doctor"


def bytes_of_weights(shape: Shape) -> int:
    """The model's files, 16 bits a parameter."""
    tables = (1 if shape.tied else 2) * shape.vocab * shape.hidden
    return BF16 * (base_parameters(shape) + tables)


def look_at_disks(has_card: bool, hub_cache: Path | None, data_bytes: int | None) -> list[Check]:
    """Room for a run's results, LaMP's files and the model. hub_cache: where the hub's library keeps models,
    None where it is not installed. data_bytes: what LaMP's largest file needs, None where nobody said."""
    shape = planned_shape(has_card)
    of_run = ADAPTERS_OF_A_RUN * FP32 * adapter_parameters(shape, Model()) + OF_TEXT
    checks = [disk_check("disk for results", Path(cfg.Config().results), of_run,
                         f"adapters and texts of a run of {shape.name}")]
    if has_card:
        data = Path(cfg.load("gpu").lamp.source)
        checks.append(disk_check("disk for data", data, data_bytes, "LaMP's largest file and its store"))
        if hub_cache:
            checks.append(disk_check("disk for models", hub_cache, bytes_of_weights(shape),
                                     f"the files of {shape.name}"))
    else:
        checks.append(disk_check("disk for models", cache_folder(), bytes_of_weights(shape),
                                 f"the files of {shape.name}"))
    return checks


def disk_check(name: str, folder: Path, needed: int | None, what: str) -> Check:
    """needed: bytes; None where it is not known."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    shown = str(folder).replace(str(Path.home()), "~")
    found = f"{free / GIB:.1f} GiB free at {shown}"
    if needed is None:
        return Check(name, "ok", f"{found}; what is needed was not said (LaMP's site was not reached)")
    found += f", {needed / GIB:.1f} needed: {what}"
    if free >= needed:
        return Check(name, "ok", found)
    return Check(name, "attention", found, f"free some room there, or put {shown} on another disk by a link")
