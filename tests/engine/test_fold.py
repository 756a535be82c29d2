"""Folded layers compute what base and adapters compute, leave no trace, and take what is in use at the
time."""
import pytest
import torch
import torch.nn.functional as F

from tagpr_lite.config import Model
from tagpr_lite.engine import fold
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.fold import folded, with_adapters
from tagpr_lite.engine.prefix import SharedPrefix, base_of

IDS = torch.arange(5, 45)
on_a_cpu = pytest.mark.skipif(engine.placement()[0].type != "cpu", reason="a card's layers are not folded")


@pytest.fixture(params=[4, 32], ids=["nf4", "fp32"])
def policy(request):
    """The tiny model with two live adapters; the first is in use."""
    settings = Model(name="tiny", bits=request.param, lora_r=4, threads=1)
    model, _ = engine.load(settings)
    for name in ("policy", "other"):
        model = engine.add_adapter(model, settings, name)
        for key, p in engine.adapter_parameters(model, name).items():
            if "lora_B" in key:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator(p.device).manual_seed(len(key)))
    model.set_adapter("policy")
    return model


@torch.no_grad()
def logits(model):
    return base_of(model).lm_head(SharedPrefix(model, IDS.to(model.device)).last)


@pytest.mark.parametrize("adapter", ["policy", "other", None])
def test_folded_layers_compute_the_same(policy, adapter):
    with engine.using(policy, adapter):
        want = logits(policy)
        with folded(policy):
            got = logits(policy)
        assert torch.equal(logits(policy), want)  # and nothing is left behind
    assert (got - want).abs().max() < 1e-5 * want.abs().max()


@on_a_cpu
def test_every_layer_is_folded_and_none_twice(policy):
    """A linear layer's own product is never reached, neither through the adapters nor past them."""
    def forbidden(*_, **__):
        raise AssertionError("a layer that is not folded")

    with folded(policy), pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", forbidden)
        logits(policy)


def test_a_model_too_large_for_a_copy_samples_without(policy, monkeypatch):
    monkeypatch.setattr(fold, "SHARE", 0)
    with folded(policy):
        assert not any("forward" in m.__dict__ for m in policy.modules())


def test_a_copy_follows_the_adapter(policy):
    before = logits(policy)
    with torch.no_grad():
        for p in engine.adapter_parameters(policy, "policy").values():
            p.mul_(2)
    with folded(policy):
        after = logits(policy)
    assert (after - before).abs().max() > 1e-3


def test_an_own_forward_comes_back(policy):
    """`model.unpack` gives NF4 layers a forward of their own; it must survive."""
    engine.unpack(policy)
    own = {n: m.__dict__["forward"] for n, m in policy.named_modules() if "forward" in m.__dict__}
    with pytest.raises(ZeroDivisionError), folded(policy):
        1 / 0
    assert {n: m.__dict__["forward"] for n, m in policy.named_modules() if "forward" in m.__dict__} == own


def test_the_sum_is_the_base_and_its_adapters(policy):
    layer = policy.get_base_model().model.layers[0].mlp.up_proj
    x = torch.randn(3, layer.in_features, device=policy.device)
    assert torch.allclose(F.linear(x, with_adapters(layer)), layer(x), atol=1e-5)
