"""Pairs say why, only the user tells mirrored ones apart, no user crosses the split, length predicts
nothing."""
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS, Question
from tagpr_lite.prmu.pair import KINDS, Pair, PolicyText, chain_of
from tagpr_lite.prmu.pairs import make_pairs
from tagpr_lite.prmu.selection import balanced, cases, enough_questions, take_turns, tune_users
from tagpr_lite.prmu.worse_chains import rollout_pairs
from tagpr_lite.tags.facts import groundedness
from tagpr_lite.tags.teachers.cues import Cues


@pytest.fixture(scope="module")
def sides(questions, known):
    """{"train", "tune": pairs}."""
    kept, rules, cues = known
    tune = tune_users(questions, 0.4, 0)
    questions_of = {"train": [q for q in questions if q.user not in tune],
                    "tune": [q for q in questions if q.user in tune]}
    return {side: make_pairs(of_side, kept, [], rules, cues, 0) for side, of_side in questions_of.items()}


def test_the_kinds_that_need_no_policy_come_up_in_every_task(sides):
    counts = Counter((pair.question.task.name, pair.kind) for pair in sides["train"])
    for task in ("LaMP_2", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_6", "LaMP_7"):
        assert counts[task, "other_user"] and counts[task, "contradiction"], counts
    assert {pair.kind for pair in sides["train"]} == set(KINDS) - {"no_profile"}


def test_no_user_is_on_two_sides_not_even_as_the_other_user(sides, questions):
    users = {side: {pair.question.user for pair in pairs} for side, pairs in sides.items()}
    assert all(users.values())
    assert not users["train"] & users["tune"]
    owner = {item.id: question.user for question in questions for item in question.profile}
    tune = tune_users(questions, 0.4, 0)
    for side, pairs in sides.items():
        items = [item for pair in pairs for item in pair.question.profile]
        assert all((owner[item.id] in tune) == (side == "tune") for item in items)


def test_a_chain_is_right_for_the_user_it_is_chosen_for(sides, known):
    """By the hidden rules: what is chosen is that user's answer and what is rejected is not, or it is false
    about them."""
    for pair in sides["train"] + sides["tune"]:
        question, chosen, rejected = pair.question, chain_of(pair.chosen), chain_of(pair.rejected)
        assert chosen.answer == question.gold and groundedness(chosen, question) == 1.0
        if pair.kind == "contradiction":
            assert rejected.answer == chosen.answer and pair.gap == 0
            assert groundedness(rejected, question) < 1.0
        elif pair.kind == "hollow":
            assert rejected.answer == chosen.answer and rejected.steps != chosen.steps and pair.gap == 0
        else:
            assert rejected.answer != chosen.answer
            assert pair.gap == pytest.approx(1 - item_reward(question.task, rejected.answer, question.gold))


def test_hollow_chains_are_cut_padded_and_borrowed(sides):
    hollow = [(chain_of(pair.chosen).steps, chain_of(pair.rejected).steps) for pair in sides["train"]
              if pair.kind == "hollow"]
    cut = [own for own, other in hollow if len(other) == len(own) - 1 and set(other) < set(own)]
    padded = [own for own, other in hollow if len(other) == len(own) + 1 and set(own) < set(other)]
    borrowed = [own for own, other in hollow if not set(other) & set(own)]
    assert min(len(cut), len(padded), len(borrowed)) > 20
    tags = {(tuple(step.tag for step in own), tuple(step.tag for step in other)) for own, other in hollow}
    assert len(tags) > 10


def test_chains_alone_cannot_tell_mirrored_pairs_apart(sides):
    """Every pair of the template that differs in the user alone comes twice, with the preference reversed:
    whatever a reader of the chains prefers is wrong half of the time."""
    user_only = [pair for pair in sides["train"] if pair.kind == "other_user"]
    counts = Counter((pair.question.input, frozenset((pair.chosen, pair.rejected))) for pair in user_only)
    assert len(user_only) > 100 and all(count % 2 == 0 for count in counts.values())
    assert sum(pair.mirrored for pair in user_only) * 2 == len(user_only)


def test_pairs_are_the_same_every_time(sides, questions, known):
    kept, rules, cues = known
    tune = tune_users(questions, 0.4, 0)
    train = [question for question in questions if question.user not in tune]
    assert make_pairs(train, kept, [], rules, cues, 0) == sides["train"]
    assert make_pairs(train, kept, [], rules, cues, 1) != sides["train"]


def test_without_rules_another_users_answer_is_their_own_to_something_else(questions, known):
    kept, _, cues = known
    pairs = make_pairs(questions, kept, [], {}, cues, 0)
    of_free_text = {pair.kind for pair in pairs if pair.question.task.kind == "text"}
    assert "other_user" not in of_free_text  # only a policy can write it
    assert "contradiction" in of_free_text
    golds = {(question.task.name, question.gold) for question in questions}
    assert all((pair.question.task.name, chain_of(pair.rejected).answer) in golds for pair in pairs
               if pair.kind == "others_answer")


def test_an_answer_at_the_end_is_right_about_as_often_as_wrong():
    """Where the rules are unknown and most users have one answer, the few others would make most of the
    pairs without the mirror, and the usual answer would be wrong in them."""
    ratings = [replace(q, retrieved=retrieve(q, "bm25", 3, 0), gold="5" if q.gold in "45" else q.gold)
               for q in mini.build(0, 60, ["LaMP_3"])["LaMP_3"]["train"]]
    kept = {q.id: f"<think>\n<examine_examples>Past scores 4 5.</examine_examples>\n</think>\n{q.gold}"
            for q in ratings}
    pairs = [pair for pair in make_pairs(ratings, kept, [], {}, Cues(), 0) if pair.kind == "others_answer"]
    chosen = Counter(chain_of(pair.chosen).answer for pair in pairs)
    rejected = Counter(chain_of(pair.rejected).answer for pair in pairs)
    assert len(pairs) > 100 and chosen["5"] + rejected["5"] > 50
    for answer in chosen | rejected:
        assert abs(chosen[answer] - rejected[answer]) <= 0.2 * (chosen[answer] + rejected[answer])


def answered(answer):
    """A chain as text with this answer."""
    return f"<think>\n<conclude>So {answer}.</conclude>\n</think>\n{answer}"


def test_rollouts_become_pairs_by_view_and_score(questions):
    question = next(question for question in questions if question.task.name == "LaMP_3")
    right = answered(question.gold)
    wrong = [answered(star) for star in "12345" if star != question.gold]
    malformed = "no chain at all"
    rollouts = [PolicyText(question, text, view)
                for view, text in (("own", right), ("own", wrong[0]), ("none", wrong[1]), ("none", right),
                                   ("other", wrong[2]), ("other", malformed))]
    pairs = rollout_pairs(question, None, rollouts)
    assert {(pair.kind, pair.rejected) for pair in pairs} == {
        ("worse_answer", wrong[0]), ("no_profile", wrong[1]), ("other_user", wrong[2]),
        ("other_user", malformed)}  # the right answer is not rejected
    assert all(pair.chosen == right and pair.source == "policy" for pair in pairs)
    assert {pair.gap for pair in pairs if pair.rejected == malformed} == {1.0}

    without_a_right_one = [PolicyText(question, malformed, "own"), PolicyText(question, wrong[0], "none")]
    assert rollout_pairs(question, None, without_a_right_one) == []


QUESTION = Question("q", TASKS["LaMP_3"], "u", "", "5", ())


def pair_of_lengths(kind, chosen, rejected, question_id="q"):
    question = replace(QUESTION, id=question_id)
    return Pair(question, "a" * chosen, "b" * rejected, kind, 0.0, "template")


random_pairs = st.builds(pair_of_lengths, st.sampled_from(KINDS), st.integers(1, 6), st.integers(1, 6))


@given(st.lists(random_pairs, max_size=60), st.integers(0, 9))
def test_length_predicts_nothing_within_a_kind(pairs, seed):
    def differences(some, kind):
        return [len(pair.chosen) - len(pair.rejected) for pair in some if pair.kind == kind]

    kept = balanced(pairs, KINDS, random.Random(seed))
    for kind in KINDS:
        before, after = differences(pairs, kind), differences(kept, kind)
        fewer = min(sum(d > 0 for d in before), sum(d < 0 for d in before))
        assert sum(d > 0 for d in after) == sum(d < 0 for d in after) == fewer
        assert after.count(0) == before.count(0)
    assert not Counter(map(id, kept)) - Counter(map(id, pairs))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2)), max_size=40))
def test_cases_share_a_question_and_a_chosen_chain(rows):
    pairs = [pair_of_lengths("other_user", length, n % 7 + 1, f"q{question}")
             for n, (question, length) in enumerate(rows)]
    found = cases(pairs)
    assert sorted(id(pair) for case in found for pair in case) == sorted(map(id, pairs))
    for case in found:
        assert len({(pair.question.id, pair.chosen) for pair in case}) == 1 and len(case) <= 4


def test_kinds_take_turns():
    rows = [("a", n) for n in range(5)] + [("b", 0), ("c", 0), ("c", 1)]
    turns = take_turns(rows, 6, lambda row: row[0])
    assert turns == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]


def test_a_user_held_out_of_one_task_is_held_out_of_all():
    def asked_by_each(task, users):
        return [replace(QUESTION, task=TASKS[task], user=user) for user in users]
    questions = asked_by_each("LaMP_3", "abcdefghij")
    questions += asked_by_each("LaMP_2", "abc") + asked_by_each("LaMP_4", "wxyz")
    drawn = tune_users(questions, 0.3, 0)
    # a share of ten; at least two of four; none of three
    assert len(drawn & set("abcdefghij")) == 3 and len(drawn & set("wxyz")) == 2
    assert tune_users(questions[::-1], 0.3, 0) == drawn and tune_users(questions, 0.3, 1) != drawn


# ---------------------------------------------------------------- a bounded number of questions

def test_as_many_questions_as_pairs_are_wanted_tasks_and_users_in_turns(questions, known):
    kept = known[0]
    chosen = enough_questions(questions, 21, kept, (), 0)
    counts = Counter(question.task.name for question in chosen if question.id in kept)
    assert len(chosen) == 21 and max(counts.values()) - min(counts.values()) <= 1
    users = Counter((question.task.name, question.user) for question in chosen)
    assert max(users.values()) == 1  # there are more users than turns
    assert chosen == [question for question in questions if question in chosen]  # their order stays
    assert enough_questions(questions, 21, kept, (), 0) == chosen
    assert enough_questions(questions, 21, kept, (), 1) != chosen


def test_questions_with_rollouts_come_too_and_those_without_a_chain_do_not(questions, known):
    kept = dict(list(known[0].items())[:10])
    without = next(question.id for question in questions if question.id not in kept)
    assert {q.id for q in enough_questions(questions, 999, kept, (), 0)} == set(kept)
    assert {q.id for q in enough_questions(questions, 0, kept, {without}, 0)} == {without}


def test_enough_pairs_are_made_and_not_many_more(questions, known):
    kept, rules, cues = known
    wanted = 24
    pairs = make_pairs(questions, kept, [], rules, cues, 0, wanted=wanted)
    of_all = make_pairs(questions, kept, [], rules, cues, 0)
    assert wanted <= len(pairs) < len(of_all)
    assert len({pair.question.id.partition("@")[0] for pair in pairs}) <= wanted
    assert make_pairs(questions, kept, [], rules, cues, 0, wanted=9999) == of_all
