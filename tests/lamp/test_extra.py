"""Questions made of profile items: nothing from the future, nothing asked twice."""
from dataclasses import replace

from tagpr_lite.lamp import leaks, mini
from tagpr_lite.lamp.extra import from_profiles
from tagpr_lite.lamp.tasks import TASKS, detect


def made():
    return mini.build(0, 8, ["LaMP_3"])["LaMP_3"]["train"]


def test_each_is_an_item_with_the_items_before_it():
    questions = made()
    by_user = {q.user: q.profile for q in questions}
    for q in from_profiles(questions, 1000, seed=0):
        n = len(q.profile)
        assert detect(q.input) == q.task == TASKS["LaMP_3"] and q.profile == by_user[q.user][:n] and n >= 1
        assert (TASKS["LaMP_3"].payload(q.input), q.gold) == (by_user[q.user][n].text,
                                                              by_user[q.user][n].label)


def test_what_is_asked_already_is_not_asked_again():
    q = made()[0]
    known = replace(q, id="known", input=q.input.replace(q.task.payload(q.input), q.profile[2].text))
    texts = [x.task.payload(x.input) for x in from_profiles([q, known], 1000, seed=0)]
    assert q.profile[2].text not in texts and len(texts) == len(set(texts)) == len(q.profile) - 2


def test_it_is_bounded_seeded_and_leaves_undated_histories_alone():
    questions = made()
    assert len(from_profiles(questions, 5, seed=0)) == 5
    assert from_profiles(questions, 5, 0) == from_profiles(questions, 5, 0)
    undated = [replace(q, profile=tuple(replace(i, date="") for i in q.profile)) for q in questions]
    assert from_profiles(undated, 5, seed=0) == []


def test_each_is_asked_at_the_date_of_its_item():
    questions = made()
    assert all(leaks.check([q], [], [])[2]["future"]["train"] == 0 and q.date > q.profile[-1].date
               for q in from_profiles(questions, 1000, seed=0))
