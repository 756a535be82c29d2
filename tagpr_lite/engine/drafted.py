"""Greedy decoding of one completion, several tokens a forward.

A forward of one row costs what reading the weights costs, and a forward of sixteen tokens costs little more.
So the next tokens are guessed, and one forward checks them all: the guess ("draft") is taken over as far as
it is what the model itself would have written, and then comes one token of the model's own. The completion is
that of plain greedy decoding, whatever the drafts are; drafts decide how fast it comes. Sums are taken in
another order, so two tokens whose logits are equal but for rounding may change places.

The draft of a token is what followed it in a text that was seen before: in the prompt, which a chain quotes,
in earlier completions, and in the chains that the model was trained on, whose form it has learnt.

Example, after "This user": the last text with these words goes on with " used", " classic", " 4", and the
model wants " used", " comedy". " used" is taken over, and " comedy" is the model's own: two tokens in one
forward.

Prior art; none of this was found first here. Checking a draft in one forward: speculative decoding (arXiv
2211.17192, 2302.01318). Drafts without a second model: from the prompt (prompt lookup decoding, Saxena 2023),
from a store of texts (REST, 2311.08252).
"""
from __future__ import annotations

from collections import defaultdict

import torch
from torch import nn

from .decode import choose
from .prefix import KV, Forwarded, attend_causally, base_of, forward
from .sample import Listen, Sample, require_finite_states

DRAFT = 15  # tokens of a draft, at most: with one of the model's own, 16 a forward
LONGEST_MATCH = 16  # tokens before a place that are compared, at most
REMEMBERED = 100_000  # tokens of earlier texts, at most


class Drafts:
    """Texts that were seen, one behind the other, and where each token stands in them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.ids: list[int] = []
        # {token: the places behind it}: ids [7, 4, 7, 9] give {7: [1, 3], 4: [2], 9: [4]}.
        self.places: dict[int, list[int]] = defaultdict(list)

    def add(self, ids: list[int]) -> None:
        """One more text, or more of the last one. Where there are too many, the older half is forgotten."""
        for token in ids:
            self.ids.append(token)
            self.places[token].append(len(self.ids))
        if len(self.ids) > REMEMBERED:
            newer = self.ids[len(self.ids) // 2:]
            self.forget()
            self.add(newer)

    def next(self, most: int = DRAFT) -> list[int]:
        """What may follow the last text: what followed the longest match of its end, the newest of equal
        ones."""
        here = len(self.ids)
        best, longest = here, 0
        for place in reversed(self.places[self.ids[-1]]):
            if place == here:  # the end itself
                continue
            length = self._common_ending(place, here)
            if length > longest:
                best, longest = place, length
            if longest == LONGEST_MATCH:
                break
        return self.ids[best:best + most]

    def _common_ending(self, one: int, other: int) -> int:
        """Tokens that are alike before two places, LONGEST_MATCH at most."""
        length = 0
        while length < min(one, LONGEST_MATCH) and self.ids[one - 1 - length] == self.ids[other - 1 - length]:
            length += 1
        return length


class Row:
    """One row that is written several tokens at a time: their attention to all tokens before them.

    kv: of the prompt, per layer [1, Hkv, P, D]. room: most tokens behind it, those of a draft that may turn
    out wrong included. length: how many tokens are known, P at first; what stands behind them is written
    over.
    """

    def __init__(self, kv: KV, room: int):
        self.length = kv[0][0].shape[2]
        self.kv = []
        for keys, values in kv:
            _, heads, P, D = keys.shape
            own_keys = keys.new_empty(1, heads, P + room, D)
            own_values = values.new_empty(1, heads, P + room, D)
            own_keys[:, :, :P], own_values[:, :, :P] = keys, values
            self.kv.append((own_keys, own_values))

    def attend(self, layer, q, k, v, scaling):
        """q [1, H, W, D], k and v [1, Hkv, W, D] of W tokens behind the known ones -> [1, H, W, D]."""
        keys, values = self.kv[layer]
        end = self.length + k.shape[2]
        keys[:, :, self.length:end] = k
        values[:, :, self.length:end] = v
        return attend_causally(q, keys[:, :, :end], values[:, :, :end], scaling)


@torch.inference_mode()
def write_greedily(model: nn.Module, prompt: Forwarded, prompt_ids: list[int], room: int, ends: set[int],
                   drafts: Drafts, listen: Listen | None = None) -> Sample:
    """The greedy completion of a prompt [P], of at most `room` tokens.

    ends, listen: as of engine.sample.sample; the row is 0. drafts: learns the prompt and the completion.
    """
    require_finite_states(prompt.last)
    device = base_of(model).device
    row = Row(prompt.kv, room + DRAFT)
    drafts.add(prompt_ids)
    completion = Sample([], [], False)
    drawn = choose(model, prompt.last, 0, None)  # the first token [1]
    draft: list[int] = []
    while True:
        # 1. The draft as far as the model agrees, and the model's token behind it: drawn [W] is what the
        # model wants at each place, so place i is right if all drafted tokens before it were.
        for place, (token, logp, entropy) in enumerate(zip(*(values.tolist() for values in drawn))):
            completion.add(token, logp, entropy, ends)
            drafts.add([token])
            goes_on = listen is None or listen(0, token)
            if completion.ended or not goes_on or len(completion.ids) == room:
                return completion
            if place == len(draft) or token != draft[place]:
                break
        row.length += place  # the taken part of the draft is known now; see 2 for the token before it

        # 2. One forward [1, W] of the last token and the next draft.
        draft = drafts.next()
        ids = torch.tensor([[token, *draft]], device=device)
        hidden = forward(model, row, ids=ids, start=row.length)[0]  # [W, H]
        row.length += 1  # the last token is known; the draft behind it is not yet
        drawn = choose(model, hidden, 0, None)
