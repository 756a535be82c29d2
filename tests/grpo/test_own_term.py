"""A person's own term of the reward: it enters the reward exactly, and what is wrong with it is one line."""
import os
from dataclasses import replace

import pytest

from tagpr_lite.config import GRPO, UserError
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo import kept_rollouts
from tagpr_lite.grpo.alarms import ALARMS, Seen
from tagpr_lite.grpo.groups import Rollout, Stage, score_group, summary
from tagpr_lite.grpo.own_term import MODULE, OwnTerm
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.runs import read_jsonl
from tagpr_lite.tags.teaching import Teaching

REVIEW = Question("q7", TASKS["LaMP_3"], "u", f"{TASKS['LaMP_3'].instruction} The soap and the box", "4",
                  (Item("a", "The soap leaked", "3"),), (0,))


@pytest.fixture
def term(tmp_path):
    """A function that writes my_terms.py and loads the term `mine` from it."""
    def load(source):
        (tmp_path / "my_terms.py").write_text(source)
        return OwnTerm(f"{tmp_path}/my_terms.py:mine")
    return load


# ---------------------------------------------------------------- what it may return

@pytest.mark.parametrize("expression, value", [
    ("0.25", 0.25), ("0", 0.0), ("1", 1.0), ("True", 1.0), ("__import__('numpy').float32(0.5)", 0.5),
    ("len(text) / 100", 0.05), ("int(question.gold) / 5", 0.8), ("len(question.profile)", 1.0)])
def test_a_number_from_0_to_1_is_the_term(term, expression, value):
    got = term(f"def mine(text, question): return {expression}")("right", REVIEW)
    assert got == value and type(got) is float


@pytest.mark.parametrize("body, says", [
    ("return float('nan')", "returned nan"), ("return 1.001", "returned 1.001"),
    ("return -1e-9", "returned -1e-09"), ("return float('inf')", "returned inf"),
    ("return '0.5'", "returned '0.5'"), ("return None", "returned None"), ("return [0.5]", "returned a list"),
    ("return 1j", "returned a complex"), ("return __import__('torch').tensor(0.5)", "returned a Tensor"),
    ("return 10 ** 5000", "returned a number of very many digits"),
    ("return {}['score']", "raised KeyError: 'score'"), ("raise ValueError('two\\nlines')", "two lines"),
    ("raise SystemExit(3)", "raised SystemExit: 3"),
    ("return mine(text, question)", "raised RecursionError")])
def test_any_other_result_is_one_line_with_the_question(term, tmp_path, body, says):
    mine = term(f"def mine(text, question):\n    {body}")
    with pytest.raises(UserError) as error:
        mine("right", REVIEW)
    line = str(error.value)
    assert f"{tmp_path}/my_terms.py:mine" in line and "question q7" in line and says in line
    assert "\n" not in line and len(line) < 400


def test_an_interruption_is_none_of_its_errors(term):
    mine = term("def mine(text, question): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        mine("right", REVIEW)


# ---------------------------------------------------------------- the file

@pytest.mark.parametrize("source, says", [
    ("def mine(text, question) return 1", "is no Python: SyntaxError"), ("\0", "is no Python"),
    ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
    ("import no_such_module_of_mine", "cannot be loaded: ModuleNotFoundError"),
    ("raise SystemExit", "cannot be loaded: SystemExit"),
    ("def other(text, question): return 1", "has no mine"), ("mine = 3", "is no function of two arguments"),
    ("def mine(text): return 1", "is no function of two arguments"),
    ("def mine(text, question, more): return 1", "is no function of two arguments"),
    ("def mine(text, question, *, weight): return 1", "is no function of two arguments"),
    ("class mine:\n    def __init__(self, text, question): pass", "is no function of two arguments")])
def test_a_file_that_gives_no_term_is_one_line(term, tmp_path, source, says):
    with pytest.raises(UserError) as error:
        term(source)
    line = str(error.value)
    assert line.startswith(f"grpo.reward: {tmp_path}/my_terms.py") and says in line and "\n" not in line


def test_a_file_of_other_bytes_or_none_is_one_line(tmp_path):
    (tmp_path / "my_terms.py").write_bytes(b"mine = '\xff'")
    with pytest.raises(UserError, match="is no Python: SyntaxError"):
        OwnTerm(f"{tmp_path}/my_terms.py:mine")
    for name in ("none.py", "folder.py"):
        (tmp_path / "folder.py").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"grpo.reward: .*{name} is not a file"):
            OwnTerm(f"{tmp_path}/{name}:mine")


@pytest.mark.parametrize("source", [
    "mine = lambda text, question: 0.5", "def mine(*texts): return 0.5",
    "def mine(text, question, weight=0.5): return weight",
    "class Term:\n    def __call__(self, text, question): return 0.5\nmine = Term()",
    "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Weight:\n"
    "    value: float = 0.5\ndef mine(text, question): return Weight().value"])
def test_whatever_takes_two_arguments_is_a_function(term, source):
    assert term(source)("", REVIEW) == 0.5


def test_what_the_file_says_now_counts(term, tmp_path):
    """Two texts of one size and one time of change: Python's own bytecode would be taken for the second."""
    source = "def mine(text, question): return 0.{}"
    first = term(source.format(3))
    os.utime(tmp_path / "my_terms.py", (1e9, 1e9))
    assert [first("", REVIEW) for _ in range(3)] == [0.3] * 3
    second = term(source.format(4))
    os.utime(tmp_path / "my_terms.py", (1e9, 1e9))
    assert (first("", REVIEW), second("", REVIEW)) == (0.3, 0.4)
    assert os.listdir(tmp_path) == ["my_terms.py"] and second.function.__module__ == MODULE


def test_the_file_is_run_once(term, capsys):
    mine = term("print('run')\ndef mine(text, question): return 1")
    mine("", REVIEW), mine("", REVIEW)
    assert capsys.readouterr().out == "run\n"


# ---------------------------------------------------------------- in the reward

class Letters:
    """A tokenizer whose tokens are letters."""
    def decode(self, ids, **_):
        return "".join(map(chr, ids))


RIGHT = "<think>\n<conclude>So 4.</conclude>\n</think>\n4"
NEAR = "<think>\n<conclude>So, I think, 3.</conclude>\n</think>\n3"
NO_FORM = "4"


def scored(stage, texts=(RIGHT, NEAR, NO_FORM)):
    samples = [Sample([*map(ord, text), 0], [-1.0] * (len(text) + 1), True) for text in texts]
    together = BatchLimit("a test", "completions", 3, advice="lower prompt.max_tokens")
    return score_group(GRPO(), stage, Rollout(REVIEW, [1, 2], samples), Letters(), Teaching(), together)


def test_the_own_term_counts_beside_the_task_within_form_and_gate():
    one = Terms(task=0.8, format=1.0, tag=0.5, prmu=0.4, own=0.6)
    assert one.total(1.0, 0.2, 0.5, 1.0, 2.0) == pytest.approx((0.8 + 0.2 + 1.2) * 0.5 + 0.1)
    assert one.total(1.0, 0.2, 0.5, 0.0, 0.5) == pytest.approx(0.8 + 0.2 + 0.3 + 0.1)
    assert replace(one, format=0.0).total(1.0, 0.2, 0.5, 0.0, 9.0) == pytest.approx(0.1)
    assert one.total(1.0, 0.2, 0.5) == replace(one, own=None).total(1.0, 0.2, 0.5, 0.0, 9.0)


def test_weight_and_value_enter_the_reward_exactly(term):
    """0.3 times what the function says, for completions in form; it is not asked about others."""
    mine = term("asked = []\ndef mine(text, question):\n    asked.append((text, question.id))\n"
                "    return 0.5 if 'think,' in text else 0.25")
    plain = scored(Stage("guided", 3, 1.0, 0.2))
    group = scored(Stage("guided", 3, 1.0, 0.2, own_weight=0.3, score_own=mine))
    assert [t.own for t in group.terms] == [0.25, 0.5, 0.0] and [t.own for t in plain.terms] == [None] * 3
    assert (group.rewards - plain.rewards).tolist() == pytest.approx([0.075, 0.15, 0.0], abs=1e-6)
    assert mine.function.__globals__["asked"] == [(RIGHT, "q7"), (NEAR, "q7")]
    watched = scored(Stage("guided", 3, 1.0, 0.2, own_weight=0.0, score_own=mine))
    assert watched.rewards.equal(plain.rewards) and [t.own for t in watched.terms] == [0.25, 0.5, 0.0]


def test_it_is_logged_as_the_other_terms_are_and_only_where_there_is_one(term, tmp_path):
    mine = term("def mine(text, question): return 0.5 if 'think,' in text else 0.25")
    stage = Stage("guided", 3, 1.0, 0.2, own_weight=0.3, score_own=mine)
    line = summary([scored(stage)])
    assert line["own"] == 0.25 and line["spread"]["own"] == pytest.approx(0.20412, abs=1e-5)
    plain = summary([scored(Stage("guided", 3, 1.0, 0.2))])
    assert plain.keys() == line.keys() - {"own"} and plain["spread"].keys() == line["spread"].keys() - {"own"}

    g = GRPO(group=3, prompts=1)
    kept_rollouts.keep(g, tmp_path, stage, 0, [scored(stage)], Letters())
    rows = read_jsonl(tmp_path / "guided" / "rollouts.jsonl")
    assert [row["terms"]["own"] for row in rows] == [0.25, 0.5, 0.0]
    assert all(row["weights"] == {"task": 1.0, "tag": 0.2, "prmu": 0.0, "own": 0.3} for row in rows)


def test_an_own_term_that_is_always_the_same_raises_the_alarm(term):
    mine = term("def mine(text, question): return 0.5")
    for weight, word in ((0.3, "own"), (0.0, None)):
        stage = Stage("guided", 9, 1.0, own_weight=weight, score_own=mine)
        lines = [summary([scored(stage, (RIGHT, NEAR, RIGHT))])] * 4
        found = ALARMS["constant_term"].find(Seen(GRPO(), stage, lines, [], None))
        assert found == (None if word is None else "the term own is the same for all completions of a group")
