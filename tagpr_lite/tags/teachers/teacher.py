"""Who writes the chains: `template` (rules, offline), `openai` (an endpoint) or `local` (a model loaded
here).

All give the same thing, a Draft: steps in plain words, the answer, and, from the template alone, a tag for
every step. A teacher sees what the policy will see (the facts line, the retrieved items, the question) and
not the gold answer. `explain` is the exception: it is told the answer of a question that it never solved, and
its drafts are marked `rationalised`. The template's titles are of that kind too, since rules cannot write
one.

Decision: a model is asked for a few numbered steps and an answer line, because a small student must write
them again. A thinking model's own thought is used where it wrote no steps beside it.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...config import Config, UserError
from ...lamp.prompts import message
from ...lamp.tasks import Question
from ...runs import seed_of
from . import template
from .chat import Answers, Ledger, Local, Remote, Request
from .cues import Cues, learn

KINDS = ("template", "openai", "local")
LANGUAGES = {"en": "English", "zh": "Chinese"}
ASK = """{question}

Work out this user's answer from the history above: what they did before decides it, not what most people would do.
First write 3 to 6 numbered steps in {language}, one short line each. Each step says one thing: a fact of the history
(quote it exactly), a pattern in it, what the question shows, or what follows. Then write a last line:
Answer: {form}"""
TOLD = """

(The user's own answer was: {gold}. Reason towards it from the history as if you did not know it, and never mention that
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
FORMS = {"choice": lambda task: f"one of {', '.join(task.labels)}", "text": lambda task: "the text alone",
         "rating": lambda task: "a number from {} to {}".format(*task.scale)}


@dataclass(frozen=True)
class Draft:
    """steps: plain text; tags: of every step, or () where they are still to be found; fault: why it is no
    chain."""
    steps: tuple[str, ...] = ()
    answer: str = ""
    tags: tuple[str, ...] = ()
    kind: str = "reasoned"
    fault: str = ""


class Teacher(Protocol):
    """source: what the report says of it. None where a teacher has no further attempt."""
    source: str

    def drafts(self, questions: list[Question], attempt: int,
               tick: Callable[[], None]) -> list[Draft | None]: ...

    def explain(self, questions: list[Question], tick: Callable[[], None]) -> list[Draft | None]: ...


def teacher(config: Config, ledger: Ledger, questions: list[Question]) -> Teacher:
    """The teacher of the settings; the template reads texts by what these questions' histories say of their
    words."""
    if config.tag.teacher == "template":
        return Template(learn(questions))
    return Speaker(answers(config, ledger), config)


def answers(config: Config, ledger: Ledger, labels: bool = False) -> Answers:
    """The model that teaches, or the one that labels, with its answers on disk."""
    t = config.tag
    model, url = (t.label_model or t.model, t.label_url or t.url) if labels else (t.model, t.url)
    if t.teacher not in KINDS:
        raise UserError(f"tag.teacher={t.teacher}: known are {', '.join(KINDS)}")
    if not model:
        raise UserError(f"tag.teacher={t.teacher} needs tag.model, the name of the model that writes")
    if t.teacher == "local" and not (labels and t.label_url):
        return Answers(Local(model, t), ledger)
    if not url:
        raise UserError("tag.teacher=openai needs tag.url, such as http://localhost:8000/v1")
    return Answers(Remote(url, model, t), ledger)


class Template:
    """Rules: see template.py."""
    source = "template teacher, tag names ours"

    def __init__(self, cues: Cues = Cues()):
        self.cues = cues

    def drafts(self, questions, attempt, tick):
        found = []
        for q in questions:
            chain = template.write(q, attempt, self.cues)
            kind = "rationalised" if q.task.kind == "text" else "reasoned"
            found.append(chain
                         and Draft(tuple(s.text for s in chain.steps), chain.answer, tuple(chain.tags), kind))
            tick()
        return found

    def explain(self, questions, tick):
        return [None] * len(questions)


class Speaker:
    """A language model."""

    def __init__(self, model: Answers, config: Config):
        self.model, self.config = model, config
        self.source = f"{config.tag.teacher} teacher {config.tag.model}, tags found in its chains"

    def drafts(self, questions, attempt, tick):
        return self._ask(questions, attempt, False, tick)

    def explain(self, questions, tick):
        return self._ask(questions, 0, True, tick)

    def _ask(self, questions: list[Question], attempt: int, told: bool, tick) -> list[Draft]:
        t = self.config.tag
        requests = [Request(messages(q, told, t.example),
                            seed_of(self.config.seed, "teacher", q.id, attempt, told), t.room, t.temperature)
                    for q in questions]
        return [draft(r.text, r.thought, q, "rationalised" if told else "reasoned") if not r.refused
                else Draft(fault=f"refused: {r.refused}") for q,
                r in zip(questions, self.model.ask(requests, tick))]


def messages(question: Question, told: bool, example: bool) -> tuple[tuple[str, str], ...]:
    """The conversation so far: with `example`, a question that was answered as we want it comes first."""
    worked = (("user", ASK.format(question=EXAMPLE[0], language="English", form="a number from 1 to 5")),
              ("assistant", EXAMPLE[1]))
    return (*(worked if example else ()), ("user", prompt(question, told)))


def prompt(question: Question, told: bool) -> str:
    """What a model is asked; `told`: with the answer."""
    task = question.task
    shown = message(question, [question.profile[i] for i in question.retrieved], "chat", with_profile=True,
                    reason=False)
    asked = ASK.format(question=shown, language=LANGUAGES.get(task.language, "English"),
                       form=FORMS[task.kind](task))
    return asked + (TOLD.format(gold=question.gold) if told else "")


# ---------------------------------------------------------------- reading an answer

ANSWER = re.compile(r"^[\s>*#_]*(?:final\s+)?answer\s*(?:is)?\s*[:：]\s*(.*)$", re.I | re.M)
NUMBERED = re.compile(r"^\s*(?:[-*•]\s*)?(?:\**\s*(?:step\s*)?\d{1,2}\s*[.):：]|[-*•])\s*\**\s*(.+)$", re.I)
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
SHORT = 3  # words: a shorter piece is a part of the sentence before it


def draft(text: str, thought: str, question: Question, kind: str = "reasoned") -> Draft:
    """The Draft that a model's answer is. The answer is what follows the last `Answer:`."""
    inside, closed, after = text.rpartition("</think>")
    if closed:
        text, thought = after, thought or inside.replace("<think>", "")
    found = list(ANSWER.finditer(text))
    if not found:
        return Draft(fault="no answer line", kind=kind)
    said = found[-1][1].strip().strip("*_` ").strip() or text[found[-1].end():].strip().split("\n")[0].strip("*_` ")
    answer = question.task.parse_answer(said.strip('"“”') if question.task.kind == "text" else said)
    if answer is None:
        return Draft(fault="unreadable answer", kind=kind)
    steps = numbered(text[:found[-1].start()]) or sentences(thought or text[:found[-1].start()])
    return Draft(tuple(steps), answer, (), kind, "" if steps else "no steps")


def numbered(text: str) -> list[str]:
    """The lines of a numbered or bulleted list."""
    return [_plain(m[1]) for m in map(NUMBERED.match, text.splitlines()) if m and _plain(m[1])]


def sentences(text: str) -> list[str]:
    """Sentences; a very short one belongs to the one before it."""
    found: list[str] = []
    for part in map(_plain, SENTENCE.split(text)):
        if part and found and len(part.split()) < SHORT and part.isascii():
            found[-1] += f" {part}"
        elif part:
            found.append(part)
    return found


def _plain(text: str) -> str:
    """One line without mark-up: angle brackets would be read as tags."""
    return " ".join(re.sub(r"[<>*`#]+", " ", text).split())
