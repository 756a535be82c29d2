"""Log-probs and their gradient against torch's own in fp64, over a real vocabulary's width."""
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

from tagpr_lite.config import UserError
from tagpr_lite.engine.logps import Chosen, log_softmax, token_logps

DRAW = torch.Generator().manual_seed(0)
HIDDEN, HEAD = torch.randn(64, 16, generator=DRAW), torch.randn(49152, 16, generator=DRAW)
TOKENS = torch.arange(64) * 700
TEMPERATURE = 1.25


def test_log_softmax_is_not_biased_over_a_wide_vocabulary():
    logits = F.linear(HIDDEN, HEAD)
    error = log_softmax(logits).double() - logits.double().log_softmax(-1)
    assert error.abs().max() < 5e-6 and error.mean().abs() < 1e-6


def test_what_training_computes_is_what_sampling_computed_to_the_bit():
    sampled = log_softmax(F.linear(HIDDEN, HEAD) / TEMPERATURE)
    assert torch.equal(Chosen.apply(HIDDEN, TOKENS, HEAD, TEMPERATURE)[0], sampled[torch.arange(64), TOKENS])


def test_log_probs_entropy_and_gradient_equal_autograds():
    exact = HIDDEN.double().requires_grad_()
    want = (F.linear(exact, HEAD.double()) / TEMPERATURE).log_softmax(-1)
    weights = torch.linspace(-1, 1, 64)
    (want[torch.arange(64), TOKENS] * weights).sum().backward()
    mine = HIDDEN.clone().requires_grad_()
    logps, entropy = Chosen.apply(mine, TOKENS, HEAD, TEMPERATURE)
    (logps * weights + 0 * entropy.detach()).sum().backward()
    assert torch.allclose(logps.double(), want[torch.arange(64), TOKENS],
                          atol=1e-5) and not entropy.requires_grad
    assert torch.allclose(entropy.double(), -(want.exp() * want).sum(-1), atol=2e-5)
    assert torch.allclose(mine.grad.double(), exact.grad, atol=1e-6)


def test_the_gradient_passes_the_numerical_check():
    x, head = (torch.randn(n, 4, dtype=torch.float64) for n in (5, 7))
    tokens = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda x: Chosen.apply(x, tokens, head, 0.7)[0], x.requires_grad_())


def test_logits_are_gone_when_the_forward_ends():
    """What waits for the backward is as wide as the hidden states: no table of the vocabulary."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        Chosen.apply(HIDDEN.clone().requires_grad_(), TOKENS, HEAD, 1.0)
    assert kept == [HIDDEN.numel()]


def test_a_head_that_learns_is_refused():
    """Its gradient would be lost without a word."""
    from transformers import LlamaConfig, LlamaForCausalLM
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16,
                                         num_hidden_layers=1, num_attention_heads=2,
                                         tie_word_embeddings=False))
    hidden, ids = torch.randn(1, 3, 16), torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(UserError, match="frozen"):
        token_logps(model, hidden, ids, ids == 0)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    with pytest.raises(UserError, match="lora_targets"):
        token_logps(model, hidden, ids, ids == 0)
