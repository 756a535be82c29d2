"""The guard of the PRMU term: lowered, dropped, loudly, and never forgiven."""
import pytest

from tagpr_lite.config import GRPO
from tagpr_lite.grpo.guard import LEAST_STEPS, WINDOW, Guard, mean_correlation

BOUNDS = GRPO(guard_accuracy=0.55, guard_agreement=-0.1)


@pytest.mark.parametrize("accuracy, trust", [(0.9, 1.0), (0.65, 1.0), (0.6, 0.5), (0.55, 0.0), (0.2, 0.0)])
def test_trust_follows_the_accuracy_on_held_out_users(accuracy, trust):
    said = []
    assert Guard(accuracy, BOUNDS, said.append).trust == pytest.approx(trust)
    assert len(said) == (trust < 1) and all("WARNING" in s and ("dropped" in s) == (trust == 0) for s in said)


def test_a_reward_that_prefers_what_is_wrong_is_dropped_and_stays_dropped():
    said = []
    guard = Guard(0.9, BOUNDS, said.append)
    for _ in range(LEAST_STEPS - 1):
        guard.see(-0.8)
    assert guard.trust == 1.0 and not said  # too few to judge
    guard.see(-0.8)
    assert guard.trust == 0.0 and "dropped" in said[-1]
    for _ in range(2 * WINDOW):
        guard.see(0.9)
    assert guard.trust == 0.0 and len(said) == 1


def test_steps_that_say_nothing_do_not_count_and_old_ones_are_forgotten():
    guard = Guard(0.9, BOUNDS, lambda _: None)
    for value in [-0.3] * (LEAST_STEPS - 1) + [None] * 20 + [0.9] * WINDOW + [-0.2] * 2:
        guard.see(value)
    assert guard.trust == 1.0
    guard = Guard(0.9, BOUNDS, lambda _: None)
    for _ in range(WINDOW):
        guard.see(-0.05)
    assert guard.trust == pytest.approx(0.5)


def test_correlation_is_the_mean_within_groups_that_vary():
    up = ([0.1, 0.2, 0.3], [0.0, 0.5, 1.0])
    down = ([0.3, 0.2, 0.1], [0.0, 0.5, 1.0])
    flat = ([0.1, 0.2, 0.3], [1.0, 1.0, 1.0])
    assert mean_correlation([up, flat]) == 1.0 and mean_correlation([up, down]) == 0.0
    assert mean_correlation([flat, ([], []), ([1.0, 2.0], [2.0, 3.0])]) is None
