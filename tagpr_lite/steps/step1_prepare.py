"""Step 1, prepare: questions are read, checked and retrieved for; the model is fetched; the plan is printed."""
import os
from dataclasses import replace
from pathlib import Path

from ..config import Config, UserError
from ..lamp import leaks, mini
from ..lamp.extra import from_profiles
from ..lamp.official import files
from ..lamp.own import load_own
from ..lamp.prompts import build
from ..lamp.retrieve import Embed, retrieve
from ..lamp.rows import write_declared, write_questions
from ..lamp.tasks import TASKS, Question
from ..runs import cli, run_step, save_config, seed_of, write_json


def main(config: Config) -> None:
    source, outside = Path(config.lamp.source), []
    if source.suffix in (".yaml", ".yml"):
        outside = sorted(p for p in source.parent.glob("*") if p.suffix in (".yaml", ".yml", ".jsonl"))
    elif config.lamp.source != "mini":
        if not source.is_dir():
            raise UserError(f"lamp.source={source} is not a folder; use `mini`, a folder of LaMP-format files (the official "
                            "ones: python -m tagpr_lite.lamp.official --task all), or the YAML of a task of your own")
        outside = sorted(p for p in source.rglob("*") if p.suffix in (".json", ".db"))
    run_step(config, "prepare", inputs=[], settings=["seed", "lamp", "prompt", "model"], outside=outside, work=work,
             outputs=["data/train.jsonl", "data/dev.jsonl", "data/tasks.json", "data/summary.json", "plan.json"])
    save_config(config)


def load(config: Config) -> dict[str, dict]:
    """{task: {"train": questions, "dev": questions}} of whatever `lamp.source` names."""
    lamp = config.lamp
    if lamp.source == "mini":
        return mini.build(config.seed, lamp.mini_users, lamp.tasks, lamp.mini_language, lamp.mini_people)
    if Path(lamp.source).suffix in (".yaml", ".yml"):
        return load_own(lamp.source, config.seed)
    return files.load_folder(lamp.source, lamp.tasks)


def work(config: Config, folder: Path) -> None:
    from transformers import AutoTokenizer

    from ..engine.embed import encoder
    from ..engine.model import find
    lamp, data = config.lamp, load(config)
    plan = make_plan(config)
    tokenizer = AutoTokenizer.from_pretrained(find(config.model))
    embed = encoder(lamp.encoder, config.model) if lamp.retriever == "dense" else None
    tasks, notes, questions = {}, [], {"train": [], "dev": []}
    for task, splits in sorted(data.items()):
        train = choose(splits["train"], lamp.train_limit, config, task, "train")
        if more := limit_of(lamp.from_profile, task):
            train += from_profiles(train, more, seed_of(config.seed, task, "profiles"))
        train, dev, leaked = leaks.check(train, choose(splits["dev"], lamp.dev_limit, config, task, "dev"), lamp.exclude)
        train, dev = ([ready(q, config, embed) for q in part] for part in (train, dev))
        cut = [build(q, tokenizer, config.prompt, with_profile=True, reason=True)[1] for q in train + dev]
        short = [q for q, report in zip(train, cut) if not report["over_budget"]]  # in dev all are answered
        tasks[task] = {"title": TASKS[task].title, "source": lamp.source, "train": len(short), "dev": len(dev),
                       "users": len({q.user for q in short + dev}), "too_long": len(train) - len(short), "leaks": leaked}
        print(f"  {task} ({TASKS[task].title}): {len(short)} train questions (of {len(splits['train'])}, and "
              f"{more or 0} from profiles at most; {len(train) - len(short)} left out as longer than the prompt budget), "
              f"{len(dev)} dev (of {len(splits['dev'])})")
        shown, shortened, dropped = (sum(r[key] for r in cut) for key in ("items_shown", "items_cut", "items_dropped"))
        print(f"    prompts show {shown} profile items, {shortened} of them cut to {config.prompt.item_tokens} tokens; "
              f"{dropped} more did not fit")
        notes += [f"{task}: {line}" for line in leaks.lines(leaked, lamp.exclude)]
        questions["train"] += short
        questions["dev"] += dev
    if not questions["train"] or not questions["dev"]:
        raise UserError(f"{lamp.source} leaves {len(questions['train'])} questions to train on and "
                        f"{len(questions['dev'])} to score; both are needed")
    for note in notes:
        print(f"  leak: {note}")
    for key, value in plan.items():
        if key != "grpo":  # what steps 5 and 6 read; the same is said in words
            print(f"  {key}: {value}")
    for split in questions:
        write_questions(folder, split, questions[split])
    write_declared(folder)
    write_json(folder / "data" / "summary.json", {"tasks": tasks, "notes": notes})
    write_json(folder / "plan.json", plan)


def limit_of(limits: dict[str, int], task: str) -> int | None:
    """A Chinese task is limited as its English twin is."""
    return limits.get(task, limits.get(TASKS[task].shape, limits.get("default")))


def choose(questions, limits: dict[str, int], config: Config, task: str, split: str) -> list[Question]:
    return files.sample(questions, limit_of(limits, task), seed_of(config.seed, task, split))


def ready(question: Question, config: Config, embed: Embed | None) -> Question:
    """The question with its retrieved items, and its profile cut to those and the newest `profile_max`."""
    found = retrieve(question, config.lamp.retriever, config.lamp.k, config.seed, embed)
    n = len(question.profile)
    kept = sorted({*found, *range(max(0, n - config.lamp.profile_max), n)})
    place = {old: new for new, old in enumerate(kept)}
    return replace(question, profile=tuple(question.profile[i] for i in kept), retrieved=tuple(place[i] for i in found))


def make_plan(config: Config) -> dict:
    """Fetches the model and says what will run where. With a memory budget the planner decides how GRPO computes a group
    (`grpo`, which steps 5 and 6 follow), or refuses with advice; without one the config's words stand."""
    from ..engine.model import budget, find, identity, placement
    from ..plan.formulas import GIB, Job, choose
    from ..plan.shapes import shape_of
    device, dtype = placement()
    where, g, room = find(config.model), config.grpo, budget(config.model)
    plan = {"model": where if config.model.name == "auto" else config.model.name, "identity": identity(where),
            "weights": "NF4, double quantisation" if config.model.bits == 4 else str(dtype), "device": str(device),
            "budget GiB": round(room, 2) or "none", "compute": str(dtype).removeprefix("torch."),
            "threads": config.model.threads or os.cpu_count(), "prompt tokens": config.prompt.max_tokens, "group": g.group,
            "completion tokens": g.completion}
    if not room:
        return plan | {"layout": g.layout, "micro-batch": g.micro, "activation checkpointing": config.model.checkpointing}
    best = choose(Job(shape_of(where), config.model, config.prompt.max_tokens, g.group, g.completion,
                      max(1, g.decode_rows // g.group), bool(g.beta)), room * GIB)
    return plan | {"layout": best.layout, "micro-batch": best.micro, "activation checkpointing": best.checkpointing,
                   "peak GiB": round(best.peak / GIB, 2), "reserve GiB": round(best.reserve / GIB, 2),
                   "grpo": {"layout": best.layout, "once": False, "micro": best.micro, "logp_chunk": best.logp_chunk,
                            "decode_rows": best.rollout_prompts * g.group}}


if __name__ == "__main__":
    cli(main, __doc__)
