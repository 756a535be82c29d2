"""A training state as one safetensors file: parameters, AdamW's moments, how far it is, the best parameters
so far."""
from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..runs import whole_file

BEST = "best"  # no parameter's name has a slash


def save_training_state(path: Path, index: int, params: dict[str, nn.Parameter],
                        optimizer: torch.optim.Optimizer, best: dict[str, Tensor] | None = None,
                        **numbers: int) -> None:
    """One safetensors file (no pickle): parameters, their AdamW moments, how many steps are done, the best
    values of the parameters where there are any, and further numbers."""
    tensors = {name: p.detach() for name, p in params.items()}
    tensors |= {f"{BEST}/{name}": values for name, values in (best or {}).items()}
    for name, p in params.items():
        for key, moment in optimizer.state.get(p, {}).items():
            tensors[f"{name}/{key}"] = moment
    metadata = {key: str(number) for key, number in {"index": index, **numbers}.items()}
    with whole_file(path) as beside:
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, beside, metadata=metadata)


def load_training_state(path: Path, params: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
                        ) -> tuple[int, dict[str, Tensor], dict[str, int]]:
    """The inverse: (steps done, the best values on the CPU, the further numbers); (0, {}, {}) when there is
    no file. The next step is then bit for bit the one that would have followed the save."""
    if not path.exists():
        return 0, {}, {}
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
    best = {name: tensors[f"{BEST}/{name}"] for name in params if f"{BEST}/{name}" in tensors}
    return numbers.pop("index"), best, numbers
