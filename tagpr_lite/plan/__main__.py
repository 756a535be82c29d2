"""python -m tagpr_lite.plan --model Qwen3-8B --vram 12 --prompt 4096 --group 8 --completion 512

Says what a GRPO step of this size needs and how to compute it within a budget: no GPU, no weights, no
network. Each layout is shown with its fastest variant that fits, or, where none does, its smallest. Bytes are
those of tensors; the reserve is for what no count sees. FLOPs are of one group: rollout, rewards and update.

    --verify   counts the chosen plan too: the real code on torch's meta device (about half a minute)
    --card     runs it on this machine's CUDA card as well, bound to the budget, with zeros for weights: no
               download
    --grid     counts every layout over a grid of sizes, in shallow models, and says how far the formulas are
               off (about half an hour)
"""
from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, replace
from itertools import product

from ..config import LAYOUTS, Model, UserError
from ..runs import guard
from .choice import Plan, candidates, make, refusal, reserve
from .formulas import Job
from .layers import GIB
from .shapes import SHAPES, shape_of

PHASES = ("rollout", "scoring", "update")
ADAPTERS = ("policy", "ref", "prmu")


def gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def show(job: Job, plans: list[Plan], budget: float) -> None:
    """The job, what stays in memory, and a line for every layout."""
    stays = plans[0].parts
    print(f"{job.shape.name}, NF4, LoRA rank {job.settings.lora_r}: a prompt of {job.prompt} "
          f"tokens, {job.group} completions of {job.completion}")
    if budget:
        print(f"budget {budget / GIB:g} GiB, reserve {gib(reserve(budget))} (10% and 0.75)")
    else:
        print("no budget")
    print(f"held throughout: weights {gib(stays['weights'])}, adapters and "
          f"optimiser {gib(stays['adapters'])}\n")
    rows = [("layout", "micro", "chunk", "prompts", "checkpoints", *PHASES, "peak", "TFLOP", "fits")]
    rows += [plan_cells(plan) for plan in plans]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *right]))
    print("\nmicro: completions in one training forward; chunk: tokens whose logits exist at one time; "
          "prompts: how many are\ndecoded together; rollout, scoring, update and peak: GiB with what is held")


def plan_cells(plan: Plan) -> tuple[str, ...]:
    """The plan as a row of the table."""
    stays = plan.parts["weights"] + plan.parts["adapters"]
    phases = [gib(stays + plan.parts[phase]) for phase in PHASES]
    return (plan.layout, str(plan.micro), str(plan.logp_chunk), str(plan.rollout_prompts),
            "yes" if plan.checkpointing else "no", *phases, gib(plan.peak), f"{plan.flops / 1e12:.0f}",
            "yes" if plan.fits else "no")


def verify(job: Job, plan: Plan, card=None) -> dict[str, dict[str, int]]:
    """{what: {"formula": bytes, "counted": bytes}} of what is held, and of each phase beside it; "counted" on
    a `card` is what its allocator gave."""
    from . import count
    from .meta import materialise, meta_model
    model = meta_model(job.shape, replace(job.settings, checkpointing=plan.checkpointing), ADAPTERS)
    if card:
        model = materialise(model, card)
    sizes = (job.prompt, job.group, job.completion)
    counts = {"rollout": count.count_rollout(model, plan.rollout_prompts, *sizes),
              "scoring": count.count_scoring(model, job.prompt, job.completion, plan.micro),
              "update": count.count_update(model, plan.layout, *sizes, plan.micro, plan.logp_chunk,
                                           "ref" if job.reference else None)}
    stays = plan.parts["weights"] + plan.parts["adapters"]
    checked = {"held": {"formula": stays, "counted": counts["update"].static}}
    for phase, counted in counts.items():
        checked[phase] = {"formula": plan.parts[phase], "counted": counted.peak - counted.static}
    return checked


def grid(layers: int) -> tuple[float, float]:
    """(least, largest) ratio of formula to count over all sizes, of the bytes beside what is held.

    Both are linear in the layers, and what is held agrees to the byte (tests/plan/test_formulas.py): a
    shallow model hides nothing.
    """
    from . import count
    from .meta import meta_model
    ratios = []
    for name, layout in product(("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b"), LAYOUTS):
        shape = replace(SHAPES[name], layers=layers)
        model = meta_model(shape, Model(), ADAPTERS)
        of_layout = []
        for prompt, group, completion in product((1024, 2048, 4096), (4, 8, 16), (256, 512, 1024)):
            for micro in (2, group):
                plan = make(Job(shape, Model(), prompt, group, completion), 0, layout, micro, 128)
                counted = count.count_update(model, layout, prompt, group, completion, micro, 128)
                of_layout.append(plan.parts["update"] / (counted.peak - counted.static))
        print(f"{shape.name:12s} {layout:10s} {len(of_layout)} sizes: {min(of_layout):.3f} to "
              f"{max(of_layout):.3f}", flush=True)
        ratios += of_layout
    return min(ratios), max(ratios)


def the_card(gib: float):
    """The CUDA card, bound to the budget as a run with --vram is."""
    from ..engine.model import bind, placement
    device, _ = placement()
    if device.type != "cuda":
        raise UserError("--card runs the plan on a CUDA card, and there is none; --verify counts it without "
                        "one")
    bind(device, gib)
    return device


def main(args: argparse.Namespace) -> None:
    if args.grid:
        least, most = grid(args.layers)
        print(f"formula / count over the grid: {least:.3f} to {most:.3f}")
        if not 1 <= least <= most <= 1.1:
            raise UserError("a formula is under the count, or more than 10% over it")
        return
    if not 0 <= args.vram < math.inf:
        raise UserError(f"--vram {args.vram}: a number of GiB, or 0 for no bound")
    for name in ("prompt", "group", "completion", "prompts", "lora_r"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: a number above 0 is needed")
    card = the_card(args.vram) if args.card else None
    job = Job(shape_of(args.model), Model(lora_r=args.lora_r), args.prompt, args.group, args.completion,
              args.prompts, args.kl)
    budget = args.vram * GIB
    plans = candidates(job, budget)
    chosen = plans[0]
    if not args.json:
        show(job, plans, budget)
    if not chosen.fits:
        raise UserError(refusal(job, budget))
    checked = verify(job, chosen) if args.verify or card else {}
    if card:
        for name, row in verify(job, chosen, card).items():
            checked[name]["measured"] = row["counted"]
    if args.json:
        told = {"job": asdict(job), "plan": asdict(chosen),
                "candidates": [asdict(p) | {"fits": p.fits} for p in plans]}
        print(json.dumps(told | ({"verified": checked} if checked else {}), indent=1))
        return
    print(f"\nchosen: {chosen.layout}, {chosen.micro} completions a micro-batch, logits "
          f"of {chosen.logp_chunk} tokens, {chosen.rollout_prompts} prompts decoded together, "
          f"checkpointing {'on' if chosen.checkpointing else 'off'}")
    for name, row in checked.items():
        print(f"  {name:8s} formula {row['formula'] / GIB:7.3f} GiB, counted {row['counted'] / GIB:7.3f}, "
              f"ratio {row['formula'] / row['counted']:.3f}"
              + (f", measured {row['measured'] / GIB:7.3f}" if "measured" in row else ""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.plan", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen3-4B", help="a known model, or a folder with config.json")
    parser.add_argument("--vram", type=float, default=0.0, help="budget in GiB; 0: no bound")
    parser.add_argument("--prompt", type=int, default=2048, help="tokens of the longest prompt")
    parser.add_argument("--group", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--completion", type=int, default=512, help="most tokens of a completion")
    parser.add_argument("--prompts", type=int, default=4, help="most prompts decoded together")
    parser.add_argument("--lora-r", type=int, default=16, help="LoRA rank")
    parser.add_argument("--kl", action="store_true", help="with the KL term to the reference adapter")
    parser.add_argument("--verify", action="store_true", help="count the chosen plan as well")
    parser.add_argument("--card", action="store_true",
                        help="run the chosen plan on this machine's CUDA card as well")
    parser.add_argument("--grid", action="store_true", help="check the formulas over a grid of sizes")
    parser.add_argument("--layers", type=int, default=2, help="layers of the models of --grid")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args()
    guard(lambda: main(args), debug=args.debug)
