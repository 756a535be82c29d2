"""Step 1, prepare: questions are read, checked and retrieved for; the model is fetched; the plan is
printed."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..config import Config, Lamp, UserError
from ..engine.location import find, find_auto
from ..lamp import leaks, mini
from ..lamp.chat import template_of
from ..lamp.declaration import declarations
from ..lamp.extra import from_profiles
from ..lamp.identity import with_unique_ids
from ..lamp.official import files
from ..lamp.official.obtain import obtain
from ..lamp.own import load_own
from ..lamp.prompts import PromptReport, build
from ..lamp.retrieve import Embed, retrieve
from ..lamp.rows import write_questions, write_tasks
from ..lamp.sampling import held_out_users, sample, users_of
from ..lamp.tasks import TASKS, Question, Task, find_task
from ..plan.run_plan import follow, lines, make_plan, read_plan, show_table, write_plan
from ..plan.whole import Load
from ..runs import cli, run_step, save_config, seed_of, write_json

YAML = (".yaml", ".yml")
FETCHED = ("auto", "official")  # words for the official files
# What the plan decides, and what it decides by (plan/whole.py, `plan_run`).
PLANNED = [f"grpo.{name}" for name in ("group", "completion", "beta", "layout", "once", "micro", "logp_chunk",
                                       "decode_rows", "checkpointing", "check_every")]
PLANNED += ["sft.batch", "sft.micro", "reward.micro", "reward.tokens", "evaluate.batch"]


def main(config: Config) -> None:
    is_fetched = config.lamp.source in FETCHED
    config, replaced = settle(config)
    source = config.lamp.source if is_fetched else ""
    run_step(config, "prepare", inputs=[], settings=["seed", "lamp", "prompt", "model", *PLANNED],
             outside=source_files(config.lamp.source), models=models_of(config),
             work=partial(work, source=source, replaced=replaced),
             outputs=["data/train.jsonl", "data/val.jsonl", "data/dev.jsonl", "data/tasks.json",
                      "data/summary.json", "plan.json", "?data/references.json"])
    plan = read_plan(config.folder)
    followed = follow(config, plan)
    save_config(followed)
    show_table(followed, plan)


def settle(config: Config) -> tuple[Config, list[str]]:
    """The settings with what `auto` and `official` stand for in their place, model and files fetched, and a
    sentence of each thing that could not be had and was replaced. It comes before the step's key, so that the
    step is done again when the real thing can be had. What the user named is never replaced: UserError."""
    lamp, model, replaced = config.lamp, config.model, []

    def say(why: str) -> None:
        if why:
            replaced.append(why)
            print(why, flush=True)

    if lamp.source not in FETCHED:
        source_files(lamp.source)  # refused before gigabytes are fetched
    if model.name == "auto":
        name, why = find_auto(model)
        say(why)
        model = replace(model, name=name)
    find(model)
    if lamp.source in FETCHED:
        source, why = official_or_mini(lamp)
        say(why)
        config = replace(config, name=config.folder.name)  # the folder bears the name of what was asked for
        lamp = replace(lamp, source=source)
    return replace(config, lamp=lamp, model=model), replaced


def official_or_mini(lamp: Lamp) -> tuple[str, str]:
    """(source, why): the folder of the official files, fetched; of lamp.source=auto `mini` where they cannot
    be had, and a sentence that says why."""
    for word in lamp.tasks:
        find_task(word)  # a misspelt task is no reason to take another source
    try:
        return str(obtain(lamp.tasks)), ""
    except UserError as reason:
        cause = f"lamp.source={lamp.source}: the official LaMP files cannot be had ({reason})"
        if lamp.source != "auto":
            raise UserError(cause) from None
        return "mini", f"{cause}; the built-in benchmark takes their place; the next start tries again"


def models_of(config: Config) -> list[str]:
    """The base model and the sentence encoder of the retriever."""
    dense = config.lamp.retriever == "dense" and config.lamp.encoder
    return [find(config.model)] + ([config.lamp.encoder] if dense else [])


def source_files(source: str) -> list[Path]:
    """The user's own files that the questions are made of; none for the built-in benchmark."""
    path = Path(source)
    if source == "mini":
        return []
    if path.suffix in YAML:  # the declaration, and the records that it names, wherever they lie
        records = {path.parent / declaration["records"] for _, declaration in declarations(path)}
        return [path, *sorted(file for file in records if file.is_file())]
    if not path.is_dir():
        raise UserError(f"lamp.source={source} is not a folder; use `mini`, `auto` or `official` (the "
                        "official LaMP files are fetched), a folder of LaMP-format files, or the YAML of a "
                        "task of your own")
    return sorted(file for folder in files.task_folders(path) for file in folder.rglob("*")
                  if file.suffix in (".json", ".db"))


def load(config: Config) -> dict[str, dict]:
    """{task: {"train": questions, "dev": questions}} of whatever `lamp.source` names."""
    lamp = config.lamp
    if lamp.source == "mini":
        return mini.build(config.seed, lamp.mini_users, lamp.made_tasks, lamp.mini_language, lamp.mini_people)
    if Path(lamp.source).suffix in YAML:
        return load_own(lamp.source, config.seed)
    return files.load_folder(lamp.source, lamp.tasks)


def work(config: Config, folder: Path, source: str = "", replaced: Sequence[str] = ()) -> None:
    """source, replaced: what settle made of a word for the official files, and what it says of it; for the
    plan and the report."""
    from ..engine.embed import encoder
    from ..engine.usable import check_usable
    print(f"  the run's folder is {folder}", flush=True)
    tokenizer = check_usable(config.model)
    loaded = load(config)
    check_limits(config, set(loaded))
    embed = encoder(config.lamp.encoder, config.model) if config.lamp.retriever == "dense" else None
    prepared = [prepare_task(splits, config, tokenizer, embed) for _, splits in sorted(loaded.items())]
    questions = with_unique_ids({split: [q for task in prepared for q in getattr(task, split)]
                                 for split in ("train", "val", "dev")})
    if not questions["train"] or not questions["dev"]:
        raise UserError(f"{config.lamp.source} leaves {len(questions['train'])} questions to train on and "
                        f"{len(questions['dev'])} to score; both are needed")
    plan = make_plan(config, load_of(prepared), source, replaced)
    notes = [f"{task.task.name}: {line}" for task in prepared
             for line in leaks.lines(task.leaks, config.lamp.exclude)]
    for task in prepared:
        print(task.sentences(config))
    for note in notes:
        print(f"  leak: {note}")
    template = template_of(tokenizer).sentence()
    print(f"  chat template: {template}")
    for what, value in lines(plan, follow(config, plan)):
        print(f"  {what}: {value}")
    for split in questions:
        write_questions(folder, split, questions[split])
    write_tasks(folder, [question for split in questions.values() for question in split])
    if config.lamp.source == "mini":
        write_json(folder / "data" / "references.json",
                   mini.references(questions["dev"], config.seed, config.lamp.mini_users,
                                   config.lamp.mini_people))
    summary = {task.task.name: task.summary(config.lamp.source) for task in prepared}
    write_json(folder / "data" / "summary.json", {"tasks": summary, "notes": notes, "template": template})
    write_plan(folder, plan)


@dataclass(frozen=True)
class PreparedTask:
    """One task's questions, ready to be asked. offered: how many there were of each split; extra: how many
    questions out of profiles were asked for; too_long: training questions longer than the prompt budget, left
    out."""
    task: Task
    train: list[Question]
    val: list[Question]
    """Of held-out training users."""
    dev: list[Question]
    offered: dict[str, int]
    extra: int
    too_long: int
    leaks: leaks.Counts
    prompts: list[PromptReport]
    """Of all three, with the profile."""
    questions: list[PromptReport]
    """The same without the profile."""

    def summary(self, source: str) -> dict:
        users = {question.user for question in self.train + self.val + self.dev}
        return {"title": self.task.title, "source": source, "train": len(self.train), "val": len(self.val),
                "dev": len(self.dev), "users": len(users), "too_long": self.too_long, "leaks": self.leaks}

    def sentences(self, config: Config) -> str:
        """Two lines for people: how many questions, and what became of their profile items."""
        shown, cut, dropped = (sum(getattr(report, key) for report in self.prompts)
                               for key in ("items_shown", "items_cut", "items_dropped"))
        return (f"  {self.task.name} ({self.task.title}): {len(self.train)} train questions "
                f"(of {self.offered['train']}, and {self.extra} from profiles at most; {self.too_long} left "
                f"out as longer than the prompt budget), {len(self.val)} of held-out users, "
                f"{len(self.dev)} dev (of {self.offered['dev']})\n"
                f"    prompts show {shown} profile items, {cut} of them cut to {config.prompt.item_tokens} "
                f"tokens; {dropped} more did not fit")


def prepare_task(splits: dict, config: Config, tokenizer, embed: Embed | None) -> PreparedTask:
    """Held-out users are set aside; questions are sampled, extended, checked for leaks, retrieved for, and
    held against the prompt budget."""
    lamp = config.lamp
    task = (splits["train"] or splits["dev"])[0].task
    held_out = held_out_users(splits["train"], lamp.val, seed_of(config.seed, task.name, "val"))
    trained_on = set(users_of(splits["train"])) - held_out
    train = sample(splits["train"], limit_of(lamp.train_limit, task),
                   seed_of(config.seed, task.name, "train"), trained_on)
    val = sample(splits["train"], limit_of(lamp.val_limit, task),
                 seed_of(config.seed, task.name, "val"), held_out)
    extra = limit_of(lamp.from_profile, task) or 0
    if extra:
        train += from_profiles(train, extra, seed_of(config.seed, task.name, "profiles"))
    dev = sample(splits["dev"], limit_of(lamp.dev_limit, task), seed_of(config.seed, task.name, "dev"))
    train, dev, leaked = leaks.check(train, dev, lamp.exclude)
    train, val, _ = leaks.check(train, val, lamp.exclude)  # no profile trained on holds a held-out question

    # Every question with its retrieved items, and the size of its prompts. What is longer than the prompt
    # budget is left out; of dev everything is answered.
    asked: dict[str, list[Question]] = {"train": [], "val": [], "dev": []}
    reports, bare = [], []
    for split, questions in (("train", train), ("val", val), ("dev", dev)):
        for question in (with_retrieved(q, config, embed) for q in questions):
            with_profile, without = (build(question, tokenizer, config.prompt, with_profile=shown,
                                           reason=True)[1] for shown in (True, False))
            if split == "dev" or not with_profile.over_budget:
                asked[split].append(question)
                reports.append(with_profile)
                bare.append(without)
    return PreparedTask(task, asked["train"], asked["val"], asked["dev"],
                        {split: len(splits[split]) for split in splits}, extra,
                        len(train) - len(asked["train"]), leaked, reports, bare)


def load_of(prepared: list[PreparedTask]) -> Load:
    """What the questions put through the model."""
    prompts = [report.tokens for task in prepared for report in task.prompts]
    questions = [report.tokens for task in prepared for report in task.questions]

    def count(split: str) -> int:
        return sum(len(getattr(task, split)) for task in prepared)

    return Load(prompt=max(prompts), mean_prompt=round(sum(prompts) / len(prompts)), question=max(questions),
                train=count("train"), dev=count("dev"), val=count("val"))


def check_limits(config: Config, loaded: set[str]) -> None:
    """UserError: a limit names a task that neither the source nor LaMP has. A misspelt one would leave the
    task without its limit."""
    known = loaded | set(TASKS) | {"default"}
    for key in ("train_limit", "val_limit", "dev_limit", "from_profile"):
        for name in getattr(config.lamp, key):
            if name not in known:
                raise UserError(f"lamp.{key} names a task '{name}' that is not there; known: "
                                f"{', '.join(sorted(known))}")


def limit_of(limits: dict[str, int], task: Task) -> int | None:
    """A Chinese task is limited as its English twin is."""
    return limits.get(task.name, limits.get(task.lamp_name, limits.get("default")))


def with_retrieved(question: Question, config: Config, embed: Embed | None) -> Question:
    """The question with its retrieved items, and its profile cut to those and the newest `profile_max`."""
    retrieved = retrieve(question, config.lamp.retriever, config.lamp.k, config.seed, embed)
    items = len(question.profile)
    newest = range(max(0, items - config.lamp.profile_max), items)
    kept = sorted({*retrieved, *newest})
    new_place = {old: new for new, old in enumerate(kept)}
    return replace(question, profile=tuple(question.profile[old] for old in kept),
                   retrieved=tuple(new_place[old] for old in retrieved))


if __name__ == "__main__":
    cli(main, __doc__)
