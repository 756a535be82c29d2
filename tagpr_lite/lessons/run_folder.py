"""Lesson 6: the files of a run, step by step.

    python -m tagpr_lite.lessons.run_folder

The eight steps are eight programs that know nothing of each other: each reads files of the run's folder and
writes others. So a step can be done again, replaced or looked into, and a run that was stopped goes on. This
lesson does a whole run, far too short to learn anything (rewards stay 0), and shows what is new after each
step. It shows a finished run when it is given its folder:

    python -m tagpr_lite.lessons.run_folder results/cpu

The code: steps/ (the eight programs), runs/steps.py (what is up to date), runs/files.py (whole files).
"""
import importlib
import io
import json
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from .. import config as cfg
from ..runs import read_json, read_jsonl
from ..steps import STEPS

SHORT = ["lamp.mini_users=12", "lamp.dev_limit=4", "lamp.val_limit=2", "sft.epochs=1", "reward.rollouts=2",
         "reward.pairs=8", "reward.reported=8", "grpo.guided_steps=1", "grpo.explore_steps=1",
         "grpo.prompts=2", "grpo.group=2", "grpo.completion=112", "evaluate.systems=[base_profile, explore]"]


def show(title, value):
    """One line: what it is, and as much of it as fits."""
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    print(f"    {title}: {text[:170]}{' ...' * (len(text) > 170)}")


def run(step):
    """Runs a step as its command does, and prints only what it says of itself, such as "[sft] started"."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(io.StringIO()):
        importlib.import_module(STEPS[step].module).main(config)
    for line in output.getvalue().splitlines():
        if line.startswith(f"[{step}]"):
            print("   ", line)


def show_prepare(folder):
    question = read_jsonl(folder / "data" / "train.jsonl")[0]
    show("a question", {key: question[key] for key in ("id", "task", "user", "gold")})
    show("its text", question["input"][-120:])
    show("its user's history", f"{len(question['profile'])} items, first {question['profile'][0]}")


def show_tag(folder):
    kept = read_jsonl(folder / "chains" / "kept.jsonl")
    show("chains kept, and dropped", [len(kept), len(read_jsonl(folder / "chains" / "dropped.jsonl"))])
    show("a chain", kept[0]["text"])
    show("primary tags", read_json(folder / "chains" / "tags.json")["primary"])


def show_reward(folder):
    pair = read_jsonl(folder / "chains" / "pairs.jsonl")[0]
    show("a preference pair", {key: pair[key] for key in ("kind", "user", "chosen", "rejected")})
    report = read_json(folder / "prmu" / "report.json")
    show("held-out pairs told apart under the user's own embedding, another's, none",
         [report[key] for key in ("accuracy", "shuffled", "generic")])


def show_metrics(name):
    """A function of the folder that shows the last line of metrics.jsonl of one step."""
    def shown(folder):
        lines = [line for line in read_jsonl(folder / "metrics.jsonl") if line["step"] == name]
        show("metrics.jsonl, last line", lines[-1])
    return shown


def show_evaluate(folder):
    answers = sorted((folder / "eval").rglob("*.json"))[0]
    show(f"scores and answers in {answers.relative_to(folder)}", answers.read_text())


def show_report(folder):
    headline = [line for line in (folder / "report.md").read_text().splitlines() if " minus " in line]
    show("the headline", headline[0] if headline else "none")


SHOWN = {"prepare": show_prepare, "tag": show_tag, "sft": show_metrics("sft"), "reward": show_reward,
         "guided": show_metrics("guided"), "explore": show_metrics("explore"), "evaluate": show_evaluate,
         "report": show_report}

# ---- 1. The run: one that is there, or a short one in a temporary folder.

finished = Path(sys.argv[1]) if len(sys.argv) > 1 else None
if finished and not (finished / "manifests" / "report.json").exists():
    sys.exit(f"error: {finished} is no folder of a finished run")
temporary = tempfile.TemporaryDirectory()
config = cfg.load("smoke", [f"results={temporary.name}", "name=short", *SHORT])
folder = finished or config.folder

# ---- 2. Step by step: it runs, unless the run is finished; its manifest; what it wrote.

for step, info in STEPS.items():
    print(f"\n{step}: {info.about}")
    if finished is None:
        run(step)
    manifest = read_json(folder / "manifests" / f"{step}.json")
    show("read", sorted(manifest["key"]["inputs"]))           # with the hash of each, in the manifest
    show("wrote", manifest["outputs"])
    SHOWN[step](folder)

# ---- 3. Once more: nothing has changed, so nothing is done.

if finished is None:
    print("\nThe same commands again:")
    for step in STEPS:
        run(step)
temporary.cleanup()
# Two things to try:
# 1. Run it on a folder of yours, change a setting (sft.lr), and start the run again. What is done anew?
# 2. Put "sft.epochs=40" and "grpo.guided_steps=3" into SHORT. When is a reward above 0?
