"""The command: its words, its record, its exit code, and parts that fail, hang or die. The parts themselves
are in test_selftests.py; what is here is made up, so that no network is asked."""
import json
import sys
import time
from dataclasses import asdict

import pytest

from tagpr_lite.doctor import __main__ as front
from tagpr_lite.doctor import here, parts, record, summary, watch, worker
from tagpr_lite.doctor.packages import Check
from tagpr_lite.doctor.parts import ON_A_CARD, Part, parts_of

NF4, LAYOUTS = Part("nf4"), Part("layouts")
OK = [Check("CPU", "ok", "2 cores")]

# A worker in the place of the real one: what happens in a part is in its shape's name.
WORKER = """
import json, os, sys, time
from pathlib import Path
from tagpr_lite.doctor import worker
from tagpr_lite.doctor.parts import Part
def work(part, tell):
    tell({"shape": part.shape})
    if part.shape == "dies":
        print("a card's last words", flush=True)
        os._exit(7)
    if part.shape == "hangs":
        time.sleep(60)
    if part.shape == "raises":
        raise ValueError("no such kernel")
    return {"shape": part.shape, "process": os.getpid()}, []
worker.work_of = lambda family: work
worker.main(sys.argv[1:])
"""


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """(folder, run the doctor there with words): what is here is ok, and workers are made up."""
    monkeypatch.setattr(here, "look", lambda: (OK, None))
    folder = tmp_path / "to"
    folder.mkdir()

    def doctor(*words):
        with pytest.raises(SystemExit) as stop:
            front.main(["--to", str(folder), *words])
        return stop.value.code
    return folder, doctor


@pytest.fixture
def workers(monkeypatch, tmp_path):
    """Processes run WORKER in the place of worker.py."""
    (tmp_path / "worker.py").write_text(WORKER)
    start = watch.subprocess.Popen

    def popen(command, **how):
        assert command[1:3] == ["-m", "tagpr_lite.doctor.worker"]
        return start([sys.executable, str(tmp_path / "worker.py"), *command[3:]], **how)
    monkeypatch.setattr(watch.subprocess, "Popen", popen)


def in_this_process(monkeypatch, work):
    """Parts run here and now: what they do is `work`."""
    def run_parts(folder, pending, device, seconds):
        for part in pending:
            worker.run_part(folder, part, device)
        return []
    monkeypatch.setattr(worker, "work_of", lambda family: work)
    monkeypatch.setattr(watch, "run_parts", run_parts)


# ---------------------------------------------------------------- words

@pytest.mark.parametrize("words, says", [
    (["--only", "nf4,magic"], "--only magic: known are layouts, nf4, plan, speed"),
    (["--shapes", "GPT-5"], "--shapes GPT-5: known are small,"), (["--prompts", "1e3"], "--prompts 1e3:"),
    (["--prompts", "8"], "--prompts 8:"), (["--minutes", "nan"], "--minutes nan"),
    (["--minutes", "-1"], "--minutes -1"), (["--against", "vllm"], "invalid choice"),
    (["tell"], "unrecognized")])
def test_bad_words_end_with_2_and_nothing_is_written(made_up, capsys, words, says):
    folder, doctor = made_up
    assert doctor(*words) == 2
    assert says in capsys.readouterr().err and not list(folder.iterdir())


def test_the_most_wanted_cell_is_the_first():
    cells = parts_of([], "trl", ON_A_CARD)
    assert cells[0] == Part("trl", "Qwen3-4B", 4096, 8, 256) and len(cells) == 12
    assert cells[0].name == "trl Qwen3-4B, prompt 4096"
    assert {cell.prompt for cell in cells} == {1024, 2048, 4096, 8192}
    assert len({cell.name for cell in cells}) == 12


def test_words_choose_the_parts():
    assert parts.chosen_families("", "") == list(parts.FAMILIES) and parts.chosen_families("", "trl") == []
    sizes = parts.sizes_of("qwen3-1.7b", "2048, 512", ON_A_CARD)
    assert [(cell.shape, cell.prompt) for cell in parts_of([], "trl", sizes)] == [
        ("Qwen3-1.7B", 2048), ("Qwen3-1.7B", 512)]
    assert [part.name for part in parts_of(["speed", "nf4"], "", sizes)] == ["nf4", "speed Qwen3-1.7B"]


# ---------------------------------------------------------------- what is here

def test_without_a_card_one_line_says_so_and_all_is_ok(made_up, capsys):
    folder, doctor = made_up
    assert doctor() == 0
    said = capsys.readouterr().out
    assert said.count("no card: the parts (layouts, nf4, plan, speed) run on a CUDA card") == 1
    assert record.read(folder)["parts"] == {}
    assert "Nothing needs attention" in (folder / "doctor.md").read_text()
    assert doctor("--against", "trl") == 0 and "the parts (trl) run on" in capsys.readouterr().out


def test_what_needs_attention_is_said_with_its_advice_and_ends_with_1(made_up, monkeypatch, capsys):
    folder, doctor = made_up
    full = Check("disk", "attention", "full", "free some | room")
    monkeypatch.setattr(here, "look", lambda: ([full], None))
    assert doctor() == 1
    assert "attention: disk: full; free some | room" in capsys.readouterr().out
    text = (folder / "doctor.md").read_text()
    assert "**One thing needs attention:**" in text and "- disk: full; free some | room" in text


def test_packages_that_are_missing_leave_the_parts_out(made_up, monkeypatch, capsys):
    _, doctor = made_up
    monkeypatch.setattr(here, "is_installed", lambda module: module != "trl")
    assert doctor("--cpu") == 0 and "the self-test is left out: trl missing" in capsys.readouterr().out


# ---------------------------------------------------------------- the record

def test_a_part_that_is_done_is_not_done_again(made_up, monkeypatch, capsys):
    folder, doctor = made_up
    runs = []
    in_this_process(monkeypatch, lambda part, tell: (runs.append(part.name), ({}, []))[1])
    assert doctor("--cpu", "--only", "nf4") == 0 and runs == ["nf4"]
    assert doctor("--cpu", "--only", "nf4,layouts") == 0 and runs == ["nf4", "layouts"]
    assert "1 of 2 parts are done already" in capsys.readouterr().out
    assert doctor("--cpu", "--only", "nf4", "--again") == 0 and runs == ["nf4", "layouts", "nf4"]
    # another version of a package: its figures are others
    monkeypatch.setattr(parts.metadata, "version", lambda package: "0")
    assert doctor("--cpu", "--only", "nf4") == 0 and len(runs) == 4


def test_a_kill_between_parts_is_gone_on_from(made_up, monkeypatch, capsys):
    """The part that ran is said to be cut off, and is done again; the finished one is not."""
    folder, doctor = made_up
    runs = []

    def work(part, tell):
        runs.append(part.name)
        tell({"half": 1})
        if len(runs) == 2:
            raise KeyboardInterrupt  # as a kill, it is nothing that a part may catch
        return {"whole": 2}, []

    in_this_process(monkeypatch, work)
    assert doctor("--cpu", "--only", "layouts,nf4") == 130
    entries = record.read(folder)["parts"]
    assert [entries[name]["state"] for name in ("layouts", "nf4")] == ["done", "cut off"]
    assert entries["nf4"]["figures"] == {"half": 1} and "cut off" in (folder / "doctor.md").read_text()
    assert doctor("--cpu", "--only", "layouts,nf4") == 0 and runs == ["layouts", "nf4", "nf4"]
    assert record.read(folder)["parts"]["nf4"]["figures"] == {"whole": 2}


@pytest.mark.parametrize("text, says", [(None, "is not a JSON file"), ("[1, 2]", "is not as this version"),
                                        ('{"parts": {}}', "is not as this version")])
def test_a_cut_record_is_said_in_one_line_and_made_anew(made_up, monkeypatch, capsys, text, says):
    folder, doctor = made_up
    in_this_process(monkeypatch, lambda part, tell: ({}, []))
    doctor("--cpu", "--only", "nf4")
    path = folder / record.FILE
    path.write_text(path.read_text()[:len(path.read_text()) // 2] if text is None else text)
    capsys.readouterr()
    assert doctor("--cpu", "--only", "layouts") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "made anew" in line]
    assert len(lines) == 1 and says in lines[0]
    assert list(record.read(folder)["parts"]) == ["layouts"]


def test_a_part_that_raises_is_recorded_and_the_others_still_run(made_up, monkeypatch, capsys):
    folder, doctor = made_up

    def work(part, tell):
        tell({"so far": 1})
        if part.family == "layouts":
            raise RuntimeError("no kernel image\nis available")
        return {}, []

    in_this_process(monkeypatch, work)
    assert doctor("--cpu", "--only", "layouts,nf4") == 1
    entries = record.read(folder)["parts"]
    assert entries["nf4"]["state"] == "done" and entries["layouts"]["state"] == "failed"
    assert entries["layouts"]["reason"] == "RuntimeError: no kernel image is available"
    assert entries["layouts"]["figures"] == {"so far": 1}
    assert "attention: layouts: failed: RuntimeError: no kernel" in capsys.readouterr().out


def test_a_figure_that_is_no_number_is_a_failure(made_up, monkeypatch):
    folder, doctor = made_up
    in_this_process(monkeypatch, lambda part, tell: ({"ratio": float("nan")}, []))
    assert doctor("--cpu", "--only", "nf4") == 1
    entry = record.read(folder)["parts"]["nf4"]
    assert entry["state"] == "failed" and "not a finite number" in entry["reason"]


def test_attention_of_a_part_ends_with_1(made_up, monkeypatch, capsys):
    _, doctor = made_up
    in_this_process(monkeypatch, lambda part, tell: ({}, ["set model.bits=32"]))
    assert doctor("--cpu", "--only", "nf4") == 1
    assert doctor("--cpu", "--only", "nf4") == 1  # done already, and still so
    assert "attention: nf4: set model.bits=32" in capsys.readouterr().out


# ---------------------------------------------------------------- processes

def part_that(what, family="speed"):
    return Part(family, what, 64, 2, 8)


def test_parts_run_in_one_process_until_one_fails(tmp_path, workers):
    wanted = [part_that("a"), part_that("b"), part_that("raises"), part_that("dies"), part_that("c")]
    assert watch.run_parts(tmp_path, wanted, "cpu", 60) == []
    entries = record.read(tmp_path)["parts"]
    assert [entries[part.name]["state"] for part in wanted] == ["done", "done", "failed", "failed", "done"]
    processes = [entries[f"speed {what}"]["figures"]["process"] for what in "abc"]
    assert processes[0] == processes[1] != processes[2]
    assert entries["speed raises"]["reason"] == "ValueError: no such kernel"
    died = entries["speed dies"]
    assert died["reason"] == "its process ended with code 7: a card's last words"
    assert died["figures"] == {"shape": "dies"}


def test_a_part_that_hangs_is_stopped_at_its_bound(tmp_path, workers, monkeypatch, capsys):
    monkeypatch.setitem(parts.BOUNDS, "nf4", 1)
    monkeypatch.setattr(watch, "BEGIN_SECONDS", 20)
    wanted = [part_that("a"), part_that("hangs", "nf4"), part_that("b")]
    assert watch.run_parts(tmp_path, wanted, "cpu", 60) == []
    entries = record.read(tmp_path)["parts"]
    assert [entries[part.name]["state"] for part in wanted] == ["done", "out of time", "done"]
    assert entries["nf4 hangs"]["figures"] == {"shape": "hangs"} and 1 <= entries["nf4 hangs"]["seconds"] < 15
    assert "nf4 hangs: out of time" in capsys.readouterr().out


def test_the_time_of_all_parts_is_bound(tmp_path, workers, monkeypatch):
    monkeypatch.setattr(watch, "LEAST_SECONDS", 1)
    wanted = [part_that("hangs"), part_that("b")]
    started = time.monotonic()
    left = watch.run_parts(tmp_path, wanted, "cpu", 6)
    assert left == wanted[1:] and time.monotonic() - started < 12
    assert record.read(tmp_path)["parts"]["speed hangs"]["state"] == "out of time"


def test_parts_that_were_not_begun_need_attention(made_up, monkeypatch, capsys):
    _, doctor = made_up
    monkeypatch.setattr(watch, "run_parts", lambda folder, pending, device, seconds: pending)
    assert doctor("--cpu", "--only", "nf4") == 1
    said = capsys.readouterr().out
    assert "1 parts were not begun, the time is over: the same command goes on with nf4" in said


def test_a_process_that_cannot_begin_is_no_endless_loop(tmp_path, monkeypatch):
    start = watch.subprocess.Popen
    monkeypatch.setattr(watch.subprocess, "Popen", lambda command, **how: start(
        [sys.executable, "-c", "raise SystemExit('a library is missing')"], **how))
    assert watch.run_parts(tmp_path, [NF4, LAYOUTS], "cpu", 30) == []
    entries = record.read(tmp_path)["parts"]
    assert {entry["state"] for entry in entries.values()} == {"failed"}
    assert "a library is missing" in entries["nf4"]["reason"]


def test_a_worker_ends_with_the_command_that_started_it(monkeypatch):
    ended = []
    monkeypatch.setattr(worker.os, "getppid", lambda: 1)
    monkeypatch.setattr(worker.os, "_exit", ended.append)
    worker.end_with_parent(4711)
    assert ended == [1]


# ---------------------------------------------------------------- doctor.md

def entry(part, figures, state="done", reason="", attention=()):
    return {"state": state, "setting": parts.setting_of(part, "NVIDIA H200"), "started": 0.0, "seconds": 12.5,
            "figures": figures, "attention": list(attention), "reason": reason}


def test_the_summary_is_made_of_the_record_alone(tmp_path):
    side = {"rollout_s": 10.0, "update_s": 2.0, "step_s": 12.0, "peak_bytes": 2**30}
    trl = {"rollout_s": 15.0, "update_s": 7.0, "step_s": 22.0, "peak_bytes": 3 * 2**30}
    ratio = {"rollout": 1.5, "update": 3.5, "step": 22 / 12, "peak": 3.0}
    cells = parts_of([], "trl", ON_A_CARD)
    entries = [(cells[0], entry(cells[0], {"ours": side, "trl": trl, "ratio": ratio})),
               (cells[1], entry(cells[1], {"ours": side, "trl": {"fault": "out of memory"}})),
               (cells[2], entry(cells[2], {"ours": side}, "out of time", "it was stopped")),
               (cells[3], entry(cells[3], {}, "failed", "a fault")),
               (Part("nf4"), entry(Part("nf4"), {"round trip": {"largest": 0.16, "rms": 0.09}})),
               (Part("layouts"), entry(Part("layouts"), {"layouts": {"packed": {"fault": "differs"}}},
                                       attention=["do not train with packed"]))]
    for family in ("plan", "speed"):
        entries.append((Part(family, "small"), entry(Part(family, "small"), {}, "failed", "no figures")))
    record.write(tmp_path, record.empty() | {"here": [asdict(check) for check in OK], "card": "NVIDIA H200",
                                             "parts": {part.name: made for part, made in entries}})
    text = summary.markdown(json.loads((tmp_path / record.FILE).read_text()))
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
            for line in text.splitlines() if line.startswith("| ")}
    assert rows["trl Qwen3-4B, prompt 4096"] == ["2.00", "7.00", "3.50", "10.00", "15.00", "1.50", "1.83",
                                                 "1.000", "3.000", "3.00"]
    assert rows["trl Qwen3-4B, prompt 8192"].count("out of memory") == 3
    assert rows["trl Qwen3-4B, prompt 2048"][:3] == ["2.00", "–", "–"]
    assert "trl Qwen3-4B, prompt 1024" not in rows
    assert "- trl Qwen3-4B, prompt 1024: failed after 12.5 s: a fault" in text
    assert "- layouts: do not train with packed" in text and "5 things need attention" in text
    assert "Ran on NVIDIA H200, 8 completions of 256 tokens." in text
