"""What a run's requests cost, and what their refusals mean: both are sums over everything that was asked.

Decisions. A turn that brought no answer may have been billed all the same: the client waited too briefly, the
line broke, the answer was cut. Such a turn is lost, and counts at its worst case towards the ceilings. A
request may start only if the ceilings would hold even in its own worst case.
"""
from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from ...config import UserError

FEW, MANY = 3, 20
"""Refusals before any answer that are a fault of the set-up: of equal words, and of any words or paid for."""


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
    lost: int = 0
    lost_asked: int = 0
    lost_written: int = 0
    """Turns without an answer that may have been billed, and the tokens of their worst cases."""
    excess: tuple[int, int] = (0, 0)
    """Tokens by which an answer went beyond its worst case so far: a server may put words of its own before a
    prompt."""
    reserved: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)
    """{ticket: (prompt tokens, answer tokens)}: the worst cases of the requests under way."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def cost(self, asked: int, written: int) -> float:
        """In the currency of the prices, which are per million tokens."""
        return (asked * self.price_in + written * self.price_out) / 1e6

    def reserve(self, asked: int, written: int) -> int:
        """The ticket of a turn whose worst case, in tokens, is set aside. UserError where it could break a
        ceiling."""
        with self.lock:
            # What everything paid, everything lost, everything under way and this turn could come to.
            under_way = [*self.reserved.values(), (asked, written)]
            all_asked = self.asked + self.lost_asked + len(under_way) * self.excess[0]
            all_asked += sum(prompt for prompt, _ in under_way)
            all_written = self.written + self.lost_written + len(under_way) * self.excess[1]
            all_written += sum(answer for _, answer in under_way)
            self._check("tag.max_cost", self.most_cost, self.cost(all_asked, all_written))
            self._check("tag.max_tokens", self.most_tokens, all_asked + all_written)
            ticket = max(self.reserved, default=-1) + 1
            self.reserved[ticket] = asked, written
            return ticket

    def _check(self, setting: str, ceiling: float, worst: float) -> None:
        if ceiling and worst > ceiling:
            raise UserError(f"{setting}={ceiling} could be broken by the next answer ({self.summary()}); "
                            "what came is kept, and a higher ceiling goes on from there")

    def settle(self, ticket: int, paid: tuple[int, int] | None, lost: bool = False) -> None:
        """The turn is over. paid: (prompt tokens, answer tokens) of its answer; None: it brought none.
        lost: it may have been billed all the same."""
        with self.lock:
            worst = self.reserved.pop(ticket)
            if paid is not None:
                beyond = paid[0] - worst[0], paid[1] - worst[1]
                self.excess = max(self.excess[0], beyond[0]), max(self.excess[1], beyond[1])
                self._add(*paid)
            elif lost:
                self._lose(1, worst[0] + self.excess[0], worst[1] + self.excess[1])

    def add_known(self, asked: int, written: int) -> None:
        """An answer from disk, in tokens: paid before, and it counts towards the ceilings like any other."""
        with self.lock:
            self._add(asked, written)
            self.known += 1

    def add_lost(self, turns: int, asked: int, written: int) -> None:
        """Turns of a run that was stopped, each with this worst case in tokens."""
        with self.lock:
            self._lose(turns, asked, written)

    def _add(self, asked: int, written: int) -> None:
        self.asked += asked
        self.written += written
        self.replies += 1

    def _lose(self, turns: int, asked: int, written: int) -> None:
        self.lost += turns
        self.lost_asked += turns * asked
        self.lost_written += turns * written

    def summary(self) -> str:
        cost = self.cost(self.asked, self.written)
        price = f", cost {cost:.2f}" if cost else ""
        text = (f"{self.replies} answers, {self.known} of them known, {self.asked} tokens in, "
                f"{self.written} out{price}")
        if self.lost:
            lost_cost = self.cost(self.lost_asked, self.lost_written)
            price = f", cost {lost_cost:.2f}" if lost_cost else ""
            text += (f"; {self.lost} turns without an answer may have been billed up to {self.lost_asked} "
                     f"tokens in, {self.lost_written} out{price}")
        return text

    def figures(self) -> dict:
        """The sums that do not depend on where a run was stopped."""
        return {"answers": self.replies, "tokens_in": self.asked, "tokens_out": self.written,
                "cost": round(self.cost(self.asked, self.written), 4)}


class Trial:
    """Tells a fault of the set-up from a fault of one question, by what other requests met."""

    def __init__(self):
        self.works = False  # whether any request was answered with text
        self.refusals: list[str] = []  # words before the first such answer
        self.failed_in_a_row = 0  # requests that failed in every turn, since the last one that did not
        self.lock = threading.Lock()

    def answered(self) -> None:
        with self.lock:
            self.works, self.failed_in_a_row = True, 0

    def refused(self, words: str, limit: int) -> bool:
        """Counts a refusal. Whether it shows a fault of the set-up: nothing was answered before, and the
        first `limit` were refused in equal words, or the first MANY in any."""
        with self.lock:
            self.failed_in_a_row = 0
            if self.works:
                return False
            self.refusals.append(gist(words))
            equal = len(set(self.refusals)) == 1
            return len(self.refusals) >= (limit if equal else MANY)

    def failed(self) -> bool:
        """Counts a request that failed in every turn. Whether the endpoint is at fault: it failed for FEW
        requests in a row."""
        with self.lock:
            self.failed_in_a_row += 1
            return self.failed_in_a_row >= FEW

    def never_answered(self) -> bool:
        """Whether there were failures, and nothing that shows that the endpoint works."""
        with self.lock:
            return self.failed_in_a_row > 0 and not self.works


def gist(words: str) -> str:
    """Words without what differs from request to request: numbers, and ids with digits in them."""
    return re.sub(r"\S*\d\S*", "#", words)
