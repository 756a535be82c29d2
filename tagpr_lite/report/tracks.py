"""Rows of a list, each a name, a drawing as wide as there is room, and a number; all rows share one axis.

Decision: the names and numbers are text of the page, so they keep their size and wrap on a phone; only the
drawing between them is stretched. So it has no words and no circles: a line of no length with round ends is a
dot whatever the width (`vector-effect` in STYLE keeps all strokes as they are). A screen reader skips the
drawing, since the numbers beside it say the same. x runs from 0 to 100, percent of the drawing's width.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..lamp.over_seeds import Pooled
from .plots import esc, ticks

HEIGHT = 26
MIDDLE, BELOW = 13, 22  # y of a row's interval, and of its single runs
FAR = 0.5  # how far an interval of a new run may stretch the axis, in widths of everything else


class Axis(NamedTuple):
    """The scale that rows share. marks: the round numbers on it, the first and last of them its ends."""
    marks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The place of a value in percent, cut off at both ends."""
        low, high = self.marks[0], self.marks[-1]
        return 100 * min(1.0, max(0.0, (value - low) / (high - low)))

    def has(self, value: float) -> bool:
        return self.marks[0] <= value <= self.marks[-1]

    @property
    def numbers(self) -> list[tuple[str, float]]:
        """(a mark as text, its place) of every mark."""
        return [(f"{mark:g}".replace("-", "−"), self.at(mark)) for mark in self.marks]


def axis(values: Iterable[float]) -> Axis:
    values = list(values)
    return Axis(tuple(ticks(min(values), max(values), 5)))


def is_known(interval: tuple[float, float]) -> bool:
    """Whether it says anything: equal differences leave their interval at -1 to 1."""
    return interval != (-1.0, 1.0)


def axis_of_differences(found: Iterable[Pooled]) -> Axis:
    """From 0 to all means, single runs and intervals. Two runs alone have a wide interval of a new run, which
    would press everything else into a dot: it may stretch the axis a little, and is cut off beyond. So is an
    interval from -1 to 1, of which nothing is known."""
    found = list(found)
    near = [0.0, *(value for one in found for value in one.by_run)]
    near += [end for one in found if is_known(one.these) for end in one.these]
    reach = FAR * (max(near) - min(near))
    least, most = min(near) - reach, max(near) + reach
    far = [end for one in found if len(one.by_run) > 1 for end in (one.low, one.high)]
    return axis([*near, *(min(most, max(least, end)) for end in far)])


# ---------------------------------------------------------------- the drawings

def difference(found: Pooled, scale: Axis, verdict: str) -> str:
    """A bar from 0 to the mean; over it the interval of these runs, thick, and of a new run, thin; below the
    single runs. An interval of which nothing is known is thin from end to end. verdict: better, worse or
    noise, the class of the colours."""
    zero, mean = scale.at(0), scale.at(found.value)
    parts = [*grid(scale), stroke(zero, 0, zero, HEIGHT, "zero"), stroke(zero, MIDDLE, mean, MIDDLE, "bar")]
    several = len(found.by_run) > 1
    if several:
        parts += interval(found.low, found.high, scale)
    if is_known(found.these):
        parts.append(stroke(scale.at(found.these[0]), MIDDLE, scale.at(found.these[1]), MIDDLE, "these"))
    elif not several:
        parts += interval(*found.these, scale)
    parts.append(dot(mean, MIDDLE, "mean"))
    if several:
        parts += [dot(scale.at(value), BELOW, "one") for value in found.by_run]
    return drawing(parts, verdict)


def interval(low: float, high: float, scale: Axis) -> list[str]:
    """A thin line; an end on the axis is a small bar across, an end beyond it an arrow."""
    left, right = scale.at(low), scale.at(high)
    parts = [stroke(left, MIDDLE, right, MIDDLE, "new")]
    for value, x, inwards in ((low, left, 1), (high, right, -1)):
        if scale.has(value):
            parts.append(stroke(x, MIDDLE - 4, x, MIDDLE + 4, "new"))
        else:
            parts += [stroke(x, MIDDLE, x + 1.5 * inwards, MIDDLE + side, "new") for side in (-4, 4)]
    return parts


def score(value: float, by_run: list[float], scale: Axis, guide: float | None = None) -> str:
    """The mean, and below it the single runs where there are several. guide: the value of a dashed line."""
    runs = [dot(scale.at(one), BELOW, "one") for one in by_run] if len(by_run) > 1 else []
    parts = [*grid(scale), *dashed(guide, scale), dot(scale.at(value), MIDDLE, "mean"), *runs]
    return drawing(parts, "score")


def reference(value: float, scale: Axis, guide: float | None = None) -> str:
    """What can be reached: a hollow square."""
    x = scale.at(value)
    return drawing([*grid(scale), *dashed(guide, scale), dot(x, MIDDLE, "square"), dot(x, MIDDLE, "hole")],
                   "known")


def share(value: float, most: float = 1.0) -> str:
    """A bar of value / most, without an axis."""
    end = 100 * min(1.0, max(0.0, value / most)) if most > 0 else 0
    return drawing([stroke(0, 3, 100, 3, "rail"), stroke(0, 3, end, 3, "bar")], "share", 6)


# ---------------------------------------------------------------- parts of a drawing

def drawing(parts: list[str], css_class: str, height: int = HEIGHT) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" class="track {esc(css_class)}" '
            f'viewBox="0 0 100 {height}" preserveAspectRatio="none" aria-hidden="true">'
            + "".join(parts) + "</svg>")


def stroke(x1: float, y1: float, x2: float, y2: float, css_class: str) -> str:
    return f'<path d="M{x1:.2f} {y1}L{x2:.2f} {y2}" class="{css_class}"/>'


def dot(x: float, y: float, css_class: str) -> str:
    return f'<path d="M{x:.2f} {y}h0" class="{css_class}"/>'


def grid(scale: Axis) -> list[str]:
    return [stroke(x, 0, x, HEIGHT, "grid") for _, x in scale.numbers]


def dashed(guide: float | None, scale: Axis) -> list[str]:
    return [] if guide is None else [stroke(scale.at(guide), 0, scale.at(guide), HEIGHT, "cut")]


STYLE = """
svg.track { width:100%; max-width:none; height:26px; overflow:visible; } svg.share { height:6px; }
.track path { fill:none; vector-effect:non-scaling-stroke; }
.track .zero { stroke:var(--soft); stroke-width:1; } .track .cut { stroke-width:1.2; }
.track .bar { stroke:var(--hue); stroke-width:12; opacity:.26; }
.track .new { stroke:var(--hue); stroke-width:1.3; }
.track .these { stroke:var(--hue); stroke-width:4; opacity:.75; }
.track .mean { stroke:var(--hue); stroke-width:9; stroke-linecap:round; }
.track .one { stroke:var(--soft); stroke-width:4; stroke-linecap:round; opacity:.75; }
.track .square { stroke:var(--soft); stroke-width:9; stroke-linecap:square; }
.track .hole { stroke:var(--card); stroke-width:5; stroke-linecap:square; }
.track .rail { stroke:var(--rule); stroke-width:5; } .track.share .bar { stroke-width:5; opacity:.8; }
.track { --hue:var(--soft); } .track.better,.track.score,.track.share { --hue:rgb(var(--t6)); }
.track.worse { --hue:var(--bad); }
"""
