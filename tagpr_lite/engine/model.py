"""Loading: one frozen NF4 base, and any number of LoRA adapters over it.

Decisions. Device and compute type come from `placement()` and from nowhere else: bf16 on CUDA, fp32 on a CPU,
where bf16 arithmetic is 20 to 50 times slower. The base is loaded once a process and plays every role
(policy, frozen `ref`, PRMU), each an adapter. `prepare_model_for_kbit_training` is not used: it copies
embeddings and head to fp32, a gigabyte on a 4B model, and nothing here needs it.
"""
from __future__ import annotations

import hashlib
import resource
import sys
from contextlib import contextmanager
from copy import copy
from functools import partial
from pathlib import Path

import bitsandbytes as bnb
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
)
from transformers.utils import logging as transformers_logging

from ..config import Model, UserError
from ..runs import cache_folder, seed_of, whole_file, whole_folder
from . import prefix
from .fold import values
from .small_models import make_tiny, unpack_smollm2


def placement() -> tuple[torch.device, torch.dtype]:
    """(device, compute type): the one place where both are decided."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.device("cpu"), torch.float32


# Smallest budget in GiB for a prompt of 2k tokens (4k for 8B), G = 8: counted on the meta device plus a
# reserve.
SIZES = ((12, "Qwen/Qwen3-8B"), (8, "Qwen/Qwen3-4B"), (6, "Qwen/Qwen3-1.7B"), (0, "Qwen/Qwen3-0.6B"))


def budget(settings: Model) -> float:
    """GPU memory to plan with, in GiB: the user's word, or what is free; 0 without a GPU."""
    if settings.vram or not torch.cuda.is_available():
        return settings.vram
    return torch.cuda.mem_get_info()[0] / 2**30


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


def find(settings: Model) -> str:
    """The folder (or hub id) behind a model name; makes `tiny`, fetches `smollm2` where they are not there
    yet."""
    name = settings.name
    if name == "auto":
        if not budget(settings):
            raise UserError("model.name=auto sizes Qwen3 by GPU memory, and there is none: use --vram N or "
                            "the preset cpu")
        return next(hub for least, hub in SIZES if budget(settings) >= least)
    if name in ("tiny", "smollm2"):
        # numbered: its tokenizer follows the benchmark's words
        folder = cache_folder() / {"tiny": "tiny-2"}.get(name, name)
        if not (folder / "config.json").exists():
            with whole_folder(folder) as beside:
                if name == "tiny":
                    make_tiny(beside)
                else:
                    unpack_smollm2(beside)
        return str(folder)
    if Path(name).is_dir():
        if not (Path(name) / "config.json").exists():
            raise UserError(f"model folder {name} holds no config.json")
        return name
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"model '{name}': no such folder; use smollm2, tiny, auto, a folder, or a hub id "
                        "like Qwen/Qwen3-4B")
    return name


def identity(where: str) -> str:
    """A short hash that changes when the model in a folder does; hub ids stand for themselves."""
    folder = Path(where)
    if not folder.is_dir():
        return where
    stamp = [(p.name, p.stat().st_size) for p in sorted(folder.iterdir()) if p.is_file()]
    return hashlib.sha256(repr((stamp, (folder / "config.json").read_text())).encode()).hexdigest()[:12]


def load(settings: Model, attention: str = prefix.NAME):
    """(base model, tokenizer), frozen and in eval mode. `attention`: ours, or `sdpa` for library trainers."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    where, (device, dtype) = find(settings), placement()
    bind(device, settings.vram)
    if settings.bits not in (4, 32):
        raise UserError(f"model.bits={settings.bits}: 4 (NF4) or 32 (the base as it is)")
    if Path(where).is_dir():  # weights on disk load in a blink; the bar is for downloads
        transformers_logging.disable_progress_bar()
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                             bnb_4bit_compute_dtype=dtype)
    try:
        shape = AutoConfig.from_pretrained(where)
        if attention == prefix.NAME:
            prefix.check_architecture(shape)
        model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype, device_map={"": device},
                                                     **({"quantization_config": nf4} if settings.bits == 4
                                                        else {}))
        tokenizer = AutoTokenizer.from_pretrained(where)
    except OSError as e:
        raise UserError(f"model '{settings.name}' cannot be loaded: {str(e).splitlines()[0]}") from None
    if tokenizer.chat_template is None:
        raise UserError(f"model '{settings.name}' has no chat template; use an instruct model")
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


def lora(settings: Model) -> LoraConfig:
    """Dropout stays 0: with it the policy's ratio is not 1 and its KL not 0 before the first step."""
    targets = settings.lora_targets
    return LoraConfig(r=settings.lora_r, lora_alpha=settings.lora_alpha, lora_dropout=0.0,
                      task_type="CAUSAL_LM", target_modules=targets if targets == "all-linear"
                      else targets.split(","))


def add_adapter(model: nn.Module, settings: Model, name: str, seed: int = 0) -> PeftModel:
    """A fresh adapter, its A matrices drawn from `seed`; the first one wraps the base in a PeftModel."""
    torch.manual_seed(seed_of(seed, name))
    if isinstance(model, PeftModel):
        model.add_adapter(name, lora(settings))
    else:
        model = get_peft_model(model, lora(settings), adapter_name=name)
    return model


def load_adapter(model: nn.Module, folder: Path, name: str, trainable: bool = False) -> PeftModel:
    """An adapter from its folder, under `name`; the frozen copy of SFT comes in this way as `ref`."""
    if isinstance(model, PeftModel):
        model.load_adapter(str(folder), adapter_name=name, is_trainable=trainable)
    else:
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=trainable)
    return model


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """adapter_model.safetensors and adapter_config.json, in peft's own form, so that any peft program loads
    them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k,
             v in get_peft_model_state_dict(model, adapter_name=name).items()}
    save_file(state, folder / "adapter_model.safetensors")
    settings = copy(model.peft_config[name])
    # a set: its order would change the folder's hash
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(folder)


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


def save_training_state(path: Path, index: int, params: dict[str, nn.Parameter],
                        optimizer: torch.optim.Optimizer, **numbers: int) -> None:
    """One safetensors file (no pickle): parameters, their AdamW moments, how many steps are done, and further
    numbers."""
    tensors = {name: p.detach() for name, p in params.items()}
    for name, p in params.items():
        for key, moment in optimizer.state.get(p, {}).items():
            tensors[f"{name}/{key}"] = moment
    metadata = {key: str(number) for key, number in {"index": index, **numbers}.items()}
    with whole_file(path) as beside:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, beside, metadata=metadata)


def load_training_state(path: Path, params: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
                        ) -> tuple[int, dict[str, int]]:
    """The inverse: (steps done, the further numbers); (0, {}) when there is no file. The next step is then
    bit for bit the one that would have followed the save."""
    if not path.exists():
        return 0, {}
    with safe_open(path, "pt") as f:
        tensors = {key: f.get_tensor(key) for key in f.keys()}
        numbers = {key: int(text) for key, text in f.metadata().items()}
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(tensors[name])
            moments = {key.rpartition("/")[2]: t for key, t in tensors.items()
                       if key.rpartition("/")[0] == name}
            if moments:  # the step count stays on the CPU
                optimizer.state[p] = {key: t if key == "step" else t.to(p.device) for key,
                                      t in moments.items()}
    return numbers.pop("index"), numbers
