"""The users of the built-in benchmark, their questions, and the rules behind them.

Decisions. A user is a function of (seed, task, split, number), so a larger benchmark contains the smaller one
and no task depends on the others. Dev users are either new people or the training users at a later time, with
their training questions added to their history. Training is the same for both.
shop_reviews has dev questions of new people alone: it measures transfer to a task that was never trained on.
"""
from __future__ import annotations

import random
from dataclasses import dataclass

from ...config import UserError
from ...runs import seed_of
from ..tasks import TASKS, Item, Question, Task, find_task
from . import chinese_choices, chinese_texts, choices, news, papers, posts
from .text import Text, Writer

WRITERS: dict[str, Writer] = {**papers.WRITERS, **choices.WRITERS, **news.WRITERS, **posts.WRITERS,
                              **chinese_choices.WRITERS, **chinese_texts.WRITERS}
LANGUAGES = ("en", "zh")
PEOPLE = ("new", "same")
PROFILE = (6, 12)  # items of a user's profile, at least and at most
TRAIN_QUESTIONS = 2  # of each training user; a dev user has one or two


@dataclass(frozen=True)
class User:
    """One user: `rule` indexes the answers of every text; the questions come after the profile in time."""
    name: str
    rule: int
    profile: list[Text]
    questions: list[Text]


def build(seed: int, users: int, tasks: list[str] = (), language: str = "en",
          people: str = "new") -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}}: `users` training users with two questions each, half as many
    dev users (at least four) with one or two.

    tasks: empty means all of the language. people: dev users are `new`, or the `same` as in training, later
    in time.
    """
    built: dict[str, dict[str, list[Question]]] = {}
    for task in tasks_of(language, tasks):
        built[task.name] = {}
        for split in ("train", "dev"):
            questions: list[Question] = []
            for user in users_of(seed, users, task, split, people):
                questions += _questions(task, user)
            built[task.name][split] = questions
    return built


def rules_of(seed: int, users: int, tasks: list[str] = (), language: str = "en",
             people: str = "new") -> dict[str, tuple[int, tuple[str, ...]]]:
    """{question id: (its user's rule, [rules] what every rule answers to it)} of what `build` makes."""
    rules: dict[str, tuple[int, tuple[str, ...]]] = {}
    for task in tasks_of(language, tasks):
        for split in ("train", "dev"):
            for user in users_of(seed, users, task, split, people):
                for question_id, text in question_texts(user):
                    rules[question_id] = (user.rule, text.answers)
    return rules


def tasks_of(language: str, tasks: list[str] = ()) -> list[Task]:
    """The tasks to make, in the order of TASKS. In Chinese LaMP_3 means LaMP_3_zh."""
    if language not in LANGUAGES:
        raise UserError(f"the built-in benchmark has no language '{language}'; it has {', '.join(LANGUAGES)}")
    known = [task for task in TASKS.values() if task.name in WRITERS and task.language == language]
    wanted = {find_task(word).name for word in tasks}
    if language != "en":
        wanted = {task if task.endswith(f"_{language}") else f"{task}_{language}" for task in wanted}
    unknown = wanted - {task.name for task in known}
    if unknown:
        raise UserError(f"the built-in benchmark in language {language} has no {', '.join(sorted(unknown))}; "
                        f"it has {', '.join(task.name for task in known)}")
    return [task for task in known if task.name in wanted or not wanted]


def users_of(seed: int, users: int, task: Task, split: str, people: str = "new") -> list[User]:
    """The users of a task's split, with what each rule would answer to each of their texts."""
    if users < 4:
        raise UserError(f"the built-in benchmark needs 4 users or more, not {users}")
    if people not in PEOPLE:
        raise UserError(f"people={people} is not known; dev users are {' or '.join(PEOPLE)}")
    is_transfer = task.lamp_name == "shop_reviews"
    if split == "train" and is_transfer:
        return []

    # Dev users who are the same people as in training are drawn with the training users' seeds.
    drawn_as = "train" if people == "same" and not is_transfer else split
    train_questions = TRAIN_QUESTIONS if drawn_as == "train" else 0
    count = users if split == "train" else max(users // 2, 4)
    drawn = []
    for n in range(count):
        rng = random.Random(seed_of("mini", seed, task.name, drawn_as, n))
        past = rng.randint(*PROFILE)
        dev_questions = rng.randint(1, 2)
        rule, texts = WRITERS[task.name](rng, past, train_questions + dev_questions)

        # texts: the profile, then the training questions, then the dev questions. For a dev user the training
        # questions belong to the history.
        if split == "train":
            start, end = past, past + train_questions
        else:
            start, end = past + train_questions, len(texts)
        name = f"{_code(task)}{drawn_as[0]}{n:03d}"
        drawn.append(User(name, rule, profile=texts[:start], questions=texts[start:end]))
    return drawn


def _code(task: Task) -> str:
    """3 for LaMP_3, s for shop_reviews, 3zh for LaMP_3_zh: what user names begin with."""
    letter = task.lamp_name[-1] if task.lamp_name.startswith("LaMP") else task.lamp_name[0]
    return letter if task.language == "en" else letter + task.language


def question_texts(user: User) -> list[tuple[str, Text]]:
    """(question id, text) of a user's questions. An id is the user's name and the text's place in their
    history, such as "3t004-9"."""
    return [(f"{user.name}-{n}", text) for n, text in enumerate(user.questions, len(user.profile))]


def _date(place: int) -> str:
    """The date of a user's text: one every quarter of a year."""
    return f"{2016 + place // 4}-{1 + 3 * (place % 4):02d}-15"


def _questions(task: Task, user: User) -> list[Question]:
    """The user's questions, each with the whole profile."""
    items = []
    for place, text in enumerate(user.profile):
        item_text, label = text.item(user.rule)
        items.append(Item(f"{user.name}-p{place}", item_text, label, _date(place)))
    questions = []
    for place, (question_id, text) in enumerate(question_texts(user), len(items)):
        questions.append(Question(question_id, task, user.name, task.ask(text.text), text.answers[user.rule],
                                  tuple(items), date=_date(place)))
    return questions
