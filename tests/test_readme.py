"""Every command of README.md runs, as it stands there, and every file that it names exists.

The commands are read out of its fenced blocks. `bash run_all.sh` is the real script with a Python that does
no step and notes what it was asked for; `python -m` is run in this process. The steps themselves run in
steps/test_smoke.py, the lessons in lessons/test_lessons.py.
"""
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tagpr_lite import config, lessons, runs
from tagpr_lite.lamp.own import load_own
from tagpr_lite.steps import STEPS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
COMMANDS = [line.partition("  #")[0].strip() for kind, block in BLOCKS if kind == "bash"
            for line in block.splitlines() if line.strip()]
SCRIPT = [command for command in COMMANDS if command.startswith("bash run_all.sh")]
LESSONS = [command for command in COMMANDS if command.startswith("python -m tagpr_lite.lessons.")]
OF_A_RUN = [command for command in COMMANDS
            if re.match(r"python -m tagpr_lite\.(ask|serve|export|submit) ", command)]
MODULES = [command for command in COMMANDS if command.startswith("python -m ")
           and command not in LESSONS + OF_A_RUN]
# What a Python in the place of the real one answers: a preset and the steps; of all else it notes the words.
STUB = """#!/bin/sh
case "$2" in
tagpr_lite.steps.preset) echo "no CUDA card: preset cpu";;
tagpr_lite.steps) echo one;;
*) echo "ASKED $@";;
esac
"""
LONGEST_SENTENCE = 30  # words
PAGES = ("README.md", "tagpr_lite/README.md", "results/README.md")


def test_every_command_is_of_a_kind_that_is_tested():
    assert sorted(COMMANDS) == sorted(SCRIPT + LESSONS + MODULES + OF_A_RUN)
    in_tables = re.findall(r"^\|.*`python -m tagpr_lite\.bench (\w+)[^`]*` \|$", README, re.M)
    assert in_tables == ["kills", "inputs", "soak"]  # tests/bench/test_kills.py, steps/test_smoke.py
    assert len(SCRIPT) >= 6 and len(MODULES) >= 4


@pytest.mark.parametrize("command", SCRIPT)
def test_a_command_of_the_script(command, tmp_path):
    stub = tmp_path / "python"
    stub.write_text(STUB)
    stub.chmod(0o755)
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=True,
                          env=os.environ | {"TAGPR_PYTHON": str(stub)})
    asked = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith("ASKED")]
    assert asked, done.stdout
    word = (shlex.split(command) + [""])[2]
    if word == "test":
        assert [words[1] for words in asked] == ["ruff", "pytest"]
    elif word == "doctor":
        assert [words[1] for words in asked] == ["tagpr_lite.doctor"]
    else:  # a run: the preset and the settings that each step gets are ones that can be read
        preset = asked[0][asked[0].index("--preset") + 1]
        settings = [setting for setting in asked[0] if "=" in setting]
        assert preset == (word if word else "cpu")
        assert config.load(preset, settings).preset == preset


def test_the_lessons_are_all_there_and_in_order():
    assert [command.rpartition(".")[2] for command in LESSONS] == \
        re.findall(r"^    python -m tagpr_lite\.lessons\.(\w+)", lessons.__doc__, re.M)


@pytest.mark.parametrize("command", MODULES)
def test_a_command_of_a_module(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outputs = {"task": "LaMP_3", "golds": [{"id": "1", "output": "4"}, {"id": "2", "output": "5"}]}
    Path("golds.json").write_text(json.dumps(outputs))
    Path("mine.json").write_text(json.dumps(outputs))
    words = shlex.split(command)
    monkeypatch.setattr(sys, "argv", words[2:])
    monkeypatch.setattr(runs, "keep_memory", lambda: None)  # it would start the process anew
    monkeypatch.setattr("tagpr_lite.runs.commands.keep_memory", lambda: None)
    runpy.run_module(words[2], run_name="__main__", alter_sys=False)
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 2, printed


@pytest.mark.parametrize("command", OF_A_RUN)
def test_a_command_that_uses_a_finished_run_has_right_words(command, monkeypatch):
    """What these commands do is tested in answering/, test_export.py and test_submit.py."""
    _, _, name, *words = shlex.split(command)
    module = import_module(f"{name}.__main__" if find_spec(name).submodule_search_locations else name)
    guarded = []
    monkeypatch.setattr(module, "guard", lambda work, debug: guarded.append(work))
    module.main(words)
    assert len(guarded) == 1 and words[:2] == ["--run", "results/cpu"]


def test_the_plan_that_is_shown_is_the_plan_that_is_printed(capsys, monkeypatch):
    command, = (words for words in MODULES if "tagpr_lite.plan" in words)
    monkeypatch.setattr(sys, "argv", shlex.split(command)[2:])
    runpy.run_module("tagpr_lite.plan", run_name="__main__")
    table = [line for line in capsys.readouterr().out.split("decided:")[0].splitlines() if line][1:]
    assert "\n".join(table) in (ROOT / "tagpr_lite" / "README.md").read_text()
    hours = round(float(table[-1].split()[-2]))
    assert table[-1].endswith(" h") and f"{hours} hours estimated" in README


def test_the_task_of_the_readme_is_read(tmp_path):
    declaration, = (block for kind, block in BLOCKS if kind == "yaml")
    (tmp_path / "wine.yaml").write_text(declaration)
    record = {"input": "A red", "output": "soft", "history": [{"wine": "A white", "note": "dry"}]}
    lines = [json.dumps({"user": f"u{n}"} | record) for n in range(8)]
    (tmp_path / "notes.jsonl").write_text("\n".join(lines))
    splits = load_own(tmp_path / "wine.yaml", 0)["wine_notes"]
    assert len(splits["dev"]) == 2 and len(splits["train"]) == 6


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_setting_that_is_named_exists(page):
    text = (ROOT / page).read_text()
    links = set(re.findall(r"\]\((?!http|#)([^)#]+)", text))
    assert all(((ROOT / page).parent / link).exists() for link in links), links
    files = set(re.findall(r"`((?:\w+/)+\w+\.\w+)`", text))
    of_runs = {"chains/", "guided/", "explore/"}  # what a run's folder holds
    missing = [file for file in files if not any(file.startswith(folder) for folder in of_runs)
               and not (ROOT / file).exists() and not (ROOT / "tagpr_lite" / file).exists()]
    assert not missing
    sections = "lamp|prompt|model|tag|sft|reward|grpo|evaluate"
    settings = set(re.findall(rf"`((?:{sections})\.\w+)(?:=[^`]*)?`", text))
    assert settings <= {key for key, _, _ in config.fields()} | {"lamp.mini", "lamp.official"}


def test_the_table_of_steps_is_the_list_of_steps():
    assert re.findall(r"^\| \d (\w+) \|", README, re.M) == list(STEPS)


def test_sentences_are_short():
    """No sentence of the running text has more than thirty words; tables, code and formulas are none."""
    prose = re.sub(r"^```.*?^```|^[|#!][^\n]*|^\$\$[^\n]*", "\n\n", README, flags=re.M | re.S)
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n- ", prose)]
    sentences = [sentence for part in paragraphs for sentence in re.split(r"(?<=[.!?]) ", part)]
    assert len(sentences) > 40
    assert not [sentence for sentence in sentences if len(sentence.split()) > LONGEST_SENTENCE]
