"""Which profile items a question is shown.

Decisions. BM25 is bm25s with its defaults (Lucene variant, English stop words), one index a question, since every
question has a profile of its own; the official code's whitespace BM25Okapi is close but case-sensitive. Equal scores,
zeros among them, go to the newer item. Random is without replacement and seeded by the question, where the official
one repeats items and has no seed.
"""
from __future__ import annotations

import logging
import random

import bm25s
import numpy as np

from ..config import UserError
from ..runs import seed_of
from .tasks import TASKS, Question

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs a line for every index otherwise

RETRIEVERS = ("bm25", "recency", "random")


def retrieve(question: Question, retriever: str, k: int, seed: int) -> tuple[int, ...]:
    """Positions of min(k, items) profile items, best first."""
    n = len(question.profile)
    newest_first = range(n - 1, -1, -1)
    if k < 0:
        raise UserError(f"k={k}: the number of retrieved items cannot be negative")
    if retriever == "recency":
        return tuple(newest_first[:k])
    if retriever == "random":
        return tuple(random.Random(seed_of("retrieve", seed, question.id)).sample(range(n), min(k, n)))
    if retriever == "bm25":
        scores = bm25_scores(question)
        return tuple(sorted(newest_first, key=lambda p: -scores[p])[:k])  # stable: ties stay newest first
    raise UserError(f"unknown retriever '{retriever}'; known: {', '.join(RETRIEVERS)}")


def bm25_scores(question: Question) -> np.ndarray:
    """[items] BM25 scores of the profile against the question."""
    task = TASKS[question.task]
    split = lambda texts: bm25s.tokenize(texts, return_ids=False, show_progress=False)
    corpus = split([task.corpus(item) for item in question.profile])
    query = split([task.query(question.input)])[0]
    if not query or not any(corpus):  # nothing but stop words: bm25s cannot index an empty vocabulary
        return np.zeros(len(question.profile))
    index = bm25s.BM25()
    index.index(corpus, show_progress=False)
    return index.get_scores(query)
