"""LaMP's metrics, computed directly: no metric script is downloaded, and only the interval is random, with a
seed.

    choice      accuracy, macro-F1 = mean over classes of 2 TP / (golds + predictions)
    rating      MAE = mean |prediction - gold|, RMSE = sqrt(mean (prediction - gold)^2)
    text        ROUGE-1 and ROUGE-L, each the mean of the answers' F-measures

Decisions. `strict` is what the official evaluation gives for the raw strings. `lenient` reads the answer
first (Task.parse_answer), and an unreadable one counts as the official rule says for unparsable output: a
wrong class, the farther end of the scale, an empty text. Free texts are read alike on both sides, so that a
gold is its own best answer: "Review:" is taken off a headline only where it is taken off the gold too.

ROUGE counts the official words (a-z and 0-9) in the official tasks alone. A person's own tasks and our
benchmark's further ones count the words of any script (words.py); of a text in ASCII they are the same.

Strict accepts numbers outside 1..5 as the official script does; `nan` and `inf`, which break that script, are
unparsable here. The official script prints the median of an unseeded bootstrap of ROUGE, which moves in the
third digit; here ROUGE is the exact mean. Macro-F1 divides by all classes of the task, also those absent from
the golds.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..config import UserError
from ..runs import seed_of
from .answers import answer_of, line, whole
from .tasks import OFFICIAL, Task
from .values import as_label
from .words import words_of

RESAMPLES = 1000  # of the bootstrap
RESAMPLES_AT_ONCE = 100  # bounds the memory: [RESAMPLES_AT_ONCE, n] values
PerItem = dict[str, np.ndarray]
"""{metric: its values [n], one for each question} of the metrics that are means over questions."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


class AnyScript:
    """A tokenizer of rouge_score that keeps the words of every script. The official one drops what is not a-z
    or 0-9, so that a perfect answer in Russian, Hindi or Chinese would score 0."""

    def tokenize(self, text: str) -> list[str]:
        return words_of(text)


@cache  # rewards are computed by the thousand
def rouge_scorer(is_official: bool) -> tuple[Any, Any]:
    """(tokenizer, scorer) of rouge_score, for the official words or for those of any script. Imported here,
    because the library takes seconds to import and most commands score nothing."""
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer
    tokenizer = DefaultTokenizer(use_stemmer=False) if is_official else AnyScript()
    return tokenizer, RougeScorer(["rouge1", "rougeL"], tokenizer=tokenizer)


def words_counted(task: Task, text: str) -> list[str]:
    """The words of a text that ROUGE counts."""
    tokenizer, _ = rouge_scorer(task.name in OFFICIAL)
    return tokenizer.tokenize(text)


def score(task: Task, golds: dict[str, str], preds: dict[str, str]) -> dict:
    """{"n", "strict": {metric: value}, "lenient": {...}, "parse_failure": share, "interval": {metric: [lo,
    hi]}}.

    The interval is a 95% bootstrap of the lenient per-item means: accuracy, mae, or rouge1 and rougeL.
    """
    _check_ids(golds, preds)
    gold_texts = [as_label(golds[name], task.labels) for name in golds]
    raw_answers = [preds[name].strip() for name in golds]
    strict, _ = _metrics(task, gold_texts, raw_answers)
    pairs = [read_alike(task, gold, answer) for gold, answer in zip(gold_texts, raw_answers)]
    read_golds, read_answers = map(list, zip(*pairs))
    lenient, per_item = _metrics(task, read_golds, [answer or "" for answer in read_answers])
    return {"n": len(gold_texts), "strict": strict, "lenient": lenient,
            "parse_failure": read_answers.count(None) / len(read_answers),
            "interval": {name: _bootstrap(values) for name, values in per_item.items()}}


def read_alike(task: Task, gold: str, answer: str) -> tuple[str, str | None]:
    """(gold, answer) as lenient scores compare them; None for an answer that cannot be read.

    Of a free text both lose a lead-in such as "Title:", and the answer's first line counts where the gold has
    one line, all of it where the gold has several. Where no word of the gold would be left, both stay.
    """
    if task.kind != "text":
        return gold, task.parse_answer(answer)
    without_thought = answer_of if answer_of(gold) else str.strip  # a gold may write about <think>
    gold, answer = without_thought(gold), without_thought(answer)
    read = whole if len(gold.splitlines()) > 1 else line
    read_gold = _until_stable(read, gold)
    if not words_counted(task, read_gold or ""):
        return gold, answer or None
    return read_gold, _until_stable(read, answer)


def _until_stable(read: Callable[[str], str | None], text: str) -> str | None:
    """Reads until there is nothing more to take off, so that an answer that was read before is read alike."""
    content = read(text)
    while content and content != text:
        text, content = content, read(content)
    return content


def _metrics(task: Task, golds: list[str], answers: list[str]) -> tuple[dict[str, float], PerItem]:
    """(the task's metrics, their per-item values)."""
    if task.kind == "choice":
        return _choice_metrics(task, golds, answers)
    if task.kind == "rating":
        return _rating_metrics(task, golds, answers)
    f_measures = np.array([_rouge(gold, answer, task) for gold, answer in zip(golds, answers)])  # [n, 2]
    per_item = {"rouge1": f_measures[:, 0], "rougeL": f_measures[:, 1]}
    return {name: values.mean().item() for name, values in per_item.items()}, per_item


def _choice_metrics(task: Task, golds: list[str], answers: list[str]) -> tuple[dict[str, float], PerItem]:
    index_of = {label: index for index, label in enumerate(task.labels)}
    gold_classes = np.array([index_of.get(gold, -1) for gold in golds])  # [n]
    answer_classes = np.array([index_of.get(answer, -1) for answer in answers])  # [n], -1: no label
    hits = (gold_classes == answer_classes).astype(float)
    f1 = _macro_f1(gold_classes, answer_classes, len(index_of))
    return {"accuracy": hits.mean().item(), "f1": f1}, {"accuracy": hits}


def _rating_metrics(task: Task, golds: list[str], answers: list[str]) -> tuple[dict[str, float], PerItem]:
    low, high = task.scale
    errors = np.array([abs(_rating(answer, float(gold), low, high) - float(gold))
                       for gold, answer in zip(golds, answers)])  # [n]
    return {"mae": errors.mean().item(), "rmse": math.sqrt((errors ** 2).mean())}, {"mae": errors}


def _macro_f1(golds: np.ndarray, answers: np.ndarray, classes: int) -> float:
    """Mean over classes of F1 = 2 TP / (golds + predictions); 0 for a class that never occurs. golds,
    answers: class indices [n]."""
    total = 0.0
    for index in range(classes):
        is_gold, is_answer = golds == index, answers == index
        occurrences = is_gold.sum() + is_answer.sum()
        if occurrences:
            total += 2 * (is_gold & is_answer).sum() / occurrences
    return float(total / classes)


def _rating(answer: str, gold: float, low: int = 1, high: int = 5) -> float:
    """The number in `answer`; when there is none, the end of the scale farther from the gold (the high one
    when both are as far).

    As a 32-bit float, as in the official metric: "4.7" is 4.69999981. What does not fit in one is no number.
    """
    try:
        value = float(answer)
    except ValueError:
        value = math.nan
    if abs(value) <= FLOAT32_MAX:  # false for nan
        return float(np.float32(value))
    return float(low if gold - low > high - gold else high)


def _rouge(gold: str, answer: str, task: Task) -> tuple[float, float]:
    """F-measures of ROUGE-1 and ROUGE-L, in 0..1."""
    _, scorer = rouge_scorer(task.name in OFFICIAL)
    scores = scorer.score(gold, answer)
    return scores["rouge1"].fmeasure, scores["rougeL"].fmeasure


def _bootstrap(values: np.ndarray) -> list[float]:
    """[2.5%, 97.5%] of the means of seeded resamples of the per-item values [n]."""
    rng = np.random.default_rng(seed_of("bootstrap", len(values)))
    means = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        drawn = rng.integers(len(values), size=(RESAMPLES_AT_ONCE, len(values)))
        means.append(values[drawn].mean(1))
    return np.percentile(np.concatenate(means), [2.5, 97.5]).tolist()


def _check_ids(golds: dict, preds: dict) -> None:
    """The official rule: exactly the gold ids, no more and no fewer."""
    if not golds:
        raise UserError("there is nothing to score: no golds")
    for fault, ids in (("missing", set(golds) - set(preds)), ("unknown", set(preds) - set(golds))):
        if ids:
            first_ids = ", ".join(sorted(ids)[:3]) + (", ..." if len(ids) > 3 else "")
            raise UserError(f"{len(ids)} {fault} ids in the predictions: {first_ids}; they must be exactly "
                            "the gold ids")


def item_reward(task: Task, answer: str | None, gold: str) -> float:
    """The task reward of one answer, in 0..1 (our choice). y: the gold, y': the answer.

    choice: 1 if y' = y, else 0. rating: 1 - |y' - y| / (high - low). text: (ROUGE-1 + ROUGE-L) / 2. An answer
    that cannot be read earns 0, never a partial reward.
    """
    gold, read_answer = read_alike(task, gold, answer or "")
    if read_answer is None:
        return 0.0
    if task.kind == "choice":
        return float(read_answer == gold.strip())
    if task.kind == "rating":
        low, high = task.scale
        return 1.0 - abs(float(read_answer) - float(gold)) / (high - low)
    return sum(_rouge(gold, read_answer, task)) / 2
