"""Pictures that stand alone: how the benchmark's step grows, and how several runs learned.

    python -m tagpr_lite.report.figures growth CURVE.json OUT.svg
    python -m tagpr_lite.report.figures learning OUT.svg RUN [RUN ...]

CURVE.json is what `bench grpo --curve --json` wrote; the RUNs are run folders that differ in their seed.

Decision: the same drawings as the report's, with the style inside, so that a README or any browser shows
them.
"""
from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..config import UserError, short
from ..runs import guard, read_json, read_metrics, write_text
from . import tables
from .curves import points_of, timeline
from .plots import WIDTH, Point, line_chart
from .template import CHART_STYLE, DARK, LIGHT

GAP = 14  # between two charts
STANDALONE_STYLE = ("svg { display:inline; max-width:none; font-family:system-ui,sans-serif; } "
                    ".dots { opacity:1; stroke-width:7; }")


def growth(curve: dict) -> list[str]:
    """Two charts: seconds of an update over the tokens that a shared prefix forwards, P + G R, and the
    update's peak over G.

    curve: {prompt, group, completion, rows}. A row has its own prompt (P) and group (G), seconds.update and
    peak_mb.update; completion is R.
    """
    rows = curve["rows"]
    by_group = sorted((row for row in rows if row["prompt"] == curve["prompt"]), key=lambda row: row["group"])
    by_prompt = sorted((row for row in rows if row["group"] == curve["group"]), key=lambda row: row["prompt"])

    def seconds(some_rows: list[dict]) -> list[Point]:
        return [(row["prompt"] + row["group"] * curve["completion"], row["seconds"]["update"])
                for row in some_rows]

    # The line through all rows: seconds = start + slope * tokens.
    tokens, measured = zip(*seconds(rows))
    slope, start = np.polyfit(tokens, measured, 1)
    line = [(count, start + slope * count) for count in (min(tokens), max(tokens))]

    group_sizes = ", ".join(str(row["group"]) for row in by_group)
    prompt_sizes = ", ".join(str(row["prompt"]) for row in by_prompt)
    peaks = [(row["group"], row["peak_mb"]["update"]) for row in by_group]
    seconds_chart = line_chart("Seconds of an update over P + G R tokens",
                               [(f"seconds, G = {group_sizes}", 1, seconds(by_group)),
                                (f"seconds, P = {prompt_sizes}", 2, seconds(by_prompt)),
                                (f"{1000 * slope:.2f} ms a token", 3, line)], unit="{} tokens")
    peak_chart = line_chart("Peak of an update in MB over G",
                            [(f"peak MB of an update, P = {curve['prompt']}", 4, peaks)], unit="G = {}",
                            zero=True)
    return [seconds_chart, peak_chart]


def learning(folders: list[Path]) -> list[str]:
    """Charts of the reward, the task term and the tag term over both GRPO stages, a line a run."""
    series = defaultdict(list)
    boundary = None
    for colour, folder in enumerate(folders, 1):
        rows, boundary = timeline(read_metrics(folder, "guided"), read_metrics(folder, "explore"))
        if not rows:
            raise UserError(f"{folder}: no GRPO stage was run there")
        for key in ("reward", "task", "tag"):
            series[key].append((f"{key}, {folder.name}", colour, points_of(rows, key)))
    return [line_chart(f"GRPO: {key}", lines, boundary) for key, lines in series.items()]


def scores(folders: list[Path], systems: tuple[str, ...] = ("sft", "guided", "explore")) -> str:
    """A Markdown table of the dev scores: every task's main metric, a column a system, a line a run and
    task."""
    lines = ["| run | task | metric | questions | " + " | ".join(systems) + " |",
             "|---" * (4 + len(systems)) + "|"]
    for folder in folders:
        rows = {row["system"]: row for row in tables.collect(folder)}
        for task, metric in tables.main_columns(list(rows.values())):
            values = [rows[system]["cells"].get((task, metric), {}).get("value") if system in rows else None
                      for system in systems]
            questions = max(row["n_by_task"].get(task, 0) for row in rows.values())
            numbers = " | ".join(tables.decimal(value) for value in values)
            lines.append(f"| {folder.name} | {task} | {tables.METRICS[metric]} | {questions} | {numbers} |")
    return "\n".join(lines)


def alone(charts: list[str]) -> str:
    """One SVG out of several, side by side, with its own style: dark where the reader's screen is."""
    heights = [chart_height(chart) for chart in charts]
    width = len(charts) * (WIDTH + GAP) - GAP
    placed = []
    for i, (chart, height) in enumerate(zip(charts, heights)):
        head, body = chart.split(">", 1)
        placed.append(f'{head} x="{i * (WIDTH + GAP)}" y="0" width="{WIDTH}" height="{height:g}">{body}')
    style = (f"svg {{ {LIGHT} background:var(--card); }} "
             f"@media (prefers-color-scheme: dark) {{ svg {{ {DARK} }} }}\n{CHART_STYLE}{STANDALONE_STYLE}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {max(heights):g}" width="{width}">'
            f"<style>{style}</style>{''.join(placed)}</svg>\n")


def chart_height(chart: str) -> float:
    """The height in the head of a chart: <svg ... viewBox="0 0 340 218" ...>."""
    view_box = chart.split('viewBox="', 1)[1].split('"')[0]
    return float(view_box.split()[3])


def drawing(path: str) -> Path:
    """The word of a command that names the file of a drawing. Another kind of file is not written over."""
    if not path.endswith(".svg"):
        raise argparse.ArgumentTypeError(f"{short(path)} is no name of a drawing, such as learning.svg")
    return Path(path)


def write_growth(args: argparse.Namespace) -> None:
    write_text(args.out, alone(growth(read_json(args.curve))))


def write_learning(args: argparse.Namespace) -> None:
    write_text(args.out, alone(learning(args.runs)))
    print(scores(args.runs))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="figure")
    command = commands.add_parser("growth")
    command.add_argument("curve", type=Path)
    command.add_argument("out", type=drawing)
    command.set_defaults(run=write_growth)
    command = commands.add_parser("learning")
    command.add_argument("out", type=drawing)
    command.add_argument("runs", type=Path, nargs="+")
    command.set_defaults(run=write_learning)
    args = parser.parse_args(words)
    guard(lambda: args.run(args))


if __name__ == "__main__":
    main()
