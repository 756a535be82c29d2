"""The learning curves: which numbers of metrics.jsonl are drawn together, and what is said of them."""
from __future__ import annotations

from dataclasses import dataclass

from .plots import Point, line_chart
from .tables import number

# A reward term and the number of its colour.
TERMS = [("task", 1), ("tag", 2), ("prmu", 4), ("own", 5), ("format", 3)]


@dataclass(frozen=True)
class Chart:
    """One chart. series: (key in the rows, name, colour number). boundary: the step where stage 2 begins."""
    title: str
    note: str
    rows: list[dict]
    series: list[tuple[str, str, int]]
    boundary: float | None = None
    is_checks: bool = False
    """Whether its points are checks on held-out users: few, so not smoothed."""
    levels: tuple[tuple[float, int], ...] = ()
    """(value, colour number) of dashed lines, such as what the teacher has."""
    spans: tuple[tuple[float, float, float], ...] = ()
    """(index, low, high) of error bars."""
    best: Point | None = None
    """The point that is marked."""


def points_of(rows: list[dict], key: str) -> list[Point]:
    """(index, value) of the rows that have the value as a finite number."""
    points = []
    for row in rows:
        index = number(row.get("index"))
        value = number(row.get(key))
        if index is not None and value is not None:
            points.append((index, value))
    return points


def timeline(guided: list[dict], explore: list[dict]) -> tuple[list[dict], float | None]:
    """Both GRPO stages on one axis of steps, and where the second begins (None where only one was run)."""
    if not guided or not explore:
        return guided + explore, None
    boundary = max(row.get("index", 0) for row in guided) + 1
    first = min(row.get("index", 0) for row in explore)
    moved = [{**row, "index": boundary + row.get("index", 0) - first} for row in explore]
    return guided + moved, boundary


def curves(metrics: dict[str, list[dict]], teacher: dict | None = None) -> list[dict]:
    """The charts that the run has data for, each {title, note, svg}. metrics: {step: its rows of
    metrics.jsonl}. teacher: the state of the teacher's reasoning, where it is known."""
    drawn = []
    for chart in charts(metrics) + check_charts(metrics, teacher or {}):
        series = [(name, colour, points_of(chart.rows, key)) for key, name, colour in chart.series]
        series = [(name, colour, points) for name, colour, points in series if points]
        if not series:
            continue
        ends = "; ".join(f"{name} from {points[0][1]:.3g} to {points[-1][1]:.3g}"
                         for name, _, points in series)
        drawn.append({"title": chart.title, "note": chart.note,
                      "svg": line_chart(f"{chart.title}: {ends}", series, chart.boundary,
                                        smoothed=not chart.is_checks, levels=chart.levels,
                                        spans=chart.spans, best=chart.best)})
    return drawn


def charts(metrics: dict[str, list[dict]]) -> list[Chart]:
    """Every chart that a complete run has, in the order of the steps."""
    grpo_rows, boundary = timeline(metrics.get("guided", []), metrics.get("explore", []))
    grpo_rows = [computed_values(row) for row in grpo_rows]

    # One series a task: {"index": 3, "by_task": {"LaMP_1": 0.5}} becomes {"index": 3, "LaMP_1": 0.5}.
    task_rows = [{"index": row.get("index"), **(row.get("by_task") or {})} for row in grpo_rows]
    tasks = sorted({task for row in grpo_rows for task in (row.get("by_task") or {})})

    return [
        Chart("SFT", "Loss in nats a token, on the completion only.",
              metrics.get("sft", []), [("loss", "loss", 1)]),
        Chart("Reward model (PRMU)", "Bradley-Terry loss (nats) and accuracy on the training pairs.",
              metrics.get("reward", []), [("loss", "loss", 4), ("accuracy", "accuracy", 3)]),
        Chart("GRPO, the terms of the reward",
              "Each before its weight. Tags, PRMU and an own term count in the guided stage only.",
              grpo_rows, [(term, term, colour) for term, colour in TERMS], boundary),
        Chart("GRPO, the reward",
              "What the policy is trained on. Its terms change at the mark: compare within a stage.",
              grpo_rows, [("reward", "reward", 6)], boundary),
        Chart("GRPO, the task term by task", "",
              task_rows, [(task, task, 1 + i % 9) for i, task in enumerate(tasks)], boundary),
        Chart("GRPO, completion length", "Tokens, the mean of a step.",
              grpo_rows, [("length", "tokens", 8)], boundary),
        Chart("GRPO, signal and drift",
              "Groups in which every reward is equal teach nothing; KL to the SFT policy in nats.",
              grpo_rows, [("zero_variance", "equal groups", 5), ("kl", "KL", 9)], boundary),
    ]


def check_charts(metrics: dict[str, list[dict]], teacher: dict) -> list[Chart]:
    """The held-out score and the state of the reasoning beside it, over SFT (before the first step), guided
    and explore. teacher: a state whose values are dashed lines, or {}."""
    checks, boundary = timeline(metrics.get("guided_check", []), metrics.get("explore_check", []))
    rows = [{**((row.get("reasoning") or {}).get("all") or {}), **row} for row in checks]

    # The score with its standard error, and the last check that was the best so far.
    spans = []
    for index, score in points_of(rows, "score"):
        errors = [number(row.get("error")) for row in rows if row.get("index") == index]
        if errors[-1] is not None:
            spans.append((index, score - errors[-1], score + errors[-1]))
    best = points_of([row for row in rows if row.get("best") is True], "score")[-1:]

    def chart(title: str, note: str, series: list[tuple[str, str, int]], **more) -> Chart:
        known = [(number(teacher.get(key)), colour) for key, _, colour in series]
        levels = tuple((value, colour) for value, colour in known if value is not None)
        dashed = " Dashed level: the teacher's chains." if levels else ""
        return Chart(title, note + dashed, rows, series, boundary, True, levels, **more)

    return [
        chart("Held-out score", "Mean task score of users on whom nothing is trained; bars: one standard "
              "error; ringed: the adapter that is kept.", [("score", "score", 1)], spans=tuple(spans),
              best=best[0] if best else None),
        chart("Reasoning on held-out users, shares", "Chains in one of the teacher's forms for their task, "
              "answers that follow from their chain, claims that are true.",
              [("form", "in form", 2), ("follows", "follows", 3), ("true", "true claims", 4)]),
        chart("Reasoning on held-out users, content", "Means of a completion.",
              [("steps", "steps", 5), ("claims", "claims", 6)]),
        chart("Entropy on held-out users", "Nats a token, of the policy's own distribution.",
              [("entropy", "entropy", 8)]),
    ]


def computed_values(row: dict) -> dict:
    """The row without a `prmu` or `kl` of exactly 0: that term was not computed, and is not drawn as 0."""
    return {key: value for key, value in row.items() if value or key not in ("prmu", "kl")}
