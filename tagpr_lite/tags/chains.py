"""From questions to training chains: several attempts each, the wrong ones thrown away, tags found and
closed.

    attempts of the teacher -> the task's own metric -> form, length, repetition, leaks, language, truth
        -> names of the steps -> nine primary tags -> every chain in those, or dropped -> turns over tasks and
        users

Rejection is by the task: a choice must be right, a rating right or within `tag.within`, a free text must
reach a percentile of the ROUGE that the teacher has for that task. Dropped chains are not lost: their reason
is counted, and wrong ones are the natural "worse answer with the right profile" of PRMU's pairs.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..config import Tag, UserError
from ..lamp.sampling import group_by, round_robin
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question, Task
from ..lamp.words import length_units, normalised
from ..runs import read_jsonl
from .discover import COUNT, tagged
from .facts import distinct_triples, groundedness
from .schema import Chain, Fault, Step, parse, render, valid_name
from .teachers.teacher import EXAMPLE, Draft, Teacher, numbered

UNNAMED = "step"  # the tag of a step until it is named
STEPS = (2, 12)  # least and most steps of a chain
FRESH = 0.7  # least share of distinct triples of words
FOREIGN = 0.2  # most share of letters of another script
COPIED = {normalised(step) for step in numbered(EXAMPLE[1])}
TOLD = re.compile(r"\b(?:correct|true|given|gold|actual|provided|expected|own) (?:answer|label|title|rating|score|tag)\b"
                  r"|\b(?:was|were|am) (?:told|given)\b", re.I)


# ---------------------------------------------------------------- attempts

Rows = list[dict]
"""Chains as rows {id, task, user, kind, steps, tags, answer, gold}; a dropped one has a `reason`."""


def generate(questions: list[Question], teacher: Teacher, settings: Tag,
             tick: Callable[[], None] = lambda: None) -> tuple[Rows, Rows]:
    """(kept, dropped) chains of the teacher.

    A question is asked again until it has `per_question` good chains; a free text, whose rank among all is
    known only at the end, every time.
    """
    good: dict[str, Rows] = {question.id: [] for question in questions}
    dropped: Rows = []
    exhausted: set[str] = set()  # questions that the teacher has no further attempt for
    for attempt in range(settings.samples):
        asked = [question for question in questions if question.id not in exhausted
                 and (question.task.kind == "text" or len(good[question.id]) < settings.per_question)]
        for question, draft in zip(asked, teacher.drafts(asked, attempt, tick), strict=True):
            if draft is None:
                exhausted.add(question.id)
                continue
            row = judged(question, draft, settings, good[question.id])
            (dropped if row["reason"] else good[question.id]).append(row)
    good, too_far = _best_texts(questions, good, settings)
    dropped += too_far
    if settings.rationalised > 0:
        unsolved = [question for question in questions if not good[question.id]]
        for question, draft in zip(unsolved, teacher.explain(unsolved, lambda: None), strict=True):
            if draft is not None:
                row = judged(question, draft, settings, good[question.id])
                (dropped if row["reason"] else good[question.id]).append(row)
    kept, too_many = _within_share([row for question in questions for row in good[question.id]],
                                   settings.rationalised)
    return [{key: value for key, value in row.items() if key != "reason"} for row in kept], dropped + too_many


def judged(question: Question, draft: Draft, settings: Tag, known: Rows) -> dict:
    """The draft as a row with its `reason`, "" for a good chain. known: the question's good chains so far."""
    row = {"id": question.id, "task": question.task.name, "user": question.user, "kind": draft.kind,
           "steps": list(draft.steps), "tags": list(draft.tags), "answer": draft.answer,
           "gold": question.gold}
    tags = draft.tags or (UNNAMED,) * len(draft.steps)
    chain = Chain(tuple(map(Step, tags, draft.steps)), draft.answer)
    reason = draft.fault or rejection_reason(chain, question, settings, told=draft.kind == "rationalised",
                                             own_words=not draft.tags)
    if not reason and any((row["steps"], row["answer"]) == (other["steps"], other["answer"])
                          for other in known):
        reason = "the same as another"
    return {**row, "reason": reason}


def _best_texts(questions: list[Question], good: dict[str, Rows],
                settings: Tag) -> tuple[dict[str, Rows], Rows]:
    """(good, dropped): free texts under their task's percentile are dropped, and of the rest all but a
    question's best."""
    texts = [question for question in questions if question.task.kind == "text"]
    kept, dropped = dict(good), []
    for of_task in group_by(texts, lambda question: question.task.name).values():
        # {question id: [(reward, row)]}, best first: a free text's rank is by the ROUGE that its answer has.
        ranked = {}
        for question in of_task:
            rewarded = [(item_reward(question.task, row["answer"], row["gold"]), row)
                        for row in good[question.id]]
            ranked[question.id] = sorted(rewarded, key=lambda pair: pair[0], reverse=True)
        rewards = [reward for rows in ranked.values() for reward, _ in rows]
        if not rewards:
            continue
        bound = np.percentile(rewards, settings.percentile)
        for question_id, rows in ranked.items():
            reaching = [row for reward, row in rows if reward >= bound]
            kept[question_id] = reaching[:settings.per_question]
            dropped += [{**row, "reason": "too far from the user's text"} for reward, row in rows
                        if reward < bound]
            dropped += [{**row, "reason": "more than per_question"}
                        for row in reaching[settings.per_question:]]
    return kept, dropped


def _within_share(rows: Rows, share: float) -> tuple[Rows, Rows]:
    """(kept, dropped): of the rows at most `share` are rationalised."""
    told = [row for row in rows if row["kind"] == "rationalised"]
    # told / (told + found) <= share, so told <= found * share / (1 - share)
    most = len(told) if share >= 1 else int((len(rows) - len(told)) * share / (1 - share))
    if most >= len(told):
        return rows, []
    allowed = {id(row) for row in balanced(told, most)}
    over = {id(row) for row in told if id(row) not in allowed}
    dropped = [{**row, "reason": "more than the share of rationalised"} for row in rows if id(row) in over]
    return [row for row in rows if id(row) not in over], dropped


def balanced(rows: list[dict], most: int) -> list[dict]:
    """At most `most` rows, in their order: tasks take turns, and within a task users do."""
    by_task = group_by(range(len(rows)), lambda place: rows[place]["task"])
    turns = []
    for task in sorted(by_task):
        by_user = group_by(by_task[task], lambda place: rows[place].get("user", ""))
        turns.append(round_robin(by_user.values()))
    return [rows[place] for place in sorted(round_robin(turns)[:most])]


# ---------------------------------------------------------------- the filter

def rejection_reason(chain: Chain, question: Question, settings: Tag = Tag(), told: bool = False,
                     own_words: bool = False) -> str:
    """The reason to drop a chain, "" for a good one. told: its teacher knew the answer; own_words: a
    model's."""
    task, said = question.task, " ".join(s.text for s in chain.steps)
    again = parse(render(chain), allowed=None)
    if isinstance(again, Fault):
        return f"malformed: {again}"
    answer = task.parse_answer(chain.answer)
    if answer is None:
        return "unreadable answer"
    if task.kind != "text" and not _near(task, answer, question.gold, settings.within):
        return "wrong answer"
    words = length_units(said.lower(), task.language)
    if own_words and not STEPS[0] <= len(chain.steps) <= STEPS[1]:
        return "too few or too many steps"
    if len(words) > settings.words:
        return "too long"
    if len({s.text.lower() for s in chain.steps}) < len(chain.steps) or distinct_triples(words) < FRESH:
        return "repeats itself"
    if told and TOLD.search(said) or task.kind == "text" and _stands_in(question.gold, said, task.language):
        return "leaks the answer"
    if own_words and _foreign(said, task.language) > FOREIGN:
        return "in another language"
    if own_words and any(normalised(s.text) in COPIED for s in chain.steps):
        return "copies the worked example"
    return "" if groundedness(chain, question) == 1.0 else "contradicts its profile"


def _near(task: Task, answer: str, gold: str, within: int) -> bool:
    return abs(float(answer) - float(gold)) <= within if task.kind == "rating" else answer == gold.strip()


def _stands_in(gold: str, said: str, language: str) -> bool:
    """Whether a text of some length stands in another word for word."""
    return len(length_units(gold, language)) > 3 and normalised(gold) in normalised(said)


def _foreign(text: str, language: str) -> float:
    """Share of a text's letters that are of no script of the language."""
    letters = [c for c in text if c.isalpha()]
    latin = sum(c < "\u0250" for c in letters)
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in letters)
    own = latin if language == "en" else chinese
    return 1 - own / len(letters) if letters else 1.0


def plain_row(row: dict) -> dict:
    """A dropped row as PRMU's pairs read it: its text, under the names that it has."""
    tags = row["tags"] if len(row["tags"]) == len(row["steps"]) else [UNNAMED] * len(row["steps"])
    return tagged(row, tags) | ({"text": row["text"]} if "text" in row else {})


# ---------------------------------------------------------------- a person's own

def read_tags(path: str) -> tuple[str, ...]:
    """A user's tag names, one a line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"tag.tags_file={path} cannot be read: {e}") from None
    names = [x.strip() for x in lines if x.strip() and not x.startswith("#")]
    bad = [n for n in names if not valid_name(n)]
    if bad or len(set(names)) != len(names) or len(names) != COUNT:
        raise UserError(f"{path}: {COUNT} different snake_case tag names are needed, one a line"
                        + (f"; '{bad[0][:40]}' is none" if bad else f"; there are {len(set(names))}"))
    return tuple(names)


def read_chains(path: str, questions: dict[str, Question], allowed: tuple[str, ...], settings: Tag = Tag()
                ) -> tuple[list[dict], list[dict]]:
    """(kept, dropped) of ready-made chains {id, text}: checked like the teacher's. Unknown ids and tags stop
    the run."""
    kept, dropped = [], []
    for number, row in enumerate(read_jsonl(Path(path)), 1):
        where, q = f"{path} line {number}", questions.get(str(row.get("id")))
        if q is None or not isinstance(row.get("text"), str):
            raise UserError(f"{where}: needs `id` of a training question and `text`; got id {str(row.get('id'))[:40]!r}")
        chain = parse(row["text"], allowed)
        if isinstance(chain, Fault) and chain.name == "unknown_tag":
            raise UserError(f"{where}: unknown tag '{chain.detail}'; known: {', '.join(allowed)}")
        good = not isinstance(chain, Fault)
        out = {"id": q.id, "task": q.task.name, "user": q.user, "kind": "given", "gold": q.gold,
               "steps": [s.text for s in chain.steps] if good else [], "tags": chain.tags if good else [],
               "answer": chain.answer if good else ""}
        reason = rejection_reason(chain, q, settings) if good else f"malformed: {chain}"
        dropped.append({**out, "reason": reason, "text": row["text"].strip()}) if reason else kept.append(out)
    return kept, dropped
