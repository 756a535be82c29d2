"""The start-up check: on one real group, the layout that is about to train must compute what the classic one
computes.

A mask that silently fails to arrive, or an architecture that keeps state between tokens, changes log-probs by
tenths of a nat and raises nothing; such faults have shipped in other trainers. The bound is measured: the
classic layout is run twice, the second time with every embedding moved by up to one unit in its last place,
and what those two differ by is this machine's rounding, as this model amplifies it. Differences are root mean
squares: the largest of a few hundred roundings says little.

Measured in bf16, as multiples of that rounding: right layouts at most 0.9; completions one position too far,
a prompt without its last token, or no causal mask at least 5.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .prefix import base_of
from .update import MicroBatch, group_gradient

NOISE_FACTOR = 3  # times the measured rounding


def self_check(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int],
               completions: list[list[int]], layout: str, temperature: float = 1.0,
               logp_chunk: int = 256) -> dict[str, float]:
    """{"logp": difference in nats, root mean square over the tokens, "grad": relative difference, and the
    rounding of both}.

    Gradients of `params` (their sum of log-probs) must be empty before, and are empty after. A few
    completions do. Raises RuntimeError above the bound, and where a difference is not a number.
    """
    def run(layout: str, micro: int) -> tuple[Tensor, Tensor]:
        return _logps_and_gradient(model, params, prompt, completions, layout, micro, temperature, logp_chunk)

    logps, gradient = run("classic", micro=1)
    with rounded_otherwise(model):
        logps_again, gradient_again = run("classic", micro=1)
    logps_of_layout, gradient_of_layout = run(layout, micro=len(completions))

    def in_nats(other: Tensor) -> float:
        return (other - logps).pow(2).mean().sqrt().item()

    def relative(other: Tensor) -> float:
        return ((other - gradient).norm() / gradient.norm().clamp(min=1e-12)).item()

    differences = {"logp": in_nats(logps_of_layout), "logp_noise": in_nats(logps_again),
                   "grad": relative(gradient_of_layout), "grad_noise": relative(gradient_again)}
    # Where rounding happens to cancel out, half of the compute type's digits must still agree: 1e-4 in fp32.
    floor = 0.3 * torch.finfo(base_of(model).dtype).eps ** 0.5
    for what in ("logp", "grad"):
        # Written so that NaN, of which every comparison is false, does not pass.
        if not differences[what] <= NOISE_FACTOR * differences[f"{what}_noise"] + floor:
            raise RuntimeError(f"the {layout} layout does not compute what the classic one does: "
                               f"{differences}; nothing was trained")
    return differences


@contextmanager
def rounded_otherwise(model: nn.Module) -> Iterator[None]:
    """Within the block every value that the embedding gives is moved by up to one unit in its last place, as
    if it had been rounded otherwise. The moves are the same in every call."""
    embedding = base_of(model).get_input_embeddings()
    draw = torch.Generator().manual_seed(0)

    def moved(_, __, states: Tensor) -> Tensor:
        share = torch.rand(states.shape, generator=draw).to(states.device) * 2 - 1  # in [-1, 1)
        return (states.float() * (1 + torch.finfo(states.dtype).eps * share)).to(states.dtype)

    hook = embedding.register_forward_hook(moved)
    try:
        yield
    finally:
        hook.remove()


def _logps_and_gradient(model: nn.Module, params: dict[str, nn.Parameter], prompt: list[int],
                        completions: list[list[int]], layout: str, micro: int, temperature: float,
                        logp_chunk: int) -> tuple[Tensor, Tensor]:
    """(log-probs of all tokens [N], the gradient of their sum as one vector)."""
    logps: list[Tensor] = []

    def sum_of_logps(batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        logps.append(batch.logps.detach()[batch.mask])
        return batch.logps.sum(), {}

    prompt_ids = torch.tensor(prompt, device=base_of(model).device)
    group_gradient(model, prompt_ids, completions, sum_of_logps, layout=layout, micro=micro,
                   temperature=temperature, logp_chunk=logp_chunk)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params.values()]
    gradient = torch.cat([g.float().flatten() for g in gradients])
    for p in params.values():
        p.grad = None
    return torch.cat(logps), gradient
