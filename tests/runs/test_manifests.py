"""A file that is not as its maker has left it is not read: one line says so, with two ways out."""
import json
import shutil

import pytest

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.runs import __main__ as accept
from tagpr_lite.runs import run_step, write_text


@pytest.fixture
def run(tmp_path):
    """A function that runs two steps, `prepare` and `tag`, which reads what `prepare` has written; it returns
    which of them did their work."""
    conf = config.load("smoke", [f"results={tmp_path}", "name=run"])

    def steps(of_unfinished=False):
        done = []

        def prepare(config, folder):
            done.append("prepare")
            write_text(folder / "data" / "a.jsonl", '{"x": 1}\n{"x": 2}\n')
            write_text(folder / "plan.json", "{}")

        def tag(config, folder):
            done.append("tag")
            write_text(folder / "chains.jsonl", (folder / "data" / "a.jsonl").read_text() * 2)

        run_step(conf, "prepare", inputs=[], settings=["seed"], outputs=["data", "plan.json"], work=prepare)
        run_step(conf, "tag", inputs=["data", "?plan.json"], settings=["seed"], outputs=["chains.jsonl"],
                 work=tag, of_unfinished=of_unfinished)
        return done
    return steps


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


DAMAGES = {"a flipped bit": flip, "a line less": lambda path: path.write_text('{"x": 1}\n'),
           "empty": lambda path: path.write_text(""), "gone": lambda path: path.unlink(),
           "a folder": lambda path: (path.unlink(), path.mkdir())}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_input_is_one_line_with_two_ways_out(run, tmp_path, damage):
    assert run() == ["prepare", "tag"] and run() == []
    data = tmp_path / "run" / "data"
    DAMAGES[damage](data / "a.jsonl")
    with pytest.raises(UserError) as error:
        run()
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(f"{data / 'a.jsonl'} is not as step prepare wrote it: remove {data},")
    assert "bash run_all.sh smoke" in line and f"tagpr_lite.runs {tmp_path / 'run'}" in line


def test_the_first_way_out_makes_it_again(run, tmp_path):
    run()
    plan = tmp_path / "run" / "plan.json"
    flip_at_start = plan.read_text().replace("{", "[")
    plan.write_text(flip_at_start)
    with pytest.raises(UserError, match="plan.json is not as step prepare wrote it"):
        run()
    plan.unlink()
    assert run() == ["prepare"] and run() == []  # it is what it was, so the step after it stays


def test_the_second_way_out_takes_the_change(run, tmp_path, capsys):
    run()
    (tmp_path / "run" / "data" / "a.jsonl").write_text('{"x": 7}\n')
    accept.main([str(tmp_path / "run")])
    assert "data/a.jsonl: as it is now" in capsys.readouterr().out
    assert run() == ["tag"]
    assert (tmp_path / "run" / "chains.jsonl").read_text() == '{"x": 7}\n' * 2
    accept.main([str(tmp_path / "run")])
    assert "nothing has changed" in capsys.readouterr().out
    assert run() == []


def test_what_no_step_reads_may_change(run, tmp_path):
    run()
    flip(tmp_path / "run" / "chains.jsonl")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert run() == []


def test_the_report_shows_whatever_there_is(run, tmp_path):
    run(of_unfinished=True)
    flip(tmp_path / "run" / "data" / "a.jsonl")
    assert run(of_unfinished=True) == ["tag"]


def test_a_report_that_stumbles_over_a_damaged_file_names_it(tmp_path):
    conf = config.load("smoke", [f"results={tmp_path}", "name=run"])
    run_step(conf, "prepare", inputs=[], settings=["seed"], outputs=["x.json"],
             work=lambda config, folder: write_text(folder / "x.json", "[1]"))
    reading = dict(inputs=["?x.json"], settings=[], outputs=["report.md"], of_unfinished=True,
                   work=lambda config, folder: json.loads((folder / "x.json").read_text())[0].upper())
    with pytest.raises(AttributeError):  # a fault of the program stays one
        run_step(conf, "report", **reading)
    (tmp_path / "run" / "x.json").write_text('[{"y": 2}]')
    with pytest.raises(UserError, match="x.json is not as step prepare wrote it"):
        run_step(conf, "report", **reading)


@pytest.mark.parametrize("made", [None, [], "x", {}, {"data/a.jsonl": None, "../../etc/passwd": 3}])
def test_a_manifest_of_an_earlier_version_or_a_damaged_one(run, tmp_path, made):
    run()
    path = tmp_path / "run" / "manifests" / "prepare.json"
    manifest = json.loads(path.read_text()) | {"made": made}
    path.write_text(json.dumps(manifest))
    if isinstance(made, dict) and made:
        with pytest.raises(UserError, match="a.jsonl is not as step prepare"):
            run()
    else:
        assert run() == []


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        accept.main([str(tmp_path)])
    assert ended.value.code == 2 and "is no folder of a run" in capsys.readouterr().err


def test_a_step_that_cannot_use_an_accepted_change_names_the_file(run, tmp_path):
    conf = config.load("smoke", [f"results={tmp_path}", "name=run"])

    def read(text_of):
        run_step(conf, "reads", inputs=["data"], settings=[], outputs=["sum.json"], work=lambda _, folder:
                 write_text(folder / "sum.json", text_of((folder / "data" / "a.jsonl").read_text())))

    run()
    read(len_of := lambda text: str(len(json.loads(text.partition("\n")[0]))))
    with pytest.raises(KeyError):  # nobody has changed anything: a fault of the program stays one
        run_step(conf, "other", inputs=["data"], settings=[], outputs=["x"], work=lambda *_: {}["primary"])
    (tmp_path / "run" / "data" / "a.jsonl").write_text("7\n")
    accept.main([str(tmp_path / "run")])
    with pytest.raises(UserError, match=r"reads cannot use what was changed by hand: data/a.jsonl \(TypeEr"):
        read(len_of)
    with pytest.raises(OSError):  # a full disk is not the person's change
        run_step(conf, "other", inputs=["data"], settings=[], outputs=["x"],
                 work=lambda *_: open(tmp_path / "missing" / "x"))
    shutil.rmtree(tmp_path / "run" / "data")
    run()  # `prepare` makes it again, and what was accepted is forgotten
    assert "accepted" not in json.loads((tmp_path / "run" / "manifests" / "prepare.json").read_text())
