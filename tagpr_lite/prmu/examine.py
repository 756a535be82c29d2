"""What PRMU has learned, on users it has never seen: does the user matter, is it calibrated, what else does
it like?

    accuracy     pairs told apart under the user's own embedding, under another user's (shuffled), and under e_0 (generic)
    calibration  the temperature T that fits P(chosen better) = sigmoid(difference / T) on the tuning users, and the expected
                 calibration error before and after, on the held-out ones
    bias         whether longer chains score higher, and whether tags and a closed think block do
    agreement    Kendall's tau-b with the order in which a known hidden rule puts several users' answers
"""
from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import mean, stdev

import numpy as np
from torch import Tensor

from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..runs import seed_of
from ..tags.schema import in_form, render
from ..tags.teachers.cues import Cues
from .model import PRMU
from .pairs import Pair, Rules, asked_by, cases, chain_of, written_for
from .train import encoded

WAYS = ("accuracy", "shuffled", "generic")
BINS = 10  # of confidence
ASKED = 4  # other users whose answers a question's are ranked with


def examine(prmu: PRMU, held: list[Pair], tune: list[Pair], seed: int,
            tick: Callable[[], None] = lambda: None) -> dict:
    """The report on held-out users; everything but the agreement with rules."""
    apart = margins(prmu, held, seed, tick)
    tuned = margins(prmu, tune, seed, tick, ways=("accuracy",))["accuracy"]
    temperature = fit_temperature(tuned)
    only = [n for n, p in enumerate(held) if p.kind == "other_user"]
    report = shares(apart, range(len(held))) | {"heldout_pairs": len(held), "user_only": shares(apart, only)
                                                | {"n": len(only)}}
    for key, of in (("by_kind", lambda p: p.kind), ("by_task", lambda p: p.question.task.name)):
        report[key] = {name: {"n": len(rows)} | shares(apart, rows) for name in sorted({of(p) for p in held})
                       if (rows := [n for n, p in enumerate(held) if of(p) == name])}
    own = apart["accuracy"]
    report["calibration"] = {"temperature": temperature, "ece": ece(own, temperature),
                             "ece_before": ece(own, 1.0)}
    report["bias"] = length_bias(held, own) | format_bias(prmu, held)
    return report


def margins(prmu: PRMU, pairs: list[Pair], seed: int, tick: Callable[[], None], ways: tuple[str, ...] = WAYS
            ) -> dict[str, list[float]]:
    """{way: [pairs] r(chosen) - r(rejected)}: with the own embedding, with that of another held-out user of
    the same task, and with the generic one."""
    rng = random.Random(seed_of(seed, "shuffle"))
    place = {id(pair): n for n, pair in enumerate(pairs)}
    margins_of = {way: [0.0] * len(pairs) for way in ways}
    for case in cases(pairs):
        question = case[0].question
        others = [pair.question for pair in pairs
                  if pair.question.task == question.task and pair.question.user != question.user]
        other = rng.choice(others) if others else None
        completions = encoded(prmu, case)
        for way in ways:
            user = _user_for(way, prmu, question, other)
            chosen, *rejected = prmu.rate(question, completions, user).tolist()
            for pair, score in zip(case, rejected, strict=True):
                margins_of[way][place[id(pair)]] = chosen - score
        tick()
    return margins_of


def _user_for(way: str, prmu: PRMU, question: Question, other: Question | None) -> Tensor:
    """The soft tokens [t, H] that a question is asked with; without another user the generic one stands for
    them."""
    if way == "accuracy":
        return prmu.user(question)
    if way == "shuffled" and other is not None:
        return prmu.user(other)
    return prmu.generic_user()


def shares(apart: dict[str, list[float]], rows) -> dict[str, float]:
    """Of some pairs, the share told apart each way; a draw is half."""
    right = lambda d: 0.5 if d == 0 else float(d > 0)
    return {way: round(mean(right(values[n]) for n in rows), 4) for way,
            values in apart.items()} if len(rows) else {}


# ---------------------------------------------------------------- calibration

def fit_temperature(apart: list[float]) -> float:
    """T of the least mean -log sigmoid(d / T) over differences d, on a grid from 0.05 to 20 in steps of 5%.
    One wrong pair of the median distance is added: a few pairs that are all right would otherwise make every
    score a certainty."""
    if not apart:
        return 1.0
    apart = [*apart, -float(np.median(np.abs(apart)))]
    grid = 0.05 * 1.05 ** np.arange(124)
    cost = np.logaddexp(0, -np.asarray(apart)[None] / grid[:, None]).mean(1)
    return round(float(grid[cost.argmin()]), 4)


def ece(apart: list[float], temperature: float) -> float:
    """Expected calibration error: |confidence - share right| by bins of confidence, sigmoid(|d| / T) in [0.5,
    1]."""
    if not apart:
        return 0.0
    d = np.asarray(apart) / temperature
    sure, right = 1 / (1 + np.exp(-np.abs(d))), (np.asarray(apart) > 0).astype(float)
    bins = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return round(float(sum(abs(sure[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
                           for b in set(bins))), 4)


# ---------------------------------------------------------------- bias

def length_bias(pairs: list[Pair], apart: list[float]) -> dict[str, float]:
    """Spearman's rho of the difference in score with that in length, and the accuracy where the better chain
    is the longer or the shorter one. Pairs are balanced, so a model that looks away from length has rho 0 and
    equal accuracies."""
    from scipy.stats import spearmanr
    longer = np.array([len(p.chosen) - len(p.rejected) for p in pairs])
    right = np.asarray(apart) > 0
    rho = float(spearmanr(longer, apart).statistic) if len(set(longer)) > 1 and len(set(apart)) > 1 else 0.0
    return {"length_rho": round(rho, 4)} | {f"accuracy_{name}": round(float(right[rows].mean()), 4) for name,
                                            rows in (("longer", longer > 0), ("shorter", longer < 0))
                                            if rows.any()}


def format_bias(prmu: PRMU, pairs: list[Pair], most: int = 32) -> dict[str, float]:
    """Share of good chains that score higher than themselves without tags, and than themselves without an end
    of thinking."""
    hits: dict[str, list[float]] = {"over_untagged": [], "over_unclosed": []}
    for case in cases(pairs)[:most]:
        text = case[0].chosen
        forms = [text, in_form(text, "untagged"), text.replace("</think>", "")]
        whole, *others = prmu.rate(case[0].question, [prmu.encode(f) for f in forms]).tolist()
        for name, other in zip(hits, others):
            hits[name].append(float(whole > other))
    return {name: round(mean(h), 4) for name, h in hits.items() if h}


# ---------------------------------------------------------------- agreement with a known rule

def agreement(prmu: PRMU, questions: list[Question], kept: dict[str, str], rules: Rules, cues: Cues,
              seed: int, most: int = 12) -> dict[str, dict]:
    """{task: {"tau", "error", "n"}}: Kendall's tau-b between PRMU's order of several users' chains for a
    question and the task reward of their answers under the asking user's hidden rule; mean and standard error
    over at most `most` questions."""
    from scipy.stats import kendalltau
    taus: dict[str, list[float]] = {}
    for q in questions:
        if q.id not in rules or q.id not in kept or len(taus.get(q.task.name, ())) >= most:
            continue
        answers = {chain_of(kept[q.id]).answer: kept[q.id]}
        others = [o for o in questions if o.task == q.task and o.user != q.user]
        for by in random.Random(seed_of(seed, "tau", q.id)).sample(others, min(ASKED, len(others))):
            other = asked_by(q, by, rules)
            if chain := written_for(other, cues):
                answers.setdefault(chain.answer, render(chain))
        true = [item_reward(q.task, a, q.gold) for a in answers]
        if len(set(true)) > 1:
            scores = prmu.rate(q, [prmu.encode(t) for t in answers.values()]).tolist()
            if not math.isnan(tau := float(kendalltau(scores, true).statistic)):
                taus.setdefault(q.task.name, []).append(tau)
    return {task: {"tau": round(mean(t), 4), "error": round(stdev(t) / len(t)**0.5, 4) if len(t) > 1 else 0.0,
                   "n": len(t)} for task, t in sorted(taus.items())}

