import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.lamp.rows import from_row, to_row
from tagpr_lite.lamp.tasks import MOVIE_TAGS, OFFICIAL, TASKS, Item, Question, detect, find_task

CITATION = ('For an author who has written the paper with the title "On "Quoted" Things", '
            'which reference is related? Just answer with [1] or [2] without explanation. '
            '[1]: "Why "goto" hurts" [2]: "Sets, and more"')


@pytest.mark.parametrize("task, text, answer", [
    ("LaMP_1", "[1]", "[1]"), ("LaMP_1", " **[1]** ", "[1]"), ("LaMP_1", "Answer: [2]", "[2]"),
    ("LaMP_1", "[1] because [2] is about sets", "[1]"),
    ("LaMP_1", "1", "[1]"), ("LaMP_1", "Option 2.", "[2]"),
    ("LaMP_1", "Between [1] and [2], the answer is [2].", "[2]"), ("LaMP_1", "[1] or [2]", None),
    ("LaMP_1", "12", None), ("LaMP_1", "", None), ("LaMP_1", "[3]", None), ("LaMP_1", "2 papers: [1]", "[1]"),
    ("LaMP_2", "Comedy.", "comedy"), ("LaMP_2", "a dark comedy, I think", "dark comedy"),
    ("LaMP_2", "The tag is **sci fi**", "sci-fi"), ("LaMP_2", "BASED ON A BOOK", "based on a book"),
    ("LaMP_2", "comedy or action", "comedy"), ("LaMP_2", "classical music", None), ("LaMP_2", "drama", None),
    ("LaMP_3", "4", "4"), ("LaMP_3", "4 stars", "4"), ("LaMP_3", "Score: 4", "4"), ("LaMP_3", "4/5", "4"),
    ("LaMP_3", "4.0", "4"), ("LaMP_3", "**5**", "5"), ("LaMP_3", "4.7", "5"), ("LaMP_3", "five", "5"),
    ("LaMP_3", "Four stars", "4"), ("LaMP_3", "on a scale of 1 to 5 I give it 2", "2"),
    ("LaMP_3", "3 out of 5", "3"),
    ("LaMP_3", "10", None), ("LaMP_3", "-1", None), ("LaMP_3", "7/10", None), ("LaMP_3", "0", None),
    ("LaMP_3", "one of the best", None), ("LaMP_3", "I bought 2, so the score is 5", "5"),
    ("LaMP_3", "nan", None),
    ("LaMP_3", "٣", None),
    ("LaMP_4", '  "Soothing and Spicy"\n', "Soothing and Spicy"),
    ("LaMP_4", "\n**Headline:** Rain\nmore", "Rain"),
    ("LaMP_4", "Title:\n\n“Late trains”", "Late trains"), ("LaMP_5", 'Say "hello"', 'Say "hello"'),
    ("LaMP_1_zh", "[1]不合适，答案是[2]。", "[2]"), ("LaMP_1_zh", "[1]或[2]", None),
    ("LaMP_2_zh", "标签：黑色喜剧。", "黑色喜剧"), ("LaMP_2_zh", "这是一部科幻片", "科幻"),
    ("LaMP_3_zh", "4星", "4"),
    ("LaMP_3_zh", "评分：五星", "5"), ("LaMP_3_zh", "1到5分里我给2分", "2"), ("LaMP_3_zh", "一般", None),
    ("LaMP_4_zh", "标题：《雨夜》", "雨夜"), ("LaMP_4_zh", "雨夜，《归人》", "雨夜，《归人》"),
    ("LaMP_6", "Subject: Title: a study", "Title: a study"),
    ("LaMP_7", ' \n""\n', None), ("LaMP_7", "", None),
])
def test_parse_answer(task, text, answer):
    assert TASKS[task].parse_answer(text) == answer


PIECES = ["[1]", "[2]", "4", "/", "5", "answer:", " is ", "dark comedy", "\n", '"', "Title:", ".",
          "scale of 1 to 5"]


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_no_string_raises_and_answers_are_in_the_golds_form(text):
    for task in TASKS.values():
        answer = task.parse_answer(text)
        assert answer is None or (answer in task.labels if task.labels else answer.strip() == answer != "")
        if task.labels and answer:
            assert task.parse_answer(answer) == answer
        assert isinstance(task.payload(text), str) and isinstance(task.query(text), str)
        assert isinstance(task.options(text), list)


def test_a_label_is_its_own_answer():
    for task in TASKS.values():
        assert [task.parse_answer(label) for label in task.labels] == list(task.labels)


def test_titles_that_hold_quotation_marks():
    task = TASKS["LaMP_1"]
    assert task.payload(CITATION) == 'On "Quoted" Things'
    assert task.options(CITATION) == ['Why "goto" hurts', "Sets, and more"]
    assert task.query(CITATION) == 'Why "goto" hurts Sets, and more'


def test_payload_query_and_corpus_of_the_other_tasks():
    for task in TASKS.values():
        if task.form != "citation":
            question = task.ask("a description: of it")
            assert task.payload(question) == task.query(question) == "a description: of it"
    movie = TASKS["LaMP_2"]
    assert movie.options(TASKS["LaMP_2"].instruction) == list(MOVIE_TAGS)
    assert movie.options("x tags: [a, b c] description: y") == ["a", "b c"]
    corpora = {name: task.corpus(Item("i", "text", "label")) for name, task in TASKS.items()
               if name in OFFICIAL}
    assert [n for n, c in corpora.items() if c == "label text"] == ["LaMP_1", "LaMP_4", "LaMP_5"]
    assert {c for n, c in corpora.items() if n not in ("LaMP_1", "LaMP_4", "LaMP_5")} == {"text"}


def test_a_chinese_citation_question():
    task = TASKS["LaMP_1_zh"]
    question = task.instruction + "《论河流》 [1]：《鱼》 [2]：《山与水》"
    assert detect(question) == task and task.payload(question) == "论河流"
    assert task.options(question) == ["鱼", "山与水"] and task.query(question) == "鱼 山与水"


def test_detect_reads_the_input_and_checks_the_field():
    assert detect(CITATION) == detect(CITATION, "LaMP-1") == TASKS["LaMP_1"]
    for name in TASKS:
        assert detect(f"{TASKS[name].instruction} x", name) == TASKS[name]
    for question, field, said in ((CITATION, "LaMP_3", "LaMP_1"), ("Hello", "LaMP_3", "begins 'Hello'"),
                                  (CITATION, "LaMP_9", "unknown task"),
                                  ("Which category does this article relate to among", None, "old LaMP-2")):
        with pytest.raises(UserError, match=said):
            detect(question, field)
    assert find_task("lamp-3") == TASKS["LaMP_3"]


def test_rows_survive_json_and_bad_rows_are_named():
    q = Question("7", TASKS["LaMP_3"], "u", "in", None, (Item("a", "t", "5", "2012"), Item("b", "t", "4")),
                 (1, 0))
    row = json.loads(json.dumps(to_row(q)))
    assert from_row(row) == q
    for bad in ({}, {**row, "task": "LaMP_9"}, {**row, "profile": 3}, {**row, "retrieved": [2]},
                {**row, "gold": 5}, {**row, "extra": 1}, {**row, "profile": [{"id": "a"}]}, [],
                {**row, "retrieved": [True]}):
        with pytest.raises(UserError, match="question row"):
            from_row(bad)
