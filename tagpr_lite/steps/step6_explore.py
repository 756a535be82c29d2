"""Step 6, explore: GRPO stage 2 from stage 1; the tag and PRMU terms are gone, the task term stays."""
from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..plan.run_plan import planned_models
from ..runs import cli, run_step
from .step5_guided import SETTINGS, grpo_settings, held_out, load_policy, taught_lengths


def main(config: Config) -> None:
    run_step(config, "explore", settings=SETTINGS, outputs=["explore"], work=work,
             models=planned_models(config),
             inputs=["data/train.jsonl", "?data/val.jsonl", "data/tasks.json", "chains/tags.json",
                     "chains/kept.jsonl", "guided/adapter", "plan.json"])


def work(config: Config, folder: Path) -> None:
    from ..grpo.groups import Stage
    from ..grpo.loop import train
    config = grpo_settings(config, folder)
    model, tokenizer, questions, teaching = load_policy(config, folder, start="guided")
    stage = Stage("explore", config.grpo.explore_steps, task_weight=config.grpo.alpha_task,
                  lr=config.grpo.explore_lr,
                  taught_lengths=taught_lengths(config, folder, tokenizer),
                  thinks=config.sft.thinks)
    train(config, folder, stage, model, tokenizer, questions, teaching,
          held_out(config, folder, "explore", teaching))


if __name__ == "__main__":
    cli(main, __doc__)
