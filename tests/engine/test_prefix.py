"""The shared prefix equals the obvious way: every completion forwarded with its own copy of the prompt."""
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.attention.bias import causal_lower_right
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tagpr_lite.config import LAYOUTS, UserError
from tagpr_lite.engine import logps, prefix
from tagpr_lite.engine.model import placement

DEVICE, _ = placement()
SHAPE = dict(vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256)
FAMILIES = {"qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(head_dim=16)),
            "llama": (LlamaConfig, LlamaForCausalLM, {}), "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
            "mistral": (MistralConfig, MistralForCausalLM, dict(sliding_window=None)),
            "phi3": (Phi3Config, Phi3ForCausalLM, dict(pad_token_id=0))}
TEMPERATURE = 0.7


def build(family, attention=prefix.NAME, seed=1):
    """A model with a LoRA adapter whose B matrices are not zero, so that every gradient is alive."""
    config, cls, more = FAMILIES[family]
    torch.manual_seed(seed)
    model = cls(config(**SHAPE, **more))
    model.config._attn_implementation = attention
    model.requires_grad_(False)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    return model.to(DEVICE)


def group(seed=3, P=37, lengths=(9, 14, 5, 21)):
    g = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(1, 128, (n,), generator=g).tolist()
    return draw(P), [draw(n) for n in lengths], [torch.randn(n, generator=g).to(DEVICE) for n in lengths]


def classic(model, prompt, completions, weights):
    """Log-probs and adapter gradients by G separate forwards under transformers' own attention."""
    model.config._attn_implementation = model.get_base_model().config._attn_implementation = "sdpa"
    out = []
    for c, w in zip(completions, weights):
        logits = model(input_ids=torch.tensor([prompt + c], device=DEVICE),
                       use_cache=False).logits[0, len(prompt) - 1:-1]
        tokens = torch.tensor(c, device=DEVICE)[:, None]
        lp = torch.log_softmax(logits.float() / TEMPERATURE, -1).gather(-1, tokens)[:, 0]
        (lp * w).sum().backward()
        out.append(lp.detach())
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.config._attn_implementation = model.get_base_model().config._attn_implementation = prefix.NAME
    return out, grads


def shared(model, prompt, completions, weights, micro, layout="two_phase"):
    at = prefix.forward_prompt(layout, model, torch.tensor(prompt, device=DEVICE))
    out = []
    for i in range(0, len(completions), micro):
        ids, mask = logps.padded(completions[i:i + micro], DEVICE)
        lp, _ = logps.token_logps(model, at.predict(ids), ids, mask, TEMPERATURE, chunk=8)
        w = torch.nn.utils.rnn.pad_sequence(weights[i:i + micro], batch_first=True)
        (lp * w).sum().backward()
        out += [row[m] for row, m in zip(lp.detach(), mask)]
    at.backward()
    return out, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout, micro", [
    ("two_phase", 1), ("two_phase", 3), ("kept", 3), ("recompute", 3), ("packed", 3), ("classic", 4)])
def test_every_layout_is_exact(family, checkpointing, layout, micro):
    model = build(family).train()
    if checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    prompt, completions, weights = group()
    want, want_grad = classic(model, prompt, completions, weights)
    got, got_grad = shared(model, prompt, completions, weights, micro, layout)
    assert max((a - b).abs().max() for a, b in zip(want, got)) < 1e-5
    assert want_grad.keys() == got_grad.keys() and len(got_grad) > 0
    for n in want_grad:
        assert (want_grad[n] - got_grad[n]).abs().max() <= 1e-4 * want_grad[n].abs().max() + 1e-7, n


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shared_and_repeated_key_heads_are_the_same(layout, monkeypatch):
    runs = [shared(build("llama").train(), *group(), 3, layout)]
    monkeypatch.setattr(prefix, "SHARES_HEADS", ())  # as on a card
    runs.append(shared(build("llama").train(), *group(), 3, layout))
    (a, a_grad), (b, b_grad) = runs
    assert all((x - y).abs().max() < 1e-5 for x, y in zip(a, b))
    assert all((a_grad[n] - g).abs().max() <= 1e-4 * g.abs().max() + 1e-7 for n, g in b_grad.items())


def test_a_card_shares_heads_where_torch_says_that_flash_will_run(monkeypatch):
    asked, card = [], SimpleNamespace(device=torch.device("cuda", 0))
    monkeypatch.setattr(prefix, "SDPAParams", lambda *how: how)
    for answer in (True, False):
        monkeypatch.setattr(prefix, "can_use_flash_attention",
                            lambda how, yes=answer: asked.append(how) or yes)
        assert prefix.shares_heads(card, card, card, None) is answer
        assert prefix.shares_heads(card, card, card, causal_lower_right(3, 5)) is answer
        assert [how[3:] for how in asked] == [(None, 0.0, False, True)] * 2  # no mask; grouped heads
        assert not prefix.shares_heads(card, card, card, torch.ones(3, 5, dtype=torch.bool))  # of `packed`
        assert len(asked) == 2
        asked.clear()


def test_torch_is_asked_in_words_that_it_knows():
    q, k = torch.zeros(1, 4, 5, 16, device="cpu"), torch.zeros(1, 2, 5, 16, device="cpu")
    assert prefix.can_use_flash_attention(prefix.SDPAParams(q, k, k, None, 0.0, False, True)) is False


def test_kept_checkpoints_the_prompt_alone():
    """A layer's forward runs twice for the prompt, once for each micro-batch; `two_phase` runs all of them
    twice."""
    for layout, want in (("kept", 2 + 2), ("two_phase", 2 + 2 * 2)):
        model, seen = build("llama").train(), []
        model.get_base_model().activation_checkpointing_enable()
        model.get_base_model().model.layers[1].mlp.register_forward_pre_hook(lambda *_: seen.append(1))
        shared(model, *group(), 2, layout)
        assert len(seen) == want
        assert all(layer.gradient_checkpointing for layer in model.get_base_model().model.layers)


def test_the_gradient_does_not_depend_on_the_micro_batch():
    runs = {}
    for layout in LAYOUTS:
        for micro in (1, 2, 4):
            runs[layout, micro] = shared(build("qwen3").train(), *group(), micro, layout)[1]
    want = runs["two_phase", 1]
    for grads in runs.values():
        assert all((grads[n] - g).abs().max() <= 1e-5 * g.abs().max() + 1e-8 for n, g in want.items())


def test_a_forward_without_state_raises():
    model = build("llama")
    with pytest.raises(RuntimeError, match="without its state"):
        model(input_ids=torch.tensor([[1, 2, 3]], device=DEVICE))


def test_sliding_windows_and_unknown_families_are_refused():
    from transformers import GPT2Config
    with pytest.raises(UserError):
        prefix.check_architecture(GPT2Config())
    with pytest.raises(UserError):
        prefix.check_architecture(Qwen2Config(use_sliding_window=True, sliding_window=8, max_window_layers=0))
    with pytest.raises(UserError):
        prefix.check_architecture(MistralConfig(sliding_window=64))


def test_logps_do_not_depend_on_the_chunk():
    model = build("qwen3").eval()
    prompt, completions, _ = group()
    ids, mask = logps.padded(completions, DEVICE)
    with torch.no_grad():
        hidden = prefix.SharedPrefix(model, torch.tensor(prompt, device=DEVICE)).predict(ids)
        whole = logps.token_logps(model, hidden, ids, mask, chunk=10_000)
        small = logps.token_logps(model, hidden, ids, mask, chunk=3)
    for a, b in zip(whole, small):
        assert torch.allclose(a, b, atol=1e-6)
    assert (whole[0][~mask] == 0).all() and (whole[1][mask] > 0).all()
