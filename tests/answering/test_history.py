"""The history of a person: what is added is there, in its order, and nothing else changes it."""
import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.answering.history import History, items_of_file, label_of
from tagpr_lite.config import UserError
from tagpr_lite.lamp.tasks import TASKS, Item

RATING, FREE = TASKS["LaMP_3"], TASKS["LaMP_5"]


def shown(items):
    return [(item.text, item.label, item.date) for item in items]


def test_items_come_back_in_their_order_to_their_user_and_task(tmp_path):
    history = History(tmp_path / "mine.db")
    history.add("you", RATING, [Item("", "old", "4", "2012-01-01"), Item("", "new", "5")])
    history.add("other", RATING, [Item("", "theirs", "1")])
    history.add("you", FREE, [Item("", "abstract", "A title")])
    again = History(tmp_path / "mine.db")
    assert shown(again.items("you", RATING)) == [("old", "4", "2012-01-01"), ("new", "5", "")]
    assert shown(again.items("other", RATING)) == [("theirs", "1", "")]
    assert again.items("nobody", RATING) == () and again.users() == ["other", "you"]


def test_an_item_is_corrected_and_forgotten_by_its_number(tmp_path):
    history = History(tmp_path / "mine.db")
    history.add("you", RATING, [Item("", text, "4") for text in "abc"])
    first, second, third = (int(item.id) for item in history.items("you", RATING))
    history.correct("you", RATING, second, " 2 ")
    history.remove("you", RATING, third)
    assert shown(history.items("you", RATING)) == [("a", "4", ""), ("b", "2", "")]
    for work in (lambda: history.remove("other", RATING, first), lambda: history.remove("you", RATING, third),
                 lambda: history.correct("you", FREE, first, "x")):
        with pytest.raises(UserError, match="no item"):
            work()
    history.add("you", RATING, [Item("", "d", "1")])
    assert int(history.items("you", RATING)[-1].id) > third  # a number is never given twice


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from("12345")), max_size=5))
def test_any_text_is_kept_as_it_is(tmp_path_factory, rows):
    rows = [(text, label) for text, label in rows if text.isprintable() or "\0" not in text]
    rows = [(text.encode("utf-8", "replace").decode(), label) for text, label in rows]
    history = History(tmp_path_factory.mktemp("h") / "mine.db")
    history.add("u'; DROP TABLE items; --", RATING, [Item("", text, label) for text, label in rows])
    found = history.items("u'; DROP TABLE items; --", RATING)
    assert [(item.text, item.label) for item in found] == rows


@pytest.mark.parametrize("label", ["6", "", " ", "five", "4.5", "\x1b[31m"])
def test_what_is_no_answer_is_refused_in_one_line(tmp_path, label):
    history = History(tmp_path / "mine.db")
    with pytest.raises(UserError) as error:
        history.add("you", RATING, [Item("", "fine", "4"), Item("", "x", label)])
    assert str(error.value).isprintable()
    assert history.items("you", RATING) == ()  # all or none
    assert label_of(RATING, " 4 ") == "4" and label_of(FREE, " Two words ") == "Two words"


def test_halves_of_surrogate_pairs_become_question_marks(tmp_path):
    history = History(tmp_path / "mine.db")
    history.add("you", FREE, [Item("", "a \ud800", "\ud83d title")])
    history.correct("you", FREE, 1, "\udcff title")
    assert shown(history.items("you", FREE)) == [("a ?", "? title", "")]


def other_program(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE items (x)")


@pytest.mark.parametrize("make, says", [
    (other_program, "another program"), (lambda path: path.write_text("no database"), "cannot be used"),
    (lambda path: path.mkdir(), "cannot be used")])
def test_another_file_is_refused_and_left_alone(tmp_path, make, says):
    path = tmp_path / "mine.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError, match=says):
        History(path)
    assert before is None or path.read_bytes() == before


def test_a_jsonl_file_has_the_keys_of_the_task(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"text": "new", "score": 5, "date": "2013-02-01"},
            {"text": "old", "score": "4", "date": "2012-02-01"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert shown(items_of_file(path, RATING)) == [("old", "4", "2012-02-01"), ("new", "5", "2013-02-01")]
    for text, says in (('{"text": "x"}', "has no 'score'"), ("[1]", "line 1"), ("{", "line 1"),
                       ('{"text": "x", "score": 9}', "no answer to LaMP_3")):
        path.write_text(text + "\n")
        with pytest.raises(UserError, match=says):
            items_of_file(path, RATING)
