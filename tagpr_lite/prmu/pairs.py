"""Preference pairs for PRMU, each with the reason why one chain is better for this user.

    other_user      the chain that another user would get for the same question. Where possible the pair is
                    mirrored: the same two chains, asked by that other user, with the preference reversed. A
                    model that reads the chains alone is then right on half of these pairs.
    no_profile      the policy's answer without a profile
    worse_answer    an answer from the right profile with a lower task reward
    others_answer   the user's own chain, with another user's true answer at its end; mirrored too: the other
                    user's chain, with this user's answer at its end
    contradiction   the user's own chain and answer, with the steps about the history taken from another user
    hollow          the user's own answer behind reasoning that does not lead to it: a step is left out, a
                    step of another chain is put in, or all steps are another chain's

The chains have three sources: the teacher, the template (for other users) and the policy (rollouts.py). The
built-in benchmark knows every user's hidden rule, so there another user's true answer is known. Users are
divided into sides first (selection.py), and the other user of a pair is of the same side: no pair crosses the
split. Within a kind, as many chosen chains are longer than their rejected ones as are shorter, so that length
predicts nothing.
"""
from __future__ import annotations

import random
from dataclasses import dataclass, replace
from operator import attrgetter

from ..lamp.retrieve import retrieve
from ..lamp.sampling import group_by
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..runs import seed_of
from ..tags.chains import rejection_reason
from ..tags.facts import LOOKS, groundedness
from ..tags.schema import Chain, Fault, parse, render
from ..tags.teachers import template
from ..tags.teachers.cues import Cues
from .selection import balanced, enough_questions

KINDS = ("other_user", "no_profile", "worse_answer", "others_answer", "contradiction", "hollow")
KIND_OF_VIEW = {"own": "worse_answer", "none": "no_profile", "other": "other_user"}
USERS_TRIED = 8  # other users looked at for one whose answer differs
TEMPLATE_READINGS = 4  # chains that the template is asked for
MAX_WRONG_READINGS = 2  # pairs of one question with a wrong reading of the template
Rules = dict[str, tuple[int, tuple[str, ...]]]
"""{question id: (the rule of its user, the answer of every rule)}, such as {"q1": (0, ("5", "2"))}."""


@dataclass(frozen=True)
class PolicyText:
    """The policy's text for a question.

    view: the profile it was written from, the question's own ("own"), another user's ("other") or none
    ("none").
    """
    question: Question
    text: str
    view: str


@dataclass(frozen=True)
class Pair:
    """For question.user, `chosen` is better than `rejected`. gap: by how much in task reward, in [0, 1]."""
    question: Question
    chosen: str
    rejected: str
    kind: str
    gap: float
    source: str
    mirrored: bool = False


def make_pairs(questions: list[Question], kept: dict[str, str], rollouts: list[PolicyText], rules: Rules,
               cues: Cues, seed: int, other_users: int = 2, wanted: int | None = None) -> list[Pair]:
    """Pairs of one side's questions, shuffled, balanced by length.

    kept: {question id: its good chain as text}. other_users: how many a question is compared with. wanted:
    how many pairs are needed; pairs are made of as many questions, and of those that have rollouts. None: of
    all questions.
    """
    rng = random.Random(seed_of(seed, "pairs"))
    by_task = group_by(questions, attrgetter("task.name"))
    rollouts_of = group_by(rollouts, attrgetter("question.id"))
    chain_of_question = {question.id: chain_of(kept[question.id]) for question in questions
                         if question.id in kept}
    chains = [(question, chain_of_question[question.id]) for question in questions
              if chain_of_question.get(question.id) is not None]
    if wanted is not None:
        questions = enough_questions(questions, wanted, kept, rollouts_of.keys(), seed)

    pairs: list[Pair] = []
    for question in questions:
        own_chain = chain_of_question.get(question.id)
        if own_chain is not None:
            same_task = by_task[question.task.name]
            pairs += _other_user_pairs(question, own_chain, same_task, other_users, rules, cues, rng,
                                       chain_of_question)
            pairs += _wrong_reading_pairs(question, own_chain, cues)
            pairs += _hollow_pairs(question, own_chain, chains, rng)
        pairs += _rollout_pairs(question, own_chain, rollouts_of.get(question.id, []))
    distinct = list(dict.fromkeys(pairs))  # each pair once, in the order in which they come
    return balanced(distinct, KINDS, rng)


# ---------------------------------------------------------------- chains of other users

def chain_of(text: str) -> Chain | None:
    """The chain that a text is, with tags of any name; None for a malformed text."""
    parsed = parse(text, allowed=None)
    return None if isinstance(parsed, Fault) else parsed


def asked_by(question: Question, other_question: Question, rules: Rules) -> Question:
    """The question as the user of `other_question` would ask it.

    It has that user's profile, and retrieval is done anew. Its gold is that user's answer where the rules
    know it, "" elsewhere.
    """
    gold = ""
    if question.id in rules and other_question.id in rules:
        rule_of_other_user = rules[other_question.id][0]
        answer_of_rule = rules[question.id][1]
        gold = answer_of_rule[rule_of_other_user]
    user = other_question.user
    asked = replace(question, id=f"{question.id}@{user}", user=user, profile=other_question.profile,
                    gold=gold, retrieved=())
    return replace(asked, retrieved=retrieve(asked, "bm25", max(3, len(question.retrieved)), 0))


def _other_user_pairs(question: Question, own_chain: Chain, same_task: list[Question], wanted: int,
                      rules: Rules, cues: Cues, rng: random.Random,
                      chain_of_question: dict[str, Chain | None]) -> list[Pair]:
    """Pairs of the user's own chain with what another user would get, until `wanted` users answer otherwise.

    For each of at most USERS_TRIED other users, drawn at random, up to four pairs: other_user and its mirror,
    others_answer and its mirror, contradiction. chain_of_question: {question id: its good chain}.
    """
    # One question of every other user of the task, in random order.
    question_of_user: dict[str, Question] = {}
    for drawn in rng.sample(same_task, len(same_task)):
        if drawn.user != question.user:
            question_of_user[drawn.user] = drawn

    own_text = render(own_chain)
    pairs: list[Pair] = []
    chains_used: set[Chain] = set()
    golds_used: set[str] = set()  # other users' answers that the user's own chain has been given
    for other_question in list(question_of_user.values())[:USERS_TRIED]:
        if len(chains_used) == wanted:
            break
        asked = asked_by(question, other_question, rules)

        # 1. The other user's chain for this question is worse for this user, and better for the other one.
        other_chain = template_chain(asked, cues)
        is_new = other_chain is not None and other_chain not in chains_used
        if is_new and _answers_differ(own_chain.answer, other_chain.answer):
            chains_used.add(other_chain)
            pairs += _mirrored_pairs(question, own_chain, asked, other_chain)

        # 2. Both users' chains, each with the other's true answer: to this question where the rules know it,
        # to the other user's own question elsewhere.
        other_gold = asked.gold or other_question.gold
        if other_gold not in golds_used:
            golds_used.add(other_gold)
            other = (asked, other_chain) if asked.gold else (other_question,
                                                             chain_of_question.get(other_question.id))
            pairs += _swapped_answers(question, own_chain, *other)

        # 3. The user's own chain with steps about the other user's history. Where the template cannot know
        # that user's answer, it writes a chain towards this user's.
        source_chain = other_chain
        if source_chain is None:
            source_chain = template.write(replace(asked, gold=own_chain.answer), 0, cues)
        mixed_chain = contradicting_chain(own_chain, source_chain, question)
        if mixed_chain is not None:
            pairs.append(Pair(question, own_text, render(mixed_chain), "contradiction", 0.0, "template"))
    return pairs


def _mirrored_pairs(question: Question, own_chain: Chain, asked: Question, other_chain: Chain) -> list[Pair]:
    """The same two chains twice: as asked by the user, and as asked by the other user with the preference
    reversed."""
    own_text, other_text = render(own_chain), render(other_chain)
    gap = _reward_gap(question, own_chain.answer, other_chain.answer)
    mirrored_gap = _reward_gap(replace(asked, gold=other_chain.answer), other_chain.answer, own_chain.answer)
    return [Pair(question, own_text, other_text, "other_user", gap, "template"),
            Pair(asked, other_text, own_text, "other_user", mirrored_gap, "template", mirrored=True)]


def _swapped_answers(question: Question, own_chain: Chain, other_question: Question,
                     other_chain: Chain | None) -> list[Pair]:
    """Each of two users' chains against itself with the other's answer at its end; [] where one of them has
    no chain.

    So an answer is chosen about as often as it is rejected. Without the mirror, questions with a rare answer
    would make most of these pairs, because most other users answer otherwise, and a reward model would learn
    that what this user answers usually is wrong.
    """
    if other_chain is None or not _answers_differ(own_chain.answer, other_chain.answer):
        return []
    pairs = []
    for asked, chain, answer, mirrored in ((question, own_chain, other_chain.answer, False),
                                           (other_question, other_chain, own_chain.answer, True)):
        rejected = render(replace(chain, answer=answer))
        gap = _reward_gap(asked, chain.answer, answer)
        pairs.append(Pair(asked, render(chain), rejected, "others_answer", gap, "template", mirrored))
    return pairs


def template_chain(asked: Question, cues: Cues) -> Chain | None:
    """What the template writes for a question that another user asks.

    Where that user's answer is known, the first reading that is right for them; elsewhere the first reading.
    A free text cannot be written without their answer.
    """
    if asked.task.kind == "text":
        return template.write(asked, 0, cues)
    chains = template_readings(asked, cues)
    if asked.gold:
        chains = [chain for chain in chains if not rejection_reason(chain, asked)]
    return chains[0] if chains else None


def template_readings(question: Question, cues: Cues) -> list[Chain]:
    """The template's chains for a question, most plausible first."""
    chains = [template.write(question, attempt, cues) for attempt in range(TEMPLATE_READINGS)]
    return [chain for chain in chains if chain is not None]


def contradicting_chain(own_chain: Chain, other_chain: Chain | None, question: Question) -> Chain | None:
    """`own_chain` with the steps about the history taken from `other_chain`.

    None where there are no such steps, or where they happen to be true of the user's profile.
    """
    if other_chain is None:
        return None
    other_history_steps = [step for step in other_chain.steps if LOOKS.search(step.tag)]
    own_remaining_steps = [step for step in own_chain.steps if not LOOKS.search(step.tag)]
    if not other_history_steps or not own_remaining_steps:
        return None
    mixed_chain = Chain((*other_history_steps, *own_remaining_steps), own_chain.answer)
    return mixed_chain if groundedness(mixed_chain, question) < 1.0 else None


# ---------------------------------------------------------------- hollow chains

def _hollow_pairs(question: Question, own_chain: Chain, chains: list[tuple[Question, Chain]],
                  rng: random.Random) -> list[Pair]:
    """The user's own chain against three that keep its answer and lose its reasoning: one step left out (the
    shorter pair), a step of another user's chain put in (the longer pair), and all steps of that chain.

    chains: (question, its good chain) of all users of the side; the other chain is drawn among other users',
    of any task, so that forms of other tasks are borrowed too.
    """
    steps, answer = own_chain.steps, own_chain.answer
    hollow_chains: list[Chain] = []
    if len(steps) > 1:
        left_out = rng.randrange(len(steps))
        hollow_chains.append(Chain((*steps[:left_out], *steps[left_out + 1:]), answer))
    other_chains = [chain for other, chain in chains if other.user != question.user]
    if other_chains:
        other_chain = rng.choice(other_chains)
        place = rng.randrange(len(steps))
        hollow_chains.append(Chain((*steps[:place], rng.choice(other_chain.steps), *steps[place:]), answer))
        hollow_chains.append(Chain(other_chain.steps, answer))
    own_text = render(own_chain)
    return [Pair(question, own_text, render(chain), "hollow", 0.0, "teacher") for chain in hollow_chains
            if chain.steps != steps]


# ---------------------------------------------------------------- worse chains of the same user

def _wrong_reading_pairs(question: Question, own_chain: Chain, cues: Cues) -> list[Pair]:
    """The template's first wrong readings of the right profile."""
    if question.task.kind == "text":
        return []
    own_text = render(own_chain)
    pairs: list[Pair] = []
    for chain in template_readings(question, cues):
        if len(pairs) < MAX_WRONG_READINGS and _answers_differ(own_chain.answer, chain.answer):
            gap = _reward_gap(question, own_chain.answer, chain.answer)
            pairs.append(Pair(question, own_text, render(chain), "worse_answer", gap, "template"))
    return pairs


def _rollout_pairs(question: Question, own_chain: Chain | None, rollouts: list[PolicyText]) -> list[Pair]:
    """The best known chain for the user's own profile against the policy's texts.

    The best chain is the kept one, or else the policy's best from the own profile. Texts from the own profile
    are rejected where they score lower. Texts without a profile or from another's are rejected where they
    score lower, or the same with another answer.
    """
    def reward(text: str) -> float:
        return text_reward(question, text)

    # {kind of pair: texts}, such as {"worse_answer": [...], "no_profile": [...], "other_user": [...]}
    texts_of_kind = {kind: [rollout.text for rollout in rollouts if rollout.view == view]
                     for view, kind in KIND_OF_VIEW.items()}
    own_texts = texts_of_kind["worse_answer"]
    own_texts.sort(key=reward)
    if own_chain is not None:
        best = render(own_chain)
    elif own_texts:
        best = own_texts.pop()
    else:
        return []
    best_reward = reward(best)
    if best_reward == 0:
        return []

    best_answer = chain_of(best).answer
    pairs: list[Pair] = []
    for kind, texts in texts_of_kind.items():
        for text in texts:
            gap = best_reward - reward(text)
            chain = chain_of(text)
            answer = chain.answer if chain is not None else ""
            is_tie_elsewhere = gap == 0 and kind != "worse_answer" and _answers_differ(best_answer, answer)
            if gap > 0 or is_tie_elsewhere:
                pairs.append(Pair(question, best, text, kind, gap, "policy"))
    return pairs


# ---------------------------------------------------------------- rewards of answers

def text_reward(question: Question, text: str) -> float:
    """The task reward of a chain as text, in [0, 1]; 0 for a malformed one or where no gold is known."""
    chain = chain_of(text)
    if chain is None or not question.gold:
        return 0.0
    return item_reward(question.task, question.task.parse_answer(chain.answer), question.gold)


def _reward_gap(question: Question, better: str, worse: str) -> float:
    """max(0, reward(better) - reward(worse)) of two answers; 0 where no gold is known.

    Not below 0, because a pair claims more than a task reward: the better chain may be the truer one.
    """
    if not question.gold:
        return 0.0
    better_reward = item_reward(question.task, better, question.gold)
    worse_reward = item_reward(question.task, worse, question.gold)
    return max(0.0, better_reward - worse_reward)


def _answers_differ(first: str, second: str) -> bool:
    """Whether two answers differ in more than case and white space."""
    return " ".join(first.split()).lower() != " ".join(second.split()).lower()
