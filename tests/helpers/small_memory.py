"""A card that holds so many rows of a forward and no more."""
from contextlib import contextmanager

import torch
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def small_memory(rows, spared=0):
    """A forward of more than `rows` sequences raises what a card raises, but for the first `spared` ones.
    Yields the sizes of all such forwards, which grow as they are tried."""
    tried = []

    def look(layer, args):
        if not type(layer).__name__.endswith("DecoderLayer") or len(args[0]) <= rows:
            return
        if layer.self_attn.layer_idx == 0:
            tried.append(len(args[0]))
        if len(tried) > spared:
            raise torch.OutOfMemoryError("injected")

    handle = register_module_forward_pre_hook(look)
    try:
        yield tried
    finally:
        handle.remove()
