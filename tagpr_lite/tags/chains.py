"""From questions to training chains: several attempts each, the wrong ones thrown away, tags counted and closed.

The filter is the task's own metric: an attempt is kept when its answer is right (tasks 1 to 3); generation tasks,
whose teacher is given the gold, are kept as `rationalised`. Wrong attempts are not lost: they are the natural "worse
answer with the right profile" of PRMU's pairs. The nine most frequent tags become the primary ones; a chain that
uses another is dropped, with the reason recorded like every other drop.
"""
from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..config import UserError
from ..lamp.scorer import item_reward
from ..lamp.tasks import TASKS, Question
from ..runs import read_jsonl
from . import teacher
from .facts import groundedness
from .schema import Chain, Fault, parse, render, valid_name

COUNT = 9  # of primary tags: the one number about the tags that is the paper's


def generate(question: Question, attempts: int, keep: int) -> tuple[list[dict], list[dict]]:
    """(kept, dropped) rows of one question; each row {id, task, text, answer, gold, kind, tags} or with `reason`."""
    kept, dropped = [], []
    for n in range(attempts):
        chain = teacher.write(question, n)
        if chain is None or len(kept) == keep:
            break
        text = render(chain)
        row = {"id": question.id, "task": question.task, "text": text, "answer": chain.answer, "gold": question.gold,
               "kind": "rationalised" if TASKS[question.task].kind == "text" else "reasoned", "tags": chain.tags}
        reason = why_not(text, question)
        dropped.append({**row, "reason": reason}) if reason else kept.append(row)
    return kept, dropped


def why_not(text: str, question: Question) -> str:
    """The reason to drop a chain, "" for a good one."""
    chain = parse(text, allowed=None)
    if isinstance(chain, Fault):
        return f"malformed: {chain}"
    answer = TASKS[question.task].parse_answer(chain.answer)
    if item_reward(question.task, answer, question.gold) < 1.0 and TASKS[question.task].kind != "text":
        return "wrong answer"
    if groundedness(chain, question) < 1.0:
        return "contradicts its profile"
    return ""


def primary_tags(chains: list[dict]) -> list[str]:
    """The nine most frequent tags, most frequent first; ties by name, so that the list depends on nothing else."""
    counts = Counter(t for c in chains for t in c["tags"])
    return [t for t, _ in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))[:COUNT]]


def tag_table(chains: list[dict], source: str) -> dict:
    """What chains/tags.json holds: the primary tags and how often each occurs, in all and by task."""
    by_task: dict[str, Counter] = {}
    for c in chains:
        by_task.setdefault(c["task"], Counter()).update(c["tags"])
    counts = sum(by_task.values(), Counter())
    return {"primary": primary_tags(chains), "source": source, "counts": dict(counts.most_common()),
            "by_task": {t: dict(c.most_common()) for t, c in sorted(by_task.items())}}


def read_tags(path: str) -> tuple[str, ...]:
    """A user's tag names, one a line. The template teacher writes only the built-in ones, so others are an error."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"tag.tags_file={path} cannot be read: {e}") from None
    names = [x.strip() for x in lines if x.strip() and not x.startswith("#")]
    bad = [n for n in names if not valid_name(n)]
    if bad or len(set(names)) != len(names) or len(names) != COUNT:
        raise UserError(f"{path}: {COUNT} different snake_case tag names are needed, one a line"
                        + (f"; '{bad[0][:40]}' is none" if bad else f"; there are {len(set(names))}"))
    return tuple(names)


def read_chains(path: str, questions: dict[str, Question], allowed: tuple[str, ...]) -> tuple[list[dict], list[dict]]:
    """Ready-made chains {id, text}: checked like the teacher's. Unknown ids and unknown tags stop the run."""
    kept, dropped = [], []
    for number, row in enumerate(read_jsonl(Path(path)), 1):
        where, q = f"{path} line {number}", questions.get(str(row.get("id")))
        if q is None or not isinstance(row.get("text"), str):
            raise UserError(f"{where}: needs `id` of a training question and `text`; got id {str(row.get('id'))[:40]!r}")
        chain = parse(row["text"], allowed)
        if isinstance(chain, Fault) and chain.name == "unknown_tag":
            raise UserError(f"{where}: unknown tag '{chain.detail}'; known: {', '.join(allowed)}")
        out = {"id": q.id, "task": q.task, "text": row["text"].strip(), "gold": q.gold, "kind": "given",
               "answer": chain.answer if isinstance(chain, Chain) else "", "tags": chain.tags if isinstance(chain, Chain) else []}
        reason = why_not(row["text"], q)
        dropped.append({**out, "reason": reason}) if reason else kept.append(out)
    return kept, dropped
