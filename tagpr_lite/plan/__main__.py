"""python -m tagpr_lite.plan --model Qwen3-4B --vram 8 [--on "RTX 4090"] [--layouts] [key=value ...]

Says what a whole run needs and how to compute it within a budget: no GPU, no weights, no network. The first
table has a line for everything that goes through the model, with the GiB that it peaks at and, where a card
is named, about how long it takes. --layouts adds the ways to compute a group of GRPO: each layout with its
fastest variant that fits, or, where none does, its smallest.

Bytes are those of tensors; the reserve is for what no count sees. A run plans with the prompts that it has
read; this command takes all prompts to be as long as the settings allow. How far the formulas are off:
python -m tagpr_lite.bench memory.
"""
from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict

from .. import config as cfg
from ..config import Config, UserError
from ..runs import guard
from .advice import refusal, rows_of
from .choice import Plan, candidates, reserve
from .layers import GIB
from .run_plan import gib, table_lines
from .shapes import shape_of
from .times import stated_rates
from .whole import Load, WholePlan, grpo_job, plan_run

PHASES = ("rollout", "scoring", "update")
OFFICIAL_TASKS = 6  # LaMP_1 to 5 and 7
QUESTIONS = {"train": 10_000, "dev": 1_500}  # of a task without a limit: about what LaMP has


def longest_load(config: Config) -> Load:
    """A load whose prompts are as long as the settings allow, of six tasks."""
    lamp, tokens = config.lamp, config.prompt.max_tokens
    counts = {split: OFFICIAL_TASKS * limits.get("default", QUESTIONS[split])
              for split, limits in (("train", lamp.train_limit), ("dev", lamp.dev_limit))}
    if lamp.val:
        counts["val"] = OFFICIAL_TASKS * lamp.val_limit.get("default", round(lamp.val * QUESTIONS["train"]))
    return Load(prompt=tokens, mean_prompt=tokens, question=tokens, **counts)


def settings_of(args: argparse.Namespace) -> Config:
    """The preset's settings with those of the options."""
    if not 0 <= args.vram < math.inf:
        raise UserError(f"--vram {args.vram}: a number of GiB, or 0 for no bound")
    options = {"prompt.max_tokens": args.prompt, "grpo.group": args.group, "grpo.completion": args.completion,
               "model.lora_r": args.lora_r, "grpo.beta": 0.01 if args.kl else None}
    words = [f"{key}={value}" for key, value in options.items() if value is not None]
    return cfg.load(args.preset, words + args.settings)


def layout_lines(plans: list[Plan]) -> list[str]:
    """A line for every layout of a group of GRPO, in GiB with what is held."""
    rows = [("layout", "micro", "chunk", "prompts", "checkpoints", *PHASES, "peak", "TFLOP", "fits")]
    for plan in plans:
        stays = plan.parts["weights"] + plan.parts["adapters"]
        phases = [gib(stays + plan.parts[phase]) for phase in PHASES]
        rows.append((plan.layout, str(plan.micro), str(plan.logp_chunk), str(plan.rollout_prompts),
                     "yes" if plan.checkpointing else "no", *phases, gib(plan.peak),
                     f"{plan.flops / 1e12:.0f}", "yes" if plan.fits else "no"))
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    lines += ["", "micro: completions in one training forward; chunk: tokens whose logits exist at one time;",
              "prompts: how many are decoded together; TFLOP: of one group, rollout, scores and update"]
    return lines


def show(config: Config, name: str, load: Load, whole: WholePlan, rows: list[dict]) -> None:
    """The run in a few words, the table, and what the budget decided."""
    g = config.grpo
    print(f"{name}, NF4, LoRA rank {config.model.lora_r}: prompts of {load.prompt} tokens, {g.group} "
          f"completions of {g.completion}; {load.train:,} training and {load.dev:,} dev questions")
    if whole.budget:
        left = whole.budget - whole.reserve
        print(f"budget {whole.budget / GIB:g} GiB, reserve {gib(whole.reserve)} (10% and 0.75): "
              f"{gib(left)} to use")
    else:
        print("no budget")
    print()
    for line in table_lines(rows):
        print(line)
    if whole.decided:
        print("\ndecided: " + ", ".join(f"{key}={value}" for key, value in whole.decided.items()))


def main(args: argparse.Namespace) -> None:
    config = settings_of(args)
    shape = shape_of(args.model)
    load, budget = longest_load(config), args.vram * GIB
    rates = stated_rates(args.on) if args.on else None
    whole = plan_run(shape, config, load, budget)
    rows = rows_of(whole.phases, rates)
    layouts = candidates(grpo_job(shape, config, load), budget)
    if args.json:
        told = {"load": asdict(load), "budget": whole.budget, "reserve": reserve(budget), "rows": rows,
                "decided": whole.decided, "fits": whole.fits,
                "layouts": [asdict(plan) | {"fits": plan.fits} for plan in layouts]}
        print(json.dumps(told, indent=1))
    else:
        show(config, shape.name, load, whole, rows)
        if args.layouts:
            print("\na group of GRPO:")
            for line in layout_lines(layouts):
                print(line)
    if not whole.fits:
        raise UserError(refusal(shape, config, load, budget))


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that say what is planned."""
    parser.add_argument("--preset", default="gpu", help="the settings: gpu, paper, or a YAML file")
    parser.add_argument("--model", default="Qwen3-4B", help="a known model, or a folder with config.json")
    parser.add_argument("--vram", type=float, default=0.0, help="budget in GiB; 0: no bound")
    parser.add_argument("--prompt", type=int, help="prompt.max_tokens")
    parser.add_argument("--group", type=int, help="grpo.group")
    parser.add_argument("--completion", type=int, help="grpo.completion")
    parser.add_argument("--lora-r", type=int, help="model.lora_r")
    parser.add_argument("--kl", action="store_true", help="with the KL term to the reference adapter")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the tables")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see python -m tagpr_lite.config")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_settings(parser)
    parser.add_argument("--on", default="", help="a card whose maker's rates give the times, such as 4090")
    parser.add_argument("--layouts", action="store_true", help="every layout of a group of GRPO")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_intermixed_args()
    guard(lambda: main(args), debug=args.debug)
