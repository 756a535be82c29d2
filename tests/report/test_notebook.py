"""The notebook of results/: its cells run as they stand, and show what they are there to show."""
import json
from pathlib import Path

import pytest

from tagpr_lite.config import UserError
from tagpr_lite.report import notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = json.loads((ROOT / "results" / "read_a_run.ipynb").read_text())
RUN = ROOT / "results" / "reference" / "cpu" / "seed-1"


def test_every_cell_runs_and_shows_something(monkeypatch, capsys):
    """Each cell is run as a notebook runs it: its last line, where it is an expression, is what is shown."""
    monkeypatch.chdir(ROOT / "results")
    space: dict = {}
    shown = []
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] != "code":
            continue
        *lines, last = "".join(cell["source"]).splitlines()
        try:
            expression = compile(last, "cell", "eval")
        except SyntaxError:
            expression, lines = None, [*lines, last]
        exec(compile("\n".join(lines), "cell", "exec"), space)
        if expression is not None and not last.startswith(" "):
            shown.append(eval(expression, space))
    pictures = [value for value in shown if isinstance(value, notebook.Picture)]
    texts = [value for value in shown if isinstance(value, notebook.Text)]
    assert len(pictures) == 3 and all(p._repr_html_().count("<svg") >= 3 for p in pictures)
    assert len(texts) == 5 and all(len(t._repr_markdown_()) > 100 for t in texts)
    assert "explore minus SFT is" in texts[0].markdown
    assert capsys.readouterr().out.count("held-out score [") == 3


def test_it_holds_no_outputs():
    """They would be figures that nobody has measured again."""
    assert not any(cell.get("outputs") for cell in NOTEBOOK["cells"])


def test_what_a_run_does_not_have_is_one_line():
    with pytest.raises(UserError, match="has no chart 'x'; it has .*GRPO, the reward"):
        notebook.drawings(RUN, "x")
    with pytest.raises(UserError, match="has no section 'x'; it has .*Differences"):
        notebook.section(RUN, "x")
