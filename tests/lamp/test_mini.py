import pytest

from tagpr_lite.config import UserError
from tagpr_lite.lamp.mini import PROFILE, WRITERS, build, describe
from tagpr_lite.lamp.tasks import TASKS, detect, from_row, to_row


@pytest.fixture(scope="module")
def made():
    return build(0, 12, [])


def test_the_seed_decides_everything(made):
    assert made == build(0, 12, list(WRITERS)) != build(1, 12, [])
    assert build(0, 12, ["LaMP_3"]) == {"LaMP_3": made["LaMP_3"]}


def test_sizes_and_disjoint_users(made):
    for splits in made.values():
        train, dev = ({q.user for q in splits[s]} for s in ("train", "dev"))
        assert (len(train), len(dev)) == (12, 6) and not train & dev
        assert len(splits["train"]) == 24 and 6 <= len(splits["dev"]) <= 12
        ids = [q.id for q in splits["train"] + splits["dev"]]
        assert len(ids) == len(set(ids))
    assert len({q.user for q in build(0, 4, ["LaMP_2"])["LaMP_2"]["dev"]}) == 4


def test_questions_have_the_official_form(made):
    for task, splits in made.items():
        for q in splits["train"] + splits["dev"]:
            assert detect(q.input) == q.task == task and from_row(to_row(q)) == q
            assert PROFILE[0] <= len(q.profile) <= PROFILE[1]
            assert [i.date for i in q.profile] == sorted({i.date for i in q.profile})
            assert TASKS[task].parse_answer(q.gold) == q.gold
            assert len(TASKS[task].payload(q.input).split()) <= 32


def test_a_movies_theme_occurs_twice_in_the_profile(made):
    for q in made["LaMP_2"]["train"]:
        assert sum(i.label == q.gold for i in q.profile) >= 2


def test_the_profile_is_needed_and_enough():
    table = describe(0, 40)
    for task, row in table.items():
        if TASKS[task].lower_is_better:
            assert row["oracle"] < 0.1 and row["no_profile"] > 0.5 and row["trivial"] > 0.5
        else:
            assert row["oracle"] > 0.9 and row["no_profile"] < 0.65 and row["trivial"] < 0.5


def test_bad_requests_are_one_line():
    with pytest.raises(UserError, match="has no LaMP_7"):
        build(0, 12, ["LaMP_7"])
    with pytest.raises(UserError, match="4 users or more"):
        build(0, 3, [])
