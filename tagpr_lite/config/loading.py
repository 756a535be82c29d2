"""Reading settings: the defaults of settings.py, then a YAML preset (presets/*.yaml), then `key=value` words
from the command line. There is no other way to set anything: no environment variable changes a result. A key
that does not exist is an error that names the nearest one, because a silently ignored setting is a wrong
experiment.
"""
from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from .settings import Config

PRESETS = Path(__file__).parents[1] / "presets"


class UserError(Exception):
    """Bad input: printed as one line, exit code 2, no traceback (see runs.cli)."""


def load(preset: str, overrides: list[str] = ()) -> Config:
    """The configuration of a preset name (or a YAML file) with `key=value` overrides applied."""
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise UserError(f"no preset '{preset}'; known: {known}, or the path of a YAML file")
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as e:
        raise UserError(f"{path} is not YAML: {' '.join(str(e).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected `key: value` lines")
    config = Config(preset=path.stem)
    for key, value in flatten(tree):
        _set(config, key, value, where=str(path))
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"'{word}': settings are written key=value, such as grpo.group=4")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            value = text
        _set(config, key.strip(), value, where="command line")
    return config


def to_dict(config: Any) -> dict:
    return dataclasses.asdict(config)


def from_dict(tree: dict) -> Config:
    """The inverse of `to_dict`, for the config.yaml of a run folder."""
    config = Config()
    for key, value in flatten(tree):
        _set(config, key, value, where="config.yaml")
    return config


def flatten(tree: dict, prefix: str = ""):
    sections = {f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.default_factory)}
    for key, value in tree.items():
        if not prefix and key in sections and isinstance(value, dict):
            yield from flatten(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(config: Config, key: str, value: Any, where: str) -> None:
    section, _, leaf = key.rpartition(".")
    owner = getattr(config, section, None) if section else config
    hints = get_type_hints(type(owner)) if dataclasses.is_dataclass(owner) else {}
    if leaf not in hints or dataclasses.is_dataclass(hints[leaf]):
        near = difflib.get_close_matches(key, [k for k, _, _ in fields()], n=1, cutoff=0.5)
        raise UserError(f"{where}: unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    setattr(owner, leaf, _cast(value, hints[leaf], key, where))


def _cast(value: Any, kind: Any, key: str, where: str) -> Any:
    """`value` as `kind`, or a UserError: a config must not carry a string where a number is computed with."""
    origin = get_origin(kind) or kind
    if origin is dict and get_args(kind)[-1] is int and isinstance(value, int) and not isinstance(value, bool):
        value = {"default": value}
    if origin is list and isinstance(value, str):
        value = [v.strip() for v in value.split(",") if v.strip()]
    if origin is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            value = float(value)  # YAML reads 4e-4 as a string
        except ValueError:
            pass
    if origin is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    good = isinstance(value, origin) and not (origin is int and isinstance(value, bool))
    good = good and not (origin is float and not math.isfinite(value))
    if good and origin in (list, dict):
        inner = get_args(kind)[-1]
        parts = value.values() if origin is dict else value
        good = inner is Any or all(isinstance(v, inner) and not isinstance(v, bool) for v in parts)
    if not good:
        raise UserError(f"{where}: {key}={value!r} should be {getattr(kind, '__name__', kind)}")
    return value


def fields() -> list[tuple[str, Any, str]]:
    """(key, default, help) of every setting, the help read from the docstring under the field."""
    rows = []

    def visit(cls, prefix):
        body = ast.parse(inspect.getsource(cls)).body[0].body
        helps = {a.target.id: d.value.value.strip() for a, d in zip(body, body[1:])
                 if isinstance(a, ast.AnnAssign) and isinstance(d, ast.Expr)
                 and isinstance(d.value, ast.Constant)}
        default = cls()
        for f in dataclasses.fields(cls):
            value = getattr(default, f.name)
            if dataclasses.is_dataclass(value):
                visit(type(value), f"{f.name}.")
            else:
                rows.append((prefix + f.name, value, helps.get(f.name, "")))

    visit(Config, "")
    return rows
