"""The files of an export: the adapter as peft has it, or the base in 16 bits with the adapter merged in.

Merged is W + s B A (engine/fold.py). W is what the adapter was trained over: of an NF4 base the values that
it dequantises to, which no file of the base holds. The sum is made in fp32 and rounded once, to 16 bits.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForCausalLM

from ..config import UserError
from ..engine.adapters import require_finite
from ..engine.fold import with_adapters

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")


def share(folder: Path) -> None:
    """Gives the export's files the permissions of any new file: safetensors lets their owner alone read its
    own."""
    mask = os.umask(0)
    os.umask(mask)
    for path in filter(Path.is_file, folder.iterdir()):
        path.chmod(0o666 & ~mask)


def write_adapter(adapter: Path, folder: Path) -> None:
    """The run's own files, which peft reads; their settings name the base by its public name."""
    for name in ADAPTER_FILES:
        shutil.copy(adapter / name, folder / name)


def write_merged(model: PeftModel, tokenizer, base: str, folder: Path) -> torch.dtype:
    """The whole model and its tokenizer; returns the type of its weights.

    model: the loaded base with the adapter in use. base: the folder of the base's own weights, from which
    comes all that has no adapter. UserError: the adapter has layers that cannot be merged.
    """
    whole = AutoModelForCausalLM.from_pretrained(base, dtype="auto", trust_remote_code=False)
    dtype = torch.bfloat16 if whole.dtype == torch.bfloat16 else torch.float16
    whole.to(dtype)
    merge_into(whole, model.get_base_model())
    require_finite(dict(whole.named_parameters()), f"the merged model in {words(dtype)}")
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return dtype


@torch.no_grad()
def merge_into(whole: nn.Module, adapted: nn.Module) -> None:
    """Every linear layer of `whole` gets what the layer of the same name in `adapted` multiplies by. A head
    that shares the embeddings' weights stays as it is."""
    shared = whole.get_input_embeddings().weight
    left = {name for name, layer in adapted.named_modules() if isinstance(layer, LoraLayer)}
    for name, layer in whole.named_modules():
        if isinstance(layer, nn.Linear) and layer.weight is not shared:
            layer.weight.copy_(with_adapters(adapted.get_submodule(name)))
            left.discard(name)
    if left:
        raise UserError(f"the adapter changes {sorted(left)[0]}, which cannot be merged: it is no linear "
                        "layer, or shares its weights with the embeddings; export without --merge")


def words(dtype: torch.dtype) -> str:
    """"float16" of torch.float16."""
    return str(dtype).removeprefix("torch.")
