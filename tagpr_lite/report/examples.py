"""The example chains of the page: the first ones by a rule, never picked by hand."""
from __future__ import annotations

from pathlib import Path

from ..lamp.tasks import Task
from ..tags.schema import Fault, parse
from .tables import maybe

LONGEST_TEXT = 1500  # characters of one text on the page; a longer one is cut and says so
LONGEST_ANSWER = 200  # the same for an answer or a gold


def chain(text: object, primary: list[str]) -> dict:
    """A completion as it is shown: {steps, fault, text}.

    steps: (tag, words) of every step. fault: the reason why the text is no chain, or "". text: the plain
    text where there is a fault, or "". primary: the nine tags; empty allows any tag.
    """
    text = str(text or "")
    parsed = parse(text, tuple(primary) or None)
    if isinstance(parsed, Fault):
        return {"steps": [], "fault": str(parsed), "text": cut(text)}
    return {"steps": [(step.tag, cut(step.text)) for step in parsed.steps], "fault": "", "text": ""}


def cut(text: object, longest: int = LONGEST_TEXT) -> str:
    """At most `longest` characters of the text, and how many more there were."""
    text = str(text)
    return text if len(text) <= longest else f"{text[:longest]} … [{len(text) - longest:,} more characters]"


def verdict(task: Task | None, answer: object, gold: object) -> tuple[str, str]:
    """(class, words): right or wrong where the task has one right answer, "free" where ROUGE judges a text.

    task: None where the run folder does not say what the task is.
    """
    gold = str(gold).strip()
    answer = str(answer or "").strip()
    if task:
        answer = task.parse_answer(answer)  # the lenient reading, as in the main table
    if not answer:
        return "wrong", "✗ no answer could be read"
    if answer == gold:
        return "right", "✓ right"
    if task and task.kind == "text":
        return "free", "≈ free text, judged by ROUGE"
    if task and task.kind == "rating" and gold in task.labels:
        return "wrong", f"✗ off by {abs(float(answer) - float(gold)):g}"
    return "wrong", "✗ wrong"


def dev_examples(folder: Path, system: str, primary: list[str], tasks: dict[str, Task]) -> list[dict]:
    """Of each task the first dev prediction of every verdict, and the first malformed one.

    Each is what `chain` returns, with its task, id, user, input, answer, gold, mark (the class of the
    verdict) and verdict (its words).
    """
    shown = []
    for path in sorted((folder / "eval" / system).glob("[!.]*.json")):
        task = path.stem
        kinds_shown = set()
        for prediction in maybe(path, {}).get("predictions") or []:
            mark, words = verdict(tasks.get(task), prediction.get("answer"), prediction.get("gold"))
            thought = chain(prediction.get("text"), primary)
            kind = "malformed" if thought["fault"] else mark
            if kind in kinds_shown:
                continue
            kinds_shown.add(kind)
            shown.append({**thought, "task": task,
                          "id": prediction.get("id", ""),
                          "user": prediction.get("user", ""),
                          "input": cut(prediction.get("input") or ""),
                          "answer": cut(prediction.get("answer") or "none", LONGEST_ANSWER),
                          "gold": cut(prediction.get("gold", ""), LONGEST_ANSWER),
                          "mark": mark, "verdict": words})
    return shown


def training_examples(kept: list[dict], primary: list[str]) -> list[dict]:
    """The first kept chain of every task and kind, with the same fields as `dev_examples`. kept: the rows of
    chains/kept.jsonl."""
    first: dict[tuple, dict] = {}
    for row in kept:
        first.setdefault((row.get("task"), row.get("kind")), row)
    explanations = {"reasoned": "the teacher found the answer itself",
                    "rationalised": "the teacher was shown the answer"}
    shown = []
    for row in first.values():
        explanation = explanations.get(row.get("kind"), "")
        shown.append({**chain(row.get("text"), primary), "task": row.get("task", ""),
                      "id": row.get("id", ""), "user": "", "input": "",
                      "answer": cut(row.get("answer", "")), "gold": cut(row.get("gold", "")),
                      "mark": "free", "verdict": f"{row.get('kind', '')}: {explanation}"})
    return shown
