"""What a reader must know before the numbers: what was replaced, and what looked wrong in training."""
from __future__ import annotations

from pathlib import Path

from ..runs import read_metrics
from .tables import maybe

STAGES = ("guided", "explore")


def notices(folder: Path) -> list[tuple[str, str]]:
    """(a word, a sentence) of each, such as ("Alarm.", "guided, after 4 steps: ...")."""
    return ([("Replaced.", sentence) for sentence in replaced(folder)]
            + [("Alarm.", sentence) for sentence in alarms(folder)])


def replaced(folder: Path) -> list[str]:
    """A sentence of each thing that step 1 could not have and replaced: the official files, the model."""
    plan = maybe(folder / "plan.json", {})
    sentences = plan.get("replaced") if isinstance(plan, dict) else None
    return [str(sentence) for sentence in sentences] if isinstance(sentences, list) else []


def alarms(folder: Path) -> list[str]:
    """The alarms of both stages of GRPO (grpo/alarms.py), in the order in which they were said."""
    return [f"{stage}, after {line.get('index')} steps: {line.get('text')}. What to change: "
            f"{line.get('advice')}." for stage in STAGES for line in read_metrics(folder, f"{stage}_alarm")]
