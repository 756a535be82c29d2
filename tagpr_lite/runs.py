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
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


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
    """The same for a folder: an old one is replaced in one rename after the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
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
    with whole_file(path) as p:
        p.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as e:
        raise UserError(f"{path} is not a JSON file: {' '.join(str(e).split())}") from None


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    with whole_file(path) as p, open(p, "w", encoding="utf-8") as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as f:
        f.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path, partial: bool = False) -> list[dict]:
    """The rows of a JSONL file. `partial` drops a last line that was cut while it was appended."""
    rows = []
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 is not a line end here
    except (OSError, UnicodeDecodeError) as e:
        if partial and isinstance(e, FileNotFoundError):
            return []
        raise UserError(f"{path} cannot be read: {e}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
            rows.append(row)
        except ValueError as e:
            if partial and number == len(lines):
                break
            raise UserError(f"{path} line {number}: {e}") from None
    return rows


# ---------------------------------------------------------------- steps

def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's names and files."""
    h = hashlib.sha256()
    for p in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if p.is_file():
            h.update(p.name.encode())
            with open(p, "rb") as f:
                while block := f.read(1 << 20):
                    h.update(block)
    return h.hexdigest()[:16]


def run_step(config: Config, name: str, *, inputs: list[str], settings: list[str], outputs: list[str],
             work: Callable[[Config, Path], None], outside: Iterable[Path] = ()) -> None:
    """Does `work` unless its manifest says that it was done from the same inputs, with the same settings.

    inputs, outputs: paths within the run folder; a leading `?` marks one that may be absent.
    settings: the names in Config that the result depends on. outside: files of the user's that it reads.
    """
    folder, started = config.folder, time.time()
    tree = cfg.to_dict(config)
    needed = [folder / i.lstrip("?") for i in inputs]
    for i, p in zip(inputs, needed):
        if not i.startswith("?") and not p.exists():
            raise UserError(f"{name}: {p} is missing; run the steps before it first (bash run_all.sh {config.preset})")
    key = {"inputs": {str(p.relative_to(folder)): digest(p) for p in needed if p.exists()},
           "outside": {str(p): digest(p) for p in outside},
           "settings": {s: tree[s] for s in settings}}
    manifest = folder / "manifests" / f"{name}.json"
    made = lambda: all(o.startswith("?") or (folder / o).exists() for o in outputs)
    last = read_json(manifest) if manifest.exists() else None
    same = last is not None and last.get("key") == json.loads(json.dumps(key))
    if same and last.get("done") and made():
        print(f"[{name}] up to date, skipped", flush=True)
        return
    fresh = not same
    aside = _Aside(folder, name, outputs) if fresh else None  # what lies there was made from something else
    print(f"[{name}] {'resumed' if same and not last.get('done') else 'started'}", flush=True)
    write_json(manifest, {"key": key, "done": False})
    try:
        work(config, folder)
    except UserError:
        if fresh:  # bad input must not cost the results of an earlier, good one
            aside.put_back()
            write_json(manifest, last) if last is not None else manifest.unlink()
        raise
    if not made():
        raise RuntimeError(f"{name} ended without writing {outputs}")
    shutil.rmtree(folder / ".aside" / name, ignore_errors=True)
    write_json(manifest, {"key": key, "done": True, "seconds": round(time.time() - started, 1)})
    print(f"[{name}] done in {time.time() - started:.0f} s", flush=True)


class _Aside:
    """Keeps a step's old outputs, and its metrics lines, out of the way while it makes new ones."""

    def __init__(self, folder: Path, name: str, outputs: list[str]):
        self.folder, self.at = folder, folder / ".aside" / name
        self.outputs = [o.lstrip("?") for o in outputs]
        self.metrics = folder / "metrics.jsonl"
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir(parents=True)
        if self.metrics.exists():
            shutil.copy(self.metrics, self.at / "metrics.jsonl")
            drop_metrics(folder, name)
        for o in self.outputs:
            if (folder / o).exists():
                (self.at / "files" / o).parent.mkdir(parents=True, exist_ok=True)
                os.replace(folder / o, self.at / "files" / o)

    def put_back(self) -> None:
        for o in self.outputs:
            p = self.folder / o
            shutil.rmtree(p) if p.is_dir() else p.unlink(missing_ok=True)
            if (self.at / "files" / o).exists():
                p.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.at / "files" / o, p)
        if (self.at / "metrics.jsonl").exists():
            os.replace(self.at / "metrics.jsonl", self.metrics)
        shutil.rmtree(self.at)


def log_metrics(folder: Path, step: str, **values: Any) -> None:
    """Appends one line to metrics.jsonl: the step's name, then the values."""
    append_jsonl(folder / "metrics.jsonl", [{"step": step, **values}])


def read_metrics(folder: Path, step: str) -> list[dict]:
    rows = read_jsonl(folder / "metrics.jsonl", partial=True)
    return [r for r in rows if r.get("step") == step]


def drop_metrics(folder: Path, step: str, from_index: int = 0) -> None:
    """Forgets a step's lines from `index` on: a resumed loop writes them again, once."""
    path = folder / "metrics.jsonl"
    if path.exists():
        rows = read_jsonl(path, partial=True)
        write_jsonl(path, [r for r in rows if r.get("step") != step or r.get("index", 0) < from_index])


def save_config(config: Config) -> None:
    write_text(config.folder / "config.yaml",
               yaml.safe_dump(cfg.to_dict(config), sort_keys=False, allow_unicode=True))


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
    except UserError as e:
        if debug:
            traceback.print_exc()
        print(f"error: {e}", file=sys.stderr)
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
