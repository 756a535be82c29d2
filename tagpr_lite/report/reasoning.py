"""The state of the reasoning in the report: a table by system and task, and what the teacher's chains have.

A state (tags/reasoning.py) is copied from eval/<system>/<task>.json. The row of all tasks is the mean of its
tasks, each weighed by its completions; of `true` each by its claims.
"""
from __future__ import annotations

from pathlib import Path

from ..config import UserError
from ..lamp.rows import read_questions
from ..runs import read_jsonl
from ..tags.reasoning import Written, states
from ..tags.teaching import teaching_of
from .tables import LABELS, decimal, known_first, maybe, number, percent

ALL = "all tasks"
TEACHER = "the teacher's chains"
HEADS = ("System", "Task", "Completions", "Chains", "In form", "Follows", "True claims", "Steps", "Claims",
         "Tokens", "Entropy", "Tags used")
NOTE = ("Shares and means over all completions. In form: the sequence of tags is one of the teacher's for "
        "the task. Follows: the answer is what the steps lead to, and they state what the teacher's do for "
        "it. Claims: what can be checked of a chain against its profile. Entropy: nats a token.")


def teacher_states(folder: Path) -> dict:
    """{"all": state, "by_task": {task: state}} of the chains that the teacher wrote and the filter kept; {}
    where they or their questions are not there. Tokens and entropy are unknown."""
    kept = read_jsonl(folder / "chains/kept.jsonl", partial=True)
    if not kept or not (folder / "data/train.jsonl").exists():
        return {}
    try:
        questions = {question.id: question for question in read_questions(folder, "train")}
    except (UserError, KeyError, TypeError, ValueError):  # a folder of another version: a report is made
        return {}
    rows = [row for row in kept if row.get("id") in questions and row.get("tags") and row.get("text")]
    written = [Written(questions[row["id"]], row["text"]) for row in rows]
    return states(written, teaching_of(rows)) if written else {}


def state_rows(folder: Path, teacher: dict) -> list[list[str]]:
    """The table's rows as text under HEADS: the teacher, then every system that reasons, in the order of the
    method; of each first all tasks, then task by task."""
    of_system = {LABELS.get(system, system): by_task for system, by_task in read_states(folder).items()}
    if not of_system:
        return []
    named = {TEACHER: teacher["by_task"]} if teacher else {}
    table = []
    for name, by_task in (named | of_system).items():
        table.append(cells(name, ALL, combined(list(by_task.values()))))
        table += [cells(name, task, state) for task, state in sorted(by_task.items())]
    return table


def read_states(folder: Path) -> dict[str, dict[str, dict]]:
    """{system: {task: its state}} of every system that reasons, in the order of the method."""
    of_system: dict[str, dict[str, dict]] = {}
    for system in sorted((folder / "eval").glob("[!.]*"), key=lambda path: known_first(path.name, LABELS)):
        for file in sorted(system.glob("*.json")):
            state = maybe(file, {}).get("reasoning")
            if isinstance(state, dict) and number(state.get("completions")):
                of_system.setdefault(system.name, {})[file.stem] = state
    return of_system


def combined(of_tasks: list[dict]) -> dict:
    """One state of several tasks' states."""
    count = sum(state["completions"] for state in of_tasks)

    def mean(key: str) -> float | None:
        known = [state for state in of_tasks if number(state.get(key)) is not None]
        weight = sum(state["completions"] for state in known)
        return sum(state[key] * state["completions"] for state in known) / weight if weight else None

    tags: dict[str, int] = {}
    for state in of_tasks:
        for tag, steps in (state.get("tags") or {}).items():
            tags[tag] = tags.get(tag, 0) + steps
    claims = [(state["true"], state["claims"] * state["completions"]) for state in of_tasks
              if number(state.get("true")) is not None and number(state.get("claims"))]
    claim_count = sum(weight for _, weight in claims)
    true = sum(share * weight for share, weight in claims) / claim_count if claim_count else None
    means = {key: mean(key) for key in ("chains", "form", "follows", "steps", "claims", "tokens", "entropy")}
    return {"completions": count, **means, "true": true, "tags": tags}


def cells(name: str, task: str, state: dict) -> list[str]:
    """One row of the table; a dash for what is not known. The teacher's tokens are not counted."""
    shares = [percent(number(state.get(key))) for key in ("chains", "form", "follows", "true")]
    means = [decimal(number(state.get(key)), 2) for key in ("steps", "claims")]
    tokens = decimal(number(state.get("tokens")) or None, 0)
    return [name, task, str(state["completions"]), *shares, *means, tokens,
            decimal(number(state.get("entropy")), 2), str(len(state.get("tags") or {}))]
