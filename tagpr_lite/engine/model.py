"""Loading: one frozen NF4 base, and any number of LoRA adapters over it.

Decisions. Device and compute type come from `placement()` and from nowhere else: bf16 on CUDA, fp32 on a CPU.
There bf16 arithmetic is many times slower without instructions for it; with them (AMX) an SFT step of SmolLM2
takes two thirds of its time, and every sum is rounded to 8 bits. The base is loaded once a process and plays
every role (policy, frozen `ref`, PRMU), each an adapter. `prepare_model_for_kbit_training` is not used: it
copies embeddings and head to fp32, a gigabyte on a 4B model, and nothing here needs it.
"""
from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
)
from transformers.utils import logging as transformers_logging

from ..config import Model, UserError
from ..runs import one_line
from ..runs.processes import card
from . import prefix
from .adapters import adapter_parameters, add_adapter, load_adapter, save_adapter, using
from .fold import values
from .location import budget, find, identity, public_name
from .state import load_training_state, remove_training_state, save_training_state
from .usable import check_usable, loading

__all__ = ["adapter_parameters", "add_adapter", "bind", "budget", "find", "identity", "load", "load_adapter",
           "load_training_state", "nf4", "peak_memory", "placement", "public_name", "remove_training_state",
           "save_adapter", "save_training_state", "using"]


def placement() -> tuple[torch.device, torch.dtype]:
    """(device, compute type): the one place where both are decided."""
    if torch.cuda.is_available():
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.device("cuda", card()), dtype
    return torch.device("cpu"), torch.float32


def bind(device: torch.device, gib: float) -> None:
    """The budget is a bound, not a hope: this process gets no more of the card; 0: all of it."""
    if device.type == "cuda" and gib:
        share = gib * 2**30 / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))


def peak_memory() -> float:
    """The most memory this process has held, in GiB: of the GPU, or of the machine where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    """How transformers is told of NF4 with double quantisation. dtype: what products are computed in."""
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=dtype)


def load(settings: Model, attention: str = prefix.NAME):
    """(base model, tokenizer), frozen and in eval mode. `attention`: ours, or `sdpa` for library trainers."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    where, (device, dtype) = find(settings), placement()
    bind(device, settings.vram)
    if Path(where).is_dir():  # weights on disk load in a blink; the bar is for downloads
        transformers_logging.disable_progress_bar()
    tokenizer = check_usable(settings)
    quantised = {"quantization_config": nf4(dtype)} if settings.bits == 4 else {}
    with loading(settings.name):
        model, told = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, device_map={"": device},
                                                           trust_remote_code=False, output_loading_info=True,
                                                           **quantised)
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise UserError(f"model '{settings.name}': its weights lack {len(missing)} tensors, such as "
                        f"{one_line(missing[0], 80)}")
    for layer in model.modules():
        # else a CPU with bf16 instructions repacks the weight and computes in bf16
        if isinstance(layer, bnb.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    if settings.unpack:
        unpack(model)
    model.config._attn_implementation = attention
    model.requires_grad_(False)
    return model.eval(), tokenizer


def unpack(model: nn.Module) -> None:
    """Every NF4 layer computes with a dense copy of its own dequantised values, made once."""
    for layer in model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            layer.forward = partial(F.linear, weight=values(layer), bias=layer.bias)
