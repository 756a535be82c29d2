"""The plan of a whole run against what is counted, and against a card, phase by phase.

    formula   plan/whole.py: arithmetic
    counted   the code that the steps run, on the meta device: no weights and no GPU
    measured  the same code on this machine's CUDA card, zeros for weights: what its allocator gave

Every phase is counted in a model of its own, with the adapters, optimiser moments and parts of PRMU that its
step holds.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import nn

from ..config import LAYOUTS, Config, Model, Prompt, Reward, UserError
from ..engine.memory import BatchLimit
from ..engine.model import bind, placement
from ..engine.prefix import SharedPrefix
from ..lamp.tasks import Question
from ..plan import count
from ..plan.__main__ import longest_load, settings_of
from ..plan.advice import refusal
from ..plan.answers import RATED_TOGETHER, answerers, rows_of_samples
from ..plan.counter import count as counted
from ..plan.layers import GIB
from ..plan.meta import materialise, meta_model
from ..plan.phase import Load, Phase
from ..plan.shapes import SHAPES, Shape, shape_of
from ..plan.whole import CASE, RETRIEVED, TEXTS, phases_of, plan_run, with_settings
from ..prmu.model import ADAPTER, PRMU, PRMUParts
from ..prmu.pair import Pair
from ..prmu.train import case_gradient

POLICY, REFERENCE = "policy", "ref"
GRID_SHAPES = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b")
GRID_SIZES = list(product((1024, 2048, 4096), (256, 512, 1024), (1, 4)))  # prompt, completion, at a time


# ---------------------------------------------------------------- PRMU without weights

class SizedPRMU(PRMU):
    """PRMU over a model without weights, whose questions and chains have given lengths and no content."""

    def __init__(self, model: nn.Module, settings: Reward, prompt: int, completion: int):
        """prompt, completion: tokens of every question and of every chain."""
        self.model, self.settings, self.prompt = model, settings, Prompt()
        self.tokenizer = self.texts = None
        self.prompt_tokens, self.completion_tokens = prompt, completion
        self.rated_together = BatchLimit("reward.micro", "chains", CASE)
        hidden, device = model.config.hidden_size, next(model.parameters()).device
        # The norm of the token embeddings is read, so that the table for it must have values.
        self.parts = PRMUParts(torch.ones(2, hidden), settings.tokens, ()).to(device)
        topic, items = torch.zeros(hidden), torch.zeros(settings.history, 3, hidden)
        self.history = topic.to(device), items.to(device)

    def user(self, question: Question | None) -> torch.Tensor:
        return self.parts.users(*self.history)

    def shared_prompt(self, question: Question | None, user: torch.Tensor,
                      grad: bool = False) -> SharedPrefix:
        return self.forward_prompt([0] * self.prompt_tokens, user, grad)

    def encode(self, text: str) -> list[int]:
        return [0] * self.completion_tokens


# ---------------------------------------------------------------- one phase

@dataclass
class Bench:
    """What a step holds: the model with its adapters, PRMU's parts, and the optimiser of what is trained."""
    model: nn.Module
    prmu: SizedPRMU | None
    params: list[nn.Parameter]
    optimizer: torch.optim.Optimizer | None

    def count(self, work: count.Work) -> count.Count:
        parts = [self.prmu.parts] if self.prmu else []
        return counted(work, nn.ModuleList([self.model, *parts]), self.optimizer)


def bench_of(device: torch.device | None, shape: Shape, config: Config, load: Load, adapters: tuple[str, ...],
             trains: str | None, with_prmu: bool, checkpointing: bool) -> Bench:
    """device None: on meta. trains: the adapter that is trained, with PRMU's parts where it is PRMU's."""
    model = meta_model(shape, replace(config.model, checkpointing=checkpointing), adapters)
    if device is not None:
        model = materialise(model, device)
    prmu = SizedPRMU(model, config.reward, load.question, config.grpo.completion) if with_prmu else None
    params, optimizer = [], None
    if trains:
        params, optimizer = count.trained(model, trains, prmu.parts if trains == ADAPTER else None)
    return Bench(model, prmu, params, optimizer)


def phase_count(phase: Phase, shape: Shape, config: Config, load: Load,
                device: torch.device | None = None) -> count.Count:
    """Counts a phase of plan/whole.py by the code that its step runs; device None: on meta. config: the
    settings that follow the plan."""
    g, R = config.grpo, config.grpo.completion
    together, micro = max(1, g.decode_rows // g.group), min(g.micro, g.group)
    adapters = {"prepare": (), "sft": (POLICY,), "reward": (ADAPTER,), "guided": (POLICY, REFERENCE, ADAPTER),
                "explore": (POLICY, REFERENCE), "evaluate": (ADAPTER,)}[phase.step]
    learns_prmu = phase.step == "reward" and phase.what.startswith("PRMU")
    asks_prmu = phase.step == "guided" or phase.what == "PRMU's choices"
    in_grpo = phase.step in ("guided", "explore")
    trains = ADAPTER if learns_prmu else POLICY if phase.step == "sft" or in_grpo else None
    checkpointing = config.model.checkpointing and (g.checkpointing or not in_grpo)
    bench = bench_of(device, shape, config, load, adapters, trains, learns_prmu or asks_prmu,
                     checkpointing)

    model, params, optimizer = bench.model, bench.params, bench.optimizer
    works: dict[str, Callable[[], count.Work]] = {
        "embeddings of texts": lambda: count.embedding_work(
            model, *(RETRIEVED if phase.step == "prepare" else TEXTS)),
        "training": lambda: count.sft_work(model, params, optimizer, load.prompt, R, config.sft.batch,
                                           config.sft.micro or config.sft.batch, g.logp_chunk),
        "rollouts": lambda: count.rollout_work(model, together, load.prompt,
                                               2 if phase.step == "reward" else g.group, R),
        "PRMU's training": lambda: prmu_training(bench, min(CASE, config.reward.micro or CASE)),
        "PRMU's scores": lambda: prmu_scores(
            bench, min(CASE, config.reward.micro or CASE) if phase.step == "reward" else micro),
        "updates": lambda: count.update_work(model, params, optimizer, g.layout, load.prompt, g.group, R,
                                             micro, g.logp_chunk, REFERENCE if g.beta else None),
        "answers": lambda: count.rollout_work(model, min(config.evaluate.batch, max(1, load.dev)),
                                              load.prompt, 1, R),
        "held-out answers": lambda: count.rollout_work(model, min(config.evaluate.batch, load.val),
                                                       load.prompt, 1, R),
        "samples": lambda: samples(model, config, load),
        "PRMU's choices": lambda: prmu_scores(bench, config.reward.micro or RATED_TOGETHER)}
    return bench.count(works[phase.what]())


def samples(model: nn.Module, config: Config, load: Load) -> count.Work:
    """A batch of the samples among which systems choose."""
    wanted = max(answerers(config, sampled=True).values())
    _, rows, together = rows_of_samples(config.evaluate.batch, wanted)
    return count.rollout_work(model, min(together, max(1, load.dev)), load.prompt, rows,
                              config.grpo.completion)


def prmu_training(bench: Bench, micro: int) -> count.Work:
    """An optimiser step of PRMU on its largest case."""
    case = [Pair(None, "", "", "", 1.0, "")] * (CASE - 1)

    def work() -> None:
        bench.prmu.train()
        count.give_gradients(bench.params)
        case_gradient(bench.prmu, case, True, len(case), micro)
        count.finish_step(bench.params, bench.optimizer)

    return work


def prmu_scores(bench: Bench, chains: int) -> count.Work:
    """PRMU's scores of `chains` chains in one forward."""
    @torch.no_grad()
    def work() -> None:
        bench.prmu.eval()
        user = bench.prmu.user(None)
        completions = [bench.prmu.encode("")] * chains
        bench.prmu.rate_after(bench.prmu.shared_prompt(None, user), completions, user, chains)

    return work


# ---------------------------------------------------------------- a run, and a grid of runs

def verify(shape: Shape, config: Config, load: Load, card: torch.device | None = None) -> list[dict]:
    """A row for every phase: {"step", "what", "at_once", "formula", "counted", "measured"}, bytes with what
    is held. measured: None without a card, "out of memory" where the card had too little."""
    rows = []
    for phase in phases_of(shape, config, load):
        row = {"step": phase.step, "what": phase.what, "at_once": phase.at_once, "formula": phase.peak,
               "counted": phase_count(phase, shape, config, load).peak, "measured": None}
        if card is not None:
            try:
                row["measured"] = phase_count(phase, shape, config, load, card).peak
            except torch.OutOfMemoryError:
                row["measured"] = "out of memory"
            torch.cuda.empty_cache()
        rows.append(row)
    return rows


def grid(layers: int, say: Callable[[str], None]) -> dict[str, tuple[float, float, int]]:
    """{phase: (least, largest ratio of formula to count of the bytes beside what is held, sizes)} over sizes.

    The bytes are linear in the layers, and what is held agrees to the byte: a shallow model hides nothing.
    """
    ratios: dict[str, list[float]] = {}
    config = Config(model=Model(), lamp=replace(Config().lamp, retriever="dense"))
    config = with_settings(config, {"reward.rollouts": 1, "grpo.decode_rows": 16})
    for name, (prompt, completion, micro) in product(GRID_SHAPES, GRID_SIZES):
        shape = replace(SHAPES[name], layers=layers)
        load = Load(prompt, prompt, prompt // 4, 100, micro * 2, micro * 3)
        layout = LAYOUTS[len(ratios.get("guided updates", ())) % len(LAYOUTS)]
        sized = with_settings(config, {"grpo.completion": completion, "grpo.micro": micro, "sft.micro": micro,
                                       "reward.micro": micro, "grpo.layout": layout,
                                       "grpo.logp_chunk": 64 * micro})
        for phase in phases_of(shape, sized, load):
            found = phase_count(phase, shape, sized, load)
            ratio = phase.beside / (found.peak - found.static)
            ratios.setdefault(f"{phase.step} {phase.what}", []).append(ratio)
            if phase.held != found.static:
                raise UserError(f"{phase.step}, {phase.what}: {phase.held:,} bytes held by formula, "
                                f"{found.static:,} counted")
        say(f"{name}, prompt {prompt}, completion {completion}, {micro} at a time")
    return {what: (min(found), max(found), len(found)) for what, found in ratios.items()}


def grid_lines(found: dict[str, tuple[float, float, int]]) -> list[str]:
    """The result of `grid` as text."""
    lines = [f"{'formula / count of':32s} {'least':>6s} {'most':>6s}  sizes"]
    lines += [f"{what:32s} {least:6.3f} {most:6.3f}  {sizes}" for what, (least, most, sizes) in found.items()]
    return lines


def bench_memory(args: argparse.Namespace) -> list[dict]:
    """`verify` of what the command line describes, planned for its budget."""
    config, shape = settings_of(args), shape_of(args.model)
    load, budget = longest_load(config), args.vram * GIB
    card = the_card(args.vram) if args.card else None
    plan = plan_run(shape, config, load, budget)
    if not plan.fits:
        raise UserError(refusal(shape, config, load, budget))
    return verify(shape, with_settings(config, plan.decided), load, card)


def the_card(gib: float) -> torch.device:
    """The CUDA card, bound to the budget as a run with --vram is."""
    device, _ = placement()
    if device.type != "cuda":
        raise UserError("--card runs the phases on a CUDA card, and there is none")
    bind(device, gib)
    return device


def verified_lines(rows: list[dict]) -> list[str]:
    """The rows of `verify` as text, GiB."""
    heads = f"{'formula':>8s} {'counted':>8s} {'ratio':>6s}  measured"
    lines = [f"{'step':9s} {'what':20s} {'at a time':26s} {heads}"]
    for row in rows:
        measured = row["measured"]
        shown = f"{measured / GIB:.3f}" if isinstance(measured, int) else measured or "-"
        lines.append(f"{row['step']:9s} {row['what']:20s} {row['at_once']:26s} {row['formula'] / GIB:8.3f} "
                     f"{row['counted'] / GIB:8.3f} {row['formula'] / row['counted']:6.3f}  {shown}")
    return lines
