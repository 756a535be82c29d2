"""Step 7, evaluate: every system answers the dev questions, greedily, and one scorer scores them all."""
import time
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..lamp.scorer import score
from ..lamp.tasks import Question
from ..plan.run_plan import follow, read_plan
from ..runs import append_jsonl, cli, progress, read_jsonl, run_step, write_json
from ..tags.schema import answer_of

# system: (adapter folder or None, sees the profile, is asked to reason)
SYSTEMS = {"base": (None, False, False), "base_profile": (None, True, False), "sft": ("sft", True, True),
           "guided": ("guided", True, True), "explore": ("explore", True, True)}


def main(config: Config) -> None:
    if unknown := set(config.evaluate.systems) - set(SYSTEMS):
        raise UserError(f"evaluate.systems: unknown {sorted(unknown)[0]!r}; known: {', '.join(SYSTEMS)}")
    adapters = [f"{a}/adapter" for s in config.evaluate.systems if (a := SYSTEMS[s][0])]
    run_step(config, "evaluate", inputs=["data/dev.jsonl", "data/tasks.json", "plan.json", *adapters],
             work=work, outputs=["eval"], settings=["seed", "prompt", "model", "sft", "grpo", "evaluate"])


def work(config: Config, folder: Path) -> None:
    from ..engine.model import load, load_adapter, using
    config = follow(config, read_plan(folder))
    dev = read_questions(folder, "dev")
    model, tokenizer = load(config.model)
    for system in config.evaluate.systems:
        if (adapter := SYSTEMS[system][0]) is not None:
            model = load_adapter(model, folder / adapter / "adapter", adapter)
    bar = progress(len(dev) * len(config.evaluate.systems), "evaluate", "question")
    for system in config.evaluate.systems:
        bar.set_description(f"evaluate {system}")
        with using(model, SYSTEMS[system][0]):
            rows = answers(config, folder / "eval" / f"{system}.partial.jsonl", system, model, tokenizer, dev,
                           bar)
        for name in sorted({q.task.name for q in dev}):
            save_scores(folder, system, [q for q in dev if q.task.name == name], rows)
    bar.close()
    for partial in (folder / "eval").glob("*.partial.jsonl"):
        partial.unlink()


def answers(config: Config, partial: Path, system: str, model, tokenizer, dev: list[Question],
            bar) -> dict[str, dict]:
    """{id: {text, seconds}} of all dev questions; batches that an interrupted run finished are taken from its
    file.

    Questions are batched by prompt length, so that padded keys and values stay few.
    """
    from ..engine.sample import end_tokens, sample
    from ..lamp.prompts import build
    _, profile, reason = SYSTEMS[system]
    reason = reason and config.sft.form != "answer"
    room = config.grpo.completion if reason else config.evaluate.answer_tokens
    rows = {r["id"]: r for r in read_jsonl(partial, partial=True)}
    bar.update(len(rows))
    prompts = {q.id: build(q, tokenizer, config.prompt, with_profile=profile, reason=reason)[0] for q in dev}
    todo = sorted((q for q in dev if q.id not in rows), key=lambda q: len(prompts[q.id]))
    for i in range(0, len(todo), config.evaluate.batch):
        batch, started = todo[i:i + config.evaluate.batch], time.time()
        got = sample(model, [prompts[q.id] for q in batch], 1, room, end_tokens(model, tokenizer),
                     temperature=0)
        each = (time.time() - started) / len(batch)
        new = [{"id": q.id, "text": tokenizer.decode(g[0].ids, skip_special_tokens=True),
                "seconds": round(each, 2)} for q, g in zip(batch, got)]
        append_jsonl(partial, new)
        rows |= {r["id"]: r for r in new}
        bar.update(len(batch))
    return rows


def save_scores(folder: Path, system: str, questions: list[Question], rows: dict[str, dict]) -> None:
    """Writes eval/<system>/<task>.json: the scores and predictions of one task's questions."""
    task = questions[0].task
    said = {q.id: answer_of(rows[q.id]["text"]) for q in questions}
    scores = score(task, {q.id: q.gold for q in questions}, said)
    predictions = [{"id": q.id, "user": q.user, "input": q.input, "text": rows[q.id]["text"],
                    "answer": said[q.id], "gold": q.gold} for q in questions]
    write_json(folder / "eval" / system / f"{task.name}.json",
               {"system": system, "task": task.name, "scores": scores, "predictions": predictions,
                "seconds": round(sum(rows[q.id]["seconds"] for q in questions), 1)})


if __name__ == "__main__":
    cli(main, __doc__)
