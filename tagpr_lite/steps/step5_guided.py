"""Step 5, guided: GRPO stage 1 from the SFT adapter, reward = task (gated by format) + tags + PRMU, and a
term of a person's own where they name one."""
from __future__ import annotations

from pathlib import Path

from ..config import LAYOUTS, Config, UserError
from ..grpo.own_term import OwnTerm, file_of
from ..lamp.rows import read_questions
from ..lamp.tasks import Question
from ..plan.run_plan import follow, planned_models, read_plan
from ..runs import cli, read_jsonl, run_step

SCALES = ("sigmoid", "group")  # of grpo.prmu_scale
USERS = ("own", "shuffled")  # of grpo.prmu_users
SETTINGS = ["seed", "prompt", "model", "sft.form", "reward", "grpo"]


def main(config: Config) -> None:
    run_step(config, "guided", settings=SETTINGS, outputs=["guided"], work=work,
             models=planned_models(config), outside=own_files(config),
             inputs=["data/train.jsonl", "?data/val.jsonl", "data/tasks.json", "chains/tags.json",
                     "chains/kept.jsonl", "sft/adapter", "plan.json",
                     *(["prmu"] if asks_prmu(config) else [])])


def asks_prmu(config: Config) -> bool:
    """Whether stage 1 needs a reward model."""
    return config.grpo.alpha_prmu > 0 and config.grpo.guided_steps > 0


def asks_own(config: Config) -> bool:
    """Whether stage 1 has a term of a person's own."""
    return config.grpo.reward != "" and config.grpo.guided_steps > 0


def own_files(config: Config) -> list[Path]:
    """The file of the own term; [] where there is none."""
    return [file_of(config.grpo.reward)] if asks_own(config) else []


def work(config: Config, folder: Path) -> None:
    from ..grpo.groups import Stage
    from ..grpo.loop import train
    own_term = OwnTerm(config.grpo.reward) if asks_own(config) else None
    config = grpo_settings(config, folder)
    g = config.grpo
    model, tokenizer, questions, teaching = load_policy(config, folder, start="sft")
    stage = Stage("guided", g.guided_steps, task_weight=g.alpha_task, tag_weight=g.alpha_tag,
                  step_weight=g.alpha_step if g.alpha_tag else 0.0, gate=g.gate if g.alpha_tag else 0.0,
                  taught_lengths=taught_lengths(config, folder, tokenizer),
                  thinks=config.sft.thinks, own_weight=g.alpha_own if own_term else 0.0, score_own=own_term)
    if asks_prmu(config):
        add_prmu(config, folder, stage, model, tokenizer, questions)
    train(config, folder, stage, model, tokenizer, questions, teaching,
          held_out(config, folder, "guided", teaching))


def add_prmu(config: Config, folder: Path, stage, model, tokenizer, questions: list[Question]) -> None:
    """Gives the stage its PRMU term: the weight, who scores, and the guard."""
    from ..grpo.groups import POLICY
    from ..grpo.guard import Guard
    from ..prmu.model import load_prmu
    from ..prmu.users import TextEmbeddings, texts_file
    g = config.grpo
    texts = TextEmbeddings(model, tokenizer, texts_file(folder))
    model, prmu, report = load_prmu(folder / "prmu", model, tokenizer, config.reward, config.prompt, texts)
    asked_as = other_users(questions, config.seed) if g.prmu_users == "shuffled" else {}

    def score_prmu(question, completions, together):
        """PRMU's rewards [G] of one question's completions."""
        user_question = asked_as.get(question.id, question)
        scores = prmu.rate(question, completions, prmu.user(user_question), together)
        return as_reward(scores, g.prmu_scale, report["calibration"]["temperature"])

    model.set_adapter(POLICY)
    stage.prmu_weight, stage.score_prmu, stage.guard = g.alpha_prmu, score_prmu, Guard(report["accuracy"], g)


def as_reward(scores, scale: str, temperature: float):
    """[G] scores as rewards in [0, 1]: the calibrated sigmoid, or standardised within the group, two
    deviations a side."""
    if scale == "sigmoid":
        return (scores / temperature).sigmoid()
    deviation = scores.std(correction=0).clamp(min=1e-6)
    return ((scores - scores.mean()) / deviation / 4 + 0.5).clamp(0, 1)


def other_users(questions: list[Question], seed: int) -> dict[str, Question]:
    """{question id: a question of another user of the task}, for the ablation with shuffled user
    embeddings."""
    from ..prmu.rollouts import other_user_question
    return {q.id: other_user_question(q, questions, seed) or q for q in questions}


def grpo_settings(config: Config, folder: Path) -> Config:
    """The settings that GRPO really runs with: the plan's in the place of the user's, all of them known
    words."""
    from ..grpo.losses import KINDS
    config = follow(config, read_plan(folder))
    g = config.grpo
    for key, value, known in (("loss", g.loss, KINDS), ("layout", g.layout, LAYOUTS),
                              ("prmu_scale", g.prmu_scale, SCALES), ("prmu_users", g.prmu_users, USERS)):
        if value not in known:
            raise UserError(f"grpo.{key}={value}: known are {', '.join(known)}")
    form = config.sft.form
    if form != "tagged" and g.guided_steps and (g.alpha_tag or g.alpha_prmu):
        raise UserError(f"sft.form={form}: the tag and PRMU terms read tagged chains; set grpo.alpha_tag=0 "
                        "and grpo.alpha_prmu=0, or grpo.guided_steps=0, and the task term alone is used")
    return config


def held_out(config: Config, folder: Path, stage: str, teaching):
    """The checks of a stage, on the questions of the held-out users."""
    from ..grpo.held_out import HeldOut
    there = (folder / "data" / "val.jsonl").exists()
    questions = read_questions(folder, "val") if there else []
    return HeldOut(config, folder, stage, questions, teaching)


def taught_lengths(config: Config, folder: Path, tokenizer) -> list[int]:
    """Tokens of every completion that SFT was trained on."""
    from ..lamp.chat import completion_ids
    from ..tags.schema import in_form
    return [len(completion_ids(tokenizer, in_form(row["text"], config.sft.form)))
            for row in read_jsonl(folder / "chains" / "kept.jsonl")]


def load_policy(config: Config, folder: Path, start: str):
    """(model with the stage `start` twice, as `policy` and as the frozen `ref`, tokenizer, questions, the
    teacher's chains in figures)."""
    from ..engine.model import load, load_adapter
    from ..grpo.groups import POLICY, REFERENCE
    from ..tags.teaching import read_teaching
    base, tokenizer = load(config.model)
    model = load_adapter(base, folder / start / "adapter", POLICY, trainable=True)
    model = load_adapter(model, folder / start / "adapter", REFERENCE)
    if config.grpo.checkpointing and config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    model.set_adapter(POLICY)
    questions = read_questions(folder, "train")
    return model, tokenizer, questions, read_teaching(folder, questions)


if __name__ == "__main__":
    cli(main, __doc__)
