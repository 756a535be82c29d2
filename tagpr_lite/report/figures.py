"""Pictures that stand alone: how the benchmark's step grows, and how several runs learned.

    python -m tagpr_lite.report.figures growth curve.json OUT.svg          curve.json: bench grpo --curve --json
    python -m tagpr_lite.report.figures learning OUT.svg RUN [RUN ...]     run folders that differ in their seed

Decision: the same drawings as the report's, with the style inside, so that a README or any browser shows
them.
"""
from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..config import UserError
from ..runs import guard, read_json, read_metrics, write_text
from . import plots, tables

GAP = 14


def growth(found: dict) -> list[str]:
    """Seconds of an update over the tokens that a shared prefix forwards, P + G R, and the update's peak over
    G."""
    rows = found["rows"]
    tokens = lambda r: r["prompt"] + r["group"] * found["completion"]
    by_group = sorted((r for r in rows if r["prompt"] == found["prompt"]), key=lambda r: r["group"])
    by_prompt = sorted((r for r in rows if r["group"] == found["group"]), key=lambda r: r["prompt"])
    seconds = lambda some: [(tokens(r), r["seconds"]["update"]) for r in some]
    slope, start = np.polyfit(*zip(*seconds(rows)), 1)
    ends = sorted(tokens(r) for r in rows)
    line = [(x, start + slope * x) for x in (ends[0], ends[-1])]
    name = lambda what, some: f"{what} = {', '.join(str(r[{'G': 'group', 'P': 'prompt'}[what]]) for r in some)}"
    peak = [(r["group"], r["peak_mb"]["update"]) for r in by_group]
    return [plots.line_chart("Seconds of an update over P + G R tokens",
                             [(f"seconds, {name('G', by_group)}", 1, seconds(by_group)),
                              (f"seconds, {name('P', by_prompt)}", 2, seconds(by_prompt)),
                              (f"{1000 * slope:.2f} ms a token", 3, line)], unit="{} tokens"),
            plots.line_chart("Peak of an update in MB over G",
                             [(f"peak MB of an update, P = {found['prompt']}", 4, peak)], unit="G = {}",
                             zero=True)]


def learning(folders: list[Path]) -> list[str]:
    """The reward and the task term over both GRPO stages, a line a run."""
    series, cut = defaultdict(list), None
    for n, folder in enumerate(folders):
        rows, cut = plots.timeline(read_metrics(folder, "guided"), read_metrics(folder, "explore"))
        if not rows:
            raise UserError(f"{folder}: no GRPO stage was run there")
        for key in ("reward", "task", "tag"):
            series[key].append((f"{key}, {folder.name}", 1 + n, plots.points_of(rows, key)))
    return [plots.line_chart(f"GRPO: {key}", s, cut) for key, s in series.items()]


def scores(folders: list[Path], systems: tuple[str, ...] = ("sft", "guided", "explore")) -> str:
    """A Markdown table of the dev scores: every task's main metric, a column a system, a line a run and
    task."""
    lines = ["| run | task | metric | questions | " + " | ".join(systems) + " |", "|---" * (4 + len(systems))
             + "|"]
    for folder in folders:
        rows = {r["system"]: r for r in tables.collect(folder)}
        for key in tables.main_columns(list(rows.values())):
            have = [rows[s]["cells"].get(key, {}).get("value") if s in rows else None for s in systems]
            asked = max(r["n_by_task"].get(key[0], 0) for r in rows.values())
            lines.append(f"| {folder.name} | {key[0]} | {tables.METRICS[key[1]]} | {asked} | "
                         + " | ".join(map(tables.decimal, have)) + " |")
    return "\n".join(lines)


def alone(charts: list[str]) -> str:
    """One SVG out of several, side by side, with its own style: dark where the reader's screen is."""
    heights = [float(c.split('viewBox="0 0 ', 1)[1].split('"')[0].split()[1]) for c in charts]
    wide, parts = len(charts) * (plots.WIDTH + GAP) - GAP, []
    for i, (chart, high) in enumerate(zip(charts, heights)):
        head, body = chart.split(">", 1)
        parts.append(f'{head} x="{i * (plots.WIDTH + GAP)}" y="0" width="{plots.WIDTH}" height="{high:g}">{body}')
    style = (f"svg {{ {plots.LIGHT} background:var(--card); }} "
             f"@media (prefers-color-scheme: dark) {{ svg {{ {plots.DARK} }} }}\n{plots.STYLE}"
             "svg { display:inline; max-width:none; font-family:system-ui,sans-serif; } .dots { opacity:1; stroke-width:7; }")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {max(heights):g}" width="{wide}">'
            f"<style>{style}</style>{''.join(parts)}</svg>\n")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="figure")
    command = commands.add_parser("growth")
    command.add_argument("curve", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=lambda args: write_text(args.out, alone(growth(read_json(args.curve)))))
    command = commands.add_parser("learning")
    command.add_argument("out", type=Path)
    command.add_argument("runs", type=Path, nargs="+")
    command.set_defaults(run=lambda args: (write_text(args.out, alone(learning(args.runs))),
                                           print(scores(args.runs))))
    args = parser.parse_args(words)
    guard(lambda: args.run(args))


if __name__ == "__main__":
    main()
