"""How the GRPO benchmark measures: seconds, tokens forwarded, bytes, FLOPs, exactness, and what the machine
can do.

Decisions. Tokens are counted where they enter the model, at the embedding, so nobody's formula is trusted.
The rate of the machine is the best of its matrix products at the model's own shapes: an upper bound that
flatters nobody.
"""
from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from ..engine.prefix import base_of, forward_prompt

PHASES = ("rollout", "update", "step")
aten = torch.ops.aten


def now() -> float:
    """Seconds; whatever a GPU was given to do before is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass
class Meter:
    """Seconds of every phase, run after run, and the tokens that the model saw in its last run."""
    model: nn.Module
    seconds: dict[str, list[float]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        seen: list[int] = []
        hook = base_of(self.model).get_input_embeddings().register_forward_pre_hook(
            lambda _, args: seen.append(args[0].numel()))
        started = now()
        try:
            yield
        finally:
            hook.remove()
        self.seconds.setdefault(name, []).append(now() - started)
        self.tokens[name] = sum(seen)

    def summary(self) -> dict:
        """{"seconds": medians, "runs": how often, "tokens"}; the update is what is left of a step after its
        rollout."""
        seconds, tokens = dict(self.seconds), dict(self.tokens)
        seconds["update"] = [s - r for s, r in zip(seconds["step"], seconds["rollout"])]
        tokens["update"] = tokens["step"] - tokens["rollout"]
        return {"seconds": {p: round(statistics.median(seconds[p]), 3) for p in PHASES},
                "runs": {p: [round(s, 3) for s in seconds[p]] for p in PHASES},
                "tokens": {p: tokens[p] for p in PHASES}}


def matmul_rate(model: nn.Module, rows: int, repeat: int = 5, seconds: float = 0.1) -> float:
    """The most FLOP/s of x W^T, x [rows, in], among the shapes of the model's own weights, in its compute
    type."""
    base, rates = base_of(model), []
    hidden, inner, vocab = base.config.hidden_size, base.config.intermediate_size, base.config.vocab_size
    head = max(1, rows // 4)
    for n, k, m in ((rows, hidden, inner), (rows, inner, hidden), (rows, hidden, hidden),
                    (head, hidden, vocab)):
        x, w = (torch.randn(s, k, dtype=base.dtype, device=base.device) for s in (n, m))
        F.linear(x, w)
        for _ in range(repeat):
            started, loops = now(), 0
            while now() - started < seconds:
                F.linear(x, w)
                loops += 1
            rates.append(2 * n * k * m * loops / (now() - started))
    return max(rates)


@torch.no_grad()
def logps_in_fp64(model: nn.Module, prompt: list[int], ids: Tensor) -> Tensor:
    """Log-probs [G, R] of an fp32 model, prompt and completion together, row by row. fp32 to fp64 and back is
    exact."""
    model.double()
    at, head = forward_prompt("classic", model,
                              torch.tensor(prompt, device=ids.device)), base_of(model).lm_head
    rows = [head(at.predict(row[None])).log_softmax(-1).gather(-1, row[None, :, None])[..., 0] for row in ids]
    model.float()
    return torch.cat(rows)


# ---------------------------------------------------------------- bytes and FLOPs
# plan.counter.watched sees the kernels that really run here, not those of a CUDA card on the meta device.
# torch has formulas for the CUDA kernels only. A causal kernel of the CPU is charged for the pairs it must
# look at, so that the share of the bound is never made better by work that nobody does.

def _pairs(q: Tensor, k: Tensor, causal: bool) -> int:
    """rows x heads x head size x pairs of a query and a key that it may see."""
    (b, h, t, d), s = q.shape, k.shape[2]
    return b * h * d * (t * (t + 1) // 2 if causal else t * s)


def attention_flops(q, k, v, dropout_p=0.0, is_causal=False, **_) -> int:
    """Two products: scores, and values under their weights."""
    return 4 * _pairs(q, k, is_causal)


def attention_backward_flops(grad, q, k, v, out, logsumexp, dropout_p, is_causal, **_) -> int:
    """Five: the scores again, and the gradients of weights, values, queries and keys."""
    return 10 * _pairs(q, k, is_causal)


def folded_flops(x, weight, *_, **__) -> int:
    """The product of a folded layer (engine/fold.py)."""
    return 2 * x.numel() * weight.shape[0]


for _op, _formula in ((torch.ops.mkldnn._linear_pointwise, folded_flops),
                      (aten._scaled_dot_product_flash_attention_for_cpu, attention_flops),
                      (aten._scaled_dot_product_flash_attention_for_cpu_backward, attention_backward_flops)):
    if _op not in flop_registry:
        register_flop_formula(_op, get_raw=True)(_formula)
