"""Settings: precedence, types, and errors that name the nearest key."""
import pytest

from tagpr_lite import config


def test_every_setting_has_help_and_every_preset_loads():
    assert all(text for _, _, text in config.fields())
    for preset in ("smoke", "cpu", "gpu", "paper"):
        assert config.load(preset).preset == preset


def test_overrides_win_and_are_typed():
    c = config.load("smoke", ["grpo.group=3", "sft.lr=1e-3", "lamp.tasks=LaMP_3,LaMP_1", "name=x",
                              "lamp.train_limit={default: 5, LaMP_3: 9}", "lamp.dev_limit=7"])
    assert (c.grpo.group, c.sft.lr, c.lamp.tasks, c.name) == (3, 1e-3, ["LaMP_3", "LaMP_1"], "x")
    assert c.lamp.train_limit == {"default": 5, "LaMP_3": 9} and c.lamp.dev_limit == {"default": 7}
    assert config.from_dict(config.to_dict(c)) == c


@pytest.mark.parametrize("word, says", [
    ("grpo.gruop=4", "did you mean 'grpo.group'"), ("nonsense=1", "unknown key"), ("grpo=4", "unknown key"),
    ("grpo.group=many", "should be int"), ("grpo.group=true", "should be int"),
    ("sft.lr=nan", "should be float"),
    ("lamp.train_limit={a: b}", "should be"), ("grpo.group", "key=value"),
    ("model.checkpointing=2", "should be bool")])
def test_bad_settings_are_one_clear_line(word, says):
    with pytest.raises(config.UserError) as e:
        config.load("smoke", [word])
    assert says in str(e.value) and "\n" not in str(e.value)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(config.UserError, match="cpu, gpu, paper, smoke"):
        config.load("cuda")
