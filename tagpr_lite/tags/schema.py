"""The form of a tagged chain: parse, validate, render.

    <think>
    <examine_examples>Past scores 5 4 5, mean 4.7.</examine_examples>
    <conclude>So 5.</conclude>
    </think>
    5

The steps are flat, paired and not empty. They stand inside one think block, and the answer follows it. All of
it is plain text, without new tokens. `parse` never raises: any string is a Chain or a named Fault, because a
policy may write anything. The form is our choice.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

from ..lamp.answers import answer_of

# Nine primary tags for chains that were not named by a model. The paper has nine too, but only
# examine_examples and identify_patterns of them are known by name (from secondary sources); the other names
# are ours.
PRIMARY = ("understand_task", "examine_examples", "identify_patterns", "infer_preferences", "analyze_query",
           "compare_options", "apply_preferences", "verify_consistency", "conclude")

NAME = re.compile(r"[a-z]+(?:_[a-z]+)*")
MARK = re.compile(r"<(/?)([a-z]+(?:_[a-z]+)*)>")

FAULTS = {"no_think": "does not begin with <think>",
          "unclosed_think": "has no single </think> after its <think>",
          "no_steps": "has no step between <think> and </think>", "text_outside": "has text between steps",
          "bad_pair": "has a tag that is nested, unclosed or closed by another",
          "empty_step": "has a step without text", "unknown_tag": "uses a tag outside the primary ones",
          "no_answer": "has no answer after </think>"}


@dataclass(frozen=True)
class Step:
    """One part of a reasoning."""
    tag: str
    text: str


@dataclass(frozen=True)
class Chain:
    """A reasoning with its answer."""
    steps: tuple[Step, ...]
    answer: str

    @property
    def tags(self) -> list[str]:
        return [step.tag for step in self.steps]


@dataclass(frozen=True)
class Fault:
    """Why a text is no chain: a name out of FAULTS, and where."""
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return FAULTS[self.name] + (f": {self.detail}" if self.detail else "")


def render(chain: Chain) -> str:
    """The text of a chain. For a valid chain, `parse` of it is the chain again."""
    steps = "".join(f"<{step.tag}>{step.text}</{step.tag}>\n" for step in chain.steps)
    return f"<think>\n{steps}</think>\n{chain.answer}"


def parse(text: str, allowed: tuple[str, ...] | None = PRIMARY) -> Chain | Fault:
    """The chain that `text` is, or its first fault. allowed: the tags that it may use; None: any well-formed
    name."""
    # 1. <think> body </think> answer, with one think block.
    text = text.strip()
    if not text.startswith("<think>"):
        return Fault("no_think")
    body, closing_mark, answer = text[len("<think>"):].partition("</think>")
    if not closing_mark or "<think>" in body or "think>" in answer:
        return Fault("unclosed_think")

    # 2. The body: an opening mark, text, and the closing mark of the same tag, again and again.
    steps = []
    position = 0  # where the last step ended
    while opening := MARK.search(body, position):
        outside = body[position:opening.start()].strip()
        if outside:
            return Fault("text_outside", outside[:40])
        slash, tag = opening.groups()
        closing = None if slash else MARK.search(body, opening.end())
        if closing is None or not closing[1] or closing[2] != tag:
            return Fault("bad_pair", tag)
        if allowed is not None and tag not in allowed:
            return Fault("unknown_tag", tag)
        step_text = body[opening.end():closing.start()].strip()
        if not step_text:
            return Fault("empty_step", tag)
        steps.append(Step(tag, step_text))
        position = closing.end()
    outside = body[position:].strip()
    if outside:
        return Fault("text_outside", outside[:40])
    if not steps:
        return Fault("no_steps")
    answer = answer.strip()
    return Chain(tuple(steps), answer) if answer else Fault("no_answer")


FORMS = ("tagged", "untagged", "answer")


def in_form(text: str, form: str) -> str:
    """A chain's text for the ablations: as it is (tagged), without the marks of its steps (untagged), or its
    answer alone (answer)."""
    if form == "answer":
        return answer_of(text)
    if form == "tagged":
        return text

    def keep_think(mark: re.Match) -> str:
        return mark[0] if mark[2] == "think" else ""

    return MARK.sub(keep_think, text)


def valid_name(tag: str) -> bool:
    """Whether a tag is snake_case, and not the name of the think block."""
    return NAME.fullmatch(tag) is not None and tag != "think"
