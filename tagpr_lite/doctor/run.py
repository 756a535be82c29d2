"""What is here, then the parts; doctor.json and doctor.md; what needs attention."""
from __future__ import annotations

import argparse
import math
import shutil
from dataclasses import asdict
from pathlib import Path

from ..config import UserError
from ..runs import write_text
from . import here, record, summary, watch
from .machine import made_folder
from .parts import MINUTES, ON_A_CARD, ON_A_CPU, chosen_families, parts_of, sizes_of

NEEDED = ("torch", "transformers", "bitsandbytes", "peft", "trl", "datasets")  # by the parts


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, or 1 where something needs attention."""
    families, sizes = chosen(args)
    folder = Path(args.to)
    found = record.read(folder)
    record.mark_cut(found)

    # 1. What is here.
    checks, card = here.look()
    for check in checks:
        print(check.line, flush=True)
    found |= {"here": [asdict(check) for check in checks], "card": card}
    write(folder, found)

    # 2. The parts.
    device = "cpu" if args.cpu else card
    parts = parts_of(families, args.against, sizes)
    begun = []
    not_begun = []
    missing = [name for name in NEEDED if not here.is_installed(name)]
    if missing:
        print(f"the self-test is left out: {', '.join(missing)} missing")
    elif device is None:
        print(f"no card: the parts ({', '.join(dict.fromkeys(part.family for part in parts))}) run on a CUDA "
              "card, or with --cpu on the CPU, in a small size")
    else:
        pending = watch.pending(found, parts, device, args.again)
        done = len(parts) - len(pending)
        if done:
            print(f"{done} of {len(parts)} parts are done already (--again makes them anew)")
        minutes = args.minutes or MINUTES[bool(args.against)]
        try:
            not_begun = watch.run_parts(folder, pending, device, 60 * minutes)
        finally:
            shutil.rmtree(made_folder(), ignore_errors=True)
            found = record.read(folder)
            record.mark_cut(found)
            write(folder, found)
        begun = [part.name for part in parts if part not in not_begun]

    # 3. What needs attention.
    wanted = summary.attention_of(record.read(folder), begun)
    if not_begun:
        wanted.append(f"{len(not_begun)} parts were not begun, the time is over: the same command goes on "
                      f"with {not_begun[0].name}")
    for text in wanted:
        print(f"attention: {text}")
    print(f"written: {folder / 'doctor.md'}, {folder / record.FILE}")
    return 1 if wanted else 0


def chosen(args: argparse.Namespace):
    """(families, sizes) of the words; UserError where they are none."""
    if not 0 <= args.minutes < math.inf:
        raise UserError(f"--minutes {args.minutes}: a number of minutes, or 0 for the usual ones")
    families = chosen_families(args.only, args.against)
    return families, sizes_of(args.shapes, args.prompts, ON_A_CPU if args.cpu else ON_A_CARD)


def write(folder: Path, found: dict) -> None:
    record.write(folder, found)
    write_text(folder / "doctor.md", summary.markdown(record.read(folder)))
