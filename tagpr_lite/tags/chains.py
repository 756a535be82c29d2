"""From questions to training chains: several attempts each, the wrong ones thrown away, tags found and closed.

    attempts of the teacher -> the task's own metric -> form, length, repetition, leaks, language, truth
        -> names of the steps -> nine primary tags -> every chain in those, or dropped -> turns over tasks and users

Rejection is by the task: a choice must be right, a rating right or within `tag.within`, a free text must reach a
percentile of the ROUGE that the teacher has for that task. Dropped chains are not lost: their reason is counted, and wrong
ones are the natural "worse answer with the right profile" of PRMU's pairs.
"""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..config import Tag, UserError
from ..lamp.scorer import item_reward
from ..lamp.tasks import TASKS, Question, pieces, plain
from ..runs import read_jsonl
from .discover import COUNT, tagged
from .facts import distinct_triples, groundedness
from .schema import Chain, Fault, Step, parse, render, valid_name
from .teachers.teacher import EXAMPLE, Draft, Teacher, numbered

UNNAMED = "step"  # the tag of a step until it is named
STEPS = (2, 12)  # least and most steps of a chain
FRESH = 0.7  # least share of distinct triples of words
FOREIGN = 0.2  # most share of letters of another script
COPIED = {plain(step) for step in numbered(EXAMPLE[1])}
TOLD = re.compile(r"\b(?:correct|true|given|gold|actual|provided|expected|own) (?:answer|label|title|rating|score|tag)\b"
                  r"|\b(?:was|were|am) (?:told|given)\b", re.I)


# ---------------------------------------------------------------- attempts

def generate(questions: list[Question], teacher: Teacher, settings: Tag,
             tick: Callable[[], None] = lambda: None) -> tuple[list[dict], list[dict]]:
    """(kept, dropped) rows {id, task, user, kind, steps, tags, answer, gold}; a dropped one has a `reason`.

    A question is asked again until it has `per_question` good chains; a free text, whose rank among all is known only at
    the end, every time.
    """
    good, dropped, done = defaultdict(list), [], set()
    for attempt in range(settings.samples):
        asked = [q for q in questions if q.id not in done and (TASKS[q.task].kind == "text"
                                                               or len(good[q.id]) < settings.per_question)]
        for q, draft in zip(asked, teacher.drafts(asked, attempt, tick)):
            if draft is None:
                done.add(q.id)
            else:
                _sort(q, draft, settings, good, dropped)
    _rank(questions, good, dropped, settings)
    if settings.rationalised > 0:
        unsolved = [q for q in questions if not good[q.id]]
        for q, draft in zip(unsolved, teacher.explain(unsolved, lambda: None)):
            if draft is not None:
                _sort(q, draft, settings, good, dropped)
    kept = [row for q in questions for row in good[q.id]]
    return _bounded(kept, dropped, settings), dropped


def _sort(q: Question, draft: Draft, settings: Tag, good: dict, dropped: list) -> None:
    row = {"id": q.id, "task": q.task, "user": q.user, "kind": draft.kind, "steps": list(draft.steps),
           "tags": list(draft.tags), "answer": draft.answer, "gold": q.gold}
    tags = draft.tags or (UNNAMED,) * len(draft.steps)
    reason = draft.fault or why_not(Chain(tuple(map(Step, tags, draft.steps)), draft.answer), q, settings,
                                    draft.kind == "rationalised", own_words=not draft.tags)
    if not reason and any((row["steps"], row["answer"]) == (r["steps"], r["answer"]) for r in good[q.id]):
        reason = "the same as another"
    dropped.append({**row, "reason": reason}) if reason else good[q.id].append(row)


def _rank(questions: list[Question], good: dict, dropped: list, settings: Tag) -> None:
    """Free texts: those under the task's percentile are dropped, and of the rest all but a question's best."""
    reward = lambda row: item_reward(row["task"], row["answer"], row["gold"])
    by_task = defaultdict(list)
    for q in questions:
        if TASKS[q.task].kind == "text":
            by_task[q.task] += [reward(r) for r in good[q.id]]
    for q in questions:
        if by_task.get(q.task):
            bound = np.percentile(by_task[q.task], settings.percentile)
            rows = sorted(good[q.id], key=reward, reverse=True)
            dropped += [{**r, "reason": "too far from the user's text"} for r in rows if reward(r) < bound]
            rows = [r for r in rows if reward(r) >= bound]
            dropped += [{**r, "reason": "more than per_question"} for r in rows[settings.per_question:]]
            good[q.id] = rows[:settings.per_question]


def _bounded(kept: list[dict], dropped: list[dict], settings: Tag) -> list[dict]:
    """Keeps at most the share of rationalised chains that the settings allow."""
    told = [r for r in kept if r["kind"] == "rationalised"]
    share = settings.rationalised
    most = len(told) if share >= 1 else int((len(kept) - len(told)) * share / (1 - share))
    over = [id(r) for r in told if id(r) not in {id(x) for x in balanced(told, most)}] if most < len(told) else []
    dropped += [{**r, "reason": "more than the share of rationalised"} for r in kept if id(r) in over]
    return [r for r in kept if id(r) not in over]


def balanced(rows: list[dict], most: int) -> list[dict]:
    """At most `most` rows, in their order: tasks take turns, and within a task users do."""
    queues: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, r in enumerate(rows):
        queues[r["task"]][r.get("user", "")].append(i)
    turns = {task: [i for n in range(max(map(len, users.values()))) for u in users.values() for i in u[n:n + 1]]
             for task, users in sorted(queues.items())}
    chosen = [i for n in range(max(map(len, turns.values()), default=0)) for t in turns.values() for i in t[n:n + 1]]
    return [rows[i] for i in sorted(chosen[:most])]


# ---------------------------------------------------------------- the filter

def why_not(chain: Chain, question: Question, settings: Tag = Tag(), told: bool = False, own_words: bool = False) -> str:
    """The reason to drop a chain, "" for a good one. told: its teacher knew the answer; own_words: a model's."""
    task, said = TASKS[question.task], " ".join(s.text for s in chain.steps)
    again = parse(render(chain), allowed=None)
    if isinstance(again, Fault):
        return f"malformed: {again}"
    answer = task.parse_answer(chain.answer)
    if answer is None:
        return "unreadable answer"
    if task.kind != "text" and not _near(task, answer, question.gold, settings.within):
        return "wrong answer"
    words = pieces(said.lower(), task.language)
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
    if own_words and any(plain(s.text) in COPIED for s in chain.steps):
        return "copies the worked example"
    return "" if groundedness(chain, question) == 1.0 else "contradicts its profile"


def _near(task, answer: str, gold: str, within: int) -> bool:
    return abs(float(answer) - float(gold)) <= within if task.kind == "rating" else answer == gold.strip()


def _stands_in(gold: str, said: str, language: str) -> bool:
    """Whether a text of some length stands in another word for word."""
    return len(pieces(gold, language)) > 3 and plain(gold) in plain(said)


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
    """(kept, dropped) of ready-made chains {id, text}: checked like the teacher's. Unknown ids and tags stop the run."""
    kept, dropped = [], []
    for number, row in enumerate(read_jsonl(Path(path)), 1):
        where, q = f"{path} line {number}", questions.get(str(row.get("id")))
        if q is None or not isinstance(row.get("text"), str):
            raise UserError(f"{where}: needs `id` of a training question and `text`; got id {str(row.get('id'))[:40]!r}")
        chain = parse(row["text"], allowed)
        if isinstance(chain, Fault) and chain.name == "unknown_tag":
            raise UserError(f"{where}: unknown tag '{chain.detail}'; known: {', '.join(allowed)}")
        good = not isinstance(chain, Fault)
        out = {"id": q.id, "task": q.task, "user": q.user, "kind": "given", "gold": q.gold,
               "steps": [s.text for s in chain.steps] if good else [], "tags": chain.tags if good else [],
               "answer": chain.answer if good else ""}
        reason = why_not(chain, q, settings) if good else f"malformed: {chain}"
        dropped.append({**out, "reason": reason, "text": row["text"].strip()}) if reason else kept.append(out)
    return kept, dropped
