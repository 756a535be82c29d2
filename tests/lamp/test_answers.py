"""One reader of an answer: after the thought, labels as themselves, texts whole."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp.answers import answer_of, label
from tagpr_lite.lamp.tasks import TASKS, Task


@pytest.mark.parametrize("text, answer", [
    ("<think>\nThis user gave 2 stars.\n</think>\n\n5", "5"), ("5", "5"),
    ("<think>Three past items got 1", ""), ("Sure.\n<think>2 is low", ""),
    ("a</think>b</think> c", "c"),  # the prompt opened the thought
    ("<think>a</think> 4 <think>or 2", ""), ("<Thinking>1</Thinking>4", "4"), ("[THINK]1[/THINK]4", "4"),
    ("<think></think>", ""), ("think: 4", "think: 4")])
def test_the_answer_is_what_follows_the_last_thought(text, answer):
    assert answer_of(text) == answer
    assert TASKS["LaMP_3"].parse_answer(text) == (answer[-1:] if answer[-1:].isdigit() else None)


LABELS = st.lists(st.one_of(
    st.sampled_from(["yes", "no", "on", "C", "C++", "C#", "very good", "good", "not good", "red", "Red",
                     "red.", "-1", "1", "10", "1.0", "score: high", "Answer: no", "the tag is", "[1]", '"q"',
                     "кот", "который", "अच्छ", "अच्छा", "好", "很好", "ดี", "ดีมาก", "a  b", "a-b", "sci-fi",
                     "?", "**"]),
    st.text(min_size=1, max_size=6).map(str.strip).filter(bool)), min_size=2, max_size=8, unique=True)


@given(LABELS)
def test_every_label_reads_as_itself(labels):
    """Whatever the other labels are."""
    assert [label(name, tuple(labels)) for name in labels] == labels


@given(st.sampled_from(["yes", "very good", "C++", "Red", "который", "अच्छा", "很好", "score: high"]),
       st.sampled_from(["{}", "**{}**", "Answer: {}", '"{}".', "The answer is **{}**.", "  {}\n",
                        "<think>no</think>{}"]))
def test_a_label_is_read_in_what_models_write_around_it(name, written):
    labels = ("no", "good", "C", "red", "кот", "अच्छ", "好", "high", "yes", "very good", "C++", "Red",
              "который", "अच्छा", "很好", "score: high")
    task = Task("x", "x", "choice", "", labels=labels)
    assert task.parse_answer(written.format(name)) == name


@pytest.mark.parametrize("text, labels, read", [
    ("I would say который, surely", ("кот", "да"), None),  # a part of a word is no label
    ("यह अच्छा है", ("अच्छ", "नहीं"), None),
    ("ร้านนี้ดีมาก", ("ดี", "แย่"), "ดี"),  # a script without spaces has no words of its own
    ("It is very good", ("good", "very good"), "very good")])
def test_labels_are_words_of_their_own_in_every_script(text, labels, read):
    assert label(text, labels) == read


@pytest.mark.parametrize("scale", [(0, 10), (1, 5), (1, 100), (0, 1)])
def test_every_rating_reads_as_itself(scale):
    ratings = tuple(map(str, range(scale[0], scale[1] + 1)))
    task = Task("x", "x", "rating", "", labels=ratings)
    assert tuple(map(task.parse_answer, ratings)) == ratings
    assert [task.parse_answer(f"Score: {rating}.") for rating in ratings] == list(ratings)


def test_a_title_is_its_first_line_and_other_texts_are_whole():
    text = 'Tweet: one line\n\nand another'
    assert TASKS["LaMP_7"].parse_answer(text) == "one line\n\nand another"
    assert TASKS["LaMP_4"].parse_answer("one line\n\nand another") == "one line"
