import json
import re
import sqlite3
from pathlib import Path

import pytest
from lamp_files import review, write

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import files
from tagpr_lite.lamp.official.fetch import convert
from tagpr_lite.lamp.official.files import load_folder, read_questions
from tagpr_lite.lamp.sampling import sample
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.runs import as_command

SHARED = Path(__file__).parents[4] / "shared" / "data"


def test_a_folder_of_tasks_and_one_task_alone(tmp_path):
    write(tmp_path / "any name")
    (tmp_path / "notes").mkdir()
    loaded = load_folder(tmp_path, ["LaMP-3"])
    assert loaded == load_folder(tmp_path / "any name", [])
    q = loaded["LaMP_3"]["train"][0]
    assert (q.id, q.user, q.gold, len(loaded["LaMP_3"]["dev"])) == ("1", "1", "5", 1)
    oldest_first = (Item("b", "old", "4", "2012-03-04"), Item("a", "new", "5", "2013-01-02"))
    assert q.profile == oldest_first


def test_undated_items_keep_their_order_and_a_missing_user_is_the_question(tmp_path):
    row = review(9)
    del row["user_id"], row["profile"][1]["date"]
    row["profile"][0]["date"] = 2013
    q = load_folder(write(tmp_path / "x", dev=[row]), [])["LaMP_3"]["dev"][0]
    assert (q.user, [i.id for i in q.profile], q.profile[0].date) == ("9", ["a", "b"], "2013")


def test_two_folders_of_one_task_keep_their_users_apart(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    train = load_folder(tmp_path, [])["LaMP_3"]["train"]
    assert [q.id for q in train] == ["one:1", "one:2", "two:1", "two:2"] and len({q.user for q in train}) == 4


def test_every_task_loads_and_lamp6_questions_may_be_a_dict(tmp_path):
    keys = {"LaMP_1": ("abstract", "title"), "LaMP_2": ("description", "tag"), "LaMP_4": ("text", "title"),
            "LaMP_5": ("abstract", "title"), "LaMP_6": ("text", "title"), "LaMP_7": ("text",)}
    for task, names in keys.items():
        rows = [{"id": n, "input": f"{TASKS[task].instruction} x",
                 "profile": [{"id": "i", **{k: k for k in names}}]} for n in (1, 2)]
        write(tmp_path / task, task, rows[:1], rows[1:], (TASKS[task].labels or ("gold",))[0])
    file = tmp_path / "LaMP_6" / "dev_questions.json"
    file.write_text(json.dumps({"task": "LaMP_6", "golds": json.loads(file.read_text())}))
    loaded = load_folder(tmp_path, [])
    assert list(loaded) == list(keys)
    for task, names in keys.items():
        item = loaded[task]["dev"][0].profile[0]
        assert (item.text, item.label) == (names[0], names[1] if len(names) > 1 else "")
    assert list(load_folder(tmp_path, ["LaMP_7", "LaMP_2"])) == ["LaMP_2", "LaMP_7"]


def test_half_an_emoji_does_not_stop_the_run(tmp_path):
    q = load_folder(write(tmp_path / "x",
                          dev=[review(3, input=TASKS["LaMP_3"].instruction + " fine \ud83d")]), [])
    assert q["LaMP_3"]["dev"][0].input.endswith("fine ?")


def test_lamp2_question_110_is_repaired(tmp_path, capsys):
    profile = [{"id": "i", "tag": "comedy", "description": "d"}]
    train = [{"id": "1", "input": f"{TASKS['LaMP_2'].instruction} a", "profile": profile}]
    folder = write(tmp_path / "x", "LaMP_2", train, [{"id": "110", "input": "x a man", "profile": profile}],
                   "comedy")
    q = load_folder(folder, [])["LaMP_2"]["dev"][0]
    assert q.input == f"{TASKS['LaMP_2'].instruction} a man" and "repaired" in capsys.readouterr().out


def test_stores_and_json_are_the_same_to_a_reader(tmp_path):
    folder = write(tmp_path / "x", train=[review(n) for n in range(10, 40)])
    plain = load_folder(folder)["LaMP_3"]
    convert(folder, "train")
    for name in ("train_questions.json", "train_outputs.json"):
        (folder / name).unlink()
    half = load_folder(folder)["LaMP_3"]  # train is a store, dev is JSON
    convert(folder, "dev")
    for name in ("dev_questions.json", "dev_outputs.json"):
        (folder / name).unlink()
    stored = load_folder(tmp_path)["LaMP_3"]
    assert [list(half["train"]), half["dev"]] == [list(stored["train"]),
                                                  list(stored["dev"])] == [*plain.values()]
    for limit, seed in ((7, 0), (7, 1), (30, 0), (None, 0)):
        assert sample(stored["train"], limit, seed) == sample(plain["train"], limit, seed)


def test_a_sample_of_a_store_reads_users_and_the_chosen_ones(tmp_path, monkeypatch):
    folder = write(tmp_path / "x", train=[review(n) for n in range(10, 40)])
    plain = load_folder(folder)["LaMP_3"]["train"]
    stored = convert(folder, "train")
    with sqlite3.connect(stored.path) as db:
        chosen = [plain.index(q) for q in sample(plain, 3, 0)]
        db.execute(f"delete from rows where position not in ({', '.join(map(str, chosen))})")
    db.close()
    assert sample(stored, 3, 0) == [plain[p] for p in chosen]


def test_stores_of_two_folders_are_merged_and_faults_between_splits_are_seen(tmp_path):
    for name in ("one", "two"):
        for split in ("train", "dev"):
            convert(write(tmp_path / name), split)
    assert [q.id for q in load_folder(tmp_path)["LaMP_3"]["dev"]] == ["one:3", "two:3"]
    one = tmp_path / "one"
    for path in one.glob("*.json"):
        path.unlink()
    assert load_folder(one, ["LaMP_3"]).keys() == {"LaMP_3"}
    with pytest.raises(UserError, match="holds no LaMP_1; its tasks: other ones"):
        load_folder(one, ["LaMP_1"])
    (one / "dev.db").unlink()
    with pytest.raises(UserError, match="dev_questions.json is missing"):
        load_folder(one)
    (one / "dev.db").write_bytes((one / "train.db").read_bytes())
    with pytest.raises(UserError, match="dev.db holds the train split"):
        load_folder(one)
    (one / "dev.db").write_bytes((convert(write(tmp_path / "three", dev=[review(1)]),
                                          "dev")).path.read_bytes())
    with pytest.raises(UserError, match="in both train and dev: 1"):
        load_folder(one)


def test_a_large_questions_file_brings_a_line_of_advice(tmp_path, capsys, monkeypatch):
    folder = write(tmp_path / "x")
    load_folder(folder)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(files, "LARGE", 500)
    load_folder(folder)
    (line,) = capsys.readouterr().out.splitlines()  # train has two questions, dev has one
    assert "train_questions.json is large" in line
    assert f"{as_command('tagpr_lite.lamp.official')} --convert {folder}" in line


def test_the_questions_of_a_test_split_have_no_golds(tmp_path):
    write(tmp_path, dev=[review(5)])
    (q,) = read_questions(tmp_path / "dev_questions.json")
    assert (q.id, q.task.name, q.gold) == ("5", "LaMP_3", None)


def test_questions_come_before_the_file_has_been_read_to_its_end(tmp_path):
    path = write(tmp_path, train=[review(n) for n in range(2000)]) / "train_questions.json"
    read = []
    next(read_questions(path, on_block=read.append))
    assert 0 < sum(read) < path.stat().st_size / 4


def edit(name, change):
    """A fault: the JSON of one file, changed."""
    def fault(folder):
        tree = json.loads((folder / name).read_text())
        tree = change(tree) or tree
        (folder / name).write_text(json.dumps(tree))
    return fault


def raw(name, text):
    return lambda folder: (folder / name).write_text(text)


Q, G = "train_questions.json", "train_outputs.json"


def cut_the_end(folder):
    (folder / Q).write_text((folder / Q).read_text()[:-9])


def mix_tasks(folder):
    edit(Q, lambda t: t[1].update(input=TASKS["LaMP_5"].instruction))(folder)
    edit(G, lambda t: t.pop("task") and None)(folder)


def give_dev_the_files_of_train(folder):
    for name in ("questions.json", "outputs.json"):
        (folder / f"dev_{name}").write_text((folder / f"train_{name}").read_text())


FAULTS = {"train_outputs.json is missing": lambda folder: (folder / G).unlink(),
          "dev_questions.json is missing": lambda folder: (folder / "dev_questions.json").unlink(),
          "train_questions.json is not a JSON": raw(Q, "[{"),
          "premature EOF after 1 whole entries": cut_the_end,
          "nested deeper than": edit(Q, lambda t: t[1].update(more=json.loads("[" * 99 + "]" * 99))),
          "mixes tasks: LaMP_3 (question 1), LaMP_5 (question 2)": mix_tasks,
          "train_outputs.json is not a JSON": raw(G, ""),
          "holds a web page": raw(Q, "\n<!DOCTYPE html><html>"), "expected a list of questions": raw(Q, "3"),
          "question 2 has no id": edit(Q, lambda t: t[1].pop("id") and None),
          "question 1 has no id, or one": edit(Q, lambda t: t[0].update(id="1\n2")),
          "question 1 has no input": edit(Q, lambda t: t[0].update(input=None)),
          "question 1 has no profile list": edit(Q, lambda t: t[0].update(profile={})),
          "expected {\"task\"": raw(G, "[]"),
          "1 questions have no gold in the outputs file: 2": edit(G, lambda t: t["golds"].pop() and None),
          "1 golds of the outputs file have no question: 1": edit(Q, lambda t: t[1:]),
          "doubled ids: 1": edit(Q, lambda t: t + [t[0]]),
          "outputs.json: doubled ids: 2": edit(G, lambda t: t["golds"].append(t["golds"][1])),
          "2 questions have an empty profile: 1, 2": edit(Q, lambda t: [r.update(profile=[]) for r in t]
                                                          and None),
          "question 1 has a profile item without 'score'": edit(Q, lambda t: t[0]["profile"][0].pop("score")
                                                                and None),
          "question 1 has a profile item without 'id'": edit(Q, lambda t: t[0]["profile"][0].pop("id")
                                                             and None),
          "question 1 has a profile item that is not": edit(Q, lambda t: t[0]["profile"].append("x")),
          "question 2 has a profile item without 'text'": edit(
              Q, lambda t: t[1]["profile"][0].update(text=None)),
          "question 2 has a profile item with a wrong type of 'text': [5], a list": edit(
              Q, lambda t: t[1]["profile"][0].update(text=[5])),
          "score is not 1 to 5: '9'": edit(Q, lambda t: t[1]["profile"][0].update(score="9")),
          "question 1 has a profile item with a date [2012], a list": edit(
              Q, lambda t: t[0]["profile"][0].update(date=[2012])),
          "with a date 'last May' cannot be read": edit(
              Q, lambda t: t[0]["profile"][0].update(date="last May")),
          "question 1 has a user_id": edit(Q, lambda t: t[0].update(user_id=[1])),
          "outputs that are lists or objects: 1": edit(G, lambda t: t["golds"][0].update(output=[5])),
          "no answer to LaMP_3: 2": edit(G, lambda t: t["golds"][1].update(output=None)),
          "golds that are no answer to LaMP_3: 1": edit(G, lambda t: t["golds"][0].update(output="6")),
          "the outputs file says LaMP_4": edit(G, lambda t: t.update(task="LaMP_4")),
          "unknown task 'LaMP_8'": edit(G, lambda t: t.update(task="LaMP_8")),
          "question 1: no LaMP task": edit(Q, lambda t: t[0].update(input="Rate this: x")),
          "in both train and dev: 1": give_dev_the_files_of_train}


@pytest.mark.parametrize("said", FAULTS)
def test_every_fault_is_one_line(tmp_path, said):
    folder = write(tmp_path / "x")
    FAULTS[said](folder)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        load_folder(folder, [])
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_folders_that_hold_nothing_of_use(tmp_path):
    (tmp_path / "empty").mkdir()
    full = write(tmp_path / "full")
    for source, tasks, said in ((tmp_path / "no", [], "not a folder"),
                                (tmp_path / "empty", [], "no sub-folder"),
                                (full, ["LaMP_1"], "holds no LaMP_1"), (full, ["LaMP_0"], "unknown task")):
        with pytest.raises(UserError, match=said):
            load_folder(source, tasks)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real histories are not here")
def test_real_histories_load():
    loaded = load_folder(SHARED, [])
    counts = {task: (len(s["train"]), len(s["dev"])) for task, s in loaded.items()}
    assert counts == {"LaMP_1": (227, 57), "LaMP_3": (220, 115), "LaMP_4": (432, 264), "LaMP_5": (345, 62)}
    for splits in loaded.values():
        for q in splits["train"] + splits["dev"]:
            assert [i.date for i in q.profile] == sorted(i.date for i in q.profile)
            assert q.task.name != "LaMP_1" or len(TASKS["LaMP_1"].options(q.input)) == 2


def test_sample_is_seeded_ordered_and_spread():
    # Ten users, each with four questions.
    questions = [Question(str(n), TASKS["LaMP_3"], f"u{n // 4}", "", "5", ()) for n in range(40)]
    got = sample(questions, 10, seed=1)
    # These ids may never change, so that old runs can be made again.
    assert [int(q.id) for q in got] == [1, 5, 10, 15, 18, 21, 26, 30, 33, 36]
    assert got == sample(questions, 10, seed=1) != sample(questions, 10, seed=2)
    assert len({q.user for q in got}) == 10 and got == sorted(got, key=lambda q: int(q.id))
    assert len(sample(questions, 15, seed=1)) == 15
    assert sample(questions, None, 0) == sample(questions, 99, 0) == questions
    with pytest.raises(UserError):
        sample(questions, 0, 0)
