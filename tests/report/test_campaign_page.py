"""The page of a campaign: a part where there is data, none where there is none, safe with hostile text."""
import html
import shutil
import xml.etree.ElementTree as ET

import pytest
from invented_campaign import read_run, write_campaign, write_changes, write_ratings
from invented_run import EVIL
from whole_page import check

from tagpr_lite.report import campaign_page, campaign_scores
from tagpr_lite.report.over_seeds import Run, differences_text
from tagpr_lite.runs import append_jsonl, write_json

HEADS = {"results": "Does it work, by how much, how sure?", "scores": "Scores by task",
         "states": "The state of the reasoning", "tags": "Which tag matters most?",
         "items": "What does one more profile item buy?", "choices": "Does PRMU help to choose an answer?"}


def page_of(runs, settings=None, name="invented"):
    page = campaign_page.render(name, runs, campaign_scores.scores(runs), settings or {})
    check(page)
    return page


@pytest.fixture
def runs(tmp_path):
    return write_campaign(tmp_path, {"full": 0.0, "untagged": -0.2}, seeds=2, people=12)


def shown(page):
    return {part for part, head in HEADS.items() if f"<h2>{head}</h2>" in page}


def test_every_part_is_there_and_says_the_same_as_the_markdown(runs):
    page = page_of(runs, {"untagged": "sft.form=untagged"})
    assert shown(page) == set(HEADS) and len(page.encode()) < 200_000
    assert "<small>explore; sft.form=untagged</small>" in page and "smollm2" in page
    lines = differences_text(runs).splitlines()
    row = next(line for line in lines if line.startswith("| full: explore − sft "))
    _, _, mean, new_run, _, these, _ = [cell.strip() for cell in row.strip("|").split("|")]
    assert f"<b>{mean.strip('*')}</b>" in page
    assert f"<div>a new run {new_run}</div>" in page and f"<div>these runs {these}</div>" in page
    assert "Thin line" in page and "<details><summary>The other variants</summary>" in page


def test_one_seed_has_the_interval_of_these_runs_alone(tmp_path):
    page = page_of(write_campaign(tmp_path, {"full": 0.0}, seeds=1, people=12))
    assert shown(page) == set(HEADS) and "a new run " not in page.partition("</header>")[0]
    assert "One seed says nothing of another one" in page and "<div>a new run" not in page
    assert "Thin line" not in page and 'class="one"' not in page
    assert "95% interval of these runs</span>" in page  # of the curve


@pytest.mark.parametrize("skill, gone", [
    ({"sft": 0.5}, {"items", "choices", "results"}),
    ({"sft": 0.5, "explore@vote8": 0.5}, {"items", "choices", "results"}),
    ({"explore": 0.5, "explore@none": 0.5}, {"choices", "results"}),
    ({"explore@k0": 0.5, "explore@k1": 0.5}, {"choices", "results", "states"})])
def test_a_part_without_data_is_left_out(tmp_path, skill, gone):
    page = page_of(write_campaign(tmp_path, {"full": 0.0}, seeds=1, people=8, skill=skill))
    assert shown(page) == set(HEADS) - gone


def test_files_that_are_not_there(runs):
    for run in runs:
        (run.folder / "samples/faithful.json").unlink()
        (run.folder / "data/references.json").unlink()
    page = page_of(runs)
    assert shown(page) == set(HEADS) - {"tags"} and "can be reached" not in page
    for run in runs:
        shutil.rmtree(run.folder)
    empty = [read_run(run.variant, run.seed, run.folder) for run in runs]
    page = page_of(empty)
    assert shown(page) == set() and "Nothing was compared in this campaign yet" in page and "0 of 4" in page


def test_scores_alone_are_a_page_too(tmp_path):
    """As in results/reference: files of scores without answers."""
    write_json(tmp_path / "a/eval/sft/LaMP_3.json", {"scores": {"n": 9, "lenient": {"mae": 0.5}}})
    page = page_of([read_run("a", 0, tmp_path / "a")])
    assert shown(page) == {"scores"} and "0.500" in page


def test_hostile_text_is_text(tmp_path):
    write_ratings(tmp_path / "a", "sft", ["5", "1", "5"], EVIL)
    write_ratings(tmp_path / "a", "explore", ["5", EVIL, "\x1b[31m"], EVIL)
    write_ratings(tmp_path / "b", "explore", ["5", "5", "\u202e5"], EVIL)
    for folder in ("a", "b"):
        write_changes(tmp_path / folder, EVIL, {EVIL: [0.0, 1.0, 0.5], "x\x00": [0.0, 1.0, 1.0]})
    write_json(tmp_path / "a/plan.json", {"model": EVIL, "replaced": [EVIL]})
    append_jsonl(tmp_path / "a/metrics.jsonl",
                 [{"step": "guided_alarm", "index": 2, "text": EVIL, "advice": EVIL}])
    runs = [read_run(EVIL, 0, tmp_path / "a"), read_run(f"b {EVIL}", 0, tmp_path / "b")]
    page = page_of(runs, {f"b {EVIL}": EVIL}, EVIL)
    assert EVIL not in page and not set(page) & set("\x1b\x00\u202e")
    escaped = html.escape(EVIL, quote=False).replace("'", "&#39;")
    assert f"<h1>{escaped}</h1>" in page and f"<strong>Replaced.</strong> {escaped}" in page
    assert f"<small>explore; {escaped}</small>" in page and "Alarms of training: 1" in page


def test_folders_of_another_kind_do_not_stop_the_page(runs):
    write_ratings(runs[0].folder, "my_own_system", ["5"] * 12, "seed 0")
    write_json(runs[0].folder / "samples/faithful.json", ["nothing"])
    write_json(runs[0].folder / "plan.json", [1])
    again = [read_run(run.variant, run.seed, run.folder) for run in runs]
    page = page_of(again)
    assert '<div class="name ">my_own_system</div>' in page and shown(page) == set(HEADS)


def test_the_curve_has_its_points_and_intervals_within_0_and_1(runs):
    part = campaign_page.item_part(runs)
    (curve, svg, gains), = part["curves"]
    root = ET.fromstring(svg)
    assert len([node for node in root.iter() if node.get("class") == "span"]) == 5 and len(gains.rows) == 4
    assert {"0", "1", "2", "4", "8"} <= {node.text for node in root.iter() if node.get("class") == "tick"}
    marks = [float(node.text) for node in root.iter() if node.get("text-anchor") == "end"][:-1]
    assert len(marks) > 2 and all(0 <= mark <= 1 for mark in marks)


def test_facts_are_counted(runs):
    facts = dict(campaign_page.about([*runs, Run("late", 7, runs[0].answers._replace(scored={}, texts={}),
                                                 runs[0].folder / "no")])["facts"])
    assert facts == {"Variants": 3, "Seeds": "0, 1, 7", "Runs with answers": "4 of 5", "Tasks": 2,
                     "Questions": 2 * 2 * 12, "Model": "smollm2"}
    write_json(runs[0].folder / "plan.json", {"model": "tiny"})
    assert "tiny random one" in page_of(runs)
