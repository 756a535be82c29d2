"""Rollouts by a server: the completions of GRPO come from an OpenAI-compatible server (grpo.sampler).

    one step:   the policy's adapter is written and the server told to load it    POST /load_lora_adapter
                every completion is asked for by itself, with its own seed         POST /completions
                everything after that is as if the engine here had sampled

The calls are vLLM's. A server needs three things: it loads an adapter while it runs, it takes a prompt as
token ids, and it says the ids and log-probs of what it sampled. The adapter is handed over as a folder, so
the server must be on this machine.

Decisions. An adapter's name holds a hash of its values, and every update has a name of its own. A server may
keep the keys and values of a prompt under the adapter's name; under one name for all it would sample from
those of an older adapter (vLLM's issue 42125). And where the answer to a load was lost, a second load finds
the name taken, by the same values. A completion has a request of its own, because a request has one seed: the
seeds are those of the engine, and a resumed run asks for the same. How exact a resumed run is, is the
server's affair.
"""
from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ..config import GRPO, UserError
from ..engine.adapters import save_adapter
from ..engine.prefix import base_of
from ..engine.sample import Sample
from ..runs import digest, whole_folder
from ..runs.processes import count
from ..tags.teachers.replies import MOST_BYTES, Failure, failure, page_words
from ..tags.teachers.wire import Wire, pause_before
from .served_completion import Asked, read_completion

FOLDER = "sampler"  # in the stage's folder: the adapter that the server reads
KEYS = ("TAGPR_SAMPLER_KEY",)  # environment variables that may hold the server's key
GOES_ON = "the same command goes on from the last step"
SEE = "see `Rollouts by a server` in tagpr_lite/README.md"
LOADS = ("the server must be on this machine and load adapters while it runs: "
         "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank RANK; "
         f"{SEE}")
RUNS = "is the server still running?"
T = TypeVar("T")
Read = Callable[[int, Any, bytes], T]
"""(status, headers, content) of a response -> what it says. Failure: it says something else."""


class SamplerFault(UserError):
    """The server does not sample, or not what it was asked for."""


@contextmanager
def served_sampler(g: GRPO, stage_folder: Path, adapter: str) -> Iterator[ServedSampler | None]:
    """The sampler of a stage, None where the engine here samples. adapter: the policy's name in the model.
    At the end of the block nothing of it is left, here or at the server. Where an error ends the block, the
    server is not asked again: it may be what hangs."""
    if not g.sampler:
        yield None
        return
    if count() > 1:
        raise UserError("grpo.sampler and several processes: take one process here, and give the other cards "
                        "to the server")
    sampler = ServedSampler(g, stage_folder / FOLDER, adapter)
    try:
        yield sampler
        sampler.unload()
    finally:
        sampler.close()


class ServedSampler:
    """Samples from the policy by a server. What it gives is what engine.rollout.sample_all would give, up to
    the server's numerics."""

    def __init__(self, g: GRPO, folder: Path, adapter: str):
        """folder: where the adapter is written for the server. adapter: its name in the model. UserError:
        grpo.sampler is no address, or the key is none."""
        self.settings, self.folder, self.adapter = g, folder.resolve(), adapter
        self.wire = Wire(g.sampler, "grpo.sampler", KEYS, g.sampler_timeout)
        self.loaded = ""  # the name at the server of the adapter that it samples from
        self.stopped = threading.Event()  # no further turn of a request may start
        self.faults: list[SamplerFault] = []  # of the completions under way, the first one first
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed

    def sample(self, model: nn.Module, prompts: list[list[int]], seeds: list[list[int]],
               ends: set[int]) -> list[list[Sample]]:
        """[B][G] completions of B prompts, at most `grpo.decode_rows` requests at a time. seeds [B][G]: one
        of each completion. ends: the ids that end one. SamplerFault: the server does not give them all."""
        self.stopped.clear()
        self.send_adapter(model)
        vocabulary = base_of(model).lm_head.out_features
        wanted = [(Asked(self.loaded, prompt, self.settings.completion, ends, vocabulary), seed)
                  for prompt, of_prompt in zip(prompts, seeds, strict=True) for seed in of_prompt]
        self.faults.clear()
        pool = ThreadPoolExecutor(min(self.settings.decode_rows, len(wanted)))
        try:
            futures = [pool.submit(self.completion, asked, seed) for asked, seed in wanted]
            wait(futures, return_when=FIRST_EXCEPTION)
            if self.faults:  # one is enough: nothing more is asked for
                raise self.faults[0]
            samples = [future.result() for future in futures]
        finally:  # a fault, or the run is being stopped
            self.stopped.set()
            pool.shutdown(cancel_futures=True)
        group = len(seeds[0])
        return [samples[first:first + group] for first in range(0, len(samples), group)]

    def completion(self, asked: Asked, seed: int) -> Sample:
        """One completion, from a request of its own."""
        if self.stopped.is_set():  # another one has met a fault, which is the one that is told
            raise self.fault("/completions", "not asked", SEE)

        def read(status: int, headers: Any, content: bytes) -> Sample:
            return read_completion(as_json(status, headers, content), asked)

        try:
            return self.ask("/completions", body_of(self.settings, asked, seed), read, SEE)
        except SamplerFault as error:
            self.faults.append(error)
            self.stopped.set()  # the others end before their next turn
            raise

    # ---------------------------------------------------------------- the adapter

    def send_adapter(self, model: nn.Module) -> None:
        """Has the server load the policy as it is now; where nothing has changed since, nothing is sent."""
        # 1. Written beside, so that its name can hold the hash of what was written.
        written = self.folder / "next"
        with whole_folder(written) as beside:
            save_adapter(model, self.adapter, beside)
        name = f"tagpr-{hashlib.sha256(f'{self.folder} {digest(written)}'.encode()).hexdigest()[:16]}"
        if name == self.loaded:
            return

        # 2. The old one makes room: a server that holds one adapter has room for no second.
        self.unload()
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        written.rename(place)

        # 3. The new one.
        self.ask("/load_lora_adapter", {"lora_name": name, "lora_path": str(place)},
                 partial(read_loaded, name), LOADS)
        self.loaded = name

    def unload(self) -> None:
        """Tells the server to forget the adapter, once: one that stays is no fault, and is used no more."""
        if not self.loaded:
            return
        try:
            self.wire.post("/unload_lora_adapter", {"lora_name": self.loaded})
        except Failure:
            pass
        shutil.rmtree(self.folder / self.loaded, ignore_errors=True)
        self.loaded = ""

    def close(self) -> None:
        """Leaves nothing here."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.wire.client.close()

    # ---------------------------------------------------------------- asking

    def ask(self, path: str, body: dict, read: Read[T], advice: str) -> T:
        """What `read` finds in the response. What may pass is asked again, `grpo.sampler_retries` times, with
        growing pauses. SamplerFault, in one line: it does not pass. advice: what to do then."""
        turns = self.settings.sampler_retries + 1
        for turn in range(turns):
            try:
                return read(*self.wire.post(path, body))
            except Failure as error:
                last = error
            if last.kind not in ("passing", "unreachable"):
                raise self.fault(path, last.words, advice)
            is_last = turn == turns - 1
            if not is_last and self.stopped.wait(pause_before(turn, last.pause)):
                break  # as above
        hint = RUNS if last.kind == "unreachable" else advice
        raise self.fault(path, f"failed {turn + 1} times: {last.words}", hint)

    def fault(self, path: str, words: str, advice: str) -> SamplerFault:
        """The one line of a fault."""
        return SamplerFault(f"grpo.sampler {self.wire.address}{path}: {words}; {advice}; {GOES_ON}")


def body_of(g: GRPO, asked: Asked, seed: int) -> dict[str, Any]:
    """The request for one completion. Nothing is left to a server's defaults, because a model's folder may
    bring some: the distribution is softmax(logits / temperature), whole."""
    return {"model": asked.model, "prompt": asked.prompt_ids, "n": 1, "seed": seed,
            "max_tokens": asked.room, "temperature": g.temperature,
            "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
            "frequency_penalty": 0.0, "stop_token_ids": sorted(asked.ends),
            "logprobs": 0,  # of the sampled tokens, and of no others
            "return_token_ids": True, "return_tokens_as_token_ids": True}


def as_json(status: int, headers: Any, content: bytes) -> dict:
    """The object that a response holds. Failure: it is an error, or none."""
    if len(content) > MOST_BYTES:
        raise Failure(f"an answer of {len(content) >> 20} MB", "setup")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not 200 <= status < 300:
        raise failure(status, headers, body, content)
    if not isinstance(body, dict):
        raise Failure(f"an answer that is no JSON: {page_words(content) or 'empty'}", "passing")
    return body


def read_loaded(name: str, status: int, headers: Any, content: bytes) -> None:
    """Failure where the adapter of this name is not loaded. A name that is there already holds the same
    values: a load whose answer was lost, or one of a run that was killed."""
    if status == 400 and b"already been loaded" in content:
        return
    if not 200 <= status < 300:
        as_json(status, headers, content)
    if name.encode() not in content:  # vLLM: Success: LoRA adapter 'tagpr-3f2a' added successfully.
        words = page_words(content) or "empty"
        raise Failure(f"an answer that does not name the adapter: {words}", "passing")
