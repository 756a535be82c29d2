"""Preference pairs within one user: the best known chain against worse ones for the same question.

The kinds are worse_answer, hollow and no_profile, and other_user where the policy wrote from another user's
profile (pairs.py says what each is).
"""
from __future__ import annotations

import random

from ..lamp.tasks import Question
from ..tags.schema import Chain, render
from ..tags.teachers.cues import Cues
from .other_users import template_readings
from .pair import Pair, PolicyText, answers_differ, chain_of, reward_gap, text_reward

KIND_OF_VIEW = {"own": "worse_answer", "none": "no_profile", "other": "other_user"}
MAX_WRONG_READINGS = 2  # pairs of one question with a wrong reading of the template


def wrong_reading_pairs(question: Question, own_chain: Chain, cues: Cues) -> list[Pair]:
    """The template's first wrong readings of the right profile."""
    if question.task.kind == "text":
        return []
    own_text = render(own_chain)
    pairs: list[Pair] = []
    for chain in template_readings(question, cues):
        if len(pairs) < MAX_WRONG_READINGS and answers_differ(own_chain.answer, chain.answer):
            gap = reward_gap(question, own_chain.answer, chain.answer)
            pairs.append(Pair(question, own_text, render(chain), "worse_answer", gap, "template"))
    return pairs


def rollout_pairs(question: Question, own_chain: Chain | None, rollouts: list[PolicyText]) -> list[Pair]:
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
            is_tie_elsewhere = gap == 0 and kind != "worse_answer" and answers_differ(best_answer, answer)
            if gap > 0 or is_tie_elsewhere:
                pairs.append(Pair(question, best, text, kind, gap, "policy"))
    return pairs


def hollow_pairs(question: Question, own_chain: Chain, chains: dict[str, list[Chain]],
                  rng: random.Random) -> list[Pair]:
    """The user's own chain against three that keep its answer and lose its reasoning: one step left out (the
    shorter pair), a step of another user's chain put in (the longer pair), and all steps of that chain.

    chains: {user: the good chains of the user's questions} of all users of the side. The other chain is of
    another user and of any task, so that forms of other tasks are borrowed too.
    """
    steps, answer = own_chain.steps, own_chain.answer
    hollow_chains: list[Chain] = []
    if len(steps) > 1:
        left_out = rng.randrange(len(steps))
        hollow_chains.append(Chain((*steps[:left_out], *steps[left_out + 1:]), answer))
    other_users = [user for user in chains if user != question.user]
    if other_users:
        other_chain = rng.choice(chains[rng.choice(other_users)])
        place = rng.randrange(len(steps))
        hollow_chains.append(Chain((*steps[:place], rng.choice(other_chain.steps), *steps[place:]), answer))
        hollow_chains.append(Chain(other_chain.steps, answer))
    own_text = render(own_chain)
    return [Pair(question, own_text, render(chain), "hollow", 0.0, "teacher") for chain in hollow_chains
            if chain.steps != steps]
