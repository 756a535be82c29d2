"""A text is read with what other users' scores say of its words."""
from dataclasses import replace

import numpy as np
import pytest

from tagpr_lite.lamp import mini
from tagpr_lite.lamp.mini.choices import ASPECTS
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.teachers import cues
from tagpr_lite.tags.teachers.cues import LISTS, Cues, learn, total, units

TASK = TASKS["LaMP_3"]


def reviews(seed=0, users=60):
    return mini.build(seed, users)["LaMP_3"]


def question(user, rows):
    return Question(f"q{user}", TASKS["LaMP_3"], user, TASK.ask("x"), "3",
                    tuple(Item(str(n), t, str(s)) for n, (t, s) in enumerate(rows)))


@pytest.mark.parametrize("text, want", [
    ("It was not good at all", ["not good"]),
    ("It is a bad, poor thing", ["bad", "thing", "poor"]),
    ("This isn't really great", ["isn't really", "isn't really great"]),
    ("", []),
    ("价格便宜", ["价格", "格便", "便宜"]),
])
def test_units_are_content_words_with_their_negation(text, want):
    assert sorted(text[a:b] for _, a, b in units(text)) == sorted(want)
    assert [a for _, a, _ in units(text)] == sorted(a for _, a, _ in units(text))


def test_praise_and_complaint_of_the_built_in_benchmark_are_told_apart():
    """Their signs are known; learnt from scores alone."""
    known, signs = learn(reviews()["train"]), []
    for praise, complaint in ASPECTS.values():
        signs += [(total(known.read("LaMP_3", "new", said)), side) for side,
                  all_of in ((1, praise), (-1, complaint)) for said in all_of]
    assert np.mean([read * side > 0 for read, side in signs]) >= 0.9, signs


def test_a_reading_says_something_about_users_never_seen():
    known, dev = learn(reviews()["train"]), reviews()["dev"]
    rows = [(total(known.read(q.task.name, q.user, i.text)),
             int(i.label) - np.mean([int(x.label) for x in q.profile])) for q in dev for i in q.profile]
    assert np.corrcoef(*zip(*rows))[0, 1] > 0.6


def test_a_user_is_read_without_their_own_scores():
    """Whatever scores a user gave, their own texts are read the same."""
    train = reviews()["train"]
    user = train[0].user
    turned = [replace(q, profile=tuple(replace(i, label=str(6 - int(i.label))) for i in q.profile))
              if q.user == user else q for q in train]
    a, b = learn(train), learn(turned)
    own = [i.text for q in train if q.user == user for i in q.profile]
    assert a.weights["LaMP_3"] != b.weights["LaMP_3"]
    assert [a.read("LaMP_3", user, t) for t in own] == [b.read("LaMP_3", user, t) for t in own]


def test_few_texts_or_scores_that_mean_nothing_are_read_with_the_lists():
    rows = [("a good kettle", 5), ("a bad kettle", 1)]
    assert learn([question("u", rows)]) == Cues()
    noise = [question(str(u), [(f"good item {u}", 4), (f"good thing {u}", 5 - u % 3)]) for u in range(30)]
    assert learn(noise) == Cues()
    liked = [question(str(u), [(f"good item{u}", 5), (f"bad item{u}", 1)]) for u in range(30)]
    known = learn(liked)
    assert total(known.read("LaMP_3", "new", "bad")) < 0 < total(known.read("LaMP_3", "new", "good"))
    assert Cues().read("LaMP_3", "u",
                       "It was not good, but great value")[0] == cues.Cue("not good", LISTS["not good"])


def test_neighbours_that_say_the_same_are_one_cue():
    said = lambda text: [c.text for c in Cues().read("LaMP_3", "u", text)]
    assert said("great smooth soap") == ["great smooth"]
    assert said("great, smooth soap") == ["great", "smooth"]
    assert said("great terrible soap") == ["great", "terrible"]
    assert said("great soap and Great soap") == ["great"]
    assert Cues().read("LaMP_3", "u", "great smooth soap")[0].weight == 0.5


def test_other_languages_and_tasks():
    known = learn(mini.build(0, 60, language="zh")["LaMP_3_zh"]["train"])
    assert total(known.read("LaMP_3_zh", "new", "做工扎实")) > 0
    assert total(known.read("LaMP_3_zh", "new", "做工粗糙")) < 0
    assert learn([q for q in mini.build(0, 4)["LaMP_2"]["train"]]) == Cues()
