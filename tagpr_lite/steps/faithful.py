"""Does an answer depend on its chain? The chain is changed, and the model answers again.

    conclude    the steps of this tag are left out of the chain
    nothing     all steps are left out: <think></think>
    other       the chain is another user's, of the same task

A changed chain is put behind the prompt as if the model had written it, and the answer is decoded greedily.
Where leaving a step out costs score, the answer depends on it: intervention on the chain, as in Lanham et
al., "Measuring Faithfulness in Chain-of-Thought Reasoning" (arXiv 2307.13702). Completions that are no chains
are left out of the comparison.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from ..config import System
from ..lamp.answers import answer_of
from ..lamp.scorer import item_reward
from ..lamp.tasks import Question
from ..prmu.rollouts import other_user_question
from ..runs import append_jsonl
from ..tags.schema import Chain, Step, parse, render
from .answer import FOLDER, Asked, Completion, draw_of, key_of, prompt_of, rows_made_from, written

NOTHING, OTHER = "nothing", "other"


class Altered(NamedTuple):
    """A question with a changed chain before its answer. change: a tag, NOTHING or OTHER."""
    question: Question
    change: str
    steps: tuple[Step, ...]

    @property
    def thought(self) -> str:
        """The text that the answer follows."""
        return render(Chain(self.steps, ""))


def chains_of(completions: dict[str, list[Completion]]) -> dict[str, Chain]:
    """{question id: the chain that its first completion is}, of those that are chains."""
    parsed = {name: parse(some[0].text, allowed=None) for name, some in completions.items()}
    return {name: chain for name, chain in parsed.items() if isinstance(chain, Chain)}


def altered(questions: list[Question], chains: dict[str, Chain], seed: int) -> Iterator[Altered]:
    """Every change of every question's chain."""
    with_chain = [question for question in questions if question.id in chains]
    for question in with_chain:
        chain = chains[question.id]
        for tag in dict.fromkeys(chain.tags):  # each once
            yield Altered(question, tag, tuple(step for step in chain.steps if step.tag != tag))
        yield Altered(question, NOTHING, ())
        other = other_user_question(question, with_chain, seed)
        if other is not None:
            yield Altered(question, OTHER, chains[other.id].steps)


def faithful_rows(asked: Asked, system: System, completions: dict[str, list[Completion]]) -> list[dict]:
    """A row for every change: {"id", "task", "user", "change", "score": after it, "whole": before it}, scores
    being item_reward. Answers are kept in samples/<system>@faithful.jsonl and made once."""
    draw = draw_of(system)
    changes = list(altered(asked.questions, chains_of(completions), asked.config.seed))
    name = f"{system.word}@faithful"
    thoughts = hashlib.sha256("\0".join(change.thought for change in changes).encode()).hexdigest()
    rows = rows_made_from(asked.folder, name, {"completions": key_of(asked.config, draw), "chains": thoughts})
    answers = {(row["id"], row["change"]): row["answer"] for row in rows}
    missing = [change for change in changes if (change.question.id, change.change) not in answers]
    for row in answers_behind(asked, system, missing):
        append_jsonl(asked.folder / FOLDER / f"{name}.jsonl", [row])
        answers[row["id"], row["change"]] = row["answer"]
    return [{"id": question.id, "task": question.task.name, "user": question.user, "change": change,
             "score": item_reward(question.task, answers[question.id, change], question.gold),
             "whole": item_reward(question.task, answer_of(completions[question.id][0].text), question.gold)}
            for question, change, _ in changes]


def answers_behind(asked: Asked, system: System, changes: list[Altered]) -> Iterator[dict]:
    """{"id", "change", "answer"} of every changed chain: what the system answers behind it."""
    from ..engine.adapters import adapted
    from ..engine.rollout import prompt_limit
    from ..lamp.chat import completion_ids
    if not changes:
        return
    base, tokenizer = asked.loaded
    draw = draw_of(system)
    prompts = {}  # {place of a change: [P + the chain's tokens]}
    for place, change in enumerate(changes):
        thought_ids = completion_ids(tokenizer, change.thought)[:-1]  # without the end token
        prompts[place] = prompt_of(asked, draw, change.question, tokenizer) + thought_ids
    evaluate = asked.config.evaluate
    limit = prompt_limit("evaluate.batch", evaluate.batch, asked.folder)
    with adapted(base, asked.folder / system.folder if system.folder else None) as model:
        for rows in written(model, tokenizer, prompts, evaluate.answer_tokens, limit):
            for row in rows:
                change, (completion,) = changes[row["id"]], row["completions"]
                yield {"id": change.question.id, "change": change.change,
                       "answer": completion["text"].strip()}
