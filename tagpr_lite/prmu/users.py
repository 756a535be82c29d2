"""User embeddings: e_u = e_0 + f(history | question) + o_u, a few soft tokens in the base model's embedding
space.

Every text is embedded once by the frozen base and cached: the mean of its last hidden states, which says what
it is about, and the mean of its token embeddings, which the base can read as if the text stood there. e_0
begins as what users say on average (labels, titles, scores), and f says how this one differs: it attends to
the history with t learned queries, half of which begin by looking for what is like the question, takes what
the user said there in the base's own vocabulary, and adds what an MLP makes of it. A new user works from the
history alone, one without a history is e_0, and a history that grows changes the embedding without any
training. o_u is an optional learned row for users seen in training, 0 for all others: LaMP's test users have
none.

That user embeddings exist is known of the paper; how they are made here is our choice (cf. P-RLHF 2402.05133
for e_0 + o_u, PPlug for a history read by its likeness to the question).
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
from ..engine.prefix import base_of
from ..lamp.tasks import Item, Question
from ..plan.run_plan import read_plan
from ..runs import whole_file

TEXT_TOKENS = 48  # enough for the gist of a text; means are read, not details
INNER = 128  # width of f


def history(question: Question, most: int) -> list[Item]:
    """The items an embedding is made from: the retrieved ones first, then the newest, `most` in all."""
    order = dict.fromkeys([*question.retrieved, *reversed(range(len(question.profile)))])
    return [question.profile[i] for i in list(order)[:most]]


def about(question: Question) -> str:
    """What the question asks about, without its instruction: what items are compared with."""
    return question.task.payload(question.input)


def said(item: Item) -> str:
    """What the user said to an item: its label, or the text itself where that is what they wrote."""
    return item.label or item.text


def texts_file(folder: Path) -> Path:
    """Where a run keeps its text embeddings; another model makes others."""
    return folder / f"texts-{read_plan(folder).identity.replace('/', '-')}.safetensors"


class TextEmbeddings:
    """Text -> [2, H] fp32 (mean last hidden state, mean token embedding), made once by the bare base and kept
    in a file."""

    def __init__(self, model, tokenizer, path: Path):
        self.model, self.tokenizer, self.path = model, tokenizer, path
        self.known: dict[str, Tensor] = load_file(path) if path.exists() else {}

    def add(self, questions: list[Question], most: int, tick: Callable[[int], None] = lambda n: None,
            keep: bool = True) -> None:
        """Embeds what these questions and their histories need and is not there yet. keep: writes the file,
        all of it, so not question by question."""
        texts = {t for q in questions
                 for t in (about(q), *(t for i in history(q, most) for t in (i.text, said(i))))}
        new = {t: key for t in texts if (key := self.key(t)) not in self.known}
        if not new:
            return
        states = mean_states(self.model, self.tokenizer, list(new), TEXT_TOKENS, tick=tick)
        table = base_of(self.model).get_input_embeddings().weight
        for text, key in new.items():
            ids = self.tokenizer(text, truncation=True, max_length=TEXT_TOKENS,
                                 add_special_tokens=False).input_ids or [0]
            self.known[key] = torch.stack([states[text], table[ids].detach().float().mean(0).cpu()])
        if keep:
            with whole_file(self.path) as beside:
                save_file(self.known, beside)

    def of(self, question: Question, most: int) -> tuple[Tensor, Tensor]:
        """(what the question is about [H], its history [n, 3, H]: what each item is about, what the user said
        to it, and that in token embeddings) of a question that `add` has seen."""
        items = [torch.cat([self[i.text][:1], self[said(i)]]) for i in history(question, most)]
        query = self[about(question)][0]
        return query, torch.stack(items) if items else query.new_empty(0, 3, len(query))

    def __getitem__(self, text: str) -> Tensor:
        return self.known[self.key(text)]

    @staticmethod
    def key(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class UserTokens(nn.Module):
    """(question [H], history [n, 3, H]) -> soft tokens [t, H], scaled to the norm of the base's token
    embeddings.

    hidden: H; norm: that norm; users: names of those who get a learned row (o_u), () for none.
    """

    def __init__(self, hidden: int, tokens: int, norm: float, users: tuple[str, ...] = ()):
        super().__init__()
        self.norm, self.rows = norm, {name: n for n, name in enumerate(users)}
        self.generic = nn.Parameter(torch.randn(tokens, hidden) * 0.1 * norm / hidden**0.5)  # e_0; see fit
        self.register_buffer("first_generic", self.generic.detach().clone(), persistent=False)
        self.queries = nn.Parameter(torch.randn(tokens, INNER) * INNER**-0.5)
        self.sharp = nn.Parameter(torch.arange(tokens) % 2 * 12.0)  # every other token begins at what is like the question
        self.gate = nn.Parameter(torch.ones(tokens, 1))
        self.key = nn.Linear(hidden, INNER)
        self.value = nn.Linear(2 * hidden, INNER)
        self.write = nn.Sequential(nn.Linear(INNER, INNER), nn.GELU(), nn.Linear(INNER, hidden))
        nn.init.zeros_(self.write[2].weight)  # training begins at what the user said, and the MLP is learned on top
        nn.init.zeros_(self.write[2].bias)
        self.register_buffer("usual", torch.zeros(hidden))  # what users say on average, as a direction
        self.register_buffer("mean", torch.zeros(2, hidden))  # of states: they share one large direction, and a few
        self.register_buffer("spread", torch.ones(2, hidden))  # of their dimensions are much wider than the rest
        self.own = nn.Embedding(len(users), tokens * hidden) if users else None
        if users:
            nn.init.zeros_(self.own.weight)

    @torch.no_grad()
    def fit(self, items: Tensor) -> None:
        """Takes from items [N, 3, H] the statistics that states are standardised by, and what is usual, where
        e_0 begins. Calling it again starts anew."""
        self.usual.copy_(F.normalize(items[:, 2], dim=-1).mean(0))
        self.generic.copy_(self.first_generic + self.norm * self.usual)
        self.mean.copy_(items[:, :2].mean(0))
        self.spread.copy_(items[:, :2].std(0, correction=0).clamp(min=1e-3))

    def forward(self, query: Tensor, items: Tensor, user: str = "") -> Tensor:
        """[t, H]. No items and no row of one's own: e_0."""
        e = self.generic
        if len(items):
            e = e + self.read(query.to(e.device), items.to(e.device))
        if user in self.rows:
            e = e + self.own.weight[self.rows[user]].view_as(e)
        return self.scaled(e)

    def generic_user(self) -> Tensor:
        """e_0."""
        return self.scaled(self.generic)

    def read(self, query: Tensor, items: Tensor) -> Tensor:
        """f: [t, H]. Attention by learned queries and by cosine with the question, over the items."""
        states = (items[:, :2] - self.mean) / self.spread  # [n, 2, H]
        alike = F.cosine_similarity((query - self.mean[0]) / self.spread[0], states[:, 0])  # [n]
        logits = self.queries @ self.key(states[:, 0]).T * INNER**-0.5 + self.sharp[:, None] * alike
        weight = logits.softmax(-1)  # [t, n]
        words = weight @ (F.normalize(items[:, 2], dim=-1) - self.usual)
        return self.norm * (self.gate * words + self.write(weight @ self.value(states.flatten(1))))

    def scaled(self, x: Tensor) -> Tensor:
        return self.norm * F.normalize(x, dim=-1)
