"""Step 5: how PRMU's scores become rewards, and whose embedding an ablation asks with."""
import pytest
import torch

from tagpr_lite.lamp import mini
from tagpr_lite.steps.step5_guided import as_reward, other_users


def test_a_calibrated_score_is_a_probability():
    got = as_reward(torch.tensor([-2.0, 0.0, 4.0]), "sigmoid", temperature=2.0)
    assert got.tolist() == pytest.approx([0.26894, 0.5, 0.88080], abs=1e-4)


def test_a_score_within_its_group_is_bounded_and_keeps_its_order():
    scores = torch.tensor([3.0, 1.0, 2.0, 40.0])
    got = as_reward(scores, "group", temperature=9.0)
    assert got.min() >= 0 and got.max() <= 1 and got.argsort().tolist() == scores.argsort().tolist()
    # only the order and the distances count
    assert torch.allclose(got, as_reward(10 * scores + 5, "group", 9.0), atol=1e-5)
    assert as_reward(torch.full((4,), 3.0), "group", 1.0).tolist() == [0.5] * 4


def test_shuffled_users_are_others_of_the_same_task():
    questions = [q for s in mini.build(0, 6).values() for q in s["train"]]
    whose = other_users(questions, 0)
    assert all(whose[q.id].user != q.user and whose[q.id].task == q.task for q in questions)
