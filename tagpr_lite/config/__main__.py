"""Every setting, with its default and its help.

    python -m tagpr_lite.config                        all of them, section by section
    python -m tagpr_lite.config clip                   those with the word in their name or help
    python -m tagpr_lite.config --explain grpo.group   one: help, range, and what each preset sets and why
"""
import argparse
import sys

from .explain import explain, listing
from .loading import UserError


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.config", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("word", nargs="?", default="", help="to look for")
    parser.add_argument("--explain", metavar="KEY", help="such as grpo.group")
    args = parser.parse_args(words)
    try:
        print(explain(args.explain) if args.explain else listing(args.word))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()


if __name__ == "__main__":
    main()
