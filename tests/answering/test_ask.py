"""`ask`, as a person uses it: a question, a history, corrections."""
import io
import json
import sys

import pytest
import torch

from tagpr_lite import ask
from tagpr_lite.answering.answerer import MOST_CHAINS, Answerer, chains_of
from tagpr_lite.answering.history import History, items_of_file
from tagpr_lite.answering.run import open_run, question_of
from tagpr_lite.answering.terminal import ChainView
from tagpr_lite.config import UserError
from tagpr_lite.engine.prefix import SharedPrefix
from tagpr_lite.engine.sample import sample
from tagpr_lite.lamp.tasks import TASKS, Item
from tagpr_lite.runs import write_jsonl
from tagpr_lite.tags.schema import Chain, Step, render

RATING = TASKS["LaMP_3"]
ITEMS = (Item("1", "It broke after a day", "1"), Item("2", "Sturdy and fine", "5"))


@pytest.fixture(scope="module")
def answerer(run):
    return Answerer(open_run(run))


def question(text="Fine, but it broke.", items=ITEMS, task=RATING):
    return question_of(task, text, items, open_run_settings.lamp, 0)


@pytest.fixture(scope="module", autouse=True)
def _settings(run):
    global open_run_settings
    open_run_settings = open_run(run).config


def said(words, capsys, lines=""):
    """(exit code, stdout, stderr) of the command with these words, and these lines, or this stream, typed."""
    stdin, sys.stdin = sys.stdin, io.StringIO(lines) if isinstance(lines, str) else lines
    try:
        ask.main([str(word) for word in words])
        code = 0
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdin = stdin
    return code, *capsys.readouterr()


# ---------------------------------------------------------------- the answer

def test_the_answer_is_what_the_engine_samples(answerer):
    """Neither the cache, nor the fold that stays, nor what was asked before changes a token."""
    texts = ["Fine, but it broke.", "Sturdy.", "Fine, but it broke."]
    prompts = [answerer.prompt(question(text))[0] for text in texts]
    plain = sample(answerer.model, prompts, 1, answerer.room, answerer.ends, temperature=0)
    mine = [answerer.write([prompt])[0] for prompt in prompts]
    together = answerer.write(prompts)
    for rows in (mine, together):
        assert [written.ids for written in rows] == [of_prompt[0].ids for of_prompt in plain]
    assert len({tuple(written.ids) for written in mine}) == 2


def test_the_adapter_of_the_stage_answers(run, answerer):
    prompt = answerer.prompt(question())[0]
    of_sft = Answerer(open_run(run, "sft"))
    assert answerer.run.stage == "guided"
    assert of_sft.write([prompt])[0].ids != answerer.write([prompt])[0].ids


@torch.no_grad()
def test_a_history_that_has_not_changed_is_not_computed_again(answerer):
    first = answerer.prompt(question("Fine."))[0]
    second = answerer.prompt(question("Fine and more."))[0]
    answerer.cache.empty()
    answerer.write([first])
    cached = answerer.cache.forward(answerer.model, second)
    assert cached.reused > len(second) / 2
    whole = SharedPrefix(answerer.model, torch.tensor(second))
    torch.testing.assert_close(cached.last, whole.last, atol=1e-4, rtol=1e-4)


def test_without_a_history_there_is_no_profile(answerer):
    alone = answerer.prompt(question(items=()))[0]
    assert alone == answerer.prompt(question(), with_profile=False)[0] != answerer.prompt(question())[0]


# ---------------------------------------------------------------- the command

def test_one_question_shows_chain_answer_and_time(run, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    rows = [json.dumps({"text": item.text, "score": item.label}) for item in ITEMS]
    path.write_text("\n".join(rows))
    words = ["--run", run, "--task", 3, "--history", path, "--without-profile", "Fine."]
    code, out, err = said(words, capsys)
    assert code == 0 and not err
    assert "LaMP_3, product rating; guided of" in out and "history: 2 items, 2 retrieved" in out
    assert "without the history:" in out and out.count("tokens in ") == 2
    assert not list(tmp_path.glob("*.db"))  # nothing was asked to be kept


def test_a_correction_is_known_to_the_next_question(run, tmp_path, capsys, monkeypatch):
    """The answer itself is a random model's; what the prompt holds is what counts."""
    prompts = []
    write = Answerer.write
    monkeypatch.setattr(Answerer, "write", lambda self, ids, listen: prompts.append(
        self.tokenizer.decode(ids[0])) or write(self, ids, listen))
    lines = ["It broke at once.", "1", "It broke again.", "-", "/history", "/fix 1 2", "And again it broke.",
             "-", "/forget 1", "Once more.", "9", "/nonsense", "/quit", "never read"]
    words = ["--run", run, "--task", 3, "--history", tmp_path / "m.db", "--interactive"]
    code, out, _ = said(words, capsys, "\n".join(lines))
    assert code == 0 and "item 1: 1" in out
    assert "It broke at once. -> 1" not in prompts[0]
    assert '"It broke at once." -> 1' in prompts[1] and '"It broke at once." -> 2' in prompts[2]
    assert "It broke at once" not in prompts[3]
    assert "error: '9' is no answer to LaMP_3; they are 1, 2, 3, 4, 5" in out and "/forget 3" in out
    assert History(tmp_path / "m.db").items("you", RATING) == ()


@pytest.mark.parametrize("words, says", [
    (["Fine."], "several tasks: say --task"), (["--task", "5", "x"], "was not trained on LaMP_5"),
    (["--task", "9", "x"], "unknown task 'LaMP_9'"), (["--task", "3"], "nothing is asked"),
    (["--task", "3", " "], "the question is empty"), (["--task", "3", "--prmu", "x"], "has no PRMU"),
    (["--task", "3", "--stage", "explore", "x"], "no adapter of"),
    (["--task", "3", "--interactive"], "give --history"),
    (["--task", "3", "--history", "missing.jsonl", "x"], "missing.jsonl"),
    (["--task", "3", "--history", "nosuch.json", "x"], "mine.jsonl or mine.db"),
    (["--task", "3", "--history", "nosuch.json", "--interactive"], "mine.jsonl or mine.db"),
    (["--task", "3", "--history", "none/m.db", "--interactive"], "there is no folder none"),
    (["--task", "3", "--history", "nosuch.db", "x"], "there is no history nosuch.db"),
    (["--task", "3", "--history", "new.db", "--interactive", "word " * 3000], "prompt.max_tokens"),
    (["--task", "3", "word " * 3000], "prompt.max_tokens")])
def test_bad_words_are_one_line(run, tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = said(["--run", run, *words], capsys)
    assert code == 2 and says in err and err.count("\n") == 1 and err.startswith("error: ")
    assert not list(tmp_path.iterdir())  # what was refused leaves nothing behind


def test_a_folder_that_is_no_run_or_was_damaged_is_one_line(run, tmp_path, capsys):
    code, _, err = said(["--run", tmp_path, "x"], capsys)
    assert code == 2 and "is no folder of a run" in err


def test_prmu_says_whom_the_chain_fits_better(run, capsys, monkeypatch):
    for scores, says in (((1.5, 1.0), "+0.500, and so the chain fits you better"),
                         ((0.0, 0.25), "-0.250, and so the chain fits the generic user better")):
        monkeypatch.setattr(Answerer, "liking", lambda *_, scores=scores: scores)
        assert says in said(["--run", run, "--task", 3, "--prmu", "Fine."], capsys)[1]


def test_an_answer_that_cannot_be_read_is_said(run, capsys, monkeypatch):
    monkeypatch.setattr(Answerer, "text", lambda *_: "<think>\nno end")
    assert "no answer could be read" in said(["--run", run, "--task", 3, "Fine."], capsys)[1]


def test_bytes_that_are_no_characters_become_question_marks(run, tmp_path, capsys, monkeypatch):
    """As Python has them of a command line, of a JSON file, and of what is typed."""
    path = tmp_path / "mine.jsonl"
    path.write_text(r'{"text": "half \ud800 a pair", "score": 5}')
    words = ["--run", run, "--task", 3, "--history", path, "bad \udcff byte"]
    code, out, err = said(words, capsys)
    assert code == 0 and not err and "history: 1 items" in out
    assert items_of_file(path, RATING)[0].text == "half ? a pair"
    monkeypatch.setattr(ask.Session, "ask", lambda self, text: None)
    typed = io.TextIOWrapper(io.BytesIO(b"bad \xff byte\n4\n/quit\n"), encoding="utf-8")
    code, out, err = said(["--run", run, "--task", 3, "--history", tmp_path / "m.db", "--interactive"],
                          capsys, typed)
    assert code == 0 and not err
    assert [item.text for item in History(tmp_path / "m.db").items("you", RATING)] == ["bad ? byte"]


@pytest.mark.parametrize("number", ["9" * 18, "9" * 23, "9" * 5000])
def test_a_number_that_no_item_has_is_said(run, tmp_path, capsys, number):
    words = ["--run", run, "--task", 3, "--history", tmp_path / "m.db", "--interactive"]
    code, out, err = said(words, capsys, f"/forget {number}\n/fix {number} 3\n")
    assert code == 0 and not err and out.count("error: there is no item 999999") == 2
    assert max(map(len, out.splitlines())) < 120


# ---------------------------------------------------------------- the terminal

def shown(text, colour=False):
    parts = []
    view = ChainView(question(), parts.append, colour)
    for character in text:
        view.add(character)
    view.end()
    return "".join(parts)


def test_claims_are_marked_below_their_step():
    chain = Chain((Step("examine_examples", 'Past scores 1 5, mean 4.0. "It broke" got 1.'),
                   Step("conclude", "So 3.")), "3")
    assert shown(render(chain)) == """\
examine_examples  Past scores 1 5, mean 4.0. "It broke" got 1.
    true   1 5
    false  mean 4.0
    true   "It broke" got 1
conclude  So 3.
-> 3
"""
    # The quotation stands in the history, and that it got 4 is false: both are said.
    wrong = shown(render(Chain((Step("examine_examples", '"It broke" got 4.'),), "3")))
    assert '    false  "It broke" got 4\n    true   "It broke"\n' in wrong


def test_colours_are_ours_and_nothing_that_the_model_writes():
    text = "<think>\n<conclude>\x1b[31mred\u202e</conclude>\n</think>\n\x1b]0;x\x07 4"
    plain, coloured = shown(text), shown(text, colour=True)
    assert "\x1b" not in plain and "\u202e" not in plain and "\\x1b[31mred" in plain
    assert "\x1b[36mconclude\x1b[0m" in coloured and "\x1b[31mred" not in coloured


@pytest.mark.parametrize("text", ["", "no chain", "<think>", "<think>a<conclude>", "</think>4"])
def test_anything_can_be_shown(text):
    assert shown(text).endswith("\n")


def test_the_whole_input_of_a_citation_is_needed():
    with pytest.raises(UserError, match="whole input"):
        question("A title", task=TASKS["LaMP_1"])


def test_completions_are_drafted_from_some_chains_of_every_task(tmp_path):
    assert chains_of(tmp_path) == []
    write_jsonl(tmp_path / "chains" / "kept.jsonl", [{"text": f"{n}"} for n in range(3)])
    assert chains_of(tmp_path) == ["0", "1", "2"]
    write_jsonl(tmp_path / "chains" / "kept.jsonl", [{"text": f"{n}"} for n in range(MOST_CHAINS + 1)])
    assert chains_of(tmp_path) == [f"{n}" for n in range(0, MOST_CHAINS + 1, 2)]
