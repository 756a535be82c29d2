"""The template teacher: reasons about a question by rules, offline, and writes a tagged chain.

It reads what the policy's prompt shows: the past scores, the retrieved items, the user's titles. It does not
see the gold answer of a question that can be checked (tasks 1 to 3). There it tries several readings, the
most plausible first, and `tags/chains.py` throws the wrong ones away. For the generation tasks it is given
the gold text, and such a chain is marked `rationalised`. Everything a chain states can be checked
(tags/facts.py). Steps are short, because a small model on a CPU must write them thousands of times.
"""
from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from operator import attrgetter

from ...lamp.prompts import rating_stats
from ...lamp.sampling import group_by
from ...lamp.scorer import item_reward
from ...lamp.style import style_sentence
from ...lamp.tasks import Item, Question
from ...lamp.words import CHINESE_RUN, LONGEST_WORD
from ..facts import UNQUOTABLE, content_words
from ..schema import Chain, Step
from .cues import Cue, Cues, learn

JUDGED_CLAUSES = 3  # clauses of a text that move the score, at most
CLAUSE_WORDS = 6  # a longer clause is cut
CUT_WORDS = 4  # words that are left of a longer clause
VISIBLE_WORDS = 14  # first words of a past text, which every prompt shows
PAST_WORDS = 10  # words of a past title that are quoted
SENTENCE_WORDS = 16  # words of the question's sentence that a title is made of
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
COMPARED_WORDS = 18  # first words of a past text that is compared: prompt.item_tokens shows them from 28 on
NEIGHBOURS = 5  # similar past items whose labels are tried


def write(question: Question, attempt: int, cues: Cues = Cues()) -> Chain | None:
    """The chain of the teacher's `attempt`-th reading (0: the most plausible one). None: there is no further
    reading."""
    task = question.task
    if task.kind == "rating":
        if attempt:
            return None
        compared = compare(question, cues) if task.name in cues.compared else None
        return compared or rate(question, cues)
    writers = {"citation": cite, "choice": choose, "text": title}
    return writers[task.form](question, attempt)


# ---------------------------------------------------------------- ratings

def learn_reading(questions: list[Question]) -> Cues:
    """The cues of the rating tasks, and for each task the reading that scores better on these questions."""
    cues = learn(questions)
    compared = set()
    for task, of_task in group_by(questions, attrgetter("task")).items():
        if task.kind != "rating":
            continue
        scores = []  # (of `compare`, of `rate`) of the questions that both can read
        for question in of_task:
            chain = compare(question, cues)
            if chain is not None:
                answers = (chain.answer, rate(question, cues).answer)
                scores.append([item_reward(task, answer, question.gold) for answer in answers])
        if sum(by_comparison - by_sum for by_comparison, by_sum in scores) > 0:
            compared.add(task.name)
    return replace(cues, compared=frozenset(compared))


def rate(question: Question, cues: Cues) -> Chain:
    """LaMP-3: a sum that begins with the user's usual score.

        examine_examples     "Terrible soap" and "dry" got 2. Past scores 5 2 1, mean 2.7.
        analyze_query        Usually 3; "The soap is terrible" bad 3 to 2, "the box is nice" good 2 to 3.
        apply_preferences    Comes to 3.

    The other reading is `compare`; `learn_reading` chooses between them. A good clause adds one star, a bad
    one takes one away, within the scale. There is one chain. Where it is wrong there is none, because a chain
    whose answer differs from its own sum teaches a small model not to add. A small model copies well, but it
    does not pick, count or round. So quotations stand in the order of the prompt, the usual score is the one
    that the prompt states, and every step of the sum says where it begins and ends.
    """
    task = question.task
    scores, mean, usual = rating_stats(question.profile)
    low, high = task.scale
    text = task.payload(question.input)
    past = _past_scores(scores, mean)

    # 1. The nearest past text: its clauses that the prompt shows, or its first words, and its score.
    if question.retrieved:
        nearest = question.profile[question.retrieved[0]]
        visible = " ".join(nearest.text.split()[:VISIBLE_WORDS])
        judged = clauses(nearest.text, cues.read(task.name, question.user, nearest.text))[:2]
        quotable = [clause for clause, _ in judged if clause in visible]
        quoted = quotable or [_beginning(nearest.text, 4)]
        quotations = " and ".join(f'"{clause}"' for clause in quoted)
        past = Step("examine_examples", f"{quotations} got {nearest.label}. {past.text}")

    # 2. The sum: one star up or down for every clause that has a side.
    score = usual
    moves = []
    for clause, weight in clauses(text, cues.read(task.name, question.user, text))[:JUDGED_CLAUSES]:
        side, change = ("good", 1) if weight > 0 else ("bad", -1)
        before, score = score, min(high, max(low, score + change))
        moves.append(f'"{clause}" {side} {before} to {score}')
    reasons = ", ".join(moves) or f'"{_beginning(text, 4)}" says little'
    return Chain((past, Step("analyze_query", f"Usually {usual}; {reasons}."),
                  Step("apply_preferences", f"Comes to {score}.")), str(score))


def compare(question: Question, cues: Cues) -> Chain | None:
    """LaMP-3: the score of a past text, moved by how much better or worse this text is.

        examine_examples     Got 3; without "a real bargain" good 3 to 2, "poorly made" bad 2 to 2.
        analyze_query        From 2; with "worth every cent" good 2 to 3, "it arrived early" good 3 to 4.
        apply_preferences    Comes to 4.

    Each good remark of the past text takes one star away from its score, each good remark of this text adds
    one, within the scale. One number is carried on from remark to remark, and each move says where it begins
    and ends, because a small model adds one, but does not count. The past text is the first one of the prompt
    whose clauses the prompt shows. Its score says more about its writer than their mean: what they count most
    is in it. None where no clause of either text has a side.
    """
    task = question.task
    text = task.payload(question.input)
    own = clauses(text, cues.read(task.name, question.user, text))[:JUDGED_CLAUSES]
    for index in question.retrieved:
        item = question.profile[index]
        visible = " ".join(item.text.split()[:COMPARED_WORDS])
        judged = clauses(item.text, cues.read(task.name, question.user, item.text))[:JUDGED_CLAUSES]
        shown = [(clause, weight) for clause, weight in judged if clause in visible]
        if own and shown:
            without, base = _moved(int(item.label), shown, -1, task.scale)
            with_them, score = _moved(base, own, +1, task.scale)
            return Chain((Step("examine_examples", f"Got {item.label}; without {without}."),
                          Step("analyze_query", f"From {base}; with {with_them}."),
                          Step("apply_preferences", f"Comes to {score}.")), str(score))
    return None


def _moved(score: int, judged: list[tuple[str, float]], change: int, scale: tuple[int, int]
           ) -> tuple[str, int]:
    """(clauses with their side and the score behind each, the last score): '"poorly made" bad 3 to 3, "it
    arrived early" good 3 to 4' and 4, where a good clause adds `change` = 1."""
    low, high = scale
    said = []
    for clause, weight in judged:
        side, moved = ("good", min(high, max(low, score + change))) if weight > 0 else ("bad", score)
        said.append(f'"{clause}" {side} {score} to {moved}')
        score = moved
    return ", ".join(said), score


def clauses(text: str, cues: list[Cue]) -> list[tuple[str, float]]:
    """(clause, the sum of its cues' weights) for the clauses of a text that have cues and whose sum is not 0,
    in the order of the text.

    A cue counts in the first clause that holds it. A clause of more than CLAUSE_WORDS words is cut to
    CUT_WORDS from its first cue on: "My aunt said it is a great little machine for beginners" becomes "great
    little machine for".
    """
    weighted = []
    unused = list(cues)
    for clause in re.findall(r'[^,.;:!?"<>()\n，。；：！？]+', text):
        own_cues = [cue for cue in unused if cue.text in clause]
        unused = [cue for cue in unused if cue not in own_cues]
        weight = sum(cue.weight for cue in own_cues)
        if not weight:
            continue
        shortened = " ".join(clause.split())
        if len(shortened.split()) > CLAUSE_WORDS:
            first_cue = min(clause.index(cue.text) for cue in own_cues)
            word_start = clause.rfind(" ", 0, first_cue) + 1
            shortened = " ".join(clause[word_start:].split()[:CUT_WORDS])
        weighted.append((_beginning(shortened, CLAUSE_WORDS), weight))
    return weighted


def _past_scores(scores: list[int], mean: float) -> Step:
    """The newest four scores and the mean of all."""
    newest = " ".join(map(str, scores[-4:]))
    if len(scores) < 2:
        return Step("understand_task", f"Only one past score, {newest}.")
    return Step("examine_examples", f"Past scores {newest}, mean {mean:.1f}.")


# ---------------------------------------------------------------- choices

def choose(question: Question, attempt: int) -> Chain | None:
    """LaMP-2 and other choices: the labels of the most similar past items, one label an attempt. Similar
    items share content words."""
    words = content_words(question.task.payload(question.input))

    def shared_with(item: Item) -> set[str]:
        return words & content_words(item.text)

    # 1. Every neighbour votes for its label with 1 + the number of shared words; the best label comes first.
    neighbours = sorted(question.profile, key=lambda item: -len(shared_with(item)))[:NEIGHBOURS]
    votes: Counter = Counter()
    for item in neighbours:
        votes[item.label] += 1 + len(shared_with(item))
    ranked = [label for label, _ in votes.most_common()]
    if attempt >= len(ranked):
        return None
    label = ranked[attempt]

    # 2. The reasons: the nearest item with that label, its two longest shared words, and the label's count.
    similar = next(item for item in neighbours if item.label == label)
    longest_shared = sorted(shared_with(similar), key=lambda word: (len(word), word))[-2:]
    count = sum(item.label == label for item in question.profile)
    steps = [Step("examine_examples", f'Similar past item: "{_beginning(similar.text, 7)}" is {label}.')]
    if longest_shared:
        steps.append(Step("analyze_query", f"Both have {' and '.join(longest_shared)}."))
    times = "1 time" if count == 1 else f"{count} times"
    steps.append(Step("identify_patterns", f"This user used {label} {times}."))
    steps.append(Step("conclude", f"So {label}."))
    return Chain(tuple(steps), label)


def cite(question: Question, attempt: int) -> Chain | None:
    """LaMP-1: the candidate that shares more words with the user's papers. The second attempt is the other
    candidate."""
    options = question.task.options(question.input)
    if attempt > 1 or len(options) != 2:
        return None
    option_words = [content_words(option) for option in options]
    papers = [(item, content_words(f"{item.label} {item.text}")) for item in question.profile]

    # 1. The candidate with the greater overlap; [1] where both are equal.
    overlaps = [sum(len(words & paper_words) for _, paper_words in papers) for words in option_words]
    best = 1 if overlaps[1] > overlaps[0] else 0
    chosen = best if attempt == 0 else 1 - best
    answer = f"[{chosen + 1}]"

    # 2. The reason: the user's paper that is nearest to it, and two words that both have.
    nearest, nearest_words = max(papers, key=lambda paper: len(option_words[chosen] & paper[1]))
    shared = sorted(option_words[chosen] & nearest_words)[:2]
    reason = f"{answer} shares {' and '.join(shared)}." if shared else f"{answer} is closer in kind."
    return Chain((Step("examine_examples", f'The user wrote "{_beginning(nearest.label, 6)}".'),
                  Step("compare_options", reason), Step("conclude", f"So {answer}.")), answer)


# ---------------------------------------------------------------- free texts

def title(question: Question, attempt: int) -> Chain | None:
    """LaMP-4 to 7, where the gold is given: a text of the user, the user's style, and the sentence of the
    question that the gold is made of.

        examine_examples     The user wrote "Why is everyone in Cork talking about the night train?".
        infer_preferences    About 10 words, plain case, an end mark.
        analyze_query        The text says "News from Porto: the city library delays its program on Monday".

    Which of its words a title of this user takes is left to the answer: a small model copies well, but where
    it must pick words before it writes the title, it picks wrong ones.
    """
    if attempt or not question.gold:
        return None
    item = question.profile[question.retrieved[0]] if question.retrieved else question.profile[-1]
    shown = item.label or item.text
    steps = [Step("examine_examples", f'The user wrote "{_beginning(shown, PAST_WORDS)}".'),
             Step("infer_preferences", style_sentence(question))]
    sentence = told_in(question.gold, question.task.payload(question.input))
    if sentence:
        steps.append(Step("analyze_query", f'The text says "{sentence}".'))
    else:
        steps.append(Step("verify_consistency", "The text's own words do not fit; name its point."))
    return Chain(tuple(steps), question.gold.strip())


def told_in(gold: str, text: str) -> str:
    """The first SENTENCE_WORDS words of the sentence of a text that shares most content words with the gold,
    the first of several; "" where none shares a word."""
    gold_words = content_words(gold)
    sentences = [_beginning(sentence, SENTENCE_WORDS).rstrip(" .。") for sentence in SENTENCE_END.split(text)]
    shared = [len(gold_words & content_words(sentence)) for sentence in sentences]
    most = max(shared, default=0)
    return sentences[shared.index(most)] if most else ""


def _beginning(text: str, words: int) -> str:
    """The first words of a text, as they stand there, without what cannot stand between double quotes inside
    a step. In a script without spaces three characters count as a word. A word of more than LONGEST_WORD
    characters is cut, and ends the quotation."""
    beginning = []
    for word in UNQUOTABLE.sub(" ", text).split()[:words]:
        beginning.append(word[:LONGEST_WORD])
        if len(word) > LONGEST_WORD:
            break
    joined = " ".join(beginning)
    return joined[:3 * words] if re.search(CHINESE_RUN, joined) else joined
