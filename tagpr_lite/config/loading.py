"""Reading settings: the defaults of settings.py, then a YAML preset (presets/*.yaml), then `key=value` words
from the command line.

There is no other way to set anything: no environment variable changes a result. A key that does not exist is
an error that names the nearest one, because a silently ignored setting is a wrong experiment.
"""
from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from . import limits
from .plain_yaml import parse
from .settings import Config

KINDS = {int: ", a whole number", float: ", a number", bool: ", true or false", str: ", a text"}
"""What is said of a type beside its name."""
PRESETS = Path(__file__).parents[1] / "presets"


class UserError(Exception):
    """Bad input: printed as one line, exit code 2, no traceback (see runs.cli)."""


# ---------------------------------------------------------------- from a preset and the command line

def load(preset: str, overrides: list[str] = ()) -> Config:
    """The configuration of a preset name (or a YAML file) with `key=value` overrides applied."""
    path = Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / f"{preset}.yaml"
    config = Config(preset=path.stem)
    for key, value in flatten(_read_preset(path, preset)):
        _set(config, key, value, where=str(path))
    for override in overrides:
        key, value = _parse_override(override)
        _set(config, key, value, where="command line")
    return checked(config)


def checked(config: Config) -> Config:
    """The configuration itself; UserError where a value cannot work (limits.py)."""
    fault = limits.fault_of({key: _value(config, key) for key, _, _ in fields()})
    if fault:
        raise UserError(fault)
    return config


def _value(config: Config, key: str) -> Any:
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


def _read_preset(path: Path, preset: str) -> dict:
    """The tree of a preset's YAML file. preset: as the user named it."""
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"no preset '{preset}'; known: {known}, or the path of a YAML file")
    try:
        tree = parse(path.read_text(encoding="utf-8-sig")) or {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected `key: value` lines")
    return tree


def _parse_override(override: str) -> tuple[str, Any]:
    """("grpo.group", 4) of "grpo.group=4". The value is read as YAML; what is not YAML is a string."""
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(f"{limits.short(override)}: settings are written key=value, such as grpo.group=4")
    try:
        value = parse(text) if text else ""
    except ValueError:
        value = text
    return key.strip(), value


# ---------------------------------------------------------------- as a tree

def to_dict(config: Any) -> dict:
    """A Config as a tree of dicts, for the config.yaml of a run folder."""
    return dataclasses.asdict(config)


def from_dict(tree: dict) -> Config:
    """The inverse of `to_dict`."""
    config = Config()
    for key, value in flatten(tree):
        _set(config, key, value, where="config.yaml")
    return config


def flatten(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of a tree: {"seed": 1, "grpo": {"group": 4}} gives ("seed", 1), ("grpo.group", 4).

    Only sections of Config are entered: a setting may itself be a dict, such as lamp.train_limit.
    """
    sections = {field.name for field in dataclasses.fields(Config)
                if dataclasses.is_dataclass(field.default_factory)}
    for key, value in tree.items():
        if not prefix and key in sections and isinstance(value, dict):
            yield from flatten(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


# ---------------------------------------------------------------- one setting

def _set(config: Config, key: str, value: Any, where: str) -> None:
    """Sets a dotted key to a value of its type. where: what an error names as the source of the key."""
    section, _, name = key.rpartition(".")
    owner = getattr(config, section, None) if section else config
    types = get_type_hints(type(owner)) if dataclasses.is_dataclass(owner) else {}
    is_setting = name in types and not dataclasses.is_dataclass(types[name])
    if not is_setting:
        raise UserError(f"{where}: unknown key {limits.short(key)}{nearest_key(key)}")
    setattr(owner, name, _cast(value, types[name], key, where))


def nearest_key(key: str) -> str:
    """The end of an error about an unknown key: "; did you mean 'grpo.group'?"; "" where nothing is near."""
    nearest = difflib.get_close_matches(key, [known for known, _, _ in fields()], n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def _cast(value: Any, kind: Any, key: str, where: str) -> Any:
    """`value` as `kind`, or a UserError: a config must not carry a string where a number is computed with.

    kind: a type, such as float, or one with a type of its parts, such as dict[str, int].
    """
    value = _convert(value, kind)
    if not _has_type(value, kind):
        raise UserError(f"{where}: {key}={limits.short(value)} should be {getattr(kind, '__name__', kind)}"
                        f"{KINDS.get(kind, '')}")
    return value


def _convert(value: Any, kind: Any) -> Any:
    """The short forms of a value in full; any other value is returned as it is.

        7              for dict[str, int]    {"default": 7}
        "a, b"         for a list            ["a", "b"]
        4, "4e-4"      for float             4.0, 0.0004: YAML reads 4e-4 as a string
        4              for str               "4"
    """
    outer = get_origin(kind) or kind
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_number = is_whole or isinstance(value, float)
    if outer is dict and get_args(kind)[-1] is int and is_whole:
        return {"default": value}
    if outer is list and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if outer is float and (is_number or isinstance(value, str)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return value
    if outer is str and is_number:
        return limits.digits(value) if is_whole else str(value)
    return value


def _has_type(value: Any, kind: Any) -> bool:
    """Whether the value and its parts are of the type. To Python True is an int too, but not here. A float
    must be finite."""
    outer = get_origin(kind) or kind
    if not isinstance(value, outer):
        return False
    if outer is int:
        return not isinstance(value, bool)
    if outer is float:
        return math.isfinite(value)
    if outer not in (list, dict):
        return True
    part_type = get_args(kind)[-1]
    if part_type is Any:
        return True
    parts = value.values() if outer is dict else value
    return all(isinstance(part, part_type) and not isinstance(part, bool) for part in parts)


# ---------------------------------------------------------------- the list of all settings

def fields() -> list[tuple[str, Any, str]]:
    """(dotted key, default, help) of every setting."""
    return _fields_of(Config, prefix="")


def _fields_of(section: type, prefix: str) -> list[tuple[str, Any, str]]:
    """The settings of a dataclass and of the dataclasses in it."""
    help_texts = _help_texts(section)
    defaults = section()
    rows = []
    for field in dataclasses.fields(section):
        default = getattr(defaults, field.name)
        if dataclasses.is_dataclass(default):
            rows += _fields_of(type(default), f"{field.name}.")
        else:
            rows.append((prefix + field.name, default, help_texts.get(field.name, "")))
    return rows


@cache
def _help_texts(section: type) -> dict[str, str]:
    """{field: help}, the help read from the docstring under the field. Python keeps no such docstring, so the
    source of the class is parsed."""
    statements = ast.parse(inspect.getsource(section)).body[0].body
    help_texts = {}
    for statement, following in zip(statements, statements[1:]):
        is_field = isinstance(statement, ast.AnnAssign)
        is_docstring = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if is_field and is_docstring:
            help_texts[statement.target.id] = following.value.value.strip()
    return help_texts
