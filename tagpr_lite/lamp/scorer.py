"""LaMP's metrics, computed directly: no metric script is downloaded, nothing is random but the seeded
interval.

Decisions. `strict` is what the official evaluation gives for the raw strings; `lenient` reads the answer
first (tasks.parse_answer), and an unreadable one counts as the official rule says for unparsable output: a
wrong class, the farther end of the scale, an empty text. Strict accepts numbers outside 1..5 as the official
script does; `nan` and `inf`, which break it, are unparsable here. ROUGE is the exact mean of the per-item
F-measures; the official script prints the median of an unseeded bootstrap, which moves in the third digit.
Macro-F1 divides by all classes of the task, also those absent from the golds.
"""
from __future__ import annotations

import math

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from ..config import UserError
from ..runs import seed_of
from .tasks import Task
from .words import length_units

RESAMPLES = 1000
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Characters:
    """Tokens of Chinese text for ROUGE: every character of its own, Latin words and numbers whole. Ours: the
    official tokenizer drops everything outside a-z and 0-9, so that a Chinese answer always scores 0."""

    def tokenize(self, text: str) -> list[str]:
        return length_units(text.lower(), "zh")


ROUGES = ["rouge1", "rougeL"]
ROUGE = {"en": RougeScorer(ROUGES, use_stemmer=False),  # built once: rewards are computed by the thousand
         "zh": RougeScorer(ROUGES, tokenizer=Characters())}


def score(task: Task, golds: dict[str, str], preds: dict[str, str]) -> dict:
    """{"n", "strict": {metric: value}, "lenient": {...}, "parse_failure": share, "interval": {metric: [lo,
    hi]}}.

    The interval is a 95% bootstrap of the lenient per-item means: accuracy, mae, or rouge1 and rougeL.
    """
    _same_ids(golds, preds)
    gold = [golds[i].strip() for i in golds]
    raw = [preds[i].strip() for i in golds]
    read = [task.parse_answer(p) for p in raw]
    strict = _metrics(task, gold, raw)[0]
    lenient, items = _metrics(task, gold, [a or "" for a in read])
    return {"n": len(gold), "strict": strict, "lenient": lenient,
            "parse_failure": sum(a is None for a in read) / len(read),
            "interval": {name: _bootstrap(values) for name, values in items.items()}}


def _metrics(task: Task, gold: list[str], pred: list[str]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The task's metrics, and the per-item values [n] of those that are means over items."""
    if task.kind == "choice":
        classes = {label: c for c, label in enumerate(task.labels)}
        g, p = (np.array([classes.get(a, -1) for a in answers]) for answers in (gold, pred))
        items = {"accuracy": (g == p).astype(float)}
        return {"accuracy": items["accuracy"].mean().item(), "f1": _macro_f1(g, p, len(classes))}, items
    if task.kind == "rating":
        error = np.array([abs(_rating(p, float(g), *task.scale) - float(g)) for g, p in zip(gold, pred)])
        return {"mae": error.mean().item(), "rmse": math.sqrt((error ** 2).mean())}, {"mae": error}
    pairs = np.array([_rouge(g, p, task) for g, p in zip(gold, pred)])
    items = {"rouge1": pairs[:, 0], "rougeL": pairs[:, 1]}
    return {name: values.mean().item() for name, values in items.items()}, items


def _macro_f1(gold: np.ndarray, pred: np.ndarray, classes: int) -> float:
    """Mean over classes of F1 = 2 TP / (golds + predictions); 0 for a class that never occurs."""
    total = 0.0
    for c in range(classes):
        occurs = (gold == c).sum() + (pred == c).sum()
        total += 2 * ((gold == c) & (pred == c)).sum() / occurs if occurs else 0.0
    return float(total / classes)


def _rating(answer: str, gold: float, low: int = 1, high: int = 5) -> float:
    """The number in `answer`; when there is none, the end of the scale farther from the gold (the high one
    when both are as far).

    As a 32-bit float, which the official metric keeps ratings as ("4.7" is 4.69999981); what does not fit in
    one is no number.
    """
    try:
        value = float(answer)
    except ValueError:
        value = math.nan
    if abs(value) <= FLOAT32_MAX:  # false for nan
        return float(np.float32(value))
    return float(low if gold - low > high - gold else high)


def _rouge(gold: str, pred: str, task: Task) -> tuple[float, float]:
    """F-measures of ROUGE-1 and ROUGE-L, in 0..1."""
    got = ROUGE[task.language].score(gold, pred)
    return got["rouge1"].fmeasure, got["rougeL"].fmeasure


def _bootstrap(values: np.ndarray) -> list[float]:
    """[2.5%, 97.5%] of the means of seeded resamples of the per-item values [n]."""
    rng = np.random.default_rng(seed_of("bootstrap", len(values)))
    blocks = [values[rng.integers(len(values), size=(RESAMPLES // 10, len(values)))].mean(1)
              for _ in range(10)]
    return np.percentile(np.concatenate(blocks), [2.5, 97.5]).tolist()


def _same_ids(golds: dict, preds: dict) -> None:
    """The official rule: exactly the gold ids, no more and no fewer."""
    if not golds:
        raise UserError("there is nothing to score: no golds")
    for what, ids in (("missing", set(golds) - set(preds)), ("unknown", set(preds) - set(golds))):
        if ids:
            names = ", ".join(sorted(ids)[:3]) + (", ..." if len(ids) > 3 else "")
            raise UserError(f"{len(ids)} {what} ids in the predictions: {names}; they must be exactly the gold ids")


def item_reward(task: Task, answer: str | None, gold: str) -> float:
    """The task reward of one answer, in 0..1: a hit, 1 - |y - y'| / (high - low), or the mean of ROUGE-1 and
    ROUGE-L (our choice).

    An answer that cannot be read earns 0, never a partial reward.
    """
    parsed = task.parse_answer(answer) if answer else None
    if parsed is None:
        return 0.0
    if task.kind == "choice":
        return float(parsed == gold.strip())
    if task.kind == "rating":
        low, high = task.scale
        return 1.0 - abs(float(parsed) - float(gold)) / (high - low)
    return sum(_rouge(gold, parsed, task)) / 2
