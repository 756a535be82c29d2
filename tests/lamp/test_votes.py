"""Votes, against the obvious way to count them."""
import math
from collections import Counter
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.lamp import votes
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS, Question

RATING, CHOICE, TEXT = TASKS["LaMP_3"], TASKS["LaMP_2"], TASKS["LaMP_4"]
LINES = st.lists(st.sampled_from("late trains again rain in spain plain".split()), min_size=1,
                 max_size=5).map(" ".join)


def chain(answer):
    return f"<think>\n<conclude>So {answer}.</conclude>\n</think>\n{answer}"


def slow_rating(answers):
    """The position of the voted rating: every rating is counted by hand."""
    given_ = [answer for answer in answers if answer is not None]
    if not given_:
        return 0
    count = {answer: sum(other == answer for other in given_) for answer in given_}
    middle = median(map(int, given_))
    order = sorted((-count[answer], abs(int(answer) - middle), place)
                   for place, answer in enumerate(answers) if answer is not None)
    return order[0][2]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", "4", "5", None]), min_size=1, max_size=10))
def test_a_rating_is_the_mode_then_the_nearest_to_the_median_then_the_first(answers):
    texts = [chain(answer) if answer else "<think>\n<conclude>So 4" for answer in answers]
    assert votes.voted(RATING, texts) == slow_rating(answers)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["comedy", "action", "fantasy", None]), min_size=1, max_size=9))
def test_a_choice_is_the_first_of_the_most_frequent(answers):
    texts = [chain(answer) if answer else "nothing of the kind" for answer in answers]
    place = votes.voted(CHOICE, texts)
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        assert place == 0
        return
    assert counts[answers[place]] == max(counts.values())
    assert not any(counts[answer] == max(counts.values()) for answer in answers[:place] if answer)


@settings(deadline=None)
@given(st.lists(LINES, min_size=1, max_size=8))
def test_a_text_is_the_one_that_is_most_like_the_others(lines):
    """A mean over all pairs of two different samples; equal ones, too, are two samples."""
    means = [math.fsum(item_reward(TEXT, one, other) for place, other in enumerate(lines) if place != own)
             / max(1, len(lines) - 1) for own, one in enumerate(lines)]
    assert votes.voted(TEXT, [chain(line) for line in lines]) == means.index(max(means))


def test_examples_by_hand():
    assert votes.voted(RATING, [chain(a) for a in "15154"]) == 1
    assert votes.voted(RATING, [chain(a) for a in "2424"]) == 0  # both are one away from 3: the first
    headlines = ["Rain in Spain", "Late trains", "Late trains again", "Trains late"]
    assert votes.voted(TEXT, [chain(a) for a in headlines]) == 1
    assert votes.voted(TEXT, ["<think>\nnever closed"] * 3) == 0


@pytest.mark.parametrize("gold, place", [("4", 1), ("3", 1), ("1", 2), ("5", 1)])
def test_the_oracle_takes_the_first_of_the_best(gold, place):
    question = Question("q", RATING, "u", "", gold, ())
    assert votes.best(question, ["<think>\nnever closed", chain("4"), chain("2"), chain("4")]) == place
