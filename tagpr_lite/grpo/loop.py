"""The GRPO loop, both stages: roll out, reward, advantage, one exact shared-prefix update. No trainer underneath.

One step: a few prompts; for each a group of completions sampled together from one prefill; rewards; groups without
differences are counted and skipped, or replaced within a bound; every other prompt is forwarded once and
back-propagated once (engine/prefix.py). Old log-probs come from sampling, one update is made of each batch, so the ratio is 1 up to
rounding and the clip is a guard. Stage 2 is stage 1 with the tag and PRMU weights at 0, from stage 1's adapter.
"""
from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import torch
from torch import Tensor

from ..config import Config, UserError
from ..engine.check import self_check
from ..engine.logps import padded, token_logps
from ..engine.model import (
    adapter_parameters,
    load_training_state,
    peak_memory,
    save_adapter,
    save_training_state,
    using,
)
from ..engine.prefix import LAYOUTS, SharedPrefix, base_of
from ..engine.sample import Sample, end_tokens, sample
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import drop_metrics, log_metrics, progress, read_metrics, seed_of, whole_folder
from . import losses
from .guard import Guard, correlation
from .rewards import Terms, terms

POLICY, REF = "policy", "ref"
CHECKED = (512, 64)  # tokens of a prompt and of a completion that the self-check looks at


@dataclass
class Group:
    """A question and its G completions, from rollout to advantage."""
    question: Question
    prompt: list[int]
    samples: list[Sample]
    terms: list[Terms] = field(default_factory=list)
    rewards: Tensor | None = None  # [G]
    advantages: Tensor | None = None  # [G]
    at: SharedPrefix | None = None  # grpo.once: the prompt as sampling left it, ready to be trained on


@dataclass
class Stage:
    """What differs between the stages: a name, a length, the reward's weights, who gives the PRMU term, a learning rate."""
    name: str
    steps: int
    alpha: float
    beta: float
    gamma: float
    rate: Callable[[Question, list[list[int]]], Tensor] | None = None  # -> [G] in [0, 1]
    guard: Guard | None = None  # of the PRMU term
    lr: float = 0.0  # 0: grpo.lr
    from_ref: bool = False  # starts where the frozen reference is, so that the first KL must be 0


def train(config: Config, folder: Path, stage: Stage, model, tokenizer, questions: list[Question], tags: tuple[str, ...]):
    """Runs a stage to its end, from its last saved state if there is one, and writes the adapter."""
    g, params, lr = config.grpo, adapter_parameters(model, POLICY), stage.lr or config.grpo.lr
    optimizer = torch.optim.AdamW(params.values(), lr=lr, weight_decay=0.0)
    state = folder / stage.name / "state.safetensors"
    done = load_training_state(state, params, optimizer)
    drop_metrics(folder, stage.name, from_index=done)
    for line in read_metrics(folder, stage.name) if stage.guard else ():
        stage.guard.see(line["agreement"])
    bar = progress(stage.steps, stage.name, "step")
    bar.update(done)
    for index in range(done, stage.steps):
        started = time.time()
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (index + 1) / 3)  # three steps of warm-up: AdamW's first moments are wild
        groups = experience(config, stage, model, tokenizer, questions, tags, index)
        if index == done and g.self_check:
            check(config, model, params, groups)
        stats = update(config, model, groups, optimizer, params)
        if index == 0 and stage.from_ref and stats["kl"] > 1e-6:
            raise RuntimeError(f"KL to the reference is {stats['kl']} before the first step: `ref` is not the SFT adapter")
        if stage.guard:
            stats |= watch(stage.guard, groups)
        stats |= summary(groups) | {"seconds": round(time.time() - started, 2), "peak_gib": round(peak_memory(), 3)}
        log_metrics(folder, stage.name, index=index, **stats)
        bar.set_postfix(reward=f"{stats['reward']:.3f}", task=f"{stats['task']:.3f}", refresh=False)
        bar.update()
        if (index + 1) % g.save_every == 0:
            save_training_state(state, index + 1, params, optimizer)
    bar.close()
    with whole_folder(folder / stage.name / "adapter") as beside:
        save_adapter(model, POLICY, beside)
    state.unlink(missing_ok=True)


def watch(guard: Guard, groups: list[Group]) -> dict:
    """Tells the guard how PRMU and the task term agreed in this step, on completions in form; what a resumed run tells it
    again."""
    formed = [[t for t in g.terms if t.format] for g in groups]
    agreed = correlation([([t.prmu for t in of], [t.task for t in of]) for of in formed])
    trust = guard.trust
    guard.see(agreed)
    return {"trust": trust, "agreement": agreed}


def pick(questions: list[Question], seed: int, stage: str, index: int, count: int) -> list[Question]:
    """The step's questions: tasks take turns, so that a task with many questions does not drown the others; within a
    task pass after pass over a permutation, each pass with its own seed."""
    by_task: dict[str, list[Question]] = {}
    for q in questions:
        by_task.setdefault(q.task, []).append(q)
    tasks, chosen = sorted(by_task), []
    for n in range(index * count, (index + 1) * count):
        task, turn = tasks[n % len(tasks)], n // len(tasks)
        order = list(range(len(by_task[task])))
        random.Random(seed_of(seed, stage, "pass", task, turn // len(order))).shuffle(order)
        chosen.append(by_task[task][order[turn % len(order)]])
    return chosen


# ---------------------------------------------------------------- rollout and reward

def experience(config: Config, stage: Stage, model, tokenizer, questions: list[Question], tags: tuple[str, ...],
               index: int) -> list[Group]:
    """The step's groups with their rewards. Those without signal stay, to be counted; with grpo.resample other questions
    are asked in their place, in at most so many rounds (DAPO's dynamic sampling, within a bound)."""
    g, groups, missing = config.grpo, [], config.grpo.prompts
    for turn in range(g.resample + 1):
        name = stage.name if turn == 0 else f"{stage.name} again {turn}"
        more = rollout(config, name, model, tokenizer, pick(questions, config.seed, name, index, missing), index)
        for group in more:
            reward(config, stage, group, tokenizer, tags)
        groups += more
        missing -= sum(bool(losses.has_signal(x.rewards)) for x in more)
        if not missing:
            break
    return groups


def rollout(config: Config, name: str, model, tokenizer, questions: list[Question], index: int) -> list[Group]:
    """G samples a question, decoded many questions together; a row's seed is its own, whatever it is decoded with."""
    g = config.grpo
    prompts = [build(q, tokenizer, config.prompt, with_profile=True, reason=True)[0] for q in questions]
    seeds = [[seed_of(config.seed, name, index, q.id, n) for n in range(g.group)] for q in questions]
    ends, at_once, groups = end_tokens(model, tokenizer), max(1, g.decode_rows // g.group), []
    for i in range(0, len(questions), at_once):
        part = slice(i, i + at_once)
        at = [opened(config, model, ids) for ids in prompts[part]] if g.once else None
        rows = sample(model, prompts[part], g.group, g.completion, ends, temperature=g.temperature, seeds=seeds[part],
                      prefixes=at)
        groups += [Group(q, ids, r, at=a) for q, ids, r, a in zip(questions[part], prompts[part], rows, at or repeat(None))]
    return groups


def opened(config: Config, model, ids: list[int]):
    """The prompt forwarded for training, in the layout."""
    if config.grpo.layout in ("packed", "classic"):
        raise UserError(f"grpo.once needs a layout that forwards the prompt by itself, not {config.grpo.layout}")
    model.train()  # activation checkpointing works in train mode only; dropout is 0
    at = LAYOUTS[config.grpo.layout](model, torch.tensor(ids, device=base_of(model).device))
    model.eval()
    return at


def reward(config: Config, stage: Stage, group: Group, tokenizer, tags: tuple[str, ...]) -> None:
    """Fills in terms, rewards and advantages."""
    texts = [tokenizer.decode(s.ids, skip_special_tokens=True) for s in group.samples]
    group.terms = [terms(t, s.ended, group.question, tags, config.grpo.min_tags) for t, s in zip(texts, group.samples)]
    if stage.rate is not None and (not stage.guard or stage.guard.trust):
        for t, score in zip(group.terms, stage.rate(group.question, [s.ids for s in group.samples]).tolist()):
            t.prmu = score
    gamma = stage.gamma * (stage.guard.trust if stage.guard else 1.0)
    lengths = torch.tensor([len(s.ids) for s in group.samples])
    group.rewards = torch.tensor([t.total(stage.alpha, stage.beta, gamma) for t in group.terms]) \
        - losses.overlong(lengths, config.grpo.completion, config.grpo.overlong)
    group.advantages = losses.advantages(group.rewards[None], config.grpo.std_floor)[0]
    if not losses.has_signal(group.rewards):
        group.at = None  # it will not be trained on


def summary(groups: list[Group]) -> dict:
    """The step's means, and the task term task by task: what the report plots."""
    every = [t for g in groups for t in g.terms]
    samples = [s for g in groups for s in g.samples]
    mean = lambda values: round(sum(values) / len(values), 5)
    by_task: dict[str, list[float]] = {}
    for g in groups:
        by_task.setdefault(g.question.task, []).extend(t.task * t.format for t in g.terms)
    return {"reward": mean([r for g in groups for r in g.rewards.tolist()]), "task": mean([t.task for t in every]),
            "format": mean([t.format for t in every]), "tag": mean([t.tag for t in every]),
            "prmu": mean([t.prmu for t in every]), "length": mean([len(s.ids) for s in samples]),
            "clipped": mean([not s.ended for s in samples]),
            "zero_variance": mean([not bool(losses.has_signal(g.rewards)) for g in groups]),
            "by_task": {t: mean(v) for t, v in sorted(by_task.items())}}


# ---------------------------------------------------------------- update

def check(config: Config, model, params: dict, groups: list[Group]) -> None:
    """The start-up self-check, on the tails of two completions of the first group and of its prompt: the classic layout,
    which it computes too, must fit wherever the chosen one does."""
    g, group = config.grpo, groups[0]
    if g.layout != "classic":
        model.train()
        found = self_check(model, params, group.prompt[-CHECKED[0]:], [s.ids[-CHECKED[1]:] for s in group.samples[:2]],
                           g.layout, g.temperature, g.logp_chunk)
        model.eval()
        print("  self-check against the classic layout: " + ", ".join(f"{k} {v:.1e}" for k, v in found.items()))


def update(config: Config, model, groups: list[Group], optimizer, params: dict) -> dict:
    """One optimiser step on all groups that carry signal; longest first, so that what fits once fits always."""
    g = config.grpo
    live = sorted((x for x in groups if bool(losses.has_signal(x.rewards))),
                  key=lambda x: -len(x.prompt) - sum(len(s.ids) for s in x.samples))
    if not live:
        return {"loss": 0.0, "kl": 0.0, "entropy": 0.0, "grad_norm": 0.0, "drift": 0.0}
    weights = losses.token_weights(g.loss, torch.tensor([len(s.ids) for x in live for s in x.samples]), g.completion)
    totals: dict[str, float] = {}
    model.train()
    for x, w in zip(live, weights.split(g.group)):
        for key, value in replayed(config, model, x, w, params).items():
            totals[key] = totals.get(key, 0.0) + value
    model.eval()
    norm = torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    tokens = totals.pop("tokens")
    per_token = {k: round(totals[k] / tokens, 6) for k in ("kl", "entropy", "drift")}
    return {"loss": round(totals["loss"], 6), **per_token, "grad_norm": round(float(norm), 5)}


def replayed(config: Config, model, group: Group, weights: Tensor, params: dict) -> dict[str, float]:
    """`update_group`; when memory runs out the micro-batch is halved, for good, and the group done again from the gradient
    that was there before it. The gradient is the same: it does not depend on the micro-batch."""
    before = {n: p.grad.to("cpu", copy=True) for n, p in params.items() if p.grad is not None}  # off the card
    while True:
        try:
            return update_group(config, model, group, weights)
        except torch.OutOfMemoryError:
            pass  # not here: while the exception lives, its traceback holds the tensors that filled the memory
        if config.grpo.micro == 1:
            raise UserError(f"out of memory with one completion at a time ({len(group.prompt)} prompt tokens, up to "
                            f"{config.grpo.completion} of completion): lower prompt.max_tokens or grpo.completion, set "
                            "grpo.layout=recompute, or use a smaller model")
        config.grpo.micro = max(1, config.grpo.micro // 2)
        print(f"  out of memory: from now on {config.grpo.micro} completions at a time")
        for n, p in params.items():
            p.grad = before[n].to(p.device, copy=True) if n in before else None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def update_group(config: Config, model, group: Group, weights: Tensor) -> dict[str, float]:
    """Adds the group's gradient: prompt forward, completions in micro-batches, one prompt backward. weights [G]."""
    g, device = config.grpo, base_of(model).device
    prompt = torch.tensor(group.prompt, device=device)
    at, ref = group.at or LAYOUTS[g.layout](model, prompt), None
    group.at = None  # a prefix goes back once; a replay forwards the prompt again
    if g.beta:
        with torch.no_grad(), using(model, REF):
            ref = SharedPrefix(model, prompt)
    sums = dict.fromkeys(("loss", "kl", "entropy", "drift", "tokens"), 0.0)
    for i in range(0, len(group.samples), g.micro):
        part = slice(i, i + g.micro)
        found = update_part(config, model, at, ref, group.samples[part], group.advantages[part].to(device),
                            weights[part].to(device))
        sums = {key: sums[key] + found[key] for key in sums}
    at.backward()
    return sums


def update_part(config: Config, model, at, ref: SharedPrefix | None, samples: list[Sample], advantages: Tensor,
                weights: Tensor) -> dict[str, float]:
    """Forward and backward of m completions; advantages and weights [m]. A function of its own, so that nothing of the
    graph, which holds the prompt's keys and values, outlives it: the prompt's backward wants that memory."""
    g = config.grpo
    ids, mask = padded([s.ids for s in samples], weights.device)
    old = torch.zeros(ids.shape, device=weights.device)
    old[mask] = torch.tensor([lp for s in samples for lp in s.logps], device=weights.device)
    logps, entropy = token_logps(model, at.predict(ids), ids, mask, g.temperature, g.logp_chunk)
    per_token = losses.policy_loss(g.loss, logps, old, advantages, mask, g.clip_low, g.clip_high)
    kl = torch.zeros_like(logps)
    if ref is not None:
        with torch.no_grad(), using(model, REF):
            ref_logps, _ = token_logps(model, ref.predict(ids), ids, mask, g.temperature, g.logp_chunk)
        kl = losses.kl_to_reference(logps, ref_logps)
    loss = ((per_token + g.beta * kl) * mask * weights[:, None]).sum()
    loss.backward()
    drift = ((logps - old).abs() * mask).sum()  # sampler against trainer: rounding, or a fault
    return {"loss": loss.item(), "kl": (kl * mask).sum().item(), "entropy": entropy.sum().item(), "drift": drift.item(),
            "tokens": mask.sum().item()}
