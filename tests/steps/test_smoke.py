"""The whole method by `bash run_all.sh smoke`: once undisturbed, once killed in every step, and fed with bad
input."""
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from tagpr_lite import runs
from tagpr_lite.bench.inputs import bench_inputs
from tagpr_lite.bench.kills import differences
from tagpr_lite.config import load
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.plan.run_plan import SHOWN, TABLE
from tagpr_lite.steps import STEPS, step1_prepare, step2_tag

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "TAGPR_PYTHON": sys.executable}
GRPO = load("smoke").grpo


def run_all(*words, env=ENV, **more):
    return subprocess.run(["bash", str(ROOT / "run_all.sh"), *map(str, words)], env=env, capture_output=True,
                          text=True, cwd=ROOT, **more)


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """The folder of what every step of the undisturbed run has read (helpers/recorder)."""
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, records):
    """The folder of one undisturbed smoke run."""
    results = tmp_path_factory.mktemp("results")
    recorder = f"{ROOT / 'tests/helpers/recorder'}{os.pathsep}{ENV.get('PYTHONPATH', '')}"
    got = run_all("smoke", f"results={results}",
                  env=ENV | {"PYTHONPATH": recorder, "TAGPR_RECORDS": str(records)})
    assert got.returncode == 0, got.stdout[-2000:] + got.stderr[-4000:]
    return results / "smoke"


def test_all_eight_steps_are_done_and_real(smoke):
    for step in STEPS:
        assert json.loads((smoke / "manifests" / f"{step}.json").read_text())["done"]
    losses = [r["loss"] for r in runs.read_metrics(smoke, "sft")]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    for stage, steps in (("guided", GRPO.guided_steps), ("explore", GRPO.explore_steps)):
        rows = runs.read_metrics(smoke, stage)
        assert [r["index"] for r in rows] == list(range(steps))
        assert any(r["grad_norm"] > 0 for r in rows), f"{stage} never had a group with signal"
        assert all(0 <= r[t] <= 1 for r in rows for t in ("task", "format", "tag", "prmu"))
    assert runs.read_metrics(smoke, "guided")[0]["kl"] == 0
    assert {r["prmu"] for r in runs.read_metrics(smoke, "explore")} == {0.0}
    for system in ("base", "base_profile", "sft", "guided", "explore"):
        for task in json.loads((smoke / "data" / "summary.json").read_text())["tasks"]:
            scores = json.loads((smoke / "eval" / system / f"{task}.json").read_text())["scores"]
            assert scores["n"] > 0 and set(scores["strict"]) == set(scores["lenient"])
    adapters = {runs.digest(smoke / name / "adapter_model.safetensors")
                for name in ("sft/adapter", "guided/last", "explore/last")}
    assert len(adapters) == 3, "a stage left the adapter as it was"
    for stage, steps in (("guided", GRPO.guided_steps), ("explore", GRPO.explore_steps)):
        checks = runs.read_metrics(smoke, f"{stage}_check")
        due = sorted({*range(0, steps, GRPO.check_every), steps})
        assert [check["index"] for check in checks] == due and checks[0]["best"]
        assert 0 < checks[0]["reasoning"]["all"]["chains"] <= 1
        rollouts = runs.read_jsonl(smoke / stage / "rollouts.jsonl")
        assert len(rollouts) == steps * GRPO.prompts * GRPO.group
        assert {row["stage"] for row in rollouts} == {stage}


def test_a_second_run_skips_every_step(smoke):
    started = time.time()
    got = run_all("smoke", f"results={smoke.parent}")
    assert got.returncode == 0 and got.stdout.count("up to date, skipped") == len(STEPS)
    assert time.time() - started < 60


# Where the run lies, what shows its numbers, and how many rows are sampled at a time, change no result. All
# that the step `reward` takes of the size of GRPO's groups is how many prompts these rows are.
WITHOUT_EFFECT = {"name", "preset", "results", "track", "grpo.decode_rows", "model.threads"}
WITHOUT_EFFECT_ON = {
    # Whether anything asks PRMU decides whether the step is done at all.
    "reward": {"grpo.group", "evaluate.systems", "grpo.alpha_prmu", "grpo.guided_steps"},
    "guided": {"evaluate.batch"}, "explore": {"evaluate.batch"}}  # held-out questions answered together


@pytest.mark.parametrize("step", STEPS)
def test_whatever_a_step_reads_is_in_its_key(smoke, records, step):
    """Derived, not listed: a setting or a file that a step looks at decides whether it is done again."""
    read = json.loads(next(records.glob(f"{STEPS[step].module}-*.json")).read_text())
    manifest = json.loads((smoke / "manifests" / f"{step}.json").read_text())
    key = manifest["key"]
    sections = set(key["settings"])
    settings = {name for name in read["settings"] if not sections & {name, name.partition(".")[0]}}
    if step == "prepare":  # its table of the run is made anew, outside the key, when one of these changes
        settings = {name for name in settings if name.partition(".")[0] not in SHOWN}
    if step != "report":  # it shows the settings of config.yaml, which is its input
        assert not settings - WITHOUT_EFFECT - WITHOUT_EFFECT_ON.get(step, set())

    own = [*key["inputs"], *manifest["outputs"], "manifests", "metrics.jsonl", "config.yaml", TABLE]
    inside = [os.path.relpath(path, smoke) for path in read["files"] if path.startswith(f"{smoke}/")]
    unknown = [path for path in inside
               if not any(f"{path}/".startswith(f"{known}/") for known in own)
               and not any(part.startswith(".") for part in Path(path).parts)]  # .x.part: the writing of x
    assert not unknown
    model = str(runs.cache_folder() / "tiny-3")
    if any(path.startswith(f"{model}/") for path in read["files"]):
        assert model in key["models"]


def test_changed_files_and_words_are_a_result_or_one_line(smoke, capsys):
    """20 cases of each reader; `bench inputs` does thousands."""
    result = bench_inputs(500, seed=0, run=smoke)
    faults = [name for name, counts in result["readers"].items() if "fault" in counts]
    assert not faults, capsys.readouterr().out
    assert all(counts["refused"] >= 3 for counts in result["readers"].values())


def test_the_report_opens_in_a_browser(smoke, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here")
    got = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu",
                          "--disable-background-networking", "--disable-quic", "--no-first-run",
                          f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--dump-dom",
                          (smoke / "report.html").as_uri()], capture_output=True, text=True, timeout=90)
    assert "CONSOLE" not in got.stderr and "</html>" in got.stdout and "explore" in got.stdout


def made_by(folder, step):
    return json.loads((folder / "manifests" / f"{step}.json").read_text())["made"]


def test_killed_in_every_long_step_it_still_finishes_with_the_same_result(smoke, tmp_path):
    """kill -9 a little into each step of more than seconds, then do it to its end: adapters, heads, checks,
    rollouts, samples and scores equal the undisturbed run's, byte for byte but for times. The first two steps
    are taken over from that run.

    Each of these ten processes is a fork of one that has imported the libraries and computed nothing.
    """
    folder = tmp_path / "smoke"
    for part in ("data", "chains", "manifests"):
        shutil.copytree(smoke / part, folder / part)
    for path in (*(folder / "manifests").glob("*.json"), folder / "chains" / "pairs.jsonl",
                 folder / "chains" / "rollouts.jsonl"):
        if path.stem not in ("prepare", "tag"):
            path.unlink()
    shutil.copy(smoke / "plan.json", folder)
    sign = {"sft": lambda: len(metrics("sft")) > 30, "reward": lambda: len(metrics("reward")) > 1,
            "guided": lambda: len(metrics("guided")) > 1, "explore": lambda: len(metrics("explore")) > 0,
            "evaluate": lambda: any((folder / "samples").glob("guided@greedy.jsonl"))}
    metrics = lambda step: runs.read_metrics(folder, step) if (folder / "metrics.jsonl").exists() else []
    config = load("smoke", [f"results={tmp_path}"])
    modules = [STEPS[step].module for step in sign]
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(["tagpr_lite.engine.model", *modules])
    for (step, is_under_way), module in zip(sign.items(), modules, strict=True):
        main = import_module(module).main
        killed = fork.Process(target=main, args=(config,))
        killed.start()
        deadline = time.time() + 300
        while not is_under_way():
            assert time.time() < deadline and killed.is_alive()
            time.sleep(0.02)
        killed.kill()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL, step
        whole = fork.Process(target=main, args=(config,))
        whole.start()
        whole.join()
        assert whole.exitcode == 0, step
    of_the_report = ("report.", "manifests/report.", "config.yaml", "plan_table.json")
    different = [name for name in differences(smoke, folder) if not name.startswith(of_the_report)]
    assert not different
    for step in ("sft", "reward", "guided", "explore"):
        assert [r["index"] for r in metrics(step)] == [r["index"] for r in runs.read_metrics(smoke, step)]
    assert any(name.startswith("prmu/") for name in made_by(folder, "reward"))


# ---------------------------------------------------------------- bad input

def lamp_folder(at, questions=None, golds=None):
    at.mkdir(parents=True)
    good = {"id": "1", "input": f"{TASKS['LaMP_3'].instruction} fine",
            "profile": [{"id": "a", "text": "ok", "score": "4"}]}
    for split in ("train", "dev"):
        (at / f"{split}_questions.json").write_text(questions if isinstance(questions, str)
                                                    else json.dumps(questions or [good]))
        (at / f"{split}_outputs.json").write_text(json.dumps(
            {"task": "LaMP_3", "golds": golds if golds is not None else [{"id": "1", "output": "4"}]}))
    return good


def snapshot(folder):
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("case, says", [
    ("missing", "is not a folder"), ("not_json", "is not a JSON file"), ("no_gold", "gold"),
    ("empty_profile", "profile"),
    ("unknown_key", "unknown key 'grpo.gruop'"), ("unknown_tags", "unknown tag 'ponder'"),
    ("bad_chains", "unknown tag 'muse'"),
    ("no_model", "no such folder"), ("retriever", "bm25"),
    ("system", "evaluate.systems='sftt': known are base")])
def test_bad_input_is_one_line_exit_code_2_and_costs_nothing(smoke, tmp_path, capsys, case, says):
    shutil.copytree(smoke, tmp_path / "smoke")
    data, words = tmp_path / "data", []
    if case == "missing":
        words = [f"lamp.source={tmp_path}/nowhere"]
    elif case == "not_json":
        lamp_folder(data / "x", questions="[{")
    elif case == "no_gold":
        lamp_folder(data / "x", golds=[])
    elif case == "empty_profile":
        lamp_folder(data / "x", [{"id": "1", "input": f"{TASKS['LaMP_3'].instruction} fine", "profile": []}])
    elif case == "unknown_key":
        words = ["grpo.gruop=4"]
    elif case == "unknown_tags":
        (tmp_path / "tags.txt").write_text("\n".join("ponder understand_task examine_examples "
                                                     "identify_patterns conclude "
                                                     "infer_preferences analyze_query compare_options "
                                                     "verify_consistency".split()))
        words = [f"tag.tags_file={tmp_path}/tags.txt"]
    elif case == "bad_chains":
        one = json.loads((smoke / "chains" / "kept.jsonl").read_text().splitlines()[0])["id"]
        text = "<think>\n<muse>hm</muse>\n</think>\n5"
        (tmp_path / "chains.jsonl").write_text(json.dumps({"id": one, "text": text}) + "\n")
        words = [f"tag.chains={tmp_path}/chains.jsonl"]
    else:
        words = [{"no_model": "model.name=./nowhere", "retriever": "lamp.retriever=google",
                  "system": "evaluate.systems=sftt"}[case]]
    if data.exists():
        words = [f"lamp.source={data}"]
    before = snapshot(tmp_path / "smoke")
    words = [f"results={tmp_path}", "name=smoke", *words]
    if case == "unknown_key":
        got = run_all("smoke", *words)
        code, printed = got.returncode, got.stderr
    else:  # the first two steps in this process, as their commands do them
        with pytest.raises(SystemExit) as stop:
            runs.guard(lambda: [step.main(load("smoke", words)) for step in (step1_prepare, step2_tag)])
        code, printed = stop.value.code, capsys.readouterr().err
    assert code == 2
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and says in errors[0] and "Traceback" not in printed
    after = snapshot(tmp_path / "smoke")
    settings = {str(tmp_path / "smoke" / name) for name in ("config.yaml", "plan_table.json")}
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)} - settings
    assert not changed
