"""Groups that begin midway: G completions of one chain that the policy has begun (grpo.midway).

    prompt | <think> step 1 | step 2 |  G ways to go on: step 3, answer

A reward is of a whole chain. Where all G chains share their first steps, only what came after them makes the
difference, so fewer tokens share the blame for one wrong step. What was begun is not trained; the next time
the chain is cut elsewhere. VinePPO (arXiv 2410.01679) estimates the value of a partial chain by completing
it; here the completions are the group itself, and the steps' tags say where a chain can be cut.
"""
from __future__ import annotations

import random
from dataclasses import replace

from ..config import Config
from ..engine.memory import BatchLimit
from ..engine.rollout import sample_all
from ..engine.sample import Sample, end_tokens
from ..lamp.tasks import Question
from ..runs import seed_of
from .written_steps import written_steps


def beginnings(config: Config, name: str, model, tokenizer, questions: list[Question],
               prompts: list[list[int]], index: int, together: BatchLimit) -> list[list[int]]:
    """For each question the token ids [B] that its group goes on from, behind the prompt: [] for a whole
    chain, else the first steps of a chain that the policy writes. name, index: of the stage and the step;
    together: prompts sampled together."""
    g = config.grpo
    draws = [random.Random(seed_of(config.seed, name, index, question.id, "midway"))
             for question in questions]
    chosen = [n for n, draw in enumerate(draws) if draw.random() < g.midway]
    seeds = [[seed_of(config.seed, name, index, questions[n].id, "begun")] for n in chosen]
    chains = sample_all(model, [prompts[n] for n in chosen], 1, g.completion, end_tokens(model, tokenizer),
                        together=together, temperature=g.temperature, seeds=seeds)

    begun: list[list[int]] = [[] for _ in questions]
    for n, (chain,) in zip(chosen, chains, strict=True):
        # Behind each step's end there must be a token more: 31, 64 and 80 of a chain of 85 tokens.
        ends = [step.end for step in written_steps(tokenizer, chain.ids) if step.end < len(chain.ids)]
        if ends:
            begun[n] = chain.ids[:draws[n].choice(ends)]
    return begun


def within(sample: Sample, room: int) -> Sample:
    """The sample cut to `room` tokens, as if there had been no room for more."""
    if len(sample.ids) <= room:
        return sample
    return replace(sample, ids=sample.ids[:room], logps=sample.logps[:room], ended=False)
