"""The self-check in the compute types of a CPU and of a card: right layouts pass, planted faults do not."""
import pytest
import torch

from tagpr_lite.config import Model
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.engine.check import rounded_otherwise, self_check

PROMPT = list(range(300, 396))
COMPLETIONS = [list(range(40, 64)), list(range(500, 518))]
REAL_FORWARD, SUFFIX = prefix.forward, prefix.Suffix.attend


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def policy(request, monkeypatch):
    """The tiny model with an adapter whose values matter."""
    monkeypatch.setattr(engine, "placement", lambda: (torch.device("cpu"), request.param))
    settings = Model(name="tiny", lora_r=16)
    model, _ = engine.load(settings)
    model = engine.add_adapter(model, settings, "policy")
    params = engine.adapter_parameters(model, "policy")
    for p in params.values():
        torch.nn.init.normal_(p, std=0.15, generator=torch.Generator().manual_seed(1))
    return model, params


@pytest.mark.parametrize("layout", ["two_phase", "kept", "recompute", "packed"])
def test_rounding_is_no_fault(policy, layout):
    """In bf16 the classic layout agrees with itself to the last bit whatever its batch, and the others do
    not: that once stopped every run on a card."""
    model, params = policy
    found = self_check(model, params, PROMPT, COMPLETIONS, layout)
    assert found["logp_noise"] > 0 < found["grad_noise"]
    assert all(p.grad is None for p in params.values())


def one_place_too_far(model, mode, **how):
    if isinstance(mode, prefix.Suffix):
        how["start"] += 1
    return REAL_FORWARD(model, mode, **how)


def start_forgotten(model, mode, **how):
    if isinstance(mode, prefix.Suffix):
        how["start"] = 0
    return REAL_FORWARD(model, mode, **how)


def without_mask(self, layer, q, k, v, scaling):
    """Completions see their own future."""
    prompt_k, prompt_v = (t.expand(k.shape[0], -1, -1, -1) for t in self.kv[layer])
    return prefix._sdpa(q, torch.cat([prompt_k, k], 2), torch.cat([prompt_v, v], 2), scaling)


def window(hidden):
    """Completions do not see the prompt's tokens `hidden`."""
    def attend(self, layer, q, k, v, scaling):
        kv = {layer: tuple(t[:, :, hidden] for t in self.kv[layer])}
        return SUFFIX(prefix.Suffix(kv), layer, q, k, v, scaling)
    return attend


@pytest.mark.parametrize("where, what, fault", [
    (prefix, "forward", one_place_too_far), (prefix, "forward", start_forgotten),
    (prefix.Suffix, "attend", without_mask), (prefix.Suffix, "attend", window(slice(0, -1))),
    (prefix.Suffix, "attend", window(slice(40, None)))],
    ids=["one place too far", "start forgotten", "no mask", "last token unseen", "sliding window"])
def test_a_fault_stops_the_run(policy, monkeypatch, where, what, fault):
    model, params = policy
    monkeypatch.setattr(where, what, fault)
    with pytest.raises(RuntimeError, match="nothing was trained"):
        self_check(model, params, PROMPT, COMPLETIONS, "two_phase")


def test_not_a_number_is_a_fault(policy):
    """NaN compares as false with every bound."""
    model, params = policy
    next(iter(params.values())).data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="nan"):
        self_check(model, params, PROMPT, COMPLETIONS, "two_phase")


def test_rounded_otherwise_moves_values_by_one_unit_in_the_last_place_at_most(policy):
    model, _ = policy
    embedding = prefix.base_of(model).get_input_embeddings()
    ids = torch.tensor(PROMPT)
    before = embedding(ids)
    with rounded_otherwise(model):
        moved = embedding(ids)
    assert torch.equal(embedding(ids), before) and not torch.equal(moved, before)
    unit = torch.finfo(before.dtype).eps * before.float().abs()
    assert ((moved.float() - before.float()).abs() <= 1.5 * unit).all()  # the move, and rounding to the type
