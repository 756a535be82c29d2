"""Step 1, prepare: questions are read, checked and retrieved for; the model is fetched; the plan is printed."""
import os
from dataclasses import replace
from pathlib import Path

from ..config import Config, UserError
from ..lamp import files, mini
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
    lamp = config.lamp
    data = (mini.build(config.seed, lamp.mini_users, lamp.tasks) if lamp.source == "mini"
            else files.load_folder(lamp.source, lamp.tasks))
    summary = {"tasks": {}, "notes": []}
    for split, limits in (("train", lamp.train_limit), ("dev", lamp.dev_limit)):
        rows = []
        for task, splits in sorted(data.items()):
            limit = limits.get(task, limits.get("default"))
            chosen = files.sample(splits[split], limit, seed_of(config.seed, task, split))
            rows += [to_row(ready(q, config)) for q in chosen]
            entry = summary["tasks"].setdefault(task, {"title": TASKS[task].title, "source": lamp.source})
            entry |= {split: len(chosen), f"{split}_available": len(splits[split]), f"{split}_users": len({q.user for q in chosen})}
        write_jsonl(folder / "data" / f"{split}.jsonl", rows)
    for task, entry in summary["tasks"].items():
        entry["users"] = entry["train_users"] + entry["dev_users"]
        print(f"  {task} ({entry['title']}): {entry['train']} of {entry['train_available']} train, "
              f"{entry['dev']} of {entry['dev_available']} dev questions")
    plan = make_plan(config)
    for key, value in plan.items():
        print(f"  {key}: {value}")
    write_json(folder / "data" / "summary.json", summary)
    write_json(folder / "plan.json", plan)


def ready(question: Question, config: Config) -> Question:
    """The question with its retrieved items, and its profile cut to those and the newest `profile_max`."""
    found = retrieve(question, config.lamp.retriever, config.lamp.k, config.seed)
    n = len(question.profile)
    kept = sorted({*found, *range(max(0, n - config.lamp.profile_max), n)})
    place = {old: new for new, old in enumerate(kept)}
    return replace(question, profile=tuple(question.profile[i] for i in kept), retrieved=tuple(place[i] for i in found))


def make_plan(config: Config) -> dict:
    """Fetches the model and says what will run where. Bytes are counted in a later version (engine/plan.py)."""
    from ..engine.model import find, identity, placement
    device, dtype = placement()
    where = find(config.model.name)
    threads = config.model.threads or os.cpu_count()
    return {"model": config.model.name, "weights": "NF4, double quantisation" if config.model.bits == 4 else str(dtype),
            "identity": identity(where), "device": str(device), "compute": str(dtype).removeprefix("torch."),
            "threads": threads, "prompt tokens": config.prompt.max_tokens, "group": config.grpo.group,
            "completion tokens": config.grpo.completion, "micro-batch": config.grpo.micro,
            "layout": "two-phase shared prefix", "activation checkpointing": config.model.checkpointing}


if __name__ == "__main__":
    cli(main, __doc__)
