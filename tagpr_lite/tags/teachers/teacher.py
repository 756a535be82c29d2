"""Who writes the chains: `template` (rules, offline), `openai` (an endpoint) or `local` (a model loaded
here).

All teachers write Drafts: steps in plain words and the answer. The template alone also gives a tag for every
step. A teacher sees what the policy will see (the facts line, the retrieved items, the question) and not the
gold answer. `explain` is the exception: it is told the answer of a question that the teacher never solved,
and its drafts are marked `rationalised`. The template's titles are of that kind too, since rules cannot write
one.

Decision: a model is asked for a few numbered steps and an answer line, because a small student must write
them again. The thought of a thinking model is used where it wrote no steps beside its thought.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...config import Config, UserError
from ...lamp.prompts import message
from ...lamp.tasks import Question, Task
from ...runs import seed_of
from . import template
from .chat import Answers, Ledger, Request
from .cues import Cues
from .models import Local, Remote
from .replies import NO_ROOM

KINDS = ("template", "openai", "local")
LANGUAGES = {"en": "English", "zh": "Chinese"}
ASK = """{question}

Work out this user's answer from the history above: what they did before decides it, not what most people \
would do.
First write 3 to 6 numbered steps in {language}, one short line each. Each step says one thing: a fact of \
the history
(quote it exactly), a pattern in it, what the question shows, or what follows. Then write a last line:
Answer: {form}"""
TOLD = """

(The user's own answer was: {gold}. Reason towards it from the history as if you did not know it, and never \
mention that
you were told.)"""
EXAMPLE = ("""Past scores: 4 2 4 (mean 3.3, usually 3)
- "Torn cover, still a fine read" -> 4
- "Dull from start to end" -> 2

Which score does this user give to: "Some pages are missing, but I loved the story"?""",
           """1. The user gave 4 to a book with a torn cover.
2. A dull book got 2, so the story counts for them and damage does not.
3. The new text says "I loved the story".
4. Missing pages will not cost much, so 4.
Answer: 4""")
"""A worked example: the question, and the answer as we want it."""


@dataclass(frozen=True)
class Draft:
    """What a teacher wrote about a question."""
    steps: tuple[str, ...] = ()
    """Plain text."""
    answer: str = ""
    tags: tuple[str, ...] = ()
    """One for every step, or () where the tags are still to be found."""
    kind: str = "reasoned"
    """reasoned or rationalised."""
    fault: str = ""
    """Why this is no chain; "" where it is one."""
    detail: str = ""
    """More of the fault: a server's words, say."""


Tick = Callable[[], None]
"""Called once for every question that is done: the progress bar."""


class Teacher(Protocol):
    """Writes one Draft a question, in the order of the questions. None: it has no further attempt."""
    source: str
    """What the report says of it."""

    def drafts(self, questions: list[Question], attempt: int, tick: Tick) -> list[Draft | None]: ...

    def explain(self, questions: list[Question], tick: Tick) -> list[Draft | None]: ...


def teacher(config: Config, ledger: Ledger, questions: list[Question]) -> Teacher:
    """The teacher of the settings. questions: the template learns from their histories which words go with
    high scores."""
    if config.tag.teacher == "template":
        return Template(template.learn_reading(questions))
    return ModelTeacher(answers(config, ledger), config)


def answers(config: Config, ledger: Ledger, labels: bool = False) -> Answers:
    """The model that teaches, or (`labels`) the one that names steps, with its answers on disk."""
    settings = config.tag
    model, url = settings.model, settings.url
    if labels:
        model, url = settings.label_model or model, settings.label_url or url
    if settings.teacher not in KINDS:
        raise UserError(f"tag.teacher={settings.teacher}: known are {', '.join(KINDS)}")
    if not model:
        raise UserError(f"tag.teacher={settings.teacher} needs tag.model, the name of the model that writes")
    try:
        json.dumps(settings.extra, allow_nan=False)
    except (TypeError, ValueError):
        raise UserError("tag.extra holds what JSON cannot hold, such as a date: put it in quotation marks"
                        ) from None
    labels_over_http = labels and settings.label_url
    if settings.teacher == "local" and not labels_over_http:
        return Answers(Local(model, settings), ledger)
    if not url:
        raise UserError("tag.teacher=openai needs tag.url, such as http://localhost:8000/v1")
    return Answers(Remote(url, model, settings), ledger)


class Template:
    """Rules: see template.py."""
    source = "template teacher, tag names ours"

    def __init__(self, cues: Cues = Cues()):
        self.cues = cues

    def drafts(self, questions: list[Question], attempt: int, tick: Tick) -> list[Draft | None]:
        drafts: list[Draft | None] = []
        for question in questions:
            chain = template.write(question, attempt, self.cues)
            if chain is None:
                drafts.append(None)
            else:
                kind = "rationalised" if question.task.kind == "text" else "reasoned"
                steps = tuple(step.text for step in chain.steps)
                drafts.append(Draft(steps, chain.answer, tuple(chain.tags), kind))
            tick()
        return drafts

    def explain(self, questions: list[Question], tick: Tick) -> list[Draft | None]:
        return [None] * len(questions)


class ModelTeacher:
    """A language model."""

    def __init__(self, model: Answers, config: Config):
        self.model, self.config = model, config
        self.source = f"{config.tag.teacher} teacher {config.tag.model}, tags found in its chains"

    def drafts(self, questions: list[Question], attempt: int, tick: Tick) -> list[Draft]:
        return self._ask(questions, attempt, False, tick)

    def explain(self, questions: list[Question], tick: Tick) -> list[Draft]:
        return self._ask(questions, 0, True, tick)

    def _ask(self, questions: list[Question], attempt: int, with_gold: bool, tick: Tick) -> list[Draft]:
        settings = self.config.tag
        requests = []
        for question in questions:
            seed = seed_of(self.config.seed, "teacher", question.id, attempt, with_gold)
            conversation = messages(question, with_gold, settings.example)
            requests.append(Request(conversation, seed, settings.room, settings.temperature))

        kind = "rationalised" if with_gold else "reasoned"
        drafts = []
        for question, reply in zip(questions, self.model.ask(requests, tick)):
            if reply.refused:
                drafts.append(Draft(kind=kind, fault="refused", detail=reply.refused))
            else:
                drafts.append(draft(reply.text, reply.thought, question, kind, reply.finish == "length"))
        return drafts


# ---------------------------------------------------------------- asking

def messages(question: Question, with_gold: bool, example: bool) -> tuple[tuple[str, str], ...]:
    """The conversation as (role, text). example: begin with a worked example."""
    asked = ("user", prompt(question, with_gold))
    if not example:
        return (asked,)
    example_question, example_answer = EXAMPLE
    example_prompt = ASK.format(question=example_question, language="English", form="a number from 1 to 5")
    return ("user", example_prompt), ("assistant", example_answer), asked


def prompt(question: Question, with_gold: bool) -> str:
    """What a model is asked. with_gold: the prompt holds the user's own answer."""
    task = question.task
    retrieved = [question.profile[position] for position in question.retrieved]
    shown = message(question, retrieved, "chat", with_profile=True, reason=False)
    text = ASK.format(question=shown, language=LANGUAGES.get(task.language, "English"),
                      form=answer_form(task))
    return text + TOLD.format(gold=question.gold) if with_gold else text


def answer_form(task: Task) -> str:
    """What an answer looks like, in words."""
    if task.kind == "choice":
        return f"one of {', '.join(task.labels)}"
    if task.kind == "rating":
        low, high = task.scale
        return f"a number from {low} to {high}"
    return "the text alone"


# ---------------------------------------------------------------- reading an answer

ANSWER = re.compile(r"^[ \t>*#_]*(?:final\s+)?answer(?:\s+is)?[*_]*\s*[:：]\s*(.*)$", re.I | re.M)
NUMBERED = re.compile(r"^\s*(?:[-*•]\s*)?(?:\**\s*(?:step\s*)?\d{1,2}\s*[.):：]|[-*•])\s*\**\s*(.+)$", re.I)
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
SHORT = 3  # words: a shorter piece is a part of the sentence before it


def draft(text: str, thought: str, question: Question, kind: str = "reasoned", cut: bool = False) -> Draft:
    """The Draft that a model's answer is.

    thought: what a thinking model reported apart from its answer. cut: the answer ends where its room did.
    """
    # 1. A thought inside the answer is taken out of it; one that never ends leaves no answer. The last line
    #    of a cut answer is no whole line.
    if cut:
        text = text.rpartition("\n")[0]
    inside, closing_mark, after = text.rpartition("</think>")
    if closing_mark:
        text = after
        thought = thought or inside.replace("<think>", "")
    text, _, unended = text.partition("<think>")
    thought = thought or unended

    # 2. The answer is what follows the last `Answer:`, on its line or on the next one.
    answer_lines = list(ANSWER.finditer(text))
    if not answer_lines:
        if cut:
            return Draft(kind=kind, fault="cut", detail=NO_ROOM)
        return Draft(fault="no answer line", kind=kind)
    last = answer_lines[-1]
    stated = last[1].strip().strip("*_` ").strip()
    if not stated:
        next_line = text[last.end():].strip().split("\n")[0]
        stated = next_line.strip("*_` ")
    if question.task.kind == "text":
        stated = stated.strip('"“”')
    answer = question.task.parse_answer(stated)
    if answer is None:
        return Draft(fault="unreadable answer", kind=kind)

    # 3. The steps are the numbered lines before it, else the sentences of the thought, else those before it.
    before = text[:last.start()]
    steps = numbered(before) or sentences(thought or before)
    return Draft(tuple(steps), answer, (), kind, "" if steps else "no steps")


def numbered(text: str) -> list[str]:
    """The lines of a numbered or bulleted list."""
    matches = [NUMBERED.match(" ".join(line.split())) for line in text.splitlines()]
    steps = [_plain(match[1]) for match in matches if match]
    return [step for step in steps if step]


def sentences(text: str) -> list[str]:
    """Sentences; a very short one belongs to the one before it."""
    parts: list[str] = []
    for part in map(_plain, SENTENCE.split(text)):
        if not part:
            continue
        if parts and len(part.split()) < SHORT and part.isascii():
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def _plain(text: str) -> str:
    """One line without mark-up: angle brackets would be read as tags."""
    return " ".join(re.sub(r"[<>*`#]+", " ", text).split())
