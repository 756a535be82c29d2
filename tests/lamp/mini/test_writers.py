"""The texts of the built-in benchmark: varied, short, and with rules that can be told apart."""
from collections import Counter
from itertools import combinations

import pytest

from tagpr_lite.lamp.mini import WRITERS, build, chinese_choices, papers, users_of
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.lamp.words import length_units

TEXT_TASKS = [task for task in WRITERS if TASKS[task].kind == "text"]
# Share of the texts of 200 users that equal an earlier one. Between any two users that is one in thousands.
FEW = 0.04


@pytest.fixture(scope="module")
def people():
    """{task: 200 training users, or the 200 dev users where a task has no training}."""
    made = {}
    for task in WRITERS:
        made[task] = users_of(0, 200, TASKS[task], "train") or users_of(0, 400, TASKS[task], "dev")
    return made


def asked(users):
    return [text for user in users for text in user.questions]


@pytest.mark.parametrize("task", WRITERS)
def test_hardly_any_text_occurs_twice(people, task):
    questions = [text.text for text in asked(people[task])]
    items = [text.item(user.rule) for user in people[task] for text in user.profile]
    for texts in (questions, items):
        assert 1 - len(set(texts)) / len(texts) < FEW
    meet = [{text.item(user.rule) for text in user.profile} for user in people[task]]
    sharing = sum(bool(a & b) for a, b in combinations(meet, 2))
    assert sharing / (len(meet) * (len(meet) - 1) / 2) < 0.01


@pytest.mark.parametrize("task", WRITERS)
def test_texts_are_short(people, task):
    language = TASKS[task].language
    for user in people[task][:50]:
        for text in user.questions:
            content = text.text.replace(
                "which reference is related? Just answer with [1] or [2] without explanation.", "")
            if language == "en":
                assert len(content.split()) <= 32
            else:
                assert len(content) <= 60


@pytest.mark.parametrize("task", WRITERS)
def test_every_rule_occurs_among_many_users(people, task):
    rules = len(people[task][0].questions[0].answers)
    seen = Counter(user.rule for user in people[task])
    assert set(seen) <= set(range(rules)) and (len(seen) == rules or rules > 100 < len(seen))


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_rules_differ_in_what_rouge_sees(people, task):
    """No two rules write the same words, in any order: else ROUGE-1 could not tell them apart."""
    language, users = TASKS[task].language, people[task][:40]
    for text in asked(users):
        bags = [tuple(sorted(length_units(" ".join(words(a)), language))) for a in text.answers]
        assert len(set(bags)) == len(bags)


def words(text):
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


@pytest.mark.parametrize("task", ["LaMP_7", "LaMP_7_zh"])
def test_past_tweets_are_in_the_users_own_style(people, task):
    for user in people[task][:20]:
        assert all(text.item(user.rule) == (text.answers[user.rule], "") for text in user.profile)
    q = build(0, 4, [task], TASKS[task].language)[task]["train"][0]
    assert all(i.label == "" for i in q.profile) and q.gold != TASKS[task].payload(q.input)


@pytest.mark.parametrize("task", ["LaMP_2", "LaMP_2_zh"])
def test_a_movies_theme_occurs_twice_in_the_profile(people, task):
    for user in people[task]:
        for text in user.questions:
            assert sum(past.answers == text.answers for past in user.profile) >= 2


@pytest.mark.parametrize("language, subjects", [("en", papers.SUBJECTS), ("zh", chinese_choices.SUBJECTS)])
def test_only_past_papers_tell_which_reference_fits(language, subjects):
    task = "LaMP_1" if language == "en" else "LaMP_1_zh"
    held = lambda text: {name for name, things in subjects.items()
                         if any(thing in text.lower() for thing in things)}
    places = Counter()
    for splits in build(0, 60, [task], language).values():
        for q in splits["train"]:
            cited = int(q.gold[1]) - 1
            options = TASKS[task].options(q.input)
            focus = set().union(*(held(i.label) for i in q.profile))
            assert len(focus) == 2 and all(held(i.text) <= focus for i in q.profile)
            assert not held(TASKS[task].payload(q.input)), "the author's own title gives its subject away"
            assert held(options[cited]) <= focus and not held(options[1 - cited]) & focus
            places[cited] += 1
    assert 0.3 < places[0] / sum(places.values()) < 0.7


def test_no_word_of_a_subject_occurs_in_another():
    for a, b in combinations(papers.SUBJECTS.values(), 2):
        assert not set(" ".join(a).split()) & set(" ".join(b).split())
    things = [thing for things in chinese_choices.SUBJECTS.values() for thing in things]
    assert not any(a in b for a in things for b in things if a is not b)


def test_a_rating_follows_the_users_measure():
    """Stricter users never give more stars, whichever aspect counts most."""
    for user in users_of(3, 30, TASKS["LaMP_3"], "train"):
        for text in user.profile + user.questions:
            scores = list(map(int, text.answers))
            strict, fair, lenient = scores[:3], scores[3:6], scores[6:]
            assert all(a <= b <= c for a, b, c in zip(strict, fair, lenient))
