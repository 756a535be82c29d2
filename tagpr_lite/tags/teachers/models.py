"""The two kinds of model that answer requests: one behind an OpenAI-compatible endpoint (vLLM, Ollama,
llama.cpp, `transformers serve`, a hosted one), and one of Hugging Face's that is loaded here in 4 bits.

Decisions. Retries, back-off and Retry-After are the openai client's own. In addition, an answer that is no
JSON or no chat completion is asked for again. The key comes from the environment and is written nowhere.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from ...config import Model, Tag, UserError
from .chat import Ledger, Reply, Request

KEYS = ("TAGPR_API_KEY", "OPENAI_API_KEY")  # environment variables, the first that is set
GOES_ON = "what came is kept, the same command goes on"


# ---------------------------------------------------------------- an endpoint

class Remote:
    """A model behind an OpenAI-compatible endpoint. The setting `extra` goes into the body of every request;
    a value of None removes a field."""

    def __init__(self, url: str, model: str, settings: Tag):
        from openai import OpenAI
        keys = [os.environ[name] for name in KEYS if os.environ.get(name)]
        key = keys[0] if keys else "none"  # local servers want no key
        try:
            self.client = OpenAI(base_url=url, api_key=key, timeout=settings.timeout,
                                 max_retries=settings.retries)
        except ValueError as error:
            raise UserError(f"tag.url={url}: {error}") from None
        self.url, self.model, self.settings = url, model, settings
        self.identity = {"url": url, "model": model, "extra": settings.extra}
        self.next_start = 0.0  # time.monotonic() before which no request may start
        self.lock = threading.Lock()

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]:
        """(index, reply) as the replies come, `at_once` requests at a time. After the first failure no
        request starts, but those under way are waited for, because they are paid for."""
        failures: list[UserError] = []

        def work(request: Request) -> Reply | None:
            if failures:
                return None
            try:
                return self._paid(request, ledger)
            except UserError as error:
                failures.append(error)
                return None

        with ThreadPoolExecutor(max(1, self.settings.at_once)) as pool:
            index_of = {pool.submit(work, request): index for index, request in enumerate(requests)}
            try:
                for future in as_completed(index_of):
                    reply = future.result()
                    if reply is not None:
                        yield index_of[future], reply
            finally:  # the reader has stopped, or been stopped: no further request starts
                failures.append(UserError("stopped"))
        if len(failures) > 1:
            raise failures[0]

    def _paid(self, request: Request, ledger: Ledger) -> Reply:
        """The reply, with its worst case set aside before and its real cost entered after."""
        ticket = ledger.reserve(request)
        reply = None
        try:
            reply = self._one(request)
            return reply
        finally:
            is_paid = reply is not None and not reply.refused
            ledger.settle(ticket, reply if is_paid else None)

    def _one(self, request: Request) -> Reply:
        """One answer; what is no chat completion is asked for again, after a pause. UserError where the
        endpoint fails."""
        import openai
        body = {"temperature": request.temperature, "max_tokens": request.room, "seed": request.seed % 2**31,
                **self.settings.extra}
        body = {name: value for name, value in body.items() if value is not None}
        messages = [{"role": role, "content": text} for role, text in request.messages]
        endpoint = f"{self.model} at {self.url}"
        for turn in range(self.settings.retries + 1):
            self._wait()
            try:
                completion = self.client.chat.completions.create(model=self.model, messages=messages,
                                                                 extra_body=body)
                return _reply(completion, request)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                return Reply("", refused=_line(error))
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                key_names = " or ".join(KEYS)
                raise UserError(f"{endpoint}: {_line(error)}; the key is read from {key_names}") from None
            except openai.OpenAIError as error:  # the client has tried again by itself
                raise UserError(f"{endpoint}: {_line(error)}; {GOES_ON}") from None
            except ValueError as error:
                last_error = _line(error)
                time.sleep(min(8.0, 0.25 * 2**turn))  # 0.25, 0.5, 1, ... seconds
        raise UserError(f"{endpoint} sends no chat completions: {last_error}; {GOES_ON}")

    def _wait(self) -> None:
        """Lets at most `per_minute` requests start in a minute."""
        if self.settings.per_minute:
            with self.lock:
                start = max(self.next_start, time.monotonic())
                self.next_start = start + 60 / self.settings.per_minute
            time.sleep(max(0.0, start - time.monotonic()))


def _reply(completion: Any, request: Request) -> Reply:
    """A Reply out of the client's object; ValueError for what is no chat completion."""
    try:
        message, usage = completion.choices[0].message, completion.usage
        extra = message.model_extra or {}
        text = message.content or ""
        thought = extra.get("reasoning_content") or extra.get("reasoning") or ""
        if usage:
            asked, written = usage.prompt_tokens, usage.completion_tokens
        else:  # not reported: the worst case is counted
            asked, written = request.worst_prompt_tokens, request.room
    except (AttributeError, IndexError, TypeError):
        raise ValueError(f"not a chat completion: {str(completion)[:80]!r}") from None
    if not isinstance(text, str) or not isinstance(thought, str) or not (text or thought):
        raise ValueError("an answer without text")
    return Reply(text, thought, int(asked or 0), int(written or 0))


def _line(error: Exception) -> str:
    """An error in one line; the client's messages do not hold the key."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]


# ---------------------------------------------------------------- a model of our own

class Local:
    """A Hugging Face model in 4 bits, loaded at the first question. The setting `extra` goes to its chat
    template (enable_thinking)."""

    def __init__(self, name: str, settings: Tag):
        self.model, self.settings = Model(name=name), settings
        self.loaded: tuple | None = None  # (model, tokenizer)
        self.identity = {"local": name, "extra": settings.extra}

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]:
        """(index, reply). Requests of equal settings and of about one length are decoded together."""
        from ...engine.model import load
        from ...engine.sample import end_tokens, sample
        if not requests:
            return
        if self.loaded is None:
            self.loaded = load(self.model)
        model, tokenizer = self.loaded
        prompts = [self._prompt_ids(request) for request in requests]

        def likeness(index: int) -> tuple:
            return requests[index].room, requests[index].temperature, len(prompts[index]), index

        waiting = sorted(range(len(requests)), key=likeness)
        while waiting:
            # A batch begins with the first that waits: at most `at_once` requests with its settings.
            room, temperature = requests[waiting[0]].room, requests[waiting[0]].temperature
            batch = [index for index in waiting[:max(1, self.settings.at_once)]
                     if requests[index].room == room and requests[index].temperature == temperature]
            waiting = waiting[len(batch):]
            tickets = [ledger.reserve(requests[index]) for index in batch]
            rows = sample(model, [prompts[index] for index in batch], 1, room, end_tokens(model, tokenizer),
                          temperature=temperature, seeds=[[requests[index].seed] for index in batch])
            for index, (row,), ticket in zip(batch, rows, tickets):
                text = tokenizer.decode(row.ids, skip_special_tokens=True)
                reply = Reply(text, "", len(prompts[index]), len(row.ids))
                ledger.settle(ticket, reply)
                yield index, reply

    def _prompt_ids(self, request: Request) -> list[int]:
        """The messages as token ids [P]."""
        _, tokenizer = self.loaded
        messages = [{"role": role, "content": text} for role, text in request.messages]
        return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True,
                                             return_dict=False, **self.settings.extra)
