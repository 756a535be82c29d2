"""Asking a language model, and never twice: every answer is kept on disk under the hash of its request.

All requests go through `Answers.ask`. It looks on disk, asks for what is missing (models.py), writes each
answer the moment it arrives, and returns all in the order of the requests. So a run that was killed starts
again where it was, and pays for no answer a second time.

Decision. A request may start only if the ceiling would hold even in its worst case: one token for every byte
of the prompt, and `room` tokens of answer.
"""
from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...config import UserError
from ...runs import cache_folder, read_json, write_json

OVERHEAD = 32  # tokens that a chat template may add to a message


@dataclass(frozen=True)
class Request:
    """One question to a model. The names of the fields are part of the hash that an answer is kept under."""
    messages: tuple[tuple[str, str], ...]
    """(role, text)."""
    seed: int
    room: int
    """Most tokens of the answer, its thinking included."""
    temperature: float

    @property
    def worst_prompt_tokens(self) -> int:
        """An upper bound on the prompt's tokens: no token is shorter than a byte."""
        return sum(len(text.encode()) + OVERHEAD for _, text in self.messages)


@dataclass(frozen=True)
class Reply:
    """A model's answer, as it is kept on disk."""
    text: str
    thought: str = ""
    """What a thinking model reports apart from its answer."""
    asked: int = 0
    """Tokens of the prompt."""
    written: int = 0
    """Tokens of the answer."""
    refused: str = ""
    """Why there is no text; "" where there is one."""


class Chat(Protocol):
    """A model that answers requests."""
    identity: dict[str, Any]
    """What an answer depends on beside the request."""

    def each(self, requests: list[Request], ledger: Ledger) -> Iterator[tuple[int, Reply]]:
        """(index of the request, its reply), as the replies come."""


# ---------------------------------------------------------------- cost

@dataclass
class Ledger:
    """Tokens and money of all requests so far, and the ceilings that no request may break. A ceiling of 0 is
    none."""
    price_in: float = 0.0
    price_out: float = 0.0
    """Per million tokens."""
    most_cost: float = 0.0
    most_tokens: int = 0
    asked: int = 0
    written: int = 0
    """Tokens of all prompts and answers so far."""
    replies: int = 0
    known: int = 0
    """Replies that were on disk already."""
    reserved: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)
    """{ticket: (prompt tokens, answer tokens)}: the worst cases of the requests under way."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cost(self, asked: int, written: int) -> float:
        """In the currency of the prices, which are per million tokens."""
        return (asked * self.price_in + written * self.price_out) / 1e6

    def reserve(self, request: Request) -> int:
        """The ticket of the request, whose worst case is set aside. UserError where it could break a
        ceiling."""
        with self.lock:
            # What everything paid, everything under way and this request could come to.
            asked = self.asked + request.worst_prompt_tokens
            asked += sum(prompt_tokens for prompt_tokens, _ in self.reserved.values())
            written = self.written + request.room
            written += sum(answer_tokens for _, answer_tokens in self.reserved.values())
            self._check("tag.max_cost", self.most_cost, self.cost(asked, written))
            self._check("tag.max_tokens", self.most_tokens, asked + written)
            ticket = max(self.reserved, default=-1) + 1
            self.reserved[ticket] = (request.worst_prompt_tokens, request.room)
            return ticket

    def _check(self, setting: str, ceiling: float, worst: float) -> None:
        if ceiling and worst > ceiling:
            raise UserError(f"{setting}={ceiling} could be broken by the next answer ({self.summary()}); "
                            "what came is kept, and a higher ceiling goes on from there")

    def settle(self, ticket: int, reply: Reply | None) -> None:
        """The request is over; without a reply it cost nothing."""
        with self.lock:
            del self.reserved[ticket]
            if reply is not None:
                self._add(reply)

    def add_known(self, reply: Reply) -> None:
        """An answer from disk: paid before, and it counts towards the ceilings like any other."""
        with self.lock:
            self._add(reply)
            self.known += 1

    def _add(self, reply: Reply) -> None:
        self.asked += reply.asked
        self.written += reply.written
        self.replies += 1

    def summary(self) -> str:
        cost = self.cost(self.asked, self.written)
        tokens = f"{self.asked} tokens in, {self.written} out"
        price = f", cost {cost:.2f}" if cost else ""
        return f"{self.replies} answers, {self.known} of them known, {tokens}{price}"

    def figures(self) -> dict:
        """The sums that do not depend on where a run was stopped."""
        return {"answers": self.replies, "tokens_in": self.asked, "tokens_out": self.written,
                "cost": round(self.cost(self.asked, self.written), 4)}


# ---------------------------------------------------------------- answers on disk

class Answers:
    """A chat whose answers are kept, one JSON file each."""

    def __init__(self, chat: Chat, ledger: Ledger, folder: Path | None = None):
        self.chat, self.ledger, self.folder = chat, ledger, folder or cache_folder() / "answers"

    def path(self, request: Request) -> Path:
        """The file of a request's answer, such as answers/3f/3f2a...json."""
        content = json.dumps([self.chat.identity, asdict(request)], sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(content.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.json"

    def read(self, path: Path) -> Reply | None:
        """The reply kept there, None where there is no file or a damaged one."""
        try:
            return Reply(**read_json(path)) if path.exists() else None
        except (UserError, TypeError):
            return None

    def ask(self, requests: list[Request], tick: Callable[[], None] = lambda: None) -> list[Reply]:
        """The replies, in order. Equal requests are asked once. tick: called once for every request."""
        # 1. What is on disk already.
        paths = [self.path(request) for request in requests]
        replies: dict[Path, Reply] = {}
        for path in dict.fromkeys(paths):
            known = self.read(path)
            if known is not None:
                replies[path] = known
                self.ledger.add_known(known)
        missing = {path: request for path, request in zip(paths, requests) if path not in replies}
        for _ in range(len(requests) - len(missing)):
            tick()

        # 2. The rest is asked for, and each answer kept when it comes. A refusal is not kept.
        missing_paths = list(missing)
        for index, reply in self.chat.each(list(missing.values()), self.ledger):
            path = missing_paths[index]
            if not reply.refused:
                write_json(path, asdict(reply))
            replies[path] = reply
            tick()
        return [replies[path] for path in paths]
