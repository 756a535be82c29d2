"""`ask --interactive`: what is typed is a question, an answer or a command, and none is taken for another."""
import io
import sys

import pytest

from tagpr_lite.answering import conversation
from tagpr_lite.answering.conversation import Conversation
from tagpr_lite.answering.history import History
from tagpr_lite.answering.own_history import OwnHistory
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.runs import guard

RATING, TITLE = TASKS["LaMP_3"], TASKS["LaMP_5"]


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """A function of typed lines: (what is printed, [(text, label)] of the items afterwards)."""
    def with_lines(*lines, task=RATING, answer="4", path=tmp_path / "m.db"):
        asked = []
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        talking = Conversation(OwnHistory(path, task, grows=True),
                               lambda text: asked.append(text) or answer)
        guard(talking.go_on)
        kept = History(path.with_suffix(".db")).items("you", task)
        return capsys.readouterr().out, [(item.text, item.label) for item in kept]
    return with_lines


def test_a_command_is_a_command_at_the_question_too(talk):
    out, items = talk("One.", "", "Two.", "/history", "/fix 1 2", "/forget 9", "", "Three.", "/quit", "never",
                      task=TITLE, answer="A title")
    assert items == [("One.", "2"), ("Two.", "A title")]
    assert "item 1 is now: 2" in out and "error: there is no item 9" in out and out.count("is it yours?") == 6


def test_a_mistyped_correction_is_asked_for_again(talk):
    out, items = talk("One.", "banana", "9", "2", "Two.", "banana", "-", "Three.", "banana", "")
    assert items == [("One.", "2"), ("Three.", "4")]
    assert out.count("is no answer to LaMP_3") == 4


def test_an_answer_that_cannot_be_read_is_not_offered(talk):
    out, items = talk("One.", "", "Two.", "3", answer=None)
    assert items == [("Two.", "3")] and "is it yours? [write yours, or - to leave it out]" in out


def test_items_are_shown_whole_and_changes_are_said(talk):
    long = "A title of many words, " * 4 + "ends"
    out, _ = talk("/history", "One.", long, "/history", "/forget 1", "/nonsense", task=TITLE)
    assert "no items yet" in out and f"1  {long}  One." in out and "item 1 is forgotten" in out
    assert out.count("/forget 3") == 2  # the help, at the beginning and after nonsense


def test_a_pasted_text_of_several_lines_is_one_question(monkeypatch):
    waiting = iter([True, True, True, False, False])
    monkeypatch.setattr(conversation, "is_pasted", lambda: next(waiting))
    monkeypatch.setattr(sys, "stdin", io.StringIO("First.\nSecond.\n\nThird.\n/quit\nAnother.\n"))
    read = [conversation.read_text("") for _ in range(3)]
    assert read == ["First.\nSecond.\n\nThird.", "/quit", "Another."]


# ---------------------------------------------------------------- the two files

def test_which_file_is_read_is_said(talk, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "old", "score": 5}\n')
    out, items = talk("One.", "2", path=path)
    assert items == [("old", "5"), ("One.", "2")]
    assert f"note: what you correct is kept in {tmp_path / 'mine.db'}, which begins with the items" in out
    out, _ = talk(path=path)
    assert f"note: {tmp_path / 'mine.db'} is read, with what you corrected, not {path}" in out
    path.write_text('{"text": "old", "score": 5}\n{"text": "new", "score": 1}\n')
    out, items = talk(path=path)
    assert f"is read, with what you corrected; 1 items of {path} are not in it" in out and len(items) == 2

    # Without --interactive the JSONL file is read.
    plain = OwnHistory(path, RATING, grows=False)
    assert [item.text for item in plain.items()] == ["old", "new"]
    assert f"note: {tmp_path / 'mine.db'} is not read" in capsys.readouterr().out
    assert [item.text for item in OwnHistory(path.with_suffix(".db"), RATING, grows=False).items()] \
        == ["old", "One."]


def test_all_items_can_be_forgotten(talk, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "old", "score": 5}\n')
    out, items = talk("/forget 1", "/history", path=path)
    assert items == [] and "no items yet" in out
