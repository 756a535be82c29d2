"""The explorer of rollouts: bounded, the same each time, safe with hostile text, made whatever is missing."""
from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from invented_rollouts import HOSTILE, hostile_groups, write_rollouts

from tagpr_lite.lamp.rows import read_questions
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.report import explorer as module
from tagpr_lite.report.explorer import explorer
from tagpr_lite.report.explorer_page import SCRIPT
from tagpr_lite.report.marks import pieces
from tagpr_lite.report.nodes import Looks, as_html, as_script_data, card, figure
from tagpr_lite.report.page import render
from tagpr_lite.report.rollouts import as_group, choose, evenly, read_groups
from tagpr_lite.runs import read_jsonl, write_jsonl
from tagpr_lite.runs.text import is_hidden
from tagpr_lite.steps import STEPS
from tagpr_lite.tags.facts import claims
from tagpr_lite.tags.schema import PRIMARY, Fault, parse

ABOUT = {name: step.about for name, step in STEPS.items()}
LOOKS = Looks(list(PRIMARY), TASKS, colour=lambda tag: 1 + PRIMARY.index(tag) if tag in PRIMARY else 0,
              title=lambda task: task)
ELEMENTS = {"div", "header", "h3", "p", "b", "span", "ol", "li", "pre", "details", "summary", "article",
            "table", "tr", "th", "td"}

FILE = "guided/rollouts.jsonl"  # the reader takes lines of both stages from either file


class Parts(HTMLParser):
    """Every element with its attributes, and the content of the scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[tuple[dict, str]] = []
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            attributes, content = self.scripts[-1]
            self.scripts[-1] = (attributes, content + data)

    @property
    def data(self) -> dict:
        return next(json.loads(text) for attributes, text in self.scripts if attributes)


def nodes_of(node):
    """The node and all nodes and texts in it."""
    yield node
    if isinstance(node, list):
        for child in node[2:]:
            yield from nodes_of(child)


def text_of(node) -> str:
    return "".join(one for one in nodes_of(node) if isinstance(one, str))


def groups_of(data: dict) -> list[dict]:
    return [group for stage in data["stages"] for step in stage["steps"] for group in step["groups"]]


def add_lines(folder: Path, *lines: str) -> None:
    with open(folder / FILE, "a", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "demo"
    write_rollouts(folder, steps=5, size=4, users=4)
    return folder


@pytest.fixture
def rollouts(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "demo"))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "demo"
    write_rollouts(folder, steps=1, size=8, users=4, hostile=True)
    return render(folder, ABOUT)


# ---------------------------------------------------------------- what is shown

def test_every_group_is_there_with_all_that_was_kept_of_it(rollouts):
    rows = read_jsonl(rollouts / FILE)
    parts = Parts(render(rollouts, ABOUT))
    stages = parts.data["stages"]
    assert [stage["name"] for stage in stages] == ["guided", "explore"]
    assert [step["name"] for step in stages[0]["steps"]] == ["0", "3", "6", "9", "12"]
    groups = groups_of(parts.data)
    assert len(groups) == len(rows) / 4 and all(len(group["completions"]) == 2 + 4 for group in groups)

    # One group in full: its question, prompt and gold; each completion's reward, terms, weights and length.
    first = [row for row in rows if row["stage"] == "guided" and row["step"] == 0 and row["task"] == "LaMP_3"]
    group = next(group for group in stages[0]["steps"][0]["groups"] if group["task"] == "LaMP_3")
    asked = parts.data["questions"][group["question"]]
    question = next(one for one in read_questions(rollouts, "train") if one.id == first[0]["question"])
    for words in (question.input, question.gold, question.user, question.id, first[0]["prompt"]):
        assert words in text_of(asked)
    assert ["pre", "", first[0]["prompt"]] in list(nodes_of(asked))
    for row in first:
        name = f"Completion {row['n'] + 1}"
        shown = next(text_of(one) for one in group["completions"][2:] if name in text_of(one))
        sign = "+" if row["advantage"] > 0 else "−"
        terms = "".join(f"{row['terms'][term]:.3f}" for term in ("task", "format", "tag", "prmu"))
        assert f"reward {row['reward']:.3f} · advantage {sign}{abs(row['advantage']):.2f}" in shown
        assert f"term{terms}" in shown and "weight1factor0.20.2" in shown
        assert f"{row['tokens']} tokens, {'ended' if row['ended'] else 'cut off'}" in shown

    # The best first; what they are in words above them.
    rewards = [float(text_of(one).split("reward ")[1].split(" ")[0]) for one in group["completions"][2:]]
    assert rewards == sorted(rewards, reverse=True)
    assert f"reward {rewards[-1]:.2f} to {rewards[0]:.2f}" in group["heading"]


def test_a_term_of_a_person_s_own_has_a_column_where_there_is_one(rollouts):
    plain = render(rollouts, ABOUT)
    assert "own weight × own" not in plain and "PRMU weight × PRMU) × format" in plain
    rows = [{**row, "terms": {**row["terms"], "own": 0.125}, "weights": {**row["weights"], "own": 0.3}}
            if row["stage"] == "guided" else row for row in read_jsonl(rollouts / FILE)]
    write_jsonl(rollouts / FILE, rows)
    page = render(rollouts, ABOUT)
    assert "PRMU weight × PRMU + own weight × own) × format" in page
    for stage in Parts(page).data["stages"]:
        nodes = [node for step in stage["steps"] for group in step["groups"]
                 for node in group["completions"][2:]]
        with_own = [node for node in nodes if "tagprmuown" in text_of(node)]
        assert len(with_own) == (len(nodes) if stage["name"] == "guided" else 0)
        assert all("0.125" in text_of(node) and "0.20.20.3" in text_of(node) for node in with_own)


def test_the_last_group_stands_in_the_page_for_a_browser_without_script(rollouts):
    page = render(rollouts, ABOUT)
    data = Parts(page).data
    last = groups_of(data)[-1]
    still = as_html(["div", "", ["h3", "", last["heading"]], data["questions"][last["question"]],
                     last["completions"]])
    assert f'<div id="rollouts-view">{still}</div>' in page
    assert "This browser runs no script" in page
    by_id = {attributes.get("id"): attributes for _, attributes in Parts(page).elements}
    assert "hidden" in by_id["rollouts-choice"]  # nothing to choose with before the script has run


def test_equal_rewards_are_said_to_teach_nothing(rollouts):
    rows = [{**row, "reward": 0.5, "advantage": 0.0} for row in read_jsonl(rollouts / FILE)]
    write_jsonl(rollouts / FILE, rows)
    group = groups_of(Parts(render(rollouts, ABOUT)).data)[0]
    assert "every reward is 0.50, so that nothing is learned" in group["heading"]
    assert all(node[1] not in ("card gain", "card loss") for node in group["completions"][2:])


# ---------------------------------------------------------------- claims

def test_every_claim_is_marked_once_true_or_false(rollouts):
    """Derived: as many signs as tags/facts.py finds claims, with its verdicts."""
    questions = {question.id: question for question in read_questions(rollouts, "train")}
    seen = {True: 0, False: 0}
    groups, _ = read_groups(rollouts)
    for group in groups:
        for row in group.rows:
            node = card(row, group, questions[group.question], LOOKS)
            signs = [one for one in nodes_of(node) if isinstance(one, list) and one[:2] == ["b", ""]
                     and one[2] in ("✓", "✗")]
            chain = parse(row["text"], None)
            checked = [] if isinstance(chain, Fault) else claims(chain, questions[group.question])
            for holds, sign in ((True, "✓"), (False, "✗")):
                expected = sum(one is holds for _, one in checked)
                assert sum(one[2] == sign for one in signs) == expected, row["text"]
                seen[holds] += expected
    assert seen[True] > 50 and seen[False] > 50


@pytest.mark.parametrize("text, checked, expected", [
    ("So mean 4.7.", [("mean 4.7", True)], [("So ", None), ("mean 4.7", 0), (".", None)]),
    ("A Mean score of 4.7", [("mean 4.7", True)], [("A ", None), ("Mean score of 4.7", 0)]),
    ("About 9 characters", [("about 9 words", True)], [("About 9", 0), (" characters", None)]),
    ('"It broke" got 2', [('"It broke" got 2', False), ('"It broke"', True)],
     [('"It broke"', 1), (" got 2", 0)]),
    ("5 5, then 5 5", [("5 5", True), ("5 5", False)], [("5 5", 0), (", then ", None), ("5 5", 1)]),
    ("14 to 50", [("4 to 5", True)], [("14 to 50", None)]),
    ("12 past reviews", [("12 items", True)], [("12 past reviews", None)]),
    ("", [("mean 4", True)], [])])
def test_where_a_claim_stands(text, checked, expected):
    assert pieces(text, checked) == expected


def test_pieces_are_the_text_whatever_is_claimed():
    for text in HOSTILE:
        for claim in HOSTILE:
            assert "".join(piece.text for piece in pieces(text, [(claim, True), (text[1:], False)])) == text


# ---------------------------------------------------------------- bounds

@pytest.mark.parametrize("most", [60_000, 90_000, 200_000])
def test_the_data_are_bounded_and_evenly_chosen(rollouts, monkeypatch, most):
    monkeypatch.setattr(module, "MOST_BYTES", most)
    shown = explorer(rollouts, LOOKS)
    data = json.loads(shown["data"])
    assert 0.4 * most < len(shown["data"].encode()) <= most
    kept = [3 * step for step in range(5)]
    for stage, words in zip(data["stages"], shown["shares"], strict=True):
        steps = [int(step["name"]) for step in stage["steps"]]
        assert steps == [kept[place] for place in evenly(5, len(steps))] and steps[-1] == 12
        count = sum(len(step["groups"]) for step in stage["steps"])
        if count == 25:
            assert words == f"all 25 kept groups of {stage['name']} (from 5 steps)"
        else:
            assert words == (f"{count} of the 25 kept groups of {stage['name']} ({4 * count}.0%, from "
                             f"{len(steps)} of 5 steps)")
        for step in stage["steps"]:
            tasks = [group["task"] for group in step["groups"]]
            assert len(set(tasks)) == len(tasks) >= 4  # different ones, and at least FIRST_GROUPS
    assert shown["partly"] == (len(groups_of(data)) < 50)
    assert all(len(group["completions"]) == 2 + 4 for group in groups_of(data))


def test_many_small_groups_do_not_slip_over_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 30_000)
    rows = [{"stage": stage, "step": step, "question": f"q{step}", "n": 0, "text": ""}
            for stage in ("guided", "explore") for step in range(100)]
    write_jsonl(tmp_path / FILE, rows)
    assert 20_000 < len(explorer(tmp_path, LOOKS)["data"].encode()) <= 30_000


def test_a_stage_leaves_its_room_to_the_other(rollouts, monkeypatch):
    rows = [row for row in read_jsonl(rollouts / FILE) if row["stage"] == "guided" or row["step"] == 0]
    write_jsonl(rollouts / FILE, rows)
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    shown = explorer(rollouts, LOOKS)
    assert shown["shares"][1].startswith("all 5 ") and len(shown["data"].encode()) > 80_000


def test_a_group_too_large_is_left_out_and_said(rollouts, monkeypatch):
    rows = read_jsonl(rollouts / FILE)
    chain = "<think>\n" + f"<conclude>{'é' * 1500}</conclude>\n" * 40 + "</think>\n4"
    large = [{**row, "text": chain} for row in rows if row["step"] == 12 and row["task"] == "LaMP_3"]
    add_lines(rollouts, *map(json.dumps, large))  # in the place of the group that is there already
    shown = explorer(rollouts, LOOKS)
    assert "24 of the 25 kept groups of guided" in shown["shares"][0]
    monkeypatch.setattr(module, "LARGEST_GROUP", 10)
    shown = explorer(rollouts, LOOKS)
    assert shown["data"] == shown["last"] == ""
    assert "Every group is too large for this page." in shown["missing"]


def test_evenly_and_choose():
    assert evenly(10, 4) == [0, 3, 6, 9] and evenly(3, 5) == [0, 1, 2] and evenly(7, 1) == [6]
    steps = [[10 * step + group for group in range(6)] for step in range(10)]
    assert choose(steps, 8, len) == [0, 1, 2, 3, 90, 91, 92, 93]
    assert choose(steps, 11, len) == [0, 1, 2, 3, 90, 91, 92, 93, 4, 94, 5]
    assert choose(steps, 3, len) == [] and sorted(choose(steps, 60, len)) == sorted(sum(steps, []))


def test_the_same_page_each_time(made):
    """Also where Python's sets have another order."""
    code = ("import sys; from pathlib import Path; from test_explorer import LOOKS, explorer, module; "
            "module.MOST_BYTES = 60_000; print(explorer(Path(sys.argv[1]), LOOKS))")
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, (here, here.parent / "helpers", here.parents[1])))
    got = [subprocess.run([sys.executable, "-c", code, str(made)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": seed}).stdout
           for seed in ("1", "2")]
    assert got[0] == got[1] and len(got[0]) > 40_000


# ---------------------------------------------------------------- safety

def test_hostile_text_becomes_no_element_and_no_attribute(hostile_page):
    parts = Parts(hostile_page)
    groups = groups_of(parts.data)
    assert len(groups) == 2 * 5 + len(HOSTILE)
    names = {name for name, _ in parts.elements}
    assert not names & {"img", "iframe", "object", "link", "base", "form", "a", "image"}
    assert [name for name, _ in parts.elements].count("script") == 2
    for _, attributes in parts.elements:
        assert not {key for key in attributes if key.startswith("on") or key in ("src", "href", "srcset")}
    raw = re.search(r'id="rollouts-data">(.*?)</script>', hostile_page, re.S)[1]
    assert not set(raw) & set("<>&\u2028\u2029")
    assert not [character for character in hostile_page if is_hidden(character)]


def test_no_text_is_an_element_or_a_class_of_a_node(hostile_page):
    data = Parts(hostile_page).data
    trees = [*data["questions"], *(group["completions"] for group in groups_of(data))]
    for node in nodes_of(["div", "", *trees]):
        if isinstance(node, list):
            assert node[0] in ELEMENTS and re.fullmatch(r"[a-z0-9 ]*", node[1])
        else:
            assert not [character for character in node if is_hidden(character)]
    assert any("\\u202eto left" in text_of(question) for question in data["questions"])
    assert any("half \\ud800 a pair" in text_of(question) for question in data["questions"])


def test_data_survive_their_escapes():
    for text in HOSTILE[:8]:
        assert json.loads(as_script_data([text])) == [text]
        assert Parts(as_html(["p", "", text])).elements == [("p", {})]


def test_the_policy_allows_exactly_our_script(rollouts, hostile_page):
    for page in (render(rollouts, ABOUT), hostile_page):
        parts = Parts(page)
        script = next(text for attributes, text in parts.scripts if not attributes)
        policy = next(attributes["content"] for name, attributes in parts.elements
                      if name == "meta" and attributes.get("http-equiv") == "Content-Security-Policy")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        assert [attributes for attributes, _ in parts.scripts] == \
            [{"type": "application/json", "id": "rollouts-data"}, {}]
        assert script == SCRIPT


def test_a_page_without_rollouts_has_no_script(rollouts):
    (rollouts / FILE).unlink()
    page = render(rollouts, ABOUT)
    assert Parts(page).scripts == [] and "script-src" not in page
    assert "No rollouts were kept: rollouts.jsonl is missing." in page


def test_the_script_reads_no_text_as_html_and_asks_for_nothing(hostile_page):
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval", "Function(", "fetch",
                 "XMLHttp", "import", "http", "location", "setTimeout", "setAttribute(\"on"):
        assert word not in SCRIPT
    assert SCRIPT.isascii()  # what would change it after its hash was taken, such as printable, does not
    ours = re.sub(r'<script type="application/json".*?</script>|<div id="rollouts-view">.*?<h2>', "",
                  hostile_page, flags=re.S)
    assert not re.search(r"(?:src|href)=|url\(|@import", ours)


# ---------------------------------------------------------------- faults

def test_a_line_that_was_cut_off_costs_its_group_alone(rollouts):
    text = (rollouts / FILE).read_text(encoding="utf-8")
    (rollouts / FILE).write_text(text[:-20], encoding="utf-8")
    groups, missing = read_groups(rollouts)
    assert len(groups) == 49 and missing == ["1 group with fewer completions than the others is left out."]


@pytest.mark.parametrize("line", [
    "{not json", "[1, 2]", "null", '{"stage": "guided"}', '{"reward": NaN}', "[" * 5000,
    '{"stage": "guided", "step": "0", "question": "q", "n": 0, "text": ""}',
    '{"stage": "guided", "step": true, "question": "q", "n": 0, "text": ""}',
    '{"stage": "guided", "step": 0, "question": 7, "n": 0, "text": ""}',
    '{"stage": "guided", "step": 0, "question": "q", "n": -1, "text": ""}',
    '{"stage": "guided", "step": 0, "question": "q", "n": 0, "text": null}',
    '{"stage": ["guided"], "step": 0, "question": "q", "n": 0, "text": ""}',
    '{"stage": "other", "step": 0, "question": "q", "n": 0, "text": ""}',
    f'{{"stage": "guided", "step": {"9" * 5000}, "question": "q", "n": 0, "text": ""}}'])
def test_a_damaged_line_is_left_out_and_counted(rollouts, line):
    before = explorer(rollouts, LOOKS)
    add_lines(rollouts, line, "")
    after = explorer(rollouts, LOOKS)
    assert after["data"] == before["data"] and before["missing"] == []
    assert after["missing"] == ["1 line of rollouts.jsonl could not be read and is left out."]


@pytest.mark.parametrize("value", [None, True, "text", [1], {"a": 1}, -1, 1e300, 10**400, "\ud800"])
@pytest.mark.parametrize("key", ["task", "user", "ended", "tokens", "terms", "weights", "reward", "advantage",
                                 "gold", "prompt"])
def test_a_field_of_another_type_is_shown_as_missing(tmp_path, key, value):
    row = {"stage": "guided", "step": 0, "question": "q", "n": 0, "text": "4", key: value}
    nested = {**row, "n": 1, "terms": {"task": value}, "weights": {"task": value}}
    (tmp_path / "guided").mkdir()
    (tmp_path / FILE).write_text(json.dumps(row) + "\n" + json.dumps(nested) + "\n")
    shown = explorer(tmp_path, LOOKS)
    [group] = groups_of(json.loads(shown["data"]))
    assert len(group["completions"]) == 2 + 2 and len(shown["data"]) < 4000
    assert "NaN" not in shown["data"] and "None" not in shown["data"]


def test_numbers_of_any_size_are_short():
    assert figure(0.12345) == "0.123" and figure(-1e300) == "-1e+300" and figure(10**400) == "–"


@pytest.mark.parametrize("make, said", [
    (lambda path: path.unlink(), "is missing"),
    (lambda path: (path.unlink(), path.mkdir()), "cannot be read: not a regular file"),
    (lambda path: path.write_bytes(b""), "holds no whole group"),
    (lambda path: path.write_bytes(b"\xff\xfe\x00{}\n\n"), "1 line of rollouts.jsonl could not be read")])
def test_the_page_is_made_without_rollouts(rollouts, make, said):
    make(rollouts / FILE)
    page = render(rollouts, ABOUT)
    assert said in page and Parts(page).scripts == []


@pytest.mark.parametrize("make", [lambda path: path.unlink(), lambda path: path.write_text('{"id": 1}\n'),
                                  lambda path: path.write_text('{"id": "a", "profi')])
def test_without_the_questions_the_completions_are_shown_still(rollouts, make):
    make(rollouts / "data/train.jsonl")
    shown = explorer(rollouts, LOOKS)
    assert [words for words in shown["missing"] if "No question can be shown and no claim checked" in words]
    assert len(groups_of(json.loads(shown["data"]))) == 50 and "checked claim" not in shown["data"]


def test_an_unknown_question_is_shown_without_its_text(rollouts):
    rows = hostile_groups(0, 4)[:4]
    write_jsonl(rollouts / FILE, [{**row, "question": "nobody's"} for row in rows])
    shown = explorer(rollouts, LOOKS)
    assert "1 question of rollouts.jsonl cannot be found" in shown["missing"][0]
    assert "own text is not in data/train.jsonl." in shown["last"]


def test_a_step_that_was_done_again_counts_once_and_the_last_time(rollouts):
    rows = read_jsonl(rollouts / FILE)
    again = [{**row, "reward": 7.5} for row in rows if row["stage"] == "explore" and row["step"] == 12]
    add_lines(rollouts, *map(json.dumps, again))
    groups, missing = read_groups(rollouts)
    assert len(groups) == 50 and missing == []
    assert {row["reward"] for row in groups[-1].rows} == {7.5}


def test_a_profile_that_cannot_be_read_costs_the_marks_alone(rollouts):
    rows = read_jsonl(rollouts / "data/train.jsonl")
    for row in rows:
        for item in row["profile"]:
            item["label"] = "no score"
    write_jsonl(rollouts / "data/train.jsonl", rows)
    assert len(groups_of(json.loads(explorer(rollouts, LOOKS)["data"]))) == 50


def test_a_group_without_its_first_line_is_no_group():
    rows = [{"stage": "guided", "step": 0, "question": "q", "n": n, "text": ""} for n in range(2)]
    assert as_group(rows).prompt == "" and as_group(rows).rows == rows


# ---------------------------------------------------------------- the script

NODE = shutil.which("node")
STUB = Path(__file__).parents[1] / "helpers/page_stub.js"


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
def test_the_script_shows_what_python_wrote(made, tmp_path):
    """In a stub of a page: it begins with the last group as Python made it, walks over all groups, and finds
    a stage, a step and a question."""
    shown = explorer(made, LOOKS)
    (tmp_path / "data.json").write_text(shown["data"], encoding="utf-8")
    script = Path(module.__file__).with_name("explorer.js")
    got = subprocess.run([NODE, str(STUB), str(script), str(tmp_path / "data.json")], capture_output=True,
                         text=True, timeout=60, check=False)
    assert got.returncode == 0, got.stderr
    seen = json.loads(got.stdout)
    groups = groups_of(json.loads(shown["data"]))
    assert seen["first"] == shown["last"]
    assert seen["headings"] == [group["heading"] for group in reversed(groups)]
    assert seen["hidden"] == [True, False]

    # From the last group of guided's last step to the same question in step 3, or else to the same task.
    assert seen["stage"].startswith("explore, step 0: ") and seen["step"].startswith("explore, step 3: ")
    assert seen["task_before"] == seen["task_after"] == "LaMP_3"
    assert seen["again"] == ["guided 3", "explore 3"] and seen["jumped"].startswith("guided, step 3: ")
