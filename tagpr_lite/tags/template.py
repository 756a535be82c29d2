"""The template teacher: reasons about a question by rules, offline, and writes a tagged chain.

It looks at what the policy's prompt shows: the past scores, the retrieved items, the user's titles. It does not see
the gold answer of a question that can be checked (tasks 1 to 3): it tries several readings in order of plausibility
and `tags/chains.py` throws the wrong ones away. For the generation tasks it is given the gold text, and such a chain
is marked `rationalised`. Everything a chain states can be checked (tags/facts.py), and steps are short, because a
small model on a CPU must write them thousands of times.
"""
from __future__ import annotations

import re
from collections import Counter

from ..lamp.tasks import TASKS, Item, Question, pieces, words_of
from .facts import content_words, mean_text, past_scores
from .schema import Chain, Step

POSITIVE = set("love loves loved great perfect perfectly excellent amazing wonderful best awesome fantastic happy nice "
               "good recommend easy beautiful favorite works pleased smooth soft fast enjoy delicious gift thanks "
               "glad fun superb impressed lovely quality".split())
NEGATIVE = set("bad poor broke broken waste disappointed disappointing terrible awful worst horrible return returned "
               "cheap smell hard difficult issue problem problems unfortunately refund useless weak "
               "stopped failed ugly annoying expensive hate never dry harsh leak leaked wrong skip less "
               "however okay slow late cold".split())
READINGS = ("very negative", "negative", "mixed", "positive", "glowing")
LEVEL = (1.4, 2.3, 3.2, 4.2, 5.0)  # the score a text of that reading gets from a user whose mean is 4


def write(question: Question, attempt: int) -> Chain | None:
    """The chain of the teacher's `attempt`-th reading (0 = most plausible), None when it has no further one."""
    task = TASKS[question.task]
    if task.shape == "LaMP_1":
        return cite(question, attempt)
    return {"choice": choose, "rating": rate, "text": title}[task.kind](question, attempt)


def rate(question: Question, attempt: int) -> Chain | None:
    """LaMP-3: past scores, what the text sounds like, and the user's leniency give a score."""
    scores, task = past_scores(question), TASKS[question.task]
    low, high = task.scale
    stars = lambda score: 1 + 4 * (score - low) / (high - low)  # any scale is read as one of five stars
    cues, lean = sentiment(task.payload(question.input))
    first = min(4, max(0, 3 + lean))
    order = sorted(range(5), key=lambda r: (abs(r - first), -r))
    if attempt >= len(order):
        return None
    reading, mean = order[attempt], sum(scores) / len(scores)
    given = min(5, max(1, LEVEL[reading] + 0.5 * (stars(mean) - 4)))
    score = int(low + (given - 1) * (high - low) / 4 + 0.5)
    manner = "Generous" if stars(mean) >= 4.5 else "Fair" if stars(mean) >= 3.5 else "Strict"
    cue = f'"{cues[0] if cues else _head(task.payload(question.input), 3)}"'
    steps = [_past(scores), Step("analyze_query", f"{cue} sounds {READINGS[reading]}.")]
    if len(set(scores)) > 2:
        steps.append(Step("identify_patterns", f"Scores vary, {min(scores)} to {max(scores)}."))
    steps.append(Step("apply_preferences", f"{manner} user, {READINGS[reading]} text: {score}."))
    return Chain(tuple(steps), str(score))


def _past(scores: list[int]) -> Step:
    newest = " ".join(map(str, scores[-4:]))
    if len(scores) < 2:
        return Step("understand_task", f"Only one past score, {newest}.")
    return Step("examine_examples", f"Past scores {newest}, mean {mean_text(scores)}.")


def sentiment(text: str) -> tuple[list[str], int]:
    """(cue words as they stand in the text, those of the winning side first; net positive words capped to -3..+1).

    "not" before a word turns it round.
    """
    words = re.findall(r"[A-Za-z']+", text)
    cues = []
    for i, word in enumerate(words):
        sign = (word.lower() in POSITIVE) - (word.lower() in NEGATIVE)
        if sign and any(w.lower() in ("not", "no", "isn't", "don't", "didn't", "wasn't") for w in words[max(0, i - 2):i]):
            sign = -sign
        if sign:
            cues.append((word, sign))
    total = sum(sign for _, sign in cues)
    cues.sort(key=lambda c: c[1] * total < 0)
    return [w for w, _ in cues if len(w) > 2], max(-3, min(1, total))


def choose(question: Question, attempt: int) -> Chain | None:
    """LaMP-2 and other choices: the labels of the most similar past items, by shared words, one an attempt."""
    words = content_words(TASKS[question.task].payload(question.input))
    near = sorted(question.profile, key=lambda i: -len(words & content_words(i.text)))[:5]
    ranked = [t for t, _ in _weighted(near, words)]
    if attempt >= len(ranked):
        return None
    label = ranked[attempt]
    like = next(i for i in near if i.label == label)
    times = Counter(i.label for i in question.profile)[label]
    shared = sorted(words & content_words(like.text), key=lambda w: (len(w), w))[-2:]
    steps = [Step("examine_examples", f'Similar past item: "{_head(like.text, 7)}" is {label}.')]
    if shared:
        steps.append(Step("analyze_query", f"Both have {' and '.join(shared)}."))
    steps.append(Step("identify_patterns", f"This user used {label} {times} time{'s' * (times != 1)}."))
    return Chain((*steps, Step("conclude", f"So {label}.")), label)


def _weighted(items: list[Item], words: set[str]) -> list[tuple[str, int]]:
    votes: Counter = Counter()
    for i in items:
        votes[i.label] += 1 + len(words & content_words(i.text))
    return votes.most_common()


def cite(question: Question, attempt: int) -> Chain | None:
    """LaMP-1: the candidate that shares more words with what the user wrote; the other one is the second attempt."""
    options = TASKS["LaMP_1"].options(question.input)
    if attempt > 1 or len(options) != 2:
        return None
    mine = [(i, content_words(f"{i.label} {i.text}")) for i in question.profile]
    overlap = [sum(len(content_words(o) & w) for _, w in mine) for o in options]
    pick = int(overlap[1] > overlap[0]) ^ attempt
    near = max(mine, key=lambda m: len(content_words(options[pick]) & m[1]))[0]
    shared = sorted(content_words(options[pick]) & content_words(f"{near.label} {near.text}"))[:2]
    reason = f"[{pick + 1}] shares {' and '.join(shared)}." if shared else f"[{pick + 1}] is closer in kind."
    return Chain((Step("examine_examples", f'The user wrote "{_head(near.label, 6)}".'),
                  Step("compare_options", reason), Step("conclude", f"So [{pick + 1}].")), f"[{pick + 1}]")


def title(question: Question, attempt: int) -> Chain | None:
    """LaMP-4 to 7, gold given: the user's style, then the words of the text that the gold uses."""
    if attempt or not question.gold:
        return None
    examples = [i.label or i.text for i in question.profile]
    shown = examples[question.retrieved[0]] if question.retrieved else examples[-1]
    language = TASKS[question.task].language
    words = sum(len(pieces(e, language)) for e in examples) / len(examples)
    unit = "words" if language == "en" else "characters"
    capital = sum(e == e.title() or e.istitle() for e in examples) * 2 > len(examples)
    case = ["Title Case" if capital else "plain case"] if language == "en" else []
    mark = sum(e.rstrip()[-1:] in tuple("!?.！？。") for e in examples) * 2 > len(examples)
    style = ", ".join([f"About {words:.0f} {unit}", *case, f"{'an' if mark else 'no'} end mark."])
    text = TASKS[question.task].payload(question.input)
    key = [w for w in dict.fromkeys(words_of(text)) if w.lower() in content_words(question.gold)][:3]
    steps = [Step("examine_examples", f'The user wrote "{_head(shown, 6)}".'), Step("infer_preferences", style)]
    if key:
        steps.append(Step("analyze_query", f"Key words: {', '.join(key)}."))
    else:
        steps.append(Step("verify_consistency", "The text's own words do not fit; name its point."))
    return Chain(tuple(steps), question.gold.strip())


def _head(text: str, words: int) -> str:
    """The first words of a text, fit to stand between double quotes inside a step."""
    return " ".join(re.sub(r'["<>]', " ", text).split()[:words])
