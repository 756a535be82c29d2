"""rollouts.jsonl of both stages, invented in the form that GRPO writes, with questions of the built-in
benchmark.

The completions of a group vary as a policy's do: chains of the template teacher, hollow ones, ones with false
claims, ones that were cut off, ones without form. Their terms and rewards are those of grpo/rewards.py.
`hostile` also writes text that tries to leave its place into every field.
"""
from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tagpr_lite.grpo.rewards import terms
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.prompts import message
from tagpr_lite.lamp.rows import write_questions
from tagpr_lite.lamp.tasks import Question
from tagpr_lite.runs import write_json, write_jsonl
from tagpr_lite.tags.schema import PRIMARY, Chain, Step, render
from tagpr_lite.tags.teachers.template import write
from tagpr_lite.tags.teaching import Teaching

TASKS = ["LaMP_1", "LaMP_2", "LaMP_3", "LaMP_5", "LaMP_7"]
WEIGHTS = {"guided": {"task": 1.0, "tag": 0.2, "prmu": 0.2},
           "explore": {"task": 1.0, "tag": 0.0, "prmu": 0.0}}
HOSTILE = ["<script>alert('x')</script>", "</script><script>alert(1)</script>", "<!--<script>",
           "<img src=x onerror=alert(1)>", "\"' onmouseover=alert(1) x='", "]]>&lt;b&gt;&amp;{{ 7 * 7 }}",
           "right \u202eto left\u202c and \u2066isolated\u2069", "line\u2028end and\u2029paragraph",
           "half \ud800 a pair", "\x00\x07\x1b[31mred\x7f", "W" * 400,
           "🎈👩\u200d👩\u200d👧 emoji 日本語 العربية",
           "javascript:alert(1)", "\u200b\ufeff hidden", "http://example.invalid/x.js"]


# ---------------------------------------------------------------- completions

def hollow(question: Question) -> str:
    """A chain that only says its answer."""
    answer = question.gold or ""
    return render(Chain((Step("examine_examples", f"The user wrote {answer}."),
                         Step("conclude", f"About {answer}.")), answer))


def false(question: Question, rng: random.Random) -> str:
    """A chain whose claims are wrong, beside some that are right."""
    item = question.profile[0]
    quoted = " ".join(item.text.replace('"', " ").split()[:3])
    steps = (Step("examine_examples", f'"{quoted}" got {item.label}. "Never said" got {item.label}. '
                                      f"Past scores 1 9 1, mean score of 4.9, usually {rng.randint(1, 5)}."),
             Step("identify_patterns", f"{len(question.profile)} past reviews; used {item.label} 7 times, "
                                       "about 44 words, Title Case, an end mark."),
             Step("conclude", f'So "{quoted}" it is.'))
    return render(Chain(steps, question.gold or ""))


def completion(question: Question, n: int, rng: random.Random) -> tuple[str, bool]:
    """(text, whether it ended)."""
    chain = write(question, n % 3)
    good = render(chain) if chain else hollow(question)
    kinds = [(good, True), (hollow(question), True), (false(question, rng), True),
             (good[:2 * len(good) // 3], False), (f"The answer is {question.gold}.", True),
             (good.replace("conclude", "made_up_tag"), True), (good + " and more", True),
             (hollow(question).replace("About", "Not"), True)]
    return kinds[n % len(kinds)]


def group(stage: str, step: int, question: Question, size: int, rng: random.Random) -> list[dict]:
    """The lines of one group."""
    texts = [completion(question, n, rng) for n in range(size)]
    weights = WEIGHTS[stage]
    scored = [terms(text, ended, question, Teaching()) for text, ended in texts]
    for one in scored:
        one.prmu = round(rng.random(), 4) if stage == "guided" else 0.0
    rewards = [one.total(weights["task"], weights["tag"], weights["prmu"]) for one in scored]
    mean = sum(rewards) / size
    deviation = (sum((reward - mean) ** 2 for reward in rewards) / size) ** 0.5
    rows = [{"stage": stage, "step": step, "question": question.id, "task": question.task.name,
             "user": question.user, "n": n, "text": text, "ended": ended, "tokens": len(text) // 4,
             "terms": vars(one), "weights": weights, "reward": reward,
             "advantage": (reward - mean) / deviation if deviation else 0.0, "gold": question.gold}
            for n, ((text, ended), one, reward) in enumerate(zip(texts, scored, rewards))]
    items = list(question.profile)[:4]
    said = message(question, items, "chat", with_profile=True, reason=True)
    rows[0]["prompt"] = f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
    return rows


# ---------------------------------------------------------------- the files

def hostile_groups(step: int, size: int = 4) -> list[dict]:
    """A group for every hostile text, which stands in every field of it that holds text. Of the last stage,
    so that a page shows one of them first."""
    rows = []
    for text in HOSTILE:
        chain = f'<think>\n<conclude>{text} "{text}" got {text}</conclude>\n</think>\n{text}'
        texts = [text, chain, f"<think>\n<{text}>{text}</{text}>\n</think>\n{text}", f"<conclude>{text}"]
        rows += [{"stage": "explore", "step": step, "question": text, "task": text, "user": text, "n": n,
                  "text": texts[n % 4], "ended": bool(n % 2), "tokens": n, "reward": n / 4,
                  "advantage": n - 1.5, "gold": text, "terms": {"task": text, "format": 1.0, text: 1},
                  "weights": {"task": 1e300, "tag": text}, **({"prompt": text} if n == 0 else {})}
                 for n in range(size)]
    return rows


def write_rollouts(folder: Path, steps: int = 6, size: int = 8, users: int = 6,
                   hostile: bool = False) -> None:
    """data/train.jsonl, chains/tags.json and rollouts.jsonl of a run that kept `steps` steps a stage, one
    question a task in each."""
    rng = random.Random(0)
    built = mini.build(0, users, TASKS)
    questions = [question for splits in built.values() for question in splits["train"]]
    write_questions(folder, "train", questions)
    write_json(folder / "chains/tags.json", {"primary": list(PRIMARY), "source": "built-in list",
                                             "counts": {}, "by_task": {}})
    rows = []
    for stage in WEIGHTS:
        for step in range(steps):
            for splits in built.values():
                asked = splits["train"]
                rows += group(stage, 3 * step, asked[step % len(asked)], size, rng)
    write_jsonl(folder / "guided" / "rollouts.jsonl", rows)
    if hostile:  # in ASCII: JSON has halves of surrogate pairs only as escapes
        with open(folder / "guided" / "rollouts.jsonl", "a", encoding="ascii") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in hostile_groups(3 * steps, size))


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[2:5]]
    write_rollouts(Path(sys.argv[1]), *numbers, hostile="hostile" in sys.argv)
