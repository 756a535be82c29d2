"""The rollouts of a run for its page: the lines of guided/rollouts.jsonl and explore/rollouts.jsonl, checked
one by one; their groups; a choice of them that is no larger than a page may be.

A line is one completion of GRPO: its stage, step, question, number `n` in the group, text, and what it
earned. The file is appended to while a run trains, so that its last line may be cut off. A file from outside
may hold anything: whatever cannot be used is counted and left out, and the page says so.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..lamp.sampling import group_by, round_robin
from ..runs import one_line
from ..runs.files import jsonl_lines, parse_json
from .tables import counted

FILE = "rollouts.jsonl"
STAGES = ("guided", "explore")
LARGEST_NUMBER = 10**9  # of a step, and of a completion in its group
FIRST_GROUPS = 4  # of a step, which every chosen step shows before any shows more

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Group:
    """The completions of one question in one step."""
    stage: str
    step: int
    question: str
    task: str
    user: str
    gold: str
    prompt: str
    """The text that the model saw; "" where the file does not have it."""
    rows: list[dict]
    """[G], by `n`."""


# ---------------------------------------------------------------- lines

def read_groups(folder: Path) -> tuple[list[Group], list[str]]:
    """(the whole groups of the run's rollouts in the order of stage and step, what is missing: sentences)."""
    texts, missing = [], []
    for stage in STAGES:
        path = folder / stage / FILE
        if not path.exists():
            continue
        try:
            if not path.is_file():
                raise OSError("not a regular file")
            texts.append(path.read_bytes().decode("utf-8", errors="replace"))
        except OSError as error:
            missing.append(f"{stage}/{FILE} cannot be read: {one_line(error)}.")
    if not texts:
        return [], missing or [f"No rollouts were kept: {FILE} is missing."]

    rows, damaged = [], 0
    for text in texts:
        of_stage, unreadable = completions(text)
        rows += of_stage
        damaged += unreadable
    groups, parts = whole_groups(rows)
    if damaged:
        missing.append(f"{counted(damaged, 'line')} of {FILE} could not be read and "
                       f"{'is' if damaged == 1 else 'are'} left out.")
    if parts:
        missing.append(f"{counted(parts, 'group')} with fewer completions than the others "
                       f"{'is' if parts == 1 else 'are'} left out.")
    if not groups:
        missing.append(f"{FILE} holds no whole group.")
    return groups, missing


def completions(text: str) -> tuple[list[dict], int]:
    """(the lines that are completions, how many others there are). A last line that was cut off is not
    counted."""
    rows, damaged = [], 0
    for _, line, is_last in jsonl_lines(text):
        try:
            row = parse_json(line)
        except ValueError:
            damaged += not is_last
            continue
        if is_completion(row):
            rows.append(row)
        else:
            damaged += 1
    return rows, damaged


def is_completion(row: Any) -> bool:
    """Whether a row has what its place needs: {"stage": "guided", "step": 3, "question": "q7", "n": 0,
    "text": "..."}. All else of a row may be missing."""
    if not isinstance(row, dict):
        return False
    has_texts = all(isinstance(row.get(key), str) for key in ("stage", "question", "text"))
    has_numbers = all(type(row.get(key)) is int and 0 <= row[key] <= LARGEST_NUMBER for key in ("step", "n"))
    return has_texts and has_numbers and row["stage"] in STAGES


def whole_groups(rows: list[dict]) -> tuple[list[Group], int]:
    """(the groups in the order of stage and step, how many were left out).

    A group is whole when it has as many completions as most groups of its stage. A step that was done again
    after a kill is in the file twice: the later lines count.
    """
    by_group = group_by(rows, lambda row: (row["stage"], row["step"], row["question"]))
    numbered = {key: {row["n"]: row for row in group} for key, group in by_group.items()}
    size_of = {}
    for stage in {stage for stage, _, _ in numbered}:
        sizes = Counter(len(group) for key, group in numbered.items() if key[0] == stage)
        size_of[stage] = max(sizes, key=lambda size: (sizes[size], size))

    # A stable sort: the questions of a step keep the order of the file.
    groups = []
    for key in sorted(numbered, key=lambda key: (STAGES.index(key[0]), key[1])):
        group = numbered[key]
        if set(group) == set(range(size_of[key[0]])):
            groups.append(as_group([group[n] for n in sorted(group)]))
    return groups, len(numbered) - len(groups)


def as_group(rows: list[dict]) -> Group:
    """The rows [G] of a group. What is not text is shown as no text."""
    first = rows[0]

    def text(key: str) -> str:
        value = first.get(key)
        return value if isinstance(value, str) else ""

    return Group(first["stage"], first["step"], first["question"], text("task"), text("user"), text("gold"),
                 text("prompt"), rows)


# ---------------------------------------------------------------- a choice

def steps_of(groups: Sequence[Thing], group_of: Callable[[Thing], Group]) -> list[list[Thing]]:
    """The things of each step, different tasks first: a step with questions of LaMP_1, LaMP_1 and LaMP_3
    gives LaMP_1, LaMP_3, LaMP_1. Another step begins with another task."""
    steps = []
    for turn, of_step in enumerate(group_by(groups, lambda thing: group_of(thing).step).values()):
        by_task = group_by(of_step, lambda thing: group_of(thing).task)
        tasks = sorted(by_task)
        start = turn % len(tasks)
        steps.append(round_robin([by_task[task] for task in tasks[start:] + tasks[:start]]))
    return steps


def evenly(count: int, most: int) -> list[int]:
    """`most` of the places 0 .. count - 1, evenly spread, the last one always: (10, 4) gives [0, 3, 6, 9]."""
    if most >= count:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def choose(steps: list[list[Thing]], room: int, size: Callable[[list[Thing]], int]) -> list[Thing]:
    """As many steps as there is room for, evenly spread, each with its first few groups; then further groups
    of these steps.

    steps: the groups of every step of a stage, the most wanted first. room: bytes. size: the bytes that a
    choice takes.
    """
    for count in range(len(steps), 0, -1):
        shown = [steps[place] for place in evenly(len(steps), count)]
        chosen = [group for step in shown for group in step[:FIRST_GROUPS]]
        if size(chosen) <= room:
            break
    else:
        return []
    for group in round_robin([step[FIRST_GROUPS:] for step in shown]):
        if size([*chosen, group]) <= room:
            chosen.append(group)
    return chosen
