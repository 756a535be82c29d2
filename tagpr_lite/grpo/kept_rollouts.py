"""rollouts.jsonl: what was sampled and how it was rewarded, a line a completion, for people and the report.

Bounded: whole steps are kept, evenly spread over the stage, so that at most `grpo.kept_rollouts` completions
are written. Which steps these are is known before the first one, so that a resumed run keeps the same ones.
"""
from __future__ import annotations

from pathlib import Path

from ..config import GRPO
from ..lamp.chat import completion_text
from ..runs import append_jsonl, read_jsonl, write_jsonl
from .groups import Group, Stage

FILE = "rollouts.jsonl"


def is_kept(g: GRPO, steps: int, index: int) -> bool:
    """Whether step `index` of `steps` is written: every n-th one, from the first on, for the least n that
    keeps the bound. 40 steps of 64 completions and a bound of 1,000 keep 14: every third."""
    of_step = g.group * g.prompts * (1 + g.resample)
    most = g.kept_rollouts // of_step  # steps
    if most < 1:
        return False
    every = -(-steps // most)
    return index % every == 0


def keep(g: GRPO, folder: Path, stage: Stage, index: int, groups: list[Group], tokenizer) -> None:
    """Appends the step's completions to <stage>/rollouts.jsonl, where the step is one that is kept."""
    if is_kept(g, stage.steps, index):
        append_jsonl(folder / stage.name / FILE,
                     [row for group in groups for row in rows_of(stage, index, group, tokenizer)])


def rows_of(stage: Stage, index: int, group: Group, tokenizer) -> list[dict]:
    """A row of each completion of a group; the first one has the prompt, too."""
    question = group.question
    weights = {"task": stage.task_weight, "tag": stage.tag_weight, "prmu": stage.trusted_prmu_weight}
    if stage.score_own is not None:
        weights["own"] = stage.own_weight
    rows = []
    for n, (ids, sample, found) in enumerate(zip(group.chains, group.samples, group.terms, strict=True)):
        own = {} if found.own is None else {"own": round(found.own, 5)}
        rows.append({
            "stage": stage.name, "step": index, "question": question.id, "task": question.task.name,
            "user": question.user, "n": n, "text": completion_text(tokenizer, ids, sample.ended),
            "ended": sample.ended, "tokens": len(ids), "begun": len(group.begun_ids),
            "terms": {"task": round(found.task, 5), "format": found.format, "tag": round(found.tag, 5),
                      "prmu": round(found.prmu, 5), **own},
            "weights": weights, "reward": round(group.rewards[n].item(), 5),
            "advantage": round(group.advantages[n].item(), 5), "gold": question.gold})
    rows[0]["prompt"] = tokenizer.decode(group.prompt_ids[:len(group.prompt_ids) - len(group.begun_ids)])
    return rows


def drop(folder: Path, stage: str, from_index: int) -> None:
    """Removes the lines of steps from `from_index` on: a resumed run writes them again, once."""
    path = folder / stage / FILE
    if path.exists():
        write_jsonl(path, [row for row in read_jsonl(path, partial=True) if row["step"] < from_index])
