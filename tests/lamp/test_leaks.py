import pytest

from tagpr_lite.config import UserError
from tagpr_lite.lamp.dates import is_later
from tagpr_lite.lamp.leaks import KINDS, check, lines
from tagpr_lite.lamp.tasks import TASKS, Item, Question


def title(text, gold, items, user="u", id="q", date="", task="LaMP_5"):
    return Question(id, TASKS[task], user, TASKS[task].ask(text), gold, tuple(items), date=date)


CLEAN = Item("0", "about fish", "Fish in rivers")


def leaks_of(question, exclude=()):
    train, dev, counts = check([], [question], list(exclude))
    return {kind for kind, n in counts.items() if n["dev"]}, dev


def test_a_past_title_that_is_the_gold_is_a_leak_and_can_be_left_out():
    q = title("new text", "A Study of Rivers.", [CLEAN, Item("1", "other", "a study of  rivers")])
    assert leaks_of(q) == ({"gold"}, [q])
    kinds, dev = leaks_of(q, ["gold"])
    assert kinds == {"gold"} and [i.id for i in dev[0].profile] == ["0"]


def test_a_long_gold_inside_a_text_is_a_leak_and_a_short_one_is_not():
    assert leaks_of(title("new", "Study of Rivers",
                          [Item("0", "my study of rivers, again", "x")]))[0] == {"gold"}
    assert leaks_of(title("new", "Rivers", [Item("0", "my study of rivers, again", "x")]))[0] == set()


def test_labels_that_recur_by_design_are_no_leak():
    q = Question("q", TASKS["LaMP_3"], "u", TASKS["LaMP_3"].ask("fine"), "5", (Item("0", "good", "5"),))
    assert leaks_of(q)[0] == set()
    asked = Question("q", TASKS["LaMP_3"], "u", TASKS["LaMP_3"].ask("good"), "5", (Item("0", "Good ", "5"),))
    assert leaks_of(asked)[0] == {"asked"} and leaks_of(asked, ["asked"])[1] == []


def test_a_citation_leaks_when_the_right_candidate_is_among_the_users_papers():
    words = ('For an author who has written the paper with the title "T", which reference is related? '
             'Just answer with [1] or [2] without explanation. [1]: "Graph cuts" [2]: "Cooking"')

    def citation(gold):
        return Question("q", TASKS["LaMP_1"], "u", words, gold, (Item("0", "abstract", "graph cuts"),))

    assert leaks_of(citation("[1]"))[0] == {"gold"}
    assert leaks_of(citation("[2]"))[0] == set()


def test_items_dated_after_the_question_are_future():
    q = title("new", "A Title Here", [Item("0", "a", "x", "2019-05"), Item("1", "b", "y", "2021")],
              date="2020-01-01")
    kinds, dev = leaks_of(q, ["future"])
    assert kinds == {"future"} and [i.id for i in dev[0].profile] == ["0"]
    assert is_later("2013", "2012-05") and not is_later("2012-05", "2012")
    assert not is_later("", "2012") and not is_later("2012", "")


def test_shared_users_and_dev_questions_in_training_profiles():
    dev = title("the dev text", "Some Dev Title", [CLEAN], user="a", id="d")
    train = [title("x", "One Two Three", [Item("1", "The dev text", "Some Dev Title"), CLEAN], user="a",
                   id="t"), title("y", "Four Five Six", [CLEAN], user="b", id="s")]
    kept, same, counts = check(train, [dev], ["shared", "taught"])
    assert counts["shared"] == {"train": 1, "dev": 1} and counts["taught"] == {"train": 1, "dev": 0}
    assert [q.id for q in kept] == ["s"] and same == [dev]
    kept = check(train, [dev], ["taught"])[0]
    assert [len(q.profile) for q in kept] == [1, 1] and check(train, [dev], [])[0] == train


def test_what_is_printed_names_the_counts_and_what_was_left_out():
    counts = {kind: {"train": 0, "dev": 0} for kind in KINDS} | {"gold": {"train": 1, "dev": 2}}
    assert lines(counts, ["gold"]) == [
        "1 train and 2 dev questions have their answer in the profile (left out)"]


def test_an_unknown_kind_is_one_line():
    with pytest.raises(UserError, match="unknown tense; known: gold, asked"):
        check([], [], ["tense"])
