"""From open names to nine primary tags: near-synonyms are merged, names counted, every chain relabelled.

A labeller that names steps freely says examine_examples, review_past_items and look_at_history for one thing.
Two names are near when their words are alike, or when the steps that bear them are: a name is the words of
its own and of its steps, weighed by tf-idf or seen by a sentence encoder. Names nearer than a bound are one
cluster (average linkage), whose most frequent name stands for it. The map is a file that a person may edit
and hand back (`tag.synonyms`): what it says comes first. A name outside the nine is mended to the nearest of
them when that is near enough, else its chain is dropped.
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

COUNT = 9  # of primary tags: the one number about the tags that is the paper's
KNOWN = ("examine_examples", "identify_patterns")  # the two of the paper's nine that are known by name (second-hand)
SHOWN = 60  # steps a name is judged by
NAME_SHARE = 0.3  # how much the names' own words count against their steps'

Labelled = list[tuple[str, str]]
"""(name, step text) of one chain."""
Embed = Callable[[list[str]], np.ndarray]
"""A sentence encoder: n texts -> [n, H]."""


# ---------------------------------------------------------------- nearness

def nearness(names: list[str], steps: dict[str, list[str]],
             embed: Embed | None = None) -> np.ndarray:
    """[n, n] in [-1, 1]: the cosine of the names' words and that of their steps', mixed. embed: a sentence
    encoder."""
    words = [name.replace("_", " ") for name in names]
    texts = ["\n".join(steps.get(name, [])[:SHOWN]) for name in names]
    if embed is not None:
        by_name = embed(words)
        by_steps = np.stack([embed(t.split("\n")).mean(0) for t in texts])
    else:
        by_name, by_steps = _tfidf(words, "char_wb", (3, 5)), _tfidf(texts, "word", (1, 2))
    unit = lambda v: v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9)
    by_name, by_steps = unit(by_name), unit(by_steps)
    return NAME_SHARE * by_name @ by_name.T + (1 - NAME_SHARE) * by_steps @ by_steps.T


def _tfidf(texts: list[str], what: str, ngrams: tuple[int, int]) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer
    try:
        return TfidfVectorizer(analyzer=what, ngram_range=ngrams,
                               sublinear_tf=True).fit_transform(texts).toarray()
    except ValueError:  # no word in any of them
        return np.zeros((len(texts), 1))


# ---------------------------------------------------------------- merging

def merge(chains: list[Labelled], near: float, given: dict[str, str] | None = None, embed: Embed | None = None
          ) -> dict[str, str]:
    """{name: the name that stands for it}. `given` comes first; other names are clustered, alone or to a
    given target."""
    from sklearn.cluster import AgglomerativeClustering
    given = given or {}
    counts = Counter(name for chain in chains for name, _ in chain)
    names = sorted({given.get(name, name) for name in counts})
    if len(names) < 2:
        return {name: given.get(name, name) for name in counts}

    # 1. Distances [n, n] between names; two targets of a person's map are never one.
    distance = np.clip(1 - nearness(names, _steps_by_name(chains, given), embed), 0, None)
    targets = {place for place, name in enumerate(names) if name in given.values()}
    for one in targets:
        for other in targets - {one}:
            distance[one, other] = 4.0  # farther than any cosine distance
    np.fill_diagonal(distance, 0)

    # 2. Clusters: [0, 1, 0] puts the first and the third name together.
    clusters = AgglomerativeClustering(n_clusters=None, distance_threshold=near, metric="precomputed",
                                       linkage="average").fit_predict(distance)

    # 3. A cluster is called by its given target, else by its most frequent name.
    total: Counter = Counter()
    for name, count in counts.items():
        total[given.get(name, name)] += count
    best_first = sorted(range(len(names)),
                        key=lambda place: (place not in targets, -total[names[place]], names[place]))
    name_of_cluster: dict[int, str] = {}
    for place in best_first:
        name_of_cluster.setdefault(clusters[place], names[place])
    canonical = {name: name_of_cluster[cluster] for name, cluster in zip(names, clusters, strict=True)}
    return {name: canonical[given.get(name, name)] for name in sorted(counts)}


def _steps_by_name(chains: list[Labelled], canonical: dict[str, str]) -> dict[str, list[str]]:
    """{name, or the name that stands for it: its steps}."""
    found: dict[str, list[str]] = {}
    for name, text in (step for c in chains for step in c):
        found.setdefault(canonical.get(name, name), []).append(text)
    return found


def most_frequent(counts: Counter) -> tuple[str, ...]:
    """The nine most frequent, most frequent first; ties by name, so that the list depends on nothing else."""
    return tuple(t for t, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:COUNT])


def read_synonyms(path: str) -> dict[str, str]:
    """A person's map {name: the name that stands for it}, as chains/synonyms.json has it."""
    found = read_json(Path(path))
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected an object of names, {{\"look_at_history\": \"examine_examples\"}}")
    bad = [n for pair in found.items() for n in pair if not isinstance(n, str) or not valid_name(n)]
    if bad:
        raise UserError(f"{path}: '{str(bad[0])[:40]}' is no snake_case name")
    return {n: found.get(to, to) for n, to in found.items()}


# ---------------------------------------------------------------- relabelling

def nearest_primary_tags(chains: list[Labelled], canonical: dict[str, str], primary: tuple[str, ...],
                         least: float, embed: Embed | None = None) -> dict[str, str]:
    """{name outside the nine: the nearest of them}, for those at least `least` near."""
    steps = _steps_by_name(chains, canonical)
    others = sorted(set(steps) - set(primary))
    if not others:
        return {}
    near = nearness([*primary, *others], steps, embed)[len(primary):, :len(primary)]  # [others, primary]
    return {name: primary[int(row.argmax())] for name, row in zip(others, near, strict=True)
            if row.max() >= least}


@dataclass
class TagMap:
    """From the labeller's open names to the primary tags. canonical: {open name: the name that stands for
    it}; nearest: {canonical name outside the nine: the nearest of them}."""
    primary: tuple[str, ...]
    canonical: dict[str, str] = field(default_factory=dict)
    nearest: dict[str, str] = field(default_factory=dict)

    def primary_tags(self, names: list[str]) -> list[str] | None:
        """The primary tags of a chain's steps, or None where a step fits none."""
        tags = []
        for name in names:
            name = self.canonical.get(name, name)
            tag = name if name in self.primary else self.nearest.get(name)
            if tag is None:
                return None
            tags.append(tag)
        return tags


@dataclass
class PrimaryChains:
    """Chains in the primary tags, and those with a step that fits none. counts: how often each canonical name
    came up; agreement: of the tags with a second naming."""
    kept: list[dict]
    unmapped: list[dict]
    tag_map: TagMap
    counts: dict[str, int]
    agreement: dict[str, float] = field(default_factory=dict)


def restrict_to_primary_tags(rows: list[dict], allowed: tuple[str, ...], given: dict[str, str], settings: Tag,
                             merging: bool) -> PrimaryChains:
    """Merges the names of all steps (the rows' `tags`), picks the nine, or takes `allowed`, and writes every
    chain in them."""
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
    """Of two labellings of the same steps: the share that is equal, and Cohen's kappa, which takes chance
    out."""
    from sklearn.metrics import cohen_kappa_score
    if not first:
        return {}
    same = sum(a == b for a, b in zip(first, second)) / len(first)
    kappa = 1.0 if len(set(first) | set(second)) == 1 else float(cohen_kappa_score(first, second))
    return {"steps": len(first), "equal": round(same, 4), "kappa": round(kappa, 4)}
