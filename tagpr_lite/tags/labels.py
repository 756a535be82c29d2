"""Naming steps: a labelling model gives each step of a chain an open verb_noun name, or one out of a closed
set.

A chain's steps are named in one question, and the answer is one line a step. What cannot be read is asked for
once more under another seed; then the chain has no labels, and chains.py drops it with that reason.

Decision: the worked example of the open question has no names that we hope for. Whether `examine_examples`
comes up is a finding, and a prompt that mentions it would make it one of ours.
"""
from __future__ import annotations

import re
from collections.abc import Callable

from ..runs import seed_of
from .schema import valid_name
from .teachers.chat import Answers, Request

OPEN = """Here are the steps of somebody's reasoning about a user.

{steps}

Name what each step does with a label of a verb and a noun in snake_case, such as `open_letter` or `sort_books`. Use the
same label for steps that do the same thing. Answer with one line a step and nothing else:
1: label"""
CLOSED = """Here are the steps of somebody's reasoning about a user.

{steps}

Say which of these labels fits each step best: {labels}.
Answer with one line a step and nothing else:
1: label"""
EXAMPLE = ("1. An envelope lies on the desk, so I cut it.\n2. The shelf is a mess, I put the books in order.",
           "1: open_letter\n2: sort_books")
LINE = re.compile(r"^\W*(?:step\s*)?(\d{1,2})\W+([A-Za-z]+(?:[_ -][A-Za-z]+){0,4})\W*$", re.I)
TURNS = 2


def label(model: Answers, chains: list[tuple[str, ...]], seed: int, allowed: tuple[str, ...] = (),
          tick: Callable[[], None] = lambda: None) -> list[tuple[str, ...] | None]:
    """Labels of the steps of every chain, None where none could be read; `allowed`: out of these alone."""
    found: list[tuple[str, ...] | None] = [None] * len(chains)
    for turn in range(TURNS):
        missing = [i for i, f in enumerate(found) if f is None]
        replies = model.ask([_request(chains[i], seed_of(seed, "labels", chains[i], turn), allowed, turn)
                             for i in missing], tick if not turn else lambda: None)
        for i, reply in zip(missing, replies):
            found[i] = read(reply.text, len(chains[i]), allowed)
    return found


def _request(steps: tuple[str, ...], seed: int, allowed: tuple[str, ...], turn: int) -> Request:
    listed = "\n".join(f"{n}. {text}" for n, text in enumerate(steps, 1))
    if allowed:
        turns = (("user", CLOSED.format(steps=listed, labels=", ".join(allowed))),)
    else:
        turns = (("user", OPEN.format(steps=EXAMPLE[0])), ("assistant", EXAMPLE[1]),
                 ("user", OPEN.format(steps=listed)))
    return Request(turns, seed, 24 + 16 * len(steps), 0.0 if not turn else 0.7)


def read(text: str, steps: int, allowed: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """The labels of a labeller's answer, in the order of the steps; None unless every step has one."""
    named = read_lines(text.rpartition("</think>")[2])
    labels = tuple(named.get(n, "") for n in range(1, steps + 1))
    copied = read_lines(EXAMPLE[1]).values()
    good = (lambda name: name in allowed) if allowed else (lambda name: valid_name(name) and "_" in name
                                                           and name not in copied)
    return labels if all(map(good, labels)) else None


def read_lines(text: str) -> dict[int, str]:
    """{number of a step: the name beside it}, of the lines that have that form."""
    named: dict[int, str] = {}
    for match in map(LINE.match, text.splitlines()):
        if match:
            named.setdefault(int(match[1]), re.sub(r"[ -]", "_", match[2].lower()))
    return named
