"""Step 4, reward: PRMU is trained on preference pairs, and must show on users it has not seen that the user
matters to it."""
from __future__ import annotations

from operator import attrgetter
from pathlib import Path

from ..config import Config, UserError, parse_systems
from ..lamp import mini
from ..lamp.rows import read_questions
from ..lamp.tasks import Question
from ..plan.run_plan import follow, planned_models, read_plan
from ..prmu.pair import Pair, PolicyText, Rules
from ..prmu.pairs import make_pairs
from ..prmu.selection import cases, take_turns, tune_users
from ..runs import cli, progress, read_jsonl, run_step, write_jsonl
from ..tags import chains, discover
from ..tags.teachers.cues import Cues
from ..tags.teachers.teacher import Template
from ..tags.teachers.template import learn_reading
from .step5_guided import asks_prmu

# How the SFT policy's chains are sampled, and how the template's chains of held-out users are filtered.
SAMPLED = ["grpo.completion", "grpo.temperature"]
HELD = [f"tag.{name}" for name in ("samples", "words", "per_question", "percentile", "within",
                                   "rationalised")]


def main(config: Config) -> None:
    chooses = any(system.decoding == "prmu" for system in parse_systems(config.evaluate.systems))
    if not asks_prmu(config) and not chooses:
        print("[reward] skipped: nothing asks PRMU (grpo.alpha_prmu, grpo.guided_steps, evaluate.systems)",
              flush=True)
        return
    run_step(config, "reward",
             inputs=["data/train.jsonl", "data/dev.jsonl", "data/tasks.json", "chains/kept.jsonl",
                     "sft/adapter", "plan.json"],
             models=planned_models(config), work=work,
             settings=["seed", "lamp", "prompt", "model", "reward", *SAMPLED, *HELD],
             outputs=["prmu", "chains/pairs.jsonl", "?chains/rollouts.jsonl"])


def work(config: Config, folder: Path) -> None:
    from ..engine import model as engine
    from ..prmu.examine import agreement, examine
    from ..prmu.model import ADAPTER
    from ..prmu.train import train
    config = follow(config, read_plan(folder))

    # 1. Who is trained on, and the good chains of all: the teacher's, or the template's for held-out users.
    questions = read_questions(folder, "train")
    rules = known_rules(config)
    cues = learn_reading(questions)
    sides = divide_users(config, questions, read_questions(folder, "dev"))
    kept = first_kept_chains(folder)
    kept |= template_chains([question for question in sides["held"] if question.id not in kept], config, cues)

    # 2. Pairs; the adapter, which still is SFT's, writes some of the chains.
    model, tokenizer = engine.load(config.model)
    model = engine.load_adapter(model, folder / "sft" / "adapter", ADAPTER, trainable=True)
    rollouts = policy_texts(config, folder, model, tokenizer, sides) if config.reward.rollouts else []
    limits = pair_limits(config)
    some_pairs = {side: make_pairs(of_side, kept, rollouts, rules, cues, config.seed, config.reward.strangers,
                                   limits[side]) for side, of_side in sides.items()}
    pairs = select_pairs(limits, some_pairs)
    write_jsonl(folder / "chains" / "pairs.jsonl",
                (pair_row(side, pair) for side, of_side in pairs.items() for pair in of_side))

    # 3. Training, then the report on held-out users.
    if config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    prmu = untrained_prmu(config, folder, model, tokenizer, pairs)
    trained = train(prmu, pairs["train"], pairs["tune"], config.seed, folder)
    case_count = len(cases(pairs["held"])) + len(cases(pairs["tune"]))
    with progress(case_count, "held-out users", "case") as bar:
        report = examine(prmu, pairs["held"], pairs["tune"], config.seed, bar.update)
    report["pairs"] = len(pairs["train"])
    report["trained"] = trained
    report["agreement"] = agreement(prmu, sides["held"], kept, rules, cues, config.seed)
    prmu.save(folder / "prmu", report)
    print_report(report)


# ---------------------------------------------------------------- users and their chains

def known_rules(config: Config) -> Rules:
    """The hidden rules of the built-in benchmark; {} for other data."""
    lamp = config.lamp
    if lamp.source != "mini":
        return {}
    return mini.rules_of(config.seed, lamp.mini_users, lamp.made_tasks, lamp.mini_language, lamp.mini_people)


def divide_users(config: Config, train: list[Question], dev: list[Question]) -> dict[str, list[Question]]:
    """{"train", "tune", "held": questions}.

    train and tune (for early stopping and calibration) are training users. held, for the report, are the dev
    users that nothing has been trained on, SFT included. Where every dev user is a training user, held is
    tune.
    """
    drawn = tune_users(train, config.reward.heldout, config.seed)
    train_side = [question for question in train if question.user not in drawn]
    tune_side = [question for question in train if question.user in drawn]

    train_users = {question.user for question in train}
    train_tasks = {question.task.lamp_name for question in train}
    unseen = [question for question in dev
              if question.user not in train_users and question.task.lamp_name in train_tasks]
    if not unseen:
        print("  every dev user is a training user: the report is on those that PRMU alone is not trained on")
    return {"train": train_side, "tune": tune_side, "held": unseen or tune_side}


def first_kept_chains(folder: Path) -> dict[str, str]:
    """{question id: its first kept chain as text} of step 2."""
    kept: dict[str, str] = {}
    for row in read_jsonl(folder / "chains" / "kept.jsonl"):
        kept.setdefault(row["id"], row["text"])
    return kept


def template_chains(questions: list[Question], config: Config, cues: Cues) -> dict[str, str]:
    """{question id: the template's chain as text, where it has a right one}, for users whom the teacher was
    not asked about."""
    kept, _ = chains.generate(questions, Template(cues), config.tag)
    return {row["id"]: discover.tagged(row, row["tags"])["text"] for row in kept}


def policy_texts(config: Config, folder: Path, model, tokenizer,
                 sides: dict[str, list[Question]]) -> list[PolicyText]:
    """What the SFT policy writes for `reward.rollouts` questions: every side by its size, tasks in turns."""
    from ..prmu.rollouts import sample_rollouts
    question_count = sum(len(of_side) for of_side in sides.values())
    texts: list[PolicyText] = []
    for side, of_side in sides.items():
        share = round(config.reward.rollouts * len(of_side) / question_count)
        asked = take_turns(of_side, share, attrgetter("task.name"))
        with progress(len(asked), f"rollouts, {side}", "question") as bar:
            texts += sample_rollouts(config, folder / "chains" / "rollouts.jsonl", model, tokenizer, asked,
                                     bar.update, folder)
    return texts


# ---------------------------------------------------------------- pairs

def pair_limits(config: Config) -> dict[str, int]:
    """Most pairs of each side."""
    return {"train": config.reward.pairs, "tune": max(8, config.reward.pairs // 4),
            "held": config.reward.reported}


def select_pairs(limits: dict[str, int], pairs: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    """As many of each side's pairs as the limits say; kinds and tasks take turns.

    UserError: a side has none.
    """
    by_task_and_kind = attrgetter("question.task.name", "kind")
    selected = {side: take_turns(of_side, limits[side], by_task_and_kind) for side, of_side in pairs.items()}
    if not all(selected.values()):
        counts = ", ".join(f"{len(of_side)} {side}" for side, of_side in selected.items())
        raise UserError(f"too few preference pairs ({counts}): use more questions and users, or another "
                        "reward.heldout")
    return selected


def pair_row(side: str, pair: Pair) -> dict:
    """A line of chains/pairs.jsonl."""
    return {"side": side, "id": pair.question.id, "user": pair.question.user, "kind": pair.kind,
            "gap": round(pair.gap, 4), "source": pair.source, "mirrored": pair.mirrored,
            "chosen": pair.chosen, "rejected": pair.rejected}


# ---------------------------------------------------------------- the model and its report

def untrained_prmu(config: Config, folder: Path, model, tokenizer, pairs: dict[str, list[Pair]]):
    """PRMU before training: the pairs' texts embedded, parts made from the run's seed, averages fitted to the
    training pairs."""
    import torch

    from ..prmu.model import PRMU
    from ..prmu.users import TextEmbeddings, texts_file
    texts = TextEmbeddings(model, tokenizer, texts_file(folder))
    pair_questions = [pair.question for of_side in pairs.values() for pair in of_side]
    with progress(0, "embedding profiles", "text") as bar:
        texts.add(pair_questions, config.reward.history, bar.update)

    torch.manual_seed(config.seed)
    users_with_rows: tuple[str, ...] = ()
    if config.reward.table:
        users_with_rows = tuple(sorted({pair.question.user for pair in pairs["train"]}))
    prmu = PRMU(model, tokenizer, config.reward, config.prompt, texts, users_with_rows, folder)
    train_texts = []
    for pair in pairs["train"]:
        train_texts += [pair.chosen, pair.rejected]
    prmu.fit([pair.question for pair in pairs["train"]], train_texts)
    return prmu


def print_report(report: dict) -> None:
    """The report in a few lines."""
    user_only, calibration, bias = report["user_only"], report["calibration"], report["bias"]
    print(f"  pairs of held-out users told apart ({report['heldout_pairs']}), by whose embedding: "
          f"{accuracy_words(report)}")
    if user_only["n"]:
        print(f"  where only the user differs ({user_only['n']}): {accuracy_words(user_only)}")
    print(f"  calibration error {calibration['ece']:.3f} (before the temperature "
          f"{calibration['ece_before']:.3f}); length: rho {bias['length_rho']:.2f}")
    for task, result in report["agreement"].items():
        print(f"  {task}: Kendall's tau with the hidden rule {result['tau']:.2f} +- {result['error']:.2f} "
              f"({result['n']} questions)")


def accuracy_words(accuracies: dict) -> str:
    """Such as "own 0.812, another's 0.530, none 0.500"."""
    return "own {accuracy:.3f}, another's {shuffled:.3f}, none {generic:.3f}".format(**accuracies)


if __name__ == "__main__":
    cli(main, __doc__)
