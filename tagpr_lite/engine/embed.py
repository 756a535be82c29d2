"""Texts as vectors, by the frozen base itself (mean of its last hidden states) or by a sentence encoder.

Decisions. The base is there anyway, so both retrieval and user embeddings work offline without a second
model. A sentence encoder is loaded by sentence-transformers, because each wants its own pooling and
normalisation, which its folder declares.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import Model, UserError
from ..lamp.chat import as_text
from . import model as models
from .memory import BatchLimit
from .prefix import Prefill, forward

TEXTS_TOGETHER = 16

@torch.no_grad()
def mean_states(model, tokenizer, texts: list[str], most: int, together: BatchLimit,
                tick: Callable[[int], None] = lambda n: None) -> dict[str, Tensor]:
    """{text: [H] fp32} from the bare base, of each text's first `most` tokens, `together` texts in one
    forward. Batches go by length, so that padding is small, and by text: another order would round otherwise
    in the last bit, and no run could be repeated exactly."""
    ids = {t: tokenizer(as_text(tokenizer, t), truncation=True, max_length=most).input_ids or [0]
           for t in set(texts)}
    order = sorted(ids, key=lambda t: (len(ids[t]), t))
    device, found = next(model.parameters()).device, {}

    def states_of(part: slice) -> list[Tensor]:
        """[part][H]"""
        rows = [ids[t] for t in order[part]]
        longest = max(len(row) for row in rows)
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
        with models.using(model, None):
            hidden = forward(model, Prefill(keep=False), ids=padded).float()
        # causal: padding on the right touches no real token
        return [states[:len(row)].mean(0).cpu() for states, row in zip(hidden, rows, strict=True)]

    for part, states in together.parts(len(order), states_of):
        found |= dict(zip(order[part], states, strict=True))
        tick(len(states))
    return found


def text_limit(folder: Path | None = None) -> BatchLimit:
    """Texts in one forward of `mean_states`; remembered in the run folder, where one is given."""
    return BatchLimit("embedding", "texts", TEXTS_TOGETHER, folder, "use a smaller model")


def encoder(name: str, settings: Model, most: int = 256) -> Callable[[list[str]], np.ndarray]:
    """A function texts -> [n, H] unit vectors, whose dot products rank them. name: a folder or hub id of a
    sentence encoder; "": the base of `settings`, whose states share one large direction that is taken out
    first."""
    if not name:
        base, tokenizer = models.load(settings)
        known: dict[str, Tensor] = {}
        together = text_limit()

        def embed(texts: list[str]) -> np.ndarray:
            known.update(mean_states(base, tokenizer, [t for t in texts if t not in known], most, together))
            states = torch.stack([known[t] for t in texts])
            return torch.nn.functional.normalize(states - states.mean(0), dim=-1).numpy()
        return embed

    from sentence_transformers import (
        SentenceTransformer,  # imported late: seconds, and only dense retrieval needs it
    )
    try:
        sentences = SentenceTransformer(name, device=str(models.placement()[0]))
    except (OSError, ValueError, KeyError) as e:
        reason = " ".join(str(e).split())[:200]
        raise UserError(f"lamp.encoder={name} is no sentence encoder: {reason}") from None
    return lambda texts: sentences.encode(texts, normalize_embeddings=True, show_progress_bar=False)
