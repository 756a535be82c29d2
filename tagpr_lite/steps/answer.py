"""What the systems of step 7 answer, and how PRMU scores it: kept in files, made once.

    samples/explore@none.jsonl               samples of one adapter under one profile
    samples/explore@none@greedy.jsonl        its greedy answers
    samples/explore@none@prmu-other.jsonl    PRMU's scores of the samples, asked with another user's embedding

A file begins with a hash of all that it was made from. Systems share files: a vote of 4, a vote of 8 and the
oracle read the same eight samples. A file that lies there, or in .kept, is taken as it is where its hash is
right, so that a further system costs only what is new, and a run that was cut off goes on where it was.

The seed of a sample is a function of the run's seed, the question and the sample's number alone: adapters and
profiles are compared on the same random numbers.
"""
from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..config import ADAPTERS, Config, System, UserError
from ..lamp.retrieve import Embed, retrieve
from ..lamp.tasks import Question
from ..plan.answers import rows_of_samples
from ..plan.run_plan import planned_models
from ..runs import append_jsonl, read_jsonl, seed_of, write_jsonl
from ..runs.kept import copies
from ..runs.processes import joined, part_of
from ..runs.steps import step_key
from .views import AS_PREPARED, view_of

FOLDER = "samples"
TESTED_ON = ("data/dev.jsonl", "data/tasks.json")


class Completion(NamedTuple):
    """What a system wrote. entropy: mean nats a token. seconds: its share of the batch it was decoded in."""
    text: str
    tokens: int
    ended: bool
    entropy: float
    seconds: float


class Draw(NamedTuple):
    """The greedy answers, or the samples, of one adapter under one profile."""
    answerer: System
    """The system without its decoding."""
    sampled: bool

    @property
    def name(self) -> str:
        return self.answerer.word if self.sampled else f"{self.answerer.word}@greedy"


def draw_of(system: System) -> Draw:
    """Where a system's completions come from."""
    return Draw(System(system.adapter, system.profile), system.decoding != "greedy")


def draws_of(systems: list[System]) -> dict[Draw, int]:
    """{draw: how many completions of a question it needs}, the largest number that a system asks for. Draws
    of one adapter follow one another."""
    most: dict[Draw, int] = {}
    for system in sorted(systems, key=lambda system: [None, *ADAPTERS.values()].index(system.folder)):
        draw = draw_of(system)
        most[draw] = max(most.get(draw, 0), system.samples)
    return most


@dataclass
class Asked:
    """The dev questions, and what is needed to have them answered."""
    config: Config
    """The settings that follow the plan."""
    folder: Path
    questions: list[Question]
    others: dict[str, Question]
    """{question id: the question as another user would ask it}; empty where no system needs one."""
    tick: Callable[[int], None] = lambda completions: None
    """Called with the number of completions that were drawn, or scored."""
    _shown: dict[str, dict[str, Question]] = field(default_factory=dict)

    @cached_property
    def loaded(self):
        """(bare base model, tokenizer), loaded when they are first needed."""
        from ..engine.model import load
        return load(self.config.model)

    @cached_property
    def embed(self) -> Embed:
        """The encoder of the retriever `dense`, loaded once for all views that need it."""
        from ..engine.embed import encoder
        return encoder(self.config.lamp.encoder, self.config.model)

    def shown(self, profile: str) -> dict[str, Question]:
        """{question id: the question as a system with this profile sees it}."""
        if profile not in self._shown:
            self._shown[profile] = {
                question.id: view_of(self.config, profile, question, self.others.get(question.id),
                                     lambda: self.embed)
                for question in self.questions}
        return self._shown[profile]


# ---------------------------------------------------------------- files

def header_of(key: dict) -> dict:
    """The first row of a file: a hash of all that the others were made from."""
    return {"made_from": hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}


def has_completions(row: dict) -> bool:
    """Whether a row is {"id", "completions"}."""
    completions = row.get("completions")
    return isinstance(row.get("id"), str) and isinstance(completions, list) and all(
        isinstance(each, dict) and each.keys() == set(Completion._fields) and isinstance(each["text"], str)
        for each in completions)


def has_scores(row: dict) -> bool:
    """Whether a row is {"id", "scores"}."""
    scores = row.get("scores")
    return isinstance(row.get("id"), str) and isinstance(scores, list) and all(
        isinstance(score, int | float) for score in scores)


def rows_made_from(folder: Path, name: str, key: dict,
                   is_row: Callable[[dict], bool] = lambda row: True) -> list[dict]:
    """The rows of samples/<name>.jsonl that were made from the key. Where the file was made from something
    else, the fullest kept one of this key takes its place, or an empty one."""
    path = folder / FOLDER / f"{name}.jsonl"
    header = header_of(key)
    rows = read_jsonl(path, partial=True)
    if rows[:1] == [header]:
        if not all(is_row(row) for row in rows[1:]):
            raise UserError(f"{path} is not as this step writes it; remove it, and its answers are made "
                            "again")
        return rows[1:]
    rows = [header]
    for copy in copies(folder, "evaluate", f"{FOLDER}/{name}.jsonl"):
        kept = read_jsonl(copy, partial=True)
        if kept[:1] == [header] and len(kept) > len(rows):
            rows = kept
    write_jsonl(path, rows)
    return rows[1:]


def reasons(config: Config, system: System) -> bool:
    """Whether a system thinks before it answers."""
    return system.adapter != "base" and config.sft.thinks


def read_by(config: Config, draw: Draw) -> list[str]:
    """The settings that a draw's completions depend on."""
    names = ["seed", "prompt", "model", "sft.form"]
    names.append("grpo.completion" if reasons(config, draw.answerer) else "evaluate.answer_tokens")
    names += ["grpo.temperature"] if draw.sampled else []
    profile = draw.answerer.profile
    if profile in AS_PREPARED:
        return names
    return [*names, "lamp.retriever", "lamp.k", "lamp.encoder"]


def key_of(config: Config, draw: Draw) -> dict:
    """All that a draw's completions depend on."""
    inputs = [*TESTED_ON, *filter(None, [draw.answerer.folder])]
    return step_key(config, "evaluate", inputs, read_by(config, draw), (), planned_models(config))


# ---------------------------------------------------------------- questions of other users

def asked_by_others(config: Config, questions: list[Question]) -> dict[str, Question]:
    """{question id: the question with the profile of another dev user of the task, retrieved anew}. A
    question whose task has one user alone is left out.

    The other user's items are ranked by BM25 where the run's retriever is `dense`, which needs an encoder.
    """
    from ..prmu.rollouts import other_user_question
    lamp = config.lamp
    retriever = "bm25" if lamp.retriever == "dense" else lamp.retriever
    asked = {}
    for question in questions:
        other = other_user_question(question, questions, config.seed)
        if other is not None:
            of_other = replace(question, user=other.user, profile=other.profile, retrieved=())
            retrieved = retrieve(of_other, retriever, lamp.k, config.seed)
            asked[question.id] = replace(of_other, retrieved=retrieved)
    return asked


# ---------------------------------------------------------------- completions

def completions_of(asked: Asked, draw: Draw, wanted: int) -> dict[str, list[Completion]]:
    """{question id: its first `wanted` completions, or more}: those of the file, and what is missing there.
    A row of the file is {"id", "completions": some of them, in their order}."""
    found: dict[str, list[Completion]] = {question.id: [] for question in asked.questions}
    for row in rows_made_from(asked.folder, draw.name, key_of(asked.config, draw), has_completions):
        if row["id"] in found:
            found[row["id"]] += [Completion(**completion) for completion in row["completions"]]
    asked.tick(sum(min(wanted, len(some)) for some in found.values()))

    # How many rows of a question are decoded in one pass, and with how many questions.
    rows, together = 1, asked.config.evaluate.batch
    if draw.sampled:
        wanted, rows, together = rows_of_samples(asked.config.evaluate.batch, wanted)
    while missing := [question for question in asked.questions if len(found[question.id]) < wanted]:
        first = min(len(found[question.id]) for question in missing)
        part = [question for question in missing if len(found[question.id]) == first]
        answer(asked, draw, part, range(first, min(first + rows, wanted)), together, found)
    return found


def answer(asked: Asked, draw: Draw, questions: list[Question], numbers: range, together: int,
           found: dict[str, list[Completion]]) -> None:
    """Draws the samples of these numbers, or the greedy answer, for every question, and adds them to the file
    and to `found`. together: questions in one batch."""
    from ..engine.adapters import adapted
    from ..engine.rollout import prompt_limit
    config, (base, tokenizer) = asked.config, asked.loaded
    room = config.grpo.completion if reasons(config, draw.answerer) else config.evaluate.answer_tokens
    name = "evaluate.batch, samples" if draw.sampled else "evaluate.batch"
    limit = prompt_limit(name, together, asked.folder)
    temperature = config.grpo.temperature if draw.sampled else 0.0
    prompts = {question.id: prompt_of(asked, draw, question, tokenizer) for question in questions}
    with adapted(base, asked.folder / draw.answerer.folder if draw.answerer.folder else None) as model:
        for rows in written(model, tokenizer, prompts, room, limit, temperature=temperature, numbers=numbers,
                            seed=config.seed):
            append_jsonl(asked.folder / FOLDER / f"{draw.name}.jsonl", rows)
            for row in rows:
                found[row["id"]] += [Completion(**completion) for completion in row["completions"]]
            asked.tick(len(rows) * len(numbers))


def written(model, tokenizer, prompts: dict[Hashable, list[int]], room: int, limit, *,
            temperature: float = 0.0, numbers: range = range(1), seed: int = 0) -> Iterator[list[dict]]:
    """What a model writes behind every prompt, batch after batch: rows {"id", "completions"}.

    prompts: {question id: its token ids [P]}. room: tokens of a completion, at most. limit: prompts decoded
    together (engine/memory.py). numbers, seed: of the samples, and of the run.
    """
    # Questions are batched by prompt length, so that few padded keys and values are kept. Several processes
    # divide them; each yields the rows of all.
    names = part_of(sorted(prompts, key=lambda name: len(prompts[name])))
    yield from joined(written_here(model, tokenizer, prompts, names, room, limit, temperature, numbers,
                                         seed))


def written_here(model, tokenizer, prompts: dict[Hashable, list[int]], names: list[Hashable], room: int,
                 limit, temperature: float, numbers: range, seed: int) -> Iterator[list[dict]]:
    """The same by this process alone, for the questions of these names."""
    from ..engine.rollout import sample_parts
    from ..engine.sample import end_tokens
    seeds = [[seed_of(seed, "evaluate", name, number) for number in numbers] for name in names]
    started = time.time()
    for part, groups, _ in sample_parts(model, [prompts[name] for name in names], len(numbers), room,
                                        end_tokens(model, tokenizer), together=limit, temperature=temperature,
                                        seeds=seeds):
        seconds = (time.time() - started) / len(groups) / len(numbers)
        yield [{"id": name, "completions": as_rows(samples, tokenizer, seconds)}
               for name, samples in zip(names[part], groups, strict=True)]
        started = time.time()


def as_rows(samples: list, tokenizer, seconds: float) -> list[dict]:
    """Sampled completions as the file has them. seconds: of one of them."""
    from ..lamp.chat import completion_text
    return [Completion(completion_text(tokenizer, sample.ids, sample.ended), len(sample.ids), sample.ended,
                       round(sample.entropy, 5), round(seconds, 3))._asdict() for sample in samples]


def prompt_of(asked: Asked, draw: Draw, question: Question, tokenizer) -> list[int]:
    """The prompt's token ids [P], with the profile that the system sees."""
    from ..lamp.prompts import build
    profile = draw.answerer.profile
    shown = asked.shown(profile)[question.id]
    prompt_ids, _ = build(shown, tokenizer, asked.config.prompt, with_profile=profile != "none",
                          reason=reasons(asked.config, draw.answerer))
    return prompt_ids
