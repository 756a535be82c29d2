"""The listing of settings, and what is said of one."""
import pytest

from tagpr_lite import config
from tagpr_lite.config import __main__ as command
from tagpr_lite.config import explain, limits
from tagpr_lite.config.loading import PRESETS

KEYS = [key for key, _, _ in config.fields()]
TEXTS = {path.stem: path.read_text() for path in PRESETS.glob("*.yaml")}


def test_the_listing_has_every_setting_once_under_its_section():
    text = explain.listing()
    assert [line.split(" = ")[0] for line in text.splitlines() if " = " in line and line[0] != " "] == KEYS
    sections = [line.split(":")[0] for line in text.splitlines() if line.startswith("# ")]
    assert sections == ["# run", "# lamp", "# prompt", "# model", "# tag", "# sft", "# reward", "# grpo",
                        "# evaluate"]


def test_a_word_is_looked_for_in_names_and_helps():
    text = explain.listing("clip")
    assert "grpo.clip_low" in text and "grpo.clip_high" in text and "grpo.group" not in text
    assert "lamp.k = " in explain.listing("Profile items shown")
    with pytest.raises(config.UserError, match="no setting has 'zebra'"):
        explain.listing("zebra")


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_is_explained(key):
    text = explain.explain(key)
    assert text.startswith(f"{key} = ")
    assert all(f"    {preset}: " in text for preset in TEXTS)
    if key in limits.WORDS:
        assert str(limits.WORDS[key][-1]) in text


def test_what_a_preset_sets_and_why():
    text = explain.explain("grpo.group")
    assert "from 2 to 4096 (the completions of a group are compared" in text
    assert f"cpu: {config.load('cpu').grpo.group} # a group of 8" in text
    assert "paper: the default" in explain.explain("lamp.train_limit")


def test_how_a_setting_is_written_that_is_no_number():
    own_term = " ".join(explain.explain("grpo.reward").split())
    assert "empty, or FILE.py:FUNCTION such as my_terms.py:brevity" in own_term
    assert "The function gets (text, question)" in own_term
    assert "one of (empty), tensorboard, trackio" in explain.explain("track")
    assert config.load("smoke", ["grpo.reward=a folder/my_terms.py:brevity"]).grpo.reward.endswith(":brevity")


@pytest.mark.parametrize("preset", sorted(TEXTS))
def test_every_setting_of_a_preset_has_its_reason(preset):
    set_there = {key for key, _ in config.flatten(config.parse_yaml(TEXTS[preset]))}
    assert set(explain.reasons(TEXTS[preset])) == set_there


def test_a_value_may_hold_a_colon_and_a_brace():
    text = "lamp:\n  train_limit: {default: 50, LaMP_3: 110}  # ratings: most\nseed: 3  # three\nname: x\n"
    assert explain.reasons(text) == {"lamp.train_limit": "ratings: most", "seed": "three"}


def test_the_command(capsys):
    command.main(["--explain", "grpo.beta"])
    assert capsys.readouterr().out.startswith("grpo.beta = 0.0")
    with pytest.raises(SystemExit) as ended:
        command.main(["--explain", "grpo.bta"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: there is no setting 'grpo.bta'; did you mean 'grpo.beta'?\n"
