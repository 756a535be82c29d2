"""What PRMU has learned, measured on users it has never seen.

    accuracy     share of pairs told apart under the user's own embedding, under another user's (shuffled),
                 and under e_0 (generic)
    calibration  the temperature T that fits P(chosen better) = sigmoid(margin / T) on the tuning users, and
                 the expected calibration error on the held-out users with T and with T = 1
    bias         whether longer chains score higher, and whether tags and a closed think block do
    agreement    Kendall's tau-b with the order in which a known hidden rule puts several users' answers

A pair's margin is r(chosen) - r(rejected). The pair is told apart where its margin is above 0.
"""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from operator import attrgetter
from statistics import mean, stdev

import numpy as np
from torch import Tensor

from ..lamp.sampling import group_by
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..runs import seed_of
from ..runs.processes import gathered, part_of
from ..tags.schema import in_form, render
from ..tags.teachers.cues import Cues
from .model import PRMU
from .other_users import asked_by, template_chain
from .pair import Pair, Rules, chain_of
from .selection import cases
from .train import encode_case

CONDITIONS = ("accuracy", "shuffled", "generic")  # whose embedding: the user's own, another user's, e_0
BINS = 10  # of confidence
OTHER_USERS = 4  # whose chains are ranked with a question's own one
# Questions of a task whose chains are ranked, and cases whose forms are compared: of what the report asks it
# asks no more than the training does.
MOST_ORDERED, MOST_REWRITTEN = 6, 16
Margins = dict[str, list[float]]
"""{condition: [pairs] margins}, such as {"accuracy": [1.2, -0.1], "shuffled": [0.3, 0.2], ...}."""


def examine(prmu: PRMU, held_out_pairs: list[Pair], tune_pairs: list[Pair], seed: int,
            tick: Callable[[], None] = lambda: None) -> dict:
    """The report on held-out users: everything but the agreement with rules."""
    margins = score_margins(prmu, held_out_pairs, seed, tick)
    tune_margins = score_margins(prmu, tune_pairs, seed, tick, conditions=("accuracy",))["accuracy"]
    temperature = fit_temperature(tune_margins)

    # Accuracies over all pairs, and over those whose chains differ by nothing but the user.
    by_kind = _positions(held_out_pairs, attrgetter("kind"))
    by_task = _positions(held_out_pairs, attrgetter("question.task.name"))
    user_only = by_kind.get("other_user", [])
    report = accuracies(margins, range(len(held_out_pairs)))
    report["heldout_pairs"] = len(held_out_pairs)
    report["user_only"] = accuracies(margins, user_only) | {"n": len(user_only)}
    for key, groups in (("by_kind", by_kind), ("by_task", by_task)):
        report[key] = {name: {"n": len(groups[name])} | accuracies(margins, groups[name])
                       for name in sorted(groups)}

    own_margins = margins["accuracy"]
    report["calibration"] = {"temperature": temperature, "ece": ece(own_margins, temperature),
                             "ece_before": ece(own_margins, 1.0)}
    report["bias"] = length_bias(held_out_pairs, own_margins) | format_bias(prmu, held_out_pairs)
    return report


def _positions(pairs: list[Pair], key: Callable[[Pair], str]) -> dict[str, list[int]]:
    """{key: positions of its pairs}, such as {"other_user": [0, 2], "contradiction": [1]}."""
    return group_by(range(len(pairs)), lambda position: key(pairs[position]))


# ---------------------------------------------------------------- accuracy

def score_margins(prmu: PRMU, pairs: list[Pair], seed: int, tick: Callable[[], None],
                  conditions: tuple[str, ...] = CONDITIONS) -> Margins:
    """The margin of every pair under every condition. The other user of "shuffled" is drawn among the pairs
    of the same task."""
    rng = random.Random(seed_of(seed, "shuffle"))
    position_of = {id(pair): position for position, pair in enumerate(pairs)}
    with_others = []  # [(case, a question of another user)]
    for case in cases(pairs):
        question = case[0].question
        other_questions = [pair.question for pair in pairs if pair.question.task == question.task
                           and pair.question.user != question.user]
        with_others.append((case, rng.choice(other_questions) if other_questions else None))

    # Several processes divide the cases. Of each: [(condition, position of the pair, margin)].
    found: list[list[tuple[str, int, float]]] = []
    for case, other_question in part_of(with_others):
        question, of_case = case[0].question, []
        completions = encode_case(prmu, case)  # the chosen chain, then the rejected ones
        for condition in conditions:
            user = _user_under(condition, prmu, question, other_question)
            chosen, *rejected = prmu.rate(question, completions, user).tolist()
            for pair, score in zip(case, rejected, strict=True):
                of_case.append((condition, position_of[id(pair)], chosen - score))
        found.append(of_case)
        tick()

    margins: Margins = {condition: [0.0] * len(pairs) for condition in conditions}
    for of_case in gathered(found):
        for condition, position, margin in of_case:
            margins[condition][position] = margin
    return margins


def _user_under(condition: str, prmu: PRMU, question: Question, other_question: Question | None) -> Tensor:
    """The soft tokens [t, H] that a question is scored with. Where there is no other user, "shuffled" takes
    the generic one."""
    if condition == "accuracy":
        return prmu.user(question)
    if condition == "shuffled" and other_question is not None:
        return prmu.user(other_question)
    return prmu.generic_user()


def accuracies(margins: Margins, positions: Iterable[int]) -> dict[str, float]:
    """{condition: share of the pairs at these positions that are told apart}; {} without pairs."""
    positions = list(positions)
    if not positions:
        return {}
    return {condition: round(mean(_correctness(values[position]) for position in positions), 4)
            for condition, values in margins.items()}


def _correctness(margin: float) -> float:
    """1 for a pair told apart, 0 for a wrong one, 0.5 for a draw."""
    if margin == 0:
        return 0.5
    return float(margin > 0)


# ---------------------------------------------------------------- calibration

def fit_temperature(margins: list[float]) -> float:
    """The T that minimises mean -log sigmoid(margin / T), on a grid from 0.05 to 20 in steps of 5%.

    One wrong pair with the median distance is added. Without it, a few pairs that are all right would give
    the smallest T, and every probability would be near 1.
    """
    if not margins:
        return 1.0
    wrong_pair = -float(np.median(np.abs(margins)))
    smoothed = np.asarray([*margins, wrong_pair])  # [N]
    grid = 0.05 * 1.05 ** np.arange(124)  # [124] temperatures
    losses = np.logaddexp(0, -smoothed[None] / grid[:, None]).mean(1)  # [124, N] -> [124]
    return round(float(grid[losses.argmin()]), 4)


def ece(margins: list[float], temperature: float) -> float:
    """Expected calibration error: sum over bins of (share of pairs in it) * |mean confidence - accuracy|.

    The confidence of a pair is sigmoid(|margin| / T), in [0.5, 1]; the bins divide this range evenly.
    """
    if not margins:
        return 0.0
    scaled = np.asarray(margins) / temperature  # [N]
    confidence = 1 / (1 + np.exp(-np.abs(scaled)))  # [N]
    correct = (np.asarray(margins) > 0).astype(float)  # [N]
    bin_of = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)  # [N], 0 to 9
    error = 0.0
    for index in set(bin_of):
        inside = bin_of == index
        error += abs(confidence[inside].mean() - correct[inside].mean()) * inside.mean()
    return round(float(error), 4)


# ---------------------------------------------------------------- bias

def length_bias(pairs: list[Pair], margins: list[float]) -> dict[str, float]:
    """Spearman's rho of the margin with the difference in length, and the accuracy where the chosen chain is
    the longer or the shorter one.

    Pairs are balanced by length: a model that ignores length has rho 0 and equal accuracies.
    """
    from scipy.stats import spearmanr
    length_difference = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs])  # characters
    is_right = np.asarray(margins) > 0
    rho = 0.0  # of constants, where it is not defined
    if len(set(length_difference)) > 1 and len(set(margins)) > 1:
        rho = float(spearmanr(length_difference, margins).statistic)
    bias = {"length_rho": round(rho, 4)}
    for name, selected in (("longer", length_difference > 0), ("shorter", length_difference < 0)):
        if selected.any():
            bias[f"accuracy_{name}"] = round(float(is_right[selected].mean()), 4)
    return bias


def format_bias(prmu: PRMU, pairs: list[Pair], limit: int = MOST_REWRITTEN) -> dict[str, float]:
    """Share of good chains that score higher than the same chain without tags ("over_untagged"), and than the
    same chain without </think> ("over_unclosed")."""
    wins: dict[str, list[float]] = {"over_untagged": [], "over_unclosed": []}
    for case in cases(pairs)[:limit]:
        text = case[0].chosen
        forms = [text, in_form(text, "untagged"), text.replace("</think>", "")]
        completions = [prmu.encode(form) for form in forms]
        whole_score, *other_scores = prmu.rate(case[0].question, completions).tolist()
        for name, other_score in zip(wins, other_scores, strict=True):
            wins[name].append(float(whole_score > other_score))
    return {name: round(mean(values), 4) for name, values in wins.items() if values}


# ---------------------------------------------------------------- agreement with a known rule

def agreement(prmu: PRMU, questions: list[Question], kept: dict[str, str], rules: Rules, cues: Cues,
              seed: int, limit: int = MOST_ORDERED) -> dict[str, dict]:
    """{task: {"tau", "error", "n"}}: mean and standard error of Kendall's tau-b over n <= `limit` questions.

    tau-b compares two orders of several users' chains for one question: by PRMU's score, and by the task
    reward of their answers under the asking user's hidden rule. Questions whose answers all have the same
    reward are left out.
    """
    taus_of_task: dict[str, list[float]] = {}
    for question in questions:
        is_full = len(taus_of_task.get(question.task.name, ())) >= limit
        if question.id not in rules or question.id not in kept or is_full:
            continue
        texts = _texts_by_answer(question, questions, kept, rules, cues, seed)
        tau = _kendall_tau(prmu, question, texts)
        if tau is not None:
            taus_of_task.setdefault(question.task.name, []).append(tau)
    return {task: {"tau": round(mean(taus), 4), "error": _standard_error(taus), "n": len(taus)}
            for task, taus in sorted(taus_of_task.items())}


def _texts_by_answer(question: Question, questions: list[Question], kept: dict[str, str], rules: Rules,
                     cues: Cues, seed: int) -> dict[str, str]:
    """{answer: chain that gives it}: the question's own chain, then those of OTHER_USERS users, one chain for
    every different answer."""
    own_text = kept[question.id]
    texts = {chain_of(own_text).answer: own_text}
    other_questions = [other for other in questions
                       if other.task == question.task and other.user != question.user]
    rng = random.Random(seed_of(seed, "tau", question.id))
    for other_question in rng.sample(other_questions, min(OTHER_USERS, len(other_questions))):
        chain = template_chain(asked_by(question, other_question, rules), cues)
        if chain is not None:
            texts.setdefault(chain.answer, render(chain))
    return texts


def _kendall_tau(prmu: PRMU, question: Question, texts: dict[str, str]) -> float | None:
    """tau-b of PRMU's scores with the task rewards of {answer: text}; None where either has no order."""
    from scipy.stats import kendalltau
    rewards = [item_reward(question.task, answer, question.gold) for answer in texts]
    if len(set(rewards)) == 1:
        return None
    scores = prmu.rate(question, [prmu.encode(text) for text in texts.values()]).tolist()
    tau = float(kendalltau(scores, rewards).statistic)
    return None if math.isnan(tau) else tau


def _standard_error(values: list[float]) -> float:
    """Of the mean; 0 for a single value."""
    return round(stdev(values) / len(values)**0.5, 4) if len(values) > 1 else 0.0
