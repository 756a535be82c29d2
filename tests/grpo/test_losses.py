"""Every loss against numbers worked out by hand, and the gradient against how a step is cut up."""
import math

import pytest
import torch

from tagpr_lite.config import UserError
from tagpr_lite.grpo import losses


def test_advantages_by_hand():
    got = losses.advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.51, 0.5, 0.5, 0.49]]), std_floor=0.05)
    assert torch.allclose(got[0], torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert torch.allclose(got[1], torch.tensor([0.2, 0.0, 0.0, -0.2]), atol=1e-6)  # 0.01 / the floor, not / 0.007


def test_groups_without_differences_carry_no_signal():
    assert losses.has_signal(torch.tensor([[0.5, 0.5], [0.5, 0.6]])).tolist() == [False, True]


@pytest.mark.parametrize("ratio, advantage, want, slope", [
    (1.0, 2.0, -2.0, -2.0), (1.5, 1.0, -1.28, 0.0), (0.5, 1.0, -0.5, -0.5), (0.5, -1.0, 0.8, 0.0), (1.5, -1.0, 1.5, 1.5)])
def test_policy_loss_by_hand(ratio, advantage, want, slope):
    logp = torch.tensor([[math.log(ratio) - 3]], requires_grad=True)
    loss = losses.policy_loss(logp, torch.tensor([[-3.0]]), torch.tensor([advantage]), 0.2, 0.28)
    loss.sum().backward()
    assert loss.item() == pytest.approx(want, abs=1e-6) and logp.grad.item() == pytest.approx(slope, abs=1e-6)


def test_kl_is_zero_at_the_reference_and_unbiased():
    logp = torch.log(torch.tensor([0.7, 0.2, 0.1]))
    ref = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    assert (losses.kl_to_reference(logp, logp) == 0).all() and (losses.kl_to_reference(logp, ref) > 0).all()
    expected = (logp.exp() * losses.kl_to_reference(logp, ref)).sum()
    assert expected.item() == pytest.approx((logp.exp() * (logp - ref)).sum().item(), abs=1e-6)


def test_token_weights_by_hand():
    lengths = torch.tensor([2, 8])
    assert losses.token_weights("grpo", lengths, 16).tolist() == pytest.approx([1 / 4, 1 / 16])
    assert losses.token_weights("dapo", lengths, 16).tolist() == pytest.approx([0.1, 0.1])
    assert losses.token_weights("dr_grpo", lengths, 16).tolist() == pytest.approx([1 / 32, 1 / 32])
    with pytest.raises(UserError):
        losses.token_weights("ppo", lengths, 16)


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo"])
def test_losses_equal_trl(kind):
    """The same tensors through TRL's formulas (GRPOTrainer._compute_loss, 1.16), written out."""
    g = torch.Generator().manual_seed(0)
    logp, old = (-torch.rand(4, 7, generator=g) for _ in range(2))
    adv, lengths = torch.randn(4, generator=g), torch.tensor([7, 3, 5, 1])
    mask = torch.arange(7)[None] < lengths[:, None]
    per_token = losses.policy_loss(logp, old, adv, 0.2, 0.28)
    ours = (per_token * mask * losses.token_weights(kind, lengths, 7)[:, None]).sum()
    ratio = torch.exp(logp - old)
    theirs = -torch.min(ratio * adv[:, None], torch.clamp(ratio, 0.8, 1.28) * adv[:, None])
    want = {"grpo": ((theirs * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean(),
            "dapo": (theirs * mask).sum() / mask.sum().clamp(min=1.0),
            "dr_grpo": (theirs * mask).sum() / (theirs.size(0) * 7)}[kind]
    assert ours.item() == pytest.approx(want.item(), abs=1e-6)
