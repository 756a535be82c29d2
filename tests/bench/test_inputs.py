"""The campaign of changed inputs sees what it looks for. It runs over all readers in steps/test_smoke.py."""
import random
import time

import pytest

from tagpr_lite.bench import inputs
from tagpr_lite.bench.inputs import Reader, one_case
from tagpr_lite.bench.mutations import change_words, mutate
from tagpr_lite.config import UserError

WRITTEN = inputs.watch_writes()  # Python has no way to end an audit hook: one for all tests


def refuse(line):
    raise UserError(line)


def end(code):
    raise SystemExit(code)


def case(use, folder, capsys):
    """(outcome, what was printed) of a reader with one file."""
    outcome = one_case(Reader("it", {"a.json": b'{"x": 1}'}, use), folder / "it", "0", WRITTEN)
    return outcome, capsys.readouterr().out


@pytest.mark.parametrize("use, outcome, says", [
    (lambda _: None, "result", ""), (lambda _: print("words"), "result", ""),
    (lambda _: end(0), "result", ""),
    (lambda _: refuse("a.json is none"), "refused", ""),
    (lambda _: {}["x"], "fault", "KeyError"), (lambda _: end(1), "fault", "exit code 1"),
    (lambda _: end(2), "fault", "exit code 2"),  # without a word
    (lambda _: 1 / 0, "fault", "ZeroDivisionError"),
    (lambda _: (_ for _ in ()).throw(KeyboardInterrupt), "fault", "exit code 130")])
def test_a_case_is_a_result_a_line_or_a_fault(tmp_path, capsys, use, outcome, says):
    found, printed = case(use, tmp_path, capsys)
    assert found == outcome and says in printed and bool(printed) == (outcome == "fault")


def test_a_reader_that_takes_too_long_is_a_fault(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inputs, "SECONDS", 0.2)

    def wait(_):
        while True:
            try:
                time.sleep(5)
            except Exception:
                pass

    assert case(wait, tmp_path, capsys)[0] == "fault"


@pytest.mark.parametrize("place, outcome", [("it/b.json", "result"), ("b.json", "fault")])
def test_a_file_outside_of_the_case_is_a_fault(tmp_path, capsys, place, outcome):
    found, printed = case(lambda _: (tmp_path / place).write_text("x"), tmp_path, capsys)
    assert found == outcome and ("wrote" in printed) == (outcome == "fault")


def test_the_same_case_is_the_same_input(tmp_path):
    seen = []
    reader = Reader("it", {"a.jsonl": b'{"x": 1}\n{"y": [2, 3]}\n', "b.yaml": b"a: {b: 1}\n"},
                    lambda _: seen.append([(tmp_path / "it" / name).read_bytes() for name in reader.files]))
    for number in (3, 4, 3):
        one_case(reader, tmp_path / "it", str(number), WRITTEN)
    assert seen[0] == seen[2] != seen[1]


def test_changes_change():
    content = b'{"id": "1", "golds": [{"id": "a", "output": "5"}]}\n' * 3
    changed = [mutate(content, random.Random(seed)) for seed in range(300)]
    assert len(set(changed)) > 200 and changed.count(content) < 30
    words = ["--golds", "a.json", "lamp.k=2"]
    assert len({tuple(change_words(words, random.Random(seed))) for seed in range(300)}) > 50
    assert mutate(b"", random.Random(0)) is not None
