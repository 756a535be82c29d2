"""Prompts that begin alike are computed alike only once.

Whoever asks again shares the beginning of the last prompt: the header of the chat, what is counted over the
history, and often the items. Keys and values of a token depend on the tokens before it alone, so those of the
common beginning are taken over, and only the rest of the prompt goes through the model.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .prefix import KV, Prefill, Suffix, base_of, forward


@dataclass
class CachedPrompt:
    """A prompt that was forwarded. ids [P]; kv: per layer keys and values [1, Hkv, P, D]; last [1, H]: the
    hidden state that predicts the next token. reused: how many of its tokens were not computed for it."""
    ids: list[int]
    kv: KV
    last: Tensor
    reused: int = 0


@dataclass
class Extension(Suffix):
    """The rest of a prompt behind its beginning, one row, whose keys and values are kept too."""
    whole: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def attend(self, layer, q, k, v, scaling):
        past_k, past_v = self.kv[layer]  # [1, Hkv, shared, D]
        self.whole[layer] = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        return super().attend(layer, q, k, v, scaling)


class PromptCache:
    """The last few prompts of one model. It must be emptied when the model's weights or adapters change."""

    def __init__(self, most: int = 8):
        """most: how many prompts are kept; the one that was not used for longest goes first."""
        self.most = most
        self.prompts: list[CachedPrompt] = []

    def empty(self) -> None:
        self.prompts.clear()

    @torch.inference_mode()
    def forward(self, model: nn.Module, ids: list[int]) -> CachedPrompt:
        """The prompt ids [P], forwarded: whole, or from where it differs from the most alike one."""
        # At least the last token is computed: its hidden state is wanted.
        nearest = max(self.prompts, key=lambda prompt: common_length(prompt.ids, ids), default=None)
        shared = min(common_length(nearest.ids, ids), len(ids) - 1) if nearest else 0
        rest = torch.tensor(ids[shared:], device=base_of(model).device)[None]  # [1, P - shared]
        if shared:
            mode = Extension([(k[:, :, :shared], v[:, :, :shared]) for k, v in nearest.kv])
            kept = mode.whole
        else:
            mode = Prefill()
            kept = mode.kv
        hidden = forward(model, mode, ids=rest, start=shared)
        last = hidden[:, -1].clone()  # a view would hold the states of the whole prompt
        prompt = CachedPrompt(list(ids), [kept[layer] for layer in sorted(kept)], last, shared)

        # What the new prompt begins with adds nothing to it, and goes.
        self.prompts = [old for old in self.prompts if common_length(old.ids, ids) < len(old.ids)]
        self.prompts = [*self.prompts, prompt][-self.most:]
        return prompt


def common_length(one: list[int], other: list[int]) -> int:
    """Tokens with which both begin: [1, 2, 3] and [1, 2, 7, 8] give 2."""
    for place, (a, b) in enumerate(zip(one, other)):
        if a != b:
            return place
    return min(len(one), len(other))
