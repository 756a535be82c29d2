"""Every variant of campaigns/variants.yaml trains and is evaluated, on a model of two layers and a few
questions; and what makes no sense is refused."""
import shutil

import pytest

from tagpr_lite import campaign, config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.grpo import groups, rewards
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.runs import digest, read_json, read_metrics, seed_of
from tagpr_lite.steps import (
    step1_prepare,
    step2_tag,
    step3_sft,
    step4_reward,
    step5_guided,
    step6_explore,
    step7_evaluate,
)

VARIANTS = campaign.read("variants")["variants"]
STEPS = (step1_prepare, step2_tag, step3_sft, step4_reward, step5_guided, step6_explore, step7_evaluate)
SMALL = ["lamp.tasks=[LaMP_3]", "lamp.mini_users=12", "lamp.train_limit=16", "lamp.dev_limit=8",
         "model.lora_r=4", "sft.epochs=2", "tag.samples=8", "reward.pairs=8", "reward.reported=8",
         "reward.rollouts=0", "reward.epochs=1", "reward.heldout=0.3", "reward.history=3", "reward.tokens=2",
         "grpo.prompts=2", "grpo.guided_steps=1", "grpo.explore_steps=1", "grpo.completion=24",
         "grpo.guard_accuracy=0", "grpo.check_every=0"]


def settings(results, variant, *more):
    words = [f"results={results}", "name=run", *SMALL, *campaign.as_words(VARIANTS[variant])]
    return config.load("smoke", [*words, "evaluate.systems=[sft, guided, explore]", *more])


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The folder of the whole method."""
    results = tmp_path_factory.mktemp("full")
    for step in STEPS:
        step.main(settings(results, "full"))
    return results / "run"


@pytest.fixture
def done(full, tmp_path, capsys):
    """A function variant -> (folder, what was printed) of its run, which begins as a copy of the full one."""
    def run(variant):
        if not (tmp_path / "run").exists():
            shutil.copytree(full, tmp_path / "run")
        capsys.readouterr()
        for step in STEPS:
            step.main(settings(tmp_path, variant))
        return tmp_path / "run", capsys.readouterr().out
    return run


@pytest.fixture(scope="module", autouse=True)
def made_up_rewards():
    """Made-up rewards, a function of the text: such a small policy writes no chain, and all would be 0."""
    def made_up(text, ended, question, teaching, thinks=True):
        return Terms(task=seed_of(text) % 100 / 100, format=1.0, tag=len(text) % 7 / 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "terms", made_up)
        yield


# {variant: steps that are made again}; the others are up to date
AGAIN = {"no_sft": "sft reward guided explore evaluate",
         "sft_without_profile": "sft reward guided explore evaluate",
         "untagged": "sft guided explore evaluate", "answers": "sft guided explore evaluate",
         "task_alone": "guided explore evaluate", "no_tag_term": "guided explore evaluate",
         "no_prmu": "guided explore evaluate", "blind": "reward guided explore evaluate",
         "shuffled": "guided explore evaluate", "no_guided": "guided explore evaluate",
         "guided_alone": "guided explore evaluate"}
WITHOUT_PRMU = ("untagged", "answers", "task_alone", "no_prmu", "no_guided")


SHORT = ("no_sft", "answers", "no_guided")  # the others are of their kinds


@pytest.mark.parametrize("variant", [name if name in SHORT else pytest.param(name, marks=pytest.mark.long)
                                     for name in VARIANTS if name != "full"])
def test_a_variant_runs_to_its_end(full, done, variant):
    folder, said = done(variant)
    for step in AGAIN[variant].split():
        assert f"[{step}] done" in said, step
    assert said.count("up to date, skipped") == 7 - len(AGAIN[variant].split()) - (variant in WITHOUT_PRMU)
    assert ("[reward] skipped: nothing asks PRMU" in said) == (variant in WITHOUT_PRMU)
    for system in ("sft", "guided", "explore"):
        evaluated = read_json(folder / "eval" / system / "LaMP_3.json")
        assert evaluated["scores"]["n"] == 8 and (evaluated["reasoning"] is None) == (variant == "answers")
    adapters = {stage: digest(folder / stage / "adapter/adapter_model.safetensors")
                for stage in ("sft", "guided", "explore")}
    guided, explore = (read_metrics(folder, stage) for stage in ("guided", "explore"))
    assert len(guided) == (variant != "no_guided") and len(explore) == (variant != "guided_alone")
    if variant == "no_guided":
        assert adapters["guided"] == adapters["sft"]
    if variant == "guided_alone":
        assert adapters["explore"] == adapters["guided"]
    assert any(row["prmu"] for row in guided) == (variant not in WITHOUT_PRMU)
    assert not any(row["prmu"] for row in explore)


def test_without_prmu_there_need_be_none(full, done, tmp_path):
    shutil.copytree(full, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "prmu")
    (tmp_path / "run" / "manifests" / "reward.json").unlink()
    folder, _ = done("task_alone")
    assert not (folder / "prmu").exists()
    with pytest.raises(UserError, match="guided: .*prmu is missing"):
        step5_guided.main(settings(tmp_path, "no_tag_term"))


def test_a_system_that_asks_prmu_wants_it_trained(tmp_path, capsys):
    words = ["grpo.alpha_prmu=0", "evaluate.systems=[explore@prmu8]"]
    with pytest.raises(UserError, match="is missing; run the steps before it first"):
        step4_reward.main(settings(tmp_path, "full", *words))  # it is not skipped
    step4_reward.main(settings(tmp_path, "full", "grpo.alpha_prmu=0"))
    assert "[reward] skipped" in capsys.readouterr().out


def test_no_sft_is_the_base_with_a_fresh_adapter(done):
    folder, said = done("no_sft")
    assert "sft.epochs=0: no SFT" in said and not read_metrics(folder, "sft")
    conf = settings(folder.parent, "no_sft")
    model, _ = engine.load(conf.model)
    model = engine.load_adapter(model, folder / "sft" / "adapter", "policy")
    matrices = engine.adapter_parameters(model, "policy")
    assert all(not matrix.any() for name, matrix in matrices.items() if "lora_B" in name)
    assert all(matrix.any() for name, matrix in matrices.items() if "lora_A" in name)


def test_bare_answers_are_rewarded_for_their_form(done, monkeypatch):
    """The policy is asked for an answer at once, and is paid where it gives one."""
    monkeypatch.setattr(groups, "terms", rewards.terms)
    folder, _ = done("answers")
    assert any(row["format"] > 0 for stage in ("guided", "explore") for row in read_metrics(folder, stage))


@pytest.mark.parametrize("form", ["untagged", "answer"])
@pytest.mark.parametrize("words, refused", [
    ([], True), (["grpo.alpha_tag=0"], True), (["grpo.alpha_prmu=0"], True),
    (["grpo.alpha_tag=0", "grpo.alpha_prmu=0"], False), (["grpo.guided_steps=0"], False)])
def test_what_reads_tags_is_refused_for_other_forms(full, form, words, refused):
    conf = settings(full.parent, "full", f"sft.form={form}", *words)
    if refused:
        with pytest.raises(UserError, match=f"sft.form={form}: the tag and PRMU terms read") as error:
            step5_guided.grpo_settings(conf, full)
        assert "\n" not in str(error.value)
    else:
        assert step5_guided.grpo_settings(conf, full).sft.form == form
