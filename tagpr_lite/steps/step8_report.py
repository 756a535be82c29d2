"""Step 8: one HTML page and one Markdown table of everything that the run folder holds.

Decision: the report reads files and computes nothing new. It can be made again at any time, after any step
and from a run that was cut off; a part that was not run says so.
"""
from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..report.findings import read_findings
from ..report.markdown import markdown
from ..report.page import render
from ..runs import cli, run_step, write_text
from . import STEPS


def main(config: Config) -> None:
    run_step(config, "report",
             inputs=["config.yaml", "?metrics.jsonl", "?eval", "?chains", "?prmu/report.json",
                     "?data/train.jsonl", "?data/summary.json", "?data/tasks.json", "?data/references.json",
                     "?plan.json", "?plan_table.json", "?guided/rollouts.jsonl", "?explore/rollouts.jsonl"],
             settings=[], of_unfinished=True, outputs=["report.html", "report.md"],
             work=work)


def work(config: Config, folder: Path) -> None:
    about_steps = {name: step.about for name, step in STEPS.items()}
    page = folder / "report.html"
    found = read_findings(folder)
    table = markdown(folder, found)
    write_text(page, render(folder, about_steps, found))
    write_text(folder / "report.md", table)
    print(table)
    print(f"[report] {page}", flush=True)


if __name__ == "__main__":
    cli(main, __doc__)
