"""Naming steps: a labelling model gives each step of a chain an open verb_noun name, or one out of a closed
set.

A chain's steps are named in one question, and the answer has one line for each step. An answer that cannot be
read is asked for once more under another seed, with the room of a thinking model. If that fails too, the
chain has no labels and is dropped with that reason.

Decision: the worked example of the open question does not use names like `examine_examples`. Whether such a
name comes up is a result, so the prompt must not suggest it.
"""
from __future__ import annotations

import re
from collections.abc import Callable

from ..runs import seed_of
from .schema import valid_name
from .teachers.chat import Answers, Request

OPEN = """Here are the steps of somebody's reasoning about a user.

{steps}

Name what each step does with a label of a verb and a noun in snake_case, such as `open_letter` or \
`sort_books`. Use the
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
TURNS = 2  # times that a chain is asked about

Labels = tuple[str, ...]
"""The names of a chain's steps, in order."""


def label(model: Answers, chains: list[tuple[str, ...]], seed: int, allowed: tuple[str, ...] = (),
          tick: Callable[[], None] = lambda: None, room: int = 0) -> tuple[list[Labels | None], list[str]]:
    """(the labels of every chain, None where none could be read; why there are none, "" where there are).

    chains: the steps of each. allowed: a closed set of labels; (): any name. tick: called once for each
    chain. room: tokens of an answer in the second turn, if that is more than the labels need.
    """
    labels: list[Labels | None] = [None] * len(chains)
    faults = [""] * len(chains)
    for turn in range(TURNS):
        missing = [index for index, chain_labels in enumerate(labels) if chain_labels is None]
        requests = [_request(chains[index], seed_of(seed, "labels", chains[index], turn), allowed, turn, room)
                    for index in missing]
        replies = model.ask(requests, tick if turn == 0 else lambda: None)
        for index, reply in zip(missing, replies):
            labels[index] = read(reply.text, len(chains[index]), allowed)
            unread = "an answer that names no label for each step"
            faults[index] = "" if labels[index] else reply.refused or unread
    return labels, faults


def _request(steps: tuple[str, ...], seed: int, allowed: tuple[str, ...], turn: int, room: int) -> Request:
    """The question about a chain's steps; the second turn samples at a temperature, and may think."""
    listed = "\n".join(f"{number}. {text}" for number, text in enumerate(steps, 1))
    if allowed:
        messages = (("user", CLOSED.format(steps=listed, labels=", ".join(allowed))),)
    else:
        example_steps, example_labels = EXAMPLE
        messages = (("user", OPEN.format(steps=example_steps)), ("assistant", example_labels),
                    ("user", OPEN.format(steps=listed)))
    needed = 24 + 16 * len(steps)
    if turn == 0:
        return Request(messages, seed, needed, temperature=0.0)
    return Request(messages, seed, max(needed, room), temperature=0.7)


# ---------------------------------------------------------------- reading an answer

def read(text: str, steps: int, allowed: tuple[str, ...] = ()) -> Labels | None:
    """The labels of a labeller's answer, in the order of the steps; None unless every step has a valid one.

    steps: how many steps the chain has.
    """
    label_of_step = read_lines(text.rpartition("</think>")[2])
    labels = tuple(label_of_step.get(number, "") for number in range(1, steps + 1))
    return labels if all(_is_valid(name, allowed) for name in labels) else None


def _is_valid(name: str, allowed: tuple[str, ...]) -> bool:
    """In a closed set: whether it has the name. Open: a verb and a noun that are not the worked example's."""
    if allowed:
        return name in allowed
    copied = read_lines(EXAMPLE[1]).values()
    return valid_name(name) and "_" in name and name not in copied


def read_lines(text: str) -> dict[int, str]:
    """{number of a step: the name beside it}. Lines such as `Step 2: Look back` count; of two lines about one
    step the first does."""
    label_of_step: dict[int, str] = {}
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            name = re.sub(r"[ -]", "_", match[2].lower())
            label_of_step.setdefault(int(match[1]), name)
    return label_of_step
