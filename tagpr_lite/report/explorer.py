"""The explorer of rollouts: what the policy wrote in a step of GRPO, group by group, and what each completion
earned.

Decision: everything that is shown of a group is made here, as a tree of elements (nodes.py). The page holds
one group as HTML, for a browser without script and for paper, and as JSON all groups that there is room for,
out of which explorer.js builds the same elements. So the look of a group is written once, and the script
knows nothing of rewards.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..config import UserError
from ..lamp.rows import read_questions
from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import one_line
from .nodes import Looks, Node, as_html, as_script_data, asked, card, figure, has_own_term, short
from .rollouts import FILE, Group, choose, read_groups, steps_of
from .tables import counted, number, percent

MOST_BYTES = 1_500_000  # of the JSON in the page
LARGEST_GROUP = MOST_BYTES // 10  # bytes; a larger group is left out
AROUND = 1000  # bytes of the JSON around all groups
OVERHEAD = 100  # bytes of a group's own keys, and of its step's


@dataclass(frozen=True)
class Entry:
    """A group as the page holds it. label: its name in the list of its step's groups. heading: what stands
    above it. question: the node of what was asked, the same in every step that asked it. completions: the
    node of what was answered."""
    group: Group
    label: str
    heading: str
    question: list
    completions: list

    @cached_property
    def question_json(self) -> str:
        return as_script_data(self.question)

    @cached_property
    def question_size(self) -> int:
        """Bytes of the question in the page."""
        return len(self.question_json.encode()) + 1

    @cached_property
    def size(self) -> int:
        """Bytes of the entry in the page without its question."""
        texts = [self.label, self.heading, short(self.group.task)]
        return len(as_script_data([*texts, self.completions]).encode()) + OVERHEAD


def size_together(entries: list[Entry]) -> int:
    """Bytes of the entries in the page, where a question that several steps asked stands once."""
    questions = {one.question_json: one.question_size for one in entries}
    return sum(questions.values()) + sum(one.size for one in entries)


# ---------------------------------------------------------------- the part of the page

def explorer(folder: Path, looks: Looks) -> dict:
    """What the page shows of the run's rollouts.

    missing: sentences on what could not be read or shown. shares: what is shown of each stage.
    partly: whether some is not. has_own: whether a person's own term was rewarded. data: the groups as JSON,
    or "". last: the last one as HTML.
    """
    # 1. What the run folder has.
    groups, missing = read_groups(folder)
    questions: dict[str, Question] = {}
    if groups:
        questions, why = train_questions(folder, groups)
        missing += why

    # 2. The choice, and the last group for a browser without script.
    entries = [entry(group, questions.get(group.question), looks) for group in groups]
    chosen = choice(entries)
    shown = [one for of_stage in chosen for one in of_stage]
    if entries and not shown:
        missing.append("Every group is too large for this page.")
    still: Node = ["div", "", *view(shown[-1])] if shown else ""
    return {"missing": missing, "shares": shares(shown, entries), "partly": len(shown) < len(entries),
            "has_own": any(has_own_term(row) for group in groups for row in group.rows),
            "data": as_script_data(packed(chosen)) if shown else "", "last": as_html(still)}


def train_questions(folder: Path, groups: list[Group]) -> tuple[dict[str, Question], list[str]]:
    """({id: question} of the training questions, sentences on those that are missing)."""
    try:
        questions = {question.id: question for question in read_questions(folder, "train")}
    except UserError as error:
        return {}, [f"No question can be shown and no claim checked: {one_line(error)}."]
    unknown = {group.question for group in groups} - set(questions)
    if not unknown:
        return questions, []
    return questions, [f"{counted(len(unknown), 'question')} of {FILE} cannot be found in data/train.jsonl; "
                       "claims about their profiles are not checked."]


def choice(entries: list[Entry]) -> list[list[Entry]]:
    """The entries of every stage that the page has room for, in their order. A stage that needs less than its
    part of the room leaves it to the other."""
    entries = [one for one in entries if one.size + one.question_size <= LARGEST_GROUP]
    stages = group_by(entries, lambda one: one.group.stage)
    room = MOST_BYTES - AROUND
    chosen: dict[str, list[Entry]] = {}
    for place, stage in enumerate(sorted(stages, key=lambda stage: size_together(stages[stage]))):
        steps = steps_of(stages[stage], lambda one: one.group)
        picked = choose(steps, room // (len(stages) - place), size_together)
        picked_ids = {id(one) for one in picked}
        chosen[stage] = [one for step in steps for one in step if id(one) in picked_ids]
        room -= size_together(picked)
    return [chosen[stage] for stage in stages if chosen[stage]]


def shares(shown: list[Entry], kept: list[Entry]) -> list[str]:
    """What is shown of each stage: "24 of the 96 kept groups of guided (25.0%, from 6 of 12 steps)"."""
    phrases = []
    shown_of = group_by(shown, lambda one: one.group.stage)
    for stage, all_of_stage in group_by(kept, lambda one: one.group.stage).items():
        shown_of_stage = shown_of.get(stage, [])
        steps_shown = {one.group.step for one in shown_of_stage}
        groups, steps = len(all_of_stage), len({one.group.step for one in all_of_stage})
        if len(shown_of_stage) == groups:
            phrases.append(f"all {groups} kept groups of {stage} (from {counted(steps, 'step')})")
        else:
            share = percent(len(shown_of_stage) / groups)
            phrases.append(f"{len(shown_of_stage)} of the {groups} kept groups of {stage} "
                           f"({share}, from {len(steps_shown)} of {counted(steps, 'step')})")
    return phrases


def packed(chosen: list[list[Entry]]) -> dict:
    """What the script reads: {"questions": [node, ...], "stages": [{"name", "steps": [{"name", "groups":
    [{"label", "heading", "task", "question": a place in questions, "completions": node}]}]}]}."""
    places: dict[str, int] = {}  # of each question's node among the questions
    nodes: list[list] = []
    stages = []
    for entries in chosen:
        steps = []
        for step, of_step in group_by(entries, lambda one: one.group.step).items():
            groups = []
            for one in of_step:
                place = places.setdefault(one.question_json, len(nodes))
                if place == len(nodes):
                    nodes.append(one.question)
                groups.append({"label": one.label, "heading": one.heading, "task": short(one.group.task),
                               "question": place, "completions": one.completions})
            steps.append({"name": str(step), "groups": groups})
        stages.append({"name": entries[0].group.stage, "steps": steps})
    return {"questions": nodes, "stages": stages}


# ---------------------------------------------------------------- a group

def entry(group: Group, question: Question | None, looks: Looks) -> Entry:
    """The group as the page shows it. question: None where data/train.jsonl does not have it."""
    rewards = [value for value in (number(row.get("reward")) for row in group.rows) if value is not None]
    span, remark = reward_span(rewards)
    label = f"{short(group.task) or 'unknown task'}, question {short(group.question)} ({span})"
    heading = f"{group.stage}, step {group.step}: {counted(len(group.rows), 'completion')}, {remark}"

    # The best first: what was rewarded comes first, what was not comes last.
    def order(row: dict) -> tuple[float, int]:
        reward = number(row.get("reward"))
        return (float("inf") if reward is None else -reward, row["n"])

    cards = [card(row, group, question, looks) for row in sorted(group.rows, key=order)]
    return Entry(group, label, heading, asked(group, question, looks), ["div", "group", *cards])


def reward_span(rewards: list[float]) -> tuple[str, str]:
    """(a few words on the rewards of a group, the same with their meaning). No rewards: the file has none."""
    if not rewards:
        return "no rewards", "rewards were not kept"
    low, high = figure(min(rewards), 2), figure(max(rewards), 2)
    if min(rewards) == max(rewards):
        return f"all {low}", f"every reward is {low}, so that nothing is learned from them"
    return f"reward {low} to {high}", f"reward {low} to {high}"


def view(one: Entry) -> list[Node]:
    """What is shown of a group. explorer.js puts it together in the same way."""
    return [["h3", "", one.heading], one.question, one.completions]
