"""The template teacher: reasons about a question by rules, offline, and writes a tagged chain.

It looks at what the policy's prompt shows: the past scores, the retrieved items, the user's titles. It does
not see the gold answer of a question that can be checked (tasks 1 to 3): it tries several readings in order
of plausibility and `tags/chains.py` throws the wrong ones away. For the generation tasks it is given the gold
text, and such a chain is marked `rationalised`. Everything a chain states can be checked (tags/facts.py), and
steps are short, because a small model on a CPU must write them thousands of times.
"""
from __future__ import annotations

import re
from collections import Counter

from ...lamp.prompts import rating_stats
from ...lamp.tasks import Item, Question
from ...lamp.words import CHINESE_RUN, content_tokens, length_units
from ..facts import content_words
from ..schema import Chain, Step
from .cues import Cue, Cues

MOST = 3  # clauses of a text that are judged
CLAUSE, CUT = 6, 4  # words of a clause, at most; of a longer one, those that are quoted
BEGINNING = 14  # words of a past text that every prompt shows


def write(question: Question, attempt: int, cues: Cues = Cues()) -> Chain | None:
    """The chain of the teacher's `attempt`-th reading (0 = most plausible), None when it has no further
    one."""
    task = question.task
    if task.kind == "rating":
        return None if attempt else rate(question, cues)
    return {"citation": cite, "choice": choose, "text": title}[task.form](question, attempt)


def rate(question: Question, cues: Cues) -> Chain:
    """LaMP-3: the nearest past text and its score, the past scores; from the usual score, one star up or down
    with every clause that is good or bad; what it comes to.

    There is one reading, and where it is wrong there is no chain: a chain that ends beside its own sum
    teaches a small model not to add. Such a model copies well but neither picks nor counts nor rounds, so
    what is quoted stands in the order of the prompt, the usual score is the prompt's, and every step of the
    count says from where to where it goes.
    """
    task, (scores, mean, usual) = question.task, rating_stats(question.profile)
    (low, high), text = task.scale, task.payload(question.input)
    read = lambda said: clauses(said, cues.read(task.name, question.user, said))
    past = _past(scores, mean)
    if question.retrieved:
        near = question.profile[question.retrieved[0]]
        cited = [said for said, _ in read(near.text)[:2] if said in " ".join(near.text.split()[:BEGINNING])]
        cited = " and ".join(f'"{said}"' for said in cited or [_head(near.text, 4)])
        past = Step("examine_examples", f"{cited} got {near.label}. {past.text}")
    at, said = usual, []
    for clause, cue in read(text)[:MOST]:
        before, at = at, min(high, max(low, at + (1 if cue.weight > 0 else -1)))
        said.append(f'"{clause}" {"good" if cue.weight > 0 else "bad"} {before} to {at}')
    steps = ", ".join(said) or f'"{_head(text, 4)}" says little'
    return Chain((past, Step("analyze_query", f"Usually {usual}; {steps}."),
                  Step("apply_preferences", f"Comes to {at}.")), str(at))


def clauses(text: str, cues: list[Cue]) -> list[tuple[str, Cue]]:
    """The clauses of a text that have cues, in its order, each with one cue that is the sum of its own; a
    long clause is cut to a few words from its first cue on."""
    found, left = [], list(cues)
    for clause in re.findall(r'[^,.;:!?"<>()\n，。；：！？]+', text):
        own = [c for c in left if c.said in clause]
        left = [c for c in left if c not in own]
        if own and (weight := sum(c.weight for c in own)):
            said, first = " ".join(clause.split()), min(clause.index(c.said) for c in own)
            if len(said.split()) > CLAUSE:
                said = " ".join(clause[clause.rfind(" ", 0, first) + 1:].split()[:CUT])
            found.append((_head(said, CLAUSE), Cue(said, weight)))
    return found


def _past(scores: list[int], mean: float) -> Step:
    newest = " ".join(map(str, scores[-4:]))
    if len(scores) < 2:
        return Step("understand_task", f"Only one past score, {newest}.")
    return Step("examine_examples", f"Past scores {newest}, mean {mean:.1f}.")


def choose(question: Question, attempt: int) -> Chain | None:
    """LaMP-2 and other choices: the labels of the most similar past items, by shared words, one an
    attempt."""
    words = content_words(question.task.payload(question.input))
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
    """LaMP-1: the candidate that shares more words with what the user wrote; the other one is the second
    attempt."""
    options = question.task.options(question.input)
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
    language = question.task.language
    words = sum(len(length_units(e, language)) for e in examples) / len(examples)
    unit = "words" if language == "en" else "characters"
    capital = sum(e == e.title() or e.istitle() for e in examples) * 2 > len(examples)
    case = ["Title Case" if capital else "plain case"] if language == "en" else []
    mark = sum(e.rstrip()[-1:] in tuple("!?.！？。") for e in examples) * 2 > len(examples)
    style = ", ".join([f"About {words:.0f} {unit}", *case, f"{'an' if mark else 'no'} end mark."])
    text = question.task.payload(question.input)
    key = [w for w in dict.fromkeys(content_tokens(text)) if w.lower() in content_words(question.gold)][:3]
    steps = [Step("examine_examples", f'The user wrote "{_head(shown, 6)}".'),
             Step("infer_preferences", style)]
    if key:
        steps.append(Step("analyze_query", f"Key words: {', '.join(key)}."))
    else:
        steps.append(Step("verify_consistency", "The text's own words do not fit; name its point."))
    return Chain(tuple(steps), question.gold.strip())


def _head(text: str, words: int) -> str:
    """The first words of a text (Chinese: three characters a word), fit to stand between double quotes inside
    a step."""
    said = " ".join(re.sub(r'["<>]', " ", text).split()[:words])
    return said[:3 * words] if re.search(CHINESE_RUN, said) else said
