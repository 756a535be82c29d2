"""What a reader must know before the numbers.

A model that can know nothing, what was replaced, which stage of GRPO kept the adapter that it began with,
whether PRMU counted in full, and what looked wrong in training.
"""
from __future__ import annotations

from pathlib import Path

from ..config import flatten
from ..runs import digest, read_config, read_metrics
from ..runs.manifests import changed_files, read_manifest
from .tables import maybe, number, percent

SHOWN = ["eval", "chains", "prmu/report.json", "data/train.jsonl", "data/summary.json", "data/tasks.json"]
"""Files of steps that a page shows."""
STAGES = {"guided": "SFT's adapter", "explore": "the adapter of stage 1, guided"}
"""The stages of GRPO, and what each begins with."""


def notices(folder: Path) -> list[tuple[str, str]]:
    """(a word, a sentence) of each, such as ("Alarm.", "guided, after 4 steps: ...")."""
    return ([("Changed.", sentence) for sentence in changed(folder)]
            + [("Settings.", sentence) for sentence in other_settings(folder)]
            + [("Stale.", sentence) for sentence in stale(folder)]
            + [("Tiny model.", sentence) for sentence in tiny(folder)]
            + [("Replaced.", sentence) for sentence in replaced(folder)]
            + [("Kept.", sentence) for sentence in kept_beginnings(folder)]
            + [("PRMU.", sentence) for sentence in less_trusted(folder)]
            + [("Alarm.", sentence) for sentence in alarms(folder)])


def changed(folder: Path) -> list[str]:
    """A sentence of each file on this page that is not as its step has left it."""
    return [f"{file} is not as step {maker} wrote it."
            for maker, _, file in changed_files(folder, SHOWN)]


def other_settings(folder: Path) -> list[str]:
    """A sentence of each step that was done with other settings than this page shows: by itself, after step
    1."""
    shown = dict(flatten(read_config(folder)))
    plan = maybe(folder / "plan.json", {})
    decided = {*maybe_dict(plan.get("decided")), "model.name", "lamp.source"}  # step 1 may replace these
    sentences = []
    for path in sorted((folder / "manifests").glob("*.json")):
        manifest = read_manifest(path) or {}
        settings = maybe_dict(maybe_dict(manifest.get("key")).get("settings"))
        other = [f"{key}={value}" for key, value in flatten(settings)
                 if key in shown and key not in decided and shown[key] != value]
        if manifest.get("done") and other:
            sentences.append(f"{path.stem} was done with {', '.join(other[:3])}, and config.yaml says "
                             "otherwise.")
    return sentences


def stale(folder: Path) -> list[str]:
    """A sentence of each adapter that was trained again after it was scored."""
    manifest = read_manifest(folder / "manifests" / "evaluate.json") or {}
    scored = maybe_dict(maybe_dict(manifest.get("key")).get("inputs"))
    return [f"The scores are of another {path} than the one that is there now: run step 7 again."
            for path, hash_then in sorted(scored.items())
            if path.endswith(("/adapter", "/last")) and digest(folder / path) != hash_then]


def maybe_dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def replaced(folder: Path) -> list[str]:
    """A sentence of each thing that step 1 could not have and replaced: the official files, the model."""
    plan = maybe(folder / "plan.json", {})
    sentences = plan.get("replaced") if isinstance(plan, dict) else None
    return [str(sentence) for sentence in sentences] if isinstance(sentences, list) else []


def kept_beginnings(folder: Path) -> list[str]:
    """A sentence of each stage whose best check is the one before its first step: its scores are those of the
    stage before, and say nothing of what its steps did."""
    sentences = []
    for stage, beginning in STAGES.items():
        checks = read_metrics(folder, f"{stage}_check")
        best = [check.get("index") for check in checks if check.get("best") is True][-1:]
        if len(checks) > 1 and best == [0]:
            sentences.append(f"{stage} keeps {beginning}: no later check on held-out users was better with "
                             "the reasoning intact. "
                             f"`{stage}_last` in evaluate.systems scores its last step.")
    return sentences


def tiny(folder: Path) -> list[str]:
    """A sentence where the base model is random."""
    model = read_config(folder).get("model")
    if not isinstance(model, dict) or model.get("name") != "tiny":
        return []
    return ["The base model is a tiny random one that knows nothing before SFT: this run shows that the "
            "parts fit together, and a difference to its base says nothing."]


def less_trusted(folder: Path) -> list[str]:
    """A sentence where the guard has lowered PRMU's term in stage 1, or dropped it (grpo/guard.py)."""
    trusts = [number(line.get("trust")) for line in read_metrics(folder, "guided")]
    trusts = [trust for trust in trusts if trust is not None]
    if not trusts or min(trusts) >= 1:
        return []
    return [f"guided gives PRMU's term {percent(trusts[0])} of its weight at first and "
            f"{percent(trusts[-1])} at last. It has its full weight where PRMU's accuracy on held-out users "
            "and its agreement with the task term are 0.1 above their bounds (grpo.guard_accuracy, "
            "grpo.guard_agreement), and none at them."]


def alarms(folder: Path) -> list[str]:
    """The alarms of both stages of GRPO (grpo/alarms.py), in the order in which they were said."""
    return [f"{stage}, after {line.get('index')} steps: {line.get('text')}. What to change: "
            f"{line.get('advice')}." for stage in STAGES for line in read_metrics(folder, f"{stage}_alarm")]
