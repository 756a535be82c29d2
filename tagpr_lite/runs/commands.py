"""The front of every command: its words, its one line of error, its memory settings, its progress bar."""
from __future__ import annotations

import argparse
import errno
import os
import re
import shlex
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from .. import config as cfg
from ..config import Config, UserError
from .processes import number
from .stopping import STOPPED, handle_signals
from .text import one_line, printable

# glibc: huge pages, and freed memory stays with the process. On a CPU every update otherwise asks the system
# again for gigabytes that it gave back a moment ago, and waits while they are cleared: up to half of its
# time.
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"


BARS = weakref.WeakSet()
"""The progress bars that are shown."""
SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
"""How libraries quote the system's number of an error."""


def keep_memory() -> None:
    """Starts this command again under MALLOC, which is read when a process starts; run_all.sh has it set
    already."""
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = MALLOC
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def begin_command(words: str = STOPPED) -> None:
    """For `python -m`, before slow imports: memory settings, which start the command again, and signals.
    words: what is said when one has ended the command."""
    keep_memory()
    handle_signals(words)


def as_command(words: str) -> str:
    """`python -m WORDS` with the interpreter that runs now, the one that has the packages:
    ".venv/bin/python -m tagpr_lite.config"."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m {words}"


def cli(main: Callable[[Config], None], about: str) -> None:
    """The front of every step: `python -m tagpr_lite.steps.step3_sft [--preset cpu] [key=value ...]`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cpu", help="smoke, cpu, gpu, paper, or a YAML file")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help=f"see {as_command('tagpr_lite.config').replace('%', '%%')}")
    args = parser.parse_args()
    handle_signals()
    guard(lambda: main(cfg.load(args.preset, args.overrides)), debug=args.debug)


class PrintableStream:
    """A stream on which nothing can steer the terminal: titles, ids and answers of people's files are printed
    by every step."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard(work: Callable[[], None], debug: bool = False) -> None:
    """Runs `work`; bad input, and what a disk or the system refuses, becomes one line on stderr and exit code
    2."""
    warnings.simplefilter("ignore", FutureWarning)  # what libraries tell their own developers
    try:
        with redirect_stdout(PrintableStream(sys.stdout)):
            work()
    except UserError as error:
        if debug:
            traceback.print_exc()
        complain(f"error: {one_line(error, most=2000)}")
        raise SystemExit(2) from None
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        refused = refused_by_system(error)
        if refused is None or debug:
            raise
        complain(f"error: {one_line(refused, most=2000)}")
        raise SystemExit(2) from None
    except KeyboardInterrupt as stopped:
        complain(getattr(stopped, "words", STOPPED))
        raise SystemExit(getattr(stopped, "exit_code", 130)) from None


def complain(line: str) -> None:
    """A line on stderr, below the progress bars that were cut off, not behind one."""
    for bar in list(BARS):
        bar.close()
    print(line, file=sys.stderr)


# What to do about the faults of an environment that people meet.
REMEDIES = {errno.ENOSPC: "make room", errno.EDQUOT: "make room, or ask for more of it",
            errno.EISDIR: "a folder stands where a file is wanted", errno.EBUSY: "another program uses it",
            errno.ELOOP: "a link leads to itself",
            errno.EROFS: "choose another results=, on a disk that can be written",
            errno.EACCES: "change its permissions, or choose another results=",
            errno.EPERM: "change its permissions, or choose another results=",
            errno.ENAMETOOLONG: "choose a shorter name= or results=",
            errno.ENOTDIR: "a file stands where a folder is wanted; choose another results=",
            errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
            errno.EMFILE: "raise the limit of open files (ulimit -n)", errno.EIO: "the disk is at fault",
            errno.ENOENT: "it was removed meanwhile, or the disk that held it is gone"}


def refused_by_system(error: BaseException) -> str | None:
    """What the system refused and what to do, in a line, such as "[Errno 28] No space left on device:
    'results/cpu/x': make room; nothing that was whole is damaged, ..."; None where the error is another one.

    Libraries wrap such an error in one of their own: safetensors says "I/O error: No space left on device (os
    error 28)". So the words of the errors that led to it are looked at too.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        wrapped = SYSTEM_ERROR.search(str(error)) if number is None else None
        if wrapped:
            number = int(wrapped[1] or wrapped[2])
        if number in REMEDIES:
            return (f"{error}: {REMEDIES[number]}; nothing that was whole is damaged, and the same command "
                    "goes on afterwards")
        error = error.__cause__ or error.__context__
    return None


def progress(total: int, about: str, unit: str = "it"):
    """A progress bar with the time left; in a log file a line every half minute instead of every tenth of a
    second."""
    from tqdm import tqdm
    live = sys.stderr.isatty()
    bar = tqdm(total=total, desc=about, unit=unit, mininterval=0.5 if live else 30, dynamic_ncols=live,
               smoothing=0.1, disable=number() > 0)  # of several processes the first shows one
    BARS.add(bar)
    return bar
