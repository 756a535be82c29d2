"""The start-up check: on one real group, the layout that is about to train must say what the classic one says.

A mask that silently fails to arrive, or an architecture that keeps state between tokens, changes log-probs by tenths of
a nat and raises nothing; such faults have shipped in other trainers. The bound is measured: the classic layout is run
twice, row by row and with all rows in a wider batch, and what those two differ by is this machine's rounding. Where they
agree to the last bit by chance, half of the compute type's digits must still agree: 1e-4 in fp32, 0.03 in bf16.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .logps import padded, token_logps
from .prefix import LAYOUTS, base_of

FACTOR = 20  # times the measured noise; a wrong mask is thousands of times above it


def self_check(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int], completions: list[list[int]],
               layout: str, temperature: float = 1.0, chunk: int = 256) -> dict[str, float]:
    """{"logp": largest difference in nats, "grad": largest relative one, and the noise of both}; raises above the bound.

    Gradients of `params` (their sum of log-probs) must be empty before, and are empty after. A few completions do.
    """
    n = len(completions)
    runs = [_run(model, params, prompt, completions, *how, temperature, chunk)
            for how in (("classic", 1, 0), ("classic", n, 3), (layout, n, 0))]
    (lp, grad), (lp_again, grad_again), (lp_got, grad_got) = runs
    relative = lambda a: ((a - grad).norm() / grad.norm().clamp(min=1e-12)).item()
    found = {"logp": (lp_got - lp).abs().max().item(), "logp_noise": (lp_again - lp).abs().max().item(),
             "grad": relative(grad_got), "grad_noise": relative(grad_again)}
    floor = 0.3 * torch.finfo(base_of(model).dtype).eps ** 0.5
    if any(found[what] > FACTOR * found[f"{what}_noise"] + floor for what in ("logp", "grad")):
        raise RuntimeError(f"the {layout} layout does not compute what the classic one does: {found}; nothing was trained")
    return found


def _run(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int], completions: list[list[int]],
         layout: str, micro: int, wider: int, temperature: float, chunk: int) -> tuple[Tensor, Tensor]:
    """(log-probs of all tokens, the flat gradient of their sum). wider: columns of padding too many."""
    device, found = base_of(model).device, []
    at = LAYOUTS[layout](model, torch.tensor(prompt, device=device))
    for i in range(0, len(completions), micro):
        ids, mask = (F.pad(t, (0, wider)) for t in padded(completions[i:i + micro], device))
        logps, _ = token_logps(model, at.predict(ids), ids, mask, temperature, chunk)
        logps.sum().backward()
        found.append(logps.detach()[mask])
    at.backward()
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in params.values()])
    for p in params.values():
        p.grad = None
    return torch.cat(found), flat
