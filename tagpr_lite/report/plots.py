"""Inline SVG drawn by hand: no plotting library, no script, no font; a chart is about 4 kB and any XML reader
takes it.

Decision: every chart is 340 units wide and the page lays them out in a grid of about that width, so text
keeps its size on a phone. Colours are the page's CSS variables (--t1..--t9), which makes dark mode and print
free. A series is told apart by its dash pattern and its name too, because not everyone sees the colour.
"""
from __future__ import annotations

import html
import math
from itertools import accumulate
from typing import Any

from .tables import LOWER_IS_BETTER, METRICS, decimal, number, percent

WIDTH = 340
DASHES = ["", "7 3", "2 3", "9 3 2 3"]
TERMS = [("task", 1), ("tag", 2), ("prmu", 4), ("format", 3)]  # a reward term and the number of its colour

LIGHT = """--paper:#fbfaf7; --card:#fff; --ink:#1d1f24; --soft:#5a5f69; --rule:#e2dfd6; --good:#0b6b3a; --bad:#a3262a;
  --t1:0 90 157; --t2:140 63 0; --t3:0 107 45; --t4:119 59 132; --t5:147 51 49; --t6:0 108 110; --t7:106 88 0;
  --t8:83 74 156; --t9:141 50 92; --t0:90 95 105;"""
DARK = """--paper:#14161a; --card:#1b1e24; --ink:#ebe8e1; --soft:#a9adb6; --rule:#32363f; --good:#7fd6a4; --bad:#ff9f9a;
  --t1:137 198 255; --t2:248 174 123; --t3:140 213 155; --t4:225 170 237; --t5:255 165 157; --t6:90 215 215;
  --t7:209 195 107; --t8:185 183 255; --t9:250 163 196; --t0:170 175 185;"""
"""The palette: nine hues of equal lightness, each at least 5:1 against its own tint, by light and by dark."""

STYLE = "\n".join(f".c{i} {{ stroke:rgb(var(--t{i})); }} .f{i} {{ fill:rgb(var(--t{i})); }}" for i in range(10)) + """
svg { display:block; width:100%; max-width:430px; height:auto; font-family:inherit; }
svg text { font-size:12.5px; fill:var(--ink); } svg text.tick { fill:var(--soft); font-variant-numeric:tabular-nums; }
svg text.best { fill:var(--ink); font-weight:700; }
.grid { stroke:var(--rule); } .cut { stroke:var(--soft); stroke-dasharray:4 4; }
.curve { fill:none; stroke-width:2.2; stroke-linejoin:round; stroke-linecap:round; }
.dots { fill:none; stroke-width:3.4; stroke-linecap:round; opacity:.34; }
.span { stroke:var(--soft); stroke-width:2; stroke-linecap:round; opacity:.6; }
.dot { fill:var(--card); stroke:var(--soft); stroke-width:2; }
.span.best { stroke:rgb(var(--t6)); stroke-width:3; } .dot.best { fill:rgb(var(--t6)); stroke:rgb(var(--t6)); }
"""


# ---------------------------------------------------------------- parts

def esc(value: Any) -> str:
    """Text for an SVG or attribute. XML has no control characters at all, not even escaped ones."""
    return html.escape("".join(c for c in str(value) if c.isprintable()))


def svg(height: float, label: str, parts: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
            f'aria-label="{esc(label)}">' + "".join(parts) + "</svg>")


def text(x: float, y: float, words: Any, cls: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{cls}" text-anchor="{anchor}">{esc(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, cls: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}"/>'


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if high - low < 1e-9:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if abs(low) > 1e-9 else (0.0, 1.0)
    power = 10 ** math.floor(math.log10((high - low) / count))
    step = next(m * power for m in (1, 2, 5, 10) if m * power * count >= (high - low) * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def smooth(points: list[tuple[float, float]], boundary: float | None) -> list[tuple[float, float]]:
    """Centred moving mean over about a seventh of the points; it never looks across the boundary of two
    stages."""
    sides = [[p for p in points if boundary is None or p[0] < boundary],
             [p for p in points if boundary is not None and p[0] >= boundary]]
    out = []
    for side in sides:
        half = max(len(side) // 14, len(side) > 4)
        sums = [0.0, *accumulate(y for _, y in side)]
        for i, (x, _) in enumerate(side):
            first, last = max(0, i - half), min(len(side), i + half + 1)
            out.append((x, (sums[last] - sums[first]) / (last - first)))
    return out


# ---------------------------------------------------------------- learning curves

def line_chart(label: str, series: list[tuple[str, int, list]], boundary: float | None = None,
               unit: str = "step {}", zero: bool = False) -> str:
    """`series`: (name, colour number, points). Raw points are faint, the smoothed line is solid. unit: how x
    is said; zero: whether the axis of y begins there."""
    points = [p for _, _, s in series for p in s]
    if not points:
        return ""
    legend, top = _legend([name for name, _, _ in series])
    left, right, bottom = 40, WIDTH - 6, top + 160
    marks = ticks(0 if zero else min(y for _, y in points), max(y for _, y in points))
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    sx = lambda x: left + (right - left) * ((x - x0) / (x1 - x0) if x1 > x0 else 0.5)
    sy = lambda y: bottom - (bottom - top) * (y - marks[0]) / (marks[-1] - marks[0])
    parts = []
    for m in marks:
        parts += [line(left, sy(m), right, sy(m), "grid"), text(left - 6, sy(m) + 4, f"{m:g}", "tick", "end")]
    for x in sorted({x0, x1}):
        parts.append(text(sx(x), bottom + 16, unit.format(f"{x:g}"), "tick", "start" if x == x0 else "end"))
    if boundary is not None:
        b = sx(boundary - 0.5)
        parts.append(line(b, top - 4, b, bottom, "cut"))
        if left + 95 < b < right - 105:  # room beside the step numbers
            parts += [text(b - 6, bottom + 16, "guided", "tick", "end"),
                      text(b + 6, bottom + 16, "explore", "tick")]
    for i, ((x, y), (name, colour, s)) in enumerate(zip(legend, series)):
        dash = DASHES[i % len(DASHES)]
        parts += _series(colour, dash, s, boundary, sx, sy)
        parts += [f'<path d="M{x} {y - 4}h22" class="curve c{colour}" stroke-dasharray="{dash}"/>',
                  text(x + 27, y, name, "name")]
    return svg(bottom + 24, label, parts)


def _legend(names: list[str]) -> tuple[list[tuple[float, float]], float]:
    """Where each name goes, wrapped over as many lines as it takes, and where the plot may begin."""
    spots, x, y = [], 8.0, 16
    for name in names:
        wide = 42 + 6.8 * len(name)
        if spots and x + wide > WIDTH:
            x, y = 8.0, y + 18
        spots.append((x, y))
        x += wide
    return spots, y + 18


def _series(colour: int, dash: str, points: list, boundary: float | None, sx, sy) -> list[str]:
    every = max(1, len(points) // 200)  # more dots than this are one blot, and weigh
    dots = "".join(f"M{sx(x):.1f} {sy(y):.1f}h0" for x, y in points[::every])
    parts = [f'<path d="{dots}" class="dots c{colour}"/>']
    soft = smooth(points, boundary)
    for side in ([p for p in soft if boundary is None or p[0] < boundary],
                 [p for p in soft if boundary is not None and p[0] >= boundary]):
        if len(side) > 1:
            path = "L".join(f"{sx(x):.1f} {sy(y):.1f}" for x, y in side[:-1:every] + side[-1:])
            parts.append(f'<path d="M{path}" class="curve c{colour}" stroke-dasharray="{dash}"/>')
    return parts


def points_of(rows: list[dict], key: str) -> list[tuple[float, float]]:
    """(index, value) of the rows that have the value as a finite number."""
    pairs = [(number(r.get("index")), number(r.get(key))) for r in rows]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def timeline(guided: list[dict], explore: list[dict]) -> tuple[list[dict], float | None]:
    """Both GRPO stages on one axis of steps, and where the second begins (None where only one was run)."""
    if not guided or not explore:
        return guided + explore, None
    start = max(r.get("index", 0) for r in guided) + 1
    first = min(r.get("index", 0) for r in explore)
    return guided + [{**r, "index": start + r.get("index", 0) - first} for r in explore], start


def curves(metrics: dict[str, list[dict]]) -> list[dict]:
    """The charts that the run has data for, each {title, note, svg}. `metrics`: the rows of metrics.jsonl by
    step."""
    rows, cut = timeline(metrics.get("guided", []), metrics.get("explore", []))
    rows = [{k: v for k, v in r.items() if v or k not in ("prmu", "kl")} for r in rows]  # exactly 0: was not computed
    tasks = sorted({t for r in rows for t in (r.get("by_task") or {})})
    by_task = [{"index": r.get("index"), **(r.get("by_task") or {})} for r in rows]
    reward, sft = metrics.get("reward", []), metrics.get("sft", [])
    plans = [("SFT", "Loss in nats a token, on the completion only.", sft, [("loss", "loss", 1)], None),
             ("Reward model (PRMU)", "Bradley-Terry loss (nats) and accuracy on the training pairs.", reward,
              [("loss", "loss", 4), ("accuracy", "accuracy", 3)], None),
             ("GRPO, the terms of the reward",
              "Each before its weight. Tags and PRMU count in the guided stage only.", rows,
              [(k, k, c) for k, c in TERMS], cut),
             ("GRPO, the reward",
              "What the policy is trained on. Its terms change at the mark: compare within a stage.", rows,
              [("reward", "reward", 6)], cut),
             ("GRPO, the task term by task", "", by_task, [(t, t, 1 + i % 9) for i, t in enumerate(tasks)],
              cut),
             ("GRPO, completion length", "Tokens, the mean of a step.", rows, [("length", "tokens", 8)], cut),
             ("GRPO, signal and drift",
              "Groups in which every reward is equal teach nothing; KL to the SFT policy in nats.", rows,
              [("zero_variance", "equal groups", 5), ("kl", "KL", 9)], cut)]
    charts = []
    for title, note, source, wanted, boundary in plans:
        series = [(name, colour, points_of(source, key)) for key, name, colour in wanted]
        series = [s for s in series if s[2]]
        if series:
            ends = "; ".join(f"{n} from {s[0][1]:.3g} to {s[-1][1]:.3g}" for n, _, s in series)
            charts.append({"title": title, "note": note,
                           "svg": line_chart(f"{title}: {ends}", series, boundary)})
    return charts


# ---------------------------------------------------------------- tags and scores

def bars(label: str, items: list[tuple[str, int, float, str]], most: float, mark: float | None = None) -> str:
    """`items`: (name, colour number, value, words after the bar). `most` is a full bar, `mark` a dashed
    line."""
    parts, y = [], 8
    for name, colour, value, shown in items:
        wide = 120 * value / (most or 1)
        parts += [text(140, y + 15, name, f"name f{colour}", "end"),
                  f'<rect x="148" y="{y}" width="{wide:.1f}" height="20" rx="3" class="f{colour}"/>',
                  text(154 + max(wide, 120 * (mark or 0) / (most or 1)), y + 15, shown, "tick")]
        y += 28
    if mark is not None:
        parts.append(line(148 + 120 * mark / most, 2, 148 + 120 * mark / most, y - 2, "cut"))
    said = ", ".join(f"{name} {shown}" for name, _, _, shown in items)
    return svg(y, f"{label}: {said}", parts)


def tag_bars(primary: list[str], counts: dict[str, int]) -> str:
    """One bar a primary tag in its colour, with its count and its share of all labelled steps."""
    total = sum(counts.values()) or 1
    items = [(t, 1 + i % 9, counts.get(t, 0), f"{counts.get(t, 0):,} · {100 * counts.get(t, 0) / total:.0f}%")
             for i, t in enumerate(primary)]
    return bars("How often each primary tag labels a step", items, max([n for _, _, n, _ in items] + [1]))


def prmu_bars(report: dict) -> str:
    """Pairwise accuracy with the right user, with a wrong one and with none; dashed: chance."""
    names = [("accuracy", "with its own user", 4), ("shuffled", "another's history", 0),
             ("generic", "generic user", 0)]
    items = [(words, colour, number(report.get(k)), percent(number(report.get(k)))) for k, words,
             colour in names]
    return bars("Pairwise accuracy", [i for i in items if i[2] is not None], 1.0, 0.5)


def dot_plot(title: str, key: tuple[str, str], rows: list[dict]) -> str:
    """One metric of one task: a dot a system with its 95% interval; the best is filled, `base` is the dashed
    line."""
    have = [(r, r["cells"][key]) for r in rows if r["cells"].get(key, {}).get("value") is not None]
    if not have:
        return ""
    spread = [v for _, c in have for v in (c["value"], *(c["interval"] or ()))]
    marks = ticks(min(spread), max(spread))
    left, right, top = 112, WIDTH - 52, 12
    bottom = top + 27 * len(have)
    sx = lambda v: left + (right - left) * (v - marks[0]) / (marks[-1] - marks[0])
    parts = []
    for m in marks:
        parts += [line(sx(m), top, sx(m), bottom, "grid"),
                  text(sx(m), bottom + 15, f"{m:g}", "tick", "middle")]
    for r, c in have:
        if r["system"] == "base":
            parts.append(line(sx(c["value"]), top, sx(c["value"]), bottom, "cut"))
    for i, (r, c) in enumerate(have):
        y, best = top + 14 + 27 * i, " best" if c["best"] else ""
        parts.append(text(left - 14, y + 4, r["system"], "name" + best, "end"))
        if c["interval"]:
            parts.append(line(sx(c["interval"][0]), y, sx(c["interval"][1]), y, "span" + best))
        parts += [f'<circle cx="{sx(c["value"]):.1f}" cy="{y}" r="5" class="dot{best}"/>',
                  text(right + 14, y + 4, decimal(c["value"]), "tick" + best)]
    better = "lower is better" if key[1] in LOWER_IS_BETTER else "higher is better"
    said = ", ".join(f"{r['system']} {decimal(c['value'])}" for r, c in have)
    return svg(bottom + 22, f"{title}, {METRICS.get(key[1], key[1])}, {better}: {said}", parts)
