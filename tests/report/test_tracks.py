"""Drawings that are stretched: where each mark stands, and what is cut off."""
import re
import xml.etree.ElementTree as ET

import pytest

from tagpr_lite.lamp.over_seeds import Pooled
from tagpr_lite.report import tracks

SCALE = tracks.Axis((-1.0, 0.0, 1.0))


def found(value, new, these, by_run):
    return Pooled(value, *new, 0.5, 0.1, these, by_run)


def lines(svg):
    """{class: [(x of the start, x of the end)]} of a drawing; a dot has one x."""
    ET.fromstring(svg)
    places = {}
    for path, css_class in re.findall(r'<path d="([^"]*)" class="([^"]*)"', svg):
        xs = [float(x) for x in re.findall(r"[ML]([-\d.]+) ", path)]
        places.setdefault(css_class, []).append(tuple(xs))
    return places


def test_a_value_has_a_place_in_percent_and_ends_are_ends():
    assert [SCALE.at(value) for value in (-1, -0.5, 0, 0.5, 1, 3, -3)] == [0, 25, 50, 75, 100, 100, 0]
    assert SCALE.has(1.0) and not SCALE.has(1.01) and not SCALE.has(-1.01)
    assert SCALE.numbers == [("−1", 0), ("0", 50), ("1", 100)]
    assert tracks.axis([0.31, 0.52]).marks == (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)


def test_the_axis_has_zero_and_does_not_follow_a_wide_interval_of_a_new_run():
    near = found(0.3, (0.25, 0.35), (0.2, 0.4), (0.3, 0.3))
    assert tracks.axis_of_differences([near]).marks == (0.0, 0.1, 0.2, 0.3, 0.4)
    wide = found(0.3, (-0.9, 1.0), (0.2, 0.4), (0.25, 0.35))
    ends = tracks.axis_of_differences([wide]).marks
    assert ends[0] == -0.2 and ends[-1] == 0.6  # half of 0..0.4 to both sides
    alone = found(0.3, (-1.0, 1.0), (0.2, 0.4), (0.3,))
    assert tracks.axis_of_differences([alone]).marks[0] == 0.0  # of one run there is no new run
    equal = found(0.1, (-1.0, 1.0), (-1.0, 1.0), (0.1, 0.1))
    assert tracks.axis_of_differences([equal]).marks[-1] < 0.3
    assert tracks.axis_of_differences([found(0.0, (-1.0, 1.0), (-1.0, 1.0), (0.0,))]).has(0.0)


def test_a_difference_is_a_bar_two_intervals_and_its_runs():
    drawn = tracks.difference(found(0.5, (-0.2, 1.0), (0.2, 0.8), (0.4, 0.6)), SCALE, "better")
    places = lines(drawn)
    assert places["zero"] == [(50, 50)] and places["bar"] == [(50, 75)] and places["mean"] == [(75,)]
    assert places["these"] == [(60, 90)] and places["one"] == [(70,), (80,)]
    assert places["new"] == [(40, 100), (40, 40), (100, 100)]  # the line, and a small bar across each end
    assert 'class="track better"' in drawn and 'aria-hidden="true"' in drawn


def test_an_end_beyond_the_axis_is_an_arrow():
    places = lines(tracks.difference(found(0.5, (-1.0, 1.0), (0.2, 0.8), (0.4, 0.6)),
                                     tracks.Axis((-0.5, 0.0, 0.5, 1.0)), "noise"))
    line, *left, right = places["new"]
    assert line == (0, 100) and left == [(0, 1.5), (0, 1.5)] and right == (100, 100)


def test_one_run_has_no_thin_line_and_what_is_not_known_no_thick_one():
    places = lines(tracks.difference(found(0.5, (-1.0, 1.0), (0.2, 0.8), (0.5,)), SCALE, "better"))
    assert "new" not in places and "one" not in places and places["these"] == [(60, 90)]
    places = lines(tracks.difference(found(0.0, (-1.0, 1.0), (-1.0, 1.0), (0.0,)), SCALE, "noise"))
    assert "these" not in places and places["new"][0] == (0, 100)


def test_scores_references_and_shares():
    places = lines(tracks.score(0.5, [0.0, 1.0], SCALE, guide=-0.5))
    assert places["mean"] == [(75,)] and places["one"] == [(50,), (100,)] and places["cut"] == [(25, 25)]
    assert "one" not in lines(tracks.score(0.5, [0.5], SCALE))
    assert lines(tracks.reference(0.0, SCALE))["square"] == [(50,)]


@pytest.mark.parametrize("value, most, end", [(0.25, 1.0, 25), (2.0, 4.0, 50), (5.0, 4.0, 100), (-1, 1, 0),
                                              (0.0, 0.0, 0)])
def test_a_share_is_a_bar_of_its_rail(value, most, end):
    places = lines(tracks.share(value, most))
    assert places["bar"] == [(0, end)] and places["rail"] == [(0, 100)]
