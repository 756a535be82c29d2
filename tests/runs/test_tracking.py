"""The mirror of metrics.jsonl: each point once, whatever was cut, and no result that depends on it."""
import importlib
import importlib.util
import json
import sys

import pytest

from tagpr_lite import config, runs
from tagpr_lite.config import UserError
from tagpr_lite.runs.metrics import FOLLOWERS, is_of_step
from tagpr_lite.runs.tracking import points_of

# A library in the place of the real one: it writes down what it is given, and fails where it is told to.
STUB = """
import json, os
from pathlib import Path

HOME = Path(__file__).parent
running = []


def note(**what):
    if (HOME / "fails").exists() and (HOME / "fails").read_text() == what["call"]:
        raise OSError("no route\\nto the server")
    with open(HOME / "calls.jsonl", "a") as stream:
        stream.write(json.dumps(what) + "\\n")


def init(project, name, resume):
    print("\\x1b[1m* Trackio project initialized")
    note(call="init", project=project, name=name, resume=resume)
    running.append(name)


def log(metrics, step):
    note(call="log", name=running[-1], step=step, points=metrics)


def finish():
    print("* Run finished")
    note(call="finish")
"""


class Stub:
    def __init__(self, folder):
        self.folder = folder

    def calls(self, name):
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call["call"] == name]

    def points(self):
        """(name of a point, step, value) in the order in which they came."""
        return [(name, call["step"], value) for call in self.calls("log")
                for name, value in call["points"].items()]

    def fail(self, call):
        (self.folder / "fails").write_text(call)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """trackio, as the stub, for this test alone."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "trackio.py").write_text(STUB)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("trackio", None)
    yield Stub(folder)
    sys.modules.pop("trackio", None)


@pytest.fixture
def conf(tmp_path):
    loaded = config.load("smoke", [f"results={tmp_path}", "name=r"])
    runs.write_text(loaded.folder / "in.txt", "a")
    return loaded


def step(conf, work):
    runs.run_step(conf, "guided", inputs=["in.txt"], settings=["seed"], outputs=["out.txt"], work=work)


def training(first, last, saved=None, seed=0):
    """A step that begins at line `first` and logs up to `last`; with `saved` it is cut after that, as a kill
    would cut it: so many steps were saved, and the lines behind them are logged again."""
    def work(conf, folder):
        runs.drop_metrics(folder, "guided", from_index=first)
        runs.drop_metrics(folder, "guided_check", from_index=first + 1 if first else 0)
        for index in range(first, last):
            if index == 0:
                runs.log_metrics(folder, "guided_check", index=0, score=0.5, best=True)
            runs.log_metrics(folder, "guided", index=index, reward=seed + index / 8, agreement=None,
                             by_task={"LaMP_3": 0.25})
        runs.write_text(folder / "out.txt", "done")
        if saved is not None:
            raise KeyboardInterrupt
    return work


def cut_and_resumed(conf):
    """Six lines; the step is cut after four of them, and goes on from the second."""
    with pytest.raises(KeyboardInterrupt):
        step(conf, training(0, 4, saved=2))
    step(conf, training(2, 6))


def wanted(folder):
    """The points of metrics.jsonl."""
    rows = runs.read_jsonl(folder / "metrics.jsonl")
    return [(name, row["index"], value) for row in rows for name, value in points_of(row).items()]


def never(conf, folder):
    raise AssertionError("nothing was to be done")


# ---------------------------------------------------------------- points

def test_every_finite_number_of_a_line_is_a_point():
    line = {"step": "guided_check", "index": 4, "score": 0.5, "best": True, "true": None, "name": "x",
            "reasoning": {"all": {"steps": 3, "tags": {}, "form": 0.25}}, "list": [1, 2], "kl": float("nan")}
    assert points_of(line) == {"guided_check/score": 0.5, "guided_check/reasoning/all/steps": 3.0,
                               "guided_check/reasoning/all/form": 0.25}
    assert points_of({"step": "sft", "index": 0, "loss": float("inf")}) == {}


def test_whose_line_it_is():
    named = [name for name in ("guided", "guided_check", "guidedx", "sft", 3)
             if is_of_step({"step": name}, "guided")]
    assert named == ["guided", "guided_check"] and not is_of_step({}, "guided")


# ---------------------------------------------------------------- Trackio

def test_each_point_comes_once_over_a_resume(conf, stub, capsys):
    conf.track = "trackio"
    cut_and_resumed(conf)
    assert sorted(stub.points()) == sorted(wanted(conf.folder)) and len(stub.points()) == 6 * 2 + 1
    inits = stub.calls("init")
    assert [call["resume"] for call in inits] == ["allow"] * 2 and len({call["name"] for call in inits}) == 1
    assert inits[0]["project"] == "tagpr_lite" and inits[0]["name"].startswith("r-guided-")
    assert len(stub.calls("finish")) == 2 and not FOLLOWERS
    assert "rackio" not in capsys.readouterr().out


def test_the_real_library_has_each_point_once_over_a_resume(conf, tmp_path, monkeypatch):
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "home"))  # read when it is imported
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    conf.track = "trackio"
    cut_and_resumed(conf)
    storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    run, = storage.get_run_records("tagpr_lite")
    found = [(name, row["step"], value) for row in storage.get_logs("tagpr_lite", run["name"])
             for name, value in row.items() if "/" in name]
    assert sorted(found) == sorted(wanted(conf.folder))


def test_a_step_that_was_done_before_it_was_tracked_is_sent_whole_and_once(conf, stub):
    cut_and_resumed(conf)
    assert stub.calls("init") == [] and "trackio" not in sys.modules
    conf.track = "trackio"
    for _ in range(2):
        step(conf, never)
        assert sorted(stub.points()) == sorted(wanted(conf.folder))
    assert len(stub.calls("init")) == 1  # the second time there was nothing to send


def test_a_run_that_is_tracked_from_its_middle_on_is_sent_whole(conf, stub):
    with pytest.raises(KeyboardInterrupt):
        step(conf, training(0, 4, saved=2))
    conf.track = "trackio"
    step(conf, training(2, 6))
    assert sorted(stub.points()) == sorted(wanted(conf.folder))


def test_another_key_has_a_run_of_its_own_and_comes_back_to_it(conf, stub):
    conf.track = "trackio"
    step(conf, training(0, 2))
    conf.seed = 1
    step(conf, training(0, 2, seed=1))
    conf.seed = 0
    step(conf, never)
    names = [call["name"] for call in stub.calls("log")]
    assert len(set(names)) == 2 and len(stub.points()) == 2 * 5
    assert [value for name, _, value in stub.points() if name == "guided/reward"] == [0, 0.125, 1, 1.125]


@pytest.mark.parametrize("call, sent", [("init", 0), ("log", 0), ("finish", 5)])
def test_a_fault_is_said_once_and_the_step_goes_on(conf, stub, capsys, call, sent):
    conf.track = "trackio"
    stub.fail(call)
    step(conf, training(0, 2))
    said = capsys.readouterr().out
    assert said.count("WARNING") == 1
    assert "trackio has failed, and guided goes on without it: OSError: no route to the server\n" in said
    assert len(stub.points()) == sent and len(wanted(conf.folder)) == 5 and not FOLLOWERS
    assert json.loads((conf.folder / "manifests/guided.json").read_text())["done"]


def test_a_fault_in_the_middle_ends_the_mirror_alone(conf, stub, capsys):
    conf.track = "trackio"

    def work(conf, folder):
        training(0, 3)(conf, folder)
        stub.fail("log")
        for index in range(3, 6):
            runs.log_metrics(folder, "guided", index=index, reward=1.0)

    step(conf, work)
    assert capsys.readouterr().out.count("WARNING") == 1
    assert {index for _, index, _ in stub.points()} == {0, 1, 2}
    assert len(runs.read_metrics(conf.folder, "guided")) == 6


def test_a_note_that_is_damaged_is_a_fault_of_the_tracker(conf, stub, capsys):
    conf.track = "trackio"
    step(conf, training(0, 2))
    note, = (conf.folder / "trackio").iterdir()
    note.write_text("{")
    step(conf, never)
    assert "trackio has failed" in capsys.readouterr().out and len(stub.points()) == 5


# ---------------------------------------------------------------- what depends on it: nothing

def test_no_key_and_no_output_knows_of_it(conf, stub):
    step(conf, training(0, 2))
    plain = (conf.folder / "manifests/guided.json").read_text()
    metrics = (conf.folder / "metrics.jsonl").read_bytes()
    conf.track = "trackio"
    step(conf, never)
    (conf.folder / "out.txt").unlink()
    step(conf, training(0, 2))
    tracked, untracked = (json.loads(text) | {"seconds": 0}
                          for text in ((conf.folder / "manifests/guided.json").read_text(), plain))
    assert tracked == untracked and (conf.folder / "metrics.jsonl").read_bytes() == metrics
    assert list((conf.folder / "trackio").iterdir())


@pytest.mark.parametrize("track, source, says", [
    ("tensorboard", None, "No module named 'tensorboard"), ("trackio", None, "import of trackio halted"),
    ("tensorboard", "raise TypeError('Descriptors cannot be made')", "Descriptors cannot be made"),
    ("trackio", "1 / 0", "division by zero"), ("trackio", "", "cannot import name"),
    ("tensorboard", "", "is not a package")])
def test_a_library_that_cannot_be_imported_is_one_line_before_anything_is_done(conf, tmp_path, monkeypatch,
                                                                               capsys, track, source, says):
    """Missing (None), broken, or of another kind. The results that are there stay."""
    step(conf, training(0, 2))
    before = {path: path.read_bytes() for path in conf.folder.rglob("*") if path.is_file()}
    for name in [name for name in sys.modules if name.split(".")[0] == track]:
        monkeypatch.delitem(sys.modules, name)
    if source is None:
        monkeypatch.setitem(sys.modules, track, None)  # Python then says that it cannot be found
    else:
        runs.write_text(tmp_path / "library" / f"{track}.py", source)
        monkeypatch.syspath_prepend(str(tmp_path / "library"))
    conf.track, conf.seed = track, 1
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        runs.guard(lambda: step(conf, never))
    sys.modules.pop(track, None)
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.count("\n") == 1 and not FOLLOWERS
    assert line.startswith(f"error: track={track}: {track} cannot be imported (") and says in line
    assert f"-m pip install {track}" in line
    assert {path: path.read_bytes() for path in conf.folder.rglob("*") if path.is_file()} == before


def test_other_words_are_no_trackers():
    with pytest.raises(UserError, match=r"track='wandb': known are \(empty\), tensorboard, trackio"):
        config.load("smoke", ["track=wandb"])


# ---------------------------------------------------------------- TensorBoard

def events(folder):
    """(name, step, value) of all points that TensorBoard's own reader finds, each as often as it does."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    return reader, lambda: [(tag, event.step, event.value) for tag in reader.Reload().Tags()["scalars"]
                            for event in reader.Scalars(tag)]


def test_tensorboard_has_each_point_once_over_a_resume(conf):
    pytest.importorskip("tensorboard")
    conf.track = "tensorboard"
    with pytest.raises(KeyboardInterrupt):
        step(conf, training(0, 4, saved=2))
    _, open_meanwhile = events(conf.folder / "tensorboard/guided")
    assert sorted(open_meanwhile()) == sorted(wanted(conf.folder))
    step(conf, training(2, 6))
    _, opened_later = events(conf.folder / "tensorboard/guided")
    for found in (open_meanwhile(), opened_later()):
        assert sorted(found) == sorted(wanted(conf.folder)) and len(found) == 6 * 2 + 1

    # Of other settings: their points are in the place of the earlier ones.
    conf.seed = 1
    step(conf, training(0, 2, seed=1))
    _, of_other_settings = events(conf.folder / "tensorboard/guided")
    assert sorted(of_other_settings()) == sorted(wanted(conf.folder))
    conf.seed = 0
    step(conf, never)
    _, put_back = events(conf.folder / "tensorboard/guided")
    rewards = [value for name, _, value in put_back() if name == "guided/reward"]
    assert rewards == [index / 8 for index in range(6)]
    files = [path.stat().st_size for path in (conf.folder / "tensorboard/guided").iterdir()]
    assert len(files) == 2 and sorted(files)[0] == 0  # what was written before is no longer there
    made = json.loads((conf.folder / "manifests/guided.json").read_text())["made"]
    assert list(made) == ["out.txt"]


def test_a_point_can_be_seen_as_soon_as_it_is_logged(conf):
    pytest.importorskip("tensorboard")
    conf.track = "tensorboard"
    seen = []

    def work(conf, folder):
        for last in (1, 2):
            training(last - 1, last)(conf, folder)
            seen.append(len(events(folder / "tensorboard/guided")[1]()))

    step(conf, work)
    assert seen == [3, 5]


def test_a_fault_of_the_disk_is_said_once(conf, capsys):
    pytest.importorskip("tensorboard")
    conf.track = "tensorboard"
    runs.write_text(conf.folder / "tensorboard", "a file in the place of the folder")
    step(conf, training(0, 3))
    said = capsys.readouterr()
    assert said.out.count("WARNING") == 1 and "tensorboard has failed" in said.out and said.err == ""
    assert len(runs.read_metrics(conf.folder, "guided")) == 3
