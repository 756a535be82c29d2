"""The users of the built-in benchmark, their questions, and the rules behind them.

Decisions. A user is a function of (seed, task, split, number), so a larger benchmark contains the smaller one
and no task depends on the others. Training is the same for both choices of dev users: those are either new
people or the training users at a later time, with their training questions added to their history.
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
    return {task.name: {split: [q for user in users_of(seed, users, task, split, people)
                                for q in _questions(task, user)] for split in ("train", "dev")}
            for task in tasks_of(language, tasks)}


def rules_of(seed: int, users: int, tasks: list[str] = (), language: str = "en",
             people: str = "new") -> dict[str, tuple[int, tuple[str, ...]]]:
    """{question id: (its user's rule, [rules] what every rule answers to it)} of what `build` makes."""
    return {name: (user.rule, text.answers) for task in tasks_of(language, tasks)
            for split in ("train", "dev") for user in users_of(seed, users, task, split, people) for name,
            text in _named(user)}


def tasks_of(language: str, tasks: list[str] = ()) -> list[Task]:
    """The tasks to make, in the order of TASKS. In Chinese LaMP_3 means LaMP_3_zh."""
    if language not in LANGUAGES:
        raise UserError(f"the built-in benchmark has no language '{language}'; it has {', '.join(LANGUAGES)}")
    known = [task for task in TASKS.values() if task.name in WRITERS and task.language == language]
    wanted = {find_task(word).name for word in tasks}
    if language != "en":
        wanted = {task if task.endswith(f"_{language}") else f"{task}_{language}" for task in wanted}
    if unknown := wanted - {task.name for task in known}:
        raise UserError(f"the built-in benchmark in language {language} has no {', '.join(sorted(unknown))}; "
                        f"it has {', '.join(task.name for task in known)}")
    return [task for task in known if task.name in wanted or not wanted]


def users_of(seed: int, users: int, task: Task, split: str, people: str = "new") -> list[User]:
    """The users of a task's split, with what each rule would answer to each of their texts."""
    if users < 4:
        raise UserError(f"the built-in benchmark needs 4 users or more, not {users}")
    if people not in PEOPLE:
        raise UserError(f"people={people} is not known; dev users are {' or '.join(PEOPLE)}")
    transfer = task.lamp_name == "shop_reviews"
    if split == "train" and transfer:
        return []
    home = "train" if people == "same" and not transfer else split
    asked = TRAIN_QUESTIONS if home == "train" else 0
    made = []
    for n in range(users if split == "train" else max(users // 2, 4)):
        rng = random.Random(seed_of("mini", seed, task.name, home, n))
        past, later = rng.randint(*PROFILE), rng.randint(1, 2)
        rule, texts = WRITERS[task.name](rng, past, asked + later)
        start, end = (past, past + asked) if split == "train" else (past + asked, len(texts))
        made.append(User(f"{_code(task)}{home[0]}{n:03d}", rule, texts[:start], texts[start:end]))
    return made


def _code(task: Task) -> str:
    """3 for LaMP_3, s for shop_reviews, 3zh for LaMP_3_zh: what user names begin with."""
    language = "" if task.language == "en" else task.language
    return (task.lamp_name[-1] if task.lamp_name.startswith("LaMP") else task.lamp_name[0]) + language


def _named(user: User) -> list[tuple[str, Text]]:
    """A user's questions by their ids: the user's name and the text's place in their history."""
    return [(f"{user.name}-{n}", text) for n, text in enumerate(user.questions, len(user.profile))]


def _date(place: int) -> str:
    """The date of a user's text: one every quarter of a year."""
    return f"{2016 + place // 4}-{1 + 3 * (place % 4):02d}-15"


def _questions(task: Task, user: User) -> list[Question]:
    items = tuple(Item(f"{user.name}-p{n}", *text.item(user.rule), _date(n)) for n,
                  text in enumerate(user.profile))
    return [Question(name, task, user.name, task.ask(text.text), text.answers[user.rule], items,
                     date=_date(n)) for n, (name, text) in enumerate(_named(user), len(items))]
