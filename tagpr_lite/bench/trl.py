"""TRL's GRPOTrainer at work, seen from outside: its seconds, tokens and bytes, and one group from within.

Decisions. The trainer keeps its defaults (loss dapo, activation checkpointing on, AdamW, clipping at 1)
except for what must be equal on both sides: one prompt a step, a group of G in one batch (8 is TRL's own
batch size), R tokens, beta 0 (TRL's default too), the compute type of the base, the adapter. An end token
must not end a completion: min_new_tokens forbids it. Prompts are handed over as token ids, so that they are P
tokens long. With an NF4 base TRL rounds the adapter to bf16; it is put back to what it was. Steps run on one
prompt after another:

    a short prompt to warm up | `repeat` measured steps, ours between them | one more step with every byte
    counted

On a card counting takes no time, so that the last step is measured too, and `repeat` may be 0.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ..config import Config
from ..engine.model import placement
from ..plan.counter import watched
from .measure import Meter


@dataclass
class Group:
    """What TRL computed for one group. adapter and gradient in the order of the trainable parameters."""
    completions: list[list[int]]
    advantages: Tensor  # [G]
    logps: Tensor  # [G, R]
    adapter: list[Tensor]
    gradient: list[Tensor]


@dataclass
class Run:
    """meter: of the measured steps. counted: of the last step, {phase: (peak bytes, FLOPs)} and the bytes
    `held`."""
    model: torch.nn.Module
    params: list[torch.nn.Parameter]
    meter: Meter
    group: Group | None = None
    counted: dict = field(default_factory=dict)
    inside: dict = field(default_factory=dict)  # what the step that is running has shown so far


def run_trl(config: Config, model, tokenizer, params: list, prompts: tuple[list[int], list[int]],
            rewards: Tensor, repeat: int, between: Callable[[], None], completions_only: bool,
            warm_completion: int | None = None) -> Run:
    """Trains `model` for 2 + repeat steps; prompts: the one to warm up with, the one to measure.
    warm_completion: tokens of the completions of the step that warms up, R unless given."""
    run, before = Run(model, params, Meter(model)), [p.detach().clone() for p in params]
    with TemporaryDirectory() as folder:
        trainer = GRPOTrainer(model, lambda completions, **_: rewards.tolist(), _arguments(config, folder),
                              Dataset.from_list([{"prompt": str(i)} for i in range(repeat + 2)]),
                              processing_class=tokenizer)
        for p, value in zip(params, before):
            p.data = value
        _watch(trainer, run, prompts, repeat, between)
        if warm_completion is not None:
            trainer.add_callback(_Lengths(trainer, warm_completion, config.grpo.completion))
        # on a CPU, TRL 1.16 scores the prompt's tokens as well and throws them away; this is its road on a
        # GPU
        only = patch("trl.trainer.utils._use_triton",
                     lambda device: True) if completions_only else nullcontext()
        with only:
            trainer.train()
    return run


def _arguments(config: Config, folder: str) -> GRPOConfig:
    g, (device, dtype) = config.grpo, placement()
    return GRPOConfig(output_dir=folder, num_generations=g.group, per_device_train_batch_size=g.group,
                      beta=0.0, max_completion_length=g.completion,
                      generation_kwargs={"min_new_tokens": g.completion}, temperature=g.temperature, top_k=0,
                      top_p=1.0, seed=config.seed, shuffle_dataset=False, num_train_epochs=1,
                      bf16=dtype == torch.bfloat16, use_cpu=device.type == "cpu", save_strategy="no",
                      report_to="none", disable_tqdm=True)


def _watch(trainer: GRPOTrainer, run: Run, prompts: tuple, repeat: int, between: Callable[[], None]) -> None:
    """Wraps the trainer's methods on the instance; TRL's own code stays as it is."""
    rollout, scores, train_step = (trainer._prepare_inputs, trainer._get_per_token_logps_and_entropies,
                                   trainer.training_step)
    compute = trainer._compute_loss

    def timed_rollout(batch):
        with run.meter.phase("rollout"):
            made = rollout(batch)
        if counter := run.inside.get("counter"):
            run.counted["rollout"] = (counter.peak, counter.flops)
            counter.restart()
        return made

    def kept_scores(*args, **kwargs):
        found = scores(*args, **kwargs)
        run.inside["logps"] = found[0].detach()
        return found

    def kept_inputs(model, inputs):
        run.inside["inputs"] = inputs
        return compute(model, inputs)

    def kept_gradient(*args):
        loss = train_step(*args)
        if "counter" not in run.inside:
            run.inside["gradient"] = [p.grad.clone() for p in run.params]  # clipping comes later
        return loss

    trainer._prepare_inputs, trainer._compute_loss = timed_rollout, kept_inputs
    trainer._get_per_token_logps_and_entropies, trainer.training_step = kept_scores, kept_gradient
    trainer._tokenize_prompts = lambda texts: ([prompts[text != "0"] for text in texts], None, {})
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Steps(run, repeat, between))


class _Steps(TrainerCallback):
    """Step 0 warms up, the last one is counted, those between are measured."""

    def __init__(self, run: Run, repeat: int, between: Callable[[], None]):
        self.run, self.repeat, self.between, self.index, self.open = run, repeat, between, 0, ExitStack()

    def on_step_begin(self, args, state, control, optimizer=None, **_):
        run = self.run
        run.inside = {}
        if self.index <= self.repeat:
            run.inside["adapter"] = [p.detach().clone() for p in run.params]
        else:
            counter = self.open.enter_context(watched(run.model, optimizer))
            run.inside["counter"], run.counted["held"] = counter, counter.static
        self.open.enter_context(run.meter.phase("step"))

    def on_step_end(self, args, state, control, **_):
        run = self.run
        self.open.close()
        if self.index == 0:
            run.meter = Meter(run.model)
        elif self.index <= self.repeat:
            run.group = _group(run.inside)
            self.between()
        else:
            run.counted["update"] = (run.inside["counter"].peak, run.inside["counter"].flops)
            if not torch.cuda.is_available():
                for seconds in run.meter.seconds.values():
                    seconds.pop()  # counting is slow
        self.index += 1


class _Lengths(TrainerCallback):
    """Completions of `warm` tokens in the first step, of `room` in the others."""

    def __init__(self, trainer: GRPOTrainer, warm: int, room: int):
        self.trainer, self.warm, self.room = trainer, warm, room

    def on_step_begin(self, args, state, control, **_):
        tokens = self.warm if state.global_step == 0 else self.room
        length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        self.trainer.generation_config.update(**length)
        self.trainer.generation_kwargs.update(length)


def _group(inside: dict) -> Group:
    inputs = inside["inputs"]
    lengths = inputs["completion_mask"].sum(-1).tolist()
    return Group([ids[:n].tolist() for ids, n in zip(inputs["completion_ids"], lengths)],
                 inputs["advantages"], inside["logps"], inside["adapter"], inside["gradient"])
