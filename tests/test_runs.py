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
