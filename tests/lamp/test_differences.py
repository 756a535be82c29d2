"""Differences of two systems: by a slow, obvious implementation, by their properties, and by coverage."""
import math
import random
from statistics import mean

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import stdtr

from tagpr_lite.bench import intervals
from tagpr_lite.config import UserError
from tagpr_lite.lamp.differences import (
    FLOOR,
    RESAMPLES,
    Scored,
    by_task,
    difference,
    holm,
    standard_error,
)
from tagpr_lite.lamp.over_seeds import over_seeds
from tagpr_lite.runs import seed_of


def scored(values):
    """{task: {user: [a value for each question]}} as rows."""
    return [Scored(task, user, f"{user}-{n}", value) for task, users in values.items()
            for user, of_user in users.items() for n, value in enumerate(of_user)]


def pair(rows, **settings):
    """The difference of two systems whose values differ by those of the rows."""
    return difference(*intervals.two_systems(rows), **settings)


def drawn(seed, tasks=3, users=6, values=(-1.0, -0.25, 0.0, 0.0, 0.0, 0.3, 1.0)):
    rng = random.Random(seed)
    return scored({f"t{t}": {f"u{u}": [rng.choice(values) for _ in range(rng.randint(1, 3))]
                             for u in range(users)} for t in range(tasks)})


# ---------------------------------------------------------------- a slow, obvious implementation

def task_mean_and_variance(users):
    """users: a list of lists of differences, one for each user."""
    questions = [d for user in users for d in user]
    average = mean(questions)
    squares = sum(sum(d - average for d in user) ** 2 for user in users)
    return average, len(users) / (len(users) - 1) * squares / len(questions) ** 2


def slow_difference(rows, seed):
    """(value, low, high, p, error), word for word as the module's docstring has it."""
    tasks = {}
    for row in sorted(rows):
        tasks.setdefault(row.task, {}).setdefault(row.user, []).append(row.value)
    tasks = {task: list(users.values()) for task, users in tasks.items()}
    means, variances = zip(*map(task_mean_and_variance, tasks.values()))
    value, error = mean(means), math.sqrt(sum(variances)) / len(tasks)
    draws = {task: np.random.default_rng(seed_of("difference", seed, task))
             .integers(len(users), size=(RESAMPLES, len(users))) for task, users in tasks.items()}
    ratios = []
    for n in range(RESAMPLES):
        again = [task_mean_and_variance([tasks[task][k] for k in draws[task][n]]) for task in tasks]
        floored = [max(v, FLOOR * was) for (_, v), was in zip(again, variances)]
        error_again = math.sqrt(sum(floored)) / len(tasks)
        ratios.append(abs(mean(m for m, _ in again) - value) / error_again)
    as_far = sum(ratio >= abs(value) / error - 1e-9 for ratio in ratios)
    q = sorted(ratios)[1899]  # the 1,900th of 1,999
    return value, value - q * error, value + q * error, (1 + as_far) / 2000, error


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_docstring_says(seed):
    second = drawn(seed)
    found = pair(second, seed=seed)
    assert found[:5] == pytest.approx(slow_difference(second, seed), abs=1e-12)
    assert found.questions == len(second) and found.users == 18 and found.tasks == 3


def test_value_and_error_by_hand():
    rows = scored({"a": {"x": [1.0], "y": [0.0, 0.5]}, "b": {"z": [0.2], "w": [0.6]}})
    found = pair(rows)
    # a: mean 0.5, residuals 0.5 and -0.5: 2 * 0.5 / 9; b: mean 0.4, residuals -0.2 and 0.2: 2 * 0.08 / 4
    assert found.value == pytest.approx(0.45)
    assert found.error == pytest.approx(math.sqrt(1 / 9 + 0.04) / 2) == pytest.approx(standard_error(rows))


def test_users_in_blocks_are_the_same_users(monkeypatch):
    second = drawn(1)
    whole = pair(second)
    monkeypatch.setattr("tagpr_lite.lamp.differences.AT_ONCE", 50)
    assert pair(second) == whole


# ---------------------------------------------------------------- properties

VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
USERS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.tuples(VALUES, VALUES), min_size=1,
                                                            max_size=3), min_size=1)
DATA = st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), USERS, min_size=1)


def two_systems(data):
    return [scored({task: {user: [pair[system] for pair in pairs] for user, pairs in users.items()}
                    for task, users in data.items()}) for system in (0, 1)]


@settings(max_examples=60, deadline=None)
@given(DATA, st.randoms(use_true_random=False))
def test_order_is_nothing_and_the_other_way_round_is_the_negative(data, rng):
    first, second = two_systems(data)
    found = difference(first, second)
    back = difference(second, first)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert back.p == found.p and back.error == pytest.approx(found.error)
    rng.shuffle(first)
    rng.shuffle(second)
    assert difference(first, second) == found


@settings(max_examples=100, deadline=None)
@given(DATA, st.integers(0, 3))
def test_the_interval_holds_the_value_and_agrees_with_p(data, seed):
    found = difference(*two_systems(data), seed=seed)
    assert -1 <= found.low <= found.value + 1e-12 and found.value - 1e-12 <= found.high <= 1
    assert 0 < found.p <= 1 and found.error >= 0
    assume(min(abs(found.low), abs(found.high)) > 1e-9)  # at the edge floats decide
    assert found.beyond_noise == (found.low > 0 or found.high < 0)


def test_only_questions_that_both_have_count():
    first, second = intervals.two_systems(drawn(0))
    more = [Scored("t0", "u0", "further", 1.0), Scored("t9", "u", "q", 1.0)]
    assert difference(first, second + more) == difference(first, second)


def test_a_user_with_many_questions_is_one_user():
    """A hundred equal questions of every user are no more than one question of every user."""
    rng = random.Random(0)
    once = scored({"t": {f"u{n}": [rng.choice([0.0, 0.0, 0.5, -0.2])] for n in range(20)}})
    often = [row._replace(question=f"{row.question}-{n}") for row in once for n in range(100)]
    one, many = pair(once), pair(often)
    assert (many.low, many.high, many.p) == pytest.approx((one.low, one.high, one.p))
    assert (many.questions, one.questions) == (2000, 20)


# ---------------------------------------------------------------- where little is known

def test_one_question_tells_nothing():
    rows = scored({"t": {"u": [0.8]}})
    found = pair(rows)
    assert (found.value, found.low, found.high, found.p) == (0.8, -1, 1, 1)
    others = drawn(0, tasks=3)
    without, with_one = pair(others), pair(others + rows)
    # Of four tasks one is unknown by 2: 2 / 4 on both sides.
    assert with_one.high - with_one.low == pytest.approx((without.high - without.low) * 3 / 4 + 1)
    assert standard_error(rows) == 0.5


def test_one_user_stands_for_themselves():
    rows = scored({"t": {"u": [0.1, 0.3, 0.2, 0.15, 0.35, 0.2]}})
    apart = [row._replace(user=row.question) for row in rows]
    found = pair(rows)
    assert found.users == 1 and found[:6] == pair(apart)[:6] and found.beyond_noise


@pytest.mark.parametrize("users", [2, 5, 40])
def test_equal_answers_do_not_prove_that_there_is_no_difference(users):
    rows = scored({"t": {f"u{n}": [0.5, 0.25] for n in range(users)}})
    same = difference(rows, rows)
    share = 1 - 0.05 ** (1 / users)
    assert (same.value, same.error, same.p) == (0, 0, 1)
    assert (same.low, same.high) == pytest.approx((-share, share)) and not same.beyond_noise
    shifted = pair([row._replace(value=0.25) for row in rows])
    assert shifted.value == 0.25 and shifted.high == pytest.approx(0.25 + share * 0.75)
    assert shifted.p == pytest.approx(0.8 ** users)  # 20% of users at -1 would make it 0
    assert shifted.beyond_noise == (shifted.low > 0) == (users == 40)


def test_what_cannot_be_compared_is_one_line():
    rows = drawn(0, values=(0.0, 0.5))
    with pytest.raises(UserError, match="no question in common"):
        difference(rows, [row._replace(task="t" + row.task) for row in rows])
    with pytest.raises(UserError, match="is there twice"):
        difference(rows + rows[:1], rows)
    with pytest.raises(UserError, match="of user 'u0' in one system, of 'v' in the other"):
        difference(rows, [row._replace(user="v") for row in rows])
    with pytest.raises(UserError, match="nothing to compare"):
        standard_error([])
    with pytest.raises(UserError, match="a value of nan"):
        standard_error([Scored("t", "u", "q", math.nan)])
    with pytest.raises(UserError, match="a value of -0.1"):
        standard_error([Scored("t", "u", "q", -0.1)])


# ---------------------------------------------------------------- many tasks, many seeds

def test_tasks_are_compared_by_themselves_and_holm_adjusts():
    second = drawn(2)
    found = by_task(*intervals.two_systems(second), seed=4)
    alone = [row for row in second if row.task == "t1"]
    assert list(found) == ["t0", "t1", "t2"] and found["t1"] == pair(alone, seed=4)
    # Holm's 1979 procedure: 4 * 0.01, 3 * 0.015 below it, 2 * 0.03, 1 * 0.04 below that
    adjusted = holm({"a": 0.03, "b": 0.01, "c": 0.015, "d": 0.04})
    assert adjusted == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.045, "d": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0} and holm({}) == {}


def runs_of(by_run, same_users=False):
    """Runs of one task and four users, whose mean differences are `by_run`."""
    runs = []
    for n, value in enumerate(by_run):
        second = [Scored("t", f"u{k}" if same_users else f"{n}/u{k}", "q" + str(k), value + shift)
                  for k, shift in enumerate((-0.1, -0.1, 0.1, 0.1))]
        runs.append(intervals.two_systems(second))
    return runs


def test_three_runs_of_other_users_are_students_t_over_the_runs():
    found = over_seeds(runs_of([0.1, 0.2, 0.3]))
    half = 4.302653 * 0.1 / math.sqrt(3)  # t of 2 degrees of freedom, their standard deviation is 0.1
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-6)
    assert found.by_run == pytest.approx((0.1, 0.2, 0.3)) and not found.beyond_noise
    assert found.p == pytest.approx(0.0742, abs=1e-4)  # t = 3.464
    # These very runs: 4/3 * 0.04 / 16 of each run, 9 degrees of freedom.
    half = 2.262157 * math.sqrt(3 * (4 / 3 * 0.04 / 16)) / 3
    assert found.these == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)


def test_runs_that_share_users_share_their_luck():
    apart, together = over_seeds(runs_of([0.1, 0.2, 0.3])), over_seeds(runs_of([0.1, 0.2, 0.3], True))
    # Every run has the same users with the same effects: their whole variance comes on top.
    assert together.error ** 2 == pytest.approx(apart.error ** 2 + 4 / 3 * 0.04 / 16)
    once = difference(*runs_of([0.2])[0])
    assert (together.these[1] - together.these[0]) / 2 == pytest.approx(3.182446 * once.error, abs=1e-6)


def test_three_runs_that_agree_by_luck_are_no_surer_of_a_new_run_than_of_themselves():
    found = over_seeds(runs_of([0.2, 0.2001, 0.1999]))
    assert (found.low, found.high) == found.these and found.these[0] > 0
    half = 2.262157 * math.sqrt(3 * (4 / 3 * 0.04 / 16)) / 3  # of these runs, as above
    assert found.high - found.value == pytest.approx(half, abs=1e-6)
    assert found.error == pytest.approx(half / 2.262157, abs=1e-6)
    assert found.p == pytest.approx(2 * (1 - stdtr(9, found.value / found.error)), abs=1e-6)


def test_one_run_says_nothing_of_other_seeds():
    found = over_seeds(runs_of([0.3]))
    assert (found.value, found.low, found.high, found.p) == pytest.approx((0.3, -1, 1, 1))
    assert found.these[0] > 0.1
    with pytest.raises(UserError, match="no run"):
        over_seeds([])


# ---------------------------------------------------------------- coverage

@pytest.mark.parametrize("place", [6, 7])  # eight mixed tasks of 16 users, and one of 40
def test_the_interval_covers_known_effects(place):
    found = intervals.coverage(intervals.SCENARIOS[place], data_sets=150)
    assert 0.88 <= found["covered"] <= 1 - 1e-9  # 95% within four standard errors; always is too wide


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_the_interval_over_seeds_covers_a_new_run(spread):
    for same_users in (False, True):
        found = intervals.coverage_over_seeds("three seeds", spread, same_users, data_sets=300)
        assert 0.90 <= found["covered"] <= 0.996, found
