"""Several runs that differ in a few settings and in their seeds, one after another, and their scores side by
side.

    python -m tagpr_lite.campaign learning                    one of campaigns/*.yaml, or a file of yours
    python -m tagpr_lite.campaign tags lamp.source=FOLDER     any key=value, for all its runs

A run is the steps of run_all.sh with a folder of its own, results/<campaign>-<variant>-<seed>. So the command
may be stopped at any moment and goes on where it was; what it prints at the end, and writes to
results/<campaign>.md, can be had at any time with --table.
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

import yaml

from . import config as cfg
from .config import UserError
from .report import figures, tables
from .runs import guard, keep_memory, whole_folder, write_text
from .steps import STEPS

FOLDER = Path(__file__).parent / "campaigns"


def read(name: str) -> dict:
    """{name, preset, seeds, steps, share, settings, variants} of a campaign's file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"no campaign '{name}'; known: {', '.join(sorted(p.stem for p in FOLDER.glob('*.yaml')))}, or a file")
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as e:
        raise UserError(f"{path} is not YAML: {' '.join(str(e).split())}") from None
    if not isinstance(found, dict) or not isinstance(found.get("variants"), dict):
        raise UserError(f"{path}: `variants` is missing, a map from a name to its settings")
    found = {"preset": "cpu", "seeds": [0], "steps": list(STEPS), "share": False,
             "settings": {}} | found | {"name": path.stem}
    if unknown := set(found["steps"]) - set(STEPS):
        raise UserError(f"{path}: unknown step '{sorted(unknown)[0]}'; known: {', '.join(STEPS)}")
    return found


def runs(campaign: dict, words: list[str]) -> list[tuple[str, int, list[str]]]:
    """(variant, seed, the command line's words) of every run, seeds outermost: a cut campaign has whole
    rounds."""
    found = []
    for seed in campaign["seeds"]:
        for variant, settings in campaign["variants"].items():
            tree = [f"{k}={yaml.safe_dump(v, default_flow_style=True, width=10**6).removesuffix('...' + chr(10)).strip()}"
                    for t in (campaign["settings"], settings or {}) for k, v in cfg.flatten(t)]
            found.append((variant, seed,
                          [*tree, *words, f"seed={seed}", f"name={campaign['name']}-{variant}-{seed}"]))
    return found


def run(campaign: dict, words: list[str]) -> None:
    todo = runs(campaign, words)
    for _, _, line in todo:
        cfg.load(campaign["preset"], line)  # a wrong key is said before anything is computed
    for n, (variant, seed, line) in enumerate(todo, 1):
        print(f"[{campaign['name']}] run {n} of {len(todo)}: {variant}, seed {seed}", flush=True)
        if campaign["share"]:
            begin_with(*(cfg.load(campaign["preset"], words).folder
                         for words in (first_of(todo, seed), line)))
        for step in campaign["steps"]:
            script = STEPS[step].module
            code = subprocess.run([sys.executable, "-m", script, "--preset", campaign["preset"], *line],
                                  env={**os.environ, "PYTHONWARNINGS": "ignore"}).returncode
            if code:
                raise SystemExit(code)


def first_of(todo: list, seed: int) -> list[str]:
    """The command line of the seed's first run."""
    return next(line for _, s, line in todo if s == seed)


def begin_with(first: Path, folder: Path) -> None:
    """A run begins as a copy of its seed's first one: every step that its settings do not touch is up to
    date, by its manifest, and the others are made again."""
    if folder != first and not folder.exists():
        with whole_folder(folder) as beside:
            shutil.copytree(first, beside, dirs_exist_ok=True)


def table(campaign: dict, words: list[str]) -> str:
    """Markdown: every variant's main metric of each task and system, the mean over its finished seeds and
    their range."""
    cells: dict[tuple, list[float]] = {}
    for variant, _, line in runs(campaign, words):
        for row in tables.collect(cfg.load(campaign["preset"], line).folder):
            for key in tables.main_columns([row]):
                if (value := row["cells"][key]["value"]) is not None:
                    cells.setdefault((key, variant, row["system"]), []).append(value)
    tasks = sorted({key for key, _, _ in cells})
    rows = list(dict.fromkeys((v, s) for _, v, s in cells))
    lines = ["| variant | system | seeds | "
             + " | ".join(f"{t} {tables.METRICS[m]} {tables.arrow(m)}" for t, m in tasks) + " |",
             "|---" * (3 + len(tasks)) + "|"]
    for variant, system in rows:
        have = [cells.get((key, variant, system), []) for key in tasks]
        said = [f"{mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" if v else "-" for v in have]
        lines.append(f"| {variant} | {system} | {max(map(len, have))} | " + " | ".join(said) + " |")
    return "\n".join(lines) + "\n"


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign")
    parser.add_argument("--name",
                        help="of its folders, so that two runs of one campaign on different data stand side by side")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args(words)  # key=value may stand after an option
    guard(lambda: everything(args))


def everything(args: argparse.Namespace) -> None:
    campaign = read(args.campaign) | ({"name": args.name} if args.name else {})
    if not args.table:
        run(campaign, args.overrides)
    made = [cfg.load(campaign["preset"], line).folder for _, _, line in runs(campaign, args.overrides)]
    text, home = table(campaign, args.overrides), made[0].parent / campaign["name"]
    print(text)
    write_text(home.with_suffix(".md"), text)
    if "explore" in campaign["steps"] and all((f / "explore").is_dir() for f in made):
        write_text(home.with_suffix(".svg"), figures.alone(figures.learning(made)))


if __name__ == "__main__":
    keep_memory()
    main()
