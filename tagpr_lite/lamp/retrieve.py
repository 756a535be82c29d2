"""Which profile items a question is shown.

Decisions. `bm25` is bm25s with its defaults (Lucene variant, English stop words), one index a question, since
every question has a profile of its own. The official code's BM25Okapi splits at blanks; it is close, but
case-sensitive. Scripts that are written without spaces are split into pairs of characters, and a vowel sign
belongs to its word. `dense` ranks by the dot products of the vectors that `embed` gives (engine/embed.py). Of
items with equal scores, zero among them, the newer comes first. `random` is without replacement and seeded by
the question; the official one repeats items and has no seed. Queries and corpora are the official ones
(tasks.py).
"""
from __future__ import annotations

import logging
import os
import random
import re
from collections.abc import Callable

# bm25s imports JAX where it is installed, and JAX would take three quarters of a GPU's memory.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
import bm25s
import numpy as np

from ..config import UserError
from ..runs import seed_of
from .tasks import Question
from .words import CHARACTER, CHARACTERS, MARKS, in_pairs

logging.getLogger("bm25s").setLevel(logging.WARNING)  # otherwise it logs a line for every index

RUN = re.compile(f"(?:{CHARACTERS})+")
RETRIEVERS = ("bm25", "dense", "recency", "random")
TOKEN = rf"(?<![\w{MARKS}])\w[\w{MARKS}]+"
"""bm25s's pattern, two characters or more, but for the vowel signs, at which `\\w` ends."""
Embed = Callable[[list[str]], np.ndarray]
"""n texts -> [n, H] vectors of unit length."""


def retrieve(question: Question, retriever: str, k: int, seed: int,
             embed: Embed | None = None) -> tuple[int, ...]:
    """Positions of min(k, items) profile items, best first. embed: needed for `dense`."""
    items = len(question.profile)
    newest_first = range(items - 1, -1, -1)
    if k < 0:
        raise UserError(f"k={k}: the number of retrieved items cannot be negative")
    if retriever == "recency":
        return tuple(newest_first[:k])
    if retriever == "random":
        rng = random.Random(seed_of("retrieve", seed, question.id))
        return tuple(rng.sample(range(items), min(k, items)))
    if retriever == "bm25":
        scores = bm25_scores(question)
    elif retriever == "dense":
        scores = dense_scores(question, embed)
    else:
        raise UserError(f"unknown retriever '{retriever}'; known: {', '.join(RETRIEVERS)}")
    best_first = sorted(newest_first, key=lambda place: -scores[place])  # stable: ties stay newest first
    return tuple(best_first[:k])


def bm25_scores(question: Question) -> np.ndarray:
    """[items] BM25 scores of the profile against the question."""
    task = question.task
    corpus = _tokens([task.corpus(item) for item in question.profile])
    (query,) = _tokens([task.query(question.input)])
    if not query or not any(corpus):  # nothing but stop words: bm25s cannot index an empty vocabulary
        return np.zeros(len(question.profile))
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return index.get_scores(query)


def _tokens(texts: list[str]) -> list[list[str]]:
    """The words of each text, without English stop words."""
    return bm25s.tokenize([spaced(text) for text in texts], token_pattern=TOKEN, return_ids=False,
                          show_progress=False)


def dense_scores(question: Question, embed: Embed) -> np.ndarray:
    """[items] dot products of the question's vector with the profile items'."""
    task = question.task
    vectors = embed([task.query(question.input), *map(task.corpus, question.profile)])
    return vectors[1:] @ vectors[0]


def spaced(text: str) -> str:
    """Runs of a script without spaces as overlapping pairs of characters; other text as it is.

    Example: "好雨伞 abc" becomes " 好雨 雨伞  abc".
    """
    return RUN.sub(lambda run: f" {' '.join(in_pairs(CHARACTER.findall(run[0])))} ", text)
