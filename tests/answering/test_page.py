"""The page of `serve` in a real browser: asked, read while it is written, corrected, at two widths."""
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.answering.test_serve import address, folder  # noqa: F401

DRIVER = Path(__file__).resolve().parents[1] / "helpers" / "browser.py"
BUTTON = "[...document.querySelectorAll('{where} button')].find(button => button.textContent === '{word}')"
WRITTEN = BUTTON.format(where=".reply", word="correct it")
FORGET = BUTTON.format(where="#items", word="forget")
ITEMS = "document.querySelectorAll('#items li').length"
CHOOSE = "(by('user').value = '{user}', by('model').value = '{task}', by('user').onchange(), 0)"
STEPS = [
    # A person of this width asks about a review that would like to be HTML.
    ["by('model').options.length > 1", "by('user').value = '{user}'"],
    ["true", "(by('model').value = 'LaMP_3', by('user').onchange(), 0)"],
    [f"{ITEMS} === 0", "by('text').value = 'A real bargain, <b>flimsy</b> plastic.'"],
    ["true", "(by('form').requestSubmit(), 0)"],
    # Another user and task are chosen. What is corrected to 2 joins the history of who has asked.
    [WRITTEN, CHOOSE.format(user="other", task="LaMP_2")],
    ["true", f"({WRITTEN}.click(), 0)"],
    ["document.querySelector('.reply form')", "document.querySelector('.reply form select').value = '2'"],
    ["true", "(document.querySelector('.reply form').requestSubmit(), 0)"],
    [f"!({WRITTEN})", CHOOSE.format(user="{user}", task="LaMP_3")],
    [f"{ITEMS} === 1", "{items: by('items').innerText, said: by('state').innerText, "
     "asked: document.querySelector('.asked').innerText, bold: document.querySelectorAll('#talk b').length, "
     "key: by('key').offsetParent !== null}"],
]


@pytest.mark.skipif(importlib.util.find_spec("PyQt6") is None, reason="PyQt6-WebEngine is not installed")
@pytest.mark.parametrize("width", [1200, 400])
def test_a_person_asks_and_corrects(address, tmp_path, width):
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(STEPS).replace("{user}", f"ann{width}"))
    done = subprocess.run([sys.executable, str(DRIVER), address, str(width), str(steps)], timeout=120,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["console"] == [] and found["width"] <= width  # nothing to scroll sideways
    value = found["value"]
    assert value["items"].startswith("2") and "<b>flimsy</b>" in value["items"] and value["said"] == ""
    assert value["asked"] == "A real bargain, <b>flimsy</b> plastic." and value["bold"] == 0
    assert not value["key"]  # the server wants none
