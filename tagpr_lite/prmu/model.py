"""PRMU: r(u, x, y), a scalar for a tagged chain y to question x, given the user u as soft tokens.

It is the policy's own NF4 base with a third adapter and a scalar head: no second base in memory. It sees the question
but not the profile as text, so what it knows of the user it knows through the embedding; the name and the user
embedding are the paper's, everything else here is our choice. A group's completions share one forward of the prompt.
"""
from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import Prompt, Reward
from ..engine.logps import padded
from ..engine.model import adapter_parameters, load_adapter, save_adapter, using
from ..engine.prefix import SharedPrefix, base_of
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import read_json, whole_folder, write_json
from .users import ItemEmbeddings, UserTokens, history

ADAPTER = "prmu"


class PRMU(nn.Module):
    """The head and the user tokens; the adapter lives in `model`, which is held but not registered as a part."""

    def __init__(self, model, tokenizer, settings: Reward, prompt: Prompt, items: ItemEmbeddings):
        super().__init__()
        object.__setattr__(self, "model", model)  # not a sub-module: state_dict holds what is PRMU's alone
        self.tokenizer, self.settings, self.prompt, self.items = tokenizer, settings, prompt, items
        table = base_of(model).get_input_embeddings().weight
        hidden = table.shape[1]
        self.users = UserTokens(hidden, settings.tokens, float(table.float().norm(dim=-1).mean()))
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 1))
        self.to(table.device)

    def trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters()) | adapter_parameters(self.model, ADAPTER)

    def user(self, question: Question) -> Tensor:
        """The soft tokens [t, H] of the question's user."""
        return self.users(self.items.of(history(question, self.settings.history)))

    def generic(self) -> Tensor:
        """e_0 alone: the user nobody knows."""
        return self.users(None)

    def prefix(self, question: Question, user: Tensor, grad: bool = False) -> SharedPrefix:
        """The shared part: first prompt token, user tokens, rest of the prompt (question, no profile)."""
        ids, _ = build(question, self.tokenizer, self.prompt, with_profile=False, reason=True)
        table = base_of(self.model).get_input_embeddings()
        embeds = table(torch.tensor(ids, device=table.weight.device))
        return SharedPrefix(self.model, embeds=torch.cat([embeds[:1], user.to(embeds.dtype), embeds[1:]]), grad=grad)

    def scores(self, at: SharedPrefix, completions: list[list[int]]) -> Tensor:
        """r [m] of completions (token ids), read at their last token."""
        ids, mask = padded(completions, at.last.device)
        last = at.suffix(ids)[torch.arange(len(ids)), mask.sum(1) - 1]
        return self.head(last.float())[:, 0]

    @torch.no_grad()
    def rate(self, question: Question, completions: list[list[int]], user: Tensor | None = None,
             micro: int = 8) -> Tensor:
        """r [m] without gradients, under the PRMU adapter, `micro` completions at a time; `user` replaces the question's
        own."""
        with using(self.model, ADAPTER):
            at = self.prefix(question, self.user(question) if user is None else user)
            parts = (completions[i:i + micro] for i in range(0, len(completions), micro))
            return torch.cat([self.scores(at, part) for part in parts])

    def save(self, folder: Path, report: dict) -> None:
        with whole_folder(folder) as beside:
            save_adapter(self.model, ADAPTER, beside / "adapter")
            save_file({k: v.cpu().contiguous() for k, v in self.state_dict().items()}, beside / "head.safetensors")
            write_json(beside / "report.json", report)


def load_prmu(folder: Path, model, tokenizer, settings: Reward, prompt: Prompt, items: ItemEmbeddings):
    """(PeftModel with the adapter added, PRMU, its report) from a folder that `save` wrote."""
    model = load_adapter(model, folder / "adapter", ADAPTER)
    prmu = PRMU(model, tokenizer, settings, prompt, items)
    prmu.load_state_dict(load_file(folder / "head.safetensors"))
    return model, prmu.eval().requires_grad_(False), read_json(folder / "report.json")
