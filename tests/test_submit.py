"""Test questions are asked as step 1 would ask them, each is answered once, and the files have the official
shape."""
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_run

from tagpr_lite import submit as command
from tagpr_lite.answering.run import open_run
from tagpr_lite.config import System, UserError
from tagpr_lite.lamp.official.fetch import convert
from tagpr_lite.lamp.official.files import read_outputs
from tagpr_lite.lamp.rows import read_questions
from tagpr_lite.lamp.scorer import score
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.runs import read_json, read_jsonl
from tagpr_lite.steps.answer import Asked, completions_of, draw_of

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
NAMES = ("LaMP_1", "LaMP_2", "LaMP_3", "LaMP_4", "LaMP_7")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return tiny_run.write_official(tmp_path_factory.mktemp("lamp") / "time", NAMES)


@pytest.fixture(scope="module")
def run(questions, tmp_path_factory):
    return tiny_run.make(tmp_path_factory.mktemp("results"), f"lamp.source={questions}", "lamp.profile_max=3")


def submit(run, questions, to, *words):
    command.main(["--run", str(run), "--questions", str(questions), "--to", str(to), *words])


@pytest.fixture(scope="module")
def submitted(run, questions, tmp_path_factory):
    to = tmp_path_factory.mktemp("to") / "submission"
    submit(run, questions, to)
    return to


# ---------------------------------------------------------------- what is asked, and what comes out

def test_a_test_question_is_prepared_as_step_1_prepares_one_of_dev(run, questions):
    tasks = command.prepare(open_run(run), questions, None)
    prepared = [question for of_task in tasks for question in of_task]
    of_step_1 = read_questions(run, "dev")
    assert all(question.gold is None for question in prepared)
    assert [replace(question, id="", gold=None) for question in of_step_1] \
        == [replace(question, id="") for question in prepared]
    given = [row for name in NAMES for row in read_json(questions / name / "test_questions.json")]
    assert any(len(question.profile) < len(row["profile"])  # the run cuts them
               for question, row in zip(prepared, given, strict=True))


def test_the_answers_are_those_of_step_7(run, submitted):
    asked = Asked(open_run(run).config, run, read_questions(run, "dev"), {})
    wanted = {name.split("/")[-1]: some[0].text
              for name, some in completions_of(asked, draw_of(System("explore")), 1).items()
              if name.startswith("LaMP_3/")}
    rows = read_jsonl(submitted / "answers" / "LaMP_3.jsonl")[1:]
    assert {row["id"]: row["completions"][0]["text"] for row in rows} == wanted
    assert len(set(wanted.values())) > 1


def test_prompts_that_are_too_long_are_answered_and_counted(run, capsys, monkeypatch):
    answerer = command.load_answerer(open_run(run))
    monkeypatch.setattr(command, "written", lambda model, tokenizer, prompts, *_: iter([[*prompts]]))
    questions = read_questions(run, "dev")[:3]
    long = replace(questions[0], input=questions[0].input + " word" * 3000)
    assert list(command.answers(answerer, questions)) == [[question.id for question in questions]]
    assert capsys.readouterr().out == ""
    assert len(next(command.answers(answerer, [long, *questions[1:]]))) == 3
    assert "1 of 3 prompts are longer than prompt.max_tokens" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_official_shape_and_the_official_reader_takes_it(questions, submitted, name):
    ids = [row["id"] for row in read_json(questions / name / "test_questions.json")]
    field, outputs = read_outputs(submitted / f"{name}.json")
    assert field == name and list(outputs) == ids
    tree = read_json(submitted / f"{name}.json")
    assert tree.keys() == {"task", "golds"} and all(row.keys() == {"id", "output"} for row in tree["golds"])
    assert all(isinstance(value, str) for row in tree["golds"] for value in row.values())
    if TASKS[name].labels:
        assert set(outputs.values()) <= set(TASKS[name].labels)

    # The official rule about ids is kept, and no answer counts as one that cannot be read.
    golds = {row["id"]: row["output"] for row in read_json(questions / name / "dev_outputs.json")["golds"]}
    found = score(TASKS[name], golds, outputs)
    assert found["n"] == len(ids) and (found["parse_failure"] == 0 or not TASKS[name].labels)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the official evaluation's files are not here")
@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_the_shape_of_those_that_the_official_evaluation_was_run_on(submitted, name):
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(part) for key, part in value.items()}
        return [shape(value[0])] if isinstance(value, list) else type(value)

    assert shape(read_json(submitted / f"{name}.json")) == shape(read_json(GOLDEN / f"{name}_preds.json"))


# ---------------------------------------------------------------- what cannot be read

def test_what_cannot_be_read_is_given_the_stated_answer_and_counted(run, questions, tmp_path, monkeypatch,
                                                                    capsys):
    texts = {"LaMP_1": ["<think>x</think>[2]", "[1] or [2]", "<think>[2]", "Answer: [2]"],
             "LaMP_2": ["<think>x</think> comedy", "<think>never closed", "no label", "action"],
             "LaMP_3": ["<think>x</think>\n4", "<think>5", "nothing", "9"],
             "LaMP_4": ["<think>x</think>\nTitle: A b", "<think>x", "", "A b"],
             "LaMP_7": ["<think>x</think>\nTweet: a\nb", "<think>x", "", "a"]}

    def written(model, tokenizer, prompts, room, limit):
        (task,) = [name for name in NAMES if TASKS[name].instruction in tokenizer.decode(prompts["10"])]
        yield [{"id": name, "completions": [{"text": text}]} for name, text in zip(prompts, texts[task])]

    monkeypatch.setattr(command, "written", written)
    submit(run, questions, tmp_path / "to")
    found = {name: list(read_outputs(tmp_path / "to" / f"{name}.json")[1].values()) for name in NAMES}
    assert found == {"LaMP_1": ["[2]", "[1]", "[1]", "[2]"], "LaMP_3": ["4", "3", "3", "3"],
                     "LaMP_2": ["comedy", "sci-fi", "sci-fi", "action"], "LaMP_4": ["A b", "", "", "A b"],
                     "LaMP_7": ["a\nb", "", "", "a"]}
    printed = capsys.readouterr().out
    for sentence in ("LaMP_3: 4 answers, every id once, every one a label; 3 could not be read, given as '3'",
                     "every id once, every one a label; 2 could not be read, given as 'sci-fi'",
                     "LaMP_4: 4 answers, every id once; 2 could not be read, given as an empty text"):
        assert sentence in printed


@pytest.mark.parametrize("change, says", [
    (lambda tree: tree["golds"].pop(), "has 1 ids"),
    (lambda tree: tree["golds"].append({"id": "c", "output": "1"}), "has 3 ids"),
    (lambda tree: tree["golds"].append(tree["golds"][0]), "doubled ids: a"),
    (lambda tree: tree["golds"][0].update(output="6"), "1 answers are no label of LaMP_3, such as that to a"),
    (lambda tree: tree.update(task="LaMP-3"), "names the task LaMP-3"),
    (lambda tree: tree.pop("golds"), "expected")])
def test_a_file_that_breaks_a_rule_is_refused(tmp_path, change, says):
    tree = {"task": "LaMP_3", "golds": [{"id": "a", "output": "1"}, {"id": "b", "output": "5"}]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(tree))
    command.check(path, TASKS["LaMP_3"], ["b", "a"])
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=says):
        command.check(path, TASKS["LaMP_3"], ["b", "a"])


def test_a_file_that_breaks_a_rule_does_not_appear(tmp_path):
    with pytest.raises(UserError, match="no label"):
        command.write_checked(command.Submitted(TASKS["LaMP_3"], {"a": "6"}, 0), tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- going on

@pytest.mark.parametrize("after", [1, 2, 4])
def test_cut_off_anywhere_it_goes_on_and_ends_with_the_same_files(run, questions, submitted, tmp_path,
                                                                  monkeypatch, after):
    writes, real = [], command.append_jsonl

    def append(path, rows):
        writes.append(len(rows))
        real(path, rows)
        if len(writes) == after:
            with open(path, "rb+") as stream:  # the last line is cut in the middle
                stream.truncate(path.stat().st_size - 9)
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "append_jsonl", append)
    with pytest.raises(SystemExit):
        submit(run, questions, tmp_path / "to")
    assert len(list((tmp_path / "to").glob("*.json"))) == {1: 0, 2: 0, 4: 1}[after]
    submit(run, questions, tmp_path / "to")
    assert sum(writes) == 4 * len(NAMES) + 1  # the answer that was cut is made again, and no other
    for name in NAMES:
        assert (tmp_path / "to" / f"{name}.json").read_bytes() == (submitted / f"{name}.json").read_bytes()
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == sorted(
        ["answers", *(f"{name}.json" for name in NAMES)])


def test_what_is_answered_is_not_answered_again(run, questions, submitted, monkeypatch):
    monkeypatch.setattr(command, "written", None)
    before = (submitted / "LaMP_3.json").read_bytes()
    submit(run, questions, submitted)
    assert (submitted / "LaMP_3.json").read_bytes() == before


def test_stores_and_json_are_answered_alike(run, questions, submitted, tmp_path):
    folder = tmp_path / "stores" / "LaMP_3"
    folder.mkdir(parents=True)
    (folder / "test_questions.json").write_bytes((questions / "LaMP_3" / "test_questions.json").read_bytes())
    convert(folder, "test")
    (folder / "test_questions.json").unlink()
    submit(run, tmp_path / "stores", tmp_path / "to")
    assert (tmp_path / "to" / "LaMP_3.json").read_bytes() == (submitted / "LaMP_3.json").read_bytes()
    assert not (tmp_path / "to" / "LaMP_2.json").exists()


# ---------------------------------------------------------------- what is refused

def other_stage(questions, to):
    return ["--stage", "sft"]


def fewer_questions(questions, to):
    path = questions / "LaMP_2" / "test_questions.json"
    path.write_text(json.dumps(read_json(path)[1:]))


def damaged_answers(questions, to):
    path = to / "answers" / "LaMP_2.jsonl"
    path.write_text(path.read_text() + '{"id": "10", "completions": []}\n')


def no_questions(questions, to):
    for path in questions.rglob("test_questions.json"):
        path.unlink()


def a_task_twice(questions, to):
    tiny_run.write_official(questions / "LaMP_2" / "more", ["LaMP_2"])
    (questions / "LaMP_2" / "more" / "LaMP_2").rename(questions / "again")


def a_doubled_id(questions, to):
    path = questions / "LaMP_4" / "test_questions.json"
    path.write_text(json.dumps(read_json(path) + read_json(path)[:1]))


def a_foreign_folder(questions, to):
    for path in (to / "answers").iterdir():
        path.unlink()
    (to / "answers").rmdir()


FAULTS = {other_stage: "holds answers to other questions, or of another stage",
          fewer_questions: "holds answers to other questions", damaged_answers: "is not as this command",
          no_questions: "holds no test questions", a_task_twice: "holds LaMP_2 more than once",
          a_doubled_id: "doubled ids: 10", a_foreign_folder: "something else than a submission",
          lambda questions, to: ["--stage", "guided"]: "has no adapter of 'guided'"}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_line(run, questions, submitted, tmp_path, capsys, monkeypatch, fault):
    monkeypatch.setattr(command, "written", None)  # nothing is answered before
    own = tiny_run.write_official(tmp_path / "questions", NAMES)
    to = tmp_path / "to"
    (to / "answers").mkdir(parents=True)
    for path in submitted.rglob("*.json*"):
        (to / path.relative_to(submitted)).write_bytes(path.read_bytes())
    words = fault(own, to) or []
    with pytest.raises(SystemExit) as stop:
        submit(run, own, to, *words)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert stop.value.code == 2 and len(lines) == 1 and FAULTS[fault] in lines[0]
