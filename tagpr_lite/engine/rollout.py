"""Sampling for many prompts: in parts that fit into memory. What is sampled does not depend on the parts."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from torch import nn

from .memory import BatchLimit
from .prefix import SharedPrefix
from .sample import Sample, sample

Forward = Callable[[list[int]], SharedPrefix]
"""A prompt's ids [P] -> the prompt, forwarded."""


def prompt_limit(name: str, planned: int, folder: Path | None = None) -> BatchLimit:
    """Prompts decoded together. name: the setting that `planned` comes from."""
    return BatchLimit(name, "prompts", max(1, planned), folder,
                      "lower prompt.max_tokens or grpo.completion, or use a smaller model")


def sample_parts(model: nn.Module, prompts: list[list[int]], group: int, room: int, ends: set[int], *,
                 together: BatchLimit, temperature: float = 1.0, seeds: list[list[int]] | None = None,
                 forward: Forward | None = None
                 ) -> Iterator[tuple[slice, list[list[Sample]], list[SharedPrefix] | None]]:
    """(which prompts, their completions [part][G], their forwarded prompts [part]), part after part in the
    order of the prompts, for callers that write down what they have.

    together: prompts decoded together; half as many, and the part again, when memory runs out. forward: how a
    prompt is forwarded where it is wanted for more than sampling; None: as sampling does it, and None comes
    back. The rest is as in engine.sample.
    """
    def of_part(part: slice) -> tuple[list[list[Sample]], list[SharedPrefix] | None]:
        forwarded = [forward(ids) for ids in prompts[part]] if forward is not None else None
        rows = sample(model, prompts[part], group, room, ends, temperature=temperature,
                      seeds=None if seeds is None else seeds[part], prefixes=forwarded)
        return rows, forwarded

    for part, (rows, forwarded) in together.parts(len(prompts), of_part):
        yield part, rows, forwarded


def sample_all(model: nn.Module, prompts: list[list[int]], group: int, room: int, ends: set[int], *,
               together: BatchLimit, temperature: float = 1.0,
               seeds: list[list[int]] | None = None) -> list[list[Sample]]:
    """[B][G] completions of all prompts, `together` prompts at a time; see sample_parts."""
    completions: list[list[Sample]] = []
    for _, rows, _ in sample_parts(model, prompts, group, room, ends, together=together,
                                   temperature=temperature, seeds=seeds):
        completions += rows
    return completions
