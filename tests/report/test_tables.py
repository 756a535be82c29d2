"""The main table against numbers worked out by hand, and what it says when the run is not a success."""
from __future__ import annotations

import json
import shutil

import pytest

from tagpr_lite.report import tables
from tagpr_lite.report.markdown import markdown
from tagpr_lite.runs import write_json


def rows_of(run):
    return {r["system"]: r for r in tables.collect(run)}


def test_systems_come_in_the_order_of_the_method_and_others_last(run):
    names = [r["system"] for r in tables.collect(run)]
    assert names == ["base", "base_profile", "sft", "guided", "explore", "sft_no_tags"]


def test_mean_relative_change_by_hand(run):
    rows = rows_of(run)
    # accuracy +40%, F1 +70%, MAE 1.0 -> 0.4 is +60%, RMSE 1.6 -> 0.8 is +50%, ROUGE-1 +60%, ROUGE-L +62.5%
    assert rows["explore"]["relative"] == pytest.approx((0.4 + 0.7 + 0.6 + 0.5 + 0.6 + 0.625) / 6)
    assert rows["explore"]["compared"] == 6
    assert rows["base"]["relative"] is None
    assert rows["sft"]["n"] == 120 and rows["sft"]["parse_failure"] == pytest.approx(0.05)


def test_best_is_the_lowest_error_and_the_highest_score(run):
    best = {(s, *key) for s, r in rows_of(run).items() for key, cell in r["cells"].items() if cell["best"]}
    assert best == {("explore", "LaMP_1", "accuracy"), ("explore", "LaMP_1", "f1"),
                    ("explore", "LaMP_3", "mae"), ("guided", "LaMP_3", "rmse"),
                    ("explore", "LaMP_5", "rouge1"), ("explore", "LaMP_5", "rougeL")}


def test_ties_are_all_best_and_neither_a_single_system_nor_equal_ones_are(run):
    for task in ("LaMP_1", "LaMP_3", "LaMP_5"):
        (run / f"eval/explore/{task}.json").write_text((run / f"eval/guided/{task}.json").read_text())
    rows = rows_of(run)
    assert rows["guided"]["cells"]["LaMP_3", "mae"]["best"]
    assert rows["explore"]["cells"]["LaMP_3", "mae"]["best"]
    for system in rows:
        for task in ("LaMP_1", "LaMP_3", "LaMP_5"):
            (run / f"eval/{system}/{task}.json").write_text((run / f"eval/sft/{task}.json").read_text())
    assert not any(c["best"] for r in tables.collect(run) for c in r["cells"].values())
    for system in rows:
        if system != "sft":
            for path in (run / "eval" / system).iterdir():
                path.unlink()
    assert not any(c["best"] for c in rows_of(run)["sft"]["cells"].values())


def test_markdown_is_one_row_a_system_with_bold_arrow_and_interval(run):
    text = markdown(run)
    line = next(x for x in text.splitlines() if x.startswith("| explore"))
    cells = [c.strip() for c in line.strip("|").split("|")]
    assert cells == ["explore", "+57.1%", "**0.700** (0.59–0.80)", "**0.680** (0.58–0.78)",
                     "**0.400** (0.34–0.46)", "0.800 (0.68–0.92)", "**0.320** (0.27–0.37)",
                     "**0.260** (0.22–0.30)", "120", "5.0%"]
    assert "LaMP_3 MAE ↓" in text and "LaMP_1 accuracy ↑" in text and tables.AVERAGE in text
    table = [x for x in text.splitlines() if x.startswith("|")]
    assert len({len(x) for x in table[:8]}) == 1, "columns are padded, so the raw text lines up"
    assert "**0.360**" in text.split("strict reading")[1]


def test_a_pipe_in_a_system_name_does_not_break_the_table(run):
    (run / "eval/sft").rename(run / "eval/a|b")
    lines = [x for x in markdown(run).splitlines() if "a\\|b" in x]
    assert lines and all(x.replace("\\|", "").count("|") in (6, 8, 11) for x in lines)


def test_a_loss_is_printed_as_a_loss(run):
    path = run / "eval/sft/LaMP_3.json"
    write_json(path,
               {"scores": {"n": 4, "lenient": {"mae": 1.5}, "strict": {"mae": None}, "parse_failure": 1.0}})
    row = rows_of(run)["sft"]
    assert tables.relative_change(row, rows_of(run)["base"], [("LaMP_3", "mae")]) == (pytest.approx(-0.5), 1)
    assert tables.signed(-0.5) == "−50.0%"
    assert "(5 of 6 scores)" in tables.change_text(row, 6)
    assert row["parse_failure"] == pytest.approx((40 * 0.05 + 4 * 1.0 + 40 * 0.05) / 84)


def test_no_number_is_a_dash_and_never_the_best(run):
    path = run / "eval/explore/LaMP_3.json"
    tree = json.loads(path.read_text())
    tree["scores"]["lenient"] = {"mae": None, "rmse": "?"}
    path.write_text(json.dumps(tree))
    rows = rows_of(run)
    assert rows["explore"]["cells"]["LaMP_3", "mae"]["value"] is None
    assert rows["guided"]["cells"]["LaMP_3", "mae"]["best"]
    assert not rows["explore"]["cells"]["LaMP_3", "mae"]["best"]
    assert rows["explore"]["compared"] == 4
    assert "nan" not in markdown(run)


def test_a_base_of_zero_gives_no_ratio(run):
    write_json(run / "eval/base/LaMP_1.json", {"scores": {"n": 40, "lenient": {"accuracy": 0.0, "f1": 0.4}}})
    assert rows_of(run)["explore"]["compared"] == 5


def test_the_reward_model_is_not_flattered():
    sentence = tables.prmu_sentence({"accuracy": 0.81, "shuffled": 0.55, "pairs": 360, "heldout_pairs": 120})
    assert sentence.startswith("On 120 pairs of users it was not trained on") and "26 points" in sentence
    for own, other, n in ((0.55, 0.56, 1000), (0.58, 0.50, 12)):
        sentence = tables.prmu_sentence({"accuracy": own, "shuffled": other, "heldout_pairs": n})
        assert f"within the noise of {n} pairs" in sentence
    assert tables.prmu_sentence({}).startswith("On pairs of users")


def test_the_manners_of_the_reward_model_are_said():
    sentence = tables.prmu_manners({
        "user_only": {"n": 60, "accuracy": 0.84, "shuffled": 0.52, "generic": 0.5},
        "calibration": {"temperature": 1.3, "ece": 0.04, "ece_before": 0.11},
        "bias": {"length_rho": -0.02, "over_untagged": 0.97, "over_unclosed": 1.0}})
    assert sentence == ("Where only the user differs (60 pairs): 84.0% with the own embedding, 52.0% with "
                        "another's, 50.0% with none. "
                        "Calibration error 0.04 at temperature 1.30. Score and length: Spearman's ρ -0.02. "
                        "A chain scores above itself without tags in 97.0% of cases, without an end of "
                        "thinking in 100.0%.")
    calibration_alone = tables.prmu_manners({"calibration": {"temperature": 1.0, "ece": 0.0}})
    assert calibration_alone == "Calibration error 0.00 at temperature 1.00."


@pytest.mark.parametrize("word, label", [
    ("base", "Base, no profile"), ("base_profile", "Base, with profile"),
    ("base@other@vote4", "Base, another user's profile, vote of 4"),
    ("explore_last", "GRPO 2, exploratory, last step"), ("sft@none", "SFT on tagged chains, no profile"),
    ("explore@none@prmu8-other", "GRPO 2, exploratory, no profile, PRMU's choice of 8 for another user"),
    ("explore@best8", "GRPO 2, exploratory, oracle's choice of 8"), ("<b>@x", "<b>@x")])
def test_a_word_is_said_in_words(word, label):
    assert tables.label(word) == label


def test_the_oracle_is_in_the_table_and_never_the_best(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for word, accuracy in (("explore@best8", 1.0), ("explore@vote8", 0.8)):
        write_json(tmp_path / "run" / "eval" / word / "LaMP_1.json",
                   {"scores": {"n": 40, "lenient": {"accuracy": accuracy}, "strict": {"accuracy": accuracy}}})
    rows = tables.collect(tmp_path / "run")
    assert [row["system"] for row in rows] == ["base", "base_profile", "sft", "guided", "explore",
                                               "explore@best8", "explore@vote8", "sft_no_tags"]
    best = {row["system"]: row["cells"]["LaMP_1", "accuracy"].get("best") for row in rows}
    assert best["explore@vote8"] and not best["explore@best8"] and not best["explore"]
