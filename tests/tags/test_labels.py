"""Labels are read from whatever a labeller writes, or not at all."""
import pytest

from tagpr_lite.tags import labels
from tagpr_lite.tags.teachers.chat import Reply


@pytest.mark.parametrize("said, read", [
    ("1: look_back\n2: decide_now", ("look_back", "decide_now")),
    ("1. `Look Back`\n\n2) **decide-now**", ("look_back", "decide_now")),
    ("Sure, here are the labels:\nStep 1: look_back\nStep 2: decide_now\nBye", ("look_back", "decide_now")),
    ("<think>1: not_this\n2: nor_that</think>\n2: decide_now\n1: look_back", ("look_back", "decide_now")),
    ("1: open_letter\n2: sort_books", None),
    ("1: look_back", None),
    ("1: look\n2: decide_now", None),
    ("1: look_back\n2: ???", None),
    ("", None),
    ("1: think_it_over_at_some_length_and_then_more\n2: decide_now", None),
    ("1: look_back\n1: other_name\n2: decide_now", ("look_back", "decide_now")),
])
def test_open_labels(said, read):
    assert labels.read(said, 2) == read


@pytest.mark.parametrize("said, read", [
    ("1: a_b\n2: c_d", ("a_b", "c_d")),
    ("1: a_b\n2: x_y", None),
    ("1: A_B\n2: conclude", ("a_b", "conclude")),
])
def test_closed_labels_are_out_of_the_set(said, read):
    assert labels.read(said, 2, ("a_b", "c_d", "conclude")) == read


class Labeller:
    """Reads only at the second turn for chains with "odd" in them."""

    def __init__(self):
        self.asked = []

    def ask(self, requests, tick):
        self.asked.append(len(requests))
        for _ in requests:
            tick()
        return [Reply("?" if "odd" in r.messages[-1][1] and r.temperature == 0 or "never" in r.messages[-1][1]
                      else "\n".join(f"{n}: name_it" for n in range(1, 4))) for r in requests]


def test_what_cannot_be_read_is_asked_once_more():
    model, ticks = Labeller(), []
    found, faults = labels.label(model, [("a", "b", "c"), ("odd", "x", "y"), ("never", "x", "y")], 0,
                                 tick=lambda: ticks.append(1))
    assert found == [("name_it",) * 3, ("name_it",) * 3, None] and model.asked == [3, 2] and len(ticks) == 3
    assert faults == ["", "", "an answer that names no label for each step"]


class Thinker:
    """A thinking model: in less than 500 tokens its thought does not end."""

    def ask(self, requests, tick):
        return [Reply("1: name_it\n2: name_it") if r.room >= 500 else Reply("", refused="no room")
                for r in requests]


def test_a_labeller_that_thinks_has_its_room_in_the_second_turn():
    chains = [("a", "b")]
    assert labels.label(Thinker(), chains, 0, room=1000) == ([("name_it", "name_it")], [""])
    assert labels.label(Thinker(), chains, 0) == ([None], ["no room"])


def test_the_open_question_does_not_plant_the_names_we_hope_for():
    shown = " ".join([labels.OPEN, *labels.EXAMPLE])
    assert "examine" not in shown and "pattern" not in shown and labels.read_lines(labels.EXAMPLE[1])
