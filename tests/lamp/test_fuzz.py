"""Files that no reader was written for: each gives a result or one clear line, never a traceback."""
import json
import random
from collections import Counter

import pytest

from tagpr_lite import score
from tagpr_lite.bench.mutations import mutate
from tagpr_lite.config import UserError
from tagpr_lite.lamp.official.fetch import convert
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.rows import from_row, to_row
from tagpr_lite.lamp.tasks import TASKS

KEYS = {"LaMP_1": ("abstract", "title"), "LaMP_2": ("description", "tag"), "LaMP_3": ("text", "score"),
        "LaMP_5": ("abstract", "title"), "LaMP_7": ("text",)}
PAYLOAD = {"LaMP_1": '"A title", which reference is related? Just answer. [1]: "One" [2]: "Two"'}


def make(task, split):
    """(questions, outputs) of three questions."""
    label = {"LaMP_2": "comedy", "LaMP_3": "4"}.get(task, "a past title")
    values = lambda n: {key: label if i else f"words “{n}” \U0001f600" for i, key in enumerate(KEYS[task])}
    questions = [{"id": f"{split}{n}",
                  "input": f"{TASKS[task].instruction} {PAYLOAD.get(task, f'payload {n}')}",
                  "profile": [{"id": f"{n}{i}", **values(i), "date": f"201{i}-01-01"} for i in range(3)],
                  "user_id": 900 + n} for n in range(3)]
    gold = (TASKS[task].labels or ("a gold title",))[-1]
    return questions, {"task": task, "golds": [{"id": q["id"], "output": gold} for q in questions]}


def write(folder, files):
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # some file systems are slow to write over a file
        (folder / name).write_bytes(content)


def outcome(work):
    """What `work` came to; anything but a result and one clear line fails the test."""
    try:
        work()
        return "good"
    except UserError as e:
        assert len(str(e)) <= 300 and str(e).isprintable() and str(e).strip(), repr(str(e))
        return "refused"


# ---------------------------------------------------------------- tests

@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # messages hold paths, and these are short


def test_700_mutated_folders_load_or_are_refused_in_one_line(here, tmp_path):
    def use():
        for splits in load_folder("x").values():
            for q in splits["train"] + splits["dev"]:
                assert from_row(json.loads(json.dumps(to_row(q)))) == q
                json.dumps(to_row(q), ensure_ascii=False).encode()
        convert(folder, "dev").path.unlink()  # what loads can be stored

    folder, outcomes = tmp_path / "x", Counter()
    folder.mkdir()
    for seed in range(700):
        rng = random.Random(seed)
        task = rng.choice(list(KEYS))
        files = {f"{split}_{what}.json": json.dumps(tree).encode() for split in ("train", "dev")
                 for what, tree in zip(("questions", "outputs"), make(task, split))}
        hit = rng.choice(list(files))
        files[hit] = mutate(files[hit], rng)
        write(folder, files)
        try:
            outcomes[outcome(use)] += 1
        except Exception as e:
            raise AssertionError(f"seed {seed}: {hit} = {files[hit][:300]!r}") from e
    assert outcomes["good"] > 70 and outcomes["refused"] > 350, outcomes


def test_300_mutated_prediction_and_gold_files_are_scored_or_refused_in_one_line(here, tmp_path, capsys):
    outcomes = Counter()
    for seed in range(300):
        rng = random.Random(seed)
        files = dict.fromkeys(("golds.json", "preds.json"),
                              json.dumps(make(rng.choice(list(KEYS)), "dev")[1]).encode())
        hit = rng.choice(list(files))
        files[hit] = mutate(files[hit], rng)
        write(tmp_path, files)
        try:
            outcomes[outcome(lambda: score.main("golds.json", "preds.json", None, None))] += 1
        except Exception as e:
            raise AssertionError(f"seed {seed}: {hit} = {files[hit][:300]!r}") from e
    assert outcomes["good"] > 20 and outcomes["refused"] > 150, outcomes
    assert capsys.readouterr().out.count("strict") == outcomes["good"]
