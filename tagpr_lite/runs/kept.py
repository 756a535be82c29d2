"""Results of other settings: kept beside the present ones, and put back when their settings come back.

A step whose settings or inputs have changed makes its outputs anew. The old ones, finished or not, move to
<run folder>/.kept/<step>-<hash of their key>, with their manifest and their lines of metrics.jsonl:

    step3_sft                 trains
    step3_sft sft.lr=0.5      .kept/sft-31c2...: the first results; stopped after a second
    step3_sft                 .kept/sft-9b07...: the one second of the second; the first are put back

A move that a kill cuts in two is finished by the next start. On the way out the manifest moves last; on the
way back a file `moving` says so from the first moment on.
"""
from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from .files import read_jsonl, write_json, write_jsonl, write_text
from .manifests import read_manifest
from .metrics import split_lines

FOLDER = ".kept"
MOVING = "moving"


def place_of(folder: Path, step: str, key: dict | None) -> Path:
    """Where the results of a step under a key are kept; a place of its own for those of an unknown key."""
    if key is None:
        taken = len(list((folder / FOLDER).glob(f"{step}-unknown-*")))
        return folder / FOLDER / f"{step}-unknown-{taken + 1}"
    text = json.dumps(key, sort_keys=True)
    return folder / FOLDER / f"{step}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def keep(folder: Path, step: str, outputs: list[str], manifest: dict) -> Path:
    """Moves a step's outputs, metrics and manifest out of the way; returns where they are."""
    place = place_of(folder, step, manifest.get("key"))
    present = folder / "manifests" / f"{step}.json"
    if (place / "manifest.json").exists():  # kept before, and made again since
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    for output in outputs:
        _move(folder / output, place / "files" / output)
    of_step, others = split_lines(folder, step)
    if of_step:
        write_jsonl(place / "metrics.jsonl", of_step)
        write_jsonl(folder / "metrics.jsonl", others)
    write_json(place / "manifest.json", manifest)
    present.unlink(missing_ok=True)
    return place


def put_back(folder: Path, step: str, outputs: list[str], key: dict) -> dict | None:
    """Moves what was kept under the key to where it was; returns its manifest, or None where nothing was."""
    place = place_of(folder, step, key)
    if not (place / "manifest.json").exists():
        return None
    manifest = read_manifest(place / "manifest.json")
    write_text(place / MOVING, "")
    for output in outputs:
        _move(place / "files" / output, folder / output)
    if (place / "metrics.jsonl").exists():
        _, others = split_lines(folder, step)
        write_jsonl(folder / "metrics.jsonl", others + read_jsonl(place / "metrics.jsonl"))
    write_json(folder / "manifests" / f"{step}.json", manifest)
    shutil.rmtree(place)
    return manifest


def copies(folder: Path, step: str, path: str) -> list[Path]:
    """Where an output of a step, or a file in one, is kept of other settings."""
    return sorted((folder / FOLDER).glob(f"{step}-*/files/{path}"))


def finish_moves(folder: Path, step: str, outputs: list[str], manifest: dict | None) -> None:
    """Finishes what a kill has cut in two. manifest: the step's present one."""
    for place in sorted((folder / FOLDER).glob(f"{step}-*")):
        if not (place / MOVING).exists():
            continue
        if (place / "manifest.json").exists():
            put_back(folder, step, outputs, (read_manifest(place / "manifest.json") or {}).get("key"))
        else:  # all is moved, and the removal of the place was cut off
            shutil.rmtree(place)
    if manifest is not None and manifest.get("key") is not None:
        place = place_of(folder, step, manifest["key"])
        if place.exists() and not (place / "manifest.json").exists():
            keep(folder, step, outputs, manifest)


def _move(source: Path, target: Path) -> None:
    """A file or folder; nothing where there is none, so that a move that was cut off can be repeated."""
    if not source.exists():
        return
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
