"""The counter: exact where bytes and FLOPs can be told by hand, and the same on meta as on real tensors."""
from dataclasses import replace

import pytest
import torch
from torch import nn

from tagpr_lite.config import GRPO, LAYOUTS, Model
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo.groups import Group
from tagpr_lite.grpo.update import completion_limit, optimizer_step
from tagpr_lite.plan import count, counter
from tagpr_lite.plan.meta import materialise, meta_model
from tagpr_lite.plan.shapes import SHAPES, Shape, shape_of

TINY = Model(name="tiny", lora_r=4, lora_alpha=8)
SMALL = Shape("small", "qwen3", 256, 512, 2, 4, 2, 64, 1000, True)
KIB = 1024


def meta(*size, **how):
    return torch.empty(*size, device="meta", **how)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def holder():
    """A module that holds 4 KiB on meta."""
    return nn.Linear(32, 32, bias=False, device="meta")


def test_the_peak_is_what_lives_at_the_same_time(holder):
    def work():
        a = meta(KIB)  # 4 KiB
        b = a + 1  # 8
        del a
        c = torch.cat([b, b])  # 4 + 8 KiB
        del b
        c.sum()

    found = counter.count(work, holder)
    assert (found.static, found.peak, found.at) == (4 * KIB, 4 * KIB + 12 * KIB, "aten.cat.default")


def test_views_and_writes_in_place_take_nothing(holder):
    def work():
        a = meta(KIB)
        a.view(32, 32).T[:4].add_(1)

    assert counter.count(work, holder).peak == 8 * KIB


def test_what_backward_needs_is_kept(holder):
    """Five sines in a row: each keeps its input for backward; without gradients only input and output
    live."""
    def work():
        x = meta(KIB, requires_grad=True)
        x.sin().sin().sin().sin().sin()

    assert counter.count(work, holder).peak == (1 + 6) * 4 * KIB
    with torch.no_grad():
        assert counter.count(work, holder).peak == (1 + 3) * 4 * KIB


def test_flops_of_products_are_two_a_multiply_add(holder):
    found = counter.count(lambda: holder(meta(8, 32)), holder)
    assert found.flops == 2 * 8 * 32 * 32
    with torch.inference_mode():
        assert counter.count(lambda: holder(meta(8, 32)), holder).flops == found.flops


def test_nf4_products_count_their_flops_and_the_weight_they_unpack():
    model = meta_model(SMALL, Model())
    layer = model.get_base_model().model.layers[0].mlp.up_proj.base_layer
    for rows, unpacked in ((4, 0), (5, 256 * 512 * 2 + 256 * 512 // 64 * 4)):
        found = counter.count(lambda: layer(meta(rows, 256, dtype=torch.bfloat16)), model)
        assert found.flops == 2 * rows * 256 * 512
        assert found.peak - found.static == rows * (256 + 512) * 2 + unpacked


def test_a_mask_on_meta_is_all_true(holder):
    def work():
        x, mask = meta(4, 8, 2), meta(4, 8, dtype=torch.bool)
        assert x[mask].shape == (32, 2) and mask.nonzero().shape == (32, 2)

    counter.count(work, holder)


no_card = pytest.mark.skipif(torch.cuda.is_available(), reason="a card's allocator rounds sizes up")


def plain_attention(q, k, v, attn_mask=None, is_causal=False, scale=None, **_):
    """Attention out of matrix products: the same operations on a CPU and on meta."""
    scores = q @ k.transpose(-1, -2) * scale
    sees = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(k.shape[2] - q.shape[2])
    if isinstance(attn_mask, torch.Tensor) and attn_mask.dtype == torch.bool:
        sees = attn_mask
    return scores.masked_fill(~sees, float("-inf")).softmax(-1) @ v


@no_card
@pytest.mark.parametrize("layout", LAYOUTS)
def test_meta_counts_what_real_tensors_count(layout, monkeypatch, one_thread):
    """The tiny model, loaded and quantised, against its shape alone: to the byte."""
    monkeypatch.setattr(counter, "cuda_sdpa", plain_attention)
    monkeypatch.setattr(prefix, "SHARES_HEADS", ())  # the real tensors too go the way of a card
    real, _ = engine.load(TINY)
    real = engine.add_adapter(real, TINY, "policy")
    real.get_base_model().activation_checkpointing_enable()
    made = meta_model(shape_of(engine.find(TINY)), TINY, dtype=torch.float32)
    a, b = (count.count_update(m, layout, 60, 4, 24, 2, 16) for m in (real, made))
    assert a == b
    assert a.peak > 1.1 * a.static and a.flops > 0


@no_card
def test_the_counter_counts_the_step_of_the_loop(one_thread):
    """The same sizes through GRPO's own optimizer_step: the same work, and a few small tensors more."""
    model, _ = engine.load(TINY)
    model = engine.add_adapter(model, TINY, "policy")
    counted = count.count_update(model, "two_phase", 200, 4, 24, 2, 16)
    params = engine.adapter_parameters(model, "policy")
    optimizer = torch.optim.AdamW(params.values(), lr=1e-4, weight_decay=0.0, foreach=True)
    samples = [Sample([5 + n] * 24, [-1.0] * 24, True) for n in range(4)]
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.2])
    group = Group(None, [7] * 200, samples, rewards=rewards, advantages=rewards - rewards.mean())
    grpo = GRPO(group=4, micro=2, logp_chunk=16, completion=24)

    def step():
        for param in params.values():  # the group before this one has left a gradient
            param.grad = torch.zeros_like(param)
        optimizer_step(grpo, model, [group], optimizer, params, completion_limit(grpo))

    step()  # makes the two moments
    looped = counter.count(step, model, optimizer)
    assert looped.flops == counted.flops and looped.static == counted.static
    least = counted.peak - counted.static
    assert least <= looped.peak - looped.static <= 1.02 * least


def test_a_materialised_model_holds_the_same_bytes_and_runs():
    """Tied weights stay one, NF4 layers stay NF4, the first adapter alone trains."""
    made = [meta_model(SMALL, Model(), ("policy", "ref"), torch.float32) for _ in range(2)]
    real = materialise(made[1], torch.device("cpu"))
    assert not any(t.is_meta for t in counter.held(real))
    held = [counter.Counter(d, counter.held(m)).static for d, m in zip(("meta", "cpu"), made)]
    assert held[0] == held[1] > 0
    assert real.get_input_embeddings().weight is real.get_output_embeddings().weight
    assert [n for n, p in real.named_parameters()
            if p.requires_grad] == list(engine.adapter_parameters(real, "policy"))
    found = count.count_update(real, "two_phase", 20, 4, 6, 2, 16)
    assert found.static > held[1] and found.flops > 0


def test_checkpointing_lowers_what_a_layer_adds():
    """One more layer is one more input and its share of keys and values, not all of a layer's activations."""
    def peak(layers, checkpointing):
        model = meta_model(replace(SMALL, layers=layers), Model(checkpointing=checkpointing))
        found = count.count_update(model, "two_phase", 512, 4, 64, 4, 64)
        return found.peak - found.static

    kept, all_of_it = (peak(3, c) - peak(2, c) for c in (True, False))
    assert 0 < kept < all_of_it / 4


def test_an_unknown_shape_of_attention_is_refused():
    with pytest.raises(Exception, match="cannot share a prompt"):
        meta_model(Shape("x", "gpt2", 64, 64, 1, 2, 2, 32, 100, True), Model())


def test_known_shapes_build():
    """Parameter counts of the known models, in millions, as their cards give them."""
    cards = {"qwen3-0.6b": 596, "qwen3-1.7b": 1721, "qwen3-4b": 4022, "qwen3-8b": 8191, "qwen3-14b": 14768,
             "qwen3-32b": 32762, "qwen2.5-1.5b": 1544, "qwen2.5-3b": 3086, "qwen2.5-7b": 7616,
             "smollm2": 134.5}
    assert cards.keys() == SHAPES.keys()
    for name, millions in cards.items():
        model = meta_model(SHAPES[name], Model(bits=32, checkpointing=False), ())
        found = sum(p.numel() for p in model.parameters()) / 1e6
        assert abs(found - millions) < 0.002 * millions, (name, found)


def test_on_a_cpu_the_kernels_of_a_card_give_way_and_the_causal_mask_stays():
    from torch.nn.attention.bias import causal_lower_right
    q, k, v = (torch.randn(2, 3, n, 8) for n in (4, 6, 6))
    got = counter.cuda_sdpa(q, k, v, causal_lower_right(4, 6))
    sees = torch.ones(4, 6, dtype=torch.bool).tril(2)
    assert torch.allclose(got, counter.CPU_SDPA(q, k, v, attn_mask=sees), atol=1e-6)
    assert not torch.allclose(got, counter.CPU_SDPA(q, k, v), atol=1e-2)
