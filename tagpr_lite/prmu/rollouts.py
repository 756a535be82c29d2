"""Chains that the SFT policy itself writes, for PRMU's pairs: with the user's profile, without one, with
another user's.

A reward model that has seen the teacher's chains alone judges the policy's badly: those are what it will be
asked about. Rollouts are written to a file a few questions at a time, so a run that is cut off goes on where
it was.
"""
from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from ..config import Config
from ..engine.sample import end_tokens, sample
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import append_jsonl, read_jsonl, seed_of, write_jsonl
from .pairs import Written, asked_by

SAMPLES = 2  # of each view
AT_ONCE = 4  # questions


def roll(config: Config, path: Path, model, tokenizer, questions: list[Question],
         tick: Callable[[int], None] = lambda n: None) -> list[Written]:
    """Written texts for these questions, SAMPLES of each view, under the active adapter; other users are
    among `questions`."""
    done = {row["id"]: row for row in read_jsonl(path, partial=True)}
    write_jsonl(path, done.values())  # without a line that was cut
    todo, ends = [q for q in questions if q.id not in done], end_tokens(model, tokenizer)
    tick(len(questions) - len(todo))
    for i in range(0, len(todo), AT_ONCE):
        part = todo[i:i + AT_ONCE]
        asked = [view for q in part for view in views(q, other_user_question(q, questions, config.seed))]
        prompts = [build(x, tokenizer, config.prompt, with_profile=name != "none", reason=True)[0] for name,
                   _, x in asked]
        seeds = [[seed_of(config.seed, "prmu", q.id, name, n) for n in range(SAMPLES)] for name, q,
                 _ in asked]
        found = sample(model, prompts, SAMPLES, config.grpo.completion, ends,
                       temperature=config.grpo.temperature, seeds=seeds)
        rows = {q.id: {"id": q.id, "texts": []} for q in part}
        for (name, q, _), samples in zip(asked, found):
            rows[q.id]["texts"] += [[name, tokenizer.decode(s.ids, skip_special_tokens=True).strip()]
                                    for s in samples if s.ended]
        append_jsonl(path, rows.values())
        done |= rows
        tick(len(part))
    return [Written(q, text, view) for q in questions for view, text in done[q.id]["texts"]]


def views(q: Question, by: Question | None) -> list[tuple[str, Question, Question]]:
    """(view, the question, as it is asked) of every view."""
    return [("own", q, q), ("none", q, q), *([("other", q, asked_by(q, by, {}))] if by else [])]


def other_user_question(q: Question, questions: list[Question], seed: int) -> Question | None:
    """Another user's question of the same task."""
    others = [o for o in questions if o.task == q.task and o.user != q.user]
    return random.Random(seed_of(seed, "stranger", q.id)).choice(others) if others else None
