"""Download the official LaMP files, or convert files that are here already.

    python -m tagpr_lite.lamp.official --task 3 --split time [--to data/lamp] [--base URL] [--keep]
    python -m tagpr_lite.lamp.official --task 6 --avocado DIR [--questions DIR]
    python -m tagpr_lite.lamp.official --convert FOLDER

The first writes <to>/<split>/LaMP_3/ with train.db, dev.db and test.db (its questions: the official golds of
test are withheld) and removes the raw files unless --keep is given. What is done is skipped, so a stopped
command goes on.
"""
from __future__ import annotations

import argparse
from pathlib import Path

from ...config import UserError
from ...runs import guard
from ..tasks import OFFICIAL, find_task
from . import avocado, fetch


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", default=[], help="1 to 7, several, or all (1 to 5 and 7)")
    parser.add_argument("--split", choices=["time", "user"], default="time",
                        help="the time-based or user-based files")
    parser.add_argument("--to", type=Path, default=Path("data/lamp"), help="where <split>/<task>/ is written")
    parser.add_argument("--base", default=fetch.BASE, help="a mirror of the official address")
    parser.add_argument("--keep", action="store_true", help="keep the raw JSON files beside the stores")
    parser.add_argument("--avocado", type=Path, metavar="DIR", help="task 6: your avocado-1.0.2/data/text")
    parser.add_argument("--questions", type=Path, metavar="DIR",
                        help="task 6: its id files, if you have them already")
    parser.add_argument("--convert", type=Path, metavar="FOLDER", help="make stores of a folder's JSON files")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)
    guard(lambda: run(args), debug=args.debug)


def run(args: argparse.Namespace) -> None:
    """Does what the command line asks for; an error when it asks for nothing, or for task 6 without the
    e-mails."""
    if not args.task and not args.convert:
        raise UserError("nothing to do; say --task 3, or --convert FOLDER")
    if args.convert:
        fetch.convert_folder(args.convert)
    if args.task == ["all"]:
        chosen = [task for task in OFFICIAL if task != "LaMP_6"]
    else:
        chosen = [_official(word) for word in args.task]
    if "LaMP_6" in chosen and not args.avocado:
        raise UserError("LaMP_6 is made of the Avocado e-mails, which the Linguistic Data Consortium "
                        "licenses (LDC2015T03); with them, say --avocado .../avocado-1.0.2/data/text")
    for task in chosen:
        print(f"{task}, {args.split}-based split", flush=True)
        if task == "LaMP_6":
            avocado.get_task(args.split, args.to, args.base, args.avocado, args.questions, args.keep)
        else:
            fetch.get_task(task, args.split, args.to, args.base, args.keep)
    if chosen:
        print(f"use them with lamp.source={args.to / args.split}")


def _official(word: str) -> str:
    """The name of an official task: LaMP_3 for `3`, `LaMP_3` or `LaMP-3`."""
    task = find_task(f"LaMP_{word}" if word.isdecimal() else word).name
    if task not in OFFICIAL:
        raise UserError(f"{task} is no official task; say 1 to 7")
    return task


if __name__ == "__main__":
    main()
