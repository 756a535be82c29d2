"""LaMP's metrics, computed directly: no metric script is downloaded, and only the interval is random, with a
seed.

    choice      accuracy, macro-F1 = mean over classes of 2 TP / (golds + predictions)
    rating      MAE = mean |prediction - gold|, RMSE = sqrt(mean (prediction - gold)^2)
    text        ROUGE-1 and ROUGE-L, each the mean of the answers' F-measures

Decisions. `strict` is what the official evaluation gives for the raw strings. `lenient` reads the answer
first (Task.parse_answer), and an unreadable one counts as the official rule says for unparsable output: a
wrong class, the farther end of the scale, an empty text. Strict accepts numbers outside 1..5 as the official
script does; `nan` and `inf`, which break that script, are unparsable here. The official script prints the
median of an unseeded bootstrap of ROUGE, which moves in the third digit; here ROUGE is the exact mean.
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

RESAMPLES = 1000  # of the bootstrap
RESAMPLES_AT_ONCE = 100  # bounds the memory: [RESAMPLES_AT_ONCE, n] values
PerItem = dict[str, np.ndarray]
"""{metric: its values [n], one for each question} of the metrics that are means over questions."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


class Characters:
    """Tokens of Chinese text for ROUGE: every character is one, and so are Latin words and numbers.

    Ours. The official tokenizer drops everything outside a-z and 0-9, so that a Chinese answer always scores
    0.
    """

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
    _check_ids(golds, preds)
    gold_texts = [golds[name].strip() for name in golds]
    raw_answers = [preds[name].strip() for name in golds]
    read_answers = [task.parse_answer(answer) for answer in raw_answers]
    strict, _ = _metrics(task, gold_texts, raw_answers)
    lenient, per_item = _metrics(task, gold_texts, [answer or "" for answer in read_answers])
    return {"n": len(gold_texts), "strict": strict, "lenient": lenient,
            "parse_failure": read_answers.count(None) / len(read_answers),
            "interval": {name: _bootstrap(values) for name, values in per_item.items()}}


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
    scores = ROUGE[task.language].score(gold, answer)
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
    parsed = task.parse_answer(answer) if answer else None
    if parsed is None:
        return 0.0
    if task.kind == "choice":
        return float(parsed == gold.strip())
    if task.kind == "rating":
        low, high = task.scale
        return 1.0 - abs(float(parsed) - float(gold)) / (high - low)
    return sum(_rouge(gold, parsed, task)) / 2
