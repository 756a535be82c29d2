"""The runs of a campaign, invented: answers with scores, references, states and changed chains."""
from __future__ import annotations

import random
from pathlib import Path
from statistics import mean

from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.report.differences import read_answers
from tagpr_lite.report.over_seeds import Run
from tagpr_lite.report.tables import maybe
from tagpr_lite.runs import write_json

GOLD = {"LaMP_2": "comedy", "LaMP_3": "5"}


def write_ratings(folder: Path, system: str, answers: list[str], text: str = "",
                  task: str = "LaMP_3") -> None:
    """eval/<system>/<task>.json: a question a user with its answer; the gold is 5 stars, so 4 earns 0.75."""
    gold = GOLD[task]
    rows = [{"id": f"q{n}", "user": f"u{n}", "input": f"{text} {n}", "gold": gold, "answer": answer}
            for n, answer in enumerate(answers)]
    rewards = [item_reward(TASKS[task], answer, gold) for answer in answers]
    metrics = {"accuracy": mean(rewards)}
    if task == "LaMP_3":
        metrics = {"mae": 4 * (1 - mean(rewards)), "rmse": 1.0}
    write_json(folder / f"eval/{system}/{task}.json",
               {"scores": {"n": len(rows), "lenient": metrics}, "predictions": rows})


def read_run(variant: str, seed: int, folder: Path) -> Run:
    return Run(variant, seed, read_answers(folder), folder)


def write_reasoning(folder: Path, system: str, task: str = "LaMP_3", **values) -> None:
    state = {"completions": 4, "chains": 1.0, "steps": 3.0, "tokens": 90.0, "form": 0.9, "claims": 4.0,
             "true": 0.9, "follows": 0.8, "tags": {"conclude": 4}, "entropy": 0.4} | values
    path = folder / f"eval/{system}/{task}.json"
    write_json(path, {**maybe(path, {}), "reasoning": state})


def write_changes(folder: Path, system: str, scores: dict[str, list[float]], whole: float = 1.0) -> None:
    """samples/faithful.json: {change: the scores after it}; every whole chain scores `whole`."""
    rows = [{"id": f"q{n}", "task": "LaMP_3", "user": f"u{n}", "change": change, "score": score,
             "whole": whole} for change, of_change in scores.items() for n, score in enumerate(of_change)]
    path = folder / "samples/faithful.json"
    write_json(path, {**maybe(path, {}), system: rows})


def write_references(folder: Path) -> None:
    write_json(folder / "data/references.json", {
        "LaMP_3": {"no_profile": {"reward": 0.6, "mae": 1.6}, "profile": {"reward": 0.9, "mae": 0.4},
                   "oracle": {"reward": 1.0, "mae": 0.0}},
        "LaMP_2": {"no_profile": {"reward": 0.3, "accuracy": 0.3},
                   "profile": {"reward": 0.8, "accuracy": 0.8}, "oracle": {"reward": 0.9, "accuracy": 0.9}}})


# ---------------------------------------------------------------- a whole one, for eyes

SKILL = {"base": 0.15, "base_profile": 0.25, "sft": 0.5, "guided": 0.58, "explore": 0.66,
         "explore@none": 0.42, "explore@other": 0.38, "explore@half": 0.55, "explore@shuffled": 0.64,
         "explore@recency": 0.6, "explore@random": 0.57, "explore@k0": 0.42, "explore@k1": 0.5,
         "explore@k2": 0.56, "explore@k4": 0.62, "explore@k8": 0.67, "explore@vote8": 0.68,
         "explore@prmu8": 0.71, "explore@prmu8-other": 0.66,
         "explore@prmu8-none": 0.67, "explore@random8": 0.61, "explore@best8": 0.85}
LOSS = {"conclude": 0.5, "examine_examples": 0.3, "infer_preferences": 0.22, "analyze_query": 0.05,
        "verify_consistency": 0.0, "nothing": 0.55, "other": 0.45}


def write_campaign(folder: Path, variants: dict[str, float], seeds: int = 3, people: int = 60,
                   skill: dict[str, float] = SKILL) -> list[Run]:
    """Runs whose systems answer rightly with the chance `skill`, plus the variant's. Later variants have
    the stages alone."""
    runs = []
    for seed in range(seeds):
        for place, (variant, change) in enumerate(variants.items()):
            of_run = folder / f"invented-{place}-{seed}"
            rng = random.Random(f"{variant} {seed}")
            write_references(of_run)
            write_json(of_run / "plan.json", {"model": "smollm2"})
            for system, plain_chance in skill.items():
                if place and "@" in system:
                    continue
                chance = plain_chance + change * (system in ("guided", "explore"))
                for task, wrong in (("LaMP_2", ["action", "comedy"]), ("LaMP_3", ["4", "3", "5"])):
                    answers = [GOLD[task] if rng.random() < chance else rng.choice(wrong)
                               for _ in range(people)]
                    write_ratings(of_run, system, answers, f"seed {seed}", task)
                    if system in ("sft", "guided", "explore"):
                        write_reasoning(of_run, system, task, form=0.95 - 0.3 * rng.random(),
                                        claims=4 * rng.random())
            write_changes(of_run, "explore", {name: [float(rng.random() > loss) for _ in range(people)]
                                              for name, loss in LOSS.items()})
            runs.append(read_run(variant, seed, of_run))
    return runs
