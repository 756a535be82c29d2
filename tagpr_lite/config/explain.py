"""The listing of the settings, and all that is known of one: its help, its range, and what each preset
sets and why."""
from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from typing import Any, get_type_hints

import yaml

from . import limits
from .loading import PRESETS, UserError, fields, flatten, nearest_key
from .plain_yaml import parse
from .settings import Config

WIDTH = 100
SECTION = re.compile(r"(\w+):\s*(?:#.*)?")
"""A line of a preset that opens a section, such as "grpo:"."""
SETTING = re.compile(r"(?P<indent> *)(?P<name>\w+): (?P<value>.*?) +# (?P<why>.+)")
"""A line of a preset with a setting and its reason: "  group: 16   # a group of 8 is often all right"."""


def listing(word: str = "") -> str:
    """All settings, section by section, with their defaults and helps; with a word those that have it in name
    or help. UserError: none has."""
    abouts = section_abouts()
    lines: list[str] = []
    section_shown = None
    for key, default, help_text in fields():
        if word.lower() not in f"{key} {help_text}".lower():
            continue
        section = key.rpartition(".")[0]
        if section != section_shown:
            lines += [f"# {section or 'run'}: {abouts[section]}", ""]
            section_shown = section
        lines += [f"{key} = {as_yaml(default)}", indented(help_text), ""]
    if not lines:
        raise UserError(f"no setting has {limits.short(word)} in its name or help; without a word all are "
                        "listed")
    lines.append("These are the defaults; presets set others: python -m tagpr_lite.config --explain KEY")
    return "\n".join(lines)


def explain(key: str) -> str:
    """Everything that is known of a setting. UserError: there is no such key."""
    known = {name: (default, help_text) for name, default, help_text in fields()}
    if key not in known:
        raise UserError(f"there is no setting {limits.short(key)}{nearest_key(key)}")
    default, help_text = known[key]
    lines = [f"{key} = {as_yaml(default)}    (the default)", indented(help_text), ""]
    lines += [indented(f"It is {kind_of(key)}{range_of(key)}."), ""]
    for preset in sorted(PRESETS.glob("*.yaml")):
        text = preset.read_text(encoding="utf-8")
        values = dict(flatten(parse(text) or {}))
        if key in values:
            reason = reasons(text).get(key)
            comment = f"  # {reason}" if reason else ""
            lines.append(indented(f"{preset.stem}: {as_yaml(values[key])}{comment}"))
        else:
            lines.append(indented(f"{preset.stem}: the default"))
    return "\n".join(lines)


def reasons(preset_text: str) -> dict[str, str]:
    """{dotted key: the comment behind its line} of a preset's YAML."""
    found: dict[str, str] = {}
    section = ""
    for line in preset_text.splitlines():
        setting = SETTING.fullmatch(line)
        opened = SECTION.fullmatch(line)
        if setting:
            prefix = f"{section}." if setting["indent"] else ""
            found[prefix + setting["name"]] = setting["why"].strip()
        elif opened:
            section = opened[1]
    return found


def section_abouts() -> dict[str, str]:
    """{section: what it is about}, from the docstrings of the dataclasses; "" is the run itself."""
    abouts = {"": inspect.getdoc(Config)}
    for field in dataclasses.fields(Config):
        if dataclasses.is_dataclass(field.default_factory):
            abouts[field.name] = inspect.getdoc(field.default_factory)
    return abouts


def kind_of(key: str) -> str:
    """The type of a setting in words, such as "a whole number"."""
    section, _, name = key.rpartition(".")
    hints = get_type_hints(Config)
    kind = get_type_hints(hints[section])[name] if section else hints[name]
    words = {int: "a whole number", float: "a number", str: "a word or text", bool: "true or false",
             list[str]: "a list of words", dict[str, int]: "a map from a task to a whole number",
             dict[str, Any]: "a map"}
    return words[kind]


def range_of(key: str) -> str:
    """What a setting may be, such as ", from 2 to 4096: the completions of a group are compared"; "" where
    every value of its type is allowed."""
    if key in limits.NUMBERS:
        least, most = limits.NUMBERS[key]
        why = f" ({limits.WHY[key]})" if key in limits.WHY else ""
        return f", from {least:g} to {most:g}{why}"
    if key in limits.WORDS:
        return f", one of {limits.listed(limits.WORDS[key])}"
    if key in limits.FORMS:
        return f", {limits.FORMS[key][1]}"
    return ", not empty" if key in limits.NOT_EMPTY else ""


def as_yaml(value: Any) -> str:
    """A value as it is written in a preset or behind key=."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n")[0]


def indented(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="    ", subsequent_indent="    ",
                         break_on_hyphens=False)
