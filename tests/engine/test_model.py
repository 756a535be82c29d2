"""Loading: NF4 really is four bits, adapters go round trip, one base plays every role."""
from dataclasses import replace
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from safetensors.torch import load_file, save_file

from tagpr_lite.config import Model, UserError
from tagpr_lite.engine import location
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.prefix import SharedPrefix
from tagpr_lite.engine.sample import sample

TINY = Model(name="tiny", lora_r=4, lora_alpha=8)


@pytest.fixture(scope="module")
def loaded():
    return engine.load(TINY)


def fresh():
    model, tokenizer = engine.load(TINY)
    return engine.add_adapter(model, TINY, "policy"), tokenizer


def hidden(model):
    with torch.no_grad():
        return SharedPrefix(model, torch.arange(5, 40, device=model.device)).last


def shake(model, name):
    for p in engine.adapter_parameters(model, name).values():
        torch.nn.init.normal_(p, std=0.2, generator=torch.Generator(p.device).manual_seed(1))


def test_nf4_holds_four_bits_and_double_quantised_scales(loaded):
    model, _ = loaded
    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        assert layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested
        assert layer.weight.numel() * 2 == layer.in_features * layer.out_features  # two values a byte
    assert not any(p.requires_grad for p in model.parameters())


def test_unpacked_weights_give_the_same_numbers(loaded):
    dense, _ = engine.load(Model(name="tiny", unpack=True))
    assert torch.equal(hidden(dense), hidden(loaded[0]))


def test_nf4_computes_in_the_same_type_on_every_cpu():
    """bitsandbytes repacks weights for bf16 products in the first forward of eval mode, where a CPU has
    instructions for it: sampling and scoring would then round to 8 bits what training computes in fp32."""
    model, _ = engine.load(TINY)
    layers = [m for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    before = [layer.weight.data.clone() for layer in layers]
    in_eval = hidden(model.eval())
    assert not any(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in layers)
    assert all(torch.equal(layer.weight.data, was) for layer, was in zip(layers, before))
    assert torch.equal(in_eval, hidden(model.train()))


def test_tokenizer_round_trip_and_chat_template(loaded):
    _, tokenizer = loaded
    text = 'Ünïcode "quotes" <think>\n日本 \U0001f600'
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], add_generation_prompt=True,
                                        return_dict=False)
    assert tokenizer.eos_token_id in ids


def test_adapters_go_round_trip(tmp_path):
    model, _ = fresh()
    shake(model, "policy")
    want = hidden(model)
    engine.save_adapter(model, "policy", tmp_path / "a")
    again = engine.load_adapter(engine.load(TINY)[0], tmp_path / "a", "other")
    assert torch.equal(hidden(again), want)
    assert not any(p.requires_grad for p in again.parameters())


def test_using_switches_and_puts_back(tmp_path):
    model, _ = fresh()
    base = hidden(model)  # a fresh adapter changes nothing
    shake(model, "policy")
    engine.save_adapter(model, "policy", tmp_path / "a")
    model = engine.load_adapter(model, tmp_path / "a", "ref")
    model.set_adapter("policy")
    own = hidden(model)
    assert not torch.allclose(own, base)
    with engine.using(model, None):
        assert torch.equal(hidden(model), base)
    for p in engine.adapter_parameters(model, "policy").values():
        p.data.mul_(2)
    with engine.using(model, "ref"):
        assert torch.equal(hidden(model), own)
    assert not torch.allclose(hidden(model), own)
    assert all(p.requires_grad == (".policy." in n) for n, p in model.named_parameters())


def test_training_state_resumes_bit_for_bit(tmp_path):
    def train(model, optimizer, steps):
        for s in steps:
            at = SharedPrefix(model, torch.arange(s, s + 30, device=model.device), grad=True)
            (at.predict(torch.tensor([[7, 8, 9]], device=model.device)) ** 2).sum().backward()
            at.backward()
            optimizer.step()
            optimizer.zero_grad()

    def begin():
        model, _ = fresh()
        params = engine.adapter_parameters(model, "policy")
        return model, params, torch.optim.AdamW(params.values(), lr=1e-2)

    torch.manual_seed(0)
    model, params, optimizer = begin()
    train(model, optimizer, [1, 2])
    best = {name: torch.full_like(param, 7.0) for name, param in params.items()}
    engine.save_training_state(tmp_path / "s.safetensors", 2, params, optimizer, best=best, micro=4)
    train(model, optimizer, [3, 4])
    torch.manual_seed(5)
    other, others, optimizer = begin()
    assert engine.load_training_state(tmp_path / "none", others, optimizer) == (0, {}, {})
    done, kept, numbers = engine.load_training_state(tmp_path / "s.safetensors", others, optimizer)
    assert (done, numbers) == (2, {"micro": 4}) and kept.keys() == best.keys()
    assert all(bool((values == 7.0).all()) for values in kept.values())
    train(other, optimizer, [3, 4])
    assert all(torch.equal(params[n], others[n]) for n in params)


@pytest.mark.parametrize("name, says", [("./nowhere", "no such folder"), ("gpt5", "no such folder")])
def test_an_unknown_model_is_one_clear_line(name, says):
    with pytest.raises(UserError, match=says):
        engine.load(Model(name=name))


def test_a_folder_without_config_and_odd_bits_are_refused(tmp_path):
    with pytest.raises(UserError, match="config.json"):
        engine.load(Model(name=str(tmp_path)))
    with pytest.raises(UserError, match="bits=8"):
        engine.load(Model(name="tiny", bits=8))


def test_auto_sizes_by_the_budget():
    sizes = [location.sized(Model(name="auto", vram=v)) for v in (24, 12, 8, 6, 4)]
    assert sizes == ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "Qwen/Qwen3-4B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-0.6B"]
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--vram"):
            engine.find(Model(name="auto"))


# ---------------------------------------------------------------- what an adapter says and holds

NOT_NUMBERS = [float("nan"), float("inf")]


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_an_adapter_that_is_no_number_is_neither_saved_nor_loaded(tmp_path, value):
    model, _ = fresh()
    engine.save_adapter(model, "policy", tmp_path / "whole")
    parameter = list(engine.adapter_parameters(model, "policy").values())[3]
    parameter.data.view(-1)[5] = value
    with pytest.raises(UserError, match="in 1 of 28 tensors"):
        engine.save_adapter(model, "policy", tmp_path / "broken")
    assert not (tmp_path / "broken").exists()

    path = tmp_path / "whole" / "adapter_model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, path)
    with pytest.raises(UserError, match="not finite numbers"):
        engine.load_adapter(engine.load(TINY)[0], tmp_path / "whole", "policy")


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "config", "rank"])
def test_a_damaged_adapter_is_one_line(tmp_path, damage):
    model, _ = fresh()
    folder = tmp_path / "a"
    engine.save_adapter(model, "policy", folder)
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    if damage in ("cut", "empty"):
        weights.write_bytes(weights.read_bytes()[:5000 if damage == "cut" else 0])
    elif damage == "gone":
        weights.unlink()
    elif damage == "config":
        settings.write_text("{")
    else:
        settings.write_text(settings.read_text().replace('"r": 4', '"r": 8'))
    with pytest.raises(UserError, match="cannot be loaded") as error:
        engine.load_adapter(engine.load(TINY)[0], folder, "policy")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", ["one", "all"])
def test_an_adapter_of_other_parameters_is_one_line(tmp_path, names):
    """peft leaves what it does not find as it is, with a warning: an untrained adapter."""
    model, _ = fresh()
    engine.save_adapter(model, "policy", tmp_path / "a")
    path = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(path)
    renamed = list(tensors) if names == "all" else list(tensors)[:1]
    save_file({f"x.{name}" if name in renamed else name: tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(UserError, match="other parameters|cannot be loaded"):
        engine.load_adapter(engine.load(TINY)[0], tmp_path / "a", "policy")


@pytest.mark.parametrize("targets", ["foo", ".*", "../../x", "("])
def test_layers_that_are_not_there_cannot_be_adapted(targets):
    model, _ = engine.load(TINY)
    with pytest.raises(UserError, match="model.lora_targets="):
        engine.add_adapter(model, replace(TINY, lora_targets=targets), "policy")


@pytest.mark.parametrize("bits, words", [(4, "in NF4 with double quantisation"),
                                         (32, "over tagpr_lite_tiny as it is")])
def test_an_adapter_says_over_which_weights_it_is_exact_and_names_no_path(tmp_path, monkeypatch, bits, words):
    monkeypatch.setitem(location.HUB_NAMES, "tiny", "tagpr_lite_tiny")
    settings = Model(name="tiny", bits=bits)
    model = engine.add_adapter(engine.load(settings)[0], settings, "policy")
    engine.save_adapter(model, "policy", tmp_path / "a")
    assert words in (tmp_path / "a" / "README.md").read_text()
    told = (tmp_path / "a" / "adapter_config.json").read_text()
    assert '"base_model_name_or_path": "tagpr_lite_tiny"' in told
    assert str(Path.home()) not in told and str(tmp_path) not in told


def test_models_have_names_that_another_machine_knows(tmp_path):
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "my-qwen").mkdir()
    assert location.public_name(str(tmp_path / "smollm2")) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert location.public_name(str(tmp_path / "my-qwen")) == "my-qwen"
    assert location.public_name("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


def test_a_model_whose_states_are_no_numbers_is_not_sampled_from():
    model, _ = engine.load(TINY)
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite numbers"):
        sample(model, [[5, 6, 7]], 1, 4, set(), temperature=0)
