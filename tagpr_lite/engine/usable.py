"""Whether a model can be used by every step, asked before the first of them: in one line, and for nothing.

A model that step 5 cannot use is refused in step 1, and not after an hour of SFT.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer

from ..config import Model, UserError
from ..lamp.chat import template_of
from ..runs import one_line
from .location import find
from .prefix import check_architecture

INDEX = "model.safetensors.index.json"
ADDED = 64  # tokens that a tokenizer may name and a model need not know
LFS_POINTER = b"version https://git-lfs"


def check_usable(settings: Model):
    """The tokenizer of a model that every step can use. UserError: the model cannot be had, is of a kind that
    cannot share a prompt, is quantised already, brings code of its own, is cut, or has no chat template."""
    if settings.bits not in (4, 32):
        raise UserError(f"model.bits={settings.bits}: 4 (NF4) or 32 (the base as it is)")
    where, name = find(settings), settings.name
    with loading(name):
        shape = AutoConfig.from_pretrained(where, trust_remote_code=False)
    if getattr(shape, "quantization_config", None):
        method = one_line(_method(shape.quantization_config), 40)
        raise UserError(f"model '{name}' is quantised already ({method}); use its 16-bit original, which is "
                        "put into NF4 here")
    check_architecture(shape)
    if Path(where).is_dir():
        check_weights(Path(where), name)
    with loading(name):
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    ids = tokenizer.encode("Think, then answer: 4", add_special_tokens=False)
    if not ids or tokenizer.unk_token_id in ids:  # a library makes an empty tokenizer where there is none
        raise UserError(f"model '{name}': its tokenizer cannot read plain text; are its files all there?")
    if max(ids) >= shape.vocab_size or len(tokenizer) > shape.vocab_size + ADDED:
        raise UserError(f"model '{name}': its tokenizer has {len(tokenizer)} tokens and the model "
                        f"{shape.vocab_size}; they are not of one kind")
    if tokenizer.eos_token_id is None:
        raise UserError(f"model '{name}': its tokenizer names no end-of-sequence token; use an instruct "
                        "model")
    template_of(tokenizer)
    return tokenizer


def _method(quantisation) -> str:
    settings = quantisation if isinstance(quantisation, dict) else vars(quantisation)
    return str(settings.get("quant_method") or "unknown method")


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Within the block whatever a library raises about a model becomes one line: they raise OSError,
    ValueError, KeyError and classes of their own. Memory that runs out stays what it is."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UserError(f"model '{name}' cannot be loaded: {one_line(error, 300)}") from None


# ---------------------------------------------------------------- weights

def check_weights(folder: Path, name: str) -> None:
    """UserError: the folder's safetensors files are not there, are pointers, or are shorter than they say."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / INDEX
    if index.exists():
        with loading(name):
            named = set(json.loads(index.read_text())["weight_map"].values())
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise UserError(f"model '{name}': {len(missing)} of its {len(named)} files of weights are "
                            f"missing, such as {one_line(missing[0], 80)}")
    if not files:
        raise UserError(f"model '{name}': {folder} holds no weights (*.safetensors)")
    for file in files:
        fault = fault_of(file)
        if fault:
            raise UserError(f"model '{name}': {file.name} {fault}")


def fault_of(file: Path) -> str | None:
    """What is wrong with a safetensors file, from its header; None where it is as long as it says.

    The file begins with the length of its header, 8 bytes, little-endian; the header is JSON, {tensor: {...,
    "data_offsets": [first, last]}}, counted from the header's end.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        first = stream.read(8)
        if (first + stream.read(len(LFS_POINTER) - 8)) == LFS_POINTER:
            return "is a pointer of git-lfs and not the weights: run `git lfs pull`"
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > size - 8:
            return "is cut: fetch it again"
        stream.seek(8)
        try:
            header = json.loads(stream.read(length))
            last = max((entry["data_offsets"][1] for tensor, entry in header.items()
                        if tensor != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "has no readable header: fetch it again"
    if size != 8 + length + last:
        return f"is {size} bytes long and should be {8 + length + last}: fetch it again"
    return None
