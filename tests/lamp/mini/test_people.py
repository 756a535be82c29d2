"""Users, splits and questions of the built-in benchmark, in both languages and with both choices of dev
users."""
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.lamp import leaks
from tagpr_lite.lamp.mini import PROFILE, build, rules_of, tasks_of, users_of
from tagpr_lite.lamp.rows import from_row, to_row
from tagpr_lite.lamp.tasks import LAMP, TASKS, detect

WAYS = list(itertools.product(("en", "zh"), ("new", "same")))
SHAPES = [t.name for t in LAMP]


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def made(request):
    """(language, people, what is built of them for 12 users)."""
    language, people = request.param
    return language, people, build(0, 12, language=language, people=people)


def questions_of(built):
    return [q for splits in built.values() for split in splits.values() for q in split]


def test_it_has_the_seven_shapes_and_the_eighth_in_both_languages(made):
    language, _, built = made
    assert [TASKS[task].lamp_name for task in built] == SHAPES
    assert all(TASKS[task].language == language for task in built)


def test_the_seed_decides_everything(made):
    language, people, built = made
    assert built == build(0, 12, language=language, people=people) != build(1, 12, language=language,
                                                                            people=people)
    for one in ("LaMP_3", "shop-reviews"):
        (task, splits), = build(0, 12, [one], language, people).items()
        assert splits == built[task]


def test_new_people_are_not_trained_on():
    for splits in build(0, 12, people="new").values():
        train, dev = ({q.user for q in splits[split]} for split in ("train", "dev"))
        assert len(dev) == 6 and not train & dev
        assert 6 <= len(splits["dev"]) <= 12
    assert len({q.user for q in build(0, 4, ["LaMP_2"])["LaMP_2"]["dev"]}) == 4


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_same_people_are_asked_later_with_their_training_questions_as_history(language):
    new, same = (build(0, 12, language=language, people=people) for people in ("new", "same"))
    for task, splits in same.items():
        if TASKS[task].lamp_name == "shop_reviews":
            assert splits == new[task]
            continue
        assert splits["train"] == new[task]["train"], "the choice of dev users changed the training"
        assert len({q.user for q in splits["dev"]}) == 6
        for q in splits["dev"]:
            trained = [t for t in splits["train"] if t.user == q.user]
            assert len(trained) == 2 and q.profile[:-2] == trained[0].profile
            assert [i.date for i in q.profile[-2:]] == [t.date for t in trained] and trained[1].date < q.date
            for item, t in zip(q.profile[-2:], trained):
                if TASKS[task].lamp_name == "LaMP_1":  # an author has written the paper asked about
                    assert item.label == TASKS[task].payload(t.input)
                elif TASKS[task].label_key:
                    assert (TASKS[task].payload(t.input), t.gold) == (item.text, item.label)
                else:
                    assert (item.text, item.label) == (t.gold, "")


def test_every_training_user_has_two_questions_and_shop_reviews_has_none(made):
    for task, splits in made[2].items():
        trained = [q.user for q in splits["train"]]
        if TASKS[task].lamp_name == "shop_reviews":
            assert trained == [] and len(splits["dev"]) >= 6
        else:
            assert len(set(trained)) == 12 and all(trained.count(user) == 2 for user in trained)


def test_questions_have_the_official_form(made):
    _, people, built = made
    longest = PROFILE[1] + (2 if people == "same" else 0)
    for q in questions_of(built):
        task = q.task
        assert detect(q.input) == q.task and from_row(to_row(q)) == q
        assert PROFILE[0] <= len(q.profile) <= longest
        dates = [i.date for i in q.profile] + [q.date]
        assert dates == sorted(set(dates))
        assert task.parse_answer(q.gold) == q.gold
        assert task.form != "citation" or len(set(task.options(q.input))) == 2
        assert q.task.name in built and all(bool(i.label) == bool(task.label_key) for i in q.profile)


def test_ids_are_of_one_question_and_users_of_one_task():
    questions = [q for way in WAYS for q in questions_of(build(0, 5, language=way[0], people=way[1]))]
    owner = {}
    for q in questions:
        assert owner.setdefault(q.user, q.task) == q.task
    for language, people in WAYS:
        ids = [q.id for q in questions_of(build(0, 5, language=language, people=people))]
        assert len(ids) == len(set(ids))


def test_nothing_leaks_but_the_users_who_are_the_same_by_choice(made):
    _, people, built = made
    for splits in built.values():
        counts = leaks.check(splits["train"], splits["dev"], [])[2]
        allowed = {"taught"}  # two users may rarely have one text
        if people == "same":
            allowed.add("shared")
        assert all(not any(counts[kind].values()) for kind in set(counts) - allowed), counts


def test_rules_of_tells_every_questions_rule_and_answers(made):
    language, people, built = made
    rules = rules_of(0, 12, language=language, people=people)
    asked = questions_of(built)
    assert set(rules) == {q.id for q in asked}
    of_user = {}
    for q in asked:
        rule, answers = rules[q.id]
        assert answers[rule] == q.gold and of_user.setdefault(q.user, rule) == rule
        assert all(q.task.parse_answer(a) == a for a in answers)
    assert len(set(of_user.values())) > 10


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2 ** 40), st.integers(4, 7), st.integers(0, 3), st.sampled_from(SHAPES))
def test_a_larger_benchmark_contains_the_smaller_one(seed, users, more, task):
    small, large = (users_of(seed, n, TASKS[task], "train") for n in (users, users + more))
    assert large[:len(small)] == small
    assert users_of(seed, users + 2 * more, TASKS[task], "dev")[:4] == users_of(seed, 8, TASKS[task], "dev")


def test_in_chinese_a_shapes_name_means_its_chinese_task():
    assert [t.name for t in tasks_of("zh", ["LaMP-3", "LaMP_1_zh"])] == ["LaMP_1_zh", "LaMP_3_zh"]
    assert [t.name for t in tasks_of("en", ["shop_reviews", "LaMP_7"])] == ["LaMP_7", "shop_reviews"]


@pytest.mark.parametrize("request_, said", [
    (dict(tasks=["LaMP_3_zh"]), "in language en has no LaMP_3_zh; it has LaMP_1"),
    (dict(tasks=["LaMP_9"]), "unknown task"),
    (dict(language="fr"), "no language 'fr'; it has en, zh"),
    (dict(people="old"), "people=old is not known; dev users are new or same"),
    (dict(users=3), "4 users or more, not 3")])
def test_bad_requests_are_one_line(request_, said):
    with pytest.raises(UserError, match=said) as error:
        build(**{"seed": 0, "users": 12, **request_})
    assert "\n" not in str(error.value)
