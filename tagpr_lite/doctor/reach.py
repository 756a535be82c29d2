"""What can be reached: the package index, the hub, LaMP's site. Each is asked once, all at the same time.

No registry's address stands here: pip is asked with its own configuration, the hub's library knows its
endpoint, and lamp/official knows LaMP's site.
"""
from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..engine.location import SIZES
from ..runs import one_line
from .packages import Check

SECONDS = 4  # for a connection, and for an answer
PIP_SECONDS = 9  # pip starts, reads its configuration and asks
ASKED_PACKAGE = "pip"  # every index that can install requirements.txt has it
ASKED_FILE = ("LaMP_3", "dev_questions.json")  # the largest of the dev files


@dataclass(frozen=True)
class Answer:
    """fault: what went wrong, "" where the address answered. size: bytes of the file, where that was said."""
    fault: str = ""
    size: int | None = None


def ask(url: str, seconds: float = SECONDS) -> Answer:
    """The headers of an address. Proxy settings are honoured, as in lamp/official/fetch.py."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "tagpr_lite"})
        with urllib.request.urlopen(request, timeout=seconds) as response:
            length = response.headers.get("Content-Length", "")
            return Answer(size=int(length) if length.isdecimal() else None)
    except urllib.error.HTTPError as error:
        error.close()
        return Answer(f"answered {error.code} {one_line(error.reason, 60)}")
    except (OSError, HTTPException, ValueError) as error:
        return Answer(one_line(getattr(error, "reason", "") or error, 120) or type(error).__name__)


# ---------------------------------------------------------------- the three

def index_check() -> Check:
    command = [sys.executable, "-m", "pip", "index", "versions", ASKED_PACKAGE, "--timeout", str(SECONDS),
               "--retries", "0", "--disable-pip-version-check", "--no-input"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return index_trouble(f"pip had no answer within {PIP_SECONDS} s")
    if said.returncode == 0:
        return Check("package index", "ok", "reached, by pip's own configuration")
    lines = [line for line in said.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
    return index_trouble(one_line((lines or said.stderr.splitlines() or ["no answer"])[-1], 160))


def index_trouble(reason: str) -> Check:
    return Check("package index", "attention", f"not reached: {reason}",
                 "see `python -m pip config list`, or set PIP_INDEX_URL and HTTPS_PROXY; the packages, and "
                 "SmolLM2 of the preset cpu, come from there")


def hub_check(needed: bool) -> Check:
    """needed: whether this machine's preset takes its model from the hub."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return Check("model hub", "note", "not asked: huggingface_hub is missing",
                     "install the packages (the lines above)")
    smallest = SIZES[-1][1]
    if cached := cached_models(Path(constants.HF_HUB_CACHE)):
        needed = False
    here = f"; here already: {', '.join(cached)}" if cached else ""
    if constants.HF_HUB_OFFLINE:
        return Check("model hub", "attention" if needed else "note", f"HF_HUB_OFFLINE is set{here}",
                     "unset HF_HUB_OFFLINE to fetch a model, or give model.name=FOLDER")
    answer = ask(f"{constants.ENDPOINT}/{smallest}/resolve/main/config.json")
    if not answer.fault:
        return Check("model hub", "ok", f"reached at {one_line(constants.ENDPOINT, 80)}{here}")
    return Check("model hub", "attention" if needed else "note",
                 f"not reached at {one_line(constants.ENDPOINT, 80)}: {answer.fault}{here}",
                 "set HTTPS_PROXY, or HF_ENDPOINT to a mirror; or copy a model here and give "
                 "model.name=FOLDER; the preset cpu needs no hub")


def cached_models(cache: Path) -> list[str]:
    """The models of `auto` whose weights the hub's cache holds."""
    found = []
    for _, name in SIZES:
        folder = cache / f"models--{name.replace('/', '--')}"
        if any(folder.glob("snapshots/*/*.safetensors")):
            found.append(name)
    return found


def lamp_check(needed: bool) -> tuple[Check, int | None]:
    """(the line, bytes that LaMP's largest dev file and its store need). needed: whether this machine's
    preset reads the official files."""
    try:
        from ..lamp.official import fetch, obtain
    except ImportError as error:
        return Check("LaMP's site", "note", f"not asked: {one_line(error, 80)}",
                     "install the packages (the lines above)"), None
    if any(obtain.FOLDER.glob("*/*.db")):
        return Check("LaMP's site", "ok", f"not asked: {obtain.FOLDER} is here already"), None
    task, file = ASKED_FILE
    base = os.environ.get(obtain.MIRROR) or fetch.BASE
    answer = ask(fetch.address(base, "time", task, file))
    if not answer.fault:
        return (Check("LaMP's site", "ok", f"reached at {base}"),
                int(fetch.SPACE * answer.size) if answer.size else None)
    return Check("LaMP's site", "attention" if needed else "note",
                 f"not reached at {base}: {answer.fault}",
                 f"set HTTPS_PROXY, or name a mirror in {obtain.MIRROR}; until then the built-in benchmark "
                 "takes the place of LaMP"), None


def look_at_reach(needed: bool) -> tuple[list[Check], int | None]:
    """The three lines, and what LaMP's largest file needs on disk. needed: whether there is a card, so that
    the preset gpu wants the hub and LaMP."""
    questions: list[Callable] = [index_check, lambda: hub_check(needed), lambda: lamp_check(needed)]
    with ThreadPoolExecutor(len(questions)) as pool:
        index, hub, (lamp, data_bytes) = [answer.result() for answer in
                                          [pool.submit(question) for question in questions]]
    return [index, hub, lamp], data_bytes
