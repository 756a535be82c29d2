"""What a model is writing, read while it is written: tokens become text, text becomes steps and an answer."""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ..lamp.chat import completion_text
from ..tags.schema import MARK, Step

UNFINISHED = "\ufffd"  # what the beginning of a character decodes to
BEGINS_A_MARK = re.compile(r"<(?:/?[a-z_]{0,40})?")
"""What may still become a mark such as "</conclude>"."""


class TextStream:
    """The text of token ids as they come; a character whose bytes are not all there is held back."""

    def __init__(self, tokenizer, ends: set[int]):
        self.tokenizer, self.ends = tokenizer, ends
        self.ids: list[int] = []
        self.text = ""

    def add(self, token: int) -> str:
        """What the token adds to the text: "" for a token that ends it."""
        if token in self.ends:
            return ""
        self.ids.append(token)
        whole = completion_text(self.tokenizer, self.ids, ended=False)
        if whole.endswith(UNFINISHED):
            return ""
        new = whole[len(self.text):]
        self.text = whole
        return new


class Part(NamedTuple):
    """kind: what happened; text: what came.

        open     a step begins; text is its tag
        step     text of the step that was opened last
        close    the step has ended; step is what it says
        loose    text between steps, where none should be
        answer   text of the answer
    """
    kind: str
    text: str = ""
    step: Step | None = None


class ChainReader:
    """Tells the parts of a chain apart while it is written. Anything may be written: what is no chain comes
    out as loose text, or as the answer, and nothing of it is lost but the marks and blanks between steps."""

    def __init__(self) -> None:
        self.waiting = ""  # what may be the beginning of a mark
        self.place = "before"  # before, between, step, answer
        self.tag = ""
        self.words = ""  # of the step so far

    def read(self, text: str) -> Iterator[Part]:
        """The parts that are certain after some more text."""
        text = self.waiting + text
        self.waiting = ""
        while text:
            plain, mark, rest = split_at_mark(text)
            if plain:
                yield from self._plain(plain)
            if not mark:
                self.waiting = rest
                return
            yield from self._mark(mark)
            text = rest

    def end(self) -> Iterator[Part]:
        """What was held back, when nothing more will come."""
        text, self.waiting = self.waiting, ""
        if text:
            yield from self._plain(text)

    def _plain(self, text: str) -> Iterator[Part]:
        if self.place == "step":
            self.words += text
            yield Part("step", text)
        elif self.place == "between":
            if text.strip():
                yield Part("loose", text)
        elif self.place == "answer":
            yield Part("answer", text)
        elif text.strip():  # a system that answers at once opens no thought
            self.place = "answer"
            yield Part("answer", text.lstrip())

    def _mark(self, mark: str) -> Iterator[Part]:
        name = mark.strip("</>")
        closes = mark.startswith("</")
        if mark == "<think>" and self.place == "before":
            self.place = "between"
        elif mark == "</think>" and self.place in ("between", "step"):
            self.place = "answer"
        elif self.place == "between" and not closes:
            self.place, self.tag, self.words = "step", name, ""
            yield Part("open", name)
        elif self.place == "step" and closes and name == self.tag:
            self.place = "between"
            yield Part("close", step=Step(self.tag, self.words.strip()))
        else:
            yield from self._plain(mark)


def split_at_mark(text: str) -> tuple[str, str, str]:
    """(text before the first mark, the mark, what follows). Without a whole mark: (what is certainly none,
    "", what may become one): "a < b <conc" gives ("a < b ", "", "<conc")."""
    position = 0
    while (start := text.find("<", position)) >= 0:
        mark = MARK.match(text, start)
        if mark:
            return text[:start], mark[0], text[mark.end():]
        if BEGINS_A_MARK.fullmatch(text, start):
            return text[:start], "", text[start:]
        position = start + 1
    return text, "", ""
