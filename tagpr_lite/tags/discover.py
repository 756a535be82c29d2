"""From open names to nine primary tags: near-synonyms are merged, names counted, every chain relabelled.

A labeller that names steps freely uses examine_examples, review_past_items and look_at_history for one thing.
Two names are near when their own words are alike, and when the steps with these names are alike; both are
compared by tf-idf or by a sentence encoder:

    nearness(a, b) = 0.3 cos(words of a, words of b) + 0.7 cos(steps named a, steps named b)

Names within a distance are one cluster (average linkage), and its most frequent name is the canonical name.
This map is a file that a person may edit and give back (`tag.synonyms`); what it says comes first. A
canonical name outside the nine is replaced by the nearest of them if that is near enough. Otherwise its chain
is dropped.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import Model, Tag, UserError
from ..runs import read_json
from .schema import Chain, Step, render, valid_name

COUNT = 9  # primary tags, as in the paper
KNOWN = ("examine_examples", "identify_patterns")
"""The two of the paper's nine that are known by name (from secondary sources)."""
STEPS_OF_NAME = 60  # steps that a name is judged by, at most
NAME_SHARE = 0.3  # weight of the names' own words; their steps have the rest
FAR = 4.0  # farther than any cosine distance

Labelled = list[tuple[str, str]]
"""(name, step text) of one chain."""
Embed = Callable[[list[str]], np.ndarray]
"""A sentence encoder: n texts -> [n, H]."""


# ---------------------------------------------------------------- nearness

def nearness(names: list[str], steps: dict[str, list[str]],
             embed: Embed | None = None) -> np.ndarray:
    """[n, n] in [-1, 1], the cosine of the names' words and that of their steps, mixed.

    steps: {name: texts of its steps}. embed: a sentence encoder; None: tf-idf.
    """
    words = [name.replace("_", " ") for name in names]
    texts = ["\n".join(steps.get(name, [])[:STEPS_OF_NAME]) for name in names]
    if embed is not None:
        by_name = embed(words)
        by_steps = np.stack([embed(text.split("\n")).mean(0) for text in texts])
    else:
        by_name = _tfidf(words, "char_wb", (3, 5))
        by_steps = _tfidf(texts, "word", (1, 2))
    by_name, by_steps = _unit_rows(by_name), _unit_rows(by_steps)
    return NAME_SHARE * by_name @ by_name.T + (1 - NAME_SHARE) * by_steps @ by_steps.T


def _unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows [n, H] of length 1; rows of zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _tfidf(texts: list[str], analyzer: str, ngrams: tuple[int, int]) -> np.ndarray:
    """[n, terms]; analyzer: `word`, or `char_wb` for the letters of words. One column of zeros where no text
    has a term."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams, sublinear_tf=True)
    try:
        return vectorizer.fit_transform(texts).toarray()
    except ValueError:  # no term in any of them
        return np.zeros((len(texts), 1))


# ---------------------------------------------------------------- merging

def merge(chains: list[Labelled], near: float, given: dict[str, str] | None = None, embed: Embed | None = None
          ) -> dict[str, str]:
    """{name: its canonical name}.

    near: names within this cosine distance become one. given: a person's map, which comes first; a name that
    it does not have may still join one of its targets. embed: a sentence encoder; None: tf-idf.
    """
    from sklearn.cluster import AgglomerativeClustering
    given = given or {}
    counts = Counter(name for chain in chains for name, _ in chain)
    names = sorted({given.get(name, name) for name in counts})
    if len(names) < 2:
        return {name: given.get(name, name) for name in counts}

    # 1. Distances [n, n] between names; the targets of a person's map are put far apart.
    distance = np.clip(1 - nearness(names, _steps_by_name(chains, given), embed), 0, None)
    targets = {index for index, name in enumerate(names) if name in given.values()}
    for one in targets:
        for other in targets - {one}:
            distance[one, other] = FAR
    np.fill_diagonal(distance, 0)

    # 2. Clusters: [0, 1, 0] puts the first and the third name together.
    clusters = AgglomerativeClustering(n_clusters=None, distance_threshold=near, metric="precomputed",
                                       linkage="average").fit_predict(distance)

    # 3. A cluster is called by its given target, else by its most frequent name.
    total: Counter = Counter()
    for name, count in counts.items():
        total[given.get(name, name)] += count

    def precedence(index: int) -> tuple:
        return index not in targets, -total[names[index]], names[index]

    name_of_cluster: dict[int, str] = {}
    for index in sorted(range(len(names)), key=precedence):
        name_of_cluster.setdefault(clusters[index], names[index])
    canonical = {name: name_of_cluster[cluster] for name, cluster in zip(names, clusters, strict=True)}
    return {name: canonical[given.get(name, name)] for name in sorted(counts)}


def _steps_by_name(chains: list[Labelled], canonical: dict[str, str]) -> dict[str, list[str]]:
    """{canonical name: the texts of its steps}; a name that the map does not have is its own."""
    steps: dict[str, list[str]] = {}
    for chain in chains:
        for name, text in chain:
            steps.setdefault(canonical.get(name, name), []).append(text)
    return steps


def most_frequent(counts: Counter) -> tuple[str, ...]:
    """The nine most frequent, most frequent first; ties by name, so that the list depends on nothing else."""
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    return tuple(ranked[:COUNT])


def read_synonyms(path: str) -> dict[str, str]:
    """A person's map {name: its canonical name}, as chains/synonyms.json has it. {a: b, b: c} becomes
    {a: c, b: c}."""
    synonyms = read_json(Path(path))
    if not isinstance(synonyms, dict):
        raise UserError(f"{path}: expected an object of names, {{\"look_at_history\": \"examine_examples\"}}")
    for pair in synonyms.items():
        for name in pair:
            if not isinstance(name, str) or not valid_name(name):
                raise UserError(f"{path}: '{str(name)[:40]}' is no snake_case name")
    return {name: synonyms.get(target, target) for name, target in synonyms.items()}


# ---------------------------------------------------------------- relabelling

def nearest_primary_tags(chains: list[Labelled], canonical: dict[str, str], primary: tuple[str, ...],
                         least: float, embed: Embed | None = None) -> dict[str, str]:
    """{canonical name outside the nine: the nearest primary tag}, where its nearness is at least `least`."""
    steps = _steps_by_name(chains, canonical)
    others = sorted(set(steps) - set(primary))
    if not others:
        return {}
    near = nearness([*primary, *others], steps, embed)[len(primary):, :len(primary)]  # [others, primary]
    return {name: primary[int(row.argmax())] for name, row in zip(others, near, strict=True)
            if row.max() >= least}


@dataclass
class TagMap:
    """From the labeller's open names to the primary tags."""
    primary: tuple[str, ...]
    canonical: dict[str, str] = field(default_factory=dict)
    """{open name: its canonical name}."""
    nearest: dict[str, str] = field(default_factory=dict)
    """{canonical name outside the nine: the nearest of them}."""

    def primary_tags(self, names: list[str]) -> list[str] | None:
        """The primary tags of a chain's steps, or None where a step fits none."""
        tags = []
        for name in names:
            canonical = self.canonical.get(name, name)
            tag = canonical if canonical in self.primary else self.nearest.get(canonical)
            if tag is None:
                return None
            tags.append(tag)
        return tags


@dataclass
class PrimaryChains:
    """Chains in the primary tags, and those with a step that fits none."""
    kept: list[dict]
    unmapped: list[dict]
    tag_map: TagMap
    counts: dict[str, int]
    """{canonical name: how many steps have it}."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Of the tags with a second naming of the same steps."""


def restrict_to_primary_tags(rows: list[dict], allowed: tuple[str, ...], given: dict[str, str], settings: Tag,
                             merging: bool) -> PrimaryChains:
    """Merges the names of all steps (the rows' `tags`), takes `allowed` or the nine most frequent names as
    the primary tags, and writes every chain in them. merging: whether names may be replaced at all."""
    # 1. Open names to canonical names to primary tags.
    chains = [list(zip(row["tags"], row["steps"], strict=True)) for row in rows]
    embed = None
    if merging and settings.encoder:
        from ..engine.embed import encoder
        embed = encoder(settings.encoder, Model())
    canonical = merge(chains, settings.near, given, embed) if merging else {}
    counts = Counter(canonical.get(name, name) for row in rows for name in row["tags"])
    primary = allowed or most_frequent(counts)
    nearest = nearest_primary_tags(chains, canonical, primary, settings.mend, embed) if merging else {}
    tag_map = TagMap(primary, canonical, nearest)

    # 2. The chains in them; one with a step that fits none is not kept.
    kept, unmapped = [], []
    for row in rows:
        tags = tag_map.primary_tags(row["tags"])
        if tags is None:
            unmapped.append(row)
        else:
            kept.append(tagged(row, tags))
    return PrimaryChains(kept, unmapped, tag_map, dict(counts.most_common()))


def tagged(row: dict, tags: list[str]) -> dict:
    """The row as training reads it, its steps under these tags."""
    text = render(Chain(tuple(map(Step, tags, row["steps"])), row["answer"]))
    return {**row, "text": text, "tags": list(tags)}


def agreement(first: list[str], second: list[str]) -> dict[str, float]:
    """Of two labellings of the same steps: the share that is equal, and Cohen's kappa, which corrects it for
    chance."""
    from sklearn.metrics import cohen_kappa_score
    if not first:
        return {}
    equal = sum(one == other for one, other in zip(first, second)) / len(first)
    kappa = 1.0 if len(set(first) | set(second)) == 1 else float(cohen_kappa_score(first, second))
    return {"steps": len(first), "equal": round(equal, 4), "kappa": round(kappa, 4)}
