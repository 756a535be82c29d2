"""PRMU: r(u, x, y), a scalar for a tagged chain y to question x, given the user u as soft tokens.

It is the policy's own NF4 base with a third adapter and a scalar head: no second base in memory. The adapter begins as SFT's,
which knows how chains are written. It sees the question but not the profile as text, so what it knows of the user it
knows through the embedding; the name and the user embedding are the paper's, everything else here is our choice. A
group's completions share one forward of the prompt.
"""
from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import Prompt, Reward
from ..engine.logps import padded
from ..engine.model import adapter_parameters, load_adapter, save_adapter, using
from ..engine.prefix import SharedPrefix, base_of
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import read_json, whole_folder, write_json
from .users import INNER, TextEmbeddings, UserTokens

ADAPTER = "prmu"
MATCH = 10.0  # at the start, learned; cosines of two chains differ by some tenths


class PRMU(nn.Module):
    """The head and the user tokens; the adapter lives in `model`, which is held but not registered as a part."""

    def __init__(self, model, tokenizer, settings: Reward, prompt: Prompt, texts: TextEmbeddings,
                 users: tuple[str, ...] = ()):
        super().__init__()
        object.__setattr__(self, "model", model)  # not a sub-module: state_dict holds what is PRMU's alone
        self.tokenizer, self.settings, self.prompt, self.texts = tokenizer, settings, prompt, texts
        table = base_of(model).get_input_embeddings().weight
        hidden = table.shape[1]
        self.users = UserTokens(hidden, settings.tokens, float(table.float().norm(dim=-1).mean()), users)
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Flatten(), nn.Linear(2 * hidden, 1))
        nn.init.zeros_(self.head[2].weight)  # training begins at the match alone
        self.match = nn.Parameter(torch.tensor(MATCH))
        self.weigh = nn.Parameter(torch.zeros(hidden))
        self.say = nn.Sequential(nn.Linear(2 * hidden, INNER), nn.GELU(), nn.Linear(INNER, hidden))
        nn.init.zeros_(self.say[2].weight)
        nn.init.zeros_(self.say[2].bias)
        self.register_buffer("spoken", torch.zeros(hidden))  # the mean token embedding of chains
        self.to(table.device)

    def trainable(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters()) | adapter_parameters(self.model, ADAPTER)

    def user(self, question: Question) -> Tensor:
        """The soft tokens [t, H] of the question's user; e_0 of a model that was trained blind."""
        if self.settings.blind:
            return self.users.nobody()
        return self.users(*self.texts.of(question, self.settings.history), question.user)

    def prefix(self, question: Question, user: Tensor, grad: bool = False) -> SharedPrefix:
        """The shared part: first prompt token, user tokens, rest of the prompt (question, no profile)."""
        ids, _ = build(question, self.tokenizer, self.prompt, with_profile=False, reason=True)
        return self.opened(ids, user, grad)

    def opened(self, ids: list[int], user: Tensor, grad: bool = False) -> SharedPrefix:
        """A prompt's tokens with the user's after the first."""
        table = base_of(self.model).get_input_embeddings()
        embeds = table(torch.tensor(ids, device=table.weight.device))
        return SharedPrefix(self.model, embeds=torch.cat([embeds[:1], user.to(embeds.dtype), embeds[1:]]), grad=grad)

    def encode(self, text: str) -> list[int]:
        """A chain as the policy writes it: its tokens and the end token."""
        return self.tokenizer.encode(text, add_special_tokens=False) + [self.tokenizer.eos_token_id]

    def scores(self, at: SharedPrefix, completions: list[list[int]], user: Tensor) -> Tensor:
        """r [m] of completions (token ids) after the prefix `at` that `user` (soft tokens [t, H]) stands in.

        r = head(last state, mean state) + match * cos(e_u - e_0, phi(y)), e averaged over its tokens. The head reads what the
        model makes of user, question and chain. The second term is a low-rank reward <u, phi(y)> (cf. PReF, LoRe) in the
        space of token embeddings: how far y leans to where this user differs from the others. It is right about most users
        before any training; nobody (e_0) leans nowhere.
        """
        ids, mask = padded(completions, at.last.device)
        states, n = at.suffix(ids).float(), mask.sum(1)
        mean = (states * mask[..., None]).sum(1) / n[:, None]
        r = self.head(torch.stack([states[torch.arange(len(ids)), n - 1], mean], 1))[:, 0]
        lean = (user - self.users.nobody()).mean(0)
        return r + self.match * F.cosine_similarity(lean[None], self.phrase(ids, mask, mean), dim=-1)

    def phrase(self, ids: Tensor, mask: Tensor, mean: Tensor) -> Tensor:
        """phi [m, H]: what completions say, the weighted mean of their token embeddings without what all say, and what a
        small map makes of it and of the mean state [m, H]."""
        words = base_of(self.model).get_input_embeddings()(ids).float()
        weight = (words @ self.weigh).masked_fill(~mask, float("-inf")).softmax(-1)
        said = (weight[..., None] * words).sum(1) - self.spoken
        return said + self.say(torch.cat([said, F.layer_norm(mean, mean.shape[-1:])], -1))

    @torch.no_grad()
    def fit(self, questions: list[Question], texts: list[str]) -> None:
        """Takes from training questions and chains what users and chains say on average."""
        self.users.fit(torch.cat([self.texts.of(q, self.settings.history)[1] for q in questions]))
        table = base_of(self.model).get_input_embeddings()
        self.spoken.copy_(torch.stack([table(torch.tensor(self.encode(t), device=self.spoken.device)).float().mean(0)
                                       for t in texts]).mean(0))

    @torch.no_grad()
    def rate(self, question: Question, completions: list[list[int]], user: Tensor | None = None, micro: int = 8) -> Tensor:
        """r [m] without gradients, under the PRMU adapter, `micro` completions at a time; `user` replaces the question's
        own."""
        with using(self.model, ADAPTER):
            user = self.user(question) if user is None else user
            at = self.prefix(question, user)
            parts = (completions[i:i + micro] for i in range(0, len(completions), micro))
            return torch.cat([self.scores(at, part, user) for part in parts])

    def save(self, folder: Path, report: dict) -> None:
        """adapter/, head.safetensors (whose header names the users who have rows) and report.json."""
        with whole_folder(folder) as beside:
            save_adapter(self.model, ADAPTER, beside / "adapter")
            save_file({k: v.cpu().contiguous() for k, v in self.state_dict().items()}, beside / "head.safetensors",
                      metadata={"users": "\n".join(self.users.rows)})
            write_json(beside / "report.json", report)


def load_prmu(folder: Path, model, tokenizer, settings: Reward, prompt: Prompt, texts: TextEmbeddings):
    """(PeftModel with the adapter added, PRMU, its report) from a folder that `save` wrote."""
    model = load_adapter(model, folder / "adapter", ADAPTER)
    with safe_open(folder / "head.safetensors", "pt") as f:
        users = tuple((f.metadata() or {}).get("users", "").split("\n"))
    prmu = PRMU(model, tokenizer, settings, prompt, texts, users if users != ("",) else ())
    prmu.load_state_dict(load_file(folder / "head.safetensors"))
    return model, prmu.eval().requires_grad_(False), read_json(folder / "report.json")
