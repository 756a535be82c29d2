"""The start-up check: on one real group, the layout that is about to train must compute what the classic one
computes.

A mask that silently fails to arrive, or an architecture that keeps state between tokens, changes log-probs by
tenths of a nat and raises nothing; such faults have shipped in other trainers. The bound is measured: the
classic layout is run twice, row by row and with all rows in a wider batch, and what those two differ by is
this machine's rounding. Where they agree to the last bit by chance, half of the compute type's digits must
still agree: 1e-4 in fp32, 0.03 in bf16.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .prefix import base_of
from .update import MicroBatch, group_gradient

NOISE_FACTOR = 20  # times the measured noise; a wrong mask is thousands of times above it


def self_check(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int],
               completions: list[list[int]], layout: str, temperature: float = 1.0,
               logp_chunk: int = 256) -> dict[str, float]:
    """{"logp": largest difference in nats, "grad": largest relative one, and the noise of both}; raises above
    the bound.

    Gradients of `params` (their sum of log-probs) must be empty before, and are empty after. A few
    completions do.
    """
    def run(layout: str, micro: int, extra_padding: int) -> tuple[Tensor, Tensor]:
        return _logps_and_gradient(model, params, prompt, completions, layout, micro, extra_padding,
                                   temperature, logp_chunk)

    every = len(completions)
    logps, gradient = run("classic", micro=1, extra_padding=0)
    logps_again, gradient_again = run("classic", micro=every, extra_padding=3)
    logps_of_layout, gradient_of_layout = run(layout, micro=every, extra_padding=0)

    def relative(other: Tensor) -> float:
        return ((other - gradient).norm() / gradient.norm().clamp(min=1e-12)).item()

    differences = {"logp": (logps_of_layout - logps).abs().max().item(),
                   "logp_noise": (logps_again - logps).abs().max().item(),
                   "grad": relative(gradient_of_layout), "grad_noise": relative(gradient_again)}
    floor = 0.3 * torch.finfo(base_of(model).dtype).eps ** 0.5
    if any(differences[what] > NOISE_FACTOR * differences[f"{what}_noise"] + floor
           for what in ("logp", "grad")):
        raise RuntimeError(f"the {layout} layout does not compute what the classic one does: {differences}; "
                           "nothing was trained")
    return differences


def _logps_and_gradient(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int],
                        completions: list[list[int]], layout: str, micro: int, extra_padding: int,
                        temperature: float, logp_chunk: int) -> tuple[Tensor, Tensor]:
    """(log-probs of all tokens [N], the gradient of their sum as one vector)."""
    logps: list[Tensor] = []

    def sum_of_logps(batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logps.append(batch.logps.detach()[batch.mask])
        return batch.logps.sum(), {}

    prompt_ids = torch.tensor(prompt, device=base_of(model).device)
    group_gradient(model, prompt_ids, completions, sum_of_logps, layout=layout, micro=micro,
                   temperature=temperature, logp_chunk=logp_chunk, extra_padding=extra_padding)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params.values()]
    gradient = torch.cat([g.float().flatten() for g in gradients])
    for p in params.values():
        p.grad = None
    return torch.cat(logps), gradient
