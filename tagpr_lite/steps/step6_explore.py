"""Step 6, explore: GRPO stage 2 from stage 1; the tag and PRMU terms are gone, the task term stays."""
from pathlib import Path

from ..config import Config
from ..runs import cli, run_step
from .step5_guided import SETTINGS, begin


def main(config: Config) -> None:
    run_step(config, "explore", inputs=["data/train.jsonl", "data/tasks.json", "chains/tags.json", "sft/adapter", "guided", "plan.json"],
             settings=SETTINGS, outputs=["explore"], work=work)


def work(config: Config, folder: Path) -> None:
    from ..grpo.loop import Stage, train
    model, tokenizer, questions, tags = begin(config, folder, start="guided")
    stage = Stage("explore", config.grpo.explore_steps, config.grpo.alpha_task, beta=0.0, gamma=0.0,
                  lr=config.grpo.explore_lr)
    train(config, folder, stage, model, tokenizer, questions, tags)


if __name__ == "__main__":
    cli(main, __doc__)
