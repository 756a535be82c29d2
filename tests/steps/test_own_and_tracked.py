"""Stage 1 with a person's own term, and a stage that is tracked: real steps, on a model of two layers."""
import json
import shutil
import sys

import pytest

from tagpr_lite import config, runs
from tagpr_lite.grpo import groups
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.steps import step1_prepare, step2_tag, step3_sft, step5_guided, step6_explore

SMALL = ["lamp.tasks=[LaMP_3]", "lamp.mini_users=12", "lamp.train_limit=16", "lamp.dev_limit=8",
         "model.lora_r=4", "sft.epochs=0", "tag.samples=8", "grpo.prompts=2", "grpo.group=4",
         "grpo.guided_steps=2", "grpo.explore_steps=1", "grpo.completion=24", "grpo.alpha_prmu=0",
         "grpo.check_every=1"]
SHARE_OF_A = "def share_of_a(text, question):\n    return text.count('a') / max(1, len(text))\n"
# A library in the place of Trackio that writes down what it is given.
STUB = """
def init(project, name, resume): pass
def finish(): pass
def log(metrics, step):
    with open(__file__ + ".log", "a") as stream:
        stream.write(f"{step} {sorted(metrics)}\\n")
"""


def settings(results, *more):
    return config.load("smoke", [f"results={results}", "name=run", *SMALL, *more])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of results of a run whose first three steps are done."""
    results = tmp_path_factory.mktemp("begun")
    for step in (step1_prepare, step2_tag, step3_sft):
        step.main(settings(results))
    return results


@pytest.fixture
def results(begun, tmp_path, monkeypatch):
    """A copy of it. Such a small policy writes no chain, so every completion counts as one in form."""
    shutil.copytree(begun / "run", tmp_path / "run")
    monkeypatch.setattr(groups, "terms", lambda text, *_: Terms(len(text) % 7 / 7, 1.0, len(text) % 5 / 5))
    return tmp_path


def adapters(folder):
    return {name: runs.digest(folder / name) for name in ("guided/adapter", "guided/last")}


def guided(results, *more):
    step5_guided.main(settings(results, *more))


# ---------------------------------------------------------------- a person's own term

def test_the_own_term_is_rewarded_in_stage_1_alone(results, tmp_path):
    (tmp_path / "my_terms.py").write_text(SHARE_OF_A)
    own = [f"grpo.reward={tmp_path}/my_terms.py:share_of_a", "grpo.alpha_own=0.7"]
    guided(results, *own)
    step6_explore.main(settings(results, *own))
    rows = runs.read_jsonl(results / "run/guided/rollouts.jsonl")
    assert len(rows) == 2 * 2 * 4
    for row in rows:
        found = row["terms"]
        assert found["own"] == pytest.approx(row["text"].count("a") / max(1, len(row["text"])), abs=1e-5)
        reward = found["task"] + 0.2 * found["tag"] + 0.7 * found["own"]
        assert row["reward"] == pytest.approx(reward, abs=5e-5)
    for line in runs.read_metrics(results / "run", "guided"):
        values = [row["terms"]["own"] for row in rows if row["step"] == line["index"]]
        assert line["own"] == pytest.approx(sum(values) / len(values), abs=2e-5) and line["own"] > 0
    assert all("own" not in line for line in runs.read_metrics(results / "run", "explore"))
    assert all("own" not in row["terms"] for row in runs.read_jsonl(results / "run/explore/rollouts.jsonl"))


def test_a_change_of_the_file_makes_the_step_run_anew(results, tmp_path, capsys):
    path = tmp_path / "my_terms.py"
    own = [f"grpo.reward={path}:share_of_a", "grpo.guided_steps=1", "grpo.check_every=0"]
    other = SHARE_OF_A.replace("'a'", "'e'")
    for source, says in ((SHARE_OF_A, "done in"), (SHARE_OF_A, "up to date"), (other, "done in"),
                         (SHARE_OF_A, "put back")):
        path.write_text(source)
        guided(results, *own)
        assert says in capsys.readouterr().out
    key = json.loads((results / "run/manifests/guided.json").read_text())["key"]
    assert key["outside"] == {str(path): runs.digest(path)}


@pytest.mark.parametrize("source, name, says", [
    (None, "f", "is not a file"), ("def f(", "f", "is no Python"), ("x = 1", "f", "has no f"),
    ("def f(text): return 1", "f", "is no function of two arguments"), ("1 / 0", "f", "cannot be loaded")])
def test_a_term_that_is_none_is_one_line_before_anything_is_trained(results, tmp_path, monkeypatch, capsys,
                                                                    source, name, says):
    if source is not None:
        (tmp_path / "my_terms.py").write_text(source)
    monkeypatch.setattr(step5_guided, "load_policy", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(SystemExit) as ended:
        runs.guard(lambda: guided(results, f"grpo.reward={tmp_path}/my_terms.py:{name}"))
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.count("\n") == 1
    assert line.startswith("error: grpo.reward: ") and "my_terms.py" in line and says in line
    assert not (results / "run/guided").exists() and not (results / "run/manifests/guided.json").exists()


@pytest.mark.parametrize("expression, says", [
    ("2.0", "returned 2.0 for question"), ("float('nan')", "returned nan for question"),
    ("question.stars", "raised AttributeError: 'Question' object has no attribute 'stars' for question")])
def test_a_bad_result_ends_the_stage_in_one_line(results, tmp_path, capsys, expression, says):
    (tmp_path / "my_terms.py").write_text(f"def f(text, question): return {expression}")
    with pytest.raises(SystemExit) as ended:
        runs.guard(lambda: guided(results, f"grpo.reward={tmp_path}/my_terms.py:f", "grpo.check_every=0"))
    line, = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert ended.value.code == 2 and f"{tmp_path}/my_terms.py:f {says}" in line


def test_where_stage_1_has_no_steps_the_file_is_not_asked_for(results):
    guided(results, "grpo.reward=nowhere.py:f", "grpo.guided_steps=0", "grpo.check_every=0")
    assert (results / "run/guided/adapter").is_dir()


# ---------------------------------------------------------------- tracked

def test_a_tracked_stage_has_the_same_results(results, tmp_path, monkeypatch):
    guided(results)
    plain = adapters(results / "run")
    rollouts = (results / "run/guided/rollouts.jsonl").read_bytes()
    shutil.rmtree(results / "run/guided")
    (results / "run/manifests/guided.json").unlink()
    (results / "run/metrics.jsonl").unlink()

    runs.write_text(tmp_path / "library/trackio.py", STUB)
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    sys.modules.pop("trackio", None)
    guided(results, "track=trackio")
    del sys.modules["trackio"]
    assert adapters(results / "run") == plain
    assert (results / "run/guided/rollouts.jsonl").read_bytes() == rollouts
    sent = (tmp_path / "library/trackio.py.log").read_text().splitlines()
    assert [line.split()[0] for line in sent if "guided/reward" in line] == ["0", "1"]
    assert [line.split()[0] for line in sent if "guided_check/score" in line] == ["0", "1", "2"]
