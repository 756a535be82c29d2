"""python -m tagpr_lite.lamp.mini [--describe] [--seed 0] [--users 60] [--language zh]

Prints one example of every task of the built-in benchmark, or what can be reached on each.
"""
from __future__ import annotations

import argparse

from ...runs import guard
from . import build, describe
from .reach import COLUMNS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--describe", action="store_true", help="print the table of reachable scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=60,
                        help="training users of a task; half as many dev users")
    parser.add_argument("--language", default="en", help="en, or zh (our extension)")
    args = parser.parse_args()
    if args.describe:
        print_table(args)
    else:
        print_examples(args)


def print_examples(args: argparse.Namespace) -> None:
    for splits in build(args.seed, args.users, language=args.language).values():
        question = splits["dev"][0]
        print(f"{question.task.name} ({question.task.title})")
        for item in question.profile:
            label = f"  ->  {item.label}" if item.label else ""
            print(f"  {item.date}  {item.text}{label}")
        print(f"  {question.date}  {question.input}  ->  {question.gold}\n")


def print_table(args: argparse.Namespace) -> None:
    columns = (*COLUMNS, "headroom")
    heads = "".join(f"{column:>12s}" for column in columns)
    print(f"{'task':16s}{'metric':10s}{'dev':>5s}{heads}")
    for task, row in describe(args.seed, args.users, args.language).items():
        figures = ["-" if row[column] is None else format(row[column], ".3f") for column in columns]
        aligned = "".join(f"{figure:>12s}" for figure in figures)
        print(f"{task:16s}{row['metric']:10s}{row['questions']:5d}{aligned}")
    print("oracle: knows the rule. profile: knows the rules that agree with the profile. no_profile: best "
          "answer without it.\n"
          "trivial: constant answer, first words or the text itself. copy: a random profile item's label.\n"
          "headroom: oracle against no_profile. Lower is better for mae. These are never LaMP scores.")


if __name__ == "__main__":
    guard(main)
