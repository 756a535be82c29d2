"""From questions to training chains: several attempts each, the wrong ones thrown away, tags found, and every
chain written in the nine primary tags.

    attempts of the teacher -> the task's own metric -> form, length, repetition, leaks, language, truth
        -> names of the steps -> nine primary tags -> every chain in those, or dropped
        -> tasks and users take turns

Rejection is by the task. A choice must be right. A rating must be right, or within `tag.within` of the gold.
A free text must reach a percentile of the ROUGE that the teacher has for that task. A dropped chain keeps its
reason. The wrong ones serve PRMU's pairs as the "worse answer with the right profile".
"""
from __future__ import annotations

import re
import unicodedata
from collections import Counter
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
MIN_STEPS, MAX_STEPS = 2, 12
MIN_DISTINCT = 0.7  # share of distinct triples of words
MAX_FOREIGN = 0.2  # share of letters of another script
LEAK_WORDS = 3  # a gold of more words than this leaks when it stands in a step
EXAMPLE_STEPS = {normalised(step) for step in numbered(EXAMPLE[1])}
ADMITS_GOLD = re.compile(r"\b(?:correct|true|given|gold|actual|provided|expected|own) "
                         r"(?:answer|label|title|rating|score|tag)\b"
                         r"|\b(?:was|were|am) (?:told|given)\b", re.I)
"""Words of a teacher that was told the answer and says so."""


# ---------------------------------------------------------------- attempts

Rows = list[dict]
"""Chains as rows {id, task, user, kind, steps, tags, answer, gold}; a dropped one has a `reason`, and where
there is more to say of it a `detail`, such as a server's words."""


def generate(questions: list[Question], teacher: Teacher, settings: Tag,
             tick: Callable[[], None] = lambda: None) -> tuple[Rows, Rows]:
    """(kept, dropped) chains of the teacher.

    A question is asked again until it has `per_question` good chains. A free text is asked every time,
    because its rank among all is known only at the end.
    """
    good: dict[str, Rows] = {question.id: [] for question in questions}
    dropped: Rows = []

    def judge(question: Question, draft: Draft) -> None:
        row = judged(question, draft, settings, good[question.id])
        (dropped if row["reason"] else good[question.id]).append(row)

    # 1. Attempts, until the questions are solved or the teacher has no further one.
    exhausted: set[str] = set()  # ids of questions that the teacher has no further attempt for
    for attempt in range(settings.samples):
        asked = [question for question in questions if question.id not in exhausted
                 and (question.task.kind == "text" or len(good[question.id]) < settings.per_question)]
        for question, draft in zip(asked, teacher.drafts(asked, attempt, tick), strict=True):
            if draft is None:
                exhausted.add(question.id)
            else:
                judge(question, draft)

    # 2. Free texts by their rank.
    good, too_far = _best_texts(questions, good, settings)
    dropped += too_far

    # 3. Questions that were never solved are explained by a teacher that is told the answer.
    if settings.rationalised > 0:
        unsolved = [question for question in questions if not good[question.id]]
        for question, draft in zip(unsolved, teacher.explain(unsolved, lambda: None), strict=True):
            if draft is not None:
                judge(question, draft)

    in_order = [row for question in questions for row in good[question.id]]
    kept, too_many = _within_share(in_order, settings.rationalised)
    kept = [{key: value for key, value in row.items() if key != "reason"} for row in kept]
    return kept, dropped + too_many


def judged(question: Question, draft: Draft, settings: Tag, known: Rows) -> dict:
    """The draft as a row with its `reason`, "" for a good chain. known: the question's good chains so far."""
    row = {"id": question.id, "task": question.task.name, "user": question.user, "kind": draft.kind,
           "steps": list(draft.steps), "tags": list(draft.tags), "answer": draft.answer,
           "gold": question.gold}
    tags = draft.tags or (UNNAMED,) * len(draft.steps)
    chain = Chain(tuple(map(Step, tags, draft.steps)), draft.answer)
    reason = draft.fault or rejection_reason(chain, question, settings, told=draft.kind == "rationalised",
                                             own_words=not draft.tags)
    if not reason:
        content = row["steps"], row["answer"]
        if any(content == (other["steps"], other["answer"]) for other in known):
            reason = "the same as another"
    detail = {"detail": draft.detail} if draft.detail else {}
    return {**row, "reason": reason, **detail}


def _best_texts(questions: list[Question], good: dict[str, Rows],
                settings: Tag) -> tuple[dict[str, Rows], Rows]:
    """(good, dropped): free texts under their task's percentile are dropped, and of the rest all but a
    question's best."""
    texts = [question for question in questions if question.task.kind == "text"]
    kept, dropped = dict(good), []
    for task_questions in group_by(texts, lambda question: question.task.name).values():
        # {question id: [(reward, row)]}, the best row first; the reward is the ROUGE of its answer.
        ranked = {question.id: _by_reward(question, good[question.id]) for question in task_questions}
        rewards = [reward for rewarded in ranked.values() for reward, _ in rewarded]
        if not rewards:
            continue
        bound = np.percentile(rewards, settings.percentile)
        for question_id, rewarded in ranked.items():
            reaching = [row for reward, row in rewarded if reward >= bound]
            missing = [row for reward, row in rewarded if reward < bound]
            kept[question_id] = reaching[:settings.per_question]
            dropped += _with_reason(missing, "too far from the user's text")
            dropped += _with_reason(reaching[settings.per_question:], "more than per_question")
    return kept, dropped


def _by_reward(question: Question, rows: Rows) -> list[tuple[float, dict]]:
    """(reward, row), the best row first; equal rewards stay in their order."""
    rewarded = [(item_reward(question.task, row["answer"], row["gold"]), row) for row in rows]
    return sorted(rewarded, key=lambda pair: pair[0], reverse=True)


def _with_reason(rows: Rows, reason: str) -> Rows:
    return [{**row, "reason": reason} for row in rows]


def _within_share(rows: Rows, share: float) -> tuple[Rows, Rows]:
    """(kept, dropped): of the rows at most `share` are rationalised."""
    rationalised = [row for row in rows if row["kind"] == "rationalised"]
    reasoned = len(rows) - len(rationalised)
    # rationalised / (rationalised + reasoned) <= share, so rationalised <= reasoned * share / (1 - share)
    most = len(rationalised) if share >= 1 else int(reasoned * share / (1 - share))
    if most >= len(rationalised):
        return rows, []
    allowed = {id(row) for row in balanced(rationalised, most)}
    over = {id(row) for row in rationalised if id(row) not in allowed}
    dropped = [row for row in rows if id(row) in over]
    kept = [row for row in rows if id(row) not in over]
    return kept, _with_reason(dropped, "more than the share of rationalised")


def balanced(rows: list[dict], most: int) -> list[dict]:
    """At most `most` rows, in their order: tasks take turns, and within a task users do."""
    by_task = group_by(range(len(rows)), lambda index: rows[index]["task"])
    turns = []
    for task in sorted(by_task):
        by_user = group_by(by_task[task], lambda index: rows[index].get("user", ""))
        turns.append(round_robin(by_user.values()))
    return [rows[index] for index in sorted(round_robin(turns)[:most])]


# ---------------------------------------------------------------- the filter

def rejection_reason(chain: Chain, question: Question, settings: Tag = Tag(), told: bool = False,
                     own_words: bool = False) -> str:
    """The reason to drop a chain, "" for a good one.

    told: its teacher knew the answer. own_words: a language model wrote it, so that its language, its number
    of steps and its originality are checked too.
    """
    task = question.task
    text = " ".join(step.text for step in chain.steps)
    words = length_units(text.lower(), task.language)

    # 1. Form and answer.
    parsed = parse(render(chain), allowed=None)
    if isinstance(parsed, Fault):
        return f"malformed: {parsed}"
    answer = task.parse_answer(chain.answer)
    if answer is None:
        return "unreadable answer"
    if task.kind != "text" and not _is_right(task, answer, question.gold, settings.within):
        return "wrong answer"

    # 2. Length and repetition.
    if own_words and not MIN_STEPS <= len(chain.steps) <= MAX_STEPS:
        return "too few or too many steps"
    if len(words) > settings.words:
        return "too long"
    distinct_steps = {step.text.lower() for step in chain.steps}
    if len(distinct_steps) < len(chain.steps) or distinct_triples(words) < MIN_DISTINCT:
        return "repeats itself"

    # 3. What a reader of the prompt alone could not write, and what is not of this profile.
    if told and ADMITS_GOLD.search(text):
        return "leaks the answer"
    if task.kind == "text" and _holds_gold(text, question.gold, task.language):
        return "leaks the answer"
    if own_words and _foreign_share(text, question) > MAX_FOREIGN:
        return "in another language"
    if own_words and any(normalised(step.text) in EXAMPLE_STEPS for step in chain.steps):
        return "copies the worked example"
    return "" if groundedness(chain, question) == 1.0 else "contradicts its profile"


def _is_right(task: Task, answer: str, gold: str, within: int) -> bool:
    """Whether the answer is the gold, or a rating at most `within` from it."""
    if task.kind == "rating":
        return abs(float(answer) - float(gold)) <= within
    return answer == gold.strip()


def _holds_gold(text: str, gold: str, language: str) -> bool:
    """Whether a gold of more than LEAK_WORDS words stands in the text word for word."""
    return len(length_units(gold, language)) > LEAK_WORDS and normalised(gold) in normalised(text)


def _foreign_share(text: str, question: Question) -> float:
    """Share of a text's letters that are neither of the task's language nor of a script in which much of the
    question is written, as a Russian one of a person's own task; 1 for a text without letters."""
    scripts = _scripts(text)
    if not scripts:
        return 1.0
    own = {"LATIN" if question.task.language == "en" else "CJK"}
    asked = _scripts(f"{question.task.payload(question.input)} {question.gold}")
    own |= {script for script, count in asked.items() if count > asked.total() / 5}
    return 1 - sum(scripts[script] for script in own) / scripts.total()


def _scripts(text: str) -> Counter[str]:
    """{script: letters}, by the first word of a letter's Unicode name: LATIN, CYRILLIC, DEVANAGARI, CJK."""
    return Counter(unicodedata.name(character, "?").partition(" ")[0] for character in text
                   if character.isalpha())


def plain_row(row: dict) -> dict:
    """A dropped row as PRMU's pairs read it: with its text, written in its own tags if every step has one."""
    has_tags = len(row["tags"]) == len(row["steps"])
    plain = tagged(row, row["tags"] if has_tags else [UNNAMED] * len(row["steps"]))
    if "text" in row:
        plain["text"] = row["text"]
    return plain


# ---------------------------------------------------------------- a person's own

def read_tags(path: str) -> tuple[str, ...]:
    """A user's tag names, one on each line; lines that begin with # are comments."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"tag.tags_file={path} cannot be read: {error}") from None
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    invalid = [name for name in names if not valid_name(name)]
    if invalid or len(set(names)) != len(names) or len(names) != COUNT:
        problem = f"'{invalid[0][:40]}' is none" if invalid else f"there are {len(set(names))}"
        raise UserError(f"{path}: {COUNT} different snake_case tag names are needed, one a line; {problem}")
    return tuple(names)


def read_chains(path: str, questions: dict[str, Question], allowed: tuple[str, ...], settings: Tag = Tag()
                ) -> tuple[list[dict], list[dict]]:
    """(kept, dropped) of ready-made chains {id, text}, which are checked like the teacher's. Unknown ids and
    tags are a UserError."""
    kept, dropped = [], []
    for number, line in enumerate(read_jsonl(Path(path)), 1):
        where = f"{path} line {number}"
        question = questions.get(str(line.get("id")))
        if question is None or not isinstance(line.get("text"), str):
            given_id = repr(str(line.get("id"))[:40])
            raise UserError(f"{where}: needs `id` of a training question and `text`; got id {given_id}")
        chain = parse(line["text"], allowed)
        row = {"id": question.id, "task": question.task.name, "user": question.user, "kind": "given",
               "gold": question.gold}
        if isinstance(chain, Fault):
            if chain.name == "unknown_tag":
                raise UserError(f"{where}: unknown tag '{chain.detail}'; known: {', '.join(allowed)}")
            row |= {"steps": [], "tags": [], "answer": ""}
            reason = f"malformed: {chain}"
        else:
            row |= {"steps": [step.text for step in chain.steps], "tags": chain.tags, "answer": chain.answer}
            reason = rejection_reason(chain, question, settings)
        if reason:
            dropped.append({**row, "reason": reason, "text": line["text"].strip()})
        else:
            kept.append(row)
    return kept, dropped
