"""The GRPO loop of both stages: roll out, reward, advantage, one exact shared-prefix update.

One step:

    collect_groups    a few prompts; for each a group of G completions, sampled together from one prefill,
                      then scored (groups.py): reward [G] and advantage [G]. Several processes divide the
                      prompts (runs/processes.py); a group is never divided
    optimizer_step    every group whose rewards differ adds its gradient (update.py): its prompt is forwarded
                      once and back-propagated once (engine/update.py); then AdamW

Every few steps the policy answers held-out users (held_out.py). The best adapter by their score is what the
stage leaves to later steps; what looks wrong on the way is said aloud (alarms.py).

Groups without differences are counted and skipped, or replaced within a bound. Old log-probs come from
sampling, and one update is made of each batch, so the ratio is 1 up to rounding and the clip is a guard.
Where a server samples (grpo.sampler), the old log-probs are the trainer's, and each token has an importance
weight (served_rollouts.py, importance.py). The checks are answered by the engine here all the same.
Stage 2 is stage 1 with the weights of the tag, PRMU and own terms at 0, from stage 1's adapter.
"""
from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import torch

from ..config import Config
from ..engine.finite import FiniteSteps
from ..engine.memory import BatchLimit
from ..engine.model import (
    adapter_parameters,
    load_training_state,
    peak_memory,
    remove_training_state,
    save_adapter,
    save_training_state,
)
from ..engine.reduce import require_equal
from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import (
    drop_metrics,
    finishing_steps,
    log_metrics,
    progress,
    read_metrics,
    seed_of,
    whole_folder,
)
from ..runs.processes import gathered, part_of
from ..tags.teaching import Teaching
from . import kept_rollouts
from .alarms import Alarms
from .groups import POLICY, Group, Stage, roll_out, rollout_limit, score_group, summary
from .guard import Guard, mean_correlation
from .held_out import HeldOut
from .served_rollouts import SamplerFault, served_sampler
from .update import check_layout, completion_limit, optimizer_step

WARM_UP_STEPS = 3  # AdamW's first moments are wild
LARGEST_FIRST_KL = 1e-6  # nats; more before the first step means that the reference is another adapter


def train(config: Config, folder: Path, stage: Stage, model, tokenizer, questions: list[Question],
          teaching: Teaching, held_out: HeldOut) -> None:
    """Runs a stage to its end, from its last saved state if there is one, and writes two adapters:
    <stage>/adapter, the best one by the held-out score, and <stage>/last."""
    params = adapter_parameters(model, POLICY)
    lr = stage.lr or config.grpo.lr
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=0.0)

    # Where a cut run goes on: the steps done, the best parameters, the micro-batch that fitted into memory.
    state_file = folder / stage.name / "state.safetensors"
    done, best, saved = load_training_state(state_file, params, optimizer)
    finite_steps = FiniteSteps(stage.name, "lower grpo.lr" if stage.lr == 0 else "lower grpo.explore_lr")
    together = completion_limit(config.grpo, folder)
    together.size = min(together.size, saved.get("micro", together.size))
    decoded = rollout_limit(config.grpo, folder)
    forget_later_lines(folder, stage.name, done)
    if stage.guard:
        for line in read_metrics(folder, stage.name):
            stage.guard.see(line["agreement"])
    held_out.resume(done, best)
    alarms = Alarms(config.grpo, folder, stage)
    if done == 0 and held_out.is_due(0, stage.steps):
        held_out.check(model, tokenizer, params, 0)

    def save() -> None:
        """The state after the steps that are done."""
        require_equal(params, f"{stage.name}, step {done}")
        save_training_state(state_file, done, params, optimizer, best=held_out.params, micro=together.size)

    bar = progress(stage.steps, stage.name, "step")
    bar.update(done)
    first = done
    with served_sampler(config.grpo, folder / stage.name, POLICY) as stage.sampler, finishing_steps() as stop:
        while done < stage.steps and not held_out.is_stalled:
            started = time.time()
            for param_group in optimizer.param_groups:
                param_group["lr"] = lr * min(1.0, (done + 1) / WARM_UP_STEPS)
            try:
                groups = collect_groups(config, stage, model, tokenizer, questions, teaching, done, decoded,
                                        together)
            except SamplerFault:  # the steps that are done outlive the server
                save()
                raise
            if done == first and config.grpo.self_check:
                check_layout(config.grpo, model, params, groups[0])
            stats = optimizer_step(config.grpo, model, groups, optimizer, params, together)
            finite_steps.see(stats.pop("fault", ""))
            if done == 0 and not stats["kl"] <= LARGEST_FIRST_KL:
                raise RuntimeError(f"KL to the reference is {stats['kl']} before the first step: `ref` is "
                                   "not the adapter that the stage begins with")
            kept_rollouts.keep(config.grpo, folder, stage, done, groups, tokenizer)
            if stage.guard:
                stats |= update_guard(stage.guard, groups)
            stats |= summary(groups)
            stats |= {"micro_batch": together.size, "seconds": round(time.time() - started, 2),
                      "peak_gib": round(peak_memory(), 3)}
            log_metrics(folder, stage.name, index=done, **stats)
            bar.set_postfix(reward=f"{stats['reward']:.3f}", task=f"{stats['task']:.3f}", refresh=False)
            bar.update()
            done += 1
            if held_out.is_due(done, stage.steps):
                held_out.check(model, tokenizer, params, done)
            alarms.look(done)
            stop.agree()
            if done % config.grpo.save_every == 0 or stop.asked:
                save()
            stop.now()
    bar.close()
    if held_out.is_stalled:
        print(f"  {stage.name} ends after {done} of {stage.steps} steps: {held_out.since_best} checks in a "
              "row were no better", flush=True)
    save_adapters(folder / stage.name, model, params, held_out.params)
    remove_training_state(state_file)


def forget_later_lines(folder: Path, stage: str, done: int) -> None:
    """Removes what a cut run wrote after its last saved state, `done` steps: it is written again, once."""
    drop_metrics(folder, stage, from_index=done)
    drop_metrics(folder, f"{stage}_check", from_index=done + 1 if done else 0)
    drop_metrics(folder, f"{stage}_alarm", from_index=done + 1 if done else 0)
    kept_rollouts.drop(folder, stage, from_index=done)


def save_adapters(folder: Path, model, params: dict, best: dict) -> None:
    """Writes the last adapter, <folder>/last, and the best one, <folder>/adapter, and leaves the best one in.
    best: {name of a parameter: its value}; empty where there was no check, and the last one counts."""
    with whole_folder(folder / "last") as beside:
        save_adapter(model, POLICY, beside)
    with torch.no_grad():
        for name, values in best.items():
            params[name].copy_(values)
    with whole_folder(folder / "adapter") as beside:
        save_adapter(model, POLICY, beside)


def next_questions(questions: list[Question], seed: int, stage: str, index: int,
                   count: int) -> list[Question]:
    """The `count` questions of step `index`: tasks take turns, so that a task with many questions does not
    drown the others; within a task pass after pass over a permutation, each pass with its own seed."""
    by_task = group_by(questions, lambda question: question.task.name)
    tasks = sorted(by_task)
    chosen = []
    for n in range(index * count, (index + 1) * count):
        task = tasks[n % len(tasks)]
        turn = n // len(tasks)  # how often this task has been asked before
        size = len(by_task[task])
        order = list(range(size))
        random.Random(seed_of(seed, stage, "pass", task, turn // size)).shuffle(order)
        chosen.append(by_task[task][order[turn % size]])
    return chosen


def collect_groups(config: Config, stage: Stage, model, tokenizer, questions: list[Question],
                   teaching: Teaching, index: int, decoded: BatchLimit,
                   together: BatchLimit) -> list[Group]:
    """The step's groups with their rewards. decoded: prompts sampled together; together: completions scored
    together. Groups without signal stay, to be counted; with grpo.resample other questions are asked
    in their place, in at most so many rounds (DAPO's dynamic sampling, within a bound)."""
    groups: list[Group] = []
    missing = config.grpo.prompts
    for resampling in range(config.grpo.resample + 1):
        name = stage.name if resampling == 0 else f"{stage.name} again {resampling}"
        asked = next_questions(questions, config.seed, name, index, missing)
        rollouts = roll_out(config, name, model, tokenizer, part_of(asked), index, decoded, stage.sampler)
        scored = [score_group(config.grpo, stage, rollout, tokenizer, teaching, together)
                  for rollout in rollouts]
        # A prompt's tensors stay where they were made.
        scored = gathered(scored, to_send=lambda group: replace(group, shared_prompt=None))
        groups += scored
        missing -= sum(group.has_signal for group in scored)
        if not missing:
            break
    return groups


def update_guard(guard: Guard, groups: list[Group]) -> dict:
    """Tells the guard how PRMU and the task term agreed in this step, on completions in form; a resumed run
    tells it again. Returns the trust that the step was made with."""
    in_form = [[t for t in group.terms if t.format] for group in groups]
    agreement = mean_correlation([([t.prmu for t in some], [t.task for t in some]) for some in in_form])
    trust = guard.trust
    guard.see(agreement)
    return {"trust": trust, "agreement": agreement}
