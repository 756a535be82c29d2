"""Asking a language model, and never twice: every answer is kept on disk under the hash of its request.

All requests go through `Answers.ask`. It looks on disk, asks for what is missing (models.py), writes each
answer the moment it arrives, and returns all in the order of the requests. An answer without text is kept
like any other, since it was paid for and would come again. So a run that was killed starts again where it
was, and pays for no answer a second time.

Beside the answers lie the turns that were begun and brought none: a run that goes on after a kill counts them
at their worst case, because they may have been billed.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ...config import UserError
from ...runs import cache_folder, read_json, write_json, write_text
from .ledger import MANY, Ledger, Trial

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
        return sum(len(text.encode(errors="replace")) + OVERHEAD for _, text in self.messages)


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
    finish: str = ""
    """The server's finish_reason: `length` for an answer that was cut."""

    @property
    def is_answer(self) -> bool:
        """Whether a model gave it, with a text or without. A refused request was not answered at all."""
        return not self.refused or self.asked > 0


class Account(Protocol):
    """Where a chat enters each turn: before it, and after it."""
    trial: Trial

    def reserve(self, request: Request, worst: tuple[int, int]) -> int:
        """The ticket of a turn with this worst case (prompt tokens, answer tokens). UserError where it could
        break a ceiling."""

    def settle(self, ticket: int, reply: Reply | None, lost: bool = False) -> None:
        """The turn is over. lost: it brought no reply, and may have been billed all the same."""


class Chat(Protocol):
    """A model that answers requests."""
    identity: dict[str, Any]
    """What an answer depends on beside the request."""

    def each(self, requests: list[Request], account: Account) -> Iterator[tuple[int, Reply]]:
        """(index of the request, its reply), as the replies come."""

    def worst(self, request: Request) -> tuple[int, int]:
        """Most (prompt tokens, answer tokens) of one turn."""


class Answers:
    """A chat whose answers are kept, one JSON file each."""

    def __init__(self, chat: Chat, ledger: Ledger, folder: Path | None = None):
        self.chat, self.ledger, self.folder = chat, ledger, folder or cache_folder() / "answers"
        self.trial = Trial()
        self.counted: set[Path] = set()  # files whose turns and answer the ledger has
        self.known: list[Reply] = []  # read from disk, and not yet looked at by _check_known
        self.under_way: dict[int, tuple[Request, int]] = {}  # {ticket: (request, turns lost before)}

    def ask(self, requests: list[Request], tick: Callable[[], None] = lambda: None) -> list[Reply]:
        """The replies, in order. Equal requests are asked once. tick: called once for every request."""
        # 1. What is on disk already.
        request_at = {self.path(request): request for request in requests}
        replies: dict[Path, Reply] = {}
        for path, request in request_at.items():
            known = self.read(path)
            if known is not None:
                replies[path] = known
            self._count(path, request, known)
        self._check_known()
        missing = {path: request for path, request in request_at.items() if path not in replies}
        for _ in range(len(requests) - len(missing)):
            tick()

        # 2. The rest is asked for, and each answer kept when it comes. A refused request has none.
        missing_paths = list(missing)
        for index, reply in self.chat.each(list(missing.values()), self):
            path = missing_paths[index]
            if reply.is_answer and path not in self.counted:
                self._keep(path, reply)
            replies[path] = reply
            tick()
        return [replies[self.path(request)] for request in requests]

    # ---------------------------------------------------------------- on disk

    def path(self, request: Request) -> Path:
        """The file of a request's answer, such as answers/3f/3f2a...json."""
        content = json.dumps([self.chat.identity, asdict(request)], sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(content.encode(errors="replace")).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.json"

    def read(self, path: Path) -> Reply | None:
        """The reply kept there, None where there is no file or a damaged one."""
        try:
            reply = Reply(**read_json(path)) if path.exists() else None
        except (UserError, TypeError):
            return None
        if reply is None:
            return None
        texts = reply.text, reply.thought, reply.refused, reply.finish
        counts = reply.asked, reply.written
        is_whole = all(isinstance(text, str) for text in texts) and all(
            type(count) is int and count >= 0 for count in counts)
        return reply if is_whole else None

    def _keep(self, path: Path, reply: Reply) -> None:
        write_json(path, asdict(reply))
        self.counted.add(path)

    def turns(self, path: Path) -> int:
        """Turns that were begun for the answer of this file and brought none, as far as is known."""
        try:
            return max(0, int(path.with_suffix(".turns").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return 0

    def _write_turns(self, path: Path, turns: int) -> None:
        file = path.with_suffix(".turns")
        if turns:
            write_text(file, str(turns))
        else:
            file.unlink(missing_ok=True)

    # ---------------------------------------------------------------- the account of the chat

    def reserve(self, request: Request, worst: tuple[int, int]) -> int:
        """See Account. The turn is on disk before it begins, so a kill does not hide it."""
        ticket = self.ledger.reserve(*worst)
        path = self.path(request)
        before = self.turns(path)
        self.under_way[ticket] = request, before
        self._write_turns(path, before + 1)
        return ticket

    def settle(self, ticket: int, reply: Reply | None, lost: bool = False) -> None:
        """See Account. An answer is on disk before its turn is forgotten."""
        request, before = self.under_way.pop(ticket)
        path = self.path(request)
        self.counted.add(path)
        is_answer = reply is not None and reply.is_answer
        if is_answer:
            self._keep(path, reply)
        self._write_turns(path, before + lost)
        self.ledger.settle(ticket, (reply.asked, reply.written) if is_answer else None, lost)

    def _count(self, path: Path, request: Request, known: Reply | None) -> None:
        """Enters what earlier runs paid for this request, and may have paid, once."""
        if path in self.counted:
            return
        turns = self.turns(path)
        if turns:
            self.ledger.add_lost(turns, *self.chat.worst(request))
        if known is not None:
            self.ledger.add_known(known.asked, known.written)
            self.known.append(known)
        if turns or known is not None:
            self.counted.add(path)

    def _check_known(self) -> None:
        """Answers on disk speak for the set-up like new ones. UserError where many have no text and none has
        one."""
        if any(not reply.refused for reply in self.known):
            self.trial.answered()
        stops = [reply for reply in self.known if reply.refused and self.trial.refused(reply.refused, MANY)]
        self.known = []
        if stops:
            raise UserError(f"{MANY} answers or more, none with a text; {stops[0].refused} "
                            f"(they are kept in {self.folder})")
