"""Manifests: what a step was made from, and what it has made, file by file, so that a change is seen."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import UserError
from .commands import as_command
from .files import content_files, digest, read_json, write_json

MADE = "made"
"""The key of a manifest with {file: hash} of what the step has written."""
ACCEPTED = "accepted"
"""The key of a manifest with the files that a person has changed and accepted since."""


def read_manifest(path: Path, folder: Path | None = None, outputs: Iterable[str] = ()) -> dict | None:
    """{"key", "done", "outputs", "seconds", "made", "accepted"}, or None where there is none. One that was
    damaged names no key, and neither do outputs in the folder without a manifest: what nobody knows the key
    of is kept beside."""
    unknown = {"key": None, "done": False}
    if not path.exists():
        return unknown if any((folder / output).exists() for output in outputs) else None
    try:
        found = read_json(path)
    except UserError:
        found = None
    return found if is_manifest(found) else unknown


def is_manifest(found: object) -> bool:
    """Whether a JSON value has a manifest's shape; every key may be missing."""
    if not isinstance(found, dict):
        return False
    lists = [found.get(key, []) for key in ("outputs", ACCEPTED)]
    return isinstance(found.get("key", {}), dict | None) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)


def refuse_changed(folder: Path, name: str, inputs: list[str], preset: str) -> None:
    """UserError: a file that the step would read is not as its maker has left it. A flipped bit in an
    adapter, or a line less in a JSONL file, would go on into every number after it without a word."""
    wanted = [input_.lstrip("?") for input_ in inputs]
    for maker, output, file in changed_files(folder, wanted):
        if maker != name:
            raise UserError(f"{folder / file} is not as step {maker} wrote it: remove {folder / output}, and "
                            f"the same command (bash run_all.sh {preset}) makes it again; or, if the "
                            f"change is yours: {as_command('tagpr_lite.runs')} {folder}")


def changed_files(folder: Path, wanted: list[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """(step that made it, its output, file) of every file of a finished step that is not as it was left.
    wanted: files and folders that are looked at, and no others are read; None: all."""
    for path in sorted((folder / "manifests").glob("*.json")):
        manifest = read_manifest(path) or {}
        made = manifest.get(MADE)
        if not manifest.get("done") or not isinstance(made, dict):
            continue
        for file, hash_then in made.items():
            is_wanted = wanted is None or any(is_within(file, place) for place in wanted)
            if is_wanted and not is_as_made(folder / file, hash_then):
                output = next((some for some in manifest.get("outputs", ()) if is_within(file, some)), file)
                yield path.stem, output, file


def is_as_made(file: Path, hash_then: str) -> bool:
    return file.is_file() and digest(file) == hash_then


def made_files(folder: Path, outputs: Iterable[str]) -> dict[str, str]:
    """{file within the run's folder: its hash} of all files of the outputs."""
    hashes = {}
    for output in outputs:
        for file in content_files(folder / output):
            hashes[str(file.relative_to(folder))] = digest(file)
    return hashes


def accept_changes(folder: Path) -> list[str]:
    """Takes the files of all finished steps as they are now; returns those that were changed."""
    changed = list(changed_files(folder))
    for maker in sorted({maker for maker, _, _ in changed}):
        files = {file for step, _, file in changed if step == maker}
        path = folder / "manifests" / f"{maker}.json"
        manifest = read_json(path)
        manifest[MADE] = made_files(folder, manifest.get("outputs", ()))
        manifest[ACCEPTED] = sorted(files | set(manifest.get(ACCEPTED, ())))
        write_json(path, manifest)
    return [file for _, _, file in changed]


def accepted_files(folder: Path, inputs: list[str]) -> list[str]:
    """Those of a step's inputs that a person has changed and accepted."""
    wanted = [input_.lstrip("?") for input_ in inputs]
    manifests = [read_manifest(path) or {} for path in sorted((folder / "manifests").glob("*.json"))]
    accepted = [file for manifest in manifests for file in manifest.get(ACCEPTED, ())]
    return [file for file in accepted if any(is_within(file, place) for place in wanted)]


def is_within(path: str, folder: str) -> bool:
    """Whether a path of the run's folder is this one or lies in it."""
    return path == folder or path.startswith(f"{folder}/")
