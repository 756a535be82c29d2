"""Models without weights: the transformers class at its full shape on torch's meta device, bitsandbytes' NF4
layers, peft's adapters and activation checkpointing, as engine/model.py leaves them after loading."""
from __future__ import annotations

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from ..config import Model
from ..engine import prefix
from ..engine.model import adapter_parameters, add_adapter
from ..engine.prefix import base_of
from .counter import scales
from .shapes import Shape

POLICY = "policy"


def meta_model(shape: Shape, settings: Model, adapters: tuple[str, ...] = (POLICY,),
               dtype=torch.bfloat16) -> nn.Module:
    """The model of `shape` as engine.model.load and add_adapter leave it, on meta; the first adapter
    trains."""
    config = AutoConfig.for_model(
        shape.family, vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, tie_word_embeddings=shape.tied, pad_token_id=None, sliding_window=None)
    prefix.check_architecture(config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        model.tie_weights()
        if settings.bits == 4:
            _to_nf4(model, dtype)
        model.config._attn_implementation = prefix.NAME
        model.requires_grad_(False)
        for name in adapters:
            model = add_adapter(model, settings, name)
    if adapters:
        model.set_adapter(adapters[0])
    for name in adapters[1:]:
        for p in adapter_parameters(model, name).values():
            p.requires_grad_(False)
    if settings.checkpointing:
        base_of(model).activation_checkpointing_enable()
    return model


def _to_nf4(model: nn.Module, dtype: torch.dtype) -> None:
    """Every linear layer but the head becomes bitsandbytes' own, with scales quantised twice, as loading
    leaves it."""
    for name, linear in list(model.named_modules()):
        if type(linear) is not nn.Linear or name == "lm_head":
            continue
        n, blocks = linear.weight.numel(), -(-linear.weight.numel() // 64)
        layer = bnb.nn.Linear4bit(linear.in_features, linear.out_features, linear.bias is not None, dtype,
                                  True, "nf4")
        second = QuantState(torch.empty(-(-blocks // 256)), code=torch.empty(256), blocksize=256,
                            dtype=torch.float32)
        state = QuantState(torch.empty(blocks, dtype=torch.uint8), linear.weight.shape, torch.empty(16), 64,
                           "nf4", dtype, torch.empty(()), second)
        layer.weight = bnb.nn.Params4bit(torch.empty((n + 1) // 2, 1, dtype=torch.uint8), requires_grad=False,
                                         quant_state=state, quant_type="nf4", bnb_quantized=True,
                                         module=layer)
        layer.quant_state, layer.bias = state, linear.bias
        model.set_submodule(name, layer)


def materialise(model: nn.Module, device: torch.device) -> nn.Module:
    """A meta model on a real device, all zeros: it takes the same bytes and does the same work as one with
    weights."""
    zeros = lambda t: torch.zeros(t.shape, dtype=t.dtype, device=device)
    made: dict[int, nn.Parameter] = {}  # by the identity of what it replaces: tied weights stay one
    for layer in model.modules():
        for name, p in layer._parameters.items():
            if isinstance(p, bnb.nn.Params4bit):
                state = p.quant_state
                for part, key in scales(state):
                    setattr(part, key, zeros(getattr(part, key)))
                layer._parameters[name] = bnb.nn.Params4bit(zeros(p), requires_grad=False, quant_state=state,
                                                            quant_type="nf4", bnb_quantized=True,
                                                            module=layer)
            elif p is not None:
                if id(p) not in made:
                    made[id(p)] = nn.Parameter(zeros(p), requires_grad=p.requires_grad)
                layer._parameters[name] = made[id(p)]
        for name, b in layer._buffers.items():
            layer._buffers[name] = None if b is None else zeros(b)
    return model
