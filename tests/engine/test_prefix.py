"""The shared prefix equals the obvious way: every completion forwarded with its own copy of the prompt."""
import pytest
import torch
from peft import LoraConfig, get_peft_model
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
from tagpr_lite.engine.sample import prefill, sample

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


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_equals_generate(family):
    model = build(family).eval()
    prompts = [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11), (5, 50))]
    ours = sample(model, prompts, 2, 12, set(), temperature=0)
    base = model.get_base_model()
    base.config._attn_implementation = "sdpa"
    for prompt, rows in zip(prompts, ours):
        want = base.generate(torch.tensor([prompt], device=DEVICE),
                             attention_mask=torch.ones(1, len(prompt), device=DEVICE), do_sample=False,
                             max_new_tokens=12, eos_token_id=None, pad_token_id=0)[0, len(prompt):].tolist()
        assert rows[0].ids == rows[1].ids == want


def test_sampled_logps_equal_teacher_forcing():
    model = build("qwen3").eval()
    prompts = [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11))]
    rows = sample(model, prompts, 3, 15, {7, 9}, temperature=TEMPERATURE, seeds=[[1, 2, 3], [4, 5, 6]])
    for prompt, samples in zip(prompts, rows):
        ids, mask = logps.padded([s.ids for s in samples], DEVICE)
        with torch.no_grad():
            at = prefix.SharedPrefix(model, torch.tensor(prompt, device=DEVICE))
            got, _ = logps.token_logps(model, at.predict(ids), ids, mask, TEMPERATURE)
        for row, s, m in zip(got, samples, mask):
            assert (row[m] - torch.tensor(s.logps, device=DEVICE)).abs().max() < 1e-5


def test_a_row_depends_on_its_seed_and_not_on_its_batch():
    model = build("llama").eval()
    prompts = [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11), (5, 20))]
    seeds = [[10, 11], [12, 13], [14, 15]]
    together = sample(model, prompts, 2, 10, {5}, seeds=seeds)
    alone = [sample(model, [p], 2, 10, {5}, seeds=[s])[0] for p, s in zip(prompts, seeds)]
    assert [[r.ids for r in b] for b in together] == [[r.ids for r in b] for b in alone]


def test_samples_follow_the_distribution():
    """8,000 draws of the first token against its softmax: chi-square far from absurd."""
    model = build("llama").eval()
    prompt = group()[0]
    rows = sample(model, [prompt], 8000, 1, set(), seeds=[list(range(8000))])[0]
    with torch.no_grad():
        _, _, hidden = prefill(model, [prompt])
        p = torch.softmax(model.get_base_model().lm_head(hidden)[0], -1)
    counts = torch.bincount(torch.tensor([r.ids[0] for r in rows]), minlength=128).to(DEVICE)
    chi2 = ((counts - 8000 * p) ** 2 / (8000 * p)).sum()
    assert chi2 < 127 + 5 * (2 * 127) ** 0.5


def test_every_end_token_ends_a_row_and_is_kept():
    model = build("llama").eval()
    free = sample(model, [group()[0]], 1, 12, set(), seeds=[[1]])[0][0].ids
    first = {t: free.index(t) for t in free}
    ends = set(list(first)[2:4])
    cut = sample(model, [group()[0]], 1, 12, ends, seeds=[[1]])[0][0]
    stop = min(first[e] for e in ends)
    assert cut.ended and cut.ids == free[:stop + 1]


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
