import json

import pytest

from tagpr_lite.config import UserError
from tagpr_lite.lamp import rows
from tagpr_lite.lamp.declaration import declarations, read_declaration
from tagpr_lite.lamp.own import load_own
from tagpr_lite.lamp.scorer import item_reward, score
from tagpr_lite.lamp.tasks import TASKS, Item


def write(folder, records, said="", name="wine"):
    (folder / "records.jsonl").write_text("\n".join(json.dumps(r) for r in records))
    path = folder / "task.yaml"
    path.write_text(f"name: {name}\nrecords: records.jsonl\n"
                    + (said or "kind: text\ninstruction: Write the note."))
    return path


def record(n, **more):
    return {"user": f"u{n % 4}", "input": f"wine {n}", "output": f"note {n}",
            "history": [{"text": "older", "label": "words", "date": "2020"}], **more}


def test_records_become_questions_with_histories_and_disjoint_users(tmp_path):
    found = load_own(write(tmp_path, [record(n) for n in range(12)]), 0)["wine"]
    q = found["train"][0]
    assert q.input.startswith("Write the note. wine ") and q.gold.startswith("note ")
    assert q.task.name == "wine"
    assert q.profile == (Item("1", "older", "words", "2020"),)
    train, dev = ({q.user for q in found[s]} for s in ("train", "dev"))
    assert len(dev) == 1 and len(train) == 3 and not train & dev
    assert len(found["train"]) + len(found["dev"]) == 12
    assert load_own(tmp_path / "task.yaml", 0)["wine"] == found


def test_without_history_it_is_the_users_earlier_records(tmp_path, capsys):
    plain = [{k: v for k, v in record(n, date=f"20{20 - n:02d}-01-01").items() if k != "history"}
             for n in range(8)]
    found = load_own(write(tmp_path, plain, "kind: text\nheldout: 1"), 0)["wine"]
    assert found["train"] == [] and [q.gold for q in found["dev"]] == [f"note {n}" for n in range(4)]
    # Record 4 is older than record 0.
    assert found["dev"][0].profile == (Item("wine-5", "wine 4", "note 4", "2016-01-01"),)
    assert "4 of 8 records have no history" in capsys.readouterr().out


def test_the_records_may_say_their_split(tmp_path):
    said = [record(n, split="dev" if n < 3 else "train") for n in range(12)]
    found = load_own(write(tmp_path, said), 0)["wine"]
    assert [q.gold for q in found["dev"]] == ["note 0", "note 1", "note 2"]


def test_a_rating_of_ten_is_scored_on_its_own_scale(tmp_path):
    said = "kind: rating\nscale: [0, 10]\nitem: {text: text, label: stars}"
    records = [record(n, output=n, history=[{"text": "x", "stars": 9}]) for n in range(8)]
    task = load_own(write(tmp_path, records, said, "cups"), 0)["cups"]["train"][0].task
    assert item_reward(task, "8/10", "9") == 0.9 and item_reward(task, "11", "9") == 0
    got = score(task, {"a": "9", "b": "2"}, {"a": "9 points", "b": "?"})
    assert got["lenient"]["mae"] == 4 and got["strict"]["mae"] == (9 + 8) / 2


def test_a_choice_is_read_from_its_labels(tmp_path):
    records = [record(n, output="red", history=[{"text": "x", "label": "white"}]) for n in range(8)]
    task = load_own(write(tmp_path, records, "kind: choice\nlabels: [red, white]", "colour"),
                    0)["colour"]["train"][0].task
    assert task.parse_answer("I would say **White**.") == "white" and task.metric == "accuracy"


def test_a_later_process_knows_the_tasks_of_the_run(tmp_path):
    found = load_own(write(tmp_path, [record(n) for n in range(4)]), 0)["wine"]
    rows.write_tasks(tmp_path, found["train"])
    rows.write_questions(tmp_path, "train", found["train"])
    assert rows.read_questions(tmp_path, "train") == found["train"]
    assert rows.read_tasks(tmp_path)["wine"] == found["train"][0].task
    (tmp_path / "data/tasks.json").write_text('[{"name": "x"}]')
    with pytest.raises(UserError, match="run step 1 again"):
        rows.read_tasks(tmp_path)


def test_two_runs_in_one_process_may_call_different_tasks_by_one_name(tmp_path):
    """Reading questions leaves no trace: the name of a task means what the run folder says."""
    for folder, said in (("a", "kind: rating\nscale: [0, 3]"), ("b", "kind: text\ninstruction: Write.")):
        (tmp_path / folder).mkdir()
        made = [record(n, output="2", history=[{"text": "x", "label": "1"}]) for n in range(4)]
        found = load_own(write(tmp_path / folder, made, said), 0)["wine"]
        rows.write_tasks(tmp_path / folder, found["train"])
        rows.write_questions(tmp_path / folder, "train", found["train"])
    kinds = [rows.read_questions(tmp_path / folder, "train")[0].task.kind for folder in ("a", "b", "a")]
    assert kinds == ["rating", "text", "rating"] and "wine" not in TASKS


@pytest.mark.parametrize("said, fault", [
    ("kind: song", "kind: 'song'"), ("kind: text\ncolour: red", "unknown key 'colour'"),
    ("kind: choice", "two different"), ("kind: choice\nlabels: [a, a]", "two different"),
    ("kind: rating\nscale: [5, 1]", "scale"), ("kind: text\nheldout: 2", "heldout"),
    ("kind: text\nitem: {wine: a}", "item"), ("kind: [text]", "wrong type"),
    ("title: x", "'kind' is missing"), ("kind: text\nlanguage: xx", "language"),
    ("kind: {", "YAML"), ("kind: text\nheldout: true", "wrong type")])
def test_a_wrong_declaration_is_one_line(tmp_path, said, fault):
    with pytest.raises(UserError, match=fault) as e:
        load_own(write(tmp_path, [record(0)], said), 0)
    assert "\n" not in str(e.value) and "task.yaml" in str(e.value)


@pytest.mark.parametrize("more, fault", [
    ({"user": ""}, "record 2: 'user'"), ({"output": None}, "'output'"), ({"history": "x"}, "a list"),
    ({"history": [{"text": "x"}]}, "has no 'label'"), ({"split": "test"}, "train or dev"),
    ({"id": "wine-1"}, "doubled")])
def test_a_wrong_record_is_named(tmp_path, more, fault):
    with pytest.raises(UserError, match=fault):
        load_own(write(tmp_path, [record(0), record(1, **more)]), 0)


def test_other_faults_of_a_declaration(tmp_path):
    with pytest.raises(UserError, match="taken by another task"):
        load_own(write(tmp_path, [record(0)], name="LaMP_3"), 0)
    with pytest.raises(UserError, match="no answer to cups; they are 1, 2, 3"):
        load_own(write(tmp_path, [record(0)], "kind: rating", "cups"), 0)
    with pytest.raises(UserError, match="no record has a history"):
        load_own(write(tmp_path, [{**record(0), "history": []}]), 0)
    with pytest.raises(UserError, match="declares a task twice"):
        (tmp_path / "two.yaml").write_text("- {name: a, kind: text, records: r}\n" * 2)
        declarations(tmp_path / "two.yaml")
    with pytest.raises(UserError, match="expected `key: value`"):
        read_declaration(["x"], tmp_path)


# ---------------------------------------------------------------- numbers, nulls and dates of people's files

RATING = "kind: rating\nheldout: 1\nitem: {text: text, label: score}"


def rated(user="u", output=4, score=4, **more):
    history = [{"text": "older", "score": score}]
    return {"user": user, "input": "x", "output": output, "history": history, **more}


def load(folder, records, said=RATING):
    """The dev questions of records, in file order."""
    return load_own(write(folder, records, said, "stars"), 0)["stars"]["dev"]


@pytest.mark.parametrize("number", [5, 5.0, "5", "5.0", " 5 "])
def test_a_whole_number_is_one_answer_however_it_is_written(tmp_path, number):
    question, = load(tmp_path, [rated(output=number, score=number)])
    assert (question.gold, question.profile[0].label) == ("5", "5")


def test_users_ids_and_texts_may_be_numbers(tmp_path):
    records = [rated(user=12.0, id=7.0) | {"input": 1984, "history": None, "date": date}
               for date in (1999, 2001)]
    records[1] |= {"id": None, "user": "12"}
    question, = load(tmp_path, records)
    assert (question.user, question.id) == ("12", "stars-2")
    assert question.profile == (Item("7", "1984", "4", "1999"),)


def test_a_null_is_as_if_its_key_were_absent(tmp_path):
    nulls = {"id": None, "date": None, "split": None, "more": None}
    items = [{"text": "older", "score": 4, "id": None, "date": None}]
    plain = load(tmp_path, [rated(), rated("v")])
    assert load(tmp_path, [rated(**nulls, history=items), rated("v", **nulls, history=items)]) == plain
    assert [question.id for question in plain] == ["stars-1", "stars-2"]


@pytest.mark.parametrize("more, named", [
    ({"output": True}, "True is no|'true' is no answer"), ({"output": [5]}, r"'output' is \[5\], a list"),
    ({"user": {}}, "'user' is {}, an object"), ({"user": None}, "has no 'user'"),
    ({"output": 4.5}, "'4.5' is no answer"),
    ({"score": None}, "history item 1: has no 'score'"), ({"score": [1]}, r"'score' is \[1\], a list"),
    ({"history": [None]}, "history item 1 is None"), ({"id": []}, r"'id' is \[\], a list"),
    ({"split": 1}, "split 1 should be"), ({"date": "soon"}, "record 1: date 'soon' cannot be read"),
    ({"history": [{"text": "x", "score": 1, "date": [1]}]}, r"record 1 history: date \[1\], a list")])
def test_a_value_of_another_type_is_named_as_what_it_is(tmp_path, more, named):
    with pytest.raises(UserError, match=named) as error:
        load(tmp_path, [rated(**more)])
    assert "record 1" in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["user", "output", "date"])
def test_what_is_no_number_is_refused(tmp_path, key, number):
    with pytest.raises(UserError, match="(?i)nan|inf"):
        load(tmp_path, [rated(**{key: number})])


def test_labels_that_json_writes_as_booleans_or_numbers(tmp_path):
    said = "kind: choice\nheldout: 1\nlabels: {}\nitem: {{text: text, label: score}}"
    question, = load(tmp_path, [rated(output=True, score=False)], said.format("[true, false]"))
    assert (question.gold, question.profile[0].label) == ("true", "false")
    question, = load(tmp_path, [rated(output=1.0, score="2")], said.format("[01, 2.0]"))
    assert (question.gold, question.profile[0].label) == ("01", "2.0")


DATES = {"unix": [1050000000, 970000000, 1020000000],
         "milliseconds": [1050000000000, 970000000000, 1020000000000],
         "month first": ["01/15/2021", "12/20/2019", "06/01/2020"],
         "day first": ["15.1.2021", "20.12.2019", "1.6.2020"],
         "unpadded": ["2020-10-3", "2020-2-1", "2020-9-14"], "years": [2003, "1999", 2000.0],
         "mixed": ["2005", 970000000, "2004-05-06T10:00:00+02:00"],
         "zones": ["2020-01-01T00:30:00+00:00", "2020-01-01T01:00:00+02:00", "2019-12-31T20:00:00-04:00"]}


@pytest.mark.parametrize("form", DATES)
def test_the_future_is_in_no_history(tmp_path, form):
    """The first record has no history, the second has one item, the third two; so too in a history given."""
    third, first, second = DATES[form]
    records = [{"user": "u", "input": name, "output": 5, "date": date}
               for name, date in (("third", third), ("first", first), ("second", second))]
    histories = {question.task.payload(question.input): [item.text for item in question.profile]
                 for question in load(tmp_path, records)}
    assert histories == {"third": ["first", "second"], "second": ["first"]}
    items = [{"text": record["input"], "score": 1, "date": record["date"]} for record in records]
    question, = load(tmp_path, [rated(history=items)])
    assert [item.text for item in question.profile] == ["first", "second", "third"]


def test_a_user_without_dates_does_not_undate_the_others(tmp_path):
    plain = [{"user": "u", "input": str(date), "output": 5, "date": date} for date in (2021, 2020)]
    question, = load(tmp_path, [*plain, {"user": "v", "input": "x", "output": 5}])
    assert (question.task.payload(question.input), question.profile[0].text) == ("2021", "2020")


@pytest.mark.parametrize("dates, named", [
    (["2020", "2020-05"], "user 'u': 2020 and 2020-05 cannot be compared"),
    (["2021", None, "2020"], "2021 stands before 2020, and others have no date"),
    (["01/02/2020", "03/04/2020"], "record 1: date '01/02/2020' may begin with the day")])
def test_dates_that_cannot_be_compared_are_refused(tmp_path, dates, named):
    with pytest.raises(UserError, match=named):
        load(tmp_path, [{"user": "u", "input": "x", "output": 5, "date": date} for date in dates])


def test_a_name_becomes_the_name_of_files(tmp_path):
    with pytest.raises(UserError, match="at most 60 letters"):
        load_own(write(tmp_path, [record(n) for n in range(4)], name="x" * 61), 0)
    assert load_own(write(tmp_path, [record(n) for n in range(8)], name="x" * 60), 0)
