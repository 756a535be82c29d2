"""Step 1, prepare: questions are read, checked and retrieved for; the model is fetched; the plan is printed."""
import os
from dataclasses import replace
from pathlib import Path

from ..config import Config, UserError
from ..lamp import files, mini
from ..lamp.extra import from_profiles
from ..lamp.prompts import build
from ..lamp.retrieve import retrieve
from ..lamp.tasks import TASKS, Question, to_row
from ..runs import cli, run_step, save_config, seed_of, write_json, write_jsonl


def main(config: Config) -> None:
    source, outside = config.lamp.source, []
    if source != "mini":
        if not Path(source).is_dir():
            raise UserError(f"lamp.source={source} is not a folder; use `mini` or a folder of LaMP-format files")
        outside = sorted(Path(source).rglob("*.json"))
    run_step(config, "prepare", inputs=[], settings=["seed", "lamp", "prompt", "model"], outside=outside, work=work,
             outputs=["data/train.jsonl", "data/dev.jsonl", "data/summary.json", "plan.json"])
    save_config(config)


def work(config: Config, folder: Path) -> None:
    from transformers import AutoTokenizer

    from ..engine.model import find
    lamp = config.lamp
    data = (mini.build(config.seed, lamp.mini_users, lamp.tasks) if lamp.source == "mini"
            else files.load_folder(lamp.source, lamp.tasks))
    plan = make_plan(config)
    tokenizer = AutoTokenizer.from_pretrained(find(config.model))
    tasks, rows = {}, {"train": [], "dev": []}
    for task, splits in sorted(data.items()):
        train = choose(splits["train"], lamp.train_limit, config, task, "train")
        if more := limit_of(lamp.from_profile, task):
            train += from_profiles(train, more, seed_of(config.seed, task, "profiles"))
        train = [ready(q, config) for q in train]
        dev = [ready(q, config) for q in choose(splits["dev"], lamp.dev_limit, config, task, "dev")]
        short = [q for q in train if not too_long(q, tokenizer, config)]
        tasks[task] = {"title": TASKS[task].title, "source": lamp.source, "train": len(short), "dev": len(dev),
                       "users": len({q.user for q in short + dev}), "too_long": len(train) - len(short)}
        print(f"  {task} ({TASKS[task].title}): {len(short)} train questions (of {len(splits['train'])}, and "
              f"{more or 0} from profiles at most; {len(train) - len(short)} left out as longer than the prompt budget), "
              f"{len(dev)} dev (of {len(splits['dev'])})")
        rows["train"] += map(to_row, short)
        rows["dev"] += map(to_row, dev)
    for key, value in plan.items():
        print(f"  {key}: {value}")
    for split in rows:
        write_jsonl(folder / "data" / f"{split}.jsonl", rows[split])
    write_json(folder / "data" / "summary.json", {"tasks": tasks, "notes": []})
    write_json(folder / "plan.json", plan)


def limit_of(limits: dict[str, int], task: str) -> int | None:
    return limits.get(task, limits.get("default"))


def choose(questions: list[Question], limits: dict[str, int], config: Config, task: str, split: str) -> list[Question]:
    return files.sample(questions, limit_of(limits, task), seed_of(config.seed, task, split))


def too_long(question: Question, tokenizer, config: Config) -> bool:
    """Whether the question alone exceeds the prompt's budget. Such ones are not trained on; in dev all are answered."""
    _, report = build(question, tokenizer, with_profile=True, reason=True, max_tokens=config.prompt.max_tokens,
                      item_tokens=config.prompt.item_tokens)
    return report["over_budget"]


def ready(question: Question, config: Config) -> Question:
    """The question with its retrieved items, and its profile cut to those and the newest `profile_max`."""
    found = retrieve(question, config.lamp.retriever, config.lamp.k, config.seed)
    n = len(question.profile)
    kept = sorted({*found, *range(max(0, n - config.lamp.profile_max), n)})
    place = {old: new for new, old in enumerate(kept)}
    return replace(question, profile=tuple(question.profile[i] for i in kept), retrieved=tuple(place[i] for i in found))


def make_plan(config: Config) -> dict:
    """Fetches the model and says what will run where. Bytes are counted in a later version (engine/plan.py)."""
    from ..engine.model import budget, find, identity, placement
    device, dtype = placement()
    where = find(config.model)
    threads = config.model.threads or os.cpu_count()
    return {"model": where if config.model.name == "auto" else config.model.name, "identity": identity(where),
            "weights": "NF4, double quantisation" if config.model.bits == 4 else str(dtype),
            "device": str(device), "budget GiB": round(budget(config.model), 2) or "none",
            "compute": str(dtype).removeprefix("torch."), "threads": threads, "prompt tokens": config.prompt.max_tokens, "group": config.grpo.group,
            "completion tokens": config.grpo.completion, "micro-batch": config.grpo.micro,
            "layout": "two-phase shared prefix", "activation checkpointing": config.model.checkpointing}


if __name__ == "__main__":
    cli(main, __doc__)
