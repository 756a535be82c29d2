"""Pairs say why, only the user tells mirrored ones apart, no user crosses the split, length says nothing."""
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.prmu import pairs as made
from tagpr_lite.prmu.pairs import (
    KINDS,
    Pair,
    Written,
    balanced,
    cases,
    chain_of,
    make_pairs,
    take_turns,
    tune_users,
)
from tagpr_lite.tags.facts import groundedness


@pytest.fixture(scope="module")
def sides(questions, known):
    kept, rules, cues = known
    tune = tune_users(questions, 0.4, 0)
    return {side: make_pairs([q for q in questions if (q.user in tune) == (side == "tune")], kept, [], rules,
                             cues, 0) for side in ("train", "tune")}


def test_the_kinds_that_need_no_policy_come_up_in_every_task(sides):
    of = Counter((p.question.task.name, p.kind) for p in sides["train"])
    for task in ("LaMP_2", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_6", "LaMP_7"):
        assert of[task, "other_user"] and of[task, "contradiction"], of
    assert {p.kind for p in sides["train"]} == set(KINDS) - {"no_profile"}


def test_no_user_is_on_two_sides_not_even_as_the_other_user_question(sides, questions):
    users = {side: {p.question.user for p in found} for side, found in sides.items()}
    assert all(users.values())
    assert not users["train"] & users["tune"]
    profile = {i.id: q.user for q in questions for i in q.profile}
    tune = tune_users(questions, 0.4, 0)
    for side, found in sides.items():
        assert all((profile[i.id] in tune) == (side == "tune") for p in found for i in p.question.profile)


def test_a_chain_is_right_for_the_user_it_is_chosen_for(sides, known):
    """By the hidden rules: what is chosen is that user's answer and what is rejected is not, or it is false
    about them."""
    _, rules, _ = known
    for p in (p for found in sides.values() for p in found):
        chosen, rejected = chain_of(p.chosen), chain_of(p.rejected)
        assert chosen.answer == p.question.gold and groundedness(chosen, p.question) == 1.0
        if p.kind == "contradiction":
            assert rejected.answer == chosen.answer and groundedness(rejected, p.question) < 1.0 and p.gap == 0
        else:
            assert rejected.answer != chosen.answer
            assert p.gap == pytest.approx(1 - item_reward(p.question.task, rejected.answer, p.question.gold))


def test_chains_alone_cannot_tell_mirrored_pairs_apart(sides):
    """Every pair of the template that differs in the user alone comes twice, the other way round; so whatever
    a reader of the chains prefers is wrong half of the time."""
    only = [p for p in sides["train"] if p.kind == "other_user"]
    orders = Counter(frozenset(((p.question.input, p.chosen, p.rejected),
                                (p.question.input, p.rejected, p.chosen))) for p in only)
    assert len(only) > 100 and all(n % 2 == 0 for n in orders.values())
    assert sum(p.mirrored for p in only) * 2 == len(only)


def test_pairs_are_the_same_every_time(sides, questions, known):
    kept, rules, cues = known
    train = [q for q in questions if q.user not in tune_users(questions, 0.4, 0)]
    assert make_pairs(train, kept, [], rules, cues, 0) == sides["train"] != make_pairs(train, kept, [], rules, cues, 1)


def test_without_rules_another_users_answer_is_their_own_to_something_else(questions, known):
    kept, _, cues = known
    found = make_pairs(questions, kept, [], {}, cues, 0)
    assert not any(p.kind == "other_user" and p.question.task.kind == "text" for p in found)  # only a policy can write it
    golds = {(q.task.name, q.gold) for q in questions}
    assert all((p.question.task.name, chain_of(p.rejected).answer) in golds for p in found
               if p.kind == "others_answer")
    assert any(p.kind == "contradiction" and p.question.task.kind == "text" for p in found)


CHAIN = "<think>\n<conclude>So {}.</conclude>\n</think>\n{}"


def test_rollouts_become_pairs_by_view_and_score(questions, known):
    _, rules, cues = known
    q = next(q for q in questions if q.task.name == "LaMP_3")
    at = lambda star: CHAIN.format(star, star)
    off = [str(s) for s in range(1, 6) if str(s) != q.gold]
    texts = [("own", at(q.gold)), ("own", at(off[0])), ("none", at(off[1])), ("none", at(q.gold)),
             ("other", at(off[2])), ("other", "no chain at all")]
    found = made._of_rollouts(q, None, [Written(q, t, v) for v, t in texts])
    assert {(p.kind, p.rejected) for p in found} == {("worse_answer", at(off[0])), ("no_profile", at(off[1])), ("other_user", at(off[2])),
                                                     ("other_user", "no chain at all")}  # the right answer is not rejected
    assert all(p.chosen == at(q.gold) and p.source == "policy" for p in found)
    assert {p.gap for p in found if p.rejected == "no chain at all"} == {1.0}
    assert made._of_rollouts(q, None,
                             [Written(q, "no chain at all", "own"), Written(q, at(off[0]), "none")]) == []


def pair(kind, chosen, rejected, q="q"):
    return Pair(replace(QUESTION, id=q), "a" * chosen, "b" * rejected, kind, 0.0, "template")


QUESTION = made.Question("q", TASKS["LaMP_3"], "u", "", "5", ())


@given(st.lists(st.builds(pair, st.sampled_from(KINDS), st.integers(1, 6), st.integers(1, 6)), max_size=60), st.integers(0, 9))
def test_length_says_nothing_within_a_kind(pairs, seed):
    kept = balanced(pairs, random.Random(seed))
    for kind in KINDS:
        of = [len(p.chosen) - len(p.rejected) for p in kept if p.kind == kind]
        had = [len(p.chosen) - len(p.rejected) for p in pairs if p.kind == kind]
        assert sum(d > 0 for d in of) == sum(d < 0 for d in of) == min(sum(d > 0 for d in had),
                                                                       sum(d < 0 for d in had))
        assert of.count(0) == had.count(0)
    assert not Counter(map(id, kept)) - Counter(map(id, pairs))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2)), max_size=40))
def test_cases_share_a_question_and_a_chosen_chain(rows):
    pairs = [pair("other_user", length, n % 7 + 1, f"q{q}") for n, (q, length) in enumerate(rows)]
    found = cases(pairs)
    assert sorted(map(id, (p for c in found for p in c))) == sorted(map(id, pairs))
    assert all(len({(p.question.id, p.chosen) for p in c}) == 1 and len(c) <= 4 for c in found)


def test_kinds_take_turns():
    rows = [("a", n) for n in range(5)] + [("b", 0), ("c", 0), ("c", 1)]
    assert take_turns(rows, 6, lambda r: r[0]) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_whoever_is_held_out_of_one_task_is_held_out_of_all():
    of = lambda task, users: [replace(QUESTION, task=TASKS[task], user=u) for u in users]
    questions = of("LaMP_3", "abcdefghij") + of("LaMP_2", "abc") + of("LaMP_4", "wxyz")
    drawn = tune_users(questions, 0.3, 0)
    assert len(drawn & set("abcdefghij")) == 3 and len(drawn & set("wxyz")) == 2  # at least two of four; none of three
    assert tune_users(questions[::-1], 0.3, 0) == drawn and tune_users(questions, 0.3, 1) != drawn
