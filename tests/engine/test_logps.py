"""Log-probs against fp64 over a real vocabulary's width."""
import torch

from tagpr_lite.engine.logps import log_softmax


def test_log_softmax_is_fp32_exact_over_a_wide_vocabulary():
    logits = 3 * torch.randn(64, 49152, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.7):
        error = log_softmax(logits, temperature).double() - (logits.double() / temperature).log_softmax(-1)
        assert error.abs().max() < 5e-6 and error.mean().abs() < 1e-6


def test_half_precision_logits_are_scored_in_fp32():
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert log_softmax(logits, 1.0).dtype == torch.float32
    assert torch.allclose(log_softmax(logits, 1.0), logits.float().log_softmax(-1), atol=1e-5)
