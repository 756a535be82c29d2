"""What can be reached on the built-in benchmark is computed right, and leaves room for personalization."""
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.lamp.mini import build, describe, reach, references
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS


@pytest.fixture(scope="module", params=["en", "zh"])
def table(request):
    return describe(0, 40, request.param)


def test_the_profile_is_needed_and_enough(table):
    assert len(table) == 8
    for task, row in table.items():
        kind = TASKS[task].kind
        assert row["oracle"] == (0 if kind == "rating" else 1)
        if kind == "rating":
            assert row["profile"] < 0.1
            assert row["no_profile"] > 0.5 and row["trivial"] > 0.5 and row["copy"] > 0.5
        else:
            assert row["profile"] > 0.9 and row["no_profile"] < 0.66 and row["trivial"] < 0.66
            assert row["copy"] is None or row["copy"] < 0.8


def test_headroom_is_what_the_rule_gains_over_the_best_answer_without_it(table):
    for task, row in table.items():
        sign = -1 if TASKS[task].lower_is_better else 1
        assert row["headroom"] == pytest.approx(sign * (row["oracle"] - row["no_profile"]))
        assert row["headroom"] > 0.3 and row["metric"] == TASKS[task].metric


def test_the_questions_are_those_that_are_built(table):
    language = TASKS[next(iter(table))].language
    built = build(0, 40, language=language)
    described = {task: row["questions"] for task, row in table.items()}
    assert described == {task: len(splits["dev"]) for task, splits in built.items()}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["LaMP_2", "LaMP_3", "LaMP_4", "LaMP_4_zh"]), st.data())
def test_the_best_answer_has_the_highest_mean_reward(task, data):
    # Words that the ROUGE of the task's language reads.
    known = ["图", "书", "新闻"] if TASKS[task].language == "zh" else ["news", "public", "pool"]
    words = st.lists(st.sampled_from(known), min_size=1, max_size=4).map(" ".join)
    answer = st.sampled_from(TASKS[task].labels) if TASKS[task].labels else words
    answers = Counter(data.draw(st.lists(answer, min_size=1, max_size=6)))

    def total_reward(answer):
        return sum(count * item_reward(TASKS[task], answer, other) for other, count in answers.items())

    best = reach._best(TASKS[task], answers)
    assert best in answers and total_reward(best) == pytest.approx(max(map(total_reward, answers)))


def run(*words):
    return subprocess.run([sys.executable, "-m", "tagpr_lite.lamp.mini", *words], capture_output=True,
                          text=True, check=False)


def test_the_command_prints_an_aligned_table():
    got = run("--describe", "--users", "4", "--language", "zh")
    lines = got.stdout.splitlines()
    assert got.returncode == 0 and [line.split()[0]
                                    for line in lines[1:9]] == list(build(0, 4, language="zh"))
    assert lines[0].split() == ["task", "metric", "dev", *reach.COLUMNS, "headroom"]
    assert len({len(line) for line in lines[:9]}) == 1


def test_the_command_prints_an_example_of_each_task_or_one_line_of_error():
    got = run("--users", "4")
    assert got.returncode == 0 and all(f"{task} (" in got.stdout for task in build(0, 4))
    bad = run("--language", "fr")
    assert bad.returncode == 2 and bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1


@pytest.mark.parametrize("language, people", [("en", "new"),
                                              pytest.param("zh", "same", marks=pytest.mark.long)])
def test_references_are_of_the_questions_that_are_asked(language, people):
    built = build(0, 8, language=language, people=people)
    everything = [question for splits in built.values() for question in splits["dev"]]
    table = references(everything, 0, 8, people)
    assert list(table) == list(built) and all(list(row) == list(reach.COLUMNS) for row in table.values())
    for task, row in table.items():
        assert row["oracle"]["reward"] == pytest.approx(1) and row["profile"]["reward"] > 0.8
        assert row["no_profile"]["reward"] < row["profile"]["reward"]
        assert (row["copy"] is None) == (TASKS[task].form == "citation")
        described = describe(0, 8, language)[task]
        if people == "new":
            assert all(row[column] is None or row[column][described["metric"]] == described[column]
                       for column in reach.COLUMNS)

    # Of some of the questions: the mean over any half and the other half is the mean over all.
    halves = [references(everything[part::2], 0, 8, people) for part in (0, 1)]
    for task, row in table.items():
        counts = [sum(question.task.name == task for question in everything[part::2]) for part in (0, 1)]
        total = sum(count * half[task]["trivial"]["reward"] for count, half in zip(counts, halves))
        assert total / sum(counts) == pytest.approx(row["trivial"]["reward"])
