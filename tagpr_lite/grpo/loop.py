"""The GRPO loop, both stages: roll out, reward, advantage, one exact shared-prefix update. No trainer underneath.

One step, in the order of the functions below:

    collect_groups    a few prompts; for each a group of G completions, sampled together from one prefill (roll_out),
                      then scored (score_group): reward [G] and advantage [G]
    optimizer_step    every group whose rewards differ adds its gradient: the prompt is forwarded once and
                      back-propagated once (engine/update.py); then AdamW

Groups without differences are counted and skipped, or replaced within a bound. Old log-probs come from sampling, and one
update is made of each batch, so the ratio is 1 up to rounding and the clip is a guard. Stage 2 is stage 1 with the
weights of the tag and PRMU terms at 0, from stage 1's adapter.
"""
from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..config import GRPO, Config, UserError
from ..engine.check import self_check
from ..engine.model import (
    adapter_parameters,
    load_training_state,
    peak_memory,
    save_adapter,
    save_training_state,
)
from ..engine.prefix import PromptLayout, base_of, forward_prompt
from ..engine.sample import Sample, end_tokens, sample
from ..engine.update import MicroBatch, group_gradient
from ..lamp.prompts import build
from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import drop_metrics, log_metrics, progress, read_metrics, seed_of, whole_folder
from . import losses
from .guard import Guard, correlation
from .rewards import Terms, terms

POLICY, REFERENCE = "policy", "ref"  # names of the two adapters
WARM_UP_STEPS = 3  # AdamW's first moments are wild
CHECKED_PROMPT, CHECKED_COMPLETION = 512, 64  # tokens that the self-check looks at
LARGEST_FIRST_KL = 1e-6  # nats; more before the first step means that the reference is another adapter


@dataclass
class Rollout:
    """A question, its prompt as token ids, and G sampled completions."""
    question: Question
    prompt_ids: list[int]
    samples: list[Sample]
    shared_prompt: PromptLayout | None = None
    """grpo.once: the prompt as sampling has forwarded it, to be trained on; it can be used once."""


@dataclass
class Group(Rollout):
    """A rollout with its rewards. Example of G = 4: rewards [1, 0, 0.5, 1], advantages [0.9, -1.5, -0.3, 0.9]."""
    terms: list[Terms] = field(default_factory=list)
    rewards: Tensor = field(default_factory=lambda: torch.zeros(0))  # [G]
    advantages: Tensor = field(default_factory=lambda: torch.zeros(0))  # [G]

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ; where they do not, every advantage is 0 and there is nothing to learn."""
        return bool(losses.has_signal(self.rewards))


ScorePRMU = Callable[[Question, list[list[int]], int], Tensor]
"""(question, G completions as token ids, completions in one forward) -> PRMU's rewards [G] in [0, 1]."""


@dataclass
class Stage:
    """What differs between the stages. guard: of the PRMU term; lr 0: grpo.lr; from_reference: the policy starts where
    the frozen reference is, so that the first KL must be 0."""
    name: str
    steps: int
    task_weight: float
    tag_weight: float = 0.0
    prmu_weight: float = 0.0
    score_prmu: ScorePRMU | None = None
    guard: Guard | None = None
    lr: float = 0.0
    from_reference: bool = False

    @property
    def trusted_prmu_weight(self) -> float:
        """The weight of the PRMU term times the guard's trust in it."""
        return self.prmu_weight * (self.guard.trust if self.guard else 1.0)


def train(config: Config, folder: Path, stage: Stage, model, tokenizer, questions: list[Question],
          tags: tuple[str, ...]) -> None:
    """Runs a stage to its end, from its last saved state if there is one, and writes the adapter."""
    params = adapter_parameters(model, POLICY)
    lr = stage.lr or config.grpo.lr
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=0.0)

    # Where a cut run goes on: the steps done, and the micro-batch that fitted into memory.
    state_file = folder / stage.name / "state.safetensors"
    done, saved = load_training_state(state_file, params, optimizer)
    micro = saved.get("micro", config.grpo.micro)
    drop_metrics(folder, stage.name, from_index=done)
    if stage.guard:
        for line in read_metrics(folder, stage.name):
            stage.guard.see(line["agreement"])

    bar = progress(stage.steps, stage.name, "step")
    bar.update(done)
    for index in range(done, stage.steps):
        started = time.time()
        for param_group in optimizer.param_groups:
            param_group["lr"] = lr * min(1.0, (index + 1) / WARM_UP_STEPS)
        groups = collect_groups(config, stage, model, tokenizer, questions, tags, index, micro)
        if index == done and config.grpo.self_check:
            check_layout(config.grpo, model, params, groups[0])
        stats, micro = optimizer_step(config.grpo, model, groups, optimizer, params, micro)
        if index == 0 and stage.from_reference and stats["kl"] > LARGEST_FIRST_KL:
            raise RuntimeError(f"KL to the reference is {stats['kl']} before the first step: `ref` is not the SFT adapter")
        if stage.guard:
            stats |= update_guard(stage.guard, groups)
        stats |= summary(groups)
        stats |= {"micro_batch": micro, "seconds": round(time.time() - started, 2), "peak_gib": round(peak_memory(), 3)}
        log_metrics(folder, stage.name, index=index, **stats)
        bar.set_postfix(reward=f"{stats['reward']:.3f}", task=f"{stats['task']:.3f}", refresh=False)
        bar.update()
        if (index + 1) % config.grpo.save_every == 0:
            save_training_state(state_file, index + 1, params, optimizer, micro=micro)
    bar.close()
    with whole_folder(folder / stage.name / "adapter") as beside:
        save_adapter(model, POLICY, beside)
    state_file.unlink(missing_ok=True)


def next_questions(questions: list[Question], seed: int, stage: str, index: int, count: int) -> list[Question]:
    """The `count` questions of step `index`: tasks take turns, so that a task with many questions does not drown the
    others; within a task pass after pass over a permutation, each pass with its own seed."""
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


# ---------------------------------------------------------------- rollout and reward

def collect_groups(config: Config, stage: Stage, model, tokenizer, questions: list[Question], tags: tuple[str, ...],
                   index: int, micro: int) -> list[Group]:
    """The step's groups with their rewards. Those without signal stay, to be counted; with grpo.resample other questions
    are asked in their place, in at most so many rounds (DAPO's dynamic sampling, within a bound)."""
    groups: list[Group] = []
    missing = config.grpo.prompts
    for resampling in range(config.grpo.resample + 1):
        name = stage.name if resampling == 0 else f"{stage.name} again {resampling}"
        asked = next_questions(questions, config.seed, name, index, missing)
        rollouts = roll_out(config, name, model, tokenizer, asked, index)
        scored = [score_group(config.grpo, stage, rollout, tokenizer, tags, micro) for rollout in rollouts]
        groups += scored
        missing -= sum(group.has_signal for group in scored)
        if not missing:
            break
    return groups


def roll_out(config: Config, name: str, model, tokenizer, questions: list[Question], index: int) -> list[Rollout]:
    """G samples a question, decoded many questions together; a row's seed is its own, whatever it is decoded with."""
    g = config.grpo
    prompts = [build(question, tokenizer, config.prompt, with_profile=True, reason=True)[0] for question in questions]
    seeds = [[seed_of(config.seed, name, index, question.id, n) for n in range(g.group)] for question in questions]
    ends = end_tokens(model, tokenizer)
    at_once = max(1, g.decode_rows // g.group)  # prompts decoded together: 64 rows of groups of 8 are 8 prompts
    rollouts: list[Rollout] = []
    for first in range(0, len(questions), at_once):
        part = slice(first, first + at_once)
        shared_prompts = [prompt_for_training(g, model, ids) for ids in prompts[part]] if g.once else None
        rows = sample(model, prompts[part], g.group, g.completion, ends, temperature=g.temperature, seeds=seeds[part],
                      prefixes=shared_prompts)
        for n, samples in enumerate(rows):
            shared_prompt = shared_prompts[n] if shared_prompts else None
            rollouts.append(Rollout(questions[first + n], prompts[first + n], samples, shared_prompt))
    return rollouts


def prompt_for_training(g: GRPO, model, prompt_ids: list[int]) -> PromptLayout:
    """grpo.once: the prompt forwarded for sampling and training together, in the layout."""
    if g.layout in ("packed", "classic"):
        raise UserError(f"grpo.once needs a layout that forwards the prompt by itself, not {g.layout}")
    model.train()  # activation checkpointing works in train mode only; dropout is 0
    shared_prompt = forward_prompt(g.layout, model, torch.tensor(prompt_ids, device=base_of(model).device))
    model.eval()
    return shared_prompt


def score_group(g: GRPO, stage: Stage, rollout: Rollout, tokenizer, tags: tuple[str, ...], micro: int) -> Group:
    """The rollout with its terms, rewards [G] and advantages [G]."""
    # 1. The terms of every completion: task, format and tags from the text, PRMU's from the reward model.
    texts = [tokenizer.decode(s.ids, skip_special_tokens=True) for s in rollout.samples]
    completion_terms = [terms(text, s.ended, rollout.question, tags, g.min_tags)
                        for text, s in zip(texts, rollout.samples, strict=True)]
    if stage.score_prmu is not None and stage.trusted_prmu_weight:
        scores = stage.score_prmu(rollout.question, [s.ids for s in rollout.samples], micro)
        for completion, score in zip(completion_terms, scores.tolist(), strict=True):
            completion.prmu = score

    # 2. Their weighted sum, less what is taken off for running into the limit.
    rewards = torch.tensor([t.total(stage.task_weight, stage.tag_weight, stage.trusted_prmu_weight)
                            for t in completion_terms])
    lengths = torch.tensor([len(s.ids) for s in rollout.samples])
    rewards = rewards - losses.overlong(lengths, g.completion, g.overlong)

    # 3. Compared within the group: [1, 0, 1, 1] becomes [0.58, -1.73, 0.58, 0.58].
    advantages = losses.advantages(rewards[None], g.std_floor)[0]
    group = Group(rollout.question, rollout.prompt_ids, rollout.samples, rollout.shared_prompt, completion_terms, rewards,
                  advantages)
    if not group.has_signal:
        group.shared_prompt = None  # it will not be trained on: its memory is wanted
    return group


def update_guard(guard: Guard, groups: list[Group]) -> dict:
    """Tells the guard how PRMU and the task term agreed in this step, on completions in form; a resumed run tells it
    again. Returns the trust that the step was made with."""
    in_form = [[t for t in group.terms if t.format] for group in groups]
    agreement = correlation([([t.prmu for t in some], [t.task for t in some]) for some in in_form])
    trust = guard.trust
    guard.see(agreement)
    return {"trust": trust, "agreement": agreement}


def summary(groups: list[Group]) -> dict:
    """The step's means, and the task term task by task: what the report plots."""
    all_terms = [t for group in groups for t in group.terms]
    samples = [s for group in groups for s in group.samples]

    def mean(values: list) -> float:
        return round(sum(values) / len(values), 5)

    by_task = group_by(groups, lambda group: group.question.task.name)
    return {
        "reward": mean([reward for group in groups for reward in group.rewards.tolist()]),
        "task": mean([t.task for t in all_terms]),
        "format": mean([t.format for t in all_terms]),
        "tag": mean([t.tag for t in all_terms]),
        "prmu": mean([t.prmu for t in all_terms]),
        "length": mean([len(s.ids) for s in samples]),
        "clipped": mean([not s.ended for s in samples]),
        "zero_variance": mean([not group.has_signal for group in groups]),
        "by_task": {task: mean([t.task * t.format for group in by_task[task] for t in group.terms])
                    for task in sorted(by_task)},
    }


# ---------------------------------------------------------------- update

def check_layout(g: GRPO, model, params: dict, group: Group) -> None:
    """The start-up self-check, on the tails of two completions of a group and of its prompt: the classic layout, which the
    check computes too, must fit wherever the chosen one does."""
    if g.layout == "classic":
        return
    completions = [s.ids[-CHECKED_COMPLETION:] for s in group.samples[:2]]
    model.train()
    differences = self_check(model, params, group.prompt_ids[-CHECKED_PROMPT:], completions, g.layout, g.temperature,
                             g.logp_chunk)
    model.eval()
    print("  self-check against the classic layout: " + ", ".join(f"{k} {v:.1e}" for k, v in differences.items()))


def optimizer_step(g: GRPO, model, groups: list[Group], optimizer, params: dict, micro: int) -> tuple[dict, int]:
    """One step on all groups that carry signal; returns ({"loss", "kl", ...}, the micro-batch that fits into memory)."""
    live = [group for group in groups if group.has_signal]
    if not live:
        return {"loss": 0.0, "kl": 0.0, "entropy": 0.0, "grad_norm": 0.0, "drift": 0.0}, micro
    # Longest first, so that what fits once fits always.
    live.sort(key=lambda group: -len(group.prompt_ids) - sum(len(s.ids) for s in group.samples))

    # The weight of every completion in the sum over the step's tokens, [number of groups * G], cut into groups of G.
    lengths = torch.tensor([len(s.ids) for group in live for s in group.samples])
    weights_of_groups = losses.token_weights(g.loss, lengths, g.completion).split(g.group)

    totals: dict[str, float] = {}
    model.train()
    for group, weights in zip(live, weights_of_groups, strict=True):
        sums, micro = gradient_with_memory_retry(g, model, group, weights, params, micro)
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value
    model.eval()
    grad_norm = torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    tokens = totals.pop("tokens")
    per_token = {name: round(totals[name] / tokens, 6) for name in ("kl", "entropy", "drift")}
    return {"loss": round(totals["loss"], 6), **per_token, "grad_norm": round(float(grad_norm), 5)}, micro


def gradient_with_memory_retry(g: GRPO, model, group: Group, weights: Tensor, params: dict,
                               micro: int) -> tuple[dict[str, float], int]:
    """`policy_gradient`; when memory runs out the micro-batch is halved, for good, and the group done again from the
    gradient that was there before it. The gradient is the same: it does not depend on the micro-batch."""
    before = {name: p.grad.to("cpu", copy=True) for name, p in params.items() if p.grad is not None}  # off the card
    while True:
        try:
            return policy_gradient(g, model, group, weights, micro), micro
        except torch.OutOfMemoryError:
            pass  # not here: while the exception lives, its traceback holds the tensors that filled the memory
        if micro == 1:
            raise UserError(f"out of memory with one completion at a time ({len(group.prompt_ids)} prompt tokens, up to "
                            f"{g.completion} of completion): lower prompt.max_tokens or grpo.completion, set "
                            "grpo.layout=recompute, or use a smaller model")
        micro = micro // 2
        print(f"  out of memory: from now on {micro} completions at a time")
        for name, p in params.items():
            p.grad = before[name].to(p.device, copy=True) if name in before else None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def policy_gradient(g: GRPO, model, group: Group, weights: Tensor, micro: int) -> dict[str, float]:
    """Adds the group's gradient of the GRPO objective; weights [G] of its completions' tokens. Returns sums over tokens."""
    device = base_of(model).device

    def loss(batch: MicroBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """sum over tokens of weight * (surrogate + beta * KL), for m completions of R tokens."""
        samples = group.samples[batch.rows]
        old_logps = torch.zeros(batch.mask.shape, device=device)  # [m, R], from sampling
        old_logps[batch.mask] = torch.tensor([logp for s in samples for logp in s.logps], device=device)
        advantages, token_weight = (values[batch.rows].to(device) for values in (group.advantages, weights))  # [m]
        surrogate = losses.policy_loss(g.loss, batch.logps, old_logps, advantages, batch.mask, g.clip_low, g.clip_high)
        kl = torch.zeros_like(batch.logps)
        if batch.reference_logps is not None:
            kl = losses.kl_to_reference(batch.logps, batch.reference_logps)
        total = ((surrogate + g.beta * kl) * batch.mask * token_weight[:, None]).sum()
        drift = (batch.logps - old_logps).abs() * batch.mask  # sampler against trainer: rounding, or a fault
        reported = {"loss": total, "kl": (kl * batch.mask).sum(), "entropy": batch.entropy.sum(), "drift": drift.sum(),
                    "tokens": batch.mask.sum()}
        return total, {name: value.detach() for name, value in reported.items()}

    shared_prompt, group.shared_prompt = group.shared_prompt, None  # it goes back once; a retry forwards the prompt again
    return group_gradient(model, torch.tensor(group.prompt_ids, device=device), [s.ids for s in group.samples], loss,
                          layout=g.layout, micro=micro, temperature=g.temperature, logp_chunk=g.logp_chunk,
                          reference=REFERENCE if g.beta else None, shared_prompt=shared_prompt)
