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
from operator import attrgetter

from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import seed_of
from ..tags.schema import Chain
from ..tags.teachers.cues import Cues
from .other_users import other_user_pairs
from .pair import KINDS, Pair, PolicyText, Rules, chain_of
from .selection import balanced, enough_questions
from .worse_chains import hollow_pairs, rollout_pairs, wrong_reading_pairs


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
    chains_of_user: dict[str, list[Chain]] = {}
    for question in questions:
        chain = chain_of_question.get(question.id)
        if chain is not None:
            chains_of_user.setdefault(question.user, []).append(chain)
    if wanted is not None:
        questions = enough_questions(questions, wanted, kept, rollouts_of.keys(), seed)

    pairs: list[Pair] = []
    for question in questions:
        own_chain = chain_of_question.get(question.id)
        if own_chain is not None:
            same_task = by_task[question.task.name]
            pairs += other_user_pairs(question, own_chain, same_task, other_users, rules, cues, rng,
                                      chain_of_question)
            pairs += wrong_reading_pairs(question, own_chain, cues)
            pairs += hollow_pairs(question, own_chain, chains_of_user, rng)
        pairs += rollout_pairs(question, own_chain, rollouts_of.get(question.id, []))
    distinct = list(dict.fromkeys(pairs))  # each pair once, in the order in which they come
    return balanced(distinct, KINDS, rng)
