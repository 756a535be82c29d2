"""One decode step: the next token of every row that has not ended, G rows or fewer of each of B prompts.

The linear layers take the N computed rows as they come, whatever prompts they belong to. In attention every
row reads its own past by itself, and the rows of a prompt read its keys together, in one product for all
prompts: [B, heads, S n, D] x [B, heads, D, P]. S is the number of seats: the most rows that any prompt has
left. A prompt with fewer rows has empty seats, which cost a little and are never read.

A row that has ended is dropped: a row from the end of the buffers moves into its place, so that the computed
rows are always the first N, and nothing is allocated. A prompt without rows is dropped in the same way.

Within a step only the values of tensors change from token to token, never their shape or their place, so that
a card can replay a step as a graph (engine/graph.py). A card therefore reads the whole room of R own
positions and masks those to come. A CPU has no graph to keep, and reads those that are written.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .graph import Repeated
from .logps import log_softmax
from .prefix import KV, base_of, forward

# On a CPU, products of one to three rows are summed in another order than those of four and more. With four
# seats, where G is as much, a row's result does not depend on how many rows are left beside it.
LEAST_SEATS = 4
# Devices that read of a row's past what is written, not the whole room.
READ_WRITTEN = ("cpu",)
# Rows are dropped this many at a time; a card needs a graph of its own for every number of rows.
STEP_OF_ROWS = {"cpu": 1, "cuda": 8}

Drawn = tuple[Tensor, Tensor, Tensor]
"""(tokens [N], their log-probs [N] under the distribution sampled from, entropies [N] of the model's own
distribution, which is that of temperature 1)."""


class Decode:
    """Attention of one new token a row: softmax over [prompt, own past] without copying the prompt.

    kv: per layer keys and values [B, Hkv, P, D], right-padded to the longest prompt; dropping a prompt writes
    into them. lengths: tokens of each prompt [B]. group: rows of a prompt, G. room: most tokens of a row, R.

    rows [N]: which row lies in which place, such as [0, 1, 7, 3]; row 7 belongs to prompt 7 // G.
    prompts [B]: which prompt lies in which place.
    """

    def __init__(self, kv: KV, lengths: Tensor, group: int, room: int):
        like = kv[0][0]
        B, heads, _, D = like.shape
        self.kv, self.lengths, self.group, self.room, self.device = kv, lengths, group, room, like.device
        # Zeros: what is masked still enters a product, and a weight of 0 times NaN in fresh memory is NaN.
        buffer = B * group, heads, room, D
        self.own = [(k.new_zeros(buffer), v.new_zeros(buffer)) for k, v in kv]
        self.rows, self.prompts = list(range(B * group)), list(range(B))
        # The place in the completions that is written now: as a tensor [1] for the step, and as a number.
        self.place, self.t = torch.zeros(1, dtype=torch.long, device=self.device), 0
        self._seat()

    def at(self, t: int) -> None:
        """The next step writes place t of every row, 0 for the first."""
        self.t = t
        self.place.fill_(t)

    # ---------------------------------------------------------------- the rows that are left

    def drop(self, ended: list[bool]) -> tuple[list[int], list[int]] | None:
        """Drops ended rows [N] where that makes the batch smaller; None where it does not. Otherwise the
        moves (from, to) of the rows that stay: with rows 1 and 2 of four ended, ([3], [1]). Some ended rows
        may stay, to fill up the batch."""
        # 1. How many rows are computed from now on: 9 that are left are 9 on a CPU, 16 on a card.
        step = STEP_OF_ROWS[self.device.type]
        size = min(len(self.rows), -(-ended.count(False) // step) * step)
        if size == len(self.rows):
            return None

        # 2. Their keys and values, all layers, as far as they are written.
        source, target = moves([not over for over in ended], size)
        _move([side[:, :, :self.t + 1] for layer in self.own for side in layer], source, target)
        self.rows = _moved(self.rows, source, target, size)

        # 3. The prompts of these rows.
        wanted = {row // self.group for row in self.rows}
        from_prompt, to_prompt = moves([b in wanted for b in self.prompts], len(wanted))
        _move([side for layer in self.kv for side in layer] + [self.lengths], from_prompt, to_prompt)
        self.prompts = _moved(self.prompts, from_prompt, to_prompt, len(wanted))
        self._seat()
        return source, target

    def _seat(self) -> None:
        """Gives every row a seat at its prompt, and notes what is padding.

        Example of prompts [0, 1] and rows [0, 1, 5, 3] of G = 3: rows 0 and 1 sit at prompt 0, rows 5 and 3
        at prompt 1. With S = 3 seats, the seats of the rows are [0, 1, 3, 4] and the rows of the seats
        [0, 1, 0, 2, 3, 0], where the two empty seats name row 0.
        """
        of_prompt: dict[int, list[int]] = {b: [] for b in self.prompts}
        for place, row in enumerate(self.rows):
            of_prompt[row // self.group].append(place)
        self.seats = max(min(LEAST_SEATS, self.group), *(len(places) for places in of_prompt.values()))
        seat_of_row, row_of_seat = [0] * len(self.rows), [0] * (len(self.prompts) * self.seats)
        for n, b in enumerate(self.prompts):
            for seat, place in enumerate(of_prompt[b], start=n * self.seats):
                seat_of_row[place], row_of_seat[seat] = seat, place
        prompt_of_row = [self.prompts.index(row // self.group) for row in self.rows]

        tensor = lambda numbers: torch.tensor(numbers, device=self.device)
        self.seat_of_row, self.row_of_seat = tensor(seat_of_row), tensor(row_of_seat)
        lengths = self.lengths[:len(self.prompts)]
        self.row_lengths = lengths[tensor(prompt_of_row)]  # [N]
        # True at the padding of shorter prompts, [B, 1, 1, P]: lengths [3, 2] give [F F F] and [F F T].
        positions = torch.arange(self.kv[0][0].shape[2], device=self.device)
        self.padding = (positions >= lengths[:, None])[:, None, None]
        # A step of fixed shapes masks what need not be masked, too.
        self.fixed = self.device.type not in READ_WRITTEN
        self.padded = self.fixed or bool(self.padding.any())

    # ---------------------------------------------------------------- one step

    def positions(self) -> Tensor:
        """Positions [N, 1] of the tokens that are read now. To be called once a step, before attend."""
        self.to_come = torch.arange(self.room, device=self.device) > self.place  # [R]
        return (self.row_lengths + self.place)[:, None]

    def attend(self, layer, q, k, v, scaling):
        """q [N, Hkv * n, 1, D], k and v [N, Hkv, 1, D] -> [N, Hkv * n, 1, D]; n query heads read one key
        head."""
        B, N, (_, heads, _, D) = len(self.prompts), len(self.rows), k.shape
        n, seen = q.shape[1] // heads, self.room if self.fixed else self.t + 1
        prompt_k, prompt_v = (side[:B] for side in self.kv[layer])  # [B, Hkv, P, D]
        own_k, own_v = (side[:N] for side in self.own[layer])  # [N, Hkv, R, D]

        # 1. This token's keys and values join the row's own.
        own_k.index_copy_(2, self.place, k)
        own_v.index_copy_(2, self.place, v)
        own_k, own_v = own_k[:, :, :seen], own_v[:, :, :seen]

        # 2. Scores [B, Hkv, S n, P + seen]: the seats of a prompt read its keys in one product, each row
        # reads its own past.
        q = (q * scaling).view(N, heads, n, D)
        scores = self._to_seats(q) @ prompt_k.transpose(-1, -2)
        if self.padded:
            scores.masked_fill_(self.padding, float("-inf"))
        to_own = q @ own_k.transpose(-1, -2)
        if self.fixed:
            to_own.masked_fill_(self.to_come, float("-inf"))
        scores = torch.cat([scores, self._to_seats(to_own)], -1)
        weight = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
        del scores, to_own

        # 3. Values under these weights, from both parts, [N, Hkv, n, D].
        P = prompt_k.shape[2]
        prompt = self._to_rows(weight[..., :P] @ prompt_v, n)
        own = self._to_rows(weight[..., P:], n) @ own_v
        return (prompt + own).view(N, heads * n, 1, D)

    def _to_seats(self, rows: Tensor) -> Tensor:
        """[N, Hkv, n, X] -> [B, Hkv, S * n, X], the rows of a prompt side by side."""
        _, heads, n, width = rows.shape
        seats = rows.index_select(0, self.row_of_seat).view(-1, self.seats, heads, n, width)
        return seats.transpose(1, 2).reshape(-1, heads, self.seats * n, width)

    def _to_rows(self, seats: Tensor, n: int) -> Tensor:
        """[B, Hkv, S * n, X] -> [N, Hkv, n, X]."""
        B, heads, _, width = seats.shape
        rows = seats.reshape(B, heads, self.seats, n, width).transpose(1, 2)
        return rows.reshape(-1, heads, n, width).index_select(0, self.seat_of_row)


def moves(stays: list[bool], size: int) -> tuple[list[int], list[int]]:
    """(from, to): the moves after which everything that stays lies in the first `size` places. Staying
    [T, F, F, T] and size 2: ([3], [1])."""
    source = [place for place in range(size, len(stays)) if stays[place]]
    target = [place for place in range(size) if not stays[place]]
    return source, target[:len(source)]


def _moved(names: list[int], source: list[int], target: list[int], size: int) -> list[int]:
    """The names of the first `size` places after these moves."""
    names = list(names)
    for old, new in zip(source, target, strict=True):
        names[new] = names[old]
    return names[:size]


def _move(tensors: list[Tensor], source: list[int], target: list[int]) -> None:
    """The same moves along the first dimension of every tensor, in place."""
    if source:
        old, new = (torch.tensor(places, device=tensors[0].device) for places in (source, target))
        for tensor in tensors:
            tensor[new] = tensor[old]


class Sampler:
    """Draws one token a row and step, [N] rows at first B * G.

    temperature 0 is greedy; otherwise quantiles [B * G, R] are the numbers in [0, 1) that decide.
    """

    def __init__(self, model: nn.Module, state: Decode, temperature: float, quantiles: Tensor | None):
        self.model, self.state, self.temperature, self.quantiles = model, state, temperature, quantiles
        self.tokens = torch.zeros(len(state.rows), dtype=torch.long, device=state.device)
        self.repeated = Repeated(state.device, state.room)

    def first(self, hidden: Tensor) -> Drawn:
        """What is drawn [B * G] after the prompts, whose last states are hidden [B, H]."""
        hidden = hidden.repeat_interleave(self.state.group, 0)
        u = None if self.quantiles is None else self.quantiles[:, 0]
        drawn = choose(self.model, hidden, self.temperature, u)
        self.tokens.copy_(drawn[0])
        return drawn

    def drop(self, ended: list[bool]) -> None:
        """Drops ended rows [N], as far as Decode.drop does."""
        moved = self.state.drop(ended)
        if moved is not None:
            _move([t for t in (self.tokens, self.quantiles) if t is not None], *moved)
            self.repeated.forget()

    def next(self, t: int) -> Drawn:
        """What is drawn [N] for place t + 1 of the rows in state.rows, whose tokens at place t were drawn
        last."""
        self.state.at(t)
        drawn = self.repeated(self._step)
        tokens = drawn[0]
        self.tokens[:len(tokens)] = tokens
        return drawn

    def _step(self) -> Drawn:
        """Reads and writes tensors in fixed places alone. It may run twice with the same result."""
        state, N = self.state, len(self.state.rows)
        ids, positions = self.tokens[:N, None], state.positions()
        hidden = forward(self.model, state, ids=ids, positions=positions)[:, 0]
        u = None
        if self.quantiles is not None:
            u = self.quantiles[:N].index_select(1, state.place + 1)[:, 0]
        return choose(self.model, hidden, self.temperature, u)


def choose(model: nn.Module, hidden: Tensor, temperature: float, u: Tensor | None) -> Drawn:
    """What is drawn after hidden states [N, H]: at the quantiles u [N], or greedily where u is None."""
    logp = log_softmax(base_of(model).lm_head(hidden).float() / (temperature or 1.0))
    entropy = _own_entropy(logp, temperature or 1.0)  # before the fp64 tables below, so that memory is free
    chosen = logp.argmax(-1) if u is None else _inverse_cdf(logp, u)
    return chosen, logp.gather(-1, chosen[:, None])[:, 0], entropy


def _own_entropy(logp: Tensor, temperature: float) -> Tensor:
    """Entropies [N] in nats of the model's own distribution, from the log-probs [N, V] at a temperature.

    -sum p log p over all tokens, which is exact. -log p(drawn token) has the same expectation and costs
    nothing, but says nothing of a greedy answer.
    """
    if temperature != 1.0:
        logp = log_softmax(logp * temperature)
    return -logp.exp().mul_(logp).sum(-1)


def _inverse_cdf(logp: Tensor, u: Tensor) -> Tensor:
    """Tokens [N] at quantiles u [N] of the distributions logp [N, V]; fp64, since fp32 sums drift over 150k
    terms."""
    cdf = logp.double().exp().cumsum(-1)
    return torch.searchsorted(cdf, (u * cdf[:, -1])[:, None], right=True)[:, 0].clamp(max=logp.shape[1] - 1)
