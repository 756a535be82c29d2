"""What several processes share: parts, sums, a copy of the run's folder."""
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.runs import append_jsonl, processes, read_jsonl, run_step, write_text
from tests.helpers.processes import in_processes


def test_one_process_has_the_whole():
    assert processes.count() == 1 and processes.number() == 0
    assert processes.part_of([1, 2, 3]) == [1, 2, 3] == processes.gathered([1, 2, 3])
    assert list(processes.joined(iter([[1], [2, 3]]))) == [[1], [2, 3]]
    assert processes.agreed("x") == "x" and processes.all_of(4) == [4]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_parts_are_put_in_order_again(things, count):
    """The parts of all processes hold each thing once, and `gathered` undoes them (with the messages done by
    hand)."""
    parts = []
    for number in range(count):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WORLD_SIZE", str(count))
            patch.setenv("RANK", str(number))
            parts.append(processes.part_of(things))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for number in range(count):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes, "all_of", lambda mine: list(parts))
            patch.setenv("WORLD_SIZE", str(count))
            patch.setenv("RANK", str(number))
            assert processes.gathered(parts[number]) == things


def share():
    """All messages once, in one of three processes."""
    mine = processes.part_of(list(range(7)))
    lists = iter([[processes.number()] * n for n in range(1, processes.number() + 2)])
    return {"mine": mine, "gathered": processes.gathered(mine, to_send=lambda thing: thing * 1),
            "joined": list(processes.joined(lists)),
            "agreed": processes.agreed(f"of {processes.number()}")}


def test_three_processes_share():
    found = in_processes(3, share)
    assert [each["mine"] for each in found] == [[0, 3, 6], [1, 4], [2, 5]]
    for each in found:
        assert each["gathered"] == list(range(7)) and each["agreed"] == "of 0"
        assert each["joined"] == [[0, 1, 2], [1, 1, 2, 2], [2, 2, 2]]


# ---------------------------------------------------------------- a step

def step(results, seed=0):
    """A step of two processes that writes a file, appends to another, and knows what each process saw."""
    conf = config.load("smoke", [f"results={results}", "name=r", f"seed={seed}"])
    work = shared_work
    run_step(conf, "one", inputs=["in.txt"], settings=["seed"], outputs=["out"], work=work)
    return sorted(os.listdir(conf.folder.parent))


def shared_work(conf, folder):
    assert conf.folder == folder and (folder / "in.txt").read_text() == "read by all"
    number = processes.number()
    append_jsonl(folder / "out" / "lines.jsonl", [{"of": number}])
    seen = processes.all_of((number, str(folder), [row["of"] for row in
                                                   read_jsonl(folder / "out" / "lines.jsonl")]))
    write_text(folder / "out" / "all.json", json.dumps(seen))


def test_the_first_process_writes_and_the_others_have_a_copy(tmp_path):
    folder = tmp_path / "r"
    (folder / "out").mkdir(parents=True)
    (folder / "manifests").mkdir()
    (folder / "in.txt").write_text("read by all")
    (tmp_path / ".r.process1.part").mkdir()  # left by a kill
    (tmp_path / ".r.process7.part").mkdir()
    for seed in (0, 0, 1):  # done, skipped, done again
        listed = in_processes(2, step, tmp_path, seed)
    seen = json.loads((folder / "out" / "all.json").read_text())
    assert [number for number, _, _ in seen] == [0, 1] and [lines for _, _, lines in seen] == [[0], [1]]
    assert seen[0][1] == str(folder) and seen[1][1] == str(tmp_path / ".r.process1.part")
    assert read_jsonl(folder / "out" / "lines.jsonl") == [{"of": 0}]
    assert all(".r.process7.part" not in names for names in listed)
    assert os.listdir(tmp_path) == ["r"]
    assert json.loads((folder / "manifests" / "one.json").read_text())["done"]


def test_more_cards_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match="--cards 2: this machine has 1"):
        processes.join()


def leave():
    """Process 1 ends without a word; process 0 waits for it."""
    if processes.number() == 1:
        return "gone"
    return processes.all_of(1)


def test_a_lost_process_is_one_line():
    with pytest.raises(UserError, match="another process of this run has ended"):
        in_processes(2, leave)
