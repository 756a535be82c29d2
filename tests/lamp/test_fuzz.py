"""Files that no reader was written for: each gives a result or one clear line, never a traceback."""
import copy
import json
import random
from collections import Counter

import pytest

from tagpr_lite import score
from tagpr_lite.config import UserError
from tagpr_lite.lamp.official.fetch import convert
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.rows import from_row, to_row
from tagpr_lite.lamp.tasks import TASKS

KEYS = {"LaMP_1": ("abstract", "title"), "LaMP_2": ("description", "tag"), "LaMP_3": ("text", "score"),
        "LaMP_5": ("abstract", "title"), "LaMP_7": ("text",)}
PAYLOAD = {"LaMP_1": '"A title", which reference is related? Just answer. [1]: "One" [2]: "Two"'}
ODD = [None, True, 0, -1, 7, 1.5, float("nan"), float("inf"), 10**30, 10**400, "", " ", "\n", "5", "[1]",
       "110", "\0", "a\nb\x1b[31m", "\ud83d", "\u2028", "x" * 10_000, [], {}, [[]], [None], {"id": 1},
       "LaMP_3", "LaMP-2", "LaMP_9", "__DEEP__"]
BITS = [b"\xff", b"\0", b"NaN", b"1e999", b"-", b"9" * 5000, b"[" * 5000, b"\\ud83d", b"\\", b'"', b"}]",
        b",", b"/*", b"\xed\xa0\xbd"]
OTHER = [b"", b" ", b"null", b"3", b'"x"', b"[]", b"{}", b"[[]]", b"<html>", b"\n<?xml?>", b"{" * 9999,
         b"PK\x03\x04", b"\x1f\x8b\x08" * 9, bytes(range(256))]
DEEP = [5, 19, 25, 900, 3000, 100_000]


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


# ---------------------------------------------------------------- mutations

def places(tree, path=()):
    """The paths of all values in a tree."""
    yield path
    children = ()
    if isinstance(tree, dict):
        children = tree.items()
    elif isinstance(tree, list):
        children = enumerate(tree)
    for key, value in children:
        yield from places(value, path + (key,))


def change_tree(tree, rng):
    """One value replaced, dropped, doubled, emptied, renamed or swapped."""
    tree = copy.deepcopy(tree)
    *above, last = rng.choice([p for p in places(tree) if p])
    node = tree
    for key in above:
        node = node[key]
    how = rng.choice(["replace", "replace", "replace", "drop", "double", "empty", "rename", "swap"])
    if how == "drop":
        del node[last]
    elif how == "double" and isinstance(node, list):
        node.append(node[last])
    elif how == "empty" and isinstance(node[last], list | dict | str):
        node[last] = type(node[last])()
    elif how == "rename" and isinstance(node, dict):
        node[rng.choice(["ID", "Input", "", "golds", "output", "x\n"])] = node.pop(last)
    elif how == "swap" and len(node) > 1:
        other = rng.choice([k for k in (node if isinstance(node, dict) else range(len(node)))])
        node[last], node[other] = node[other], node[last]
    else:
        node[last] = rng.choice(ODD)
    depth = rng.choice(DEEP)
    return json.dumps(tree, default=str).replace('"__DEEP__"', "[" * depth + "]" * depth).encode()


def change_bytes(content, rng):
    """One byte flipped, a stretch cut out, doubled or put in, another encoding, or another file
    altogether."""
    at, size = rng.randrange(len(content)), rng.randint(1, 40)
    head, tail = content[:at], content[at:]
    return rng.choice([lambda: head + bytes([tail[0] ^ 1 << rng.randrange(8)]) + tail[1:], lambda: head,
                       lambda: tail, lambda: head + tail[size:], lambda: head + tail[:size] + tail,
                       lambda: head + rng.choice(BITS) + tail, lambda: head + rng.choice(BITS) + tail,
                       lambda: content.decode("latin-1").encode(rng.choice(["utf-16", "utf-32", "cp500",
                                                                            "utf-8-sig"])),
                       lambda: content.replace(b"\\u201c", b"\x93").replace(b"payload", b"p\xe4yload"),
                       lambda: rng.choice(OTHER)])()


def mutate(content, rng):
    for _ in range(rng.choice([1, 1, 1, 2])):
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError):
            tree = None
        content = (change_tree(tree, rng) if isinstance(tree, list | dict) and tree and rng.random() < 0.6
                   else change_bytes(content or b" ", rng))
    return content


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
