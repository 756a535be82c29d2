"""Settings: precedence, types, and errors that name the nearest key."""
import pytest

from tagpr_lite import config
from tagpr_lite.config import limits
from tagpr_lite.grpo import losses
from tagpr_lite.lamp import leaks, prompts
from tagpr_lite.steps import step5_guided
from tagpr_lite.tags import schema
from tagpr_lite.tags.teachers import teacher


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


# ---------------------------------------------------------------- what cannot work is refused at once

@pytest.mark.parametrize("word, says", [
    ("grpo.group=1", "grpo.group=1 is outside 2 to 4096: the completions of a group"),
    ("grpo.temperature=0", "completions that are all equal"), ("grpo.temperature=-1", "outside"),
    ("grpo.completion=4", "a tagged chain is longer"), ("grpo.std_floor=-1", "outside"),
    ("grpo.trained=1", "compared with each other"), ("grpo.trained=-1", "outside"),
    ("sft.lr=1e30", "outside 0 to 10"), ("sft.epochs=1e30", "outside"),
    ("grpo.alpha_own=-1", "outside 0 to 1000"), ("track=wandb", "known are (empty), tensorboard, trackio"),
    ("grpo.reward=my_terms", "it is empty, or FILE.py:FUNCTION"), ("grpo.reward=my_terms.py:a-b", "FUNCTION"),
    ("grpo.reward=my_terms.py:3d", "FUNCTION"), ("grpo.reward=:brevity", "FUNCTION"),
    ("grpo.reward=[a.py:f]", "should be str"),
    ("grpo.lr=-1", "outside"), ("sft.batch=0", "outside"), ("reward.pairs=-1", "outside"),
    ("grpo.guided_steps=-1", "outside"), ("grpo.save_every=0", "outside"), ("grpo.micro=0", "outside"),
    ("tag.percentile=101", "outside 0 to 100"), ("evaluate.batch=0", "outside"),
    ("reward.tokens=0", "outside"),
    ("model.bits=3", "model.bits=3: known are 4, 32"), ("model.lora_r=0", "outside"),
    ("model.threads=-1", "outside"), ("grpo.loss=x", "known are grpo, dapo"),
    ("grpo.layout=x", "known are two_phase"),
    ("evaluate.systems=[sft, x]", "evaluate.systems='x': known are"),
    ("evaluate.systems=[]", "evaluate.systems is empty"), ("lamp.retriever=bm52", "known are bm25"),
    ("lamp.exclude=[gold, x]", "known are gold"), ("lamp.train_limit={default: -3}", "a limit below 0"),
    ("name=../../x", "no plain name"), ("name=/etc/x", "no plain name"), ("name=..", "no plain name"),
    ("grpo.overlong=100000", "more than grpo.completion"), ("seed=" + "9" * 5000, "should be int"),
    ("grpo.group=" + "9" * 4000, "very many digits is outside"), ("sft.lr=" + "9" * 400, "should be float"),
    ("tag.extra=" + "[" * 3000, "should be dict"),
    ("seed={a: &a [1, 2], b: *a}", "should be int")])
def test_settings_that_cannot_work_are_one_short_line(word, says):
    with pytest.raises(config.UserError) as error:
        config.load("smoke", [word])
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 300


def test_every_number_and_every_choice_has_bounds():
    """A setting that is added must be given them."""
    for key, default, _ in config.fields():
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            assert (key in limits.NUMBERS) != (key in limits.WORDS), key
    assert set(limits.NUMBERS) | set(limits.WORDS) | set(limits.WHY) <= {key for key, _, _ in config.fields()}
    assert limits.WORDS["grpo.layout"] == config.LAYOUTS


def test_the_words_that_are_allowed_are_those_that_the_steps_know():
    """The lists stand beside the code that reads them, on floors that settings cannot import."""
    for key, known in (("lamp.exclude", leaks.KINDS), ("prompt.style", prompts.STYLES),
                       ("sft.form", schema.FORMS), ("tag.teacher", teacher.KINDS),
                       ("grpo.loss", losses.KINDS), ("grpo.prmu_scale", step5_guided.SCALES),
                       ("grpo.prmu_users", step5_guided.USERS)):
        assert limits.WORDS[key] == tuple(known), key


@pytest.mark.parametrize("text, says", [
    ("a: &a [x]\nseed: *a", "alias"), ("seed: !!python/object/apply:os.system ['true']", "tag"),
    ("name: 2026-02-30", None), ("[" * 5000, "nested too deeply"), ("seed: 1\nseed: [", "not YAML"),
    ("\ufeffseed: 3", None)])
def test_a_preset_is_plain_yaml_or_one_line(tmp_path, text, says):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    if says is None and "seed" in text:
        assert config.load(str(path)).seed == 3
        return
    with pytest.raises(config.UserError) as error:
        config.load(str(path))
    assert (says or "not YAML") in str(error.value) and "\n" not in str(error.value)


def test_a_preset_that_is_no_utf8_is_one_line(tmp_path):
    (tmp_path / "p.yaml").write_bytes("name: Zürich".encode("latin-1"))
    with pytest.raises(config.UserError, match="is not YAML: 'utf-8'"):
        config.load(str(tmp_path / "p.yaml"))


@pytest.mark.parametrize("url", ["http://user:sesame@host/v1", "https://host/v1?api_key=sesame",
                                 "https://host/v1?x=1&Token=sesame"])
def test_a_key_in_an_address_is_refused_and_not_repeated(url):
    """The settings stand in config.yaml and on the report's page."""
    for key in ("tag.url", "tag.label_url"):
        with pytest.raises(config.UserError, match="OPENAI_API_KEY") as error:
            config.load("smoke", [f"{key}={url}"])
        assert "sesame" not in str(error.value)
    assert config.load("smoke", ["tag.url=http://host:8000/v1?version=2"]).tag.url.endswith("version=2")
