"""Steps and their manifests: done once, resumed when cut off, done again when what they depend on changes.

A step is a function that reads files of the run folder and writes others. `run_step` hashes what it reads and
the settings it uses: the same hash as last time means there is nothing to do. Files appear whole or not at
all, so a step that was killed leaves either its finished parts, which it finds again, or nothing.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import config as cfg
from ..config import Config, UserError
from . import kept
from .commands import refused_by_system
from .files import digest, fingerprint, write_json
from .manifests import MADE, accepted_files, is_within, made_files, read_manifest, refuse_changed
from .owner import own, release
from .processes import follow, lead, number
from .text import one_line
from .tracking import track_finished, tracked


def run_step(config: Config, name: str, *, inputs: list[str], settings: list[str], outputs: list[str],
             work: Callable[[Config, Path], None], outside: Iterable[Path] = (),
             models: Iterable[str | Path] = (), of_unfinished: bool = False) -> None:
    """Does `work` unless its manifest says that it was done from the same inputs, with the same settings.

    inputs, outputs: paths within the run folder; a leading `?` marks one that may be absent.
    settings: the names in Config that the result depends on, sections (`grpo`) or single ones (`grpo.group`).
    outside: files of the user's that it reads. models: folders of models that it loads, or hub ids.
    of_unfinished: whether inputs of steps that are not done will do; the report shows whatever there is.

    What the work logs goes to a tracker too, where `track` names one (tracking.py).

    The manifest holds the key (hashes of inputs, values of settings), whether the step was done, and its
    outputs:

        key                  done   outputs      what happens
        the same             yes    all there    nothing, the step is up to date
        the same             yes    one missing  started; what is there stays
        the same             no     any          resumed; `work` finds the parts that it finished
        another              any    any          kept beside, and put back when their key comes back (kept.py)
    """
    if number() > 0:  # several processes share the work, and the first of them keeps the folder
        follow(config, work)
        return
    folder = config.folder
    outputs_plain = [output.lstrip("?") for output in outputs]
    refuse_foreign_folder(folder, outputs_plain if inputs and not of_unfinished else ["."])
    try:
        if not of_unfinished:
            own(folder)
            refuse_unfinished(folder, name, inputs)
            refuse_changed(folder, name, inputs, config.preset)
        key = step_key(config, name, inputs, settings, outside, models)
        do_step(config, name, key, inputs, outputs, work, of_unfinished)
    except BaseException:
        release(folder, script_ends=True)
        raise
    release(folder, script_ends=of_unfinished)  # the report is the last step


def do_step(config: Config, name: str, key: dict, inputs: list[str], outputs: list[str],
            work: Callable[[Config, Path], None], of_unfinished: bool) -> None:
    """Does what the table of `run_step` says; key: what the step's result depends on now."""
    started = time.time()
    folder = config.folder
    outputs_plain = [output.lstrip("?") for output in outputs]
    manifest = folder / "manifests" / f"{name}.json"
    kept.finish_moves(folder, name, outputs_plain, read_manifest(manifest))
    last = read_manifest(manifest, folder, outputs_plain)

    # 1. What lies there under another key was made from something else. It moves aside, and what was kept of
    # this key comes back.
    moved = None
    if last is not None and last.get("key") != key:
        moved = last
        place = kept.keep(folder, name, outputs_plain, last)
        print(f"[{name}] other settings or inputs: what was made before is kept in {place}", flush=True)
        last = None
    if last is None:
        last = kept.put_back(folder, name, outputs_plain, key)
        if last is not None:
            print(f"[{name}] what was made with these settings is put back", flush=True)

    # 2. Done already?
    if last and last.get("done") and all_written(folder, outputs):
        print(f"[{name}] up to date, skipped", flush=True)
        track_finished(config, name, key)
        lead(folder, has_work=False)
        return
    print(f"[{name}] {'resumed' if last and not last.get('done') else 'started'}", flush=True)

    # 3. The work. Bad input must not cost the results of an earlier, good one.
    state = {"key": key, "done": False, "outputs": outputs_plain}
    write_json(manifest, state)
    if not of_unfinished:
        own(folder)  # it may be new
    lead(folder, has_work=True)
    try:
        try:
            with tracked(config, name, key):
                work(config, folder)
            if not all_written(folder, outputs):
                raise RuntimeError(f"{name} ended without writing {outputs}")
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if refused_by_system(error) is not None:
                raise
            if of_unfinished:  # it may have met a damaged file, which other steps refuse beforehand
                refuse_changed(folder, name, inputs, config.preset)
            refuse_accepted(folder, name, inputs, error)
            raise
    except UserError:
        begun = any((folder / output).exists() for output in outputs_plain)
        if moved and begun:
            kept.keep(folder, name, outputs_plain, state)
        elif not begun:
            manifest.unlink()
        if moved:
            kept.put_back(folder, name, outputs_plain, moved.get("key"))
        raise
    seconds = round(time.time() - started, 1)
    write_json(manifest, state | {"done": True, "seconds": seconds, MADE: made_files(folder, outputs_plain)})
    print(f"[{name}] done in {time.time() - started:.0f} s", flush=True)


def step_key(config: Config, name: str, inputs: list[str], settings: list[str], outside: Iterable[Path],
             models: Iterable[str | Path]) -> dict:
    """What the step's result depends on: {inputs: {path: hash}, outside: {path: hash}, models: {path: hash},
    settings: {name: value}}, as JSON has it. A UserError where an input is missing that may not be absent."""
    folder = config.folder
    input_hashes = {}
    for marked in inputs:
        path = folder / marked.lstrip("?")
        if path.exists():
            input_hashes[str(path.relative_to(folder))] = digest(path)
        elif not marked.startswith("?"):
            raise UserError(f"{name}: {path} is missing; run the steps before it first "
                            f"(bash run_all.sh {config.preset})")
    values = cfg.to_dict(config)
    key = {"inputs": input_hashes, "outside": {str(path): digest(path) for path in outside},
           "models": {str(model): fingerprint(Path(model)) for model in models},
           "settings": {setting: value_of(values, setting) for setting in settings}}
    return json.loads(json.dumps(key))


def value_of(tree: dict, name: str) -> Any:
    """The value of a dotted name: {"grpo": {"group": 4}} and "grpo.group" give 4."""
    for part in name.split("."):
        tree = tree[part]
    return tree


def all_written(folder: Path, outputs: list[str]) -> bool:
    """Whether every output exists that may not be absent."""
    return all((folder / output).exists() for output in outputs if not output.startswith("?"))


# ---------------------------------------------------------------- what is refused

def refuse_foreign_folder(folder: Path, outputs: list[str]) -> None:
    """UserError: the run's folder is no run, and something is there already where the step would write."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder; choose another name= or results=")
    if not folder.is_dir() or is_run(folder) or not any(folder.iterdir()):
        return
    there = [output for output in outputs if (folder / output).exists()]
    if there:
        raise UserError(f"{folder} holds files and no run of this program: choose another name= or results=, "
                        "so that nothing in it is overwritten")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: its manifests are JSON, and no others lie there."""
    place = folder / "manifests"
    names = [path.name for path in place.iterdir()] if place.is_dir() else None
    return names is not None and all(name.endswith((".json", ".part")) for name in names)


def refuse_accepted(folder: Path, name: str, inputs: list[str], error: Exception) -> None:
    """UserError: a step that reads what a person has changed by hand has met an error."""
    accepted = accepted_files(folder, inputs)
    if accepted:
        raise UserError(f"{name} cannot use what was changed by hand: {', '.join(accepted[:3])} "
                        f"({type(error).__name__}: {one_line(error, 100)}); remove the file, and the same "
                        "command says what to do") from error


def refuse_unfinished(folder: Path, name: str, inputs: list[str]) -> None:
    """UserError: a step that makes one of the inputs was begun and is not done."""
    wanted = [input_.lstrip("?") for input_ in inputs]
    for path in sorted((folder / "manifests").glob("*.json")):
        manifest = read_manifest(path) or {}
        if path.stem == name or manifest.get("done"):
            continue
        for output in manifest.get("outputs", ()):
            if any(is_within(input_, output) or is_within(output, input_) for input_ in wanted):
                raise UserError(f"{name} reads {output}, and the step that makes it, {path.stem}, is not "
                                f"finished: run {path.stem} to its end first")
