"""The chains in numbers: kept and dropped, tags by task, which tag follows which, lengths, cost."""
from __future__ import annotations

from collections import Counter, defaultdict
from statistics import quantiles

from ..lamp.tasks import Question
from ..lamp.words import length_units
from .discover import KNOWN, PrimaryChains

START, END = "(start)", "(answer)"


def tag_table(kept: list[dict], source: str, result: PrimaryChains) -> dict:
    """The content of chains/tags.json: the primary tags, how often each occurs, in all and by task, and where
    they came from."""
    tag_map = result.tag_map
    by_task: dict[str, Counter] = defaultdict(Counter)
    for row in kept:
        by_task[row["task"]].update(row["tags"])
    in_all = sum(by_task.values(), Counter())

    # {canonical name: the other names that it stands for}
    merged: dict[str, list[str]] = defaultdict(list)
    for name, canonical in tag_map.canonical.items():
        if name != canonical:
            merged[canonical].append(name)
    return {
        "primary": list(tag_map.primary),
        "source": source,
        "counts": dict(in_all.most_common()),
        "by_task": {task: dict(counts.most_common()) for task, counts in sorted(by_task.items())},
        "open": result.counts,
        "merged": {name: sorted(others) for name, others in sorted(merged.items())},
        "mended": tag_map.nearest,
        "known": {name: name in tag_map.canonical or name in tag_map.primary for name in KNOWN},
        "agreement": result.agreement,
    }


def summary(kept: list[dict], dropped: list[dict], questions: dict[str, Question], primary: list[str],
            cost: dict) -> dict:
    """The content of chains/stats.json. questions: {id: the question}, of all rows."""
    word_counts = []
    for row in kept:
        language = questions[row["id"]].task.language
        word_counts.append(len(length_units(" ".join(row["steps"]), language)))
    return {
        "kept": {
            "chains": len(kept),
            "questions": len({row["id"] for row in kept}),
            "users": len({row["user"] for row in kept}),
            "by_task": count_by(kept, "task"),
            "by_kind": count_by(kept, "kind"),
        },
        "dropped": dropped_by_reason(dropped),
        "transitions": transitions(kept, primary),
        "steps": spread([len(row["steps"]) for row in kept]),
        "words": spread(word_counts),
        "cost": cost,
    }


def count_by(rows: list[dict], key: str) -> dict[str, int]:
    """{value of the rows' `key`: how many rows have it}, by value."""
    return dict(sorted(Counter(row[key] for row in rows).items()))


def dropped_by_reason(dropped: list[dict]) -> dict[str, dict[str, int]]:
    """{reason: {task: count}}, the most frequent reason first. `malformed: has no answer` counts as
    `malformed`."""
    by_reason: dict[str, Counter] = defaultdict(Counter)
    for row in dropped:
        reason = row["reason"].partition(":")[0]
        by_reason[reason][row["task"]] += 1
    most_frequent_first = sorted(by_reason, key=lambda reason: -by_reason[reason].total())
    return {reason: dict(sorted(by_reason[reason].items())) for reason in most_frequent_first}


def transitions(kept: list[dict], primary: list[str]) -> dict[str, dict[str, int]]:
    """{tag: {the tag after it: how often}}, from the start of a chain to its answer."""
    followers: dict[str, Counter] = {tag: Counter() for tag in (START, *primary)}
    for row in kept:
        path = [START, *row["tags"], END]
        for tag, follower in zip(path, path[1:]):
            followers[tag][follower] += 1
    return {tag: dict(counts.most_common()) for tag, counts in followers.items() if counts}


def spread(values: list[int]) -> dict[str, float]:
    """Least, quartiles and most."""
    if len(values) > 1:
        low, middle, high = quantiles(values, n=4, method="inclusive")
    else:
        low, middle, high = values * 3
    return {"least": min(values), "quarter": low, "median": middle, "three_quarters": high,
            "most": max(values)}
