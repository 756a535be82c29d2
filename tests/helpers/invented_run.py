"""One run folder, invented but shaped like a real one: three tasks, six systems, noisy curves, hostile
text."""
from __future__ import annotations

import math
import random

import yaml

from tagpr_lite.config import Config, to_dict
from tagpr_lite.plan.run_plan import TABLE, RunPlan, write_plan
from tagpr_lite.runs import write_json, write_jsonl, write_text

TAGS = ["examine_examples", "identify_patterns", "infer_preferences", "analyze_query", "verify_consistency",
        "understand_task", "compare_options", "apply_preferences", "conclude"]
SPREAD = {"least": 2, "quarter": 3, "median": 3.5, "three_quarters": 4, "most": 9}
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"

# lenient (main, second) of LaMP_1, LaMP_3 and LaMP_5, as a hand can check them
SCORES = {"base": [(0.50, 0.40), (1.00, 1.60), (0.20, 0.16)],
          "base_profile": [(0.55, 0.50), (0.80, 1.20), (0.24, 0.20)],
          "sft": [(0.60, 0.60), (0.50, 0.80), (0.30, 0.24)],
          "guided": [(0.65, 0.62), (0.45, 0.78), (0.31, 0.25)],
          "explore": [(0.70, 0.68), (0.40, 0.80), (0.32, 0.26)],
          "sft_no_tags": [(0.58, 0.55), (0.60, 0.90), (0.27, 0.2)]}
METRICS = {"LaMP_1": ("accuracy", "f1"), "LaMP_3": ("mae", "rmse"), "LaMP_5": ("rouge1", "rougeL")}
TITLES = {"LaMP_1": "Citation identification", "LaMP_3": "Product rating", "LaMP_5": "Scholarly title"}


def thought(rng: random.Random, answer: str) -> str:
    words = ("the user's earlier reviews praise sturdy things and forgive slow delivery, so this one is "
             "warm").split()
    lines = [f"<{t}>{' '.join(rng.sample(words, 12)).capitalize()}.</{t}>" for t in rng.sample(TAGS[:8], 3)
             + TAGS[8:]]
    return "<think>\n" + "\n".join(lines) + f"\n</think>\n{answer}"


def predictions(rng: random.Random, task: str) -> list[dict]:
    gold, wrong = {"LaMP_1": ("[1]", "[2]"), "LaMP_3": ("4", "2"),
                   "LaMP_5": ("Tags of thoughts", "On tags")}[task]
    rows = [{"id": f"{task}-{i}", "user": f"u{i}", "input": "Which rating fits 'Sturdy, if a little late.'?",
             "text": thought(rng, a), "answer": a, "gold": gold} for i, a in enumerate([gold, wrong, gold])]
    rows.append({"id": "evil", "user": EVIL, "input": EVIL, "text": "<think>I never close my thought " + EVIL,
                 "answer": None, "gold": EVIL})
    return rows


def make_run(folder) -> None:
    rng = random.Random(0)
    write_text(folder / "config.yaml", yaml.safe_dump(to_dict(Config(preset="cpu")), sort_keys=False))
    write_plan(folder, RunPlan("smollm2", "abc", 4, "cuda:0", "bfloat16", 8, 8.0, 1.9, 1.55,
                               {"grpo.layout": "kept", "grpo.micro": 3, "sft.micro": 2}))
    write_json(folder / TABLE, {"made_of": {}, "rates": {}, "rows": [
        {"step": "sft", "what": "training", "at_once": "2 sequences", "held": 2**30, "peak": 1.5 * 2**30,
         "seconds": 90.0},
        {"step": "guided", "what": "updates", "at_once": f"3 completions {EVIL}", "held": 2**30,
         "peak": 1.75 * 2**30, "seconds": 7200.0}]})
    write_json(folder / "data/summary.json", {"notes": [f"A note with {EVIL}"], "tasks": {
        t: {"title": TITLES[t], "train": 60, "dev": 40, "users": 60, "source": "mini"} for t in METRICS}})
    kept = [{"id": f"{t}-{k}", "task": t, "text": thought(rng, "4"), "answer": "4", "gold": "4", "kind": k}
            for t in METRICS for k in ("reasoned", "rationalised")]
    write_jsonl(folder / "chains/kept.jsonl", kept)
    write_jsonl(folder / "chains/dropped.jsonl", [{"id": "x", "task": "LaMP_3", "reason": "wrong answer"}])
    counts = {t: 150 - 14 * i for i, t in enumerate(TAGS)}
    write_json(folder / "chains/tags.json",
               {"primary": TAGS, "source": "built-in list", "counts": counts,
                "by_task": {t: {k: v // 3 for k, v in counts.items()} for t in METRICS}})
    write_json(folder / "chains/stats.json", {
        "kept": {"chains": 6, "questions": 6, "users": 5, "by_task": {}, "by_kind": {"reasoned": 3, EVIL: 3}},
        "dropped": {"wrong answer": {"LaMP_3": 7}, EVIL: {"LaMP_1": 1}}, "steps": SPREAD, "words": SPREAD,
        "transitions": {"(start)": {TAGS[0]: 6}, TAGS[0]: {TAGS[1]: 5, "(answer)": 1}},
        "cost": {"answers": 40, "tokens_in": 12000, "tokens_out": 3000, "cost": 0.25}})
    write_jsonl(folder / "metrics.jsonl", curves(rng))
    write_json(folder / "prmu/report.json", {
        "accuracy": 0.81, "shuffled": 0.55, "generic": 0.58, "pairs": 360, "heldout_pairs": 120,
        "by_kind": {"other_user": {"n": 60, "accuracy": 0.84, "shuffled": 0.52, "generic": 0.5},
                    "worse_answer": {"n": 60, "accuracy": 0.78, "shuffled": 0.58, "generic": 0.6}},
        "user_only": {"n": 60, "accuracy": 0.84, "shuffled": 0.52, "generic": 0.5},
        "calibration": {"temperature": 1.3, "ece": 0.04, "ece_before": 0.11},
        "bias": {"length_rho": -0.02, "over_untagged": 0.97, "over_unclosed": 1.0},
        "agreement": {"LaMP_2": {"tau": 0.61, "error": 0.07, "n": 24}}})
    for system, values in SCORES.items():
        for (task, names), pair in zip(METRICS.items(), values):
            lenient = dict(zip(names, pair))
            write_json(folder / f"eval/{system}/{task}.json",
                       {"system": system, "task": task, "predictions": predictions(rng, task),
                        "seconds": 12.5,
                        "scores": {"n": 40, "lenient": lenient,
                                   "strict": {m: round(v * 0.9, 4) for m, v in lenient.items()},
                                   "parse_failure": 0.05,
                                   "interval": {m: [v * 0.85, v * 1.15] for m, v in lenient.items()}}})
    for step, seconds in {"prepare": 4, "tag": 9, "sft": 180, "reward": 95, "guided": 640, "explore": 600,
                          "evaluate": 350}.items():
        write_json(folder / f"manifests/{step}.json", {"key": {}, "done": True, "seconds": seconds})


def curves(rng: random.Random) -> list[dict]:
    rows = [{"step": "sft", "index": i, "loss": 0.7 + 2 * math.exp(-i / 25) + rng.gauss(0, 0.08)}
            for i in range(110)]
    rows += [{"step": "reward", "index": i, "loss": 0.69 - 0.004 * i + rng.gauss(0, 0.03),
              "accuracy": min(1, 0.5 + 0.005 * i + rng.gauss(0, 0.05))} for i in range(50)]
    for stage, start in (("guided", 0), ("explore", 40)):
        for i in range(40):
            t = 1 - math.exp(-(start + i) / 30)
            noisy = lambda a, b: min(1.0, max(0.0, a + b * t + rng.gauss(0, 0.05)))
            task, tag, prmu = noisy(0.3, 0.4), noisy(0.4, 0.5), noisy(0.5, 0.15)
            rows.append({"step": stage, "index": i, "task": task, "tag": tag, "format": noisy(0.75, 0.2),
                         "prmu": prmu if stage == "guided" else 0.0, "reward": task
                         + (0.2 * (tag + prmu) if stage == "guided" else 0), "kl": 0.02 * t, "length": 60
                         + 20 * t + rng.gauss(0, 3), "zero_variance": noisy(0.1, 0.2), "seconds": 15.0,
                         "by_task": {"LaMP_1": noisy(0.4, 0.3), "LaMP_3": noisy(0.3, 0.4),
                                     "LaMP_5": noisy(0.2, 0.2)}})
    return rows
