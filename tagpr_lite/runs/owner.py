"""One owner of a run's folder: two processes that write into one would mix their files and their metrics.

The file `.owner` of a run folder names the process that works in it:

    {"process": 4711, "started": "8839201"}

The owner is run_all.sh or a campaign, which start a process a step and say so in TAGPR_OWNER, or the step's
own process. An owner that no longer lives owns nothing, so a kill leaves nothing to clean up. A process id is
used again some day: so the file has the time at which the process was started too, where the system tells it.
"""
from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from ..config import UserError
from .files import is_alive

FILE = ".owner"
VARIABLE = "TAGPR_OWNER"
"""The environment variable with the process id of the command that a step is a part of."""


def own(folder: Path) -> None:
    """From now on the folder belongs to this command, until `release`, or until the command ends. A folder
    that is not there yet belongs to nobody. UserError: another command is at work in it."""
    if not folder.exists():
        return
    script = os.environ.get(VARIABLE, "")
    mine = identity(int(script)) if script.isdecimal() else None
    mine = mine or identity(os.getpid())
    with open(folder / FILE, "a+", encoding="utf-8", errors="replace") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # for the moment between reading and writing
        stream.seek(0)
        owner = read(stream.read())
        if owner and owner != mine and identity(owner["process"]) == owner:
            raise UserError(f"{folder} belongs to another command that is at work there, process "
                            f"{owner['process']}: wait for it, stop it, or choose another name= for this run")
        stream.seek(0)
        stream.truncate()
        stream.write(json.dumps(mine))


def release(folder: Path, script_ends: bool = False) -> None:
    """What this very process owns belongs to nobody any more. What a script owns, it owns until it ends:
    behind its last step, or a step that failed."""
    file = folder / FILE
    owner = read(file.read_text(encoding="utf-8", errors="replace")) if file.exists() else None
    mine = {str(os.getpid()), os.environ.get(VARIABLE) if script_ends else None}
    if owner and str(owner["process"]) in mine:
        file.unlink(missing_ok=True)


def read(text: str) -> dict | None:
    """The owner that the file names; None where it is empty or cut."""
    try:
        owner = json.loads(text)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(owner, dict) and isinstance(owner.get("process"), int) and "started" in owner
    return owner if whole else None


def identity(process: int) -> dict | None:
    """{"process", "started"} of a process that lives; None of one that does not."""
    if not is_alive(process):
        return None
    try:
        # Field 22 of Linux's list, counted behind the name, which is in brackets and may hold spaces.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else {"process": process, "started": fields[19]}
    except (OSError, IndexError):
        return {"process": process, "started": ""}
