"""What the page shows of a group of rollouts: its question, and each completion with its steps, claims and
terms, as a tree of elements.

A node is a text, or [element, class, child, child, ...]: ["b", "right", "✓ right"]. Elements and classes are
words of this file. Whatever a model, a user or a data file wrote is a text, never one of these. `as_html`
makes HTML of a node, and explorer.js builds the same elements out of its JSON.
"""
from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..lamp.answers import answer_of
from ..lamp.tasks import Question, Task
from ..runs import one_line, printable
from ..tags.facts import Claim, claims_of_steps
from ..tags.schema import MARK, Chain, Fault, parse
from .examples import LONGEST_ANSWER, LONGEST_TEXT, cut, verdict
from .marks import pieces
from .rollouts import Group
from .tables import counted, number

Node = str | list

LONGEST_PROMPT = 20_000  # characters
LONGEST_COMPLETION = 4_000  # characters of a text that is no chain
LONGEST_NAME = 80  # characters of an id or a task's name
MOST_STEPS = 40  # of a chain
TERMS = ("task", "format", "tag", "prmu", "own")
ESCAPED = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Looks:
    """How the page shows what is the run's own. primary: the nine tags; empty allows any. tasks: those that
    the run knows. colour: a tag's number, 0 to 9. title: a task's name in words."""
    primary: list[str]
    tasks: dict[str, Task]
    colour: Callable[[str], int]
    title: Callable[[str], str]


# ---------------------------------------------------------------- text

def as_script_data(value: Any) -> str:
    """JSON that may stand inside a script element: no text in it can end the element, nor begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(ESCAPED)


def as_html(node: Node) -> str:
    """The HTML of a node, for a browser without script."""
    if isinstance(node, str):
        return html.escape(node)
    element, css_class, *children = node
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<{element}{attribute}>{''.join(map(as_html, children))}</{element}>"


def short(text: str) -> str:
    """An id or a name on one line."""
    return one_line(text, LONGEST_NAME)


def words(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text from outside as the page shows it: printable, and cut."""
    return cut(printable(str(value)), longest)


def figure(value: Any, digits: int = 3) -> str:
    """A number of rollouts.jsonl: "0.750", "–" for what is none, "1e+300" for what is out of all bounds."""
    value = number(value)
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


# ---------------------------------------------------------------- what was asked

def asked(group: Group, question: Question | None, looks: Looks) -> list:
    """What was asked: the question itself in view, the prompt in a fold."""
    user = f", user {short(group.user)}" if group.user else ""
    head = ["header", "", ["b", "", printable(looks.title(short(group.task)))],
            ["span", "soft", f"question {short(group.question)}{user}"]]
    text = ["p", "q", words(question.input)] if question else \
        ["p", "soft", "The question's own text is not in data/train.jsonl."]
    gold = ["p", "ends", "Gold ", ["b", "", words(group.gold or "none", LONGEST_ANSWER)]]
    prompt = words(group.prompt, LONGEST_PROMPT)
    fold: Node = ["details", "", ["summary", "", "The prompt, with the profile as the model saw it"],
                  ["pre", "", prompt]] if prompt else ["p", "soft", "The prompt was not kept."]
    return ["div", "card asked", head, text, gold, fold]


# ---------------------------------------------------------------- a completion

def card(row: dict, group: Group, question: Question | None, looks: Looks) -> list:
    """One completion: what it says and what it earned."""
    advantage = number(row.get("advantage"))
    text = row["text"]
    parsed = parse(text, None)
    answer = words(answer_of(text) or "none", LONGEST_ANSWER)
    mark, judged = verdict(looks.tasks.get(group.task), answer_of(text), group.gold)
    if not advantage:
        look, sign = "card", ""
    else:
        look, sign = ("card gain", "+") if advantage > 0 else ("card loss", "−")
    size = "–" if advantage is None else figure(abs(advantage), 2)
    return ["article", look,
            ["header", "", ["b", "", f"Completion {row['n'] + 1}"],
             ["span", "earned", f"reward {figure(row.get('reward'))} · advantage {sign}{size}"]],
            *thought(text, parsed, question, looks),
            ["p", "ends", "Answer ", ["b", "", answer], ["span", f"judged mark {mark}", judged]],
            reward_table(row), ["p", "soft length", length(row)]]


def thought(text: str, parsed: Chain | Fault, question: Question | None, looks: Looks) -> list[Node]:
    """The steps in the colours of their tags with their claims marked; a text that is no chain as it came."""
    fault = parse(text, tuple(looks.primary)) if looks.primary else parsed
    nodes: list[Node] = []
    if isinstance(fault, Fault):
        nodes.append(["p", "mark wrong", f"Malformed: the text {printable(str(fault))}."])
    if isinstance(parsed, Fault):
        return [*nodes, ["pre", "", *coloured(words(text, LONGEST_COMPLETION), looks)]]

    checked = check(parsed, question)
    items = []
    for step, its_claims in zip(parsed.steps[:MOST_STEPS], checked):
        chip = ["span", "chip", words(step.tag, LONGEST_NAME)]
        items.append(["li", f"k{looks.colour(step.tag)}", chip, *marked(words(step.text), its_claims)])
    nodes.append(["ol", "thought", *items])
    if len(parsed.steps) > MOST_STEPS:
        nodes.append(["p", "soft", f"{len(parsed.steps) - MOST_STEPS} more steps"])
    claims = [holds for its_claims in checked for _, holds in its_claims]
    if claims:
        nodes.append(["p", "soft", f"{sum(claims)} of {counted(len(claims), 'checked claim')} "
                                   f"{'is' if sum(claims) == 1 else 'are'} true"])
    return nodes


def check(chain: Chain, question: Question | None) -> list[list[Claim]]:
    """The claims of each step; none where the question is unknown or its profile cannot be read."""
    if question is not None:
        try:
            return claims_of_steps(chain, question)
        except (ValueError, ZeroDivisionError):  # a number of thousands of digits; a profile without scores
            pass
    return [[] for _ in chain.steps]


def marked(text: str, checked: list[Claim]) -> list[Node]:
    """The text with each claim marked where it stands; the claims that stand nowhere in it after it."""
    cut_text = pieces(text, checked)
    last_piece = {piece.claim: i for i, piece in enumerate(cut_text)}
    nodes: list[Node] = []
    for i, piece in enumerate(cut_text):
        if piece.claim is None:
            nodes.append(piece.text)
            continue
        _, holds = checked[piece.claim]
        sign = [["b", "", "✓" if holds else "✗"]] if last_piece[piece.claim] == i else []
        nodes.append(["span", "claim true" if holds else "claim false", piece.text, *sign])
    unplaced = [claim for i, claim in enumerate(checked) if i not in last_piece]
    if unplaced:
        chips = [["span", "claim true" if holds else "claim false", words(claim, LONGEST_ANSWER),
                  ["b", "", "✓" if holds else "✗"]] for claim, holds in unplaced[:MOST_STEPS]]
        nodes.append(["span", "apart", *chips])
    return nodes


def coloured(text: str, looks: Looks) -> list[Node]:
    """A text that is no chain, with its marks such as <conclude> in the colours of their tags."""
    nodes: list[Node] = []
    start = 0
    for mark in MARK.finditer(text):
        tag = mark[2]
        nodes += [text[start:mark.start()], ["span", f"chip k{looks.colour(tag)}", mark[0]]]
        start = mark.end()
    return [node for node in [*nodes, text[start:]] if node]


def has_own_term(row: dict) -> bool:
    """Whether a completion was rewarded for a term of a person's own (grpo.reward)."""
    return isinstance(row.get("terms"), dict) and number(row["terms"].get("own")) is not None


def reward_table(row: dict) -> list:
    """Each term of the reward and its weight. The format has none: it multiplies task, PRMU and own term."""
    terms = row.get("terms") if isinstance(row.get("terms"), dict) else {}
    weights = row.get("weights") if isinstance(row.get("weights"), dict) else {}
    shown = [term for term in TERMS if term != "own" or has_own_term(row)]
    heads = [["th", "", term] for term in ("", *shown)]
    values = [["td", "", figure(terms.get(term))] for term in shown]
    factors = [["td", "", "factor" if term == "format" else weight_words(weights.get(term))]
               for term in shown]
    return ["table", "terms", ["tr", "", *heads], ["tr", "", ["th", "", "term"], *values],
            ["tr", "", ["th", "", "weight"], *factors]]


def weight_words(value: Any) -> str:
    value = number(value)
    return "–" if value is None else f"{value:.4g}"


def length(row: dict) -> str:
    """Example: "84 tokens, ended"."""
    tokens = number(row.get("tokens"))
    count = "unknown" if tokens is None else f"{tokens:,.0f}" if abs(tokens) < 1e9 else f"{tokens:.3g}"
    if not isinstance(row.get("ended"), bool):
        return f"{count} tokens; whether it ended was not kept"
    return f"{count} tokens, {'ended' if row['ended'] else 'cut off at the limit'}"
