"""Step 5, guided: GRPO stage 1 from the SFT adapter, reward = task (gated by format) + tags + PRMU."""
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..runs import cli, read_json, run_step

SCALES, WHOSE = ("sigmoid", "group"), ("own", "shuffled")
SETTINGS = ["seed", "prompt", "model", "reward", "grpo"]


def main(config: Config) -> None:
    run_step(config, "guided", inputs=["data/train.jsonl", "data/tasks.json", "chains/tags.json", "sft/adapter", "prmu", "plan.json"],
             settings=SETTINGS, outputs=["guided"], work=work)


def work(config: Config, folder: Path) -> None:
    from ..grpo.guard import Guard
    from ..prmu.model import load_prmu
    from ..prmu.users import TextEmbeddings, texts_file
    model, tokenizer, questions, tags = begin(config, folder, start="sft")
    texts = TextEmbeddings(model, tokenizer, texts_file(folder))
    model, prmu, report = load_prmu(folder / "prmu", model, tokenizer, config.reward, config.prompt, texts)
    whose = strangers(questions, config.seed) if config.grpo.prmu_users == "shuffled" else {}

    def rate(question, completions):
        by = whose.get(question.id, question)
        texts.add([by], config.reward.history, keep=False)
        scores = prmu.rate(question, completions, prmu.user(by), micro=config.grpo.micro)
        return as_reward(scores, config.grpo.prmu_scale, report["calibration"]["temperature"])

    from ..grpo.loop import POLICY, Stage, train
    gamma = config.grpo.alpha_prmu
    guard = Guard(report["accuracy"], config.grpo) if gamma else None
    model.set_adapter(POLICY)
    stage = Stage("guided", config.grpo.guided_steps, config.grpo.alpha_task, config.grpo.alpha_tag, gamma,
                  rate if gamma else None, guard, from_ref=True)
    train(config, folder, stage, model, tokenizer, questions, tags)


def as_reward(scores, scale: str, temperature: float):
    """[G] scores as rewards in [0, 1]: the calibrated sigmoid, or standardised within the group, two deviations a side."""
    if scale == "sigmoid":
        return (scores / temperature).sigmoid()
    return ((scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-6) / 4 + 0.5).clamp(0, 1)


def strangers(questions, seed: int) -> dict:
    """{question id: a question of another user of the task}, for the ablation with shuffled user embeddings."""
    from ..prmu.rollouts import stranger
    return {q.id: stranger(q, questions, seed) or q for q in questions}


def begin(config: Config, folder: Path, start: str):
    """(model with `policy` from the stage `start` and the frozen `ref`, tokenizer, questions, primary tags)."""
    from ..engine.model import load, load_adapter
    from ..engine.prefix import LAYOUTS
    from ..grpo.loop import POLICY, REF
    from ..grpo.losses import KINDS
    for key, value, known in (("loss", config.grpo.loss, KINDS), ("layout", config.grpo.layout, LAYOUTS),
                              ("prmu_scale", config.grpo.prmu_scale, SCALES), ("prmu_users", config.grpo.prmu_users, WHOSE)):
        if value not in known:
            raise UserError(f"grpo.{key}={value}: known are {', '.join(known)}")
    if config.sft.form != "tagged":
        raise UserError(f"sft.form={config.sft.form} is for comparisons of SFT: the reward of GRPO reads tagged chains")
    plan = read_json(folder / "plan.json")
    for key, value in plan.get("grpo", {}).items():  # a plan for a memory budget goes before the config
        setattr(config.grpo, key, value)
    base, tokenizer = load(config.model)
    model = load_adapter(base, folder / start / "adapter", POLICY, trainable=True)
    model = load_adapter(model, folder / "sft" / "adapter", REF)
    if plan["activation checkpointing"]:
        model.get_base_model().activation_checkpointing_enable()
    model.set_adapter(POLICY)
    questions = read_questions(folder, "train")
    return model, tokenizer, questions, tuple(read_json(folder / "chains" / "tags.json")["primary"])


if __name__ == "__main__":
    cli(main, __doc__)
