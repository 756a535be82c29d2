"""metrics.jsonl, one line a step of training, and config.yaml: what a run logged and what it was told."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .. import config as cfg
from ..config import Config, UserError
from .files import append_jsonl, read_jsonl, read_text, write_jsonl, write_text
from .text import one_line

FOLLOWERS: dict[Path, Callable[[dict], None]] = {}
"""{folder of a run: who is told of every line that is logged there}, while a step is tracked (tracking)."""


def log_metrics(folder: Path, step: str, **values: Any) -> None:
    """Appends one line to metrics.jsonl: the step's name, then the values."""
    line = {"step": step, **values}
    append_jsonl(folder / "metrics.jsonl", [line])
    if folder in FOLLOWERS:
        FOLLOWERS[folder](line)


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


def is_of_step(line: dict, step: str) -> bool:
    """Whether a step has logged a line: of `guided` are "guided", "guided_check" and "guided_alarm"."""
    name = line.get("step")
    return isinstance(name, str) and (name == step or name.startswith(f"{step}_"))


def split_lines(folder: Path, step: str) -> tuple[list[dict], list[dict]]:
    """(all lines that a step has logged, all others)."""
    rows = read_jsonl(folder / "metrics.jsonl", partial=True)
    return ([row for row in rows if is_of_step(row, step)],
            [row for row in rows if not is_of_step(row, step)])


def read_config(folder: Path) -> dict:
    """The tree of config.yaml, such as {"seed": 0, "grpo": {"group": 4}}; {} where there is none."""
    path = folder / "config.yaml"
    if not path.exists():
        return {}
    try:
        tree = cfg.parse_yaml(read_text(path))
        if not isinstance(tree, dict):
            raise ValueError("no map of settings")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error, 200)}; remove it, and step 1 writes it "
                        "again") from None
    return tree


def save_config(config: Config) -> None:
    write_text(config.folder / "config.yaml",
               yaml.safe_dump(cfg.to_dict(config), sort_keys=False, allow_unicode=True))
