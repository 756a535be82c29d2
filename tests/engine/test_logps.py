"""Log-probs and their gradient against torch's own in fp64, over a real vocabulary's width."""
import torch

from tagpr_lite.engine.logps import Chosen, log_softmax

LOGITS = 3 * torch.randn(64, 49152, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(64) * 700


def test_log_softmax_is_not_biased_over_a_wide_vocabulary():
    error = log_softmax(LOGITS).double() - LOGITS.double().log_softmax(-1)
    assert error.abs().max() < 5e-6 and error.mean().abs() < 1e-6


def test_what_training_computes_is_what_sampling_computed_to_the_bit():
    assert torch.equal(Chosen.apply(LOGITS, TOKENS)[0], log_softmax(LOGITS)[torch.arange(64), TOKENS])


def test_log_probs_entropy_and_gradient_equal_autograds():
    exact = LOGITS.double().requires_grad_()
    want = exact.log_softmax(-1)
    weights = torch.linspace(-1, 1, 64)
    (want[torch.arange(64), TOKENS] * weights).sum().backward()
    mine = LOGITS.clone().requires_grad_()
    logps, entropy = Chosen.apply(mine, TOKENS)
    (logps * weights + 0 * entropy.detach()).sum().backward()
    assert torch.allclose(logps.double(), want[torch.arange(64), TOKENS], atol=5e-6) and not entropy.requires_grad
    assert torch.allclose(entropy.double(), -(want.exp() * want).sum(-1), atol=2e-5)
    assert torch.allclose(mine.grad.double(), exact.grad, atol=1e-7)


def test_the_gradient_passes_the_numerical_check():
    x, tokens = torch.randn(5, 7, dtype=torch.float64, requires_grad=True), torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda x: Chosen.apply(x, tokens)[0], x)
