"""What leaving a part of the chain out costs, in the page and in the Markdown."""
from tagpr_lite.report.faithful import FILE, faithful_rows
from tagpr_lite.report.markdown import markdown
from tagpr_lite.report.page import render
from tagpr_lite.runs import write_json


def row(n, change, score, whole=1.0, task="LaMP_3"):
    return {"id": f"q{n}", "task": task, "user": f"u{n}", "change": change, "score": score, "whole": whole}


def changes(change, scores, **more):
    return [row(n, change, score, **more) for n, score in enumerate(scores)]


def test_a_row_a_change_the_tag_whose_loss_costs_most_first(run):
    assert faithful_rows(run) == [] and "depend on the chain" not in markdown(run)
    write_json(run / FILE, {"explore": [
        *changes("examine_examples", [1.0, 0.75, 1.0, 1.0]), *changes("nothing", [0.0, 0.5, 0.0, 0.25]),
        *changes("conclude", [0.5, 0.25, 0.5, 0.25]), *changes("conclude", [0.0] * 2, task="LaMP_2")]})
    table = faithful_rows(run)
    assert [cells[1:5] for cells in table] == [
        ["conclude", "6", "1.000", "0.188"],  # the mean of two tasks
        ["examine_examples", "4", "1.000", "0.938"], ["all steps", "4", "1.000", "0.188"]]
    assert table[0][0] == "GRPO 2, exploratory" and table[0][5].startswith("−0.812 (")
    assert "Does the answer depend on the chain?" in markdown(run) and "examine_examples" in markdown(run)
    page = render(run, {"report": "reports"})
    assert "<h2>Does the answer depend on the chain?</h2>" in page and "<td>0.938</td>" in page


def test_a_file_of_another_kind_is_no_table(run):
    for content in ([], {"explore": None}, {"explore": [{"id": "q"}, 3]}, {"explore": []}):
        write_json(run / FILE, content)
        assert faithful_rows(run) == []
