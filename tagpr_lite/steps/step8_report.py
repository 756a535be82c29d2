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
                     "?plan.json", "?plan_table.json", "?guided/rollouts.jsonl", "?explore/rollouts.jsonl",
                     "?sft/adapter", "?guided/adapter", "?guided/last", "?explore/adapter", "?explore/last"],
             settings=[], of_unfinished=True, outputs=["report.html", "report.md"],
             work=work)
    # Also where nothing had to be done: whoever starts a run wants to know what came out, and where it is.
    text = (config.folder / "report.md").read_text(encoding="utf-8")
    print(text.partition("\n## ")[0].partition("\n")[2].strip())
    print(f"[report] {config.folder / 'report.html'}", flush=True)


def work(config: Config, folder: Path) -> None:
    about_steps = {name: step.about for name, step in STEPS.items()}
    found = read_findings(folder)
    write_text(folder / "report.html", render(folder, about_steps, found))
    write_text(folder / "report.md", markdown(folder, found))


if __name__ == "__main__":
    cli(main, __doc__)
