"""The evaluation's part of the plan: answers, samples, and PRMU's scores of them."""
from __future__ import annotations

from dataclasses import replace

from ..config import Config, parse_systems
from .formulas import Job, prmu_held, rollout_bytes, scoring_bytes
from .layers import adapter_bytes, weight_bytes
from .phase import Load, Phase
from .shapes import Shape
from .times import Work
from .work import passes_work, sampling_work

RATED_TOGETHER = 8  # completions that PRMU reads together where `reward.micro` says nothing (prmu/model.py)
STEP_OF_SAMPLES = 4  # the samples of a question are drawn in fours


def evaluate_phases(shape: Shape, config: Config, load: Load) -> list[Phase]:
    """What the systems that are evaluated need."""
    systems = parse_systems(config.evaluate.systems)
    phases = [answers_phase(shape, config, load)]
    if any(system.decoding != "greedy" for system in systems):
        phases.append(samples_phase(shape, config, load))
    if any(system.decoding == "prmu" for system in systems):
        phases.append(choices_phase(shape, config, load))
    return phases


def answers_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """The systems that answer once answer the dev questions. Adapters are loaded one after another."""
    batch = min(config.evaluate.batch, max(1, load.dev))
    job = Job(shape, config.model, load.prompt, 1, config.grpo.completion)
    work = Work()
    for answerer in answerers(config, sampled=False):
        work += sampling_work(answering(config, load, job, answerer), load.dev, batch)
    return Phase("evaluate", "answers", f"{batch} prompts", held_to_answer(shape, config),
                 rollout_bytes(job, batch), work)


def samples_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """Samples of the dev questions, for the systems that choose among them."""
    wanted = max(answerers(config, sampled=True).values())
    drawn, rows, together = rows_of_samples(config.evaluate.batch, wanted)
    together = min(together, max(1, load.dev))
    job = Job(shape, config.model, load.prompt, rows, config.grpo.completion)
    work = Work()
    for answerer in answerers(config, sampled=True):
        work += sampling_work(answering(config, load, job, answerer), load.dev * drawn / rows, together)
    return Phase("evaluate", "samples", f"{together} prompts x {rows}", held_to_answer(shape, config),
                 rollout_bytes(job, together), work)


def choices_phase(shape: Shape, config: Config, load: Load) -> Phase:
    """PRMU reads the samples among which it chooses."""
    micro = config.reward.micro or RATED_TOGETHER
    job = Job(shape, config.model, load.question + config.reward.tokens, micro, config.grpo.completion)
    held_bytes = held_to_answer(shape, config) + prmu_held(shape, config.reward, trains=False)
    work = Work()
    for system in parse_systems(config.evaluate.systems):
        if system.decoding == "prmu":
            tokens = load.dev * (load.question + system.samples * config.grpo.completion)
            forwards = load.dev * (1 + system.samples / micro)
            work += passes_work(job, tokens, load.question, "f", forwards)
    return Phase("evaluate", "PRMU's choices", f"{micro} completions", held_bytes,
                 scoring_bytes(job, micro, config.reward), work)


def held_to_answer(shape: Shape, config: Config) -> int:
    """The weights and one adapter."""
    return weight_bytes(shape, config.model) + adapter_bytes(shape, config.model, 1)


def answerers(config: Config, sampled: bool) -> dict[str, int]:
    """{system without its decoding: the most samples that one of its systems needs}, of the systems that
    choose among samples, or of the others."""
    most: dict[str, int] = {}
    for system in parse_systems(config.evaluate.systems):
        if (system.decoding != "greedy") == sampled:
            most[system.answerer] = max(most.get(system.answerer, 0), system.samples)
    return most


def answering(config: Config, load: Load, job: Job, answerer: str) -> Job:
    """The job at its average: a prompt of mean length, and as many tokens as the system may write."""
    reasons = not answerer.startswith("base") and config.sft.thinks
    tokens = config.grpo.completion if reasons else config.evaluate.answer_tokens
    return replace(job, prompt=load.mean_prompt, completion=tokens)


def rows_of_samples(batch: int, wanted: int) -> tuple[int, int, int]:
    """(samples of a question that are drawn, of these in one pass, questions in one pass) where `batch` rows
    are decoded together: 8 samples in a batch of 32 are (8, 8, 4), 10 in a batch of 8 are (12, 8, 1).

    Samples are drawn in fours: with fewer rows a CPU rounds otherwise (engine/decode.py, LEAST_SEATS), and
    samples that are drawn later would not be those that are drawn at once.
    """
    drawn = -(-wanted // STEP_OF_SAMPLES) * STEP_OF_SAMPLES
    rows = min(drawn, max(STEP_OF_SAMPLES, batch // STEP_OF_SAMPLES * STEP_OF_SAMPLES))
    return drawn, rows, max(1, batch // rows)
