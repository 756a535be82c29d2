"""A training state as one safetensors file: parameters, AdamW's moments, how far it is, the best parameters
so far.

A state that a disk has damaged would train on without a word: safetensors notices a file that is cut, and no
flipped bit. So a state carries the sha256 of its contents, and the state before it stays beside it until the
next one is whole. What cannot be used is said in a line, and the run goes on from the last good state: by the
rule of these loops, to the same result.
"""
from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..runs import one_line, whole_file

BEST = "best"  # no parameter's name has a slash
CHECKSUM = "sha256"


def save_training_state(path: Path, index: int, params: dict[str, nn.Parameter],
                        optimizer: torch.optim.Optimizer, best: dict[str, Tensor] | None = None,
                        **numbers: int) -> None:
    """One safetensors file (no pickle): parameters, their AdamW moments, how many steps are done, the best
    values of the parameters where there are any, and further numbers. The state before it becomes
    `previous(path)`. Parameters that are not finite numbers are not saved: the last good state stays."""
    if not all(bool(p.isfinite().all()) for p in params.values()):
        return
    tensors = {name: p.detach() for name, p in params.items()}
    tensors |= {f"{BEST}/{name}": values for name, values in (best or {}).items()}
    for name, p in params.items():
        for key, moment in optimizer.state.get(p, {}).items():
            tensors[f"{name}/{key}"] = moment
    metadata = {key: str(number) for key, number in {"index": index, **numbers}.items()}
    with whole_file(path) as beside:
        save_checked(beside, tensors, metadata)
        if path.exists():
            os.replace(path, previous(path))


def load_training_state(path: Path, params: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
                        ) -> tuple[int, dict[str, Tensor], dict[str, int]]:
    """The inverse: (steps done, the best values on the CPU, the further numbers); (0, {}, {}) where there is
    no state that can be used. The next step is then bit for bit the one that would have followed the save."""
    for file in (path, previous(path)):
        if not file.exists():
            continue
        try:
            tensors, metadata = read_state(file, params)
        except ValueError as error:
            print(f"  the saved state {file} cannot be used ({error}): the run goes on from the one before",
                  flush=True)
            continue
        apply_state(tensors, params, optimizer)
        best = {name: tensors[f"{BEST}/{name}"] for name in params if f"{BEST}/{name}" in tensors}
        numbers = {key: int(text) for key, text in metadata.items()}
        return numbers.pop("index"), best, numbers
    return 0, {}, {}


def remove_training_state(path: Path) -> None:
    """Removes the state and the one before it: the training has come to its end."""
    path.unlink(missing_ok=True)
    previous(path).unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where the state before the newest one is: state.safetensors has state.previous.safetensors."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def read_state(file: Path, params: dict[str, nn.Parameter]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata without the checksum) of a state. ValueError where it is damaged, or another
    model's."""
    tensors, metadata = read_checked(file)
    for name, param in params.items():
        if name not in tensors or tensors[name].shape != param.shape:
            raise ValueError("it is another model's")
    return tensors, metadata


def save_checked(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Tensors as a safetensors file with the checksum of its contents."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = metadata or {}
    save_file(tensors, file, metadata=metadata | {CHECKSUM: checksum(tensors, metadata)})


def read_checked(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata without the checksum) of what `save_checked` wrote. ValueError where it was damaged
    since."""
    try:
        if not file.is_file():
            raise OSError("no regular file")
        with safe_open(file, "pt") as stream:
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}
            metadata = stream.metadata() or {}
    except Exception as error:  # safetensors has an error of its own for a file that is cut
        raise ValueError(one_line(error, 100)) from None
    if CHECKSUM not in metadata:
        raise ValueError("it has no checksum: an older version wrote it")
    if metadata.pop(CHECKSUM) != checksum(tensors, metadata):
        raise ValueError("its checksum is not that of its contents")
    return tensors, metadata


def apply_state(tensors: dict[str, Tensor], params: dict[str, nn.Parameter],
                optimizer: torch.optim.Optimizer) -> None:
    """Puts a state's values into the parameters and their moments into the optimiser."""
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(tensors[name])
            moments = {key.rpartition("/")[2]: t for key, t in tensors.items()
                       if key.rpartition("/")[0] == name}
            if moments:  # the step count stays on the CPU
                optimizer.state[p] = {key: t if key == "step" else t.to(p.device) for key,
                                      t in moments.items()}


def checksum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """sha256 of the metadata and of the tensors' names, types, shapes and bytes, in order of their names."""
    sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
