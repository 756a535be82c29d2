"""Every loss against numbers worked out by hand, and the gradient against how a step is cut up."""
import math
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.grpo import losses


def test_advantages_by_hand():
    got = losses.advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.51, 0.5, 0.5, 0.49]]), std_floor=0.05)
    assert torch.allclose(got[0], torch.tensor([1.0, -1.0, -1.0, 1.0]))
    # 0.01 / the floor, not / 0.007
    assert torch.allclose(got[1], torch.tensor([0.2, 0.0, 0.0, -0.2]), atol=1e-6)


def test_groups_without_differences_carry_no_signal():
    assert losses.has_signal(torch.tensor([[0.5, 0.5], [0.5, 0.6]])).tolist() == [False, True]


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=8), st.integers(2, 9))
def test_the_most_different_completions_have_the_greatest_variance_of_all_choices(rewards, count):
    rewards = torch.tensor(rewards)
    chosen = losses.most_different(rewards, count)
    assert len(chosen) == min(count, len(rewards)) and chosen.tolist() == sorted(set(chosen.tolist()))
    variances = [rewards[list(some)].var(unbiased=False).item()
                 for some in combinations(range(len(rewards)), len(chosen))]
    assert rewards[chosen].var(unbiased=False).item() == pytest.approx(max(variances), abs=1e-6)


def test_the_most_different_completions_by_hand():
    rewards = torch.tensor([0.9, 0.1, 0.8, 0.9, 0.7, 0.9])
    assert losses.most_different(rewards, 3).tolist() == [1, 3, 5]
    for everyone in (0, 6, 7):
        assert losses.most_different(rewards, everyone).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("ratio, advantage, want, slope", [
    (1.0, 2.0, -2.0, -2.0), (1.5, 1.0, -1.28, 0.0), (0.5, 1.0, -0.5, -0.5), (0.5, -1.0, 0.8, 0.0),
    (1.5, -1.0, 1.5, 1.5)])
def test_policy_loss_by_hand(ratio, advantage, want, slope):
    logp = torch.tensor([[math.log(ratio) - 3]], requires_grad=True)
    mask = torch.ones(1, 1, dtype=torch.bool)
    loss = losses.policy_loss("dapo", logp, torch.tensor([[-3.0]]), torch.tensor([advantage]), mask, 0.2,
                              0.28)
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


def test_gspo_and_cispo_by_hand():
    logp, old = torch.log(torch.tensor([[0.4, 0.1, 0.5]])), torch.log(torch.tensor([[0.1, 0.2, 0.5]]))
    mask = torch.tensor([[True, True, False]])
    got = losses.policy_loss("gspo", logp, old, torch.tensor([1.0]), mask, 0.2, 9.0)
    # one ratio: the geometric mean of 4 and 1/2
    assert torch.allclose(got[mask], torch.full((2,), -math.sqrt(4 * 0.5)))
    logp.requires_grad_()
    got = losses.policy_loss("cispo", logp, old, torch.tensor([1.0]), mask, 0.2, 0.28)
    assert torch.allclose(got[mask], -torch.tensor([1.28, 0.5]) * logp[mask])
    got.sum().backward()
    # clipped tokens keep their gradient
    assert torch.allclose(logp.grad, torch.tensor([[-1.28, -0.5, -1.0]]))


def test_overlong_by_hand():
    lengths = torch.tensor([1, 80, 90, 100])
    assert losses.overlong(lengths, 100, 20).tolist() == pytest.approx([0, 0, 0.5, 1])
    assert losses.overlong(lengths, 100, 0).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", losses.KINDS)
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_losses_equal_trl(kind, beta):
    """The same tensors through TRL's own GRPOTrainer._compute_loss, gradient included."""
    g = torch.Generator().manual_seed(0)
    logp, old, ref = (-torch.rand(4, 7, generator=g) for _ in range(3))
    adv, lengths = torch.randn(4, generator=g), torch.tensor([7, 3, 5, 1])
    mask = torch.arange(7)[None] < lengths[:, None]
    ours_at, theirs_at = (logp.clone().requires_grad_() for _ in range(2))
    per_token = losses.policy_loss(kind, ours_at, old, adv, mask, 0.2,
                                   0.28) + beta * losses.kl_to_reference(ours_at, ref)
    ours = (per_token * mask * losses.token_weights(kind, lengths, 7)[:, None]).sum()
    theirs = trl_loss(kind, theirs_at, old, ref, adv, mask, beta)
    ours.backward()
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert torch.allclose(ours_at.grad, theirs_at.grad, atol=1e-6)


def trl_loss(kind, logp, old, ref, advantages, mask, beta):
    """TRL's loss with its trainer reduced to the attributes that the formula reads."""
    from collections import defaultdict

    from trl.trainer.grpo_trainer import GRPOTrainer
    m, r = logp.shape
    args = SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1)
    trainer = SimpleNamespace(
        args=args, beta=beta, loss_type={"gspo": "grpo"}.get(kind, kind), max_completion_length=r,
        use_vllm=False,
        importance_sampling_level="sequence" if kind == "gspo" else "token", epsilon_low=0.2,
        epsilon_high=1.28 if kind == "cispo" else 0.28,  # TRL's cispo gives the bound itself
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1, model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x.reshape(-1),
                                    gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x),
        _metrics={"train": defaultdict(list)}, use_adaptive_entropy=False,
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, torch.zeros(m, r), None))
    prompt = torch.zeros(m, 1, dtype=torch.long)
    return GRPOTrainer._compute_loss(trainer, None, {
        "prompt_ids": prompt, "prompt_mask": prompt, "completion_ids": torch.zeros(m, r, dtype=torch.long),
        "completion_mask": mask.long(), "advantages": advantages, "old_per_token_logps": old,
        "ref_per_token_logps": ref, "num_items_in_batch": mask.sum()})


def test_dr_grpo_does_not_divide_by_the_standard_deviation():
    """Dr. GRPO (arXiv 2503.20783): the centred reward itself."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert losses.advantages(rewards, 0.05, "dr_grpo").tolist() == [[0.75, -0.25, -0.25, -0.25]]
    for kind in ("grpo", "dapo", "gspo", "cispo"):
        assert torch.allclose(losses.advantages(rewards, 0.05, kind)[0, 0], torch.tensor(3**0.5))
