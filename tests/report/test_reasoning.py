"""The state of the reasoning in the report: curves over the checks, the table, and what is not there."""
import xml.etree.ElementTree as ET

from tagpr_lite.report import curves
from tagpr_lite.report.markdown import markdown
from tagpr_lite.report.page import render
from tagpr_lite.report.reasoning import ALL, combined, state_rows
from tagpr_lite.runs import read_json, write_json


def state(count=4, **values):
    return {"completions": count, "chains": 1.0, "steps": 3.0, "tokens": 90.0, "form": 0.9, "claims": 4.0,
            "true": 0.9, "follows": 0.8, "tags": {"conclude": 4}, "entropy": 0.4} | values


def check(stage, index, score, best, **values):
    return {"step": f"{stage}_check", "index": index, "score": score, "error": 0.03, "best": best,
            "reasoning": {"all": state(**values), "by_task": {}}}


CHECKS = {"guided_check": [check("guided", 0, 0.4, True), check("guided", 4, 0.5, True, form=0.2)],
          "explore_check": [check("explore", 0, 0.5, False), check("explore", 4, 0.45, False, form=0.1)]}


def test_the_checks_of_both_stages_are_one_curve_with_bars_and_the_best_ringed():
    score, shares, *_ = curves.check_charts(CHECKS, {})
    assert curves.points_of(score.rows, "score") == [(0, 0.4), (4, 0.5), (5, 0.5), (9, 0.45)]
    assert score.boundary == 5 and score.best == (4, 0.5)
    assert [round(high - low, 6) for _, low, high in score.spans] == [0.06] * 4
    assert [y for _, y in curves.points_of(shares.rows, "form")] == [0.9, 0.2, 0.9, 0.1]


def test_the_teacher_is_a_dashed_level_and_nothing_is_smoothed():
    drawn = curves.curves(CHECKS, state(form=1.0, follows=1.0, true=None))
    assert [chart["title"].split(",")[0] for chart in drawn][0] == "Held-out score" and len(drawn) == 4
    assert drawn[0]["svg"].count('class="span"') == 4 and drawn[0]["svg"].count("<circle") == 1
    assert drawn[1]["svg"].count('stroke-dasharray="2 5"') == 2  # true claims of the teacher: not known
    for chart in drawn:
        ET.fromstring(chart["svg"])


def test_tasks_are_weighed_by_completions_and_true_claims_by_claims():
    both = combined([state(1, form=1.0, claims=8.0, true=1.0), state(3, form=0.0, claims=0.0, true=None)])
    assert both["completions"] == 4 and both["form"] == 0.25 and both["claims"] == 2.0 and both["true"] == 1.0
    assert both["tags"] == {"conclude": 8}


def test_the_table_is_in_the_page_and_in_the_markdown(run):
    assert state_rows(run, {}) == [] and "The state of the reasoning" not in markdown(run)
    for task, form in (("LaMP_1", 0.25), ("LaMP_3", 0.75)):
        file = run / f"eval/sft/{task}.json"
        write_json(file, read_json(file) | {"reasoning": state(form=form)})
    rows = state_rows(run, {})
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("SFT on tagged chains", ALL, "50.0%"), ("SFT on tagged chains", "LaMP_1", "25.0%"),
        ("SFT on tagged chains", "LaMP_3", "75.0%")]
    assert "The state of the reasoning" in markdown(run) and "75.0%" in markdown(run)
    page = render(run, {"sft": "trains", "report": "reports"})
    assert "<h2>The state of the reasoning</h2>" in page and "<td>75.0%</td>" in page
