"""The `chat` prompt: one short user message that a very small model can follow.

Decisions (ours; the official template is a different one). First a line of facts counted over the whole profile,
because counting is what small models cannot do and copying is what they can; then the retrieved items, one line each;
then the official input string unchanged; then, when the model is to reason, one sentence that asks for it. Budgets
are in tokens of the model: items are cut first, then dropped from the worst retrieved up, the question never.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .tasks import TASKS, Item, Question

REASON = "Think in short tagged steps inside <think></think>, then write only the answer on the last line."
SHOWN_SCORES = 12  # of a long history; mean and mode are still over all of it


# ---------------------------------------------------------------- facts of a profile

def facts(question: Question) -> str:
    """One line counted over the whole profile: scores, tags, style, or what it shares with the candidates."""
    items = question.profile
    if question.task == "LaMP_1":
        return f"Past papers: {len(items)}. " + ". ".join(
            f"Words of {name} in them: {_counts(words) or 'none'}"
            for name, words in zip(("[1]", "[2]"), shared_words(question)))
    if question.task == "LaMP_2":
        return "Past tags: " + _counts(Counter(i.label for i in items).most_common())
    if question.task == "LaMP_3":
        scores, mean, mode = rating_stats(items)
        last = f" (last {SHOWN_SCORES} of {len(scores)})" if len(scores) > SHOWN_SCORES else ""
        return f"Past scores{last}: {' '.join(map(str, scores[-SHOWN_SCORES:]))} (mean {mean:.1f}, most often {mode})"
    name = {"LaMP_4": "headlines", "LaMP_5": "titles", "LaMP_6": "subjects", "LaMP_7": "tweets"}[question.task]
    style = style_stats([i.text if question.task == "LaMP_7" else i.label for i in items])
    shares = ", ".join(f"{key} {share:.0%}" for key, share in style.items()
                       if key != "words" and (share >= 0.5 or key in ("Title Case", "end mark")))
    return f"Past {name}: {style['words']:.0f} words on average, {shares}"


def rating_stats(profile: tuple[Item, ...]) -> tuple[list[int], float, int]:
    """(scores in profile order, their mean, the most frequent one; of equally frequent ones the newest)."""
    scores = [int(i.label) for i in profile]
    return scores, sum(scores) / len(scores), Counter(reversed(scores)).most_common(1)[0][0]


def style_stats(labels: list[str]) -> dict[str, float]:
    """Mean words of the labels, and the share of them (0..1) that shows each habit of style."""
    words = [label.split() for label in labels]
    long = [[w for w in ws if len(w) > 3 and w[0].isalpha()] for ws in words]
    share = lambda hits: sum(map(bool, hits)) / max(len(labels), 1)
    return {
        "words": sum(map(len, words)) / max(len(labels), 1),
        "Title Case": share(len(ws) > 1 and all(w[0].isupper() for w in ws) for ws in long),
        "lower case": share(label.islower() for label in labels),
        "CAPS word": share(any(len(w) > 3 and w.isupper() for w in ws) for ws in words),
        "colon": share(":" in label for label in labels),
        "question": share(label.rstrip().endswith("?") for label in labels),
        "exclamation": share(label.rstrip().endswith("!") for label in labels),
        "end mark": share(label.rstrip().endswith((".", "!", "?")) for label in labels),
    }


def shared_words(question: Question, most: int = 4) -> list[list[tuple[str, int]]]:
    """LaMP_1: for each candidate, its words that occur in past papers with the number of papers, most first."""
    task = TASKS[question.task]
    papers = [set(_words(task.corpus(i))) for i in question.profile]
    found = []
    for title in task.options(question.input):
        counts = Counter({w: sum(w in p for p in papers) for w in sorted(set(_words(title)))})
        found.append([(w, n) for w, n in counts.most_common(most) if n])
    return found


def _words(text: str) -> list[str]:
    """Lower-case words of four letters or more: shorter ones say little about a subject."""
    return re.findall(r"[^\W\d_]{4,}", text.lower())


def _counts(pairs: list[tuple[str, int]]) -> str:
    return ", ".join(f"{word} {n}" for word, n in pairs)


# ---------------------------------------------------------------- the message

def messages(question: Question, *, with_profile: bool, reason: bool, positions: tuple[int, ...] | None = None,
             cut: Callable[[Item], Item] = lambda item: item) -> list[dict[str, str]]:
    """One user message. positions: the items shown (default: all retrieved); cut: shortens an item before it is shown.

    Without the profile neither facts nor items are given: the question alone.
    """
    lines = []
    if with_profile:
        shown = question.retrieved if positions is None else positions
        lines = [facts(question), *(item_line(question.task, cut(question.profile[p])) for p in shown), ""]
    lines.append(question.input)
    if reason:
        lines.append(REASON)
    return [{"role": "user", "content": "\n".join(lines)}]


def item_line(task: str, item: Item) -> str:
    """`- "text" -> label` on one line; for LaMP_1 the title alone, as in the official prompt."""
    text, label = (" ".join(part.split()) for part in (item.text, item.label))
    if task == "LaMP_1":
        return f'- "{label}"'
    return f'- "{text}" -> {label}' if label else f'- "{text}"'


def build(question: Question, tokenizer: Any, *, with_profile: bool, reason: bool, max_tokens: int,
          item_tokens: int) -> tuple[list[int], dict]:
    """(token ids [P] of the chat-templated prompt with its generation prompt, report).

    tokenizer: one of transformers' with a chat template. An item keeps item_tokens tokens, its label first.
    report: items_shown, items_cut (of those shown), items_dropped, over_budget (the question alone exceeds max_tokens).
    """
    was_cut = {}

    def cut(item: Item) -> Item:
        label, used, label_cut = _first_tokens(tokenizer, item.label, item_tokens)
        text, _, text_cut = _first_tokens(tokenizer, item.text, item_tokens - used)
        # LaMP_1 shows the title alone, so that only a cut title is a cut item
        was_cut[item] = label_cut or (text_cut and question.task != "LaMP_1")
        return replace(item, text=text, label=label)

    retrieved = question.retrieved if with_profile else ()
    for shown in range(len(retrieved), -1, -1):
        was_cut.clear()
        chat = messages(question, with_profile=with_profile, reason=reason, positions=retrieved[:shown], cut=cut)
        chat[0]["content"] = _without_special(tokenizer, chat[0]["content"])
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        if len(ids) <= max_tokens:
            break
    return list(ids), {"items_shown": shown, "items_cut": sum(was_cut.values()),
                       "items_dropped": len(retrieved) - shown, "over_budget": len(ids) > max_tokens}


def _first_tokens(tokenizer: Any, text: str, most: int) -> tuple[str, int, bool]:
    """(the first `most` tokens of a text, how many there are, whether some were cut)."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) <= most:
        return text, len(ids), False
    kept = tokenizer.decode(ids[:max(most, 0)]).rstrip("\ufffd ")  # a character cut in half decodes to U+FFFD
    return kept + "…", most, True


def _without_special(tokenizer: Any, text: str) -> str:
    """Special tokens that occur in the data lose their meaning: a review must not be able to end the user's turn."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
