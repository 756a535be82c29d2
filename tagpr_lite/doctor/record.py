"""doctor.json: what is here, and every part with its state and figures. Written whole after every change.

A part's entry: {"state", "setting", "started", "seconds", "figures", "attention", "reason"}. The states are
`running`, `done`, `failed`, `out of time` and `cut off`. setting: what the figures depend on; a part is done
only under the same setting. figures: also of a part that did not end well, as far as it came.
"""
from __future__ import annotations

import time
from pathlib import Path

from ..config import UserError
from ..runs import read_json, write_json

FILE = "doctor.json"
STATES = ("running", "done", "failed", "out of time", "cut off")


def empty() -> dict:
    return {"made": "", "card": None, "here": [], "parts": {}}


def read(folder: Path) -> dict:
    """The record of a folder; an empty one where there is none. A file that is cut, or is something else, is
    said in one line and made anew."""
    path = folder / FILE
    if not path.exists():
        return empty()
    try:
        found = read_json(path)
    except UserError as error:
        print(f"{error}; it is made anew")
        return empty()
    if not is_record(found):
        print(f"{path} is not as this version writes it; it is made anew")
        return empty()
    return found


def is_record(found: object) -> bool:
    """Whether a value has the form of a record."""
    if not isinstance(found, dict) or set(found) != set(empty()):
        return False
    here, parts = found["here"], found["parts"]
    return (isinstance(here, list) and all(isinstance(check, dict) for check in here)
            and isinstance(parts, dict)
            and all(isinstance(entry, dict) and entry.get("state") in STATES for entry in parts.values()))


def write(folder: Path, found: dict) -> None:
    write_json(folder / FILE, found | {"made": time.strftime("%Y-%m-%d %H:%M:%S")})


def put_part(folder: Path, name: str, entry: dict) -> None:
    """One part's entry in the place of its old one; the others stay."""
    found = read(folder)
    found["parts"][name] = entry
    write(folder, found)


def mark_cut(found: dict) -> None:
    """Parts that were running when their command was killed are `cut off`."""
    for entry in found["parts"].values():
        if entry["state"] == "running":
            entry["state"] = "cut off"
            entry["reason"] = "the command was stopped while this part ran; the same command goes on with it"
