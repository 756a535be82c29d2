"""What became of the chains, in numbers: kept and dropped, tags by task, which tag follows which, lengths,
cost."""
from __future__ import annotations

from collections import Counter, defaultdict
from statistics import quantiles

from ..lamp.tasks import Question
from ..lamp.words import length_units
from .discover import KNOWN, PrimaryChains

START, END = "(start)", "(answer)"


def tag_table(kept: list[dict], source: str, found: PrimaryChains) -> dict:
    """What chains/tags.json holds: the primary tags, how often each occurs, in all and by task, and where
    they came from."""
    tag_map = found.tag_map
    by_task: dict[str, Counter] = defaultdict(Counter)
    for row in kept:
        by_task[row["task"]].update(row["tags"])
    merged: dict[str, list[str]] = defaultdict(list)
    for name, canonical in tag_map.canonical.items():
        if name != canonical:
            merged[canonical].append(name)
    return {
        "primary": list(tag_map.primary),
        "source": source,
        "counts": dict(sum(by_task.values(), Counter()).most_common()),
        "by_task": {task: dict(counts.most_common()) for task, counts in sorted(by_task.items())},
        "open": found.counts,
        "merged": {name: sorted(others) for name, others in sorted(merged.items())},
        "mended": tag_map.nearest,
        "known": {name: name in tag_map.canonical or name in tag_map.primary for name in KNOWN},
        "agreement": found.agreement,
    }


def summary(kept: list[dict], dropped: list[dict], questions: dict[str, Question], primary: list[str],
            cost: dict) -> dict:
    """What chains/stats.json holds. questions: {id: the question}, of all rows."""
    count = lambda rows, key: dict(sorted(Counter(key(r) for r in rows).items()))
    reasons: dict[str, Counter] = defaultdict(Counter)
    for row in dropped:
        reasons[row["reason"].partition(":")[0]][row["task"]] += 1
    words = [len(length_units(" ".join(r["steps"]), questions[r["id"]].task.language)) for r in kept]
    return {"kept": {"chains": len(kept), "questions": len({r["id"] for r in kept}),
                     "users": len({r["user"] for r in kept}), "by_task": count(kept, lambda r: r["task"]),
                     "by_kind": count(kept, lambda r: r["kind"])},
            "dropped": {why: dict(sorted(c.items())) for why,
                        c in sorted(reasons.items(), key=lambda x: -x[1].total())},
            "transitions": transitions(kept, primary), "steps": spread([len(r["steps"]) for r in kept]),
            "words": spread(words), "cost": cost}


def transitions(kept: list[dict], primary: list[str]) -> dict[str, dict[str, int]]:
    """{tag: {the tag after it: how often}}, from the start of a chain to its answer."""
    found: dict[str, Counter] = {t: Counter() for t in (START, *primary)}
    for row in kept:
        path = [START, *row["tags"], END]
        for a, b in zip(path, path[1:]):
            found[a][b] += 1
    return {a: dict(c.most_common()) for a, c in found.items() if c}


def spread(values: list[int]) -> dict[str, float]:
    """Least, quartiles and most."""
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values * 3]
    return {"least": min(values), "quarter": low, "median": middle, "three_quarters": high,
            "most": max(values)}
