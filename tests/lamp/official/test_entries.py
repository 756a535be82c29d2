"""Entries of LaMP files as other programs write them: numbers for texts, nulls, dates of any form; and where
the files lie."""
import json
import shutil

import pytest
from lamp_files import review, write

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official.fetch import convert_folder
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.tasks import TASKS


def load(folder, *rows, **more):
    return load_folder(write(folder, train=list(rows), **more))["LaMP_3"]["train"]


def items(*pairs):
    """Profile items of (date, score), whose text is the date."""
    return [{"id": number, "text": str(date), "score": score, "date": date}
            for number, (date, score) in enumerate(pairs)]


def test_whole_numbers_are_whole_however_they_are_written(tmp_path):
    profile = items((2012.0, 4.0), ("2013", "4.0"), (2014, 4))
    write(tmp_path, train=[review(1, id=7.0, user_id=12.0, profile=profile)], golds=5.0)
    outputs = tmp_path / "train_outputs.json"
    outputs.write_text(outputs.read_text().replace('"7.0"', "7"))
    question, = load_folder(tmp_path)["LaMP_3"]["train"]
    assert (question.id, question.user, question.gold) == ("7", "12", "5")
    assert [item.label for item in question.profile] == ["4", "4", "4"]
    assert [item.date for item in question.profile] == ["2012", "2013", "2014"]
    assert load(tmp_path, review(1), golds="4.0")[0].gold == "4"


def test_a_text_may_be_a_number(tmp_path):
    profile = [{"id": 1, "abstract": 1984, "title": 2001}]
    rows = [{"id": n, "input": TASKS["LaMP_5"].ask("x"), "profile": profile} for n in (1, 2)]
    folder = write(tmp_path, "LaMP_5", rows[:1], rows[1:], golds=1984)
    question, = load_folder(folder)["LaMP_5"]["train"]
    assert (question.gold, question.profile[0].text, question.profile[0].label) == ("1984", "1984", "2001")


def test_a_null_is_as_if_its_key_were_absent(tmp_path):
    row = review(9, user_id=None)
    row["profile"][0]["date"] = None
    question, = load(tmp_path, row)
    assert question.user == "9" and [item.date for item in question.profile] == ["", "2012-03-04"]


@pytest.mark.parametrize("dates", [
    ("2013-10-2", "2013-9-14"), (1050000000, 970000000), ("12/20/2019", "06/01/2019"), ("2013", "2012-12-31"),
    ("2013-05-00", "2013-02-31"), (20131002, "2013-9-14")])
def test_profiles_are_in_the_order_of_time(tmp_path, dates):
    question, = load(tmp_path, review(1, profile=items(*((date, 5) for date in dates))))
    assert [item.text for item in question.profile] == [str(date) for date in reversed(dates)]


@pytest.mark.parametrize("change, named", [
    ({"id": None}, "has no id"), ({"id": True}, "has no id"),
    ({"user_id": {"a": 1}}, "a user_id {'a': 1}, an object"),
    ({"input": 5}, "no input string but 5"), ({"profile": "x"}, "no profile list but 'x'"),
    ({"profile": items(("2013", 4.5))}, "not 1 to 5: '4.5'"),
    ({"profile": items(("2013", None))}, "without 'score'"),
    ({"profile": items(("2013", True))}, "'score': True, true or false"),
    ({"profile": items(("soon", 4))}, "a date 'soon' cannot be read")])
def test_a_value_of_another_type_is_named_as_what_it_is(tmp_path, change, named):
    with pytest.raises(UserError, match="question 1") as error:
        load(tmp_path, review(1, **change))
    assert named in str(error.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_named(tmp_path, word):
    write(tmp_path)
    file = tmp_path / "train_questions.json"
    file.write_text(file.read_text().replace('"score": 4', f'"score": {word}'))
    with pytest.raises(UserError, match=f" {word} is no number"):
        load_folder(tmp_path)


# ---------------------------------------------------------------- where the files lie

def on_server(folder):
    """Moves a folder's files to where LaMP's server has them: train/train_questions.json ..."""
    for file in sorted(folder.glob("*.json")):
        place = folder / file.name.split("_")[0] / file.name
        place.parent.mkdir(exist_ok=True)
        shutil.move(file, place)


@pytest.mark.parametrize("convert", [False, True])
def test_a_mirror_of_lamps_server_is_read(tmp_path, convert):
    plain, mirror = tmp_path / "plain", tmp_path / "time"
    tags = [{"id": n, "input": TASKS["LaMP_2"].ask("x"),
             "profile": [{"id": 1, "description": "x", "tag": "comedy"}]} for n in (1, 2)]
    old = [{**row, "input": "Which category does this article relate to among"} for row in tags]
    for source in (plain, mirror):
        write(source / "LaMP_3")
        write(source / "LaMP_2" / ("new" if source == mirror else ""), "LaMP_2", tags[:1], tags[1:], "comedy")
    expected = load_folder(plain)
    write(mirror / "LaMP_2", "LaMP_2", old[:1], old[1:], "politics")  # the old task, beside new/
    (mirror / "LaMP_3/test").mkdir()
    (mirror / "LaMP_3/test/test_questions.json").write_text(json.dumps([review(8)]))
    for folder in ("LaMP_3", "LaMP_2", "LaMP_2/new"):
        on_server(mirror / folder)
    if convert:
        convert_folder(mirror)
        assert (mirror / "LaMP_3/test.db").exists()
    read = load_folder(mirror)
    listed = {task: {split: list(splits[split]) for split in splits} for task, splits in read.items()}
    assert listed == expected and load_folder(mirror / "LaMP_3")["LaMP_3"].keys() == {"train", "dev"}
    if convert:
        file = mirror / "LaMP_3/dev/dev_questions.json"
        file.write_text(file.read_text() + " ")
        with pytest.raises(UserError, match="is not what dev.db was made from"):
            load_folder(mirror)


def test_a_missing_file_of_a_mirror_is_named(tmp_path):
    on_server(write(tmp_path / "LaMP_3"))
    (tmp_path / "LaMP_3/dev/dev_outputs.json").unlink()
    with pytest.raises(UserError, match="dev_outputs.json is missing"):
        load_folder(tmp_path)
