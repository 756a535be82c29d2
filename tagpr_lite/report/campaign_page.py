"""results/<campaign>.html: one page that says what came out of a campaign, beside its Markdown.

As report.html (page.py): one file, nothing fetched, no script, everything escaped. A part of which the runs
hold nothing is left out. What is compared is campaign_differences.py's, the scores and the reasoning are
campaign_scores.py's, how the page looks is campaign_template.py's.
"""
from __future__ import annotations

from collections.abc import Iterable

from jinja2 import Environment
from markupsafe import Markup

from ..runs import printable
from . import campaign_scores, tracks
from .campaign_differences import (
    choice_groups,
    item_curves,
    stage_rows,
    stages,
    tag_groups,
    variant_rows,
    view_groups,
)
from .campaign_rows import NOISE, Curve, Group, Row, headline, variants_of
from .campaign_template import STYLE, TEMPLATE
from .differences import plus
from .notices import alarms, replaced
from .over_seeds import Run, apart
from .plots import line_chart
from .tables import LABELS, maybe

READING = ("Task reward, 0 to 1, mean over tasks, paired by question. The bar ends at the mean{dots}. Thick "
           "line: 95% interval of these runs, the very models that were trained, on other users.")
SEVERAL = (" Thin line: 95% interval of a new run, with another seed and other users; it decides what is "
           "beyond noise, and an arrow marks an end that is not on the axis.")
ONE = " There is one seed, so nothing is known of a new run; the thick line decides what is beyond noise."

# Markup: plots.py and tracks.py have escaped their drawings.
ENVIRONMENT = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
ENVIRONMENT.filters["drawing"] = Markup


def render(name: str, runs: list[Run], values: campaign_scores.Values, settings: dict[str, str]) -> str:
    """The whole page as text. runs: all of the campaign's, in its order. values: campaign_scores.scores of
    them. settings: {variant: what it changes, in words}."""
    runs = apart(runs)
    parts = {**result_part(runs, settings), **score_part(runs, values), **tag_part(runs), **item_part(runs),
             **choice_part(runs)}
    groups = [group for key in ("results", "tags", "more_tags", "views", "choices") for group in parts[key]]
    groups += [gains for _, _, gains in parts["curves"]]
    page = ENVIRONMENT.from_string(TEMPLATE).render(
        name=name, style=STYLE, plus=plus, draw=draw, many_variants=len(variants_of(runs)) > 1,
        compared_count=sum(len(group.rows) for group in groups), **parts, **about(runs))
    return printable(page)


def draw(row: Row, axis: tracks.Axis) -> Markup:
    css_class = "noise" if row.verdict == NOISE else row.verdict
    return Markup(tracks.difference(row.found, axis, css_class))


# ---------------------------------------------------------------- the parts of the page

def about(runs: list[Run]) -> dict:
    """What the campaign is: facts, what was replaced, the alarms, whether its model is the random one."""
    answered = [run for run in runs if run.answers.scored]
    tasks = {row.task for run in answered for rows in run.answers.scored.values() for row in rows}
    questions = {(run.seed, *key) for run in answered for key in run.answers.texts}
    plans = [maybe(run.folder / "plan.json", {}) for run in runs]
    models = {str(plan["model"]) for plan in plans if isinstance(plan, dict) and plan.get("model")}
    seeds = sorted({run.seed for run in runs})
    facts = [("Variants", len(variants_of(runs))), ("Seeds", ", ".join(map(str, seeds))),
             ("Runs with answers", f"{len(answered)} of {len(runs)}")]
    facts += [("Tasks", len(tasks)), ("Questions", len(questions))] if tasks else []
    facts += [("Model", ", ".join(sorted(models)))] if models else []
    said = [(f"{run.variant}, seed {run.seed}", sentence) for run in runs for sentence in alarms(run.folder)]
    return {"facts": facts, "tiny": "tiny" in models, "alarms": said,
            "replaced": list(dict.fromkeys(sentence for run in runs for sentence in replaced(run.folder)))}


def result_part(runs: list[Run], settings: dict[str, str]) -> dict:
    """The sentence at the top, and the stages and variants behind it."""
    stage, variant = stage_rows(runs), variant_rows(runs, settings)
    first = variants_of(runs)[0] if runs else ""
    title = f"What each stage adds, {first}" if len(variants_of(runs)) > 1 else "What each stage adds"
    groups = [Group(title, stage), Group(f"Each variant against {first}, the last system of both", variant)]
    results = [group for group in groups if group.rows]
    several = any(len(row.found.by_run) > 1 for row in stage + variant)
    words = {name: LABELS[name] for of_variant in variants_of(runs) for name in stages(runs, of_variant)}
    reading = READING.format(dots="; the small dots are single runs" if several else "")
    return {"lede": headline(stage, variant, first), "results": results, "results_axis": axis_of(results),
            "reading": reading + (SEVERAL if several else ONE),
            "words": [(name, words[name]) for name in LABELS if name in words]}


def score_part(runs: list[Run], values: campaign_scores.Values) -> dict:
    """The scores by task, the table of all, and the state of the reasoning."""
    heads, lines = campaign_scores.score_table(values)
    plots = campaign_scores.task_plots(runs, values)
    return {"task_plots": plots, "has_references": any(plot.reachable for plot in plots),
            "score_heads": heads, "score_lines": lines, "states": campaign_scores.reasoning_rows(runs),
            "measures": list(campaign_scores.MEASURES.values())}


def tag_part(runs: list[Run]) -> dict:
    """What the chains are worth: the first variant's, and below them those of the others."""
    groups = tag_groups(runs)
    first = [group for group in groups if group.variant == runs[0].variant] or groups
    return {"tags": first, "more_tags": [group for group in groups if group not in first],
            "tags_axis": axis_of(groups)}


def item_part(runs: list[Run]) -> dict:
    """The curves over the number of items, each with its gains; the other views share their axis."""
    curves, views = item_curves(runs), view_groups(runs)
    return {"curves": [(curve, item_chart(curve), gains) for curve, gains in curves], "views": views,
            "views_axis": axis_of([gains for _, gains in curves] + views)}


def item_chart(curve: Curve) -> str:
    """The reward over the number of items with its intervals; no reward is below 0."""
    points = [(items, found.value) for items, found in curve.points.items()]
    spans = []
    for items, found in curve.points.items():
        low, high = (found.low, found.high) if curve.several else found.these
        spans.append((items, max(0.0, low), high))
    return line_chart(f"{curve.title}: task reward by profile items", [("reward", 6, points)], unit="{}",
                      smoothed=False, spans=tuple(spans), between=tuple(items for items, _ in points[1:-1]))


def choice_part(runs: list[Run]) -> dict:
    groups = choice_groups(runs)
    return {"choices": groups, "choices_axis": axis_of(groups)}


def axis_of(groups: Iterable[Group]) -> tracks.Axis | None:
    """The axis of all rows of a part of the page; None without rows."""
    found = [row.found for group in groups for row in group.rows]
    return tracks.axis_of_differences(found) if found else None
