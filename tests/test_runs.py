"""The run folder: steps skip, resume and put back; files are whole or absent; lines cut by a kill are
dropped."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagpr_lite import config, runs
from tagpr_lite.config import UserError
from tagpr_lite.runs.manifests import made_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def conf(tmp_path):
    return config.load("smoke", [f"results={tmp_path}", "name=r"])


def step(conf, work, settings=("seed",)):
    runs.run_step(conf, "one", inputs=["in.txt"], settings=list(settings), outputs=["out.txt"], work=work)


def write_out(text):
    return lambda c, folder: runs.write_text(folder / "out.txt", text)


def never(c, folder):
    raise AssertionError("the step should have been skipped")


def test_a_step_skips_itself_until_something_changes(conf, capsys):
    runs.write_text(conf.folder / "in.txt", "a")
    step(conf, write_out("1"))
    step(conf, never)
    assert "up to date" in capsys.readouterr().out
    conf.seed = 1
    step(conf, write_out("2"))
    runs.write_text(conf.folder / "in.txt", "b")
    step(conf, write_out("3"))
    (conf.folder / "out.txt").unlink()
    step(conf, write_out("4"))
    assert (conf.folder / "out.txt").read_text() == "4"


def test_a_missing_input_names_the_steps_to_run(conf):
    with pytest.raises(UserError, match="run the steps before it"):
        step(conf, never)


def test_bad_input_does_not_cost_earlier_results(conf):
    runs.write_text(conf.folder / "in.txt", "a")
    step(conf, lambda c, f: (write_out("good")(c, f), runs.log_metrics(f, "one", index=0, loss=1.0)))

    def bad(c, folder):
        assert not (folder / "out.txt").exists() and not runs.read_metrics(folder, "one")
        write_out("half")(c, folder)
        raise UserError("no")

    conf.seed = 1
    with pytest.raises(UserError):
        step(conf, bad)
    assert (conf.folder / "out.txt").read_text() == "good" and len(runs.read_metrics(conf.folder, "one")) == 1
    conf.seed = 0
    step(conf, never)


def test_a_crash_is_resumed_with_what_it_left(conf, capsys):
    runs.write_text(conf.folder / "in.txt", "a")

    def crash(c, folder):
        runs.write_text(folder / "part", "x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        step(conf, crash)
    step(conf, lambda c, f: write_out((f / "part").read_text())(c, f))
    assert "resumed" in capsys.readouterr().out and (conf.folder / "out.txt").read_text() == "x"


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    """A process that rewrites a file without pause is killed; the file is one of the whole versions."""
    code = ("import sys\nfrom pathlib import Path\nfrom tagpr_lite import runs\n"
            "for i in range(10**9): runs.write_jsonl(Path(sys.argv[1]), [{'i': i}] * 5000)\n")
    path = tmp_path / "f.jsonl"
    for pause in (0.2, 0.31, 0.43):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        rows = runs.read_jsonl(path)
        assert len(rows) == 5000 and len({r["i"] for r in rows}) == 1
    before = runs.digest(tmp_path)
    left_by_a_kill = tmp_path / ".f.jsonl.999999999.part"
    left_by_a_kill.mkdir()
    (left_by_a_kill / ".tmpW6HWZI").write_text("a library's own temporary file")
    assert runs.digest(tmp_path) == before and list(made_files(tmp_path.parent, [tmp_path.name])) == [
        f"{tmp_path.name}/f.jsonl"]
    runs.write_jsonl(path, rows)
    assert os.listdir(tmp_path) == ["f.jsonl"] and runs.digest(tmp_path) == before


def test_whole_folder_replaces_at_once_and_cleans_up(tmp_path):
    with runs.whole_folder(tmp_path / "d") as beside:
        (beside / "a").write_text("1")
    with pytest.raises(KeyError):
        with runs.whole_folder(tmp_path / "d") as beside:
            (beside / "a").write_text("2")
            raise KeyError
    assert (tmp_path / "d" / "a").read_text() == "1" and os.listdir(tmp_path) == ["d"]


def test_a_cut_last_line_is_dropped_only_when_asked(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"a": "\u2028"}\n{"a": ')
    assert len(runs.read_jsonl(path, partial=True)) == 2
    with pytest.raises(UserError, match="line 3"):
        runs.read_jsonl(path)
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        runs.read_jsonl(path, partial=True)


def test_metrics_of_a_resumed_loop_are_written_once(tmp_path):
    for i in range(5):
        runs.log_metrics(tmp_path, "guided", index=i, reward=i)
    runs.log_metrics(tmp_path, "sft", index=0)
    runs.drop_metrics(tmp_path, "guided", from_index=3)
    assert [r["index"] for r in runs.read_metrics(tmp_path, "guided")] == [0, 1, 2]
    assert len(runs.read_metrics(tmp_path, "sft")) == 1


def test_seeds_are_functions_of_their_parts():
    assert runs.seed_of(0, "a", 1) == runs.seed_of(0, "a", 1) != runs.seed_of(0, "a", 2)
    assert all(0 <= runs.seed_of(n) < 2**63 for n in range(100))


def test_digest_sees_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = runs.digest(tmp_path)
    (tmp_path / "a").write_text("2")
    second = runs.digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, runs.digest(tmp_path)}) == 3


def test_an_error_is_one_line_and_exit_code_2(tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "tagpr_lite.steps.step2_tag", "--preset", "smoke", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ended = run(f"results={tmp_path}")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: ")
    assert "Traceback" in run(f"results={tmp_path}", "--debug").stderr
    assert json.dumps(os.listdir(tmp_path)) == "[]"


def test_a_command_run_by_hand_has_the_memory_settings_of_run_all(tmp_path):
    script = (ROOT / "run_all.sh").read_text().splitlines()
    setting = next(line for line in script if "GLIBC_TUNABLES=" in line)
    assert setting == f"export GLIBC_TUNABLES={runs.MALLOC}"
    code = ("from tagpr_lite import runs; runs.keep_memory(); import os; "
            "print(os.environ.get('GLIBC_TUNABLES'))")
    bare = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    for env, want in ((bare, runs.MALLOC if sys.platform == "linux" else "None"),
                      (bare | {"GLIBC_TUNABLES": "x=1"}, "x=1")):
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True,
                              check=False)
        assert done.stdout.strip() == want


# ---------------------------------------------------------------- results are never lost

def stopped(text):
    """A step that is stopped after it has written something."""
    def work(c, folder):
        write_out(text)(c, folder)
        runs.log_metrics(folder, "one", index=0, loss=2.0)
        raise KeyboardInterrupt
    return work


def test_a_mistaken_command_that_is_stopped_loses_nothing(conf, capsys):
    """Another seed for a second, then the right one again: the results are back, and so are the other's."""
    runs.write_text(conf.folder / "in.txt", "a")
    step(conf, lambda c, f: (write_out("good")(c, f), runs.log_metrics(f, "one", index=0, loss=1.0)))
    conf.seed = 1
    with pytest.raises(KeyboardInterrupt):
        step(conf, stopped("half"))
    conf.seed = 0
    step(conf, never)
    assert "put back" in capsys.readouterr().out
    assert (conf.folder / "out.txt").read_text() == "good"
    assert [row["loss"] for row in runs.read_metrics(conf.folder, "one")] == [1.0]
    conf.seed = 1
    step(conf, lambda c, f: write_out((f / "out.txt").read_text() + " done")(c, f))
    assert (conf.folder / "out.txt").read_text() == "half done"


def test_results_of_every_setting_come_back_with_it(conf):
    runs.write_text(conf.folder / "in.txt", "a")
    for conf.seed in (0, 1, 2):
        step(conf, write_out(f"of seed {conf.seed}"))
    for conf.seed in (1, 0, 2, 0):
        step(conf, never)
        assert (conf.folder / "out.txt").read_text() == f"of seed {conf.seed}"


@pytest.mark.parametrize("cut_after", range(1, 9))
def test_a_move_that_is_cut_in_two_is_finished_by_the_next_start(conf, monkeypatch, cut_after):
    """A kill at any of the renames and writes between two settings: both results are still there."""
    runs.write_text(conf.folder / "in.txt", "a")
    step(conf, lambda c, f: (write_out("zero")(c, f), runs.log_metrics(f, "one", index=0, loss=0.0)))
    conf.seed = 1
    step(conf, lambda c, f: (write_out("one")(c, f), runs.log_metrics(f, "one", index=0, loss=1.0)))
    conf.seed = 0
    real, calls = os.replace, []

    def until_the_kill(source, target):
        calls.append(target)
        if len(calls) == cut_after:
            raise KeyboardInterrupt
        return real(source, target)

    monkeypatch.setattr(os, "replace", until_the_kill)
    try:
        step(conf, never)
    except KeyboardInterrupt:
        pass
    monkeypatch.setattr(os, "replace", real)
    for conf.seed, text in ((0, "zero"), (1, "one"), (0, "zero")):
        step(conf, never)
        assert (conf.folder / "out.txt").read_text() == text
        assert [row["loss"] for row in runs.read_metrics(conf.folder, "one")] == [float(conf.seed)]


def test_a_folder_that_is_no_run_is_refused_and_left_alone(conf):
    mine = conf.folder / "data" / "train.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="choose another name="):
        runs.run_step(conf, "prepare", inputs=[], settings=[], outputs=["data/train.jsonl"], work=never)
    assert mine.read_text() == "mine" and [p.name for p in conf.folder.iterdir()] == ["data"]


def test_outputs_that_no_manifest_knows_are_kept_beside(conf):
    runs.write_text(conf.folder / "in.txt", "a")
    step(conf, write_out("old"))
    (conf.folder / "manifests" / "one.json").write_text('{"key": ')
    step(conf, write_out("new"))
    (conf.folder / "manifests" / "one.json").unlink()
    step(conf, write_out("newer"))
    kept = sorted(path.read_text() for path in (conf.folder / ".kept").rglob("out.txt"))
    assert kept == ["new", "old"] and (conf.folder / "out.txt").read_text() == "newer"


# ---------------------------------------------------------------- what is unfinished, what is no number

def test_a_step_does_not_take_what_an_unfinished_one_has_left(conf):
    def two(work, **how):
        runs.run_step(conf, "two", inputs=["?out.txt"], settings=[], outputs=["two.txt"], work=work, **how)

    runs.write_text(conf.folder / "in.txt", "a")
    with pytest.raises(KeyboardInterrupt):
        step(conf, stopped("half"))
    with pytest.raises(UserError, match="one, is not finished"):
        two(never)
    with pytest.raises(ZeroDivisionError):
        two(lambda c, f: 1 / 0, of_unfinished=True)
    step(conf, write_out("whole"))
    with pytest.raises(ZeroDivisionError):
        two(lambda c, f: 1 / 0)


def test_a_line_after_a_cut_one_is_not_glued_to_it(tmp_path):
    path = tmp_path / "m.jsonl"
    for cut, rows in (('{"a": 1}\n{"a": ', 2), ('{"a"', 1), ("", 1)):
        path.write_text(cut)
        runs.append_jsonl(path, [{"a": 3}])
        assert len(runs.read_jsonl(path)) == rows


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_neither_written_nor_read(tmp_path, value):
    for write in (lambda: runs.log_metrics(tmp_path, "sft", loss=value),
                  lambda: runs.write_json(tmp_path / "a.json", [value]),
                  lambda: runs.write_jsonl(tmp_path / "a.jsonl", [{"a": value}]),
                  lambda: runs.require_finite_number(value, "the loss", "lower the rate")):
        with pytest.raises(UserError, match="not a finite number"):
            write()
    assert os.listdir(tmp_path) == []
    written = json.dumps(value) if value != float("inf") else "1e999"
    (tmp_path / "a.jsonl").write_text(f'{{"a": {written}}}\n')
    (tmp_path / "a.json").write_text(f"[{written}]")
    with pytest.raises(UserError, match="is not a number"):
        runs.read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="is not a number"):
        runs.read_jsonl(tmp_path / "a.jsonl")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n', encoding="utf-8-sig")
    (tmp_path / "a.json").write_text('{"a": 1}\n', encoding="utf-8-sig")
    assert runs.read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}]
    assert runs.read_json(tmp_path / "a.json") == {"a": 1}


def test_json_that_is_nested_without_end_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        runs.read_json(tmp_path / "a.json")


# ---------------------------------------------------------------- hashes and text

def test_a_fingerprint_sees_other_weights_of_the_same_size(tmp_path):
    weights = tmp_path / "m" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(bytes(10 << 20))
    (weights.parent / "config.json").write_text("{}")
    first = runs.fingerprint(weights.parent)
    weights.write_bytes(os.urandom(10 << 20))
    second = runs.fingerprint(weights.parent)
    (weights.parent / "config.json").write_text('{"a": 1}')
    assert len({first, second, runs.fingerprint(weights.parent)}) == 3
    assert runs.fingerprint(Path("Qwen/Qwen3-4B")) == "Qwen/Qwen3-4B"


def test_an_error_line_is_one_printable_line(capsys):
    def fail():
        raise UserError("a\nb\x1b[31mred\u202egnp\x00 " + "x" * 5000)

    with pytest.raises(SystemExit):
        runs.guard(fail)
    line = capsys.readouterr().err
    assert line.startswith("error: a b\\x1b[31mred\\u202egnp\\x00 xxx") and line.count("\n") == 1
    assert len(line) < 2100
    assert runs.printable("Zürich\n\tनमस्ते 👩\u200d🔬") == "Zürich\n\tनमस्ते 👩\u200d🔬"


def test_what_a_command_prints_cannot_steer_the_terminal(capsys):
    runs.guard(lambda: print("\x1b]0;owned\x07 a title\nof two lines", flush=True))
    assert capsys.readouterr().out == "\\x1b]0;owned\\x07 a title\nof two lines\n"


# ---------------------------------------------------------------- advice and waiting

def test_advice_names_the_interpreter_that_runs_now(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert runs.as_command("tagpr_lite.config") == ".venv/bin/python -m tagpr_lite.config"
    monkeypatch.setattr(sys, "executable", "/usr/my python/bin/python3")
    assert runs.as_command("tagpr_lite.config") == "'/usr/my python/bin/python3' -m tagpr_lite.config"


def test_waiting_has_a_bound_and_passes_on_what_happened():
    assert runs.within(5, lambda: 7) == 7 and runs.within(None, lambda: 8) == 8
    with pytest.raises(UserError, match="no"):
        runs.within(5, lambda: (_ for _ in ()).throw(UserError("no")))
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        runs.within(0.05, lambda: time.sleep(1))
    assert time.monotonic() - begun < 0.9


@pytest.mark.parametrize("there", ["config.yaml", "manifests/deployment.yaml", "notes.txt"])
def test_a_report_is_not_written_into_a_folder_that_is_no_run(conf, there):
    (conf.folder / there).parent.mkdir(parents=True)
    (conf.folder / there).write_text("mine: 1")
    for inputs, report in ((["?config.yaml"], True), ([], False)):
        with pytest.raises(UserError, match="no run of this program"):
            runs.run_step(conf, "report", inputs=inputs, settings=[], outputs=["report.md"], work=never,
                          of_unfinished=report)
    files = [str(path.relative_to(conf.folder)) for path in conf.folder.rglob("*") if path.is_file()]
    assert files == [there]


def test_half_of_a_surrogate_pair_is_written_as_a_question_mark(tmp_path):
    runs.write_json(tmp_path / "x.json", json.loads('{"a": "\\ud83d!", "b": "\\ud83d\\ude00"}'))
    assert runs.read_json(tmp_path / "x.json") == {"a": "?!", "b": "😀"}


def test_checks_and_alarms_are_kept_with_their_stage(conf):
    """They are lines of names of their own, guided_check and guided_alarm."""
    def lines(lr):
        def work(config, folder):
            for name in ("one", "one_check", "one_alarm"):
                runs.log_metrics(folder, name, index=0, lr=lr)
            runs.write_text(folder / "out.txt", str(lr))
        return work

    conf.folder.mkdir(parents=True)
    (conf.folder / "in.txt").write_text("x")
    runs.log_metrics(conf.folder, "other", index=0)
    seen = lambda: [(row["step"], row.get("lr")) for row in runs.read_jsonl(conf.folder / "metrics.jsonl")]
    step(conf, lines(1))
    first = seen()
    conf.seed = 7
    step(conf, lines(2))
    assert seen() == [("other", None), ("one", 2), ("one_check", 2), ("one_alarm", 2)]
    conf.seed = 0
    step(conf, never)
    assert seen() == first == [("other", None), ("one", 1), ("one_check", 1), ("one_alarm", 1)]
