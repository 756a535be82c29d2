"""LoRA adapters over one frozen base: made, saved, loaded, and switched between."""
from __future__ import annotations

import re
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ..config import Model, UserError
from ..runs import one_line, seed_of, write_text
from .location import public_name

# What stands beside an adapter, by the weights that it was trained over.
CARD = {"nf4": """---
base_model: {base}
library_name: peft
---
A LoRA adapter over {base} in NF4 with double quantisation (bitsandbytes).

It is exact over those weights: load the base with `BitsAndBytesConfig(load_in_4bit=True,
bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)`, or over the 16-bit values that they
dequantise to. Over the base's original 16-bit weights, as most servers load them, its outputs differ.
""", "dense": """---
base_model: {base}
library_name: peft
---
A LoRA adapter over {base} as it is. It is exact over those weights; over quantised ones its outputs differ.
"""}


def lora(settings: Model) -> LoraConfig:
    """Dropout stays 0: with it the policy's ratio is not 1 and its KL not 0 before the first step."""
    targets = settings.lora_targets
    return LoraConfig(r=settings.lora_r, lora_alpha=settings.lora_alpha, lora_dropout=0.0,
                      task_type="CAUSAL_LM", target_modules=targets if targets == "all-linear"
                      else targets.split(","))


def add_adapter(model: nn.Module, settings: Model, name: str, seed: int = 0) -> PeftModel:
    """A fresh adapter, its A matrices drawn from `seed`; the first one wraps the base in a PeftModel."""
    torch.manual_seed(seed_of(seed, name))
    try:
        if isinstance(model, PeftModel):
            model.add_adapter(name, lora(settings))
        else:
            model = get_peft_model(model, lora(settings), adapter_name=name)
    except (ValueError, re.error) as error:  # no layer has such a name
        raise UserError(f"model.lora_targets={settings.lora_targets}: {one_line(error, 200)}") from None
    return model


def load_adapter(model: nn.Module, folder: Path, name: str, trainable: bool = False) -> PeftModel:
    """An adapter from its folder, under `name`; the frozen copy of SFT comes in this way as `ref`. UserError:
    the folder holds none, a damaged one, one of another model, or values that are not numbers."""
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
        else:
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=trainable)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each of three libraries has its own for a file that is cut
        raise UserError(f"the adapter {folder} cannot be loaded: {one_line(error, 200)}; remove the folder "
                        "and run the step that makes it again") from None
    with safe_open(folder / "adapter_model.safetensors", "pt") as stream:
        found = set(stream.keys())
    # Of these peft would only warn. Embeddings are never trained, and it would ask the hub about them.
    if found != set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)):
        raise UserError(f"the adapter {folder} has other parameters than this model's; remove the folder and "
                        "run the step that makes it again")
    require_finite(adapter_parameters(model, name), f"the adapter {folder}")
    return model


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json, in peft's own form, so that any peft program loads
    them, and a README that says over which weights it is exact. UserError: a value is not a number."""
    require_finite(adapter_parameters(model, name), f"adapter '{name}'")
    folder.mkdir(parents=True, exist_ok=True)
    base = model.get_base_model()
    model.peft_config[name].base_model_name_or_path = base.name_or_path  # of a hub id peft asks the hub
    state = {k: v.detach().cpu().contiguous() for k,
             v in get_peft_model_state_dict(model, adapter_name=name).items()}
    save_file(state, folder / "adapter_model.safetensors")
    settings = copy(model.peft_config[name])
    # a set: its order would change the folder's hash
    settings.target_modules = sorted(settings.target_modules)
    settings.base_model_name_or_path = public_name(base.name_or_path)
    settings.save_pretrained(folder)
    bits = "nf4" if getattr(base, "is_loaded_in_4bit", False) else "dense"
    write_text(folder / "README.md", CARD[bits].format(base=settings.base_model_name_or_path))


def require_finite(tensors: dict[str, torch.Tensor], what: str) -> None:
    """UserError where a value is NaN or infinite: what is computed with it is nothing, and says nothing."""
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise UserError(f"{what} holds values that are not finite numbers, in {len(broken)} of "
                        f"{len(tensors)} tensors: a learning rate that is too large does this; nothing was "
                        "saved or used")


def adapter_parameters(model: PeftModel, name: str) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if f".{name}." in n}


@contextmanager
def using(model: nn.Module, name: str | None):
    """Runs the block under another adapter (None: the bare base), then puts back the one that was active."""
    if not isinstance(model, PeftModel):
        yield
    elif name is None:
        with model.disable_adapter():
            yield
    else:
        before = model.active_adapter
        trainable = [p for p in model.parameters() if p.requires_grad]
        model.set_adapter(name)
        try:
            yield
        finally:
            model.set_adapter(before)
            for p in trainable:  # set_adapter decides by name what is trainable; we decide by who asked
                p.requires_grad_(True)


@contextmanager
def adapted(base: nn.Module, folder: Path | None):
    """The bare base with the adapter of a folder (None: without one) for the block. Then the base is bare
    again: adapters that are used one after another need the memory of one."""
    if folder is None:
        yield base
        return
    model = load_adapter(base, folder, "used")
    try:
        yield model
    finally:
        model.unload()
