"""The whole run: what every step needs that touches the model, and how many at a time fit into the budget.

A line of the table is a `Phase` (phase.py). The steps follow one another and each is a process of its own, so
that the run's peak is the largest of the phases. Those of the evaluation are answers.py's.

Assumption: a training chain has at most `grpo.completion` tokens. A longer one cannot be sampled in GRPO; in
SFT it may come, and where it does not fit the micro-batch is halved (engine/memory.py).
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ..config import Config
from .answers import evaluate_phases
from .choice import candidates, make, reserve
from .flops import head_flops, update_flops
from .formulas import (
    Job,
    embedding_bytes,
    prmu_bytes,
    prmu_held,
    rollout_bytes,
    scoring_bytes,
    sft_bytes,
)
from .layers import adapter_bytes, weight_bytes
from .phase import Load, Phase
from .shapes import Shape
from .times import Work
from .work import overhead, passes_work, sampling_work

CASE = 5  # chains of one of PRMU's cases: a chosen one and at most four rejected (prmu/selection.py, `cases`)
PAIRS_OF_A_CASE = 2  # on average, our assumption
VIEWS = 3 * 2  # texts that the policy writes for one of PRMU's questions (prmu/rollouts.py)
# Tokens of a text that is embedded for PRMU, and texts together (prmu/users.py, engine/embed.py).
TEXTS = (48, 16)
RETRIEVED = (256, 16)  # the same for dense retrieval


@dataclass(frozen=True)
class WholePlan:
    """The run as it would be computed. decided: {dotted setting: value} where there is a budget."""
    phases: list[Phase]
    decided: dict[str, Any]
    budget: int
    """0: no bound."""
    reserve: int

    @property
    def peak(self) -> int:
        return max(phase.peak for phase in self.phases)

    @property
    def fits(self) -> bool:
        return not self.budget or self.peak + self.reserve <= self.budget

    @property
    def tightest(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.peak)


def plan_run(shape: Shape, config: Config, load: Load, budget: float) -> WholePlan:
    """The fastest way of computing the run within `budget` bytes (0: no bound) less the reserve; where
    nothing fits, the smallest."""
    kept_free = reserve(budget)
    if not budget:
        return WholePlan(phases_of(shape, config, load), {}, 0, 0)

    # 1. GRPO's layout, by what it costs. `once` holds what a prompt's backward needs from sampling to
    # training, which no formula counts.
    room = budget - kept_free
    best = candidates(grpo_job(shape, config, load), budget)[0]
    decided = {"grpo.layout": best.layout, "grpo.once": False, "grpo.micro": best.micro,
               "grpo.logp_chunk": best.logp_chunk,
               "grpo.decode_rows": best.rollout_prompts * config.grpo.group,
               "grpo.checkpointing": best.checkpointing}
    config = with_settings(config, decided)

    # 2. How many at a time in the other steps: as many as fit.
    wanted = {"sft.micro": config.sft.micro or config.sft.batch, "reward.micro": config.reward.micro or CASE,
              "evaluate.batch": config.evaluate.batch}
    phase_of = {"sft.micro": sft_phase, "reward.micro": prmu_phase, "evaluate.batch": largest_of_answers}
    for key, most in wanted.items():
        size = most
        while size > 1 and phase_of[key](shape, with_settings(config, {key: size}), load).peak > room:
            size //= 2
        decided[key] = size
        config = with_settings(config, {key: size})
    return WholePlan(phases_of(shape, config, load), decided, int(budget), kept_free)


def grpo_job(shape: Shape, config: Config, load: Load) -> Job:
    """A group of GRPO at its longest."""
    g = config.grpo
    return Job(shape, config.model, load.prompt, g.group, g.completion, max(1, g.decode_rows // g.group),
               bool(g.beta), prmu_held(shape, config.reward, trains=False))


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """The settings with those of the dotted names changed, {"sft.micro": 2}."""
    for key, value in settings.items():
        section, _, name = key.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{name: value})})
    return config


# ---------------------------------------------------------------- the phases

def phases_of(shape: Shape, config: Config, load: Load) -> list[Phase]:
    """Every step that touches the model, in the order of the steps, with these settings."""
    phases = []
    if config.lamp.retriever == "dense" and not config.lamp.encoder:
        texts = (load.train + load.dev) * config.lamp.profile_max
        phases.append(embedding_phase(shape, config, "prepare", *RETRIEVED, texts, adapters=0))
    phases.append(sft_phase(shape, config, load))
    if config.reward.rollouts:
        phases.append(prmu_rollout_phase(shape, config, load))
    texts = (load.train + load.dev) * config.reward.history
    phases.append(embedding_phase(shape, config, "reward", *TEXTS, texts, adapters=1))
    phases += [prmu_phase(shape, config, load), prmu_scoring_phase(shape, config, load)]
    phases += grpo_phases(shape, config, load)
    phases += evaluate_phases(shape, config, load)
    return phases


def embedding_phase(shape: Shape, config: Config, step: str, tokens: int, rows: int, texts: int,
                    adapters: int) -> Phase:
    """Texts as vectors, by the base."""
    job = Job(shape, config.model, tokens, 1, 1)
    held_bytes = weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, adapters)
    work = passes_work(job, texts * tokens, tokens, "f", times=texts / rows)
    beside = embedding_bytes(shape, tokens, rows)
    return Phase(step, "embeddings of texts", f"{rows} texts", held_bytes, beside, work)


def sft_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """SFT: whole sequences, `sft.micro` of a batch at a time."""
    micro = config.sft.micro or config.sft.batch
    job = Job(shape, config.model, load.prompt, config.sft.batch, config.grpo.completion)
    held_bytes = weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, 3)
    beside = sft_bytes(job, config.sft.batch, micro, config.grpo.logp_chunk, config.model.checkpointing)

    sequences = sft_sequences(config, load)
    mean = load.mean_prompt + config.grpo.completion
    passes = "ffb" if config.model.checkpointing else "fb"
    work = passes_work(job, sequences * mean, mean, passes, times=sequences / micro)
    work += Work(flops=2 * head_flops(job) * sequences / config.sft.batch)
    return Phase("sft", "training", f"{micro} sequences", held_bytes, beside, work)


def sft_sequences(config: Config, load: Load) -> float:
    """Sequences that SFT trains on, each as often as it comes."""
    chains = load.train * config.tag.per_question
    if config.tag.most:
        chains = min(chains, config.tag.most)
    return chains * config.sft.epochs


def prmu_rollout_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """The SFT policy writes chains for PRMU's pairs: two of a prompt."""
    prompts = max(1, config.grpo.decode_rows // config.grpo.group)
    job = Job(shape, config.model, load.prompt, 2, config.grpo.completion)
    held_bytes = weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, 1)
    asked = min(config.reward.rollouts, load.train + load.dev) * VIEWS / 2
    work = sampling_work(replace(job, prompt=load.mean_prompt), asked, prompts)
    return Phase("reward", "rollouts", f"{prompts} prompts", held_bytes, rollout_bytes(job, prompts), work)


def prmu_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """PRMU's training, a case after the other."""
    micro = min(CASE, config.reward.micro or CASE)
    job = Job(shape, config.model, load.question, CASE, config.grpo.completion)
    held_bytes = weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, 3)
    held_bytes += prmu_held(shape, config.reward, trains=True)
    beside = prmu_bytes(job, config.reward, CASE, micro, config.model.checkpointing)

    cases = prmu_cases(config, load)
    passes = "ffb" if config.model.checkpointing else "fb"
    work = passes_work(job, cases * (load.question + 3 * config.grpo.completion), load.question, passes,
                   times=2 * cases)
    return Phase("reward", "PRMU's training", f"{micro} chains", held_bytes, beside, work)


def prmu_cases(config: Config, load: Load) -> float:
    """Cases that PRMU is trained on, each as often as it comes."""
    pairs = min(config.reward.pairs, load.train * (CASE - 1)) * config.reward.epochs
    return pairs / PAIRS_OF_A_CASE


def prmu_scoring_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """PRMU's checks on tuning users and its report."""
    micro = min(CASE, config.reward.micro or CASE)
    job = Job(shape, config.model, load.question + config.reward.tokens, micro, config.grpo.completion)
    held_bytes = weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, 3)
    held_bytes += prmu_held(shape, config.reward, trains=True)
    cases = prmu_scored_cases(config)
    work = passes_work(job, cases * (load.question + 3 * config.grpo.completion), load.question, "f",
                   times=2 * cases)
    return Phase("reward", "PRMU's scores", f"{micro} chains", held_bytes,
                 scoring_bytes(job, micro, config.reward), work)


def prmu_scored_cases(config: Config) -> float:
    """Cases of PRMU's report, under four embeddings each, and of its checks on tuning users."""
    return config.reward.reported * 4 + config.reward.pairs / 8 * (config.reward.checks + 1)


def grpo_phases(shape: Shape, config: Config, load: Load) -> list[Phase]:
    """Rollouts, scores and updates of both stages; stage 2 is without PRMU."""
    g, job = config.grpo, grpo_job(shape, config, load)
    checkpointing = g.checkpointing and config.model.checkpointing
    together = max(1, min(g.decode_rows // g.group, g.prompts))  # no more than the prompts of a step
    micro = min(g.micro, g.group)
    parts = make(job, 0, g.layout, micro, g.logp_chunk, checkpointing, together).parts
    asked = replace(job, prompt=load.question + config.reward.tokens)
    scoring = scoring_bytes(asked, micro, config.reward)

    average = replace(job, prompt=load.mean_prompt)
    passes = "ffb" if checkpointing else "fb"
    trained = replace(average, group=min(g.trained or g.group, g.group))
    micro_batches = 1 + trained.group / micro  # the prompt's own forward and backward among them
    update = Work(update_flops(trained, g.layout, micro, checkpointing),
                  *overhead(average, passes, micro_batches))
    score = passes_work(average, load.question + g.group * g.completion, load.question, "f",
                        1 + g.group / micro)

    phases = []
    for stage, steps, adapters in (("guided", g.guided_steps, 3), ("explore", g.explore_steps, 2)):
        groups = steps * g.prompts
        held_bytes = parts["weights"] + adapter_bytes(shape, config.model, adapters + 2)
        held_bytes += job.prmu_parts if stage == "guided" else 0
        phases.append(Phase(stage, "rollouts", f"{together} prompts x {g.group}", held_bytes,
                            parts["rollout"], sampling_work(average, groups, together)))
        if stage == "guided":
            phases.append(Phase(stage, "PRMU's scores", f"{micro} completions", held_bytes, scoring,
                                score * groups))
        phases.append(Phase(stage, "updates", f"{micro} completions, {g.layout}", held_bytes,
                            parts["update"], update * groups))
        if load.val and g.check_every:
            phases.append(check_phase(shape, config, load, stage, steps, held_bytes))
    return phases


def check_phase(shape: Shape, config: Config, load: Load, stage: str, steps: int, held_bytes: int) -> Phase:
    """The policy answers the held-out questions, before the first step of a stage, every so often, and after
    the last."""
    batch = min(config.evaluate.batch, load.val)
    job = Job(shape, config.model, load.prompt, 1, config.grpo.completion)
    checks = 1 + math.ceil(steps / config.grpo.check_every)
    work = sampling_work(replace(job, prompt=load.mean_prompt), load.val, batch) * checks
    return Phase(stage, "held-out answers", f"{batch} prompts", held_bytes, rollout_bytes(job, batch), work)


def largest_of_answers(shape: Shape, config: Config, load: Load) -> Phase:
    """Of the phases that put `evaluate.batch` prompts through the model the one with the largest peak."""
    checks = [phase for phase in grpo_phases(shape, config, load) if phase.what == "held-out answers"]
    return max([*evaluate_phases(shape, config, load), *checks], key=lambda phase: phase.peak)
