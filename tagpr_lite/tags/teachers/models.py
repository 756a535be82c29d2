"""The two kinds of model that answer requests: one behind an OpenAI-compatible endpoint (vLLM, Ollama,
llama.cpp, `transformers serve`, a hosted one), and one of Hugging Face's that is loaded here in 4 bits.

Decisions. Every turn of a request is our own, not the client's, so that each is paced, entered in the account
and given up when the run stops. A fault of one question costs that question; a fault of the set-up stops the
run with the server's words (ledger.Trial tells them apart). The key comes from the environment and is written
nowhere.
"""
from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from ...config import Model, Tag, UserError
from ...lamp.chat import as_text, completion_text, undated
from .chat import Account, Reply, Request
from .ledger import MANY
from .replies import NO_ROOM, Failure, joined, read, safe
from .wire import Wire, pause_before

KEYS = ("TAGPR_API_KEY", "OPENAI_API_KEY")  # environment variables, the first that is set
GOES_ON = "what came is kept, the same command goes on"
ROOM_FIELDS = ("max_tokens", "max_completion_tokens")  # of a request's body: most tokens of an answer
TOO_LONG = re.compile(r"context.?(?:length|window|size)|too (?:long|large|many tokens)|reduce the length",
                      re.I)


# ---------------------------------------------------------------- an endpoint

class Remote:
    """A model behind an OpenAI-compatible endpoint. The setting `extra` goes into the body of every request;
    a value of None removes a field."""

    def __init__(self, url: str, model: str, settings: Tag):
        self.wire = Wire(url, "tag.url", KEYS, settings.timeout)
        self.endpoint = f"{safe(model)} at {self.wire.address}"
        self.model, self.settings = model, settings
        self.identity = {"url": url, "model": model, "extra": settings.extra}
        self.next_start = 0.0  # time.monotonic() before which no turn may start
        self.lock = threading.Lock()
        self.stopped = threading.Event()  # no further turn may start
        self.last_failure = ""
        self._check_ceilings()

    def _check_ceilings(self) -> None:
        """UserError where an answer has no bound, so that no ceiling could hold."""
        body = self.body(Request((), 0, 1, 0.0))
        has_ceiling = self.settings.max_cost or self.settings.max_tokens
        if has_ceiling and not any(isinstance(body.get(name), int) for name in ROOM_FIELDS):
            raise UserError("tag.max_tokens and tag.max_cost need a bound on an answer: tag.extra removes "
                            "max_tokens; add max_completion_tokens to it")

    def each(self, requests: list[Request], account: Account) -> Iterator[tuple[int, Reply]]:
        """(index, reply) as the replies come, `at_once` requests at a time. After the first failure no turn
        starts, but those under way are waited for, because they are paid for."""
        failures: list[UserError] = []
        self.stopped.clear()

        def work(request: Request) -> Reply | None:
            try:
                return self._one(request, account)
            except UserError as error:
                failures.append(error)
                self.stopped.set()
                return None

        with ThreadPoolExecutor(max(1, self.settings.at_once)) as pool:
            index_of = {pool.submit(work, request): index for index, request in enumerate(requests)}
            try:
                for future in as_completed(index_of):
                    reply = future.result()
                    if reply is not None:
                        yield index_of[future], reply
            finally:  # the reader has stopped, or been stopped
                self.stopped.set()
        if not failures and account.trial.never_answered():
            failures.append(self._stop(self.last_failure))
        if failures:
            raise failures[0]

    def _one(self, request: Request, account: Account) -> Reply | None:
        """The reply; refused where this request has no answer. None: the run has stopped. UserError where the
        set-up is at fault, or a ceiling."""
        for turn in range(self.settings.retries + 1):
            if not self._wait():
                return None
            ticket = account.reserve(request, self.worst(request))
            outcome: Reply | Failure = Failure("stopped", "passing", True)
            try:
                outcome = self._turn(request)
            finally:
                reply = outcome if isinstance(outcome, Reply) else None
                account.settle(ticket, reply, reply is None and outcome.may_be_billed)
            if reply is not None or outcome.kind in ("question", "setup"):
                return self._judged(outcome, request, account)
            if turn < self.settings.retries and self.stopped.wait(pause_before(turn, outcome.pause)):
                return None

        # It failed in every turn: its own fault, unless nothing else is answered either (see each, too).
        words = f"failed {self.settings.retries + 1} times: {outcome.words}"
        if outcome.pause:
            words += f" (it asks to wait {outcome.pause:.0f} s)"
        self.last_failure = words
        if account.trial.failed() or outcome.kind == "unreachable":
            raise self._stop(words)
        return Reply("", refused=words)

    def _judged(self, outcome: Reply | Failure, request: Request, account: Account) -> Reply:
        """The reply of an answer, or of a request that was refused. UserError where the set-up is at
        fault."""
        if isinstance(outcome, Reply) and not outcome.refused:
            account.trial.answered()
            return outcome
        if isinstance(outcome, Reply):
            words, limit = outcome.refused, MANY
        else:
            words, limit = outcome.words, outcome.limit
        is_setup = isinstance(outcome, Failure) and outcome.kind == "setup"
        if is_setup or account.trial.refused(words, limit):
            see_to = f"see to tag.url, tag.model and the key, which is read from {' or '.join(KEYS)}"
            raise self._stop(words, see_to if is_setup or limit == 1 else self.advice(words, request))
        return outcome if isinstance(outcome, Reply) else Reply("", refused=words)

    def _stop(self, words: str, advice: str = "") -> UserError:
        return UserError("; ".join(filter(None, (f"{self.endpoint}: {words}", advice, GOES_ON))))

    def _turn(self, request: Request) -> Reply | Failure:
        """What one request over the wire brings."""
        messages = [{"role": role, "content": text.encode(errors="replace").decode()}
                    for role, text in request.messages]
        body = {"model": self.model, "messages": messages, **self.body(request)}
        try:
            return read(*self.wire.post("/chat/completions", body), self.worst(request))
        except Failure as failure:
            return failure

    def body(self, request: Request) -> dict[str, Any]:
        """The fields of a request beside its model and messages."""
        body = {"temperature": request.temperature, "max_tokens": request.room, "seed": request.seed % 2**31,
                **self.settings.extra}
        return {name: value for name, value in body.items() if value is not None}

    def worst(self, request: Request) -> tuple[int, int]:
        """See Chat: `extra` may ask for another room or several answers, and its own words may be billed."""
        body, extra = self.body(request), self.settings.extra
        rooms = [body[name] for name in ROOM_FIELDS if isinstance(body.get(name), int)]
        answers = body["n"] if isinstance(body.get("n"), int) else 1
        extra_bytes = len(json.dumps(extra, default=str).encode()) if extra else 0
        return request.worst_prompt_tokens + extra_bytes, max(rooms, default=request.room) * max(1, answers)

    def advice(self, words: str, request: Request) -> str:
        """What to set where a server refuses every request in these words, "" where they do not tell."""
        body, extra = self.body(request), self.settings.extra
        if words.startswith(NO_ROOM):
            return ""
        if TOO_LONG.search(words):
            return "lower tag.room or lamp.k, or serve the model with a longer context"
        named = [name for name in body if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
        if not named:
            return ""
        change: dict[str, Any] = {named[0]: None}
        if named[0] == "max_tokens" and "max_completion_tokens" in words:
            change["max_completion_tokens"] = request.room
        fields = ", ".join(f"{name}: {json.dumps(value)}" for name, value in {**extra, **change}.items())
        return f"set tag.extra={{{fields}}}"

    def _wait(self) -> bool:
        """Lets at most `per_minute` turns start in a minute. Whether the turn may start."""
        if self.settings.per_minute and not self.stopped.is_set():
            with self.lock:
                start = max(self.next_start, time.monotonic())
                self.next_start = start + 60 / self.settings.per_minute
            self.stopped.wait(max(0.0, start - time.monotonic()))
        return not self.stopped.is_set()


# ---------------------------------------------------------------- a model of our own

class Local:
    """A Hugging Face model in 4 bits, loaded at the first question. The setting `extra` goes to its chat
    template (enable_thinking)."""

    def __init__(self, name: str, settings: Tag):
        self.model, self.settings = Model(name=name), settings
        self.loaded: tuple | None = None  # (model, tokenizer)
        self.together = None  # how many prompts are decoded together, a BatchLimit
        self.identity = {"local": name, "extra": settings.extra}

    def worst(self, request: Request) -> tuple[int, int]:
        """See Chat."""
        return request.worst_prompt_tokens, request.room

    def each(self, requests: list[Request], account: Account) -> Iterator[tuple[int, Reply]]:
        """(index, reply). Requests of equal settings and of about one length are decoded together."""
        from ...engine.model import load
        from ...engine.rollout import prompt_limit, sample_all
        from ...engine.sample import end_tokens
        if not requests:
            return
        if self.loaded is None:
            self.loaded = load(self.model)
        model, tokenizer = self.loaded
        if self.together is None:
            self.together = prompt_limit("tag.at_once", self.settings.at_once)
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
            tickets = self._reserve([requests[index] for index in batch], account)
            rows = sample_all(model, [prompts[index] for index in batch], 1, room,
                              end_tokens(model, tokenizer), together=self.together, temperature=temperature,
                              seeds=[[requests[index].seed] for index in batch])
            for index, (row,), ticket in zip(batch, rows, tickets):
                text = self._text(row.ids, row.ended)
                reply = self._reply(text, row.ended, len(prompts[index]), len(row.ids))
                account.settle(ticket, reply)
                if not reply.refused:
                    account.trial.answered()
                elif account.trial.refused(reply.refused, MANY):
                    raise UserError(f"{self.model.name}: {MANY} answers, none with a text; {reply.refused}")
                yield index, reply

    def _reserve(self, requests: list[Request], account: Account) -> list[int]:
        """A ticket for each; none is held where one could break a ceiling."""
        tickets: list[int] = []
        try:
            for request in requests:
                tickets.append(account.reserve(request, self.worst(request)))
        except UserError:
            for ticket in tickets:
                account.settle(ticket, None)
            raise
        return tickets

    def _text(self, ids: list[int], ended: bool) -> str:
        """A completion's text, the marks of a thought included."""
        _, tokenizer = self.loaded
        return completion_text(tokenizer, ids, ended)

    def _reply(self, text: str, ended: bool, asked: int, written: int) -> Reply:
        """What was decoded, as a Reply. ended: the model ended it, and not the room."""
        text = joined([text])
        refused = "" if text else "an answer without text" if ended else NO_ROOM
        return Reply(text, "", asked, written, refused, "stop" if ended else "length")

    def _prompt_ids(self, request: Request) -> list[int]:
        """The messages as token ids [P]; control tokens in them are text."""
        _, tokenizer = self.loaded
        messages = [{"role": role, "content": as_text(tokenizer, text)} for role, text in request.messages]
        try:
            extra = {"chat_template": undated(tokenizer.chat_template), **self.settings.extra}
            return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True,
                                                 return_dict=False, **extra)
        except Exception as error:  # a template is a program of its own, and may raise anything
            raise UserError(f"the chat template of {self.model.name} cannot be used: {safe(error)}") from None
