"""Chains that the SFT policy itself writes, for PRMU's pairs.

A reward model trained on the teacher's chains alone judges the policy's chains badly, and those are what it
scores in GRPO. A question is asked in up to three views: with the user's own profile ("own"), without a
profile ("none") and with another user's ("other"). Rollouts are written to a file a few questions at a time,
so that a run that is cut off goes on where it was.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from ..config import Config
from ..engine.memory import BatchLimit
from ..engine.rollout import prompt_limit, sample_all
from ..engine.sample import end_tokens
from ..lamp.chat import completion_text
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import append_jsonl, read_jsonl, seed_of, write_jsonl
from ..runs.processes import gathered, part_of
from .other_users import asked_by
from .pair import PolicyText

SAMPLES = 2  # of each view
QUESTIONS_TOGETHER = 4  # written to the file together


def sample_rollouts(config: Config, path: Path, model, tokenizer, questions: list[Question],
                    tick: Callable[[int], None] = lambda n: None,
                    folder: Path | None = None) -> list[PolicyText]:
    """The policy's texts for these questions, SAMPLES of each view, under the active adapter.

    Other users are drawn among `questions`. Texts that do not end in time are left out. A row of the file
    `path` is {"id": question id, "texts": [[view, text], ...]}. folder: of the run, which remembers how many
    prompts fit into memory.
    """
    # As many prompts as GRPO decodes together: of what fits with its larger groups, this needs less.
    together = prompt_limit("grpo.decode_rows, PRMU", config.grpo.decode_rows // config.grpo.group, folder)
    rows = {row["id"]: row for row in read_jsonl(path, partial=True)}
    write_jsonl(path, rows.values())  # without the line at which a run was cut off
    missing = [question for question in questions if question.id not in rows]
    ends = end_tokens(model, tokenizer)
    tick(len(questions) - len(missing))
    for first in range(0, len(missing), QUESTIONS_TOGETHER):
        batch = missing[first:first + QUESTIONS_TOGETHER]
        views = []
        for question in batch:
            views += views_of(question, other_user_question(question, questions, config.seed))
        new_rows = {question.id: {"id": question.id, "texts": []} for question in batch}
        # Several processes divide the views.
        texts_of_views = gathered(_sample_views(config, model, tokenizer, part_of(views), ends, together))
        for (view, question, _), texts in zip(views, texts_of_views, strict=True):
            new_rows[question.id]["texts"] += [[view, text] for text in texts]
        append_jsonl(path, new_rows.values())
        rows |= new_rows
        tick(len(batch))
    return [PolicyText(question, text, view)
            for question in questions for view, text in rows[question.id]["texts"]]


def _sample_views(config: Config, model, tokenizer, views: list[tuple[str, Question, Question]],
                  ends: set[int], together: BatchLimit) -> list[list[str]]:
    """[views][at most SAMPLES] texts that have ended. Seeds depend on question, view and sample alone, so
    that a text does not change with the batch it is sampled in."""
    prompts = []  # [views][P]
    seeds = []  # [views][SAMPLES]
    for view, question, asked in views:
        prompt_ids, _ = build(asked, tokenizer, config.prompt, with_profile=view != "none", reason=True)
        prompts.append(prompt_ids)
        seeds.append([seed_of(config.seed, "prmu", question.id, view, n) for n in range(SAMPLES)])
    groups = sample_all(model, prompts, SAMPLES, config.grpo.completion, ends, together=together,
                        temperature=config.grpo.temperature, seeds=seeds)  # [views][SAMPLES]
    texts = []
    for completions in groups:
        ended = [completion for completion in completions if completion.ended]
        texts.append([completion_text(tokenizer, completion.ids, ended=True).strip() for completion in ended])
    return texts


def views_of(question: Question, other_question: Question | None) -> list[tuple[str, Question, Question]]:
    """[(view, the question, the question as it is asked)]; without another user only the first two views."""
    views = [("own", question, question), ("none", question, question)]
    if other_question is not None:
        views.append(("other", question, asked_by(question, other_question, {})))
    return views


def other_user_question(question: Question, questions: list[Question], seed: int) -> Question | None:
    """A random question of another user of the same task; None where there is no other user."""
    others = [other for other in questions if other.task == question.task and other.user != question.user]
    if not others:
        return None
    return random.Random(seed_of(seed, "stranger", question.id)).choice(others)
