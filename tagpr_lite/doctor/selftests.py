"""The self-tests: layouts, NF4, the plan's bytes, speed. Each returns its figures and what needs attention.

Each takes a Part and `tell`, which writes the figures found so far.
"""
from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import bitsandbytes as bnb
import torch
from torch import Tensor

from ..bench import grpo as bench
from ..config import GRPO, LAYOUTS, Config, Model, Prompt, UserError, load
from ..engine.check import NOISE_FACTOR, self_check
from ..engine.location import SIZES, budget
from ..engine.logps import padded, token_logps
from ..engine.model import placement
from ..engine.prefix import base_of, forward_prompt
from ..plan.advice import refusal
from ..plan.whole import phases_of, plan_run, with_settings
from ..runs import one_line
from .card import GIB
from .made import made_model
from .parts import SMALL, Part, shape_named

Tell = Callable[[dict], None]
Result = tuple[dict, list[str]]  # figures, and what needs attention


def config_of(part: Part) -> Config:
    """Our step on the made model: NF4, checkpointing on as in TRL, the whole group in one training
    forward."""
    model = Model(name=str(made_model(shape_named(part.shape))), bits=4, checkpointing=True)
    grpo = GRPO(group=part.group, completion=part.completion, micro=part.group, layout="two_phase")
    return Config(model=model, prompt=Prompt(max_tokens=part.prompt), grpo=grpo)


# ---------------------------------------------------------------- layouts

def layouts(part: Part, tell: Tell) -> Result:
    """Every layout against the classic one, and what sampling says of a token against what training says of
    it; root mean squares in nats, gradients as a share of the gradient's norm."""
    part = Part("layouts", SMALL.name, prompt=200, group=4, completion=24)
    side = bench.ours(config_of(part), part.prompt)
    prompt = bench.prompts_of(side.tokenizer, 1, part.prompt)[0]
    samples = bench.rollout(side, [prompt])[0]
    completions = [sample.ids for sample in samples]
    figures: dict = {"layouts": {}}
    attention = []
    side.model.train()  # activation checkpointing works in train mode only
    for layout in LAYOUTS:
        if layout == "classic":
            continue
        try:
            figures["layouts"][layout] = self_check(side.model, side.params, prompt, completions, layout)
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # memory that ran out, a fault of the card
                raise
            figures["layouts"][layout] = {"fault": one_line(error)}
            attention.append(f"the layout {layout} is not exact on this machine: do not train with "
                             f"grpo.layout={layout}, and report the figures")
        tell(figures)
    side.model.eval()
    noise = max((found["logp_noise"] for found in figures["layouts"].values() if "logp_noise" in found),
                default=0.0)
    figures["sampling"] = sampled_against_trained(side, prompt, samples, noise)
    if not figures["sampling"]["logp"] <= figures["sampling"]["bound"]:
        attention.append("the log-probs of sampling are not those of training on this machine: report the "
                         "figures")
    return figures, attention


@torch.no_grad()
def sampled_against_trained(side: bench.Side, prompt: list[int], samples: list, noise: float) -> dict:
    """{"logp": root mean square of the differences in nats, "largest", "bound"}. noise: what the rounding of
    this machine makes of a log-prob."""
    device = base_of(side.model).device
    ids, mask = padded([sample.ids for sample in samples], device)
    sampled = torch.tensor([sample.logps for sample in samples], device=device)
    prompt_ids = torch.tensor(prompt, device=device)
    predicted = forward_prompt("two_phase", side.model, prompt_ids).predict(ids)
    trained, _ = token_logps(side.model, predicted, ids, mask, side.config.grpo.temperature)
    differences = (sampled - trained)[mask]
    floor = 0.3 * torch.finfo(base_of(side.model).dtype).eps ** 0.5  # as in engine/check.py
    return {"logp": differences.pow(2).mean().sqrt().item(), "largest": differences.abs().max().item(),
            "bound": NOISE_FACTOR * noise + floor}


# ---------------------------------------------------------------- NF4

WIDEST_HALF_GAP = 0.1520  # of NF4's levels, between -1 and -0.6962, as a share of the block's largest value
OF_SCALES = 0.05  # as a share of the block's largest value: its scale is kept in 8 bits
ROWS = (1, 3, 8, 64)  # one row and few rows have kernels of their own
GEMM_FACTOR = 3  # times the error of dequantise and multiply


def nf4(part: Part, tell: Tell) -> Result:
    """A weight to NF4 and back, and products with it against those with its dequantised values."""
    device, dtype = placement()
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(512, 1024, generator=draw).to(device, dtype)
    packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, compress_statistics=True,
                                                 quant_type="nf4")
    back = bnb.functional.dequantize_4bit(packed, state)
    figures: dict = {"round trip": round_trip(weight, back)}
    tell(figures)
    attention = []
    if not figures["round trip"]["largest"] <= WIDEST_HALF_GAP + OF_SCALES:
        attention.append("NF4 weights do not come back on this machine: install bitsandbytes again, or set "
                         "model.bits=32")

    # Products of 1 to 64 rows, each against fp64.
    figures["product"] = {}
    for rows in ROWS:
        x = torch.randn(rows, 1024, generator=draw).to(device, dtype)
        exact = x.double() @ back.double().T
        found = {"gemm_4bit": relative(bnb.matmul_4bit(x, packed, state), exact),
                 "dequantised": relative(x @ back.T, exact)}
        figures["product"][str(rows)] = found
        if not found["gemm_4bit"] <= GEMM_FACTOR * found["dequantised"] + torch.finfo(dtype).eps:
            attention.append(f"products of {rows} rows with NF4 weights are wrong on this machine: install "
                             "bitsandbytes again, or set model.bits=32")
    return figures, attention


def round_trip(weight: Tensor, back: Tensor) -> dict[str, float]:
    """{"largest": error of a value as a share of its block's largest one, "rms": of all values, as a share of
    theirs}. Blocks have 64 values, as engine/model.py quantises."""
    blocks, again = weight.float().view(-1, 64), back.float().view(-1, 64)
    error = (again - blocks).abs()
    return {"largest": (error / blocks.abs().amax(1, keepdim=True)).max().item(),
            "rms": relative(again, blocks)}


def relative(found: Tensor, exact: Tensor) -> float:
    """|found - exact| / |exact|."""
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


# ---------------------------------------------------------------- the plan

LEAST_BUDGET = 4.0  # GiB, of the smallest model: engine.location.SIZES names none for it
OVER_THE_FORMULA = 1.05  # a measured peak above this times the formula's eats into the reserve,
WORKSPACES = 64 * 2**20  # beyond what matrix libraries take for themselves: the reserve is for that


def plan(part: Part, tell: Tell) -> Result:
    """The peak of every phase of a whole run, by the plan's formulas and by the card's allocator. On a CPU it
    is counted on the meta device in the place of a card's."""
    device, _ = placement()
    # The least budget that the model is offered for, where the card has so much.
    least = next((gib for gib, name in SIZES if name.endswith(f"/{part.shape}")), 0)
    room = max(least, LEAST_BUDGET)
    if device.type == "cuda":
        room = min(room, budget(Model()))
    figures: dict = {"budget_gib": room, "phases": {}}
    attention = []
    for phase, row in measured_phases(part, room, device):
        found = row["measured"] if "measured" in row else row["counted"]
        figures["phases"][phase] = row | {"ratio": found / row["formula"]}
        if "measured" in row and not found <= OVER_THE_FORMULA * row["formula"] + WORKSPACES:
            attention.append(f"{part.shape}: {phase} takes {found / row['formula']:.2f} times what the plan "
                             "says; give --vram less than the card has, and report the figures")
        tell(figures)
    return figures, attention


def measured_phases(part: Part, room: float, device: torch.device) -> Iterator[tuple[str, dict[str, int]]]:
    """(phase, {"formula", "measured"}) in bytes on a card, {"formula", "counted"} elsewhere, of a run of the
    preset gpu in a budget of `room` GiB. The one place that asks plan/. UserError: the run does not fit."""
    from ..bench.memory import phase_count
    from ..plan.__main__ import longest_load
    config = load("gpu", [f"prompt.max_tokens={part.prompt}", f"grpo.group={part.group}",
                          f"grpo.completion={part.completion}"])
    shape, run = shape_named(part.shape), longest_load(config)
    decided = plan_run(shape, config, run, room * GIB)
    if not decided.fits:
        raise UserError(refusal(shape, config, run, room * GIB))
    config = with_settings(config, decided.decided)
    on_card = device.type == "cuda"
    for phase in phases_of(shape, config, run):
        before = allocated()  # what earlier phases and parts have left behind, if anything
        peak = phase_count(phase, shape, config, run, device if on_card else None).peak
        yield f"{phase.step}, {phase.what}", {"formula": phase.peak,
                                              "measured" if on_card else "counted": peak - before}


def allocated() -> int:
    """Bytes that this process holds on the card, after everything that nobody needs is let go."""
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


# ---------------------------------------------------------------- speed

WARM_COMPLETION = 8  # tokens of the completions of a first, unmeasured step
TOGETHER = 4  # groups decoded together in the second figure


def speed(part: Part, tell: Tell) -> Result:
    """Sampled tokens a second of one group and of four together, and the seconds of an update."""
    side = warm_side(config_of(part), part.prompt)
    prompts = bench.prompts_of(side.tokenizer, TOGETHER, part.prompt)
    bench.step(side, prompts[0])
    rollout, whole = side.meter.seconds["rollout"][-1], side.meter.seconds["step"][-1]
    figures: dict = {"rollout_s": rollout, "update_s": whole - rollout,
                     "tokens_per_second": part.group * part.completion / rollout}
    tell(figures)
    figures["together"] = bench.decode(side, prompts)
    return figures, []


def warm_side(config: Config, longest: int) -> bench.Side:
    """Our side after one short step on a prompt of full length, which nothing is measured of."""
    side = bench.ours(config, longest)
    side.config = replace(config, grpo=replace(config.grpo, completion=WARM_COMPLETION))
    bench.step(side, bench.prompts_of(side.tokenizer, 1, longest)[0])
    side.config, side.meter = config, bench.Meter(side.model)
    return side
