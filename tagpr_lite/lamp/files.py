"""The old name of a command: it says the new one."""
import sys

from ..runs import as_command

if __name__ == "__main__":
    print(f"error: this command is now: {as_command('tagpr_lite.lamp.official')}", *sys.argv[1:],
          file=sys.stderr)
    raise SystemExit(2)
