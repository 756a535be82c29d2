"""User embeddings: e_u = e_0 + f(history), as a few soft tokens in the base model's embedding space.

Profile items are embedded once by the frozen base (mean of its last hidden states) and cached; f is an attention of
t learned queries over them and a small MLP. A user without a history is e_0, a new user needs no training: LaMP's
test users have never been seen, so a table of learned rows could not serve them. A learned row for known users and
attention that looks at the question come with a later issue.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..engine.embed import mean_states
from ..lamp.tasks import Item, Question
from ..runs import read_json, whole_file

ITEM_TOKENS = 48  # enough for a label and the gist of a text; the encoder reads means, not details


def history(question: Question, most: int) -> list[Item]:
    """The items an embedding is made from: the retrieved ones first, then the newest, `most` in all."""
    order = dict.fromkeys([*question.retrieved, *reversed(range(len(question.profile)))])
    return [question.profile[i] for i in list(order)[:most]]


def items_file(folder: Path) -> Path:
    """Where a run keeps its item embeddings; another model makes others."""
    return folder / f"items-{str(read_json(folder / 'plan.json')['identity']).replace('/', '-')}.safetensors"


class ItemEmbeddings:
    """Profile item -> [H] fp32, computed once by the bare base and kept in a file."""

    def __init__(self, model, tokenizer, path: Path):
        self.model, self.tokenizer, self.path = model, tokenizer, path
        self.known: dict[str, Tensor] = load_file(path) if path.exists() else {}

    @staticmethod
    def text(item: Item) -> str:
        return f"{item.label}: {item.text}" if item.label else item.text

    def key(self, item: Item) -> str:
        return hashlib.sha256(self.text(item).encode()).hexdigest()[:24]

    def add(self, items: list[Item], tick: Callable[[int], None] = lambda n: None) -> None:
        """Embeds what is not there yet, and saves."""
        new = {self.text(i): self.key(i) for i in items if self.key(i) not in self.known}
        if new:
            found = mean_states(self.model, self.tokenizer, list(new), ITEM_TOKENS, tick=tick)
            self.known.update((new[text], row) for text, row in found.items())
            with whole_file(self.path) as beside:
                save_file(self.known, beside)

    def of(self, items: list[Item]) -> Tensor:
        """[n, H] of items that `add` has seen."""
        return torch.stack([self.known[self.key(i)] for i in items])


class UserTokens(nn.Module):
    """History [n, H] -> soft tokens [t, H], scaled to the norm of the base's own token embeddings."""

    def __init__(self, hidden: int, tokens: int, norm: float, inner: int = 128):
        super().__init__()
        self.norm = norm
        self.generic = nn.Parameter(torch.randn(tokens, hidden) * norm / hidden**0.5)  # e_0
        self.queries = nn.Parameter(torch.randn(tokens, inner) * inner**-0.5)
        self.read = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, inner))
        self.write = nn.Sequential(nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, hidden))

    def forward(self, items: Tensor | None) -> Tensor:
        if items is None or not len(items):
            return self._scaled(self.generic)
        read = self.read(items.to(self.generic.device))
        weight = (self.queries @ read.T * read.shape[1]**-0.5).softmax(-1)  # [t, n]
        return self._scaled(self.generic + self.norm * self.write(weight @ read))

    def _scaled(self, x: Tensor) -> Tensor:
        return self.norm * F.normalize(x, dim=-1)
