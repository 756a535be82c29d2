"""A model of a known shape with random weights, made on the card and written to a folder: nothing is
downloaded, and it is loaded as any other model is. The command removes the folders at its end (run.py)."""
from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ..config import Model
from ..engine.location import find
from ..engine.model import placement
from ..plan.shapes import Shape
from ..runs import whole_folder
from .machine import bytes_of_weights, made_folder

ROOM = 1.5  # times the weights, of free memory
LONGEST = 40960  # tokens, prompt and completion together


def made_model(shape: Shape) -> Path:
    """The folder of the model, made where it is not there yet. Its tokenizer is that of `tiny`, which names
    the first thousand of the shape's tokens; the others are sampled all the same."""
    there = made_folder() / shape.name
    if (there / "config.json").exists():
        return there
    tokenizer = AutoTokenizer.from_pretrained(find(Model(name="tiny")))
    device, dtype = placement()
    config = AutoConfig.for_model(
        shape.family, vocab_size=shape.vocab, hidden_size=shape.hidden, intermediate_size=shape.inner,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, tie_word_embeddings=shape.tied, sliding_window=None,
        max_position_embeddings=LONGEST, initializer_range=shape.hidden ** -0.5,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None)
    torch.manual_seed(0)
    with torch.device(device if has_room(device, bytes_of_weights(shape)) else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with whole_folder(there) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
    return there


def has_room(device: torch.device, size: int) -> bool:
    """Whether a card has memory for the model in 16 bits, which a plan in NF4 says nothing of. A CPU takes a
    minute for what a card makes in a second."""
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[0] > ROOM * size
