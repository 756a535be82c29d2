"""The words `auto` and `official` in step 1: fetched, replaced and said, and never replaced where named."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hub_site import hub_site  # noqa: F401 (a fixture)
from lamp_site import serve_mini, site  # noqa: F401 (site is a fixture)

from tagpr_lite.config import UserError, from_dict, load
from tagpr_lite.engine import location
from tagpr_lite.lamp.official import obtain
from tagpr_lite.plan.run_plan import RunPlan, follow, read_plan
from tagpr_lite.report.markdown import markdown
from tagpr_lite.report.page import render
from tagpr_lite.runs import read_json
from tagpr_lite.steps import STEPS, preset, step1_prepare

ROOT = Path(__file__).resolve().parents[2]
AUTO = ("lamp.source=auto", "model.name=auto", "model.vram=4", "lamp.tasks=LaMP_3")
NAME = "Qwen/Qwen3-0.6B"


@pytest.fixture
def servers(site, hub_site, monkeypatch, tmp_path):
    """(LaMP's site, the hub), an empty folder to run in, and the tiny model in the place of SmolLM2."""
    serve_mini(site, ["LaMP_3"])
    monkeypatch.setenv(obtain.MIRROR, site.url)
    monkeypatch.setattr(obtain, "REACH", 0.3)
    monkeypatch.setitem(location.CACHED, "smollm2", location.CACHED["tiny"])
    monkeypatch.chdir(tmp_path)
    return site, hub_site


def down(site, hub_site):
    site.heads = ["503"] * 9999
    hub_site.manner = "503"


def prepare(*words):
    config = load("smoke", ["results=results", *words])
    step1_prepare.main(config)
    return config.folder


def test_what_cannot_be_had_is_replaced_and_the_next_start_has_it(servers, capsys):
    site, hub_site = servers
    down(site, hub_site)
    folder = prepare(*AUTO)
    said = capsys.readouterr().out.splitlines()
    lines = [f"model.name=auto: {NAME} cannot be had (the hub answered 503); SmolLM2-135M-Instruct takes its "
             "place; the next start tries again",
             f"lamp.source=auto: the official LaMP files cannot be had ({site.url}/time/LaMP_3/train/"
             "train_questions.json: the server answered 503); the built-in benchmark takes their place; the "
             "next start tries again"]
    assert said[:2] == lines and said[2] == "[prepare] started"
    plan = read_plan(folder)
    assert (plan.source, plan.model, plan.replaced) == ("mini", "smollm2", lines)
    shown = yaml.safe_load((folder / "config.yaml").read_text())
    assert (shown["lamp"]["source"], shown["model"]["name"]) == ("mini", "smollm2")

    # The same again: said again, and nothing is made twice.
    prepare(*AUTO)
    said = capsys.readouterr().out.splitlines()
    assert said == [*lines, "[prepare] up to date, skipped"]

    # Both can be had: step 1 is done again, in the same folder.
    site.heads, hub_site.manner = [], ""
    assert prepare(*AUTO) == folder == Path("results/smoke")
    said = capsys.readouterr().out
    assert "takes" not in said and "[prepare] started" in said
    plan = read_plan(folder)
    assert (plan.source, plan.model, plan.replaced) == ("data/lamp/time", NAME, [])
    summary = read_json(folder / "data/summary.json")["tasks"]
    assert {task: told["source"] for task, told in summary.items()} == {"LaMP_3": "data/lamp/time"}
    shown = from_dict(yaml.safe_load((folder / "config.yaml").read_text()))
    assert shown.folder == folder and shown.lamp.source == "data/lamp/time" and shown.model.name == NAME
    followed = follow(load("smoke", ["results=results", *AUTO]), plan)
    assert followed.folder == folder and followed.lamp.source == "data/lamp/time"

    # What is here needs neither server, and nobody is asked.
    down(site, hub_site)
    asked = len(site.asked), len(site.log), len(hub_site.log)
    prepare(*AUTO)
    assert capsys.readouterr().out == "[prepare] up to date, skipped\n"
    assert (len(site.asked), len(site.log), len(hub_site.log)) == asked


@pytest.mark.parametrize("words, says", [
    (["lamp.source=official", "lamp.tasks=LaMP_3"], "lamp.source=official: the official LaMP files cannot be "
                                                    "had .*503"),
    ([f"model.name={NAME}"], f"model '{NAME}' cannot be had: the hub answered 503"),
    (["lamp.source=auto", "lamp.tasks=LaMP_33"], "unknown task 'LaMP_33'"),
    (["lamp.source=data/lamp/time"], "is not a folder; use `mini`, `auto` or `official`"),
    (["model.name=./nowhere"], "no such folder")])
def test_what_is_named_is_never_replaced(servers, words, says):
    down(*servers)
    with pytest.raises(UserError, match=says):
        prepare(*words)
    assert not Path("results").exists()


def test_a_source_that_is_no_folder_is_refused_before_a_model_is_fetched(servers):
    with pytest.raises(UserError, match="is not a folder"):
        prepare("lamp.source=nowhere", f"model.name={NAME}")
    assert servers[1].log == []


def test_official_has_a_folder_of_its_own(servers):
    assert prepare("lamp.source=official", "lamp.tasks=LaMP_3") == Path("results/smoke-official")
    assert read_plan(Path("results/smoke-official")).source == "data/lamp/time"
    assert load("gpu", []).folder == Path("results/gpu")
    assert load("paper", []).folder == Path("results/paper")
    assert load("gpu", ["lamp.source=data/lamp/time"]).folder == Path("results/gpu-time")


def test_a_plan_of_an_earlier_version_is_read(servers):
    folder = prepare("lamp.tasks=LaMP_3")
    plan = read_json(folder / "plan.json")
    del plan["source"], plan["replaced"]
    config = load("smoke", ["results=results", "lamp.tasks=LaMP_3"])
    assert follow(config, RunPlan(**plan)) == follow(config, read_plan(folder))


def test_the_report_says_at_its_top_what_was_replaced(servers):
    folder = prepare("lamp.tasks=LaMP_3")
    plan = read_json(folder / "plan.json")
    plan["replaced"] = ["<script>x</script> takes its place \x1b[2J"]
    (folder / "plan.json").write_text(json.dumps(plan))
    page, table = render(folder, {name: step.about for name, step in STEPS.items()}), markdown(folder)
    for text in (page, table):
        assert "<script" not in text and "\x1b" not in text
        assert "&lt;script&gt;x&lt;/script&gt; takes its place \\x1b[2J" in text
    assert page.index("takes its place") < page.index("Eight steps")
    assert table.index("takes its place") < table.index("## ")
    (folder / "plan.json").write_text('{"replaced": 5}')
    assert "Replaced" not in markdown(folder)


# ---------------------------------------------------------------- the preset

def test_a_card_gives_gpu_and_no_card_gives_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(11.6 * 2**30), 12 * 2**30))
    assert preset.choice() == "a CUDA card with 11.6 GiB free: preset gpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert preset.choice() == "no CUDA card: preset cpu"


@pytest.mark.parametrize("line", ["a CUDA card with 11.6 GiB free: preset gpu", "no CUDA card: preset cpu"])
def test_run_all_says_why_it_takes_a_preset(tmp_path, line):
    wrapper = tmp_path / "python"
    wrapper.write_text('#!/bin/sh\ncase "$2" in\n'
                       f'tagpr_lite.steps.preset) echo "{line}";;\n'
                       'tagpr_lite.steps) echo one two;;\n*) echo "$@";;\nesac\n')
    wrapper.chmod(0o755)
    for words, first in (([], [line]), (["paper"], [])):
        got = subprocess.run(["bash", str(ROOT / "run_all.sh"), *words, "--vram", "8"], capture_output=True,
                             text=True, env={**os.environ, "TAGPR_PYTHON": str(wrapper)}, check=False)
        name = words[0] if words else line.split()[-1]
        steps = [f"-m {step} --preset {name} model.vram=8" for step in ("one", "two")]
        assert got.stdout.splitlines() == first + steps


def test_the_preset_gpu_without_a_card_is_one_line(servers):
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(UserError, match="no CUDA card, .*--vram N .*the preset cpu"):
        step1_prepare.main(load("gpu", ["results=results"]))
    got = subprocess.run([sys.executable, "-m", "tagpr_lite.steps.preset"], capture_output=True, text=True,
                         check=False)
    assert got.stdout == "no CUDA card: preset cpu\n"
