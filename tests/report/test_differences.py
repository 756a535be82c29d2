"""The headline and the table of differences, on runs whose answers a hand can score."""
from __future__ import annotations

import pytest

from tagpr_lite.lamp.differences import Difference
from tagpr_lite.report import differences, references
from tagpr_lite.report.markdown import markdown
from tagpr_lite.report.page import render
from tagpr_lite.runs import write_json

ABOUT = {"evaluate": "every system answers"}
GOLDS = {"LaMP_1": ["[1]", "[2]"] * 10, "LaMP_3": ["4"] * 20}


def write_system(folder, system, answers):
    """answers: {task: an answer for each of the 20 questions}, of ten users with two each."""
    for task, of_task in answers.items():
        rows = [{"id": f"{task}-{n}", "user": f"u{n // 2}", "input": "?", "text": answer, "answer": answer,
                 "gold": gold} for n, (answer, gold) in enumerate(zip(of_task, GOLDS[task], strict=True))]
        write_json(folder / f"eval/{system}/{task}.json",
                   {"scores": {"n": 20, "lenient": {"accuracy" if task == "LaMP_1" else "mae": 0.5}},
                    "predictions": rows})


@pytest.fixture
def small(tmp_path):
    """base knows nothing; SFT says [1] and rates 3; explore is right on LaMP_1 and rates 3."""
    folder = tmp_path / "small"
    write_system(folder, "base_profile", {"LaMP_1": ["?"] * 20, "LaMP_3": ["0"] * 20})
    write_system(folder, "sft", {"LaMP_1": ["[1]"] * 20, "LaMP_3": ["3"] * 20})
    write_system(folder, "explore", {"LaMP_1": GOLDS["LaMP_1"],
                                     "LaMP_3": ["3"] * 15 + ["4", "4", "2", "4", "4"]})
    return folder


def test_answers_are_scored_by_their_task(small):
    scored = differences.read_answers(small).scored
    assert [len(rows) for rows in scored.values()] == [40, 40, 40]
    assert sum(row.value for row in scored["sft"]) == 10 + 20 * 0.75
    assert scored["sft"][3].user == "u1" and scored["sft"][3].value == 0


def test_every_system_is_compared_with_base_and_with_sft(small):
    write_system(small, "explore@vote8", {"LaMP_3": ["4"] * 20})
    write_system(small, "base", {"LaMP_1": ["?"] * 20})
    compared = differences.comparisons(differences.read_answers(small).scored)
    assert [(one.system, one.against) for one in compared] == [
        ("base", "base_profile"), ("sft", "base_profile"), ("explore", "base_profile"),
        ("explore@vote8", "base_profile"), ("base", "sft"), ("explore", "sft"), ("explore@vote8", "sft")]
    explore = compared[5]
    # LaMP_1: from 0.5 to 1; LaMP_3: four answers gain a quarter, one loses one, of 20
    assert explore.by_task["LaMP_1"].value == pytest.approx(0.5)
    assert explore.by_task["LaMP_3"].value == pytest.approx(3 / 80)
    assert explore.overall.value == pytest.approx((0.5 + 3 / 80) / 2) and explore.overall.users == 20
    # Holm of two: the smaller p is doubled.
    assert explore.adjusted["LaMP_1"] == 2 * explore.by_task["LaMP_1"].p
    assert explore.adjusted["LaMP_3"] == explore.by_task["LaMP_3"].p
    assert compared[6].overall.tasks == 1


def test_the_headline_says_the_difference_its_interval_and_whether_it_is_beyond_noise(small):
    systems = differences.read_answers(small).scored
    sentence = differences.headline(systems, differences.comparisons(systems))
    assert sentence.startswith("On 40 dev questions of 20 users in 2 tasks, explore minus SFT is +0.269 (+0.")
    assert ": better, beyond noise; explore minus base with profile is +" in sentence
    same = {"sft": systems["sft"], "explore": systems["sft"]}
    assert "0.000 (−" in differences.headline(same, differences.comparisons(same))
    assert ": within noise." in differences.headline(same, differences.comparisons(same))
    worse = {"sft": systems["explore"], "explore": systems["sft"]}
    assert ": worse, beyond noise." in differences.headline(worse, differences.comparisons(worse))
    assert "no result to summarise" in differences.headline({}, [])
    assert "no difference to report" in differences.headline({"base": systems["sft"]}, [])


def test_page_and_markdown_show_the_same_differences(small):
    table = markdown(small).split("## Differences")[1]
    page = render(small, ABOUT)
    compared = differences.comparisons(differences.read_answers(small).scored)
    for one in compared:
        assert f"{one.system} − {one.against}" in table and f"{one.system} − {one.against}" in page
        assert differences.with_interval(one.overall) in table
        assert differences.plus(one.overall.low) in page
    assert "**+0.269 (" in table and "<strong>+0.269</strong>" in page
    assert "overlap" not in page + table


def test_rows_that_are_no_answers_are_left_out(small):
    rows = [{"id": "a", "gold": "4", "answer": "4"}, {"id": "a", "gold": "4", "answer": "1"}, {}, None,
            {"id": "b", "gold": "nine", "answer": "4"}, {"id": "c", "gold": "4"},
            {"id": "d", "gold": "4", "answer": 4}, {"id": "e", "gold": "4.0", "answer": None}]
    write_json(small / "eval/odd/LaMP_3.json", {"scores": {}, "predictions": rows})
    write_json(small / "eval/odd/unknown_task.json", {"scores": {}, "predictions": rows})
    write_json(small / "eval/none/LaMP_3.json", {"scores": {}})
    scored = differences.read_answers(small).scored
    assert [(row.user, row.value) for row in scored["odd"]] == [("a", 1.0), ("e", 0.0)]
    assert "none" not in scored


def test_numbers_read_well():
    assert [differences.plus(value) for value in (0.05, -0.05, 0.0, -0.0004)] == ["+0.050", "−0.050", "0.000",
                                                                                "0.000"]
    found = Difference(0.1, 0.05, 0.15, 0.0005, 0.02, 9, 9, 1)
    assert differences.with_interval(found) == "+0.100 (+0.050 to +0.150, p < 0.001)"


# ---------------------------------------------------------------- references

KNOWN = {"LaMP_1": {"oracle": {"reward": 1.0, "accuracy": 1.0}, "profile": {"reward": 0.9, "accuracy": 0.9},
                    "no_profile": {"reward": 0.6, "accuracy": 0.6}, "copy": None},
         "LaMP_3": {"oracle": {"reward": 1.0, "mae": 0.0}, "no_profile": {"reward": 0.875, "mae": 0.5}}}


def test_what_can_be_reached_stands_in_tables_plots_and_a_sentence(small):
    without = markdown(small) + render(small, ABOUT)
    assert "Oracle" not in without and "diamonds" not in without and "best answer that" not in without
    write_json(small / "data/references.json", KNOWN)
    text, page = markdown(small), render(small, ABOUT)
    # explore: LaMP_1 1.0, LaMP_3 0.7875; of the head-room 100% and (0.7875 - 0.875) / 0.125 = -70%
    sentence = ("explore ends below the best answer that sees no profile on LaMP_3 (0.787 against 0.875) "
                "(task reward). Of the way from that answer to the oracle it goes 15% in the mean over "
                "tasks: LaMP_1 100%, LaMP_3 −70%.")
    assert sentence in text and sentence in page
    line = next(line for line in text.splitlines() if "*Best answer without the profile*" in line)
    assert [cell.strip() for cell in line.split("|")][3:5] == ["0.600", "0.500"]
    assert page.count("Best answer without the profile") == 1 and '<tbody class="known">' in page
    plots = page.split("<figure>")
    assert sum("l6 -6l6 6l-6 6z" in part for part in plots) == 2
    assert any("without profile 0.500" in part for part in plots)


def test_a_stage_above_the_best_answer_without_the_profile_is_said_too(small):
    scored = differences.read_answers(small).scored
    known = {"LaMP_1": references.read_references(small).get("LaMP_1", KNOWN["LaMP_1"])}
    assert references.sentence(known, scored, "explore").startswith("explore ends above the best answer")
    assert references.sentence({}, scored, "explore") == references.sentence(known, scored, None) == ""


def test_damaged_references_are_none(small):
    write_json(small / "data/references.json", {"LaMP_1": [1], "LaMP_3": {"oracle": {"reward": "x"}}})
    known = references.read_references(small)
    assert known == {"LaMP_3": {"oracle": {"reward": None}}}
    assert references.sentence(known, differences.read_answers(small).scored, "explore") == ""
    render(small, ABOUT)
