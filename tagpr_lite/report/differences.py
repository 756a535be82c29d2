"""Which system is better, tested question by question: the headline of a run and its table of differences.

Decisions. A system's answers are paired with another's by question; how the difference and its interval are
made stands in lamp/differences.py. Every system is compared with the base model (that sees the profile, where
it was evaluated) and with SFT. All of it is in task reward, 0 to 1, higher is better, so that tasks can be
averaged; the table of scores has each task's own metric. Beyond noise means that the 95% interval leaves out
0; for a single task, that its p, adjusted for all tasks by Holm's method, is at most 0.05.
"""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..lamp.differences import LEVEL, Difference, Scored, by_task, difference, holm
from ..lamp.rows import read_tasks
from ..lamp.scorer import item_reward
from ..lamp.tasks import Task
from ..lamp.values import as_label
from ..runs import read_json
from .tables import LABELS, counted, known_first

LAST_FIRST = ("explore", "guided", "sft")
SOON = 0.001  # p is not printed more exactly
MINUS = "−"


class Answers(NamedTuple):
    """scored: {system: its answers' item_reward}. texts: {(task, question id): (input, gold)}."""
    scored: dict[str, list[Scored]]
    texts: dict[tuple[str, str], tuple[str, str]]


class Comparison(NamedTuple):
    """system minus against, over all tasks and by task. adjusted: {task: Holm's p}."""
    system: str
    against: str
    overall: Difference
    by_task: dict[str, Difference]
    adjusted: dict[str, float]


# ---------------------------------------------------------------- reading

def read_answers(folder: Path) -> Answers:
    """Every answer of eval/<system>/<task>.json. Rows that are no answer of a known task are left out, and so
    is a question's second one."""
    tasks = read_tasks(folder)
    answers = Answers({}, {})
    for path in sorted((folder / "eval").glob("[!.]*/[!.]*.json")):
        task = tasks.get(path.stem)
        found = read_json(path)
        rows = found.get("predictions") if isinstance(found, dict) else None
        if task is None or not isinstance(rows, list):
            continue
        scored = answers.scored.setdefault(path.parent.name, [])
        seen = set()
        for row in rows:
            if is_answer(row, task) and row["id"] not in seen:
                seen.add(row["id"])
                reward = item_reward(task, row["answer"], row["gold"])
                user = row["user"] if isinstance(row.get("user"), str) else row["id"]
                scored.append(Scored(task.name, user, row["id"], reward))
                answers.texts[task.name, row["id"]] = (str(row.get("input")), row["gold"])
    return Answers({system: rows for system, rows in answers.scored.items() if rows}, answers.texts)


def is_answer(row: object, task: Task) -> bool:
    """Whether it is a prediction that can be scored: with an id, a gold of the task, an answer or None."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("id", "gold")):
        return False
    good_gold = not task.labels or as_label(row["gold"], task.labels) in task.labels
    return good_gold and "answer" in row and isinstance(row["answer"], str | None)


# ---------------------------------------------------------------- comparing

def anchors(systems: Mapping[str, list[Scored]]) -> list[str]:
    """What every system is compared with: base (with the profile, where it is there) and sft."""
    base = next((name for name in ("base_profile", "base") if name in systems), None)
    return [name for name in (base, "sft") if name is not None and name in systems]


def comparisons(systems: Mapping[str, list[Scored]]) -> list[Comparison]:
    """Every system against each anchor, in the order of the method. Of two anchors the later one is compared
    with the earlier one. Pairs without a common question are left out."""
    order = sorted(systems, key=lambda name: known_first(name, LABELS))
    compared = []
    for place, against in enumerate(anchors(systems)):
        earlier = anchors(systems)[:place + 1]
        for system in order:
            if system not in earlier and have_common(systems[system], systems[against]):
                compared.append(compare(systems, system, against))
    return compared


def have_common(first: list[Scored], second: list[Scored]) -> bool:
    return bool({row[::2] for row in first} & {row[::2] for row in second})


def compare(systems: Mapping[str, list[Scored]], system: str, against: str) -> Comparison:
    first, second = systems[against], systems[system]
    tasks = by_task(first, second)
    return Comparison(system, against, difference(first, second), tasks,
                      holm({task: found.p for task, found in tasks.items()}))


# ---------------------------------------------------------------- sentences

def last_stage(systems: Mapping[str, object]) -> str | None:
    """The last stage of training that was evaluated."""
    return next((name for name in LAST_FIRST if name in systems), None)


def headline(systems: Mapping[str, list[Scored]], compared: list[Comparison]) -> str:
    """How the last stage compares with SFT and with the base model, each with its interval and whether the
    difference is beyond noise."""
    final = last_stage(systems)
    found = [one for one in compared if one.system == final]
    if not systems:
        return "No system was compared in this run yet, so there is no result to summarise."
    if not found:
        return "No trained system was evaluated beside another one, so there is no difference to report."
    one = found[0].overall
    head = (f"On {counted(one.questions, 'dev question')} of {counted(one.users, 'user')} in "
            f"{counted(one.tasks, 'task')}, ")
    # SFT first: it is the question that reinforcement has to answer.
    found.sort(key=lambda comparison: comparison.against != "sft")
    parts = [f"{names(final)} minus {names(comparison.against)} is {with_interval(comparison.overall)}: "
             f"{verdict(comparison.overall)}" for comparison in found]
    return head + "; ".join(parts) + (". (Task reward, 0 to 1, mean over tasks; of this one training, "
                                            "intervals over users.)")


def names(system: str) -> str:
    """How a sentence calls a system."""
    words = {"base_profile": "base with profile", "base": "base without profile", "sft": "SFT"}
    return words.get(system, system)


def verdict(found: Difference) -> str:
    if not found.beyond_noise:
        return "within noise"
    return "better, beyond noise" if found.value > 0 else "worse, beyond noise"


def with_interval(found: Difference) -> str:
    """"+0.051 (−0.007 to +0.108, p 0.081)"."""
    return f"{plus(found.value)} ({plus(found.low)} to {plus(found.high)}, {p_text(found.p)})"


def plus(value: float) -> str:
    """"+0.051", "−0.007", "0.000"."""
    text = f"{value:+.3f}".replace("-", MINUS)
    return "0.000" if text[1:] == "0.000" else text


def p_text(p: float) -> str:
    return f"p < {SOON}" if p < SOON else f"p {p:.3f}"


# ---------------------------------------------------------------- the table

def tasks_of(compared: list[Comparison]) -> list[str]:
    return sorted({task for one in compared for task in one.by_task})


def markdown_rows(compared: list[Comparison]) -> tuple[list[str], list[list[str]]]:
    """(heads, a line a comparison) of the table in report.md. What is beyond noise is bold."""
    tasks = tasks_of(compared)
    body = []
    for one in compared:
        cells = [bold(with_interval(one.overall), one.overall.beyond_noise)]
        for task in tasks:
            found = one.by_task.get(task)
            text = with_interval(found._replace(p=one.adjusted[task])) if found else "–"
            cells.append(bold(text, bool(found) and one.adjusted[task] <= LEVEL))
        body.append([f"{one.system} {MINUS} {one.against}", *cells])
    return ["Difference in task reward", "All tasks", *tasks], body


def bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text


NOTE = ("Task reward, 0 to 1, higher is better; the mean over tasks. In brackets: 95% interval over users, "
        "paired by question (symmetric bootstrap-t). Bold: beyond noise. p of single tasks are adjusted for "
        "all tasks (Holm); their intervals are not.")

TEMPLATE = """<h3>Differences</h3><p class="soft">{{ note }}</p>
<div class="scroll" role="region" tabindex="0" aria-label="Differences"><table><thead><tr>
<th scope="col">System − compared with</th><th scope="col">All tasks</th>
{% for task in tasks %}<th scope="col">{{ title(task) }}</th>{% endfor %}</tr></thead><tbody>
{% macro cell(found, p) %}<td class="{{ 'best' if p <= level }}">\
{% if p <= level %}<strong>{{ plus(found.value) }}</strong>{% else %}{{ plus(found.value) }}{% endif %}
<small>{{ plus(found.low) }} to {{ plus(found.high) }}</small>
<small>{{ p_text(p) }}</small></td>{% endmacro %}
{% for one in compared %}<tr><th scope="row">{{ one.system }} − {{ one.against }}</th>
{{ cell(one.overall, one.overall.p) }}
{% for task in tasks %}{% if task in one.by_task %}{{ cell(one.by_task[task], one.adjusted[task]) }}
{% else %}<td>–</td>{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>
"""
"""The table as HTML, filled in by page.py with `page_values`."""


def page_values(compared: list[Comparison]) -> dict:
    """What TEMPLATE reads, besides `title`."""
    return {"compared": compared, "tasks": tasks_of(compared), "note": NOTE, "level": LEVEL, "plus": plus,
            "p_text": p_text}
