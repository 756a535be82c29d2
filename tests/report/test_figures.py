"""Pictures that stand alone: right numbers in, one well-formed SVG out."""
import xml.etree.ElementTree as ET

import pytest

from tagpr_lite.report import figures
from tagpr_lite.runs import write_json

CURVE = {"prompt": 1024, "group": 8, "completion": 64, "rows": [
    {"prompt": p, "group": g, "peak_mb": {"update": 900 + g}, "seconds": {"update": 1 + (p + 64 * g) / 100}}
    for p, g in ((1024, 2), (1024, 4), (1024, 8), (1024, 16), (256, 8), (512, 8), (2048, 8))]}


def test_growth_draws_every_point_and_the_slope(tmp_path):
    write_json(tmp_path / "curve.json", CURVE)
    figures.main(["growth", str(tmp_path / "curve.json"), str(tmp_path / "out" / "growth.svg")])
    svg = (tmp_path / "out" / "growth.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg") and "10.00 ms a token" in svg
    assert "G = 2, 4, 8, 16" in svg and "P = 256, 512, 1024, 2048" in svg
    assert svg.count("h0") == 4 + 4 + 2 + 4  # points by group, by prompt, of the line, of the peaks


def test_learning_has_a_line_a_run_and_a_table_of_scores(run, tmp_path, capsys):
    again = tmp_path / "again"
    again.symlink_to(run)
    figures.main(["learning", str(tmp_path / "learning.svg"), str(run), str(again)])
    svg = (tmp_path / "learning.svg").read_text()
    table = capsys.readouterr().out.splitlines()
    assert ET.fromstring(svg).tag.endswith("svg") and "reward, demo" in svg and "task, again" in svg
    assert len(table) == 2 + 2 * 3
    assert table[3].startswith("| demo | LaMP_3 | MAE |") and table[3].endswith("0.500 | 0.450 | 0.400 |")


def test_a_folder_without_grpo_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        figures.main(["learning", str(tmp_path / "x.svg"), str(tmp_path / "empty")])
    assert stop.value.code == 2 and "no GRPO stage" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["", "..", "notes.txt", "/dev/null", "x" * 5000])
def test_a_drawing_is_written_over_no_other_file(tmp_path, capsys, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        figures.main(["learning", out, str(tmp_path)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and "is no name of a drawing" in line and len(line) < 300
    assert (tmp_path / "notes.txt").read_text() == "mine"
