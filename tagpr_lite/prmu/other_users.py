"""Preference pairs from other users: their chains for a user's question, their answers, their histories.

The kinds are other_user, others_answer and contradiction (pairs.py says what each is).
"""
from __future__ import annotations

import random
from dataclasses import replace

from ..lamp.retrieve import retrieve
from ..lamp.tasks import Question
from ..tags.chains import rejection_reason
from ..tags.facts import LOOKS, groundedness
from ..tags.schema import Chain, render
from ..tags.teachers import template
from ..tags.teachers.cues import Cues
from .pair import Pair, Rules, answers_differ, reward_gap

USERS_TRIED = 8  # other users looked at for one whose answer differs
TEMPLATE_READINGS = 4  # chains that the template is asked for


def other_user_pairs(question: Question, own_chain: Chain, same_task: list[Question], wanted: int,
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
        if is_new and answers_differ(own_chain.answer, other_chain.answer):
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
    gap = reward_gap(question, own_chain.answer, other_chain.answer)
    mirrored_gap = reward_gap(replace(asked, gold=other_chain.answer), other_chain.answer, own_chain.answer)
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
    if other_chain is None or not answers_differ(own_chain.answer, other_chain.answer):
        return []
    pairs = []
    for asked, chain, answer, mirrored in ((question, own_chain, other_chain.answer, False),
                                           (other_question, other_chain, own_chain.answer, True)):
        rejected = render(replace(chain, answer=answer))
        gap = reward_gap(asked, chain.answer, answer)
        pairs.append(Pair(asked, render(chain), rejected, "others_answer", gap, "template", mirrored))
    return pairs


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
