"""Inline SVG drawn by hand: no plotting library, no script, no font; a chart is about 4 kB and any XML reader
takes it.

Decision: every chart is 340 units wide and the page lays them out in a grid of about that width, so text
keeps its size on a phone. Colours are the page's CSS variables (--t1..--t9, in template.py), which makes dark
mode and print free. A series is told apart by its dash pattern and its name too, because not everyone sees
the colour.

In SVG x grows to the right and y grows downwards. All coordinates here are units of the chart.
"""
from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from ..runs import printable
from .tables import LOWER_IS_BETTER, METRICS, decimal, number, percent

WIDTH = 340
PLOT_HEIGHT = 160  # of a line chart, without its legend and its axis
MOST_DOTS = 200  # of a series; more are one blot, and make the page large
DASHES = ["", "7 3", "2 3", "9 3 2 3"]

BAR_NAME_END, BAR_START, BAR_LENGTH = 140, 148, 120  # x of a name's end and of a bar's start; a full bar
DOT_ROW = 27  # height of a system's row in a dot plot

Point = tuple[float, float]
Series = tuple[str, int, list[Point]]  # name, colour number, points
Scale = Callable[[float], float]  # a value of the data to a coordinate of the chart


# ---------------------------------------------------------------- parts

def esc(value: Any) -> str:
    """Text for an SVG or attribute. XML has no control characters at all: they are written out."""
    return html.escape(printable(str(value)))


def svg(height: float, label: str, parts: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            f'aria-label="{esc(label)}">' + "".join(parts) + "</svg>")


def text(x: float, y: float, words: Any, css_class: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css_class}" text-anchor="{anchor}">{esc(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css_class: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css_class}"/>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover [low, high], in steps of 1, 2 or 5 times a power of ten: about `count` steps.
    (0.31, 0.34) gives [0.31, 0.32, 0.33, 0.34]."""
    # All values equal: the axis reaches half of the value to both sides, or from 0 to 1.
    if high - low < 1e-9:
        if abs(low) > 1e-9:
            low, high = low - abs(low) / 2, high + abs(high) / 2
        else:
            low, high = 0.0, 1.0
    power = 10 ** math.floor(math.log10((high - low) / count))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * count >= (high - low) * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def split_at(points: list[Point], boundary: float | None) -> tuple[list[Point], list[Point]]:
    """(points before the boundary, points from it on); without a boundary all are before it."""
    if boundary is None:
        return points, []
    before = [(x, y) for x, y in points if x < boundary]
    after = [(x, y) for x, y in points if x >= boundary]
    return before, after


def smooth(points: list[Point], boundary: float | None) -> list[Point]:
    """Centred moving mean over about a seventh of the points; it never looks across the boundary of two
    stages."""
    smoothed = []
    for side in split_at(points, boundary):
        half = max(len(side) // 14, 1 if len(side) > 4 else 0)
        sums = [0.0, *accumulate(y for _, y in side)]  # sums[i]: of the first i values
        for i, (x, _) in enumerate(side):
            first = max(0, i - half)
            end = min(len(side), i + half + 1)
            smoothed.append((x, (sums[end] - sums[first]) / (end - first)))
    return smoothed


# ---------------------------------------------------------------- a line chart

def line_chart(label: str, series: list[Series], boundary: float | None = None, unit: str = "step {}",
               zero: bool = False, smoothed: bool = True, levels: tuple[tuple[float, int], ...] = (),
               spans: tuple[tuple[float, float, float], ...] = (), best: Point | None = None,
               between: tuple[float, ...] = ()) -> str:
    """Raw points are faint, the line is solid. "" without any point.

    boundary: the x where the second stage begins. unit: how an x is written. zero: whether the axis of y
    begins at 0. smoothed: whether the line is a moving mean. levels: (y, colour number) of dashed lines.
    spans: (x, low, high) of error bars. best: a point with a ring. between: more x to write below the axis.
    """
    points = [point for _, _, its_points in series for point in its_points]
    if not points:
        return ""
    legend, top = _legend([name for name, _, _ in series])
    left, right, bottom = 40, WIDTH - 6, top + PLOT_HEIGHT
    first_x, last_x = min(x for x, _ in points), max(x for x, _ in points)
    y_values = [y for _, y in points] + [y for y, _ in levels]
    y_values += [y for _, *ends in spans for y in ends]
    marks = ticks(0 if zero else min(y_values), max(y_values))

    def scale_x(x: float) -> float:
        share = (x - first_x) / (last_x - first_x) if last_x > first_x else 0.5
        return left + (right - left) * share

    def scale_y(y: float) -> float:
        return bottom - (bottom - top) * (y - marks[0]) / (marks[-1] - marks[0])

    # The axes: a line and a number for every mark of y; of x only the ends and the boundary.
    parts = []
    for mark in marks:
        parts.append(line(left, scale_y(mark), right, scale_y(mark), "grid"))
        parts.append(text(left - 6, scale_y(mark) + 4, f"{mark:g}", "tick", "end"))
    for x in sorted({first_x, last_x}):
        parts.append(text(scale_x(x), bottom + 16, unit.format(f"{x:g}"), "tick",
                          "start" if x == first_x else "end"))
    for x in between:
        parts.append(text(scale_x(x), bottom + 16, f"{x:g}", "tick", "middle"))
    if boundary is not None:
        parts += _boundary(scale_x(boundary - 0.5), left, right, top, bottom)

    # Levels, error bars and the ring.
    for y, colour in levels:
        level = f'<path d="M{left} {scale_y(y):.1f}H{right}" class="curve c{colour}" '
        parts.append(level + 'stroke-dasharray="2 5" stroke-opacity="0.7"/>')
    for x, low, high in spans:
        parts.append(line(scale_x(x), scale_y(low), scale_x(x), scale_y(high), "span"))
    if best is not None:
        parts.append(f'<circle cx="{scale_x(best[0]):.1f}" cy="{scale_y(best[1]):.1f}" r="6" '
                     'class="curve c1"><title>kept</title></circle>')

    # The series, each with its name in the legend.
    for i, ((x, y), (name, colour, its_points)) in enumerate(zip(legend, series)):
        dash = DASHES[i % len(DASHES)]
        parts += _series(colour, dash, its_points, boundary, scale_x, scale_y, smoothed)
        parts.append(f'<path d="M{x} {y - 4}h22" class="curve c{colour}" stroke-dasharray="{dash}"/>')
        parts.append(text(x + 27, y, name, "name"))
    return svg(bottom + 24, label, parts)


def _boundary(x: float, left: float, right: float, top: float, bottom: float) -> list[str]:
    """The dashed line between the two stages, with their names where the step numbers leave room."""
    parts = [line(x, top - 4, x, bottom, "cut")]
    if left + 95 < x < right - 105:
        parts.append(text(x - 6, bottom + 16, "guided", "tick", "end"))
        parts.append(text(x + 6, bottom + 16, "explore", "tick"))
    return parts


def _legend(names: list[str]) -> tuple[list[Point], float]:
    """Where each name goes, wrapped over as many lines as it takes, and where the plot may begin."""
    spots, x, y = [], 8.0, 16
    for name in names:
        width = 42 + 6.8 * len(name)
        if spots and x + width > WIDTH:
            x, y = 8.0, y + 18
        spots.append((x, y))
        x += width
    return spots, y + 18


def _series(colour: int, dash: str, points: list[Point], boundary: float | None, scale_x: Scale,
            scale_y: Scale, smoothed: bool) -> list[str]:
    """The dots of a series and its line, smoothed or not, which is interrupted at the boundary."""
    every = max(1, len(points) // MOST_DOTS)
    dots = "".join(f"M{scale_x(x):.1f} {scale_y(y):.1f}h0" for x, y in points[::every])
    parts = [f'<path d="{dots}" class="dots c{colour}"/>']
    for side in split_at(smooth(points, boundary) if smoothed else points, boundary):
        if len(side) > 1:
            drawn = side[:-1:every] + side[-1:]  # the last point always, so that the line ends where it ends
            path = "L".join(f"{scale_x(x):.1f} {scale_y(y):.1f}" for x, y in drawn)
            parts.append(f'<path d="M{path}" class="curve c{colour}" stroke-dasharray="{dash}"/>')
    return parts


# ---------------------------------------------------------------- bars and dots

def bars(label: str, items: list[tuple[str, int, float, str]], most: float, mark: float | None = None) -> str:
    """One bar an item. items: (name, colour number, value, words after the bar). most: the value of a full
    bar. mark: the value of a dashed line."""
    full = most or 1
    parts = []
    y = 8
    for name, colour, value, words in items:
        length = BAR_LENGTH * value / full
        words_start = max(length, BAR_LENGTH * (mark or 0) / full)  # to the right of the bar and of the mark
        parts.append(text(BAR_NAME_END, y + 15, name, f"name f{colour}", "end"))
        parts.append(f'<rect x="{BAR_START}" y="{y}" width="{length:.1f}" height="20" rx="3" '
                     f'class="f{colour}"/>')
        parts.append(text(BAR_START + 6 + words_start, y + 15, words, "tick"))
        y += 28
    if mark is not None:
        x = BAR_START + BAR_LENGTH * mark / most
        parts.append(line(x, 2, x, y - 2, "cut"))
    content = ", ".join(f"{name} {words}" for name, _, _, words in items)
    return svg(y, f"{label}: {content}", parts)


def tag_bars(primary: list[str], counts: dict[str, int]) -> str:
    """One bar a primary tag in its colour, with its count and its share of all labelled steps."""
    total = sum(counts.values()) or 1
    items = []
    for i, tag in enumerate(primary):
        count = counts.get(tag, 0)
        items.append((tag, 1 + i % 9, count, f"{count:,} · {100 * count / total:.0f}%"))
    largest = max([count for _, _, count, _ in items] + [1])
    return bars("How often each primary tag labels a step", items, largest)


def prmu_bars(report: dict) -> str:
    """Pairwise accuracy with the right user, with a wrong one and with none; dashed: chance."""
    items = []
    for key, name, colour in (("accuracy", "with its own user", 4), ("shuffled", "another's history", 0),
                              ("generic", "generic user", 0)):
        accuracy = number(report.get(key))
        if accuracy is not None:
            items.append((name, colour, accuracy, percent(accuracy)))
    return bars("Pairwise accuracy", items, 1.0, 0.5)


def dot_plot(title: str, key: tuple[str, str], rows: list[dict],
             references: Sequence[tuple[str, float]] = ()) -> str:
    """One metric of one task: a dot a system with its 95% interval. The best is filled, `base` is the dashed
    line. key: (task, metric). rows: those of tables.collect. references: (name, value) of what can be
    reached, a diamond each below the systems."""
    cells = {row["system"]: row["cells"].get(key, {}) for row in rows}
    cells = {system: cell for system, cell in cells.items() if cell.get("value") is not None}
    if not cells:
        return ""
    values = [value for cell in cells.values() for value in (cell["value"], *(cell["interval"] or ()))]
    values += [value for _, value in references]
    marks = ticks(min(values), max(values))
    left, right, top = 112, WIDTH - 52, 12
    bottom = top + DOT_ROW * (len(cells) + len(references))

    def scale_x(value: float) -> float:
        return left + (right - left) * (value - marks[0]) / (marks[-1] - marks[0])

    # The axis of values, and the base model as a line through all rows.
    parts = []
    for mark in marks:
        parts.append(line(scale_x(mark), top, scale_x(mark), bottom, "grid"))
        parts.append(text(scale_x(mark), bottom + 15, f"{mark:g}", "tick", "middle"))
    if "base" in cells:
        base_x = scale_x(cells["base"]["value"])
        parts.append(line(base_x, top, base_x, bottom, "cut"))

    # A row a system: its name, the interval, the dot, the number.
    for i, (system, cell) in enumerate(cells.items()):
        y = top + 14 + DOT_ROW * i
        best = " best" if cell["best"] else ""
        parts.append(text(left - 14, y + 4, system, "name" + best, "end"))
        if cell["interval"]:
            low, high = cell["interval"]
            parts.append(line(scale_x(low), y, scale_x(high), y, "span" + best))
        parts.append(f'<circle cx="{scale_x(cell["value"]):.1f}" cy="{y}" r="5" class="dot{best}"/>')
        parts.append(text(right + 14, y + 4, decimal(cell["value"]), "tick" + best))

    # A row a reference: its name, a diamond, the number.
    for i, (name, value) in enumerate(references, len(cells)):
        x, y = scale_x(value), top + 14 + DOT_ROW * i
        parts.append(text(left - 14, y + 4, name, "tick", "end"))
        parts.append(f'<path d="M{x - 6:.1f} {y}l6 -6l6 6l-6 6z" class="dot"/>')
        parts.append(text(right + 14, y + 4, decimal(value), "tick"))

    _, metric = key
    better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    numbers = [(system, cell["value"]) for system, cell in cells.items()] + list(references)
    content = ", ".join(f"{name} {decimal(value)}" for name, value in numbers)
    return svg(bottom + 22, f"{title}, {METRICS.get(metric, metric)}, {better}: {content}", parts)
