"""Step 7, evaluate: every system answers the dev questions, greedily, and one scorer scores them all."""
from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from ..config import Config, UserError
from ..lamp.answers import answer_of
from ..lamp.rows import read_questions
from ..lamp.sampling import group_by
from ..lamp.scorer import score
from ..lamp.tasks import Question
from ..plan.run_plan import follow, planned_models, read_plan
from ..runs import append_jsonl, cli, progress, read_jsonl, run_step, write_json


class System(NamedTuple):
    """adapter: the stage whose adapter is used, None for the bare base. with_profile: sees the profile.
    reason: is asked to reason."""
    adapter: str | None
    with_profile: bool
    reason: bool


SYSTEMS = {"base": System(None, False, False),
           "base_profile": System(None, True, False),
           "sft": System("sft", True, True),
           "guided": System("guided", True, True),
           "explore": System("explore", True, True)}


def main(config: Config) -> None:
    unknown = set(config.evaluate.systems) - set(SYSTEMS)
    if unknown:
        raise UserError(f"evaluate.systems: unknown {sorted(unknown)[0]!r}; known: {', '.join(SYSTEMS)}")
    adapters = [f"{adapter}/adapter" for adapter in adapters_of(config)]
    run_step(config, "evaluate", inputs=["data/dev.jsonl", "data/tasks.json", "plan.json", *adapters],
             work=work, outputs=["eval"], models=planned_models(config),
             settings=["seed", "prompt", "model", "sft.form", "grpo.completion", "evaluate"])


def adapters_of(config: Config) -> list[str]:
    """The adapters that the systems to be evaluated need, such as ["sft", "guided"]."""
    adapters = [SYSTEMS[name].adapter for name in config.evaluate.systems]
    return [adapter for adapter in adapters if adapter is not None]


def work(config: Config, folder: Path) -> None:
    from ..engine.model import load, load_adapter, using
    from ..engine.rollout import prompt_limit
    config = follow(config, read_plan(folder))
    dev = read_questions(folder, "dev")
    by_task = group_by(dev, lambda question: question.task.name)
    model, tokenizer = load(config.model)
    for adapter in adapters_of(config):
        model = load_adapter(model, folder / adapter / "adapter", adapter)

    together = prompt_limit("evaluate.batch", config.evaluate.batch, folder)
    bar = progress(len(dev) * len(config.evaluate.systems), "evaluate", "question")
    for system in config.evaluate.systems:
        bar.set_description(f"evaluate {system}")
        partial = folder / "eval" / f"{system}.partial.jsonl"
        with using(model, SYSTEMS[system].adapter):
            rows = answer_questions(config, partial, SYSTEMS[system], model, tokenizer, dev, bar, together)
        for task in sorted(by_task):
            save_scores(folder, system, by_task[task], rows)
    bar.close()
    for partial in (folder / "eval").glob("*.partial.jsonl"):
        partial.unlink()


def answer_questions(config: Config, partial: Path, system: System, model, tokenizer, dev: list[Question],
                     bar, together) -> dict[str, dict]:
    """{question id: {"id", "text", "seconds"}} of all dev questions, `together` (a BatchLimit) at a time.
    Batches that an interrupted run finished are taken from the file `partial`."""
    from ..engine.rollout import sample_parts
    from ..engine.sample import end_tokens
    from ..lamp.chat import completion_text
    from ..lamp.prompts import build
    reason = system.reason and config.sft.form != "answer"
    limit = config.grpo.completion if reason else config.evaluate.answer_tokens  # tokens of an answer
    rows = {row["id"]: row for row in read_jsonl(partial, partial=True)}
    bar.update(len(rows))

    # Questions are batched by prompt length, so that few padded keys and values are kept.
    prompts: dict[str, list[int]] = {}  # question id -> prompt_ids [P]
    for question in dev:
        prompts[question.id], _ = build(question, tokenizer, config.prompt, with_profile=system.with_profile,
                                        reason=reason)
    missing = [question for question in dev if question.id not in rows]
    missing.sort(key=lambda question: len(prompts[question.id]))

    started = time.time()
    for part, groups, _ in sample_parts(model, [prompts[question.id] for question in missing], 1, limit,
                                        end_tokens(model, tokenizer), together=together,
                                        temperature=0):  # groups [batch][1]
        batch = missing[part]
        seconds = round((time.time() - started) / len(batch), 2)  # of one question
        new_rows = []
        for question, (completion,) in zip(batch, groups, strict=True):
            text = completion_text(tokenizer, completion.ids, completion.ended)
            new_rows.append({"id": question.id, "text": text, "seconds": seconds})
        append_jsonl(partial, new_rows)
        rows |= {row["id"]: row for row in new_rows}
        bar.update(len(batch))
        started = time.time()
    return rows


def save_scores(folder: Path, system: str, questions: list[Question], rows: dict[str, dict]) -> None:
    """Writes eval/<system>/<task>.json: the scores and predictions of one task's questions."""
    task = questions[0].task
    golds = {question.id: question.gold for question in questions}
    answers = {question.id: answer_of(rows[question.id]["text"]) for question in questions}
    predictions = [{"id": question.id, "user": question.user, "input": question.input,
                    "text": rows[question.id]["text"], "answer": answers[question.id], "gold": question.gold}
                   for question in questions]
    seconds = sum(rows[question.id]["seconds"] for question in questions)
    write_json(folder / "eval" / system / f"{task.name}.json",
               {"system": system, "task": task.name, "scores": score(task, golds, answers),
                "predictions": predictions, "seconds": round(seconds, 1)})


if __name__ == "__main__":
    cli(main, __doc__)
