"""The seven LaMP tasks: what a question is, what it holds, and how an answer is read.

Decisions. A task is told from the question's own words (the official instruction is part of the input string) and
the outputs file's `task` field must agree; folder names say nothing. The instruction strings, label order, retrieval
queries and corpora are those of the official code, except that candidate titles are found by their delimiters, since
a title may itself hold quotation marks. `parse_answer` is ours: official LaMP compares the raw string.
"""
from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ..config import UserError


@dataclass(frozen=True)
class Item:
    """A profile item: `text` is the input side (review, article, abstract), `label` the output side (score, title)."""
    id: str
    text: str
    label: str
    date: str = ""


@dataclass(frozen=True)
class Question:
    id: str
    task: str
    user: str
    input: str
    gold: str | None
    profile: tuple[Item, ...]
    """Oldest first when every item is dated, otherwise in file order."""
    retrieved: tuple[int, ...] = ()
    """Positions in `profile`, best first."""


MOVIE_TAGS = ("sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy", "classic",
              "psychology", "fantasy", "romance", "thought-provoking", "social commentary", "violence", "true story")

INSTRUCTION = {
    "LaMP_1": "For an author who has written the paper with the title",
    "LaMP_2": "Which tag does this movie relate to among the following tags? Just answer with the tag name without "
              "further explanation. tags: [" + ", ".join(MOVIE_TAGS) + "] description:",
    "LaMP_3": "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 "
              "without further explanation. review:",
    "LaMP_4": "Generate a headline for the following article:",
    "LaMP_5": "Generate a title for the following abstract of a paper:",
    "LaMP_6": "Generate a subject for the following email:",
    "LaMP_7": "Paraphrase the following tweet without any explanation before or after it:",
}
# What an input must begin with. LaMP_2 stops before its tag list, which a subset may shorten.
PREFIX = {**INSTRUCTION, "LaMP_2": INSTRUCTION["LaMP_2"].split(" tags:")[0]}

CITATION = re.compile(re.escape(PREFIX["LaMP_1"]) + r' "(.*?)", which reference is related\?.*?'
                      r'\[1\]: "(.*)" \[2\]: "(.*)"\s*$', re.DOTALL)


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    kind: str
    """choice, rating or text."""
    labels: tuple[str, ...]
    metric: str
    lower_is_better: bool = False

    def payload(self, input: str) -> str:
        """The question's own content without the instruction; for LaMP_1 the author's own title."""
        if self.name == "LaMP_1":
            found = CITATION.match(input)
            return found.group(1) if found else input
        if self.name == "LaMP_2":
            return input.partition("description:")[2].strip() or input
        return input.removeprefix(INSTRUCTION[self.name]).strip()

    def options(self, input: str) -> list[str]:
        """LaMP_1: the two candidate titles in order. LaMP_2: the tags the input lists. Otherwise []."""
        if self.name == "LaMP_1":
            found = CITATION.match(input)
            return [found.group(2), found.group(3)] if found else []
        if self.name == "LaMP_2":
            found = re.search(r"tags: \[(.*?)\] description:", input)
            return [t.strip() for t in found.group(1).split(",")] if found else list(self.labels)
        return []

    def query(self, input: str) -> str:
        """What profile items are ranked against: for LaMP_1 the two candidates (officially not the own title)."""
        return " ".join(self.options(input)) if self.name == "LaMP_1" else self.payload(input)

    def corpus(self, item: Item) -> str:
        """What a profile item is ranked by. The official code indexes no tag, score or e-mail subject."""
        with_title = self.name in ("LaMP_1", "LaMP_4", "LaMP_5")
        return f"{item.label} {item.text}" if with_title else item.text

    def parse_answer(self, text: str) -> str | None:
        """The answer that `text` gives, in the gold's form, or None when it gives none."""
        if self.name == "LaMP_1":
            return _parse_reference(_after_marker(text))
        if self.name == "LaMP_2":
            return _parse_label(_after_marker(text), self.labels)
        if self.kind == "rating":
            return _parse_rating(_after_marker(text))
        return _parse_line(text)


TASKS: dict[str, Task] = {t.name: t for t in (
    Task("LaMP_1", "citation identification", "choice", ("[1]", "[2]"), "accuracy"),
    Task("LaMP_2", "movie tagging", "choice", MOVIE_TAGS, "accuracy"),
    Task("LaMP_3", "product rating", "rating", ("1", "2", "3", "4", "5"), "mae", lower_is_better=True),
    Task("LaMP_4", "news headline", "text", (), "rouge1"),
    Task("LaMP_5", "paper title", "text", (), "rouge1"),
    Task("LaMP_6", "e-mail subject", "text", (), "rouge1"),
    Task("LaMP_7", "tweet paraphrase", "text", (), "rouge1"),
)}


def task_name(word: Any) -> str:
    """LaMP_3 for `LaMP_3`, `LaMP-3` or `lamp_3`; the official files and scripts differ in the dash."""
    found = re.fullmatch(r"lamp[-_ ]?([1-7])", str(word).strip(), re.IGNORECASE)
    if not found:
        raise UserError(f"unknown task '{str(word)[:40]}'; known: {', '.join(TASKS)}")
    return f"LaMP_{found.group(1)}"


def detect(input: str, task_field: str | None = None) -> str:
    """Which task a question is, from the words it begins with; `task_field` (of the outputs file) must agree."""
    said = task_name(task_field) if task_field else None
    seen = next((name for name, prefix in PREFIX.items() if input.startswith(prefix)), None)
    start = repr(input[:50])
    if seen is None and input.startswith("Which category does this article relate to"):
        raise UserError("this is the old LaMP-2 (news categories); fetch movie tagging from LaMP_2/new instead")
    if seen is None:
        raise UserError(f"no LaMP task has an input that begins {start}")
    if said and said != seen:
        raise UserError(f"the outputs file says {said} but an input begins {start}, which is {seen}")
    return seen


# ---------------------------------------------------------------- reading answers

# "Answer: x", "**Score**: x", "the tag is x": what follows the last marker is the answer.
MARKER = re.compile(r"\b(?:answer|score|rating|tag)\b[\s*_\"']*(?:is\b|:|=)", re.IGNORECASE)
NUMBER_WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}


def _after_marker(text: str) -> str:
    tail = text[max((m.end() for m in MARKER.finditer(text)), default=0):]
    return tail if tail.strip() else text


def _parse_reference(text: str) -> str | None:
    """[1] or [2]. Naming both decides for the first only when it opens the text ("[1], because [2] is ...")."""
    if re.search(r"\[[12]\]\s*(?:or|and|/)\s*\[[12]\]", text):
        return None
    bracketed = re.findall(r"\[([12])\]", text)
    if len(set(bracketed)) == 1 or re.match(r"\W*[12]\]", text):
        return f"[{bracketed[0]}]" if bracketed else None
    bare = re.match(r"\W*(?:(?:option|reference|number)\W*)?([12])(?![0-9])(?!\.[0-9])", text, re.IGNORECASE)
    return f"[{bare.group(1)}]" if bare and not bracketed else None


def _parse_label(text: str, labels: tuple[str, ...]) -> str | None:
    """The label named earliest, the longest of those that begin there; case, hyphens and spaces do not matter."""
    found = []
    for label in labels:
        spelled = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]", label)))
        if hit := re.search(rf"(?<!\w){spelled}(?!\w)", text, re.IGNORECASE):
            found.append((hit.start(), -len(label), label))
    return min(found)[2] if found else None


def _parse_rating(text: str) -> str | None:
    """A number in 1..5, rounded to a whole star; scales ("1 to 5", "/5") are not scores, nor is "7/10"."""
    text = re.sub(r"1, 2, 3, 4,? or 5|\b1 ?(?:to|-|–) ?5\b", " ", text)
    text = re.sub(r"[0-9.]+ *(?:/|out of) *(?!5(?![0-9]))[0-9]+|(?:/|out of) *5(?![0-9])", " ", text)
    for number in re.findall(r"(?<![\w.-])[0-9]{1,9}(?:\.[0-9]{1,9})?(?![0-9])", text):
        if 1 <= float(number) <= 5:
            return str(int(float(number) + 0.5))
    word = re.match(r"\W*(one|two|three|four|five)\b(?:\W*$|\s+(?:stars?|out)\b)", text, re.IGNORECASE)
    return NUMBER_WORDS[word.group(1).lower()] if word else None


def _parse_line(text: str) -> str | None:
    """The first line that holds anything, without a "Title:" before it and quotation marks around it."""
    for line in text.splitlines():
        line = re.sub(r"^[\s*_#]*(?:(?:the|new|paraphrased?) )*(?:title|headline|subject|tweet|paraphrase|answer)"
                      r"\s*[*_]*:[*_]*", "", line, flags=re.IGNORECASE).strip()
        while len(line) > 1 and (line[0] + line[-1] in ('""', "''", "“”", "**", "__", "``")):
            line = line[1:-1].strip()
        if line:
            return line
    return None


# ---------------------------------------------------------------- rows of data/*.jsonl

def to_row(question: Question) -> dict:
    return asdict(question)


def from_row(row: dict) -> Question:
    """The inverse of `to_row` after a trip through JSON."""
    try:
        items = tuple(Item(**item) for item in row["profile"])
        question = Question(**{**row, "profile": items, "retrieved": tuple(row.get("retrieved", ()))})
        words = [question.id, question.user, question.input]
        words += [word for i in items for word in (i.id, i.text, i.label, i.date)]
        good = all(isinstance(w, str) for w in words) and isinstance(question.gold, str | None)
        good = good and question.task in TASKS
        good = good and all(type(p) is int and 0 <= p < len(items) for p in question.retrieved)
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        name = row.get("id", "?") if isinstance(row, dict) else "?"
        raise UserError(f"question row {str(name)[:40]!r} has not the shape that step 1 writes; run step 1 again")
    return question
