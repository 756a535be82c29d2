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
    print_table(args) if args.describe else print_examples(args)


def print_examples(args: argparse.Namespace) -> None:
    for splits in build(args.seed, args.users, language=args.language).values():
        q = splits["dev"][0]
        print(f"{q.task.name} ({q.task.title})")
        for i in q.profile:
            print(f"  {i.date}  {i.text}" + (f"  ->  {i.label}" if i.label else ""))
        print(f"  {q.date}  {q.input}  ->  {q.gold}\n")


def print_table(args: argparse.Namespace) -> None:
    print(f"{'task':16s}{'metric':10s}{'dev':>5s}" + "".join(f"{c:>12s}" for c in (*COLUMNS, "headroom")))
    for task, row in describe(args.seed, args.users, args.language).items():
        figures = (f"{'-' if row[c] is None else format(row[c], '.3f'):>12s}" for c in (*COLUMNS, "headroom"))
        print(f"{task:16s}{row['metric']:10s}{row['questions']:5d}" + "".join(figures))
    print("oracle: knows the rule. profile: knows the rules that agree with the profile. no_profile: best answer "
          "without it.\ntrivial: constant answer, first words or the text itself. copy: a random profile item's label."
          "\nheadroom: oracle against no_profile. Lower is better for mae. These are never LaMP scores.")


if __name__ == "__main__":
    guard(main)
