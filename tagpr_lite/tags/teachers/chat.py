"""Asking a language model, and never twice: every answer is kept on disk under the hash of its request.

Two kinds of model answer: one behind an OpenAI-compatible endpoint (vLLM, Ollama, llama.cpp, `transformers
serve`, a hosted one), and one of Hugging Face's that is loaded here in 4 bits. `Answers.ask` is the only
door: it looks on disk, asks for what is missing, writes each answer the moment it arrives, and hands all back
in the order of the requests. So a run that was killed pays for nothing again, and does not notice that it was
killed.

Decisions. Retries, back-off and Retry-After are the openai client's own; on top, an answer that is no JSON or
no chat completion is asked for again. A request may start only if the ceiling would hold even at its worst
case: one token a byte of prompt, `room` tokens of answer. The key comes from the environment and is written
nowhere.
"""
from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...config import Model, Tag, UserError
from ...runs import cache_folder, read_json, write_json

KEYS = ("TAGPR_API_KEY", "OPENAI_API_KEY")  # environment variables, the first that is set
OVERHEAD = 32  # tokens that a chat template may add to a message


@dataclass(frozen=True)
class Request:
    """One question to a model. messages: (role, text); room: most tokens of the answer, its thinking
    included."""
    messages: tuple[tuple[str, str], ...]
    seed: int
    room: int
    temperature: float

    @property
    def worst(self) -> int:
        """A bound on the prompt's tokens: none is shorter than a byte."""
        return sum(len(text.encode()) + OVERHEAD for _, text in self.messages)


@dataclass(frozen=True)
class Reply:
    """thought: what a thinking model reports apart from its answer; tokens asked and written; `refused` says
    why there is no text."""
    text: str
    thought: str = ""
    asked: int = 0
    written: int = 0
    refused: str = ""


class Chat(Protocol):
    """identity: what an answer depends on beside the request. `each` yields (index, reply) as the replies
    come."""
    identity: dict[str, Any]

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]: ...


# ---------------------------------------------------------------- cost

@dataclass
class Ledger:
    """Tokens and money, and the ceilings that no request may break. known: replies that were on disk
    already."""
    price_in: float = 0.0
    price_out: float = 0.0
    most_cost: float = 0.0
    most_tokens: int = 0
    asked: int = 0
    written: int = 0
    replies: int = 0
    known: int = 0
    held: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cost(self, asked: int, written: int) -> float:
        """In the currency of the prices, which are per million tokens."""
        return (asked * self.price_in + written * self.price_out) / 1e6

    def hold(self, request: Request) -> int:
        """Sets the request's worst case aside; UserError where it could break a ceiling."""
        with self.lock:
            asked = self.asked + request.worst + sum(a for a, _ in self.held.values())
            written = self.written + request.room + sum(w for _, w in self.held.values())
            for most, worst, what in ((self.most_cost, self.cost(asked, written), "tag.max_cost"),
                                      (self.most_tokens, asked + written, "tag.max_tokens")):
                if most and worst > most:
                    raise UserError(f"{what}={most} could be broken by the next answer ({self.summary()}); what came is "
                                    "kept, and a higher ceiling goes on from there")
            ticket = max(self.held, default=-1) + 1
            self.held[ticket] = (request.worst, request.room)
            return ticket

    def settle(self, ticket: int, reply: Reply | None) -> None:
        """The request is over; without a reply it cost nothing."""
        with self.lock:
            del self.held[ticket]
            if reply is not None:
                self._add(reply)

    def found(self, reply: Reply) -> None:
        """An answer from disk: paid before, and it counts towards the ceilings like any other."""
        with self.lock:
            self._add(reply)
            self.known += 1

    def _add(self, reply: Reply) -> None:
        self.asked, self.written, self.replies = self.asked + reply.asked, self.written + reply.written, self.replies + 1

    def summary(self) -> str:
        cost = self.cost(self.asked, self.written)
        return f"{self.replies} answers, {self.known} of them known, {self.asked} tokens in, {self.written} out" + (f", cost {cost:.2f}" if cost else "")

    def figures(self) -> dict:
        """What does not depend on where a run was stopped."""
        return {"answers": self.replies, "tokens_in": self.asked, "tokens_out": self.written,
                "cost": round(self.cost(self.asked, self.written), 4)}


# ---------------------------------------------------------------- answers on disk

class Answers:
    """A chat whose answers are kept, one JSON file each."""

    def __init__(self, chat: Chat, ledger: Ledger, folder: Path | None = None):
        self.chat, self.ledger, self.folder = chat, ledger, folder or cache_folder() / "answers"

    def path(self, request: Request) -> Path:
        content = json.dumps([self.chat.identity, asdict(request)], sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(content.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.json"

    def read(self, path: Path) -> Reply | None:
        """The reply kept there; a file that something has damaged is as good as none."""
        try:
            return Reply(**read_json(path)) if path.exists() else None
        except (UserError, TypeError):
            return None

    def ask(self, requests: list[Request], tick: Callable[[], None] = lambda: None) -> list[Reply]:
        """The replies, in order. Equal requests are asked once."""
        paths = [self.path(r) for r in requests]
        found: dict[Path, Reply] = {}
        for path in dict.fromkeys(paths):
            if (reply := self.read(path)) is not None:
                found[path] = reply
                self.ledger.found(reply)
        missing = {p: r for p, r in zip(paths, requests) if p not in found}
        for _ in range(len(requests) - len(missing)):
            tick()
        todo = list(missing)
        for i, reply in self.chat.each(list(missing.values()), self.ledger):
            if not reply.refused:
                write_json(todo[i], asdict(reply))
            found[todo[i]] = reply
            tick()
        return [found[p] for p in paths]


# ---------------------------------------------------------------- an endpoint

class Remote:
    """A model behind an OpenAI-compatible endpoint; `extra` goes into the body of every request, None removes
    a field."""

    def __init__(self, url: str, model: str, settings: Tag):
        from openai import OpenAI
        key = next((os.environ[k] for k in KEYS if os.environ.get(k)), "none")  # local servers want no key
        try:
            self.client = OpenAI(base_url=url, api_key=key, timeout=settings.timeout,
                                 max_retries=settings.retries)
        except ValueError as e:
            raise UserError(f"tag.url={url}: {e}") from None
        self.url, self.model, self.settings, self.next = url, model, settings, 0.0
        self.identity = {"url": url, "model": model, "extra": settings.extra}
        self.lock = threading.Lock()

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]:
        """After the first failure nothing new starts, but what is under way is waited for: it is paid for."""
        failed: list[UserError] = []

        def work(request: Request) -> Reply | None:
            try:
                return None if failed else self._paid(request, ledger)
            except UserError as e:
                failed.append(e)

        with ThreadPoolExecutor(max(1, self.settings.at_once)) as pool:
            futures = {pool.submit(work, r): i for i, r in enumerate(requests)}
            try:
                for done in as_completed(futures):
                    if (reply := done.result()) is not None:
                        yield futures[done], reply
            finally:  # the reader has stopped, or been stopped
                failed.append(UserError("stopped"))
        if len(failed) > 1:
            raise failed[0]

    def _paid(self, request: Request, ledger: Ledger) -> Reply:
        ticket, reply = ledger.hold(request), None
        try:
            reply = self._one(request)
            return reply
        finally:
            ledger.settle(ticket, None if reply is None or reply.refused else reply)

    def _one(self, request: Request) -> Reply:
        import openai
        body = {"temperature": request.temperature, "max_tokens": request.room, "seed": request.seed % 2**31,
                **self.settings.extra}
        messages = [{"role": role, "content": text} for role, text in request.messages]
        what = f"{self.model} at {self.url}"
        for turn in range(self.settings.retries + 1):
            self._wait()
            try:
                return _reply(self.client.chat.completions.create(model=self.model, messages=messages,
                                                                  extra_body={k: v for k, v in body.items()
                                                                              if v is not None}), request)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as e:
                return Reply("", refused=_line(e))
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as e:
                raise UserError(f"{what}: {_line(e)}; the key is read from {' or '.join(KEYS)}") from None
            except openai.OpenAIError as e:  # the client has tried again by itself
                raise UserError(f"{what}: {_line(e)}; what came is kept, the same command goes on") from None
            except ValueError as e:
                last = _line(e)
                time.sleep(min(8.0, 0.25 * 2**turn))
        raise UserError(f"{what} sends no chat completions: {last}; what came is kept, the same command goes on")

    def _wait(self) -> None:
        """Lets at most `per_minute` requests start in a minute."""
        if self.settings.per_minute:
            with self.lock:
                start = max(self.next, time.monotonic())
                self.next = start + 60 / self.settings.per_minute
            time.sleep(max(0.0, start - time.monotonic()))


def _reply(found: Any, request: Request) -> Reply:
    """A Reply out of the client's object; ValueError for what is no chat completion."""
    try:
        message, usage = found.choices[0].message, found.usage
        more = message.model_extra or {}
        text, thought = message.content or "", more.get("reasoning_content") or more.get("reasoning") or ""
        asked, written = (usage.prompt_tokens,
                          usage.completion_tokens) if usage else (request.worst, request.room)
    except (AttributeError, IndexError, TypeError):
        raise ValueError(f"not a chat completion: {str(found)[:80]!r}") from None
    if not isinstance(text, str) or not isinstance(thought, str) or not (text or thought):
        raise ValueError("an answer without text")
    return Reply(text, thought, int(asked or 0), int(written or 0))


def _line(e: Exception) -> str:
    """An error in one line; the client's messages do not hold the key."""
    return " ".join(f"{type(e).__name__}: {e}".split())[:240]


# ---------------------------------------------------------------- a model of our own

class Local:
    """A Hugging Face model in 4 bits, loaded at the first question; `extra` goes to its chat template
    (enable_thinking)."""

    def __init__(self, name: str, settings: Tag):
        self.model, self.settings, self.loaded = Model(name=name), settings, None
        self.identity = {"local": name, "extra": settings.extra}

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]:
        from ...engine.model import load
        from ...engine.sample import end_tokens, sample
        if not requests:
            return
        model, tokenizer = self.loaded = self.loaded or load(self.model)
        prompts = [tokenizer.apply_chat_template([{"role": r, "content": t} for r, t in q.messages],
                                                 tokenize=True, add_generation_prompt=True, return_dict=False,
                                                 **self.settings.extra) for q in requests]
        order = sorted(range(len(requests)),
                       key=lambda i: (requests[i].room, requests[i].temperature, len(prompts[i]), i))
        while order:  # decoded together: equal settings, prompts of about a length
            first = requests[order[0]]
            batch = [i for i in order[:max(1, self.settings.at_once)]
                     if (requests[i].room, requests[i].temperature) == (first.room, first.temperature)]
            order = order[len(batch):]
            tickets = [ledger.hold(requests[i]) for i in batch]
            rows = sample(model, [prompts[i] for i in batch], 1, first.room, end_tokens(model, tokenizer),
                          temperature=first.temperature, seeds=[[requests[i].seed] for i in batch])
            for i, (row,), ticket in zip(batch, rows, tickets):
                reply = Reply(tokenizer.decode(row.ids, skip_special_tokens=True), "", len(prompts[i]),
                              len(row.ids))
                ledger.settle(ticket, reply)
                yield i, reply
