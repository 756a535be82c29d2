"""python -m tagpr_lite.doctor: what is here, and whether it computes what it should.

    python -m tagpr_lite.doctor                     what is here; on a CUDA card also the self-test, 5 minutes
    python -m tagpr_lite.doctor --only nf4,speed    some parts of it: layouts, nf4, plan, speed
    python -m tagpr_lite.doctor --against trl       our GRPO step and TRL's on this card, a quarter of an hour

Writes doctor.json and doctor.md to results/doctor. A part that is done is not done again; a command that was
stopped goes on. Exit code 0: all is ok; 1: something needs attention; 2: the words are wrong.

Decisions. This file imports the standard library alone, since packages may be missing: it says which.
"""
from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec

from .packages import look_at_packages, look_at_python

FRONT_NEEDS = "yaml"  # the module without which no setting can be read


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.doctor", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", default="results/doctor", metavar="FOLDER",
                        help="where doctor.json and doctor.md are written (results/doctor)")
    parser.add_argument("--only", default="", metavar="PARTS", help="some of layouts, nf4, plan, speed")
    parser.add_argument("--against", default="", choices=("trl",),
                        help="TRL's step beside ours; without --only, nothing else")
    parser.add_argument("--shapes", default="", help="models of plan, speed and --against, the most wanted "
                                                     "first (Qwen3-4B,Qwen3-1.7B,Qwen3-0.6B)")
    parser.add_argument("--prompts", default="", help="tokens of the prompts of --against, the most wanted "
                                                      "first (4096,8192,2048,1024)")
    parser.add_argument("--again", action="store_true", help="parts that are done are done again")
    parser.add_argument("--cpu", action="store_true", help="the parts on the CPU, in a small size")
    parser.add_argument("--minutes", type=float, default=0.0,
                        help="the most minutes of all parts together (5; with --against 15)")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)

    if find_spec(FRONT_NEEDS) is None:
        for check in [look_at_python(), *look_at_packages()]:
            print(check.line)
        print("nothing else can be looked at before the packages are installed")
        raise SystemExit(1)
    from ..runs import guard
    from .run import run
    code = 0

    def work() -> None:
        nonlocal code
        code = run(args)

    guard(work, debug=args.debug)
    raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
