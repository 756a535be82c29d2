"""Ids that files share: tasks and splits that are numbered from 1 each."""
import pytest

from tagpr_lite.config import UserError
from tagpr_lite.lamp.identity import with_unique_ids
from tagpr_lite.lamp.tasks import TASKS, Question


def question(name, task):
    return Question(name, TASKS[task], "u", "text", "gold", ())


def ids(splits):
    return {split: [q.id for q in questions] for split, questions in splits.items()}


def test_an_id_that_is_its_own_stays():
    splits = {"train": [question("a", "LaMP_2"), question("b", "LaMP_3")], "dev": [question("c", "LaMP_3")]}
    assert with_unique_ids(splits) == splits


def test_tasks_and_splits_that_number_from_1_are_kept_apart():
    splits = {"train": [question("1", "LaMP_2"), question("1", "LaMP_3"), question("2", "LaMP_2")],
              "dev": [question("1", "LaMP_2"), question("2", "LaMP_3"), question("9", "LaMP_3")]}
    assert ids(with_unique_ids(splits)) == {
        "train": ["LaMP_2/train/1", "LaMP_3/1", "LaMP_2/2"], "dev": ["LaMP_2/dev/1", "LaMP_3/2", "9"]}


def test_an_id_twice_in_one_file_is_refused():
    with pytest.raises(UserError, match="'LaMP_2/train/1'"):
        with_unique_ids({"train": [question("1", "LaMP_2"), question("1", "LaMP_2")], "dev": []})


def test_an_id_that_looks_like_a_made_one_is_refused_rather_than_shared():
    with pytest.raises(UserError, match="'LaMP_2/1'"):
        with_unique_ids({"train": [question("1", "LaMP_2"), question("1", "LaMP_3"),
                                   question("LaMP_2/1", "LaMP_3")], "dev": []})
