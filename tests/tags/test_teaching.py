"""What the teacher's chains are like, and how near another chain comes."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.schema import PRIMARY, Chain, Step, render
from tagpr_lite.tags.teaching import Teaching, lower_quartiles, teaching_of

TASK = TASKS["LaMP_3"]
Q = Question("q", TASK, "u", TASK.instruction + " A nice bar.", "4",
             (Item("a", "good soap", "5", "2001"), Item("b", "bad soap", "4", "2002")), (0,))


def chain(*tags, said="Past scores 5 4."):
    return Chain(tuple(Step(tag, said) for tag in tags), "4")


def taught(*forms, task="LaMP_3"):
    return Teaching(PRIMARY, {task: set(forms)})


def test_the_figures_of_the_kept_chains():
    rows = [{"id": "q", "task": "LaMP_3", "tags": made.tags, "text": render(made)}
            for made in (chain("conclude"), chain("conclude", said="So 4."),
                         chain("examine_examples", "conclude"))]
    got = teaching_of([*rows, {**rows[0], "id": "unknown"}], PRIMARY, [Q])
    assert got.forms == {"LaMP_3": {("conclude",), ("examine_examples", "conclude")}}
    assert got.claims == {"LaMP_3": 0.5}  # of 0, 1, 2 claims
    assert got.words == {"LaMP_3": 3.0}  # of 2, 4, 8 words


def test_what_three_of_four_chains_state_is_needed():
    def rows(task, *stated):
        return [{"id": "", "task": task, "tags": ["a"], "supports": list(words)} for words in stated]

    kept = rows("LaMP_3", ("sum",), ("sum", "conclusion"), ("sum",), ("conclusion",)) + rows("LaMP_2", (), ())
    got = teaching_of(kept)
    assert got.supports == {"LaMP_3": {"sum"}, "LaMP_2": set()}
    of_an_older_run = [{"id": "", "task": "LaMP_3", "tags": ["a"]}]
    assert teaching_of(of_an_older_run).supports == {"LaMP_3": set()}


def test_a_quarter_of_the_counts_lies_below():
    assert lower_quartiles({"b": [9, 8, 2, 9], "a": [4]}) == {"a": 4.0, "b": 6.5}


@pytest.mark.parametrize("tags, nearness", [
    ("a b c", 1.0), ("d", 1.0), ("a b", 4 / 5), ("a c", 4 / 5), ("a b c c", 6 / 7), ("c b a", 2 / 6),
    ("e", 0.0)])
def test_nearness_to_the_nearest_form(tags, nearness):
    assert taught(("a", "b", "c"), ("d",)).nearness(chain(*tags.split()), "LaMP_3") == pytest.approx(nearness)


def test_a_form_of_another_task_does_not_count_where_the_task_has_its_own():
    both = Teaching(PRIMARY, {"LaMP_3": {("a", "b")}, "LaMP_4": {("c",)}})
    assert both.nearness(chain("c"), "LaMP_3") == 0.0
    assert both.nearness(chain("c"), "LaMP_7") == 1.0  # a task without chains
    assert Teaching().nearness(chain("c"), "LaMP_3") == 1.0


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6),
       st.lists(st.sampled_from("abcd"), min_size=1, max_size=6))
def test_nearness_is_1_for_the_form_itself_alone(tags, form):
    nearness = taught(tuple(form)).nearness(chain(*tags), "LaMP_3")
    assert 0 <= nearness <= 1 and (nearness == 1) == (tags == form)
