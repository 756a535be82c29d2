"""Files of a run that you have changed on purpose: takes them as they are.

    python -m tagpr_lite.runs results/cpu

A step refuses to read a file that is not as the step before it wrote it. After this it reads it, and is done
again, because what it reads has changed.
"""
import argparse
from pathlib import Path

from ..config import UserError
from . import accept_changes, guard


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.runs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the run, such as results/cpu")
    args = parser.parse_args(words)
    guard(lambda: accept(args.folder))


def accept(folder: Path) -> None:
    if not (folder / "manifests").is_dir():
        raise UserError(f"{folder} is no folder of a run")
    changed = accept_changes(folder)
    for file in changed:
        print(f"  {file}: as it is now")
    if not changed:
        print("  nothing has changed")


if __name__ == "__main__":
    main()
