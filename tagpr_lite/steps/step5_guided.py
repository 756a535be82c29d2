"""Step 5, guided: GRPO stage 1 from the SFT adapter, reward = task (gated by format) + tags + PRMU."""
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..runs import cli, read_json, read_jsonl, run_step

SETTINGS = ["seed", "prompt", "model", "reward", "grpo"]
GUARD = 0.55  # PRMU's term is dropped when its accuracy on held-out users is below: a coin gives 0.5


def main(config: Config) -> None:
    run_step(config, "guided", inputs=["data/train.jsonl", "data/tasks.json", "chains/tags.json", "sft/adapter", "prmu", "plan.json"],
             settings=SETTINGS, outputs=["guided"], work=work)


def work(config: Config, folder: Path) -> None:
    from ..prmu.model import load_prmu
    from ..prmu.users import ItemEmbeddings, history, items_file
    model, tokenizer, questions, tags = begin(config, folder, start="sft")
    items = ItemEmbeddings(model, tokenizer, items_file(folder))
    model, prmu, report = load_prmu(folder / "prmu", model, tokenizer, config.reward, config.prompt, items)
    gamma = config.grpo.alpha_prmu
    if report["accuracy"] < GUARD:
        print(f"  PRMU's held-out accuracy is {report['accuracy']:.3f}, below {GUARD}: its term is dropped")
        gamma = 0.0

    def rate(question, completions):
        items.add(history(question, config.reward.history))
        return prmu.rate(question, completions, micro=config.grpo.micro).sigmoid()

    from ..grpo.loop import POLICY, Stage, train
    model.set_adapter(POLICY)
    stage = Stage("guided", config.grpo.guided_steps, config.grpo.alpha_task, config.grpo.alpha_tag, gamma,
                  rate if gamma else None, from_ref=True)
    train(config, folder, stage, model, tokenizer, questions, tags)


def begin(config: Config, folder: Path, start: str):
    """(model with `policy` from the stage `start` and the frozen `ref`, tokenizer, questions, primary tags)."""
    from ..engine.model import load, load_adapter
    from ..engine.prefix import LAYOUTS
    from ..grpo.loop import POLICY, REF
    from ..grpo.losses import KINDS
    for key, value, known in (("loss", config.grpo.loss, KINDS), ("layout", config.grpo.layout, LAYOUTS)):
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
