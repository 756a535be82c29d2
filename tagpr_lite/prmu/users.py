"""User embeddings: a user as t soft tokens [t, H] in the base model's embedding space.

    e_u = unit(e_0 + f(history | question) + o_u) * norm

    e_0     the generic user, learned; begins at what users respond on average
    f       how this user differs, read from the history; formula at `UserTokens`
    o_u     an optional learned row for a user seen in training, 0 for all others: LaMP's test users have none

Every text is embedded once by the frozen base and cached, as two vectors: the mean of its last hidden states,
which says what the text is about, and the mean of its token embeddings, which the base can read as if the
text stood there. f attends to the history with t learned queries, half of which begin by looking for items
like the question. It takes the user's responses to those items (labels, titles, scores) as token embeddings,
and adds the output of an MLP.

A new user is read from the history alone. A user without a history is e_0. A history that grows changes the
embedding without any training.

The paper says that user embeddings exist, not how they are made: this design is our choice (cf. P-RLHF
2402.05133 for e_0 + o_u, PPlug for a history read by its likeness to the question).
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.embed import mean_states, text_limit
from ..engine.prefix import base_of
from ..engine.state import read_checked, save_checked
from ..lamp.chat import as_text
from ..lamp.tasks import Item, Question
from ..plan.run_plan import read_plan
from ..runs import whole_file

TEXT_TOKENS = 48  # a text is cut here: a mean over its beginning is enough to tell what it is about
INNER = 128  # width of the attention and the MLP in f


def history_items(question: Question, limit: int) -> list[Item]:
    """The items an embedding is made from, `limit` in all: the retrieved ones first, then the newest."""
    newest_first = reversed(range(len(question.profile)))
    order = dict.fromkeys([*question.retrieved, *newest_first])  # each index once
    return [question.profile[index] for index in list(order)[:limit]]


def topic(question: Question) -> str:
    """What the question asks about, without its instruction: the text that items are compared with."""
    return question.task.payload(question.input)


def response(item: Item) -> str:
    """The user's response to an item: its label, or the text itself where the user wrote that."""
    return item.label or item.text


def texts_file(folder: Path) -> Path:
    """Where a run keeps its text embeddings, one file per base model."""
    return folder / f"texts-{read_plan(folder).identity.replace('/', '-')}.safetensors"


class TextEmbeddings:
    """{text: [2, H] fp32}: mean last hidden state and mean token embedding, computed once by the base without
    adapters and kept in a file."""

    def __init__(self, model, tokenizer, path: Path):
        self.model = model
        self.tokenizer = tokenizer
        self.path = path
        self.known: dict[str, Tensor] = {}
        if path.exists():
            try:
                self.known, _ = read_checked(path)
            except ValueError as error:
                print(f"  {path} cannot be used ({error}): its texts are embedded again", flush=True)

    def add(self, questions: list[Question], limit: int, tick: Callable[[int], None] = lambda n: None,
            keep: bool = True, alone: bool = False) -> None:
        """Embeds the texts of these questions and of their histories (`limit` items) that are not known yet.

        keep: writes the file. It is written whole, so this is too slow after every single question. alone:
        one text in a forward. A text's last bits depend on what it is padded beside, and a run that goes on
        after a cut asks in another order.
        """
        texts: set[str] = set()
        for question in questions:
            texts.add(topic(question))
            for item in history_items(question, limit):
                texts.update((item.text, response(item)))
        new_texts = [text for text in texts if self.key(text) not in self.known]
        if not new_texts:
            return

        together = text_limit(self.path.parent)
        states: dict[str, Tensor] = {}
        for part in [[text] for text in new_texts] if alone else [new_texts]:
            states |= mean_states(self.model, self.tokenizer, part, TEXT_TOKENS, together, tick)
        table = base_of(self.model).get_input_embeddings().weight  # [V, H]
        for text in new_texts:
            encoded = self.tokenizer(as_text(self.tokenizer, text), truncation=True, max_length=TEXT_TOKENS,
                                     add_special_tokens=False)
            token_ids = encoded.input_ids or [0]
            mean_token = table[token_ids].detach().float().mean(0).cpu()  # [H]
            self.known[self.key(text)] = torch.stack([states[text], mean_token])
        if keep:
            with whole_file(self.path) as beside:
                save_checked(beside, self.known)

    def lookup(self, question: Question, limit: int) -> tuple[Tensor, Tensor]:
        """(topic of the question [H], its history [n, 3, H]). Texts that are not known yet are embedded.

        The three vectors of an item: the state of its text, the state of the user's response to it, the token
        embedding of that response.
        """
        self.add([question], limit, keep=False, alone=True)
        items = [torch.cat([self[item.text][:1], self[response(item)]])
                 for item in history_items(question, limit)]
        query = self[topic(question)][0]
        return query, torch.stack(items) if items else query.new_empty(0, 3, len(query))

    def __getitem__(self, text: str) -> Tensor:
        return self.known[self.key(text)]

    @staticmethod
    def key(text: str) -> str:
        """A text's name in the file: 24 hexadecimal digits of its hash."""
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class UserTokens(nn.Module):
    """(topic of the question [H], history [n, 3, H]) -> the user's soft tokens e_u [t, H].

        e_u = unit(e_0 + f + o_u) * norm
        f_j = norm * (g_j * sum_i w_ji (unit(v_i) - c)  +  MLP(sum_i w_ji V [s_i, a_i]))
        w_j = softmax over i of  q_j . K(s_i) / sqrt(INNER)  +  b_j * cos(s_question, s_i)

    j counts the t soft tokens, i the n items of the history. Of item i, s_i is the state of its text and a_i
    the state of the user's response to it, both standardised; v_i is the token embedding of that response,
    and c the mean of unit(v) over training items. unit(x) = x / |x|.

    In the code: e_0 `generic`, o_u `own`, g `gate`, q `queries`, b `sharp`, c `usual`, K `key`, V `value`,
    MLP `write`. These names are keys of a saved file.

    hidden: H. tokens: t. norm: mean norm of the base's token embeddings, which every soft token is scaled to.
    users: names of those who get a learned row o_u, () for none.
    """

    def __init__(self, hidden: int, tokens: int, norm: float, users: tuple[str, ...] = ()):
        super().__init__()
        self.norm = norm
        self.rows = {name: index for index, name in enumerate(users)}

        # e_0: a small random part keeps the tokens apart; `fit` adds what users respond on average.
        self.generic = nn.Parameter(torch.randn(tokens, hidden) * 0.1 * norm / hidden**0.5)
        self.register_buffer("first_generic", self.generic.detach().clone(), persistent=False)

        # Attention over the history. Every other token begins at the items most like the question: b is
        # [0, 12, 0, 12, ...].
        self.queries = nn.Parameter(torch.randn(tokens, INNER) * INNER**-0.5)
        self.sharp = nn.Parameter(torch.arange(tokens) % 2 * 12.0)
        self.gate = nn.Parameter(torch.ones(tokens, 1))
        self.key = nn.Linear(hidden, INNER)
        self.value = nn.Linear(2 * hidden, INNER)

        # The MLP begins at 0, so that training begins at the user's responses themselves.
        self.write = nn.Sequential(nn.Linear(INNER, INNER), nn.GELU(), nn.Linear(INNER, hidden))
        nn.init.zeros_(self.write[2].weight)
        nn.init.zeros_(self.write[2].bias)

        # Statistics of training items (`fit`). Hidden states share one large direction, and a few of their
        # dimensions are much wider than the rest: without standardising, all cosines would be alike.
        self.register_buffer("usual", torch.zeros(hidden))
        self.register_buffer("mean", torch.zeros(2, hidden))
        self.register_buffer("spread", torch.ones(2, hidden))

        self.own = nn.Embedding(len(users), tokens * hidden) if users else None
        if users:
            nn.init.zeros_(self.own.weight)

    @torch.no_grad()
    def fit(self, items: Tensor) -> None:
        """Takes from training items [N, 3, H] the mean and deviation of their states and the mean response,
        at which e_0 begins. Calling it again starts anew."""
        self.usual.copy_(F.normalize(items[:, 2], dim=-1).mean(0))  # [H]
        self.generic.copy_(self.first_generic + self.norm * self.usual)  # [t, H]
        self.mean.copy_(items[:, :2].mean(0))  # [2, H]
        self.spread.copy_(items[:, :2].std(0, correction=0).clamp(min=1e-3))  # [2, H]

    def forward(self, query: Tensor, items: Tensor, user: str = "") -> Tensor:
        """e_u [t, H]; e_0 for a user without items and without a row."""
        tokens = self.generic
        if len(items):
            tokens = tokens + self.read(query.to(tokens.device), items.to(tokens.device))
        if user in self.rows:
            tokens = tokens + self.own.weight[self.rows[user]].view_as(tokens)
        return self.scaled(tokens)

    def generic_user(self) -> Tensor:
        """e_0 [t, H]."""
        return self.scaled(self.generic)

    def read(self, query: Tensor, items: Tensor) -> Tensor:
        """f [t, H] from the topic of the question [H] and n > 0 items of the history [n, 3, H]."""
        query = (query - self.mean[0]) / self.spread[0]  # [H]
        states = (items[:, :2] - self.mean) / self.spread  # [n, 2, H]
        topics = states[:, 0]  # [n, H]

        # How much every soft token takes of every item: by a learned query and by likeness to the question.
        likeness = F.cosine_similarity(query, topics)  # [n]
        by_query = self.queries @ self.key(topics).T * INNER**-0.5  # [t, n]
        by_likeness = self.sharp[:, None] * likeness  # [t, 1] * [n] -> [t, n]
        weight = (by_query + by_likeness).softmax(-1)  # [t, n], every row sums to 1

        # What it takes: the user's responses without what is usual, and the MLP of the states.
        responses = F.normalize(items[:, 2], dim=-1) - self.usual  # [n, H]
        taken = weight @ responses  # [t, n] @ [n, H] -> [t, H]
        values = self.value(states.flatten(1))  # [n, 2 H] -> [n, INNER]
        learned = self.write(weight @ values)  # [t, INNER] -> [t, H]
        return self.norm * (self.gate * taken + learned)  # [t, 1] * [t, H] + [t, H] -> [t, H]

    def scaled(self, tokens: Tensor) -> Tensor:
        """Every soft token [t, H] at the norm of the base's token embeddings."""
        return self.norm * F.normalize(tokens, dim=-1)
