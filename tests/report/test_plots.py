"""Every drawing is well-formed XML, says in words what it shows, and keeps the two GRPO stages apart."""
from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from invented_run import EVIL, TAGS

from tagpr_lite.report import curves, plots, tables
from tagpr_lite.runs import read_metrics


def metrics(run):
    return {s: read_metrics(run, s) for s in ("sft", "reward", "guided", "explore")}


def test_all_drawings_are_xml_with_a_label(run):
    rows = tables.collect(run)
    drawn = [c["svg"] for c in curves.curves(metrics(run))]
    drawn += [plots.dot_plot("x", key, rows) for key in tables.columns(rows)]
    drawn += [plots.tag_bars(TAGS, {TAGS[0]: 3}), plots.prmu_bars({"accuracy": 0.8, "shuffled": 0.5})]
    assert len(drawn) == 7 + 6 + 2
    for svg in drawn:
        root = ET.fromstring(svg)
        assert root.tag.endswith("svg") and root.get("role") == "img" and len(root.get("aria-label")) > 10
        assert "nan" not in svg and "inf " not in svg and len(svg) < 40_000


def test_hostile_names_stay_text():
    svg = plots.tag_bars([EVIL, "a\x00b\x1b"], {EVIL: 2})
    assert "<script" not in svg and "<img" not in svg
    assert EVIL in "".join(ET.fromstring(svg).itertext())


@pytest.mark.parametrize("low, high", [(0, 1), (0.31, 0.34), (-3, 812), (5, 5), (0, 0), (1e-7, 2e-7)])
def test_ticks_are_few_rise_and_cover(low, high):
    marks = plots.ticks(low, high)
    assert marks == sorted(set(marks)) and 2 <= len(marks) <= 7
    assert marks[0] <= low + 1e-9 and marks[-1] >= high - 1e-9


def test_the_second_stage_follows_the_first_and_neither_smooths_over_the_mark():
    guided, explore = [[{"index": i, "reward": v} for i in range(40)] for v in (1.0, 0.0)]
    rows, cut = curves.timeline(guided, explore)
    points = curves.points_of(rows, "reward")
    assert cut == 40 and [x for x, _ in points] == list(range(80))
    assert plots.smooth(points, cut) == points
    assert curves.timeline([], explore)[1] is None


def test_values_that_are_no_numbers_are_left_out():
    rows = [{"index": 0, "kl": None}, {"index": 1, "kl": float("nan")}, {"index": 2}, {"index": 3, "kl": 0.5}]
    assert curves.points_of(rows, "kl") == [(3.0, 0.5)]
    assert curves.curves({"guided": rows})[0]["title"] == "GRPO, signal and drift"
    assert curves.curves({}) == []


def test_prmu_is_not_drawn_as_zero_where_it_was_not_asked(run):
    terms = next(c for c in curves.curves(metrics(run)) if "terms" in c["title"])
    assert "prmu from" in terms["svg"] and "prmu from 0 " not in terms["svg"] and " to 0;" not in terms["svg"]


def test_a_term_of_a_person_s_own_is_drawn_where_there_is_one(run):
    """A 0 of it is a 0: where it was not asked for, the lines have none."""
    lines = metrics(run)
    assert not any("own from" in chart["svg"] for chart in curves.curves(lines))
    guided = [{**line, "own": 0.0 if line["index"] == 0 else 0.5} for line in lines["guided"]]
    terms = next(c for c in curves.curves(lines | {"guided": guided}) if "terms" in c["title"])
    assert "own from 0 to 0.5" in terms["svg"]


def test_a_long_run_stays_small():
    svg = plots.line_chart("x", [("loss", 1, [(i, 1 / (1 + i)) for i in range(50_000)])])
    assert len(svg) < 20_000
