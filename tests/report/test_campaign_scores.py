"""The scores of a campaign by task, the share of the head-room, and the state of the reasoning."""
import pytest
from invented_campaign import read_run, write_ratings, write_reasoning, write_references

from tagpr_lite.report import campaign_scores
from tagpr_lite.report.reasoning import TEACHER
from tagpr_lite.runs import write_json


@pytest.fixture
def runs(tmp_path):
    """One variant with two seeds and one with a single one: mean rewards 0.75 and 0.5, then 1."""
    made = []
    for variant, seed, ratings in (("full", 0, ["5", "3"]), ("full", 1, ["4", "2"]), ("half", 0, ["5", "5"])):
        write_ratings(tmp_path / f"{variant}{seed}", "sft", ratings, f"seed {seed}")
        write_references(tmp_path / f"{variant}{seed}")
        made.append(read_run(variant, seed, tmp_path / f"{variant}{seed}"))
    return made


def test_scores_are_lists_over_runs_and_their_table(runs):
    values = campaign_scores.scores(runs)
    key = ("LaMP_3", "mae")
    assert values == {("full", "sft"): {key: [1.0, 2.0]}, ("half", "sft"): {key: [0.0]}}
    heads, lines = campaign_scores.score_table(values)
    assert heads == ["variant", "system", "seeds", "LaMP_3 MAE ↓"]
    assert lines == [["full", "sft", "2", "1.500 (1.000 to 2.000)"],
                     ["half", "sft", "1", "0.000 (0.000 to 0.000)"]]


def test_a_task_has_a_line_a_system_with_its_share_and_what_can_be_reached(runs):
    (plot,) = campaign_scores.task_plots(runs, campaign_scores.scores(runs))
    assert plot.title == "LaMP_3 · product rating"
    assert (plot.metric, plot.better) == ("MAE", "lower is better")
    names = [(variant, [(line.name, line.value, line.note) for line in lines])
             for variant, lines in plot.groups]
    # 0.6 without the profile, 1 by the oracle: (0.75 - 0.6) / 0.4 and (0.5 - 0.6) / 0.4, on average 6%.
    assert names == [("full", [("sft", "1.500", "6%")]), ("half", [("sft", "0.000", "100%")]),
                     ("can be reached", [("without profile", "1.600", ""), ("with profile", "0.400", ""),
                                         ("oracle", "0.000", "")])]
    assert plot.reachable and plot.many and plot.noted and plot.axis.has(2.0) and plot.axis.has(0.0)
    assert 'class="cut"' in plot.groups[0][1][0].svg


def test_without_references_there_is_no_share_and_no_guide(runs):
    for run in runs:
        (run.folder / "data/references.json").unlink()
    (plot,) = campaign_scores.task_plots(runs[:2], campaign_scores.scores(runs[:2]))
    assert not plot.reachable and not plot.many and not plot.noted and len(plot.groups) == 1
    assert 'class="cut"' not in plot.groups[0][1][0].svg


def test_other_views_are_left_out_of_a_task_where_there_are_plain_systems(runs):
    write_ratings(runs[0].folder, "explore@vote8", ["5", "5"])
    write_ratings(runs[0].folder, "explore", ["5", "5"])
    values = campaign_scores.scores(runs[:1])
    (plot,) = campaign_scores.task_plots(runs[:1], values)
    assert [line.name for line in plot.groups[0][1]] == ["sft", "explore"]
    alone = {("full", "explore@vote8"): values["full", "explore@vote8"]}
    (plot,) = campaign_scores.task_plots(runs[:1], alone)
    assert [line.name for line in plot.groups[0][1]] == ["explore@vote8"]


def test_references_are_means_over_runs(runs):
    write_json(runs[0].folder / "data/references.json", {"LaMP_3": {"oracle": {"mae": 0.3, "reward": None}}})
    found = campaign_scores.reachable(runs[:2])
    assert found["LaMP_3", "mae"] == {"no_profile": 1.6, "profile": 0.4, "oracle": 0.15}


def test_states_are_weighed_by_completions_over_tasks_and_runs(runs):
    assert campaign_scores.reasoning_rows(runs) == []
    write_reasoning(runs[0].folder, "sft", form=1.0, claims=2.0)
    write_reasoning(runs[1].folder, "sft", form=0.5, claims=2.0, completions=12)
    write_reasoning(runs[2].folder, "sft", form=0.0, claims=4.0)
    rows = campaign_scores.reasoning_rows(runs)
    assert [(row["variant"], row["name"], [text for text, _ in row["cells"]]) for row in rows] == [
        ("full", "sft", ["62.5%", "80.0%", "90.0%", "2.00"]),
        ("half", "sft", ["0.0%", "80.0%", "90.0%", "4.00"])]
    assert 'd="M0.00 3L50.00 3" class="bar"' in rows[0]["cells"][3][1]  # 2 of at most 4 claims


def test_the_teacher_is_the_first_variants(runs, monkeypatch):
    for run in runs:
        write_reasoning(run.folder, "sft", true=None)
    asked = []
    state = {"completions": 2, "form": 1.0, "follows": 1.0, "true": 1.0, "claims": 8.0}
    monkeypatch.setattr(campaign_scores, "teacher_states",
                        lambda folder: asked.append(folder.name) or {"all": state})
    first, *rest = campaign_scores.reasoning_rows(runs)
    assert first["name"] == TEACHER and first["known"] and asked == ["full0", "full1"]
    assert [text for text, _ in first["cells"]] == ["100.0%", "100.0%", "100.0%", "8.00"]
    assert not any(row["known"] for row in rest) and rest[0]["cells"][2] == ("–", "")
