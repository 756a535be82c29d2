"""Which words of a text speak for a high score and which for a low one: how the template teacher reads a
text.

A word's weight says how far the texts that hold it score above or below their writer's own mean, in stars on
a scale of five. The weights come from a ridge regression over all past items of the training questions. A
user's texts are read with weights that were learnt from other users only, so no text is read with the help of
its own score. Two short lists of English words do the reading instead where there are too few texts to learn
from, or where the lists agree better with the scores of held-out users.
"""
from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ...lamp.tasks import Question
from ...lamp.words import CHINESE_RUN, LONGEST_WORD, MARKS
from ...runs import seed_of
from ..facts import STOP

POSITIVE = set("love loves loved great perfect perfectly excellent amazing wonderful best awesome fantastic "
               "happy nice good recommend easy beautiful favorite works pleased smooth soft fast enjoy "
               "delicious gift thanks glad fun superb impressed lovely quality".split())
NEGATIVE = set("bad poor broke broken waste disappointed disappointing terrible awful worst horrible return "
               "returned cheap smell hard difficult issue problem problems unfortunately refund useless weak "
               "stopped failed ugly annoying expensive hate never dry harsh leak leaked wrong skip less "
               "however okay slow late cold".split())
NEGATIONS = {"not", "no", "isn't", "don't", "didn't", "wasn't", "doesn't", "won't", "can't"}
WORD = re.compile(rf"(?:(?!{CHINESE_RUN})[^\W\d_]|[{MARKS}']){{1,{LONGEST_WORD}}}")
LISTED_STARS = 0.25  # the weight of a listed word
FOLDS = 4  # of users; those of one fold are read with what was learnt from the other three
MIN_TEXTS = 40  # to learn from
RIDGE = 8.0  # penalty, in texts
MIN_TEXTS_OF_WORD = 2  # texts that hold a word before it is learnt
STRONG = 0.15  # stars; a weaker word is no cue

Row = tuple[str, str]
"""(user, text) of a past item."""
Span = tuple[int, int, float]
"""(start, end, stars) of a cue in a text."""


def _listed_weights() -> dict[str, float]:
    """{word: stars} of the two lists; a word after `not` has the opposite sign."""
    weights = {word: LISTED_STARS for word in sorted(POSITIVE)}
    weights |= {word: -LISTED_STARS for word in sorted(NEGATIVE)}
    return weights | {f"not {word}": -stars for word, stars in weights.items()}


LISTS = _listed_weights()


@dataclass(frozen=True)
class Cue:
    """Words that speak for a high or a low score."""
    text: str
    """As they stand in the text that is read."""
    weight: float
    """Stars above (or below) the writer's mean."""


@dataclass(frozen=True)
class Cues:
    """What was learnt: weights[task][fold] is {word: stars}. A task that is not there is read with the
    lists."""
    weights: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    compared: frozenset[str] = frozenset()
    """Tasks whose texts are better compared with a past text than counted from the usual score
    (template.py)."""

    def read(self, task: str, user: str, text: str) -> list[Cue]:
        """The cues of a text in its order, each once. Neighbours of the same sign are one cue: `great smooth
        soap` has the cue `great smooth`."""
        weights = self.weights[task][_fold(user)] if task in self.weights else LISTS
        spans: list[Span] = []
        for unit, start, end in units(text):
            stars = weights.get(unit, 0.0)
            if abs(stars) < STRONG:
                continue
            if spans and _continues(spans[-1], start, stars, text):
                first_start, _, previous_stars = spans[-1]
                spans[-1] = (first_start, end, previous_stars + stars)
            else:
                spans.append((start, end, stars))

        cues: dict[str, Cue] = {}
        for start, end, stars in spans:
            words = text[start:end]
            cues.setdefault(words.lower(), Cue(words, stars))
        return list(cues.values())


def _continues(span: Span, start: int, stars: float, text: str) -> bool:
    """Whether a word at `start` belongs to the cue before it: nothing but a space between, and the same
    sign."""
    _, end, span_stars = span
    adjacent = start <= end + 1 and not text[end:start].strip()
    return adjacent and (stars > 0) == (span_stars > 0)


def total(cues: list[Cue]) -> float:
    """Stars above the writer's mean that a text earns by its cues: the sum of the weights, between -3 and 1.
    Most users' means are high, which leaves little room above."""
    return max(-3.0, min(1.0, sum(cue.weight for cue in cues)))


# ---------------------------------------------------------------- learning

def learn(questions: list[Question]) -> Cues:
    """The weights of every rating task, from all past items of its questions."""
    weights = {}
    for task, deviations in _deviations_by_task(questions).items():
        if len(deviations) < MIN_TEXTS:
            continue
        # Fold by fold, from the users of the other folds.
        by_fold = []
        for fold in range(FOLDS):
            others = {row: stars for row, stars in deviations.items() if _fold(row[0]) != fold}
            by_fold.append(_fit(others))
        # The learnt weights are kept if they agree better with the scores than the lists do.
        stars = list(deviations.values())
        learnt, listed = Cues({task: by_fold}), Cues()
        read_with_learnt = [total(learnt.read(task, user, text)) for user, text in deviations]
        read_with_lists = [total(listed.read(task, user, text)) for user, text in deviations]
        if _correlation(read_with_learnt, stars) > _correlation(read_with_lists, stars):
            weights[task] = by_fold
    return Cues(weights)


def _deviations_by_task(questions: list[Question]) -> dict[str, dict[Row, float]]:
    """{task: {(user, text): stars above the user's mean}}, on a scale of five:
    4 * (score - mean) / (highest - lowest)."""
    by_task: dict[str, dict[Row, float]] = {}
    for question in questions:
        task = question.task
        if task.kind != "rating":
            continue
        low, high = task.scale
        mean = sum(int(item.label) for item in question.profile) / len(question.profile)
        deviations = by_task.setdefault(task.name, {})
        for item in question.profile:  # an item that two histories hold counts once, as the later one has it
            deviations[question.user, item.text] = 4 * (int(item.label) - mean) / (high - low)
    return by_task


def _correlation(read: list[float], stars: list[float]) -> float:
    """Of what was read with the scores; 0 where one of them is constant."""
    if not np.std(read) or not np.std(stars):
        return 0.0
    return float(np.corrcoef(read, stars)[0, 1])


def _fit(deviations: dict[Row, float]) -> dict[str, float]:
    """{unit: stars}: the coefficients of the ridge regression of the deviations [n] on the units [n,
    units]."""
    from sklearn.linear_model import Ridge
    units_of_text = [{unit for unit, _, _ in units(text)} for _, text in deviations]
    texts_of_unit = Counter(unit for text_units in units_of_text for unit in text_units)
    frequent = sorted(unit for unit, count in texts_of_unit.items() if count >= MIN_TEXTS_OF_WORD)
    if not frequent:
        return {}
    column = {unit: number for number, unit in enumerate(frequent)}
    table = np.zeros((len(units_of_text), len(column)))  # 1 where a text holds a unit
    for text_row, text_units in zip(table, units_of_text):
        text_row[[column[unit] for unit in text_units if unit in column]] = 1.0
    fitted = Ridge(alpha=RIDGE).fit(table, list(deviations.values()))
    # Rounded, so that it is the same on every machine.
    return {unit: round(float(fitted.coef_[number]), 4) for unit, number in column.items()}


# ---------------------------------------------------------------- units

def units(text: str) -> list[tuple[str, int, int]]:
    """(unit, start, end) of everything in a text that can have a weight, by start.

    A unit is a content word, or a content word with a negation among the two words before it: `was not very
    good` gives ("not good", 4, 17). In Chinese it is a pair of neighbouring characters.
    """
    located = []
    words = list(WORD.finditer(text))
    for number, word in enumerate(words):
        unit, start = word[0].lower(), word.start()
        is_function_word = len(unit) < 4 or unit in STOP or unit in NEGATIONS
        if is_function_word and unit not in LISTS:
            continue
        for before in words[max(0, number - 2):number]:
            if before[0].lower() in NEGATIONS:
                unit, start = f"not {unit}", before.start()
                break
        located.append((unit, start, word.end()))
    for pair in re.finditer(f"(?=({CHINESE_RUN}{{2}}))", text):
        located.append((pair[1], pair.start(), pair.start() + 2))
    return sorted(located, key=lambda unit: unit[1])


def _fold(user: str) -> int:
    return seed_of("cues", user) % FOLDS
