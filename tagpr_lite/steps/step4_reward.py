"""Step 4, reward: PRMU is trained on preference pairs, and must show on users it has not seen that the user
matters to it."""
from pathlib import Path

from ..config import Config, UserError
from ..lamp import mini
from ..lamp.rows import read_questions
from ..lamp.tasks import Question
from ..plan.run_plan import follow, read_plan
from ..prmu.pairs import Pair, Rules, Written, cases, make_pairs, take_turns, tune_users
from ..runs import cli, progress, read_jsonl, run_step, write_jsonl
from ..tags import chains, discover
from ..tags.teachers.cues import Cues, learn
from ..tags.teachers.teacher import Template


def main(config: Config) -> None:
    run_step(config, "reward",
             inputs=["data/train.jsonl", "data/dev.jsonl", "data/tasks.json", "chains/kept.jsonl",
                     "sft/adapter", "plan.json"], settings=["seed", "lamp", "prompt", "model", "reward"],
             work=work, outputs=["prmu", "chains/pairs.jsonl", "?chains/rollouts.jsonl"])


def work(config: Config, folder: Path) -> None:
    import torch

    from ..engine import model as engine
    from ..prmu.examine import agreement, examine
    from ..prmu.model import ADAPTER, PRMU
    from ..prmu.train import train
    from ..prmu.users import TextEmbeddings, texts_file
    config = follow(config, read_plan(folder))
    r, questions = config.reward, read_questions(folder, "train")
    rules, cues, sides = known_rules(config), learn(questions), divided(config, questions,
                                                                        read_questions(folder, "dev"))
    kept = {row["id"]: row["text"] for row in reversed(read_jsonl(folder / "chains" / "kept.jsonl"))}
    kept |= good_chains([q for q in sides["held"] if q.id not in kept], config, cues)
    model, tokenizer = engine.load(config.model)
    model = engine.load_adapter(model, folder / "sft" / "adapter", ADAPTER, trainable=True)
    rollouts = own_chains(config, folder, model, tokenizer, sides) if r.rollouts else []
    pairs = chosen(config, {side: make_pairs(qs, kept, rollouts, rules, cues, config.seed, r.strangers)
                            for side, qs in sides.items()})
    write_jsonl(folder / "chains" / "pairs.jsonl",
                (row(side, p) for side, found in pairs.items() for p in found))

    if config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    texts = TextEmbeddings(model, tokenizer, texts_file(folder))
    with progress(0, "embedding profiles", "text") as bar:
        texts.add([p.question for found in pairs.values() for p in found] + (sides["held"] if rules else []),
                  r.history, bar.update)
    torch.manual_seed(config.seed)
    known = tuple(sorted({p.question.user for p in pairs["train"]})) if r.table else ()
    prmu = PRMU(model, tokenizer, r, config.prompt, texts, known)
    prmu.fit([p.question for p in pairs["train"]],
             [t for p in pairs["train"] for t in (p.chosen, p.rejected)])
    trained = train(prmu, pairs["train"], pairs["tune"], config.seed, folder)
    with progress(sum(len(cases(pairs[side])) for side in ("held", "tune")), "held-out users", "case") as bar:
        report = examine(prmu, pairs["held"], pairs["tune"], config.seed, bar.update)
    report |= {"pairs": len(pairs["train"]), "trained": trained,
               "agreement": agreement(prmu, sides["held"], kept, rules, cues, config.seed)}
    prmu.save(folder / "prmu", report)
    say(report)


def known_rules(config: Config) -> Rules:
    """The hidden rules of the built-in benchmark; other data have none."""
    lamp = config.lamp
    return mini.rules_of(config.seed, lamp.mini_users, lamp.tasks, lamp.mini_language, lamp.mini_people) \
        if lamp.source == "mini" else {}


def divided(config: Config, train: list[Question], dev: list[Question]) -> dict[str, list[Question]]:
    """train and tune (to stop and to calibrate on) are training users. held, to report on, are the dev users
    that nothing has been trained on, SFT included; where every dev user is a training user, those of
    `tune`."""
    tune = tune_users(train, config.reward.heldout, config.seed)
    sides = {side: [q for q in train if (q.user in tune) == (side == "tune")] for side in ("train", "tune")}
    seen = {q.user for q in train}
    unseen = [q for q in dev if q.user not in seen and q.task.lamp_name in {t.task.lamp_name for t in train}]
    if not unseen:
        print("  every dev user is a training user: the report is on those that PRMU alone is not trained on")
    return sides | {"held": unseen or sides["tune"]}


def good_chains(questions: list[Question], config: Config, cues: Cues) -> dict[str, str]:
    """{question id: the template's chain, if it has a right one}: for users whom the teacher was not asked
    about."""
    found, _ = chains.generate(questions, Template(cues), config.tag)
    return {row["id"]: discover.tagged(row, row["tags"])["text"] for row in found}


def own_chains(config: Config, folder: Path, model, tokenizer,
               sides: dict[str, list[Question]]) -> list[Written]:
    """The SFT policy's chains, which PRMU's adapter still is, for `reward.rollouts` questions, in turns from
    sides and tasks."""
    from ..prmu.rollouts import roll
    found: list[Written] = []
    for side, qs in sides.items():
        some = take_turns(qs, round(config.reward.rollouts * len(qs) / sum(map(len, sides.values()))),
                          lambda q: q.task.name)
        with progress(len(some), f"rollouts, {side}", "question") as bar:
            found += roll(config, folder / "chains" / "rollouts.jsonl", model, tokenizer, some, bar.update)
    return found


def chosen(config: Config, pairs: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    """As many of a side's pairs as the settings ask for, kinds and tasks in turns."""
    most = {"train": config.reward.pairs, "tune": max(8, config.reward.pairs // 4),
            "held": config.reward.reported}
    pairs = {side: take_turns(found, most[side], lambda p: (p.question.task.name, p.kind)) for side,
             found in pairs.items()}
    if not all(pairs.values()):
        raise UserError(f"too few preference pairs ({', '.join(f'{len(p)} {side}' for side, p in pairs.items())}): use more "
                        "questions and users, or another reward.heldout")
    return pairs


def row(side: str, p: Pair) -> dict:
    return {"side": side, "id": p.question.id, "user": p.question.user, "kind": p.kind,
            "gap": round(p.gap, 4), "source": p.source, "mirrored": p.mirrored, "chosen": p.chosen,
            "rejected": p.rejected}


def say(report: dict) -> None:
    three = lambda of: "own {accuracy:.3f}, another's {shuffled:.3f}, none {generic:.3f}".format(**of)
    print(f"  pairs of held-out users told apart ({report['heldout_pairs']}), by whose embedding: {three(report)}")
    if report["user_only"]["n"]:
        print(f"  where only the user differs ({report['user_only']['n']}): {three(report['user_only'])}")
    c, b = report["calibration"], report["bias"]
    print(f"  calibration error {c['ece']:.3f} (before the temperature {c['ece_before']:.3f}); length: rho {b['length_rho']:.2f}")
    for task, found in report["agreement"].items():
        print(f"  {task}: Kendall's tau with the hidden rule {found['tau']:.2f} +- {found['error']:.2f} ({found['n']} questions)")


if __name__ == "__main__":
    cli(main, __doc__)
