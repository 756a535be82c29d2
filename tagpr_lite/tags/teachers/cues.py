"""Which words of a text speak for a high score and which for a low one: the template teacher's reading of a
text.

A word's weight is how far the texts that hold it score above or below their writer's own mean, in stars of a
scale of five: ridge regression over all past items of the training questions. The texts of a user are read
with weights learnt from other users only, so no text is read with the help of its own score. Where that says
less about held-out users than two short lists of English words do, or there are too few texts to learn from,
the lists do the reading.
"""
from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ...lamp.tasks import Question
from ...lamp.words import CHINESE_RUN
from ...runs import seed_of
from ..facts import STOP

POSITIVE = set("love loves loved great perfect perfectly excellent amazing wonderful best awesome fantastic happy nice "
               "good recommend easy beautiful favorite works pleased smooth soft fast enjoy delicious gift thanks "
               "glad fun superb impressed lovely quality".split())
NEGATIVE = set("bad poor broke broken waste disappointed disappointing terrible awful worst horrible return returned "
               "cheap smell hard difficult issue problem problems unfortunately refund useless weak "
               "stopped failed ugly annoying expensive hate never dry harsh leak leaked wrong skip less "
               "however okay slow late cold".split())
NOT = {"not", "no", "isn't", "don't", "didn't", "wasn't", "doesn't", "won't", "can't"}
LISTS = {w: s * 0.25 for s, words in ((1, POSITIVE), (-1, NEGATIVE)) for w in sorted(words)}
LISTS |= {f"not {w}": -s for w, s in LISTS.items()}
FOLDS = 4  # of users; those of one are read with what was learnt from the other three
ENOUGH = 40  # texts to learn from
RIDGE = 8.0  # penalty, in texts
SEEN = 2  # texts that hold a word before it is learnt
STRONG = 0.15  # stars; a weaker word is no cue


@dataclass(frozen=True)
class Cue:
    """said: the words as they stand in the text; weight: stars above (or below) the writer's mean."""
    said: str
    weight: float


@dataclass(frozen=True)
class Cues:
    """weights[task][fold]: word -> stars. A task that is not there is read with the lists."""
    weights: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def read(self, task: str, user: str, text: str) -> list[Cue]:
        """The words of a text that say something, in its order, each once; neighbours that say the same are
        one cue."""
        known = self.weights[task][_fold(user)] if task in self.weights else LISTS
        found: dict[str, Cue] = {}
        begin, end, weight = 0, -2, 0.0  # of the cue that is being read
        for unit, start, stop in [*units(text), ("", len(text) + 2, 0)]:
            more = known.get(unit, 0.0)
            if abs(more) < STRONG and stop:
                continue
            if stop and start <= end + 1 and not text[end:start].strip() and (more > 0) == (weight > 0):
                end, weight = stop, weight + more
                continue
            if weight:
                found.setdefault(text[begin:end].lower(), Cue(text[begin:end], weight))
            begin, end, weight = start, stop, more
        return list(found.values())


def total(cues: list[Cue]) -> float:
    """Stars above the writer's mean that a text earns by its cues, -3 to 1: most users have little room
    above."""
    return max(-3.0, min(1.0, sum(c.weight for c in cues)))


def learn(questions: list[Question]) -> Cues:
    """From all past items of rating questions."""
    by_task: dict[str, dict[tuple[str, str], float]] = {}
    for q in questions:
        if q.task.kind == "rating":
            low, high = q.task.scale
            mean = sum(int(i.label) for i in q.profile) / len(q.profile)
            for i in q.profile:  # the same item in a longer history replaces the shorter one's
                by_task.setdefault(q.task.name, {})[q.user, i.text] = 4 * (int(i.label) - mean) / (high - low)
    found = {}
    for task, rows in by_task.items():
        if len(rows) >= ENOUGH:
            known = [_weights({k: v for k, v in rows.items() if _fold(k[0]) != fold})
                     for fold in range(FOLDS)]
            learnt, listed = ([total(Cues(w).read(task, *row)) for row in rows] for w in ({task: known}, {}))
            if _agree(learnt, rows) > _agree(listed, rows):
                found[task] = known
    return Cues(found)


def _agree(read: list[float], rows: dict) -> float:
    """Correlation of what was read with the scores; 0 where nothing was read."""
    return float(np.corrcoef(read, list(rows.values()))[0, 1]) if np.std(read) and np.std(list(rows.values())) else 0.0


def _weights(rows: dict[tuple[str, str], float]) -> dict[str, float]:
    from sklearn.linear_model import Ridge
    texts = [{unit for unit, *_ in units(text)} for _, text in rows]
    counts = Counter(u for t in texts for u in t)
    column = {u: n for n, u in enumerate(sorted(u for u, c in counts.items() if c >= SEEN))}
    if not column:
        return {}
    table = np.zeros((len(texts), len(column)))
    for row, said in zip(table, texts):
        row[[column[u] for u in said if u in column]] = 1.0
    fit = Ridge(alpha=RIDGE).fit(table, list(rows.values()))
    return {u: round(float(fit.coef_[n]), 4) for u, n in column.items()}  # rounded: the same on every machine


def units(text: str) -> list[tuple[str, int, int]]:
    """(what is learnt, where it begins and ends in the text): content words, one after a negation together
    with it; pairs of neighbouring Chinese characters."""
    found, words = [], list(re.finditer(r"[A-Za-z']+", text))
    for n, word in enumerate(words):
        unit, start = word[0].lower(), word.start()
        if (len(unit) < 4 or unit in STOP or unit in NOT) and unit not in LISTS:
            continue
        for before in words[max(0, n - 2):n]:
            if before[0].lower() in NOT:
                unit, start = f"not {unit}", before.start()
                break
        found.append((unit, start, word.end()))
    for pair in re.finditer(f"(?=({CHINESE_RUN}{{2}}))", text):
        found.append((pair[1], pair.start(), pair.start() + 2))
    return sorted(found, key=lambda u: u[1])


def _fold(user: str) -> int:
    return seed_of("cues", user) % FOLDS
