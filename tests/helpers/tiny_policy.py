"""A policy of the tiny model with a live adapter, and questions of the built-in benchmark to ask it."""
from dataclasses import replace

import torch

from tagpr_lite.engine import model as engine
from tagpr_lite.grpo.groups import POLICY, REFERENCE
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve


def policy(settings, folder, shaken=True):
    """(model, tokenizer): the adapter `policy`, with values far from 0 where it is shaken, and `ref` as its
    frozen copy."""
    model, tokenizer = engine.load(settings)
    model = engine.add_adapter(model, settings, POLICY)
    for param in engine.adapter_parameters(model, POLICY).values() if shaken else ():
        seeded = torch.Generator(param.device).manual_seed(param.numel())
        torch.nn.init.normal_(param, std=0.2, generator=seeded)
    engine.save_adapter(model, POLICY, folder / "sft" / "adapter")
    model = engine.load_adapter(model, folder / "sft" / "adapter", REFERENCE)
    model.set_adapter(POLICY)
    return model, tokenizer


def questions(count=6):
    """Of three tasks, with retrieved items."""
    asked = mini.build(0, 8, ["LaMP_2", "LaMP_3", "LaMP_4"])
    train = [question for splits in asked.values() for question in splits["train"]]
    return [replace(question, retrieved=retrieve(question, "bm25", 3, 0)) for question in train[:count]]
