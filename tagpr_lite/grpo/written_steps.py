"""Where the steps of a completion stand among its tokens."""
from __future__ import annotations

import re
from dataclasses import dataclass

from ..tags.schema import Step

STEP = re.compile(r"<(?!think>)(\w+)>([^<]*)</\1>")
"""A step with both of its marks."""


@dataclass(frozen=True)
class WrittenStep:
    """A step of a completion, and the tokens that it is written with."""
    step: Step
    start: int
    """Its first token, such as 2."""
    end: int
    """The token behind its last one, such as 31."""


def written_steps(tokenizer, ids: list[int]) -> list[WrittenStep]:
    """The steps of a completion, whole ones alone, in order. A token that is shared with what stands before
    or behind a step counts as the step's."""
    # Characters behind each token: [0, 1, 7, ...]; then the tokens that hold a step's first and last one.
    lengths = [len(tokenizer.decode(ids[:n])) for n in range(len(ids) + 1)]
    steps = []
    for found in STEP.finditer(tokenizer.decode(ids)):
        start = next(n for n in range(len(ids)) if lengths[n + 1] > found.start())
        end = next(n for n in range(len(ids) + 1) if lengths[n] >= found.end())
        steps.append(WrittenStep(Step(found[1], found[2].strip()), start, end))
    return steps
