"""Groups of completions: sampled for a few prompts, and scored.

    roll_out       G samples a question, decoded together from one prefill of its prompt
    score_group    the terms of every completion, their weighted sum: reward [G], and the advantage [G]
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import pstdev

import torch
from torch import Tensor

from ..config import GRPO, Config, UserError
from ..engine.memory import BatchLimit
from ..engine.prefix import PromptLayout, base_of, forward_prompt
from ..engine.rollout import prompt_limit, sample_parts
from ..engine.sample import Sample, end_tokens
from ..lamp.chat import completion_text
from ..lamp.prompts import build
from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import require_finite_number, seed_of
from ..runs.processes import number
from ..tags.teaching import Teaching
from . import losses
from .guard import Guard
from .importance import Mismatch, figures
from .midway import beginnings, within
from .rewards import Terms, terms
from .served_rollouts import ServedSampler
from .step_credit import step_advantages

POLICY, REFERENCE = "policy", "ref"  # names of the two adapters


@dataclass
class Rollout:
    """A question, its prompt, and G completions sampled from the policy."""
    question: Question
    prompt_ids: list[int]
    """[P], all that the completions have in common."""
    samples: list[Sample]
    """[G], each with its token ids and their log-probs."""
    shared_prompt: PromptLayout | None = None
    """grpo.once: the prompt as sampling has forwarded it, to be trained on. It can be used once."""
    begun_ids: list[int] = field(default_factory=list)
    """[B], the first steps of a chain, which all completions go on from (grpo.midway): the end of
    `prompt_ids`. [] where the completions begin at the prompt."""
    process: int = field(default_factory=number, kw_only=True)
    """Which process has sampled it (runs/processes.py)."""
    mismatch: Mismatch | None = field(default=None, kw_only=True)
    """Between the server that sampled and the trainer, to be counted by the update; None where the engine
    here has sampled."""

    @property
    def chains(self) -> list[list[int]]:
        """[G], the token ids of whole chains: what was begun, and each completion of it."""
        return [self.begun_ids + s.ids for s in self.samples]


@dataclass
class Group(Rollout):
    """A rollout with its rewards."""
    terms: list[Terms] = field(default_factory=list)
    """[G], the parts of every completion's reward."""
    rewards: Tensor = field(default_factory=lambda: torch.zeros(0))
    """[G], such as [1, 0, 0.5, 1]."""
    advantages: Tensor = field(default_factory=lambda: torch.zeros(0))
    """[G], such as [0.90, -1.51, -0.30, 0.90]: how much better than the group's mean, in deviations; 0 where
    a completion is not trained on (grpo.trained)."""
    step_advantages: Tensor | None = None
    """[G, R], what is added to the advantage of each token for its step (grpo.alpha_step); None where steps
    are not credited."""

    @property
    def has_signal(self) -> bool:
        """Whether the rewards differ, or the steps. Where they do not, every advantage is 0 and nothing can
        be learned."""
        steps_differ = self.step_advantages is not None and bool(self.step_advantages.any())
        return bool(losses.has_signal(self.rewards)) or steps_differ


ScorePRMU = Callable[[Question, list[list[int]], BatchLimit], Tensor]
"""(question, n completions as token ids, completions in one forward) -> PRMU's rewards [n] in [0, 1]."""
ScoreOwn = Callable[[str, Question], float]
"""(a completion's text, question) -> the own term in [0, 1] (own_term.py)."""


@dataclass
class Stage:
    """What differs between the two stages of GRPO."""
    name: str
    steps: int
    task_weight: float
    """The weights of the reward's terms (rewards.py)."""
    tag_weight: float = 0.0
    prmu_weight: float = 0.0
    score_prmu: ScorePRMU | None = None
    """Who gives the PRMU term; None where its weight is 0."""
    guard: Guard | None = None
    """Of the PRMU term."""
    gate: float = 0.0
    """How much of the task, PRMU and own terms depends on the tag term."""
    lr: float = 0.0
    """The stage's own learning rate; 0: grpo.lr."""
    taught_lengths: list[int] = field(default_factory=list)
    """Tokens of the completions that SFT was trained on, such as [92, 128, 131]."""
    thinks: bool = True
    """Whether a completion is to think before it answers; with sft.form=answer it is not."""
    step_weight: float = 0.0
    """How much the advantage of a token's step counts beside the chain's (step_credit.py)."""
    own_weight: float = 0.0
    score_own: ScoreOwn | None = None
    """Who gives the own term; None where there is none."""
    sampler: ServedSampler | None = None
    """The server that samples; None: the engine here does."""

    @property
    def trusted_prmu_weight(self) -> float:
        """The weight of the PRMU term times the guard's trust in it."""
        return self.prmu_weight * (self.guard.trust if self.guard else 1.0)


def rollout_limit(g: GRPO, folder: Path | None = None) -> BatchLimit:
    """Prompts decoded together in GRPO: 64 rows are 8 groups of 8."""
    return prompt_limit("grpo.decode_rows", g.decode_rows // g.group, folder)


def roll_out(config: Config, name: str, model, tokenizer, questions: list[Question], index: int,
             together: BatchLimit, sampler: ServedSampler | None = None) -> list[Rollout]:
    """G samples a question, decoded `together` questions at a time; a row's seed is its own, whatever it is
    decoded with. sampler: the server that samples in the engine's place."""
    g = config.grpo
    reason = config.sft.thinks
    prompts = [build(question, tokenizer, config.prompt, with_profile=True, reason=reason)[0]
               for question in questions]
    begun = beginnings(config, name, model, tokenizer, questions, prompts, index, together)
    prompts = [prompt + first_steps for prompt, first_steps in zip(prompts, begun, strict=True)]
    seeds = [[seed_of(config.seed, name, index, question.id, n) for n in range(g.group)]
             for question in questions]
    ends = end_tokens(model, tokenizer)
    if sampler is not None:
        parts = [(slice(None), sampler.sample(model, prompts, seeds, ends), None)]
    else:
        forward = (lambda ids: prompt_for_training(g, model, ids)) if g.once else None
        parts = sample_parts(model, prompts, g.group, g.completion, ends, together=together,
                             temperature=g.temperature, seeds=seeds, forward=forward)
    rollouts: list[Rollout] = []
    for part, rows, shared_prompts in parts:
        samples = [[within(s, g.completion - len(first_steps)) for s in row]
                   for row, first_steps in zip(rows, begun[part], strict=True)]
        rollouts += map(Rollout, questions[part], prompts[part], samples,
                        shared_prompts or [None] * len(rows), begun[part])
    if sampler is not None:
        for rollout in rollouts:
            rollout.mismatch = Mismatch(g.importance_cap)
    return rollouts


def prompt_for_training(g: GRPO, model, prompt_ids: list[int]) -> PromptLayout:
    """grpo.once: the prompt forwarded for sampling and training together, in the layout."""
    if g.layout in ("packed", "classic"):
        raise UserError(f"grpo.once needs a layout that forwards the prompt by itself, not {g.layout}")
    model.train()  # activation checkpointing works in train mode only; dropout is 0
    shared_prompt = forward_prompt(g.layout, model, torch.tensor(prompt_ids, device=base_of(model).device))
    model.eval()
    return shared_prompt


def score_group(g: GRPO, stage: Stage, rollout: Rollout, tokenizer, teaching: Teaching,
                together: BatchLimit) -> Group:
    """The rollout with its terms, rewards [G] and advantages [G]."""
    # 1. The terms of every completion: task, format and tags from the text, PRMU's from the reward model, the
    # own one from a person's function.
    chains = rollout.chains  # [G] token ids
    texts = [completion_text(tokenizer, ids, s.ended)
             for ids, s in zip(chains, rollout.samples, strict=True)]
    completion_terms = [terms(text, s.ended, rollout.question, teaching, stage.thinks)
                        for text, s in zip(texts, rollout.samples, strict=True)]
    in_form = [n for n, completion in enumerate(completion_terms) if completion.format]  # [0, 1, 3], say
    if stage.score_prmu is not None and stage.trusted_prmu_weight and in_form:
        # Only chains in form are scored: the format gate takes PRMU's term from the others.
        scores = stage.score_prmu(rollout.question, [chains[n] for n in in_form], together)
        for n, score in zip(in_form, scores.tolist(), strict=True):
            completion_terms[n].prmu = score
    if stage.score_own is not None:  # of chains in form alone, for the same reason
        for text, completion in zip(texts, completion_terms, strict=True):
            completion.own = stage.score_own(text, rollout.question) if completion.format else 0.0

    # 2. Their weighted sum, less what is taken off for running into the limit.
    weights = (stage.task_weight, stage.tag_weight, stage.trusted_prmu_weight, stage.gate, stage.own_weight)
    rewards = torch.tensor([t.total(*weights) for t in completion_terms])
    lengths = torch.tensor([len(ids) for ids in chains])
    rewards = rewards - losses.overlong(lengths, g.completion, g.overlong)
    for reward in rewards.tolist():  # a reward that is NaN would only look like a group without signal
        require_finite_number(reward, f"{stage.name}: a reward", "the reward model is at fault")

    # 3. Compared among those that are trained on: [1, 0, 1, 1] becomes [0.58, -1.73, 0.58, 0.58].
    trained = losses.most_different(rewards, g.trained)
    advantages = torch.zeros(len(rewards))
    advantages[trained] = losses.advantages(rewards[trained][None], g.std_floor, g.loss)[0]

    # 4. Step by step, where steps are credited: [G, R] for the tokens behind what was begun.
    of_steps = None
    if stage.step_weight:
        of_steps = stage.step_weight * step_advantages(tokenizer, rollout.question, chains, teaching,
                                                       g.std_floor)[:, len(rollout.begun_ids):]
    group = Group(rollout.question, rollout.prompt_ids, rollout.samples, rollout.shared_prompt,
                  rollout.begun_ids, completion_terms, rewards, advantages, of_steps,
                  process=rollout.process, mismatch=rollout.mismatch)
    if not group.has_signal:
        group.shared_prompt = None  # it will not be trained on: its memory is wanted
    return group


def summary(groups: list[Group]) -> dict:
    """The step's means, and the task term task by task: what the report plots. spread: of each term, the mean
    over groups of its standard deviation within the group. After the update, which counts the mismatch of
    sampler and trainer."""
    all_terms = [t for group in groups for t in group.terms]
    samples = [s for group in groups for s in group.samples]

    def mean(values: list) -> float:
        return round(sum(values) / len(values), 5)

    by_task = group_by(groups, lambda group: group.question.task.name)
    has_own = any(t.own is not None for t in all_terms)
    own = {"own": mean([t.own for t in all_terms])} if has_own else {}
    return {
        "reward": mean([reward for group in groups for reward in group.rewards.tolist()]),
        "task": mean([t.task for t in all_terms]),
        "format": mean([t.format for t in all_terms]),
        "tag": mean([t.tag for t in all_terms]),
        "prmu": mean([t.prmu for t in all_terms]),
        **own,
        "spread": {name: mean([pstdev(getattr(t, name) for t in group.terms) for group in groups])
                   for name in ("task", "tag", "prmu", *own)},
        "length": mean([len(ids) for group in groups for ids in group.chains]),
        "clipped": mean([not s.ended for s in samples]),
        "zero_variance": mean([not group.has_signal for group in groups]),
        "by_task": {task: mean([t.task * t.format for group in by_task[task] for t in group.terms])
                    for task in sorted(by_task)},
        **figures([group.mismatch for group in groups]),
    }
