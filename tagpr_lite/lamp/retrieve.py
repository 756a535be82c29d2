"""Which profile items a question is shown.

Decisions. BM25 is bm25s with its defaults (Lucene variant, English stop words), one index a question, since
every question has a profile of its own; the official code's whitespace BM25Okapi is close but case-sensitive.
Chinese is split into pairs of characters. Dense ranks by the dot products of whatever `embed` gives
(engine/embed.py). Equal scores, zeros among them, go to the newer item. Random is without replacement and
seeded by the question, where the official one repeats items and has no seed. Queries and corpora are the
official ones (tasks.py).
"""
from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where JAX is installed bm25s wakes it, and it would take three quarters of a card
import bm25s
import numpy as np

from ..config import UserError
from ..runs import seed_of
from .tasks import Question
from .words import CHINESE_RUN

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs a line for every index otherwise

RETRIEVERS = ("bm25", "dense", "recency", "random")
Embed = Callable[[list[str]], np.ndarray]


def retrieve(question: Question, retriever: str, k: int, seed: int, embed: Embed
             | None = None) -> tuple[int, ...]:
    """Positions of min(k, items) profile items, best first. embed: texts -> [n, H], for `dense`."""
    n = len(question.profile)
    newest_first = range(n - 1, -1, -1)
    if k < 0:
        raise UserError(f"k={k}: the number of retrieved items cannot be negative")
    if retriever == "recency":
        return tuple(newest_first[:k])
    if retriever == "random":
        return tuple(random.Random(seed_of("retrieve", seed, question.id)).sample(range(n), min(k, n)))
    if retriever in ("bm25", "dense"):
        scores = bm25_scores(question) if retriever == "bm25" else dense_scores(question, embed)
        return tuple(sorted(newest_first, key=lambda p: -scores[p])[:k])  # stable: ties stay newest first
    raise UserError(f"unknown retriever '{retriever}'; known: {', '.join(RETRIEVERS)}")


def bm25_scores(question: Question) -> np.ndarray:
    """[items] BM25 scores of the profile against the question."""
    task = question.task
    split = lambda texts: bm25s.tokenize([in_pairs(t) for t in texts], return_ids=False, show_progress=False)
    corpus = split([task.corpus(item) for item in question.profile])
    query = split([task.query(question.input)])[0]
    if not query or not any(corpus):  # nothing but stop words: bm25s cannot index an empty vocabulary
        return np.zeros(len(question.profile))
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return index.get_scores(query)


def dense_scores(question: Question, embed: Embed) -> np.ndarray:
    """[items] dot products of the question's vector with the profile items'."""
    task = question.task
    vectors = embed([task.query(question.input), *map(task.corpus, question.profile)])
    return vectors[1:] @ vectors[0]


def in_pairs(text: str) -> str:
    """Runs of Chinese characters as overlapping pairs with spaces between them; other text as it is."""
    return re.sub(rf"{CHINESE_RUN}+", lambda run: " " + " ".join(
        run[0][i:i + 2] for i in range(max(len(run[0]) - 1, 1))) + " ", text)
