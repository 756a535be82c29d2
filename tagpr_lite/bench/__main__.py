"""Benchmarks; each prints a table, or with --json one JSON object.

    python -m tagpr_lite.bench convert [--mb 400]                  the streaming converter against json.load
    python -m tagpr_lite.bench grpo --model smollm2 --against trl  a GRPO step against TRL's GRPOTrainer
    python -m tagpr_lite.bench grpo --model smollm2 --curve        our step as the group and the prompt grow
    python -m tagpr_lite.bench sample --model smollm2              a rollout whose rows end at different times
    python -m tagpr_lite.bench prmu --model smollm2                what the reward model costs
    python -m tagpr_lite.bench intervals                           differences' intervals on known effects
    python -m tagpr_lite.bench memory --model Qwen3-4B --vram 8    the plan of a run against what is counted
    python -m tagpr_lite.bench kills --count 50                    a run that is killed again and again
    python -m tagpr_lite.bench soak --steps 2000                   memory and open files over many steps
    python -m tagpr_lite.bench inputs --count 10000                files and words with something changed

Decisions. This file is the front and imports no model code, since `convert` measures the memory of bare
processes.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..config import GRPO, Config, Model, Prompt, UserError, short
from ..plan.__main__ import add_settings
from ..runs import guard, keep_memory
from .convert import WORK, bench_convert, measure


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="bench")
    command = commands.add_parser("convert", help="the streaming converter against json.load")
    command.add_argument("--mb", type=float, default=400, help="size of the questions file")
    command.set_defaults(run=lambda args: print(json.dumps(bench_convert(args.mb), indent=1)))
    command = commands.add_parser("alone")
    command.add_argument("work", choices=WORK)
    command.add_argument("folder")
    command.set_defaults(run=lambda args: measure(args.work, args.folder))
    add_grpo(commands.add_parser("grpo", help="rollout and update of one prompt, against TRL",
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    add_sample(commands.add_parser("sample", help="rollouts, with rows that end at different times",
                                   formatter_class=argparse.ArgumentDefaultsHelpFormatter))
    command = commands.add_parser("prmu",
                                  help="a group scored against one completion, bytes, a user's new item",
                                  formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for flag, default, about in (("--prompt", 1024, "tokens of the prompt, user tokens included (P)"),
                                 ("--group", 8, "completions (G)"),
                                 ("--completion", 64, "tokens of every completion (R)"),
                                 ("--repeat", 5, "timed turns"),
                                 ("--bits", 4, "4: NF4; 32: the base as it is"),
                                 ("--threads", os.cpu_count(), "CPU threads")):
        command.add_argument(flag, type=int, default=default, help=about)
    command.add_argument("--model", default="smollm2", help="smollm2, tiny, a folder, or a hub id")
    command.add_argument("--unpack", action="store_true", help="NF4 layers keep a dense copy of their values")
    command.set_defaults(run=prmu)
    command = commands.add_parser("intervals", help="coverage of the intervals of differences, simulated")
    command.add_argument("--data-sets", type=int, default=1000, help="simulated data sets a scenario")
    command.add_argument("--seed", type=int, default=0, help="of the simulation")
    command.set_defaults(run=intervals)
    command = commands.add_parser("kills", help="a run that is killed again and again against one left alone")
    command.add_argument("--count", type=at_least(1), default=50, help="kills at least")
    command.add_argument("--seed", type=int, default=0, help="of their moments")
    command.set_defaults(run=kills)
    command = commands.add_parser("soak", help="memory and open files over many steps of GRPO")
    command.add_argument("--steps", type=at_least(10), default=2000)
    command.set_defaults(run=soak)
    command = commands.add_parser("inputs", help="files and words with something changed, for every reader")
    command.add_argument("--count", type=at_least(1), default=1000, help="cases of all readers together")
    command.add_argument("--seed", type=int, default=0, help="of the changes")
    command.add_argument("--of", type=Path, metavar="FOLDER", help="a finished run; without, one is made")
    command.set_defaults(run=inputs)
    add_memory(commands.add_parser("memory", help="the plan of a whole run against the counter and a card"))
    args = parser.parse_args(words)
    guard(lambda: args.run(args))


def at_least(least: int) -> Callable[[str], int]:
    """The type of a word that is a whole number, and not less than `least`."""
    def whole(word: str) -> int:
        number = int(word)
        if number < least:
            raise argparse.ArgumentTypeError(f"{short(number)} is less than {least}")
        return number

    whole.__name__ = "whole number"  # argparse says: invalid whole number value
    return whole


def add_grpo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="smollm2", help="smollm2, tiny, a folder, or a hub id")
    command.add_argument("--bits", type=int, default=32, help="32: the base as it is; 4: NF4")
    command.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt (P)")
    command.add_argument("--group", type=int, default=8, help="completions of a prompt (G)")
    command.add_argument("--completion", type=int, default=64, help="tokens of every completion (R)")
    command.add_argument("--micro", type=int, default=8, help="completions in one training forward of ours")
    command.add_argument("--layout", default="two_phase",
                         help="two_phase, kept, recompute, packed or classic")
    command.add_argument("--once", action="store_true",
                         help="our prompt forwarded once for rollout and update together")
    command.add_argument("--checkpointing", action="store_true",
                         help="activation checkpointing in our update too")
    command.add_argument("--unpack", action="store_true",
                         help="our NF4 layers keep a dense copy of their values")
    command.add_argument("--against", default="none", choices=("none", "trl", "trl-completions"),
                         help="trl: as installed; trl-completions: TRL made to score completion tokens "
                              "alone, as it "
                         "does on a CUDA card and not on a CPU")
    command.add_argument("--repeat", type=int, default=1,
                         help="steps of TRL that are timed, and of ours, plus one")
    command.add_argument("--curve", action="store_true",
                         help="our step at G/4..2G and P/4..2P, in micro-batches of at most G/4")
    command.add_argument("--plain-malloc", action="store_true",
                         help="both sides with the system's own memory settings, not those of run_all.sh")
    command.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    command.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    command.set_defaults(run=grpo)


def add_sample(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default="smollm2", help="smollm2, tiny, a folder, or a hub id")
    for flag, default, about in (("--bits", 32, "32: the base as it is; 4: NF4"),
                                 ("--prompt", 384, "tokens of the longest prompt (P)"),
                                 ("--groups", 4, "prompts decoded together (B)"),
                                 ("--group", 8, "completions of a prompt (G)"),
                                 ("--completion", 112, "most tokens of a completion (R)"),
                                 ("--mean", 80, "tokens of a completion in the mean, where rows end"),
                                 ("--repeat", 3, "timed turns"),
                                 ("--threads", os.cpu_count(), "CPU threads")):
        command.add_argument(flag, type=int, default=default, help=about)
    command.add_argument("--against", default="none", choices=("none", "generate"),
                         help="generate: transformers' own sampling of the same groups")
    command.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    command.set_defaults(run=sample)


def sample(args: argparse.Namespace) -> None:
    from . import sample as bench_sample
    model = Model(name=args.model, bits=args.bits, threads=args.threads)
    settings = GRPO(group=args.group, completion=args.completion)
    config = Config(model=model, prompt=Prompt(max_tokens=args.prompt), grpo=settings)
    measured = bench_sample.bench_sample(config, args.groups, args.mean, args.against, args.repeat)
    print(json.dumps(measured, indent=1) if args.json else bench_sample.table(measured))


def add_memory(command: argparse.ArgumentParser) -> None:
    add_settings(command)
    command.add_argument("--card", action="store_true",
                         help="on this machine's CUDA card as well, zeros for weights: no download")
    command.add_argument("--grid", action="store_true",
                         help="every phase over a grid of sizes in shallow models")
    command.add_argument("--layers", type=int, default=2, help="layers of the models of --grid")
    command.set_defaults(run=memory)


def memory(args: argparse.Namespace) -> None:
    from . import memory as bench_memory
    if args.grid:
        found = bench_memory.grid(args.layers, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
        print(json.dumps(found, indent=1) if args.json else "\n".join(bench_memory.grid_lines(found)))
        return
    rows = bench_memory.bench_memory(args)
    print(json.dumps(rows, indent=1) if args.json else "\n".join(bench_memory.verified_lines(rows)))


def kills(args: argparse.Namespace) -> None:
    from .kills import bench_kills
    print(json.dumps(bench_kills(args.count, args.seed), indent=1))


def inputs(args: argparse.Namespace) -> None:
    from .inputs import bench_inputs
    print(json.dumps(bench_inputs(args.count, args.seed, args.of and args.of.resolve()), indent=1))


def soak(args: argparse.Namespace) -> None:
    from .soak import bench_soak
    print(json.dumps(bench_soak(args.steps), indent=1))


def intervals(args: argparse.Namespace) -> None:
    from .intervals import bench_intervals
    if not args.data_sets >= 1:
        raise UserError(f"--data-sets {args.data_sets} is less than 1")
    print(json.dumps(bench_intervals(args.data_sets, args.seed), indent=1))


def prmu(args: argparse.Namespace) -> None:
    from .prmu import bench_prmu
    model = Model(name=args.model, bits=args.bits, unpack=args.unpack, threads=args.threads)
    grpo = GRPO(group=args.group, micro=args.group, completion=args.completion)
    config = Config(model=model, prompt=Prompt(max_tokens=args.prompt), grpo=grpo)
    print(json.dumps(bench_prmu(config, args.repeat), indent=1))


def grpo(args: argparse.Namespace) -> None:
    from . import grpo as bench_grpo
    model = Model(name=args.model, bits=args.bits, checkpointing=args.checkpointing, unpack=args.unpack,
                  threads=args.threads)
    settings = GRPO(group=args.group, completion=args.completion, micro=args.micro, layout=args.layout,
                    once=args.once)
    config = Config(model=model, prompt=Prompt(max_tokens=args.prompt), grpo=settings)
    if args.curve:
        measured = bench_grpo.curve(config, args.repeat)
    else:
        measured = bench_grpo.compare(config, args.against, args.repeat)
    print(json.dumps(measured, indent=1) if args.json else bench_grpo.table(measured))


if __name__ == "__main__":
    # `convert` measures processes as they are
    if sys.argv[1:2] in (["grpo"], ["sample"]) and "--plain-malloc" not in sys.argv:
        keep_memory()
    main()
