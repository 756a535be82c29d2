"""A model of the Hugging Face hub as a folder of this machine: out of the hub's cache, or fetched into it.

Decisions. huggingface_hub fetches; a model that is whole in its cache needs no network at all. Every request
has a time-out, because the library gives none to some of its requests. Files come by plain HTTP and not by
Xet: plain HTTP notices a connection that stalls, and goes on from where a connection was cut. A file that is
whole stays in the cache, so a start after a kill fetches the other files only.
"""
from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from ..config import UserError
from ..runs import free_bytes, one_line, read_json, within

NOTICE = 10.0  # seconds until a hub that does not answer is given up
WORKERS = 4  # files that are fetched at the same time
# What loading needs: configuration, tokenizer and chat template, weights. No weights in other forms.
WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
UNWANTED = ("*/*", "consolidated*")
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def fetch(name: str) -> Path:
    """The folder of a model of the hub, such as Qwen/Qwen3-4B, fetched where it is not in the cache yet.
    UserError: why the model cannot be had, as a part of a sentence."""
    folder = cached(name)
    if folder:
        return folder
    try:
        folder = _download(name)
    except UserError:
        raise
    except Exception as error:  # the hub's library, httpx, JSON and the disk have errors of their own
        raise UserError(_reason(error)) from None
    if not is_whole(folder):
        raise UserError("the hub's copy lacks a configuration, a tokenizer or weights as *.safetensors")
    return folder


def cached(name: str) -> Path | None:
    """The model's folder in the hub's cache, where all of it is there; asks no network."""
    from huggingface_hub import constants, snapshot_download
    with suppress(OSError, ValueError):  # not there; not all there; no name of a model
        folder = Path(snapshot_download(name, cache_dir=constants.HF_HUB_CACHE, local_files_only=True,
                                        allow_patterns=WANTED, ignore_patterns=UNWANTED))
        if is_whole(folder):
            return folder
    return None


def is_whole(folder: Path) -> bool:
    """Whether configuration, tokenizer and every file of weights are in the folder: another program may have
    fetched a part of the model only."""
    if not (folder / "config.json").is_file() or not any((folder / name).is_file() for name in TOKENIZERS):
        return False
    if not (folder / INDEX).is_file():
        return (folder / "model.safetensors").is_file()
    try:
        names = set(read_json(folder / INDEX)["weight_map"].values())
    except (UserError, KeyError, TypeError, AttributeError):
        return False
    return all((folder / name).is_file() for name in names)


def hub_id(folder: Path) -> str | None:
    """The model that a folder of the hub's cache holds, or None where it is no such folder:
    models--Qwen--Qwen3-4B/snapshots/1cfa9a72 is Qwen/Qwen3-4B."""
    if folder.parent.name != "snapshots" or not folder.parent.parent.name.startswith("models--"):
        return None
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)


# ---------------------------------------------------------------- fetching

def _download(name: str) -> Path:
    """Fetches what is missing of the model, after a line that says what comes and how large it is."""
    from huggingface_hub import HfApi, constants, set_client_factory, snapshot_download
    constants.HF_HUB_DISABLE_XET = True
    set_client_factory(_bounded_client)
    api = HfApi(endpoint=constants.ENDPOINT)
    # The thread bounds the look-up of the hub's name too, which has no time-out of its own.
    told = within(NOTICE + 1, lambda: api.model_info(name, files_metadata=True, timeout=NOTICE))
    _announce(name, told, Path(constants.HF_HUB_CACHE))
    bar = _bar_class()
    try:
        return Path(within(None, lambda: snapshot_download(
            name, cache_dir=constants.HF_HUB_CACHE, endpoint=constants.ENDPOINT, allow_patterns=WANTED,
            ignore_patterns=UNWANTED, etag_timeout=NOTICE, max_workers=WORKERS, tqdm_class=bar)))
    except KeyboardInterrupt:
        bar.stopped = True
        raise


def _bar_class() -> type:
    """The hub's progress bar; in a log file a line every half minute. `stopped` ends the threads that fetch
    at their next block."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        stopped = False

        def __init__(self, *args, **how):
            how.setdefault("mininterval", 0.5 if sys.stderr.isatty() else 30)
            super().__init__(*args, **how)

        def update(self, n: float | None = 1) -> bool | None:
            if Bar.stopped:
                raise InterruptedError("stopped")
            return super().update(n)
    return Bar


def _bounded_client():
    """The hub's own client, with a time-out for the requests that have none."""
    from huggingface_hub.utils._http import default_client_factory

    def bound(request) -> None:
        limits = request.extensions.get("timeout") or {}
        parts = ("connect", "read", "write", "pool")
        request.extensions["timeout"] = {part: limits.get(part) or NOTICE for part in parts}

    client = default_client_factory()
    client.event_hooks = {**client.event_hooks, "request": [*client.event_hooks["request"], bound]}
    return client


def _announce(name: str, told, cache: Path) -> None:
    """One line: which files come, and how large they are. UserError where the disk has no room for them.
    told: the hub's ModelInfo."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects
    files = list(filter_repo_objects(told.siblings or [], allow_patterns=WANTED, ignore_patterns=UNWANTED,
                                     key=lambda file: file.rfilename))
    here = [file for file in files
            if isinstance(try_to_load_from_cache(name, file.rfilename, cache, told.sha), str)]
    coming = [file for file in files if file not in here]
    size = sum(file.size or 0 for file in coming)
    unknown = sum(file.size is None for file in coming)
    parts = [f"{len(coming)} files, {size / 1e6:,.0f} MB"]
    if unknown:
        parts.append(f"{unknown} of them of a size that the hub does not tell")
    if here:
        parts.append(f"{len(here)} files are here already")
    print(f"fetching {one_line(name, 100)} from the hub: {'; '.join(parts)}", flush=True)
    free = free_bytes(cache)
    if not size <= free:
        raise UserError(f"the disk of {cache} has {free / 1e6:,.0f} MB free, and {size / 1e6:,.0f} MB are "
                        "needed")


def _reason(error: BaseException) -> str:
    """Why a model cannot be had, as a part of a sentence, of an error of the hub's library or below it."""
    from httpx2 import HTTPError
    from huggingface_hub import constants, errors
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # the library looked into its cache because the hub did not answer
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and it is not whole in the hub's cache"
    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on its page of the hub, and set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub knows no such model, or it is private"
    if isinstance(error, errors.HfHubHTTPError):
        return f"the hub answered {error.response.status_code}"
    where = one_line(constants.ENDPOINT, 80)
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"the hub, {where}, does not answer"
    if isinstance(error, HTTPError):
        return f"the hub, {where}, cannot be reached: {one_line(error, 120)}"
    if isinstance(error, ValueError | TypeError | KeyError | AttributeError):
        return f"what the hub, {where}, sent cannot be read: {one_line(error, 120)}"
    return one_line(error, 200) or type(error).__name__
