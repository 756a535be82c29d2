"""PRMU: r(u, x, y), a scalar for a tagged chain y to question x, given the user u as soft tokens.

It is the policy's own NF4 base with a third adapter and a scalar head: no second base in memory. The adapter
begins as SFT's, which knows how chains are written. It sees the question but not the profile as text, so what
it knows of the user it knows through the embedding; the name and the user embedding are the paper's,
everything else here is our choice. A group's completions share one forward of the prompt.

    r(u, x, y) = head([h_last, mean h]) + s * cos(e_u - e_0, phi(y))

h [R, H] are the states of the chain's tokens after [user tokens | question]; e_u and e_0 are the embeddings
of this user and of the generic one, averaged over their tokens; s is learned and begins at 10. The second
term is a low-rank reward <u, phi(y)> (cf. PReF, LoRe) in the space of token embeddings: how far y leans to
where this user differs from the others. It is right about most users before any training, and 0 for the
generic user.

    phi(y) = sum_i w_i E[y_i] - c + MLP([sum_i w_i E[y_i] - c, layer_norm(mean h)])

E is the base's token embedding, w = softmax(E[y] q) with a learned q, and c the mean token embedding of
training chains.
"""
from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import Prompt, Reward
from ..engine.adapters import require_finite
from ..engine.logps import padded
from ..engine.memory import BatchLimit
from ..engine.model import adapter_parameters, load_adapter, save_adapter, using
from ..engine.prefix import SharedPrefix, base_of
from ..lamp.chat import completion_ids
from ..lamp.prompts import build
from ..lamp.tasks import Question
from ..runs import read_json, whole_folder, write_json
from .users import INNER, TextEmbeddings, UserTokens

ADAPTER = "prmu"
RATED_TOGETHER = 8  # completions in one forward without gradients, where `reward.micro` says nothing
MATCH_SCALE = 10.0  # s at the start; the cosines of two chains differ by some tenths


class PRMUParts(nn.Module):
    """What is PRMU's alone, beside the adapter: user tokens, head, match. H: the base's hidden size."""

    def __init__(self, token_embeddings: Tensor, tokens: int, users: tuple[str, ...]):
        """token_embeddings [V, H]: the base's table. tokens: of a user. users: who get learned rows of their
        own."""
        super().__init__()
        hidden = token_embeddings.shape[1]
        embedding_norm = float(token_embeddings.float().norm(dim=-1).mean())
        self.users = UserTokens(hidden, tokens, embedding_norm, users)
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Flatten(), nn.Linear(2 * hidden, 1))
        nn.init.zeros_(self.head[2].weight)  # training begins at the match alone
        self.match = nn.Parameter(torch.tensor(MATCH_SCALE))  # s
        self.weigh = nn.Parameter(torch.zeros(hidden))  # q: at the start every token weighs the same
        # The MLP of phi; it begins at 0.
        self.say = nn.Sequential(nn.Linear(2 * hidden, INNER), nn.GELU(), nn.Linear(INNER, hidden))
        nn.init.zeros_(self.say[2].weight)
        nn.init.zeros_(self.say[2].bias)
        self.register_buffer("spoken", torch.zeros(hidden))  # c
        self.to(token_embeddings.device)

    def phrase(self, words: Tensor, mask: Tensor, mean_state: Tensor) -> Tensor:
        """phi(y) [m, H] from the chains' token embeddings [m, R, H], their mask [m, R] and their mean states
        [m, H]."""
        weight = (words @ self.weigh).masked_fill(~mask, float("-inf")).softmax(-1)  # [m, R]
        content = (weight[..., None] * words).sum(1) - self.spoken
        state = F.layer_norm(mean_state, mean_state.shape[-1:])
        return content + self.say(torch.cat([content, state], -1))

    def reward(self, states: Tensor, words: Tensor, mask: Tensor, user: Tensor) -> Tensor:
        """r [m] from the states [m, R, H] of chains, their token embeddings [m, R, H], mask [m, R] and the
        user's soft tokens [t, H]."""
        lengths = mask.sum(1)
        mean_state = (states * mask[..., None]).sum(1) / lengths[:, None]
        last_state = states[torch.arange(len(states)), lengths - 1]
        from_states = self.head(torch.stack([last_state, mean_state], 1))[:, 0]
        direction = (user - self.users.generic_user()).mean(0)  # e_u - e_0, [H]
        phrase = self.phrase(words, mask, mean_state)
        return from_states + self.match * F.cosine_similarity(direction[None], phrase, dim=-1)


class PRMU:
    """A base model with the PRMU adapter, and PRMU's own parts beside it."""

    def __init__(self, model, tokenizer, settings: Reward, prompt: Prompt, texts: TextEmbeddings,
                 users: tuple[str, ...] = (), folder: Path | None = None):
        """users: those who get learned rows of their own. folder: of the run, which remembers how many chains
        fit into memory."""
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.prompt = prompt
        self.texts = texts
        self.parts = PRMUParts(base_of(model).get_input_embeddings().weight, settings.tokens, users)
        self.rated_together = BatchLimit("reward.micro, rating", "chains", settings.micro or RATED_TOGETHER,
                                         folder, "lower prompt.max_tokens, or use a smaller model")

    def trainable(self) -> dict[str, nn.Parameter]:
        """{name: parameter} of the parts, then of the adapter."""
        return dict(self.parts.named_parameters()) | adapter_parameters(self.model, ADAPTER)

    def train(self) -> None:
        """Both halves in training mode: activation checkpointing works in it alone."""
        self.model.train()
        self.parts.train()

    def eval(self) -> None:
        self.model.eval()
        self.parts.eval()

    def user(self, question: Question) -> Tensor:
        """The soft tokens [t, H] of the question's user; e_0 of a model that was trained blind."""
        if self.settings.blind:
            return self.parts.users.generic_user()
        topic, items = self.texts.lookup(question, self.settings.history)  # [H], [n, 3, H]
        return self.parts.users(topic, items, question.user)

    def generic_user(self) -> Tensor:
        """e_0, the soft tokens [t, H] of the generic user."""
        return self.parts.users.generic_user()

    def shared_prompt(self, question: Question, user: Tensor, grad: bool = False) -> SharedPrefix:
        """The part that a question's chains share: the prompt without the profile, with the user's tokens in
        it."""
        ids, _ = build(question, self.tokenizer, self.prompt, with_profile=False, reason=True)
        return self.forward_prompt(ids, user, grad)

    def forward_prompt(self, ids: list[int], user: Tensor, grad: bool = False) -> SharedPrefix:
        """[first prompt token | user tokens | rest of the prompt], forwarded once."""
        table = base_of(self.model).get_input_embeddings()
        embeds = table(torch.tensor(ids, device=table.weight.device))  # [P, H]
        embeds = torch.cat([embeds[:1], user.to(embeds.dtype), embeds[1:]])
        return SharedPrefix(self.model, embeds=embeds, grad=grad)

    def encode(self, text: str) -> list[int]:
        """A chain as the policy writes it: its tokens and the end token."""
        return completion_ids(self.tokenizer, text)

    def scores(self, shared_prompt: SharedPrefix, completions: list[list[int]], user: Tensor) -> Tensor:
        """r [m] of completions (token ids) after a prompt that the user's soft tokens [t, H] are part of."""
        ids, mask = padded(completions, shared_prompt.last.device)
        states = shared_prompt.suffix(ids).float()
        words = base_of(self.model).get_input_embeddings()(ids).float()
        return self.parts.reward(states, words, mask, user)

    @torch.no_grad()
    def fit(self, questions: list[Question], texts: list[str]) -> None:
        """Takes from training questions and chains what users and chains say on average. Calling it again
        starts anew."""
        items = [self.texts.lookup(question, self.settings.history)[1] for question in questions]
        self.parts.users.fit(torch.cat(items))
        table, spoken = base_of(self.model).get_input_embeddings(), self.parts.spoken
        means = [table(torch.tensor(self.encode(text), device=spoken.device)).float().mean(0)
                 for text in texts]
        spoken.copy_(torch.stack(means).mean(0))

    @torch.no_grad()
    def rate(self, question: Question, completions: list[list[int]], user: Tensor | None = None,
             together: BatchLimit | None = None) -> Tensor:
        """r [m] without gradients, under the PRMU adapter, `together` completions at a time. user: soft
        tokens that replace those of the question's own user."""
        together = self.rated_together if together is None else together
        with using(self.model, ADAPTER):
            soft_tokens = self.user(question) if user is None else user
            return together.attempt(lambda micro: self.rate_after(self.shared_prompt(question, soft_tokens),
                                                                  completions, soft_tokens, micro),
                                    present=len(completions))

    def rate_after(self, shared_prompt: SharedPrefix, completions: list[list[int]], user: Tensor,
                   micro: int) -> Tensor:
        """r [m] of completions after a prompt, `micro` at a time."""
        parts = [completions[first:first + micro] for first in range(0, len(completions), micro)]
        return torch.cat([self.scores(shared_prompt, part, user) for part in parts])

    def save(self, folder: Path, report: dict) -> None:
        """adapter/, head.safetensors (whose header names the users who have rows) and report.json. UserError:
        a value is not a number."""
        require_finite(self.parts.state_dict(), "PRMU")
        tensors = {name: t.cpu().contiguous() for name, t in self.parts.state_dict().items()}
        with whole_folder(folder) as beside:
            save_adapter(self.model, ADAPTER, beside / "adapter")
            save_file(tensors, beside / "head.safetensors",
                      metadata={"users": json.dumps(list(self.parts.users.rows))})
            write_json(beside / "report.json", report)


def load_prmu(folder: Path, model, tokenizer, settings: Reward, prompt: Prompt, texts: TextEmbeddings):
    """(PeftModel with the adapter added, PRMU, its report) from a folder that `save` wrote, in the folder of
    the run."""
    model = load_adapter(model, folder / "adapter", ADAPTER)
    with safe_open(folder / "head.safetensors", "pt") as f:
        names = json.loads((f.metadata() or {}).get("users", "[]"))
    prmu = PRMU(model, tokenizer, settings, prompt, texts, tuple(names), folder.parent)
    prmu.parts.load_state_dict(load_file(folder / "head.safetensors"))
    require_finite(prmu.parts.state_dict(), f"{folder / 'head.safetensors'}")
    prmu.parts.eval().requires_grad_(False)
    return model, prmu, read_json(folder / "report.json")
