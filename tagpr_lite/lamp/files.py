"""The old name of a command: it says the new one."""
import sys

if __name__ == "__main__":
    print("error: this command is now: python -m tagpr_lite.lamp.official " + " ".join(sys.argv[1:]),
          file=sys.stderr)
    raise SystemExit(2)
