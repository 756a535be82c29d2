"""The drawings of the chains: well-formed, right in number, and whatever a teacher wrote stays text."""
import xml.etree.ElementTree as ET

from invented_run import EVIL, TAGS

from tagpr_lite.report import tag_figures
from tagpr_lite.runs import read_json


def test_three_drawings_of_a_run(run):
    stats, table = read_json(run / "chains/stats.json"), read_json(run / "chains/tags.json")
    drawn = tag_figures.pictures(stats, table)
    assert [picture["title"] for picture in drawn] == ["Chains kept and dropped", "Tags by task",
                                                       "Which tag follows which"]
    for picture in drawn:
        svg = picture["svg"]
        assert ET.fromstring(svg).get("role") == "img" and "nan" not in svg and EVIL not in svg
    assert "40 answers of the teacher: 12,000 tokens in, 3,000 out, cost 0.25." in drawn[0]["note"]
    squares = ET.fromstring(drawn[2]["svg"]).findall("{*}rect")
    assert [square.find("{*}title").text for square in squares] == ["100%", "83%", "17%"]


def test_a_run_without_figures_has_no_drawings():
    assert tag_figures.pictures({}, {}) == []


def test_the_origin_says_what_was_merged_and_which_known_names_came_up():
    text = tag_figures.origin({"source": "openai teacher m", "open": {"a_b": 3, "c_d": 2},
                          "merged": {"a_b": ["x_y", "z_z"]}, "known": {TAGS[0]: True, TAGS[1]: False},
                          "agreement": {"steps": 50, "equal": 0.9, "kappa": 0.875}})
    assert text == ("openai teacher m. 2 names stood after 2 near-synonyms were merged. Of the two names "
                    f"known of the paper, {TAGS[0]} came up. Named a second time, out of the nine, 90% of 50 "
                    "steps got the same tag (kappa 0.88).")
    assert tag_figures.origin({"source": "template teacher, tag names ours",
                          "open": {"a_b": 3}}) == "template teacher, tag names ours."
