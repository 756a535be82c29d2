"""The run folder: the only interface between steps. Manifests, whole-file writes, JSONL metrics, seeds.

A step is a function that reads files of the run folder and writes others. `run_step` hashes what it reads and
the settings it uses: the same hash as last time means there is nothing to do. Files appear whole or not at
all (write beside, then rename), so a step that was killed leaves either its finished parts, which it finds
again, or nothing.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from . import config as cfg
from .config import Config, UserError

# glibc: huge pages, and freed memory stays with the process. On a CPU every update otherwise asks the system
# again for gigabytes that it gave back a moment ago, and waits while they are cleared: up to half of its
# time.
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"


def keep_memory() -> None:
    """Starts this command again under MALLOC, which is read when a process starts; run_all.sh has it set
    already."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def seed_of(*parts: Any) -> int:
    """A 63-bit seed that is a function of its parts: (run seed, step, question id, sample index), say."""
    first_bytes = hashlib.sha256(repr(parts).encode()).digest()[:8]
    return int.from_bytes(first_bytes, "big") >> 1


# ---------------------------------------------------------------- files

def cache_folder() -> Path:
    """What may be fetched or paid for once and used by every run: models, a teacher's answers."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tagpr_lite"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to; renames it to `path` when the block ends well, removes it when it does
    not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a folder to write to; renames it to `path` when the block ends well, removes it when it does
    not. An old folder at `path` stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not a JSON file: {' '.join(str(error).split())}") from None


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    with whole_file(path) as beside, open(beside, "w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    with open(path, "a", encoding="utf-8") as stream:
        stream.write("".join(lines))


def read_jsonl(path: Path, partial: bool = False) -> list[dict]:
    """The rows of a JSONL file.

    partial: the file is one that lines are appended to. It may be missing, and a last line that was cut by a
    kill is dropped.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if partial and isinstance(error, FileNotFoundError):
            return []
        raise UserError(f"{path} cannot be read: {error}") from None
    rows = []
    lines = text.split("\n")  # not splitlines, which would cut at U+2028 inside a string too
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            rows.append(row)
        except ValueError as error:
            if partial and number == len(lines):
                break
            raise UserError(f"{path} line {number}: {error}") from None
    return rows


# ---------------------------------------------------------------- steps

def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's names and files."""
    sha = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            sha.update(file.name.encode())
            with open(file, "rb") as stream:
                while block := stream.read(1 << 20):
                    sha.update(block)
    return sha.hexdigest()[:16]


def run_step(config: Config, name: str, *, inputs: list[str], settings: list[str], outputs: list[str],
             work: Callable[[Config, Path], None], outside: Iterable[Path] = ()) -> None:
    """Does `work` unless its manifest says that it was done from the same inputs, with the same settings.

    inputs, outputs: paths within the run folder; a leading `?` marks one that may be absent.
    settings: the names in Config that the result depends on. outside: files of the user's that it reads.

    The manifest holds the key of the last time (hashes of inputs, values of settings) and whether the step
    was done:

        key of last time     done   outputs      what happens
        the same             yes    all there    nothing, the step is up to date
        the same             yes    one missing  started; what is there stays
        the same             no     any          resumed; `work` finds the parts that it finished
        another, or none     any    any          started; old outputs are put aside, and come back when `work`
                                                 ends with a UserError
    """
    started = time.time()
    folder = config.folder
    key = step_key(config, name, inputs, settings, outside)
    manifest = folder / "manifests" / f"{name}.json"
    last = read_json(manifest) if manifest.exists() else None
    same_key = last is not None and last.get("key") == json.loads(json.dumps(key))
    done = same_key and last.get("done")
    if done and all_written(folder, outputs):
        print(f"[{name}] up to date, skipped", flush=True)
        return

    # What lies there under another key was made from something else: out of the way, but not yet deleted.
    aside = None if same_key else _Aside(folder, name, outputs)
    print(f"[{name}] {'resumed' if same_key and not done else 'started'}", flush=True)
    write_json(manifest, {"key": key, "done": False})
    try:
        work(config, folder)
    except UserError:
        if aside:  # bad input must not cost the results of an earlier, good one
            aside.put_back()
            restore_manifest(manifest, last)
        raise
    if not all_written(folder, outputs):
        raise RuntimeError(f"{name} ended without writing {outputs}")
    shutil.rmtree(folder / ".aside" / name, ignore_errors=True)
    write_json(manifest, {"key": key, "done": True, "seconds": round(time.time() - started, 1)})
    print(f"[{name}] done in {time.time() - started:.0f} s", flush=True)


def step_key(config: Config, name: str, inputs: list[str], settings: list[str], outside: Iterable[Path]
             ) -> dict:
    """What the step's result depends on: {inputs: {path: hash}, outside: {path: hash}, settings: {name:
    value}}. A UserError where an input is missing that may not be absent."""
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
    return {"inputs": input_hashes, "outside": {str(path): digest(path) for path in outside},
            "settings": {setting: values[setting] for setting in settings}}


def all_written(folder: Path, outputs: list[str]) -> bool:
    """Whether every output exists that may not be absent."""
    return all((folder / output).exists() for output in outputs if not output.startswith("?"))


def restore_manifest(manifest: Path, last: dict | None) -> None:
    """Writes the manifest as it was the last time; removes it where there was none."""
    if last is None:
        manifest.unlink()
    else:
        write_json(manifest, last)


class _Aside:
    """Keeps a step's old outputs, and the metrics lines, out of the way while it makes new ones.

    They lie in <run folder>/.aside/<step>: metrics.jsonl is a copy, files/ has the outputs under their paths.
    """

    def __init__(self, folder: Path, name: str, outputs: list[str]):
        self.folder = folder
        self.outputs = [output.lstrip("?") for output in outputs]
        self.metrics = folder / "metrics.jsonl"
        self.place = folder / ".aside" / name
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        if self.metrics.exists():
            shutil.copy(self.metrics, self.place / "metrics.jsonl")
            drop_metrics(folder, name)
        for output in self.outputs:
            if (folder / output).exists():
                kept = self.place / "files" / output
                kept.parent.mkdir(parents=True, exist_ok=True)
                os.replace(folder / output, kept)

    def put_back(self) -> None:
        """Removes what the step wrote and moves its old outputs and metrics back."""
        for output in self.outputs:
            path = self.folder / output
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            kept = self.place / "files" / output
            if kept.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(kept, path)
        if (self.place / "metrics.jsonl").exists():
            os.replace(self.place / "metrics.jsonl", self.metrics)
        shutil.rmtree(self.place)


# ---------------------------------------------------------------- metrics and settings

def log_metrics(folder: Path, step: str, **values: Any) -> None:
    """Appends one line to metrics.jsonl: the step's name, then the values."""
    append_jsonl(folder / "metrics.jsonl", [{"step": step, **values}])


def read_metrics(folder: Path, step: str) -> list[dict]:
    """A step's lines of metrics.jsonl, in the order in which they were logged."""
    rows = read_jsonl(folder / "metrics.jsonl", partial=True)
    return [row for row in rows if row.get("step") == step]


def drop_metrics(folder: Path, step: str, from_index: int = 0) -> None:
    """Removes a step's lines from `from_index` on: a resumed loop writes them again, once."""
    path = folder / "metrics.jsonl"
    if path.exists():
        rows = read_jsonl(path, partial=True)
        write_jsonl(path, [row for row in rows
                           if row.get("step") != step or row.get("index", 0) < from_index])


def save_config(config: Config) -> None:
    write_text(config.folder / "config.yaml",
               yaml.safe_dump(cfg.to_dict(config), sort_keys=False, allow_unicode=True))


# ---------------------------------------------------------------- commands

def cli(main: Callable[[Config], None], about: str) -> None:
    """The front of every step: `python -m tagpr_lite.steps.step3_sft [--preset cpu] [key=value ...]`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cpu", help="smoke, cpu, gpu, paper, or a YAML file")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="see python -m tagpr_lite.config")
    args = parser.parse_args()
    guard(lambda: main(cfg.load(args.preset, args.overrides)), debug=args.debug)


def guard(work: Callable[[], None], debug: bool = False) -> None:
    """Runs `work`; a UserError becomes one line on stderr and exit code 2."""
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell their own developers
    try:
        work()
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


def progress(total: int, about: str, unit: str = "it"):
    """A progress bar with the time left; in a log file a line every half minute instead of every tenth of a
    second."""
    from tqdm import tqdm
    live = sys.stderr.isatty()
    return tqdm(total=total, desc=about, unit=unit, mininterval=0.5 if live else 30, dynamic_ncols=live,
                smoothing=0.1)
