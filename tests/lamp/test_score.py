"""The command `score --against`: two prediction files, tested as a difference."""
import json

import pytest

from tagpr_lite import score
from tagpr_lite.config import UserError
from tagpr_lite.lamp.differences import Scored, difference

GOLDS = ["5", "4", "3", "2", "1", "5", "4", "3"]
BETTER = ["5", "4", "3", "3", "1", "5", "4", "x"]
WORSE = ["4", "4", "1", "3", "2", "3", "4", "x"]


@pytest.fixture
def files(tmp_path):
    """golds, better and worse: files in the official format of eight questions of four users."""
    for name, answers in (("golds", GOLDS), ("better", BETTER), ("worse", WORSE)):
        rows = [{"id": str(n), "output": answer} for n, answer in enumerate(answers)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"task": "LaMP_3", "golds": rows}))
    questions = [{"id": str(n), "input": "?", "profile": [], "user_id": f"u{n // 2}"} for n in range(8)]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    return tmp_path


def printed(files, capsys, **options):
    score.main(str(files / "golds.json"), str(files / "better.json"),
               **{key: str(files / value) for key, value in options.items()})
    return json.loads(capsys.readouterr().out)


def expected(users):
    """Rewards by hand: 1 - |answer - gold| / 4, and 0 for what cannot be read."""
    better, worse = [1, 1, 1, 0.75, 1, 1, 1, 0], [0.75, 1, 0.5, 0.75, 0.75, 0.5, 1, 0]
    first, second = ([Scored("LaMP_3", users(n), str(n), value) for n, value in enumerate(values)]
                     for values in (worse, better))
    return difference(first, second)


def test_without_users_each_question_is_its_own(files, capsys):
    assert "difference" not in printed(files, capsys)
    found = printed(files, capsys, against_file="worse.json")["difference"]
    wanted = expected(str)
    assert found["value"] == pytest.approx(1.5 / 8) and (found["users"], found["questions"]) == (8, 8)
    assert found["interval"] == pytest.approx([wanted.low, wanted.high]) and found["p"] == wanted.p
    assert "each question counts as a user of its own" in found["clusters"]


@pytest.mark.parametrize("where", ["questions", "golds"])
def test_questions_of_one_user_are_drawn_together(files, capsys, where):
    options = {"questions_file": "questions.json"}
    if where == "golds":
        tree = json.loads((files / "golds.json").read_text())
        tree["golds"] = [{**row, "user_id": f"u{int(row['id']) // 2}"} for row in tree["golds"]]
        (files / "golds.json").write_text(json.dumps(tree))
        options = {}
    found = printed(files, capsys, against_file="worse.json", **options)["difference"]
    wanted = expected(lambda n: f"u{n // 2}")
    assert found["users"] == 4 and f"{where}.json" in found["clusters"]
    assert found["interval"] == pytest.approx([wanted.low, wanted.high])
    assert found["beyond_noise"] == (found["p"] <= 0.05)


def test_the_other_way_round_is_the_negative(files, capsys):
    score.main(str(files / "golds.json"), str(files / "worse.json"), against_file=str(files / "better.json"))
    found = json.loads(capsys.readouterr().out)["difference"]
    assert found["value"] == pytest.approx(-1.5 / 8)


def test_what_cannot_be_compared_is_one_line(files, capsys):
    def fails(says, **options):
        with pytest.raises(UserError, match=says):
            printed(files, capsys, **{"against_file": "worse.json", **options})

    (files / "fewer.json").write_text(json.dumps({"golds": [{"id": "0", "output": "5"}]}))
    fails("7 missing ids", against_file="fewer.json")
    (files / "movies.json").write_text(json.dumps({"task": "LaMP_2", "golds": []}))
    fails("is of LaMP_2, the golds are of LaMP_3", against_file="movies.json")
    fails("nothing.json is missing", against_file="nothing.json")
    fails("names no users", questions_file="golds.json")
    (files / "some.json").write_text(json.dumps([{"id": "0", "user_id": "u"}]))
    fails("names no user of 7 questions, such as 1", questions_file="some.json")
    (files / "lists.json").write_text(json.dumps([{"id": "0", "user_id": ["u"]}]))
    fails("a list", questions_file="lists.json")
