"""A chain in a terminal, while it is written: its tags in colour, its checked claims marked true or false."""
from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import TextIO

from ..lamp.tasks import Question
from ..runs import one_line, printable
from ..tags.facts import claims_of_steps
from ..tags.schema import Chain, Step
from .stream import ChainReader, Part

TAG, TRUE, FALSE, FAINT, ANSWER = "36", "32", "31", "2", "1"  # codes of ANSI colours: cyan, green, red ...
INDENT = " " * 4


def has_colour(stream: TextIO) -> bool:
    """Whether a stream shows colours: a terminal, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


class ChainView:
    """Shows the parts of a chain as they come. write: takes text for the terminal, as it is."""

    def __init__(self, question: Question, write: Callable[[str], object], colour: bool):
        self.question, self.write, self.colour = question, write, colour
        self.reader = ChainReader()
        self.steps: list[Step] = []
        self.answer = ""

    def add(self, text: str) -> None:
        for part in self.reader.read(text):
            self._show(part)

    def end(self) -> None:
        for part in self.reader.end():
            self._show(part)
        self.write("\n")

    def _show(self, part: Part) -> None:
        # What a model writes may hold anything, and nothing of it steers the terminal.
        text = printable(part.text).replace("\n", " ")
        if part.kind == "open":
            self.write(f"{self._in(TAG, text)}  ")
        elif part.kind == "step":
            self.write(text)
        elif part.kind == "loose":
            self.write(self._in(FALSE, text))
        elif part.kind == "close":
            self.steps.append(part.step)
            self.write("\n" + "".join(self._marked(*claim) for claim in self._claims_of_last_step()))
        elif part.kind == "answer":
            new = text if self.answer else text.lstrip()
            if new and not self.answer:
                self.write("-> ")
            self.answer += new
            self.write(self._in(ANSWER, new))

    def _claims_of_last_step(self) -> list[tuple[str, bool]]:
        """(claim, whether it holds). A quotation that a longer claim repeats is not shown beside it."""
        claims = claims_of_steps(Chain(tuple(self.steps), ""), self.question)[-1]
        return [(claim, holds) for claim, holds in claims
                if not any(claim != longer and claim in longer and holds == of_longer
                           for longer, of_longer in claims)]

    def _marked(self, claim: str, holds: bool) -> str:
        """A line such as `    true   "It broke" got 2`."""
        word = self._in(TRUE, "true ") if holds else self._in(FALSE, "false")
        return textwrap.indent(f"{word}  {self._in(FAINT, one_line(claim, 100))}\n", INDENT)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text
