"""Serve a finished run behind the OpenAI protocol, with a page to try it.

    python -m tagpr_lite.serve --run results/cpu                      http://127.0.0.1:8000
    TAGPR_KEY=... python -m tagpr_lite.serve --run results/cpu --host 0.0.0.0

    curl http://127.0.0.1:8000/v1/chat/completions -d '{"model": "LaMP_3", "user": "ann",
        "messages": [{"role": "user", "content": "It broke after a day."}]}'

A model is a task of the run; the user's history is kept by this server, in one SQLite file (--history), and
grows by POST /v1/history. Only this machine is served unless --host says otherwise, and then only with a key,
which is read from the environment.
"""
from __future__ import annotations

from .runs.commands import begin_command
from .runs.stopping import STOPPED_SIMPLY

if __name__ == "__main__":  # before the imports that are slow: Ctrl-C within them is one line
    begin_command(STOPPED_SIMPLY)

import argparse
import os
import socket
from pathlib import Path

from .answering.history import History, require_place
from .answering.local import is_loopback
from .answering.run import STAGES, open_run
from .config import UserError
from .runs import guard

KEY = "TAGPR_KEY"
"""The environment variable with the key; a word of the command would be seen by every user of the machine."""


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.serve", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--stage", choices=STAGES, help="whose adapter answers; the last one that is there")
    parser.add_argument("--history", type=Path, metavar="FILE",
                        help="what people have said (histories.db in the current folder)",
                        default=Path("histories.db"))
    parser.add_argument("--host", default="127.0.0.1", help="the address that is served")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--together", type=int, help="requests that are decoded at one time: 8 on a card, 1 "
                        "on a CPU, where one alone, several tokens a forward, is the fastest")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)
    guard(lambda: run(args), debug=args.debug)


def run(args: argparse.Namespace) -> None:
    key = os.environ.get(KEY, "")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {KEY} has characters that not every client can send: choose one of "
                        "letters and digits without accents")
    if not args.host:
        raise UserError("--host is empty: name an address of this machine, such as 127.0.0.1")
    is_local = is_loopback(args.host)
    if not is_local and not key:
        raise UserError(f"--host {args.host} is reached by others: put a key into the environment variable "
                        f"{KEY}")
    if args.together is not None and not 1 <= args.together <= 1000:
        raise UserError(f"--together {args.together}: from 1 to 1000")
    finished = open_run(args.run, args.stage)
    require_place(args.history, "histories.db")
    history = History(args.history)
    listening = bound(args.host, args.port)  # before the model is loaded: a port in use is said at once

    import uvicorn

    from .answering.answerer import Answerer
    from .answering.http import application
    from .answering.worker import Worker
    answerer = Answerer(finished)
    together = args.together or (1 if answerer.model.device.type == "cpu" else 8)
    worker = Worker(answerer, together, waiting=1000)
    worker.start()
    host, port = listening.getsockname()[:2]
    print(f"{', '.join(sorted(finished.tasks))} by {finished.stage} of {finished.folder}: "
          f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    server = uvicorn.Server(uvicorn.Config(application(worker, history, key, only_local=is_local),
                                           log_level="warning", access_log=False))
    try:
        server.run(sockets=[listening])
    finally:
        worker.stop()


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address. UserError: it is taken, or is none of this machine's."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who comes while the model is loaded waits
    except OSError as error:
        listening.close()
        raise UserError(f"{host}:{port} cannot be served: {error.strerror or error}") from None
    return listening


if __name__ == "__main__":
    main()
