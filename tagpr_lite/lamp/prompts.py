"""Prompts, by name: `chat` (ours, for reasoning models) and `official` (as the benchmark folds items into the
input).

    chat        Past scores: 5 1 5 (mean 3.7, usually 4)        facts, counted over the whole profile
                - "bad thing" -> 1                              the retrieved items, one a line
                - "also good" -> 5

                What is the score of the following review ...   the input string, unchanged
                Think in short tagged steps ...                 when the model is to reason

    official    1 is the score for "bad thing" , and 5 is the score for "also good" . What is the score ...

Decisions. `chat` is one short user message that a very small model can follow. Its facts are counted for the
model, because small models cannot count but can copy. `official` has the wording of LaMP's own prompts, in
which LaMP_1 reads strangely: its items stand between the word "title" and the title (LaMP issue #8 asks
whether that is meant). Budgets are in tokens of the model and are ours in both styles: items are cut first,
then dropped, the worst retrieved first; the question never is. The report says what was cut.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from ..config import Prompt, UserError
from .chat import prompt_ids
from .style import length_unit, style_of
from .tasks import Item, Question, Task
from .words import content_tokens

REASON = "Think in short tagged steps inside <think></think>, then write only the answer on the last line."
SHOWN_SCORES = 12  # of a long history; the mean is still over all of it


# ---------------------------------------------------------------- facts of a profile

def facts(question: Question) -> str:
    """One line counted over the whole profile: scores, tags, style, or what it shares with the candidates."""
    facts_of_form = {"citation": _citation_facts, "choice": _choice_facts, "rating": _rating_facts,
                     "text": _text_facts}
    return facts_of_form[question.task.form](question)


def _citation_facts(question: Question) -> str:
    """Example: "Past papers: 2. Words of [1] in them: graph 2, neural 1. Words of [2] in them: none"."""
    sentences = [f"Past papers: {len(question.profile)}"]
    for name, words in zip(("[1]", "[2]"), shared_words(question)):
        sentences.append(f"Words of {name} in them: {_counted(words) or 'none'}")
    return ". ".join(sentences)


def _choice_facts(question: Question) -> str:
    """Example: "Past tags: comedy 2, action 1"."""
    counts = Counter(item.label for item in question.profile)
    return f"Past {question.task.noun}: " + _counted(counts.most_common())


def _rating_facts(question: Question) -> str:
    """Example: "Past scores: 5 1 5 (mean 3.7, usually 4)"."""
    scores, mean, usual = rating_stats(question.profile)
    last = f" (last {SHOWN_SCORES} of {len(scores)})" if len(scores) > SHOWN_SCORES else ""
    shown = " ".join(map(str, scores[-SHOWN_SCORES:]))
    return f"Past {question.task.noun}{last}: {shown} (mean {mean:.1f}, usually {usual})"


def _text_facts(question: Question) -> str:
    """Example: "Past headlines: 4 words on average, Title Case 100%, end mark 0%". A habit is named when half
    of the texts show it or more; case and end mark always are."""
    style = style_of(question)
    shares = []
    for habit, share in style.items():
        if habit == "words":
            continue
        if share >= 0.5 or habit in ("Title Case", "end mark"):
            shares.append(f"{habit} {share:.0%}")
    length = f"{style['words']:.0f} {length_unit(question)} on average"
    return f"Past {question.task.noun}: {length}, {', '.join(shares)}"


def rating_stats(profile: tuple[Item, ...]) -> tuple[list[int], float, int]:
    """(scores in profile order, their mean, the mean rounded half up).

    A small model rounds badly, but it can copy the rounded mean.
    """
    scores = [int(item.label) for item in profile]
    mean = sum(scores) / len(scores)
    return scores, mean, int(mean + 0.5)


def shared_words(question: Question, most: int = 4) -> list[list[tuple[str, int]]]:
    """For each candidate of a citation, its words that occur in past papers with the number of papers, most
    first.

    Example: [[("graph", 2), ("neural", 1)], []]. Words that occur equally often are in alphabetical order.
    """
    task = question.task
    papers = [set(content_tokens(task.corpus(item).lower())) for item in question.profile]
    shared = []
    for title in task.options(question.input):
        counts: Counter[str] = Counter()
        for word in sorted(set(content_tokens(title.lower()))):
            counts[word] = sum(word in paper for paper in papers)
        shared.append([(word, count) for word, count in counts.most_common(most) if count])
    return shared


def _counted(pairs: list[tuple[str, int]]) -> str:
    """Example: "graph 2, neural 1"."""
    return ", ".join(f"{word} {count}" for word, count in pairs)


# ---------------------------------------------------------------- the message

STYLES = ("chat", "official")
# {task: (the form of one item, what stands between the items and the input)}
OFFICIAL = {
    "LaMP_1": ('"{label}"', ""),
    "LaMP_2": ('the tag for the movie: "{text}" is "{label}" ', ". "),
    "LaMP_3": ('{label} is the score for "{text}" ', ". "),
    "LaMP_4": ('"{label}" is the title for "{text}" ', ". "),
    "LaMP_5": ('"{label}" is a title for "{text}" ', ". Following the given patterns "),
    "LaMP_6": ('"{label}" is the title for "{text}" ', ". "),
    "LaMP_7": ('"{text}" ', " are written by a person. Following the given patterns "),
    "": ('"{label}" is the answer for "{text}" ', ". "),  # ours, for tasks that the benchmark has not
}


def message(question: Question, items: list[Item], style: str, *, with_profile: bool, reason: bool) -> str:
    """The user's message, with `items` of the profile shown. Without the profile: the question alone.

    style: chat or official. reason: whether the model is asked to think before it answers.
    """
    if style not in STYLES:
        raise UserError(f"unknown prompt.style '{style}'; known: {', '.join(STYLES)}")
    if not with_profile:
        text = question.input
    elif style == "chat":
        item_lines = [item_line(question.task, item) for item in items]
        text = "\n".join([facts(question), *item_lines, "", question.input])
    else:
        text = folded_input(question, items)
    return f"{text}\n{REASON}" if reason else text


def folded_input(question: Question, items: list[Item]) -> str:
    """The input with items folded in as LaMP's prompts do it, spaces before commas included."""
    if not items:
        return question.input
    item_form, link = OFFICIAL.get(question.task.lamp_name, OFFICIAL[""])
    listed = ", and ".join(item_form.format(text=item.text, label=item.label) for item in items)
    if question.task.form == "citation":  # after the first "title" of the input
        before, title, after = question.input.partition("title")
        return f"{before}{title}, and {listed}{after}" if title else f"{listed} {question.input}"
    return f"{listed}{link}{question.input}"


def item_line(task: Task, item: Item) -> str:
    """`- "text" -> label` on one line; of a citation the title alone."""
    text = " ".join(item.text.split())
    label = " ".join(item.label.split())
    if not task.shows_item_text:
        return f'- "{label}"'
    return f'- "{text}" -> {label}' if label else f'- "{text}"'


@dataclass(frozen=True)
class PromptReport:
    """What the budget did to a prompt."""
    tokens: int
    """Of the prompt, P."""
    items_shown: int
    items_cut: int
    """Of the items shown, those that lost tokens."""
    items_dropped: int
    over_budget: bool
    """Whether the question alone is longer than the budget."""


def build(question: Question, tokenizer: Any, settings: Prompt, *, with_profile: bool, reason: bool
          ) -> tuple[list[int], PromptReport]:
    """(token ids [P] of the chat-templated prompt with its generation prompt, what was cut).

    tokenizer: one of transformers' with a chat template. An item keeps settings.item_tokens tokens, its label
    first. Items are cut first; then the worst retrieved are dropped, one by one, until the prompt fits
    settings.max_tokens.
    """
    # All retrieved items are tried first, then all but the worst, and so on down to none.
    retrieved = question.retrieved if with_profile else ()
    for shown in range(len(retrieved), -1, -1):
        cut_items = [_cut_item(question.profile[place], question.task, tokenizer, settings.item_tokens)
                     for place in retrieved[:shown]]
        items = [item for item, _ in cut_items]
        text = message(question, items, settings.style, with_profile=with_profile, reason=reason)
        ids = prompt_ids(tokenizer, text, reason)
        if len(ids) <= settings.max_tokens:
            break
    report = PromptReport(tokens=len(ids), items_shown=shown,
                          items_cut=sum(was_cut for _, was_cut in cut_items),
                          items_dropped=len(retrieved) - shown, over_budget=len(ids) > settings.max_tokens)
    return ids, report


def _cut_item(item: Item, task: Task, tokenizer: Any, most: int) -> tuple[Item, bool]:
    """(the item in at most `most` tokens, whether something that is shown was cut)."""
    label, used, label_cut = _first_tokens(tokenizer, item.label, most)
    text, _, text_cut = _first_tokens(tokenizer, item.text, most - used)
    return replace(item, text=text, label=label), label_cut or (text_cut and task.shows_item_text)


def _first_tokens(tokenizer: Any, text: str, most: int) -> tuple[str, int, bool]:
    """(the first `most` tokens of a text, how many there are, whether some were cut)."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) <= most:
        return text, len(ids), False
    kept = tokenizer.decode(ids[:max(most, 0)]).rstrip("\ufffd ")  # a character cut in half decodes to U+FFFD
    return kept + "…", most, True
