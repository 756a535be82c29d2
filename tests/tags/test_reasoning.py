"""The state of the reasoning, counted by hand for chains that are whole, hollow, borrowed or none."""
import pytest

from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.reasoning import Written, state_of, states
from tagpr_lite.tags.teaching import Teaching, teaching_of

PROFILE = (Item("a", "The soap leaked", "3"), Item("b", "A fine box", "3"))
RATING = Question("q", TASKS["LaMP_3"], "u", f"{TASKS['LaMP_3'].instruction} The soap is bad", "2", PROFILE,
                  (0,))
MOVIE = Question("m", TASKS["LaMP_2"], "u", "A film", "comedy", (Item("a", "A film", "comedy"),), (0,))

WHOLE = ('<think>\n<examine_examples>"soap" got 3. Past scores 3 3, mean 3.0.</examine_examples>\n'
         '<analyze_query>Usually 3; "soap" bad 3 to 2.</analyze_query>\n'
         '<apply_preferences>Comes to 2.</apply_preferences>\n</think>\n2')
# Its five claims: "soap" got 3, "soap" (said twice, counted once), the scores, their mean, the usual score.
HOLLOW = ('<think>\n<examine_examples>The user wrote "nothing". About 4.</examine_examples>\n</think>\n4')
BORROWED = ('<think>\n<examine_examples>The user wrote "soap".</examine_examples>\n'
            '<infer_preferences>About 3 words, plain case, no end mark.</infer_preferences>\n</think>\n3')
TAUGHT = teaching_of([{"id": "1", "task": "LaMP_3",
                       "tags": ["examine_examples", "analyze_query", "apply_preferences"]},
                      {"id": "2", "task": "LaMP_4", "tags": ["examine_examples", "infer_preferences"]}])


def test_forms_are_the_teacher_s_by_task():
    assert TAUGHT.forms == {"LaMP_3": {("examine_examples", "analyze_query", "apply_preferences")},
                     "LaMP_4": {("examine_examples", "infer_preferences")}}


def test_a_whole_chain():
    assert state_of([Written(RATING, WHOLE, 40, 0.5)], TAUGHT) == {
        "completions": 1, "chains": 1.0, "steps": 3.0, "tokens": 40.0, "form": 1.0, "claims": 5.0,
        "true": 1.0, "follows": 1.0, "entropy": 0.5,
        "tags": {"analyze_query": 1, "apply_preferences": 1, "examine_examples": 1}}


def test_a_hollow_chain_has_no_form_and_one_false_claim():
    state = state_of([Written(RATING, HOLLOW)], TAUGHT)
    assert (state["chains"], state["steps"], state["form"]) == (1.0, 1.0, 0.0)
    assert (state["claims"], state["true"]) == (1.0, 0.0)  # "nothing" stands nowhere


def test_a_borrowed_form_is_none_of_the_task_s_and_leads_nowhere():
    state = state_of([Written(RATING, BORROWED)], TAUGHT)
    assert (state["form"], state["follows"], state["claims"]) == (0.0, 0.0, 1.0)
    of_titles = Teaching(forms={"LaMP_3": TAUGHT.forms["LaMP_4"]})
    assert state_of([Written(RATING, BORROWED)], of_titles)["form"] == 1.0


def test_a_chain_that_leaves_out_the_teacher_s_sum_does_not_follow():
    short = WHOLE.replace('Usually 3; "soap" bad 3 to 2', '"soap" bad')
    assert state_of([Written(RATING, short)], TAUGHT)["follows"] == 1.0
    with_sums = Teaching(forms=TAUGHT.forms, supports={"LaMP_3": frozenset({"sum"})})
    assert state_of([Written(RATING, short)], with_sums)["follows"] == 0.0
    assert state_of([Written(RATING, WHOLE)], with_sums)["follows"] == 1.0


def test_a_false_claim_counts_as_one_of_all():
    lie = WHOLE.replace("mean 3.0", "mean 4.0")
    assert state_of([Written(RATING, lie)], TAUGHT)["true"] == pytest.approx(4 / 5, abs=1e-4)


def test_means_are_over_all_completions_and_a_text_that_is_no_chain_counts_as_nothing():
    state = state_of([Written(RATING, WHOLE, 40), Written(RATING, "2", 2, 0.3), Written(RATING, "", 0, 0.1),
                      Written(RATING, "<think>\n<examine_examples>never closed", 18)], TAUGHT)
    assert state == {"completions": 4, "chains": 0.25, "steps": 0.75, "tokens": 15.0, "form": 0.25,
                     "claims": 1.25, "true": 1.0, "follows": 0.25, "entropy": 0.2,
                     "tags": {"analyze_query": 1, "apply_preferences": 1, "examine_examples": 1}}


def test_any_tag_is_allowed_and_the_most_frequent_comes_first():
    mine = "<think>\n<zebra>So 2.</zebra>\n<ant>So 2.</ant>\n<zebra>So 2.</zebra>\n</think>\n2"
    assert list(state_of([Written(RATING, mine)], TAUGHT)["tags"].items()) == [("zebra", 2), ("ant", 1)]


def test_without_claims_no_share_is_true_and_without_completions_all_is_zero():
    quiet = "<think>\n<conclude>So 2.</conclude>\n</think>\n2"
    assert state_of([Written(RATING, quiet)], TAUGHT)["true"] is None
    empty = state_of([], TAUGHT)
    assert empty["completions"] == 0 and empty["follows"] == 0.0 and empty["entropy"] is None


def test_each_task_is_counted_by_itself():
    movie = "<think>\n<conclude>So comedy.</conclude>\n</think>\ncomedy"
    found = states(iter([Written(RATING, WHOLE), Written(MOVIE, movie), Written(RATING, "2")]), TAUGHT)
    assert list(found["by_task"]) == ["LaMP_2", "LaMP_3"]
    assert found["all"]["completions"] == 3 and found["all"]["follows"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["by_task"]["LaMP_2"] == state_of([Written(MOVIE, movie)], TAUGHT)
    assert found["by_task"]["LaMP_3"]["form"] == 0.5
