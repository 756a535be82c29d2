"""The form of a tagged chain: parse, validate, render.

    <think>
    <examine_examples>Past scores 5 4 5, mean 4.7.</examine_examples>
    <conclude>So 5.</conclude>
    </think>
    5

Flat, paired, non-empty steps inside one think block, then the answer; plain text, no new vocabulary. `parse`
never raises: any string is a Chain or a named Fault, because what a policy writes is data. The form is our
choice.
"""
from __future__ import annotations

import re
from dataclasses import dataclass

# Nine primary tags for the time before data exists. Ours: the paper has nine, of which only examine_examples
# and identify_patterns are known by name (from secondary sources).
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
    tag: str
    text: str


@dataclass(frozen=True)
class Chain:
    steps: tuple[Step, ...]
    answer: str

    @property
    def tags(self) -> list[str]:
        return [s.tag for s in self.steps]


@dataclass(frozen=True)
class Fault:
    """Why a text is no chain: a name out of FAULTS, and where."""
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return FAULTS[self.name] + (f": {self.detail}" if self.detail else "")


def render(chain: Chain) -> str:
    """The text of a chain. For a valid chain, `parse` of it is the chain again."""
    steps = "".join(f"<{s.tag}>{s.text}</{s.tag}>\n" for s in chain.steps)
    return f"<think>\n{steps}</think>\n{chain.answer}"


def parse(text: str, allowed: tuple[str, ...] | None = PRIMARY) -> Chain | Fault:
    """The chain that `text` is, or the first fault found. `allowed` None accepts every well-formed tag
    name."""
    text = text.strip()
    if not text.startswith("<think>"):
        return Fault("no_think")
    body, closed, answer = text[len("<think>"):].partition("</think>")
    if not closed or "<think>" in body or "think>" in answer:
        return Fault("unclosed_think")
    steps, at = [], 0
    while mark := MARK.search(body, at):
        if body[at:mark.start()].strip():
            return Fault("text_outside", body[at:mark.start()].strip()[:40])
        slash, tag = mark.groups()
        end = None if slash else MARK.search(body, mark.end())
        if end is None or not end[1] or end[2] != tag:
            return Fault("bad_pair", tag)
        if allowed is not None and tag not in allowed:
            return Fault("unknown_tag", tag)
        inner = body[mark.end():end.start()].strip()
        if not inner:
            return Fault("empty_step", tag)
        steps.append(Step(tag, inner))
        at = end.end()
    if body[at:].strip():
        return Fault("text_outside", body[at:].strip()[:40])
    if not steps:
        return Fault("no_steps")
    answer = answer.strip()
    return Chain(tuple(steps), answer) if answer else Fault("no_answer")


FORMS = ("tagged", "untagged", "answer")


def in_form(text: str, form: str) -> str:
    """A chain's text as it is (tagged), with its tags taken off (untagged), or its answer alone: for
    ablations."""
    if form == "answer":
        return answer_of(text)
    return text if form == "tagged" else MARK.sub(lambda m: m[0] if m[2] == "think" else "", text)


def answer_of(text: str) -> str:
    """What stands after the last </think>; a text without one is all answer (a system that does not
    reason)."""
    return text.rpartition("</think>")[2].strip() if "</think>" in text else ("" if "<think>" in text
                                                                              else text.strip())


def valid_name(tag: str) -> bool:
    return NAME.fullmatch(tag) is not None and tag != "think"
