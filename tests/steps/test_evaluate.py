"""Step 7: what systems answer is drawn once and kept; it depends neither on what fits into memory nor on
where a run was cut; PRMU, votes and other users' profiles do what their words say."""
import json
import shutil
from dataclasses import replace

import pytest
import torch
from small_memory import small_memory

from tagpr_lite import config
from tagpr_lite.config import ADAPTERS, UserError, parse_systems
from tagpr_lite.config.systems import parse_system
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import rollout
from tagpr_lite.lamp.answers import answer_of
from tagpr_lite.lamp.rows import read_questions
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.votes import voted
from tagpr_lite.prmu.model import ADAPTER, PRMU
from tagpr_lite.prmu.users import TextEmbeddings, texts_file
from tagpr_lite.runs import accept_changes, append_jsonl, read_json, read_jsonl
from tagpr_lite.steps import answer, faithful, prmu_scores, step1_prepare, step2_tag
from tagpr_lite.steps import step7_evaluate as step
from tagpr_lite.tags.schema import Chain, Step, render

WORDS = ["lamp.tasks=[LaMP_3, LaMP_4]", "lamp.mini_users=8", "lamp.train_limit=2", "lamp.dev_limit=3",
         "model.lora_r=4", "grpo.completion=16", "evaluate.answer_tokens=6", "reward.history=3",
         "reward.tokens=2", "lamp.from_profile={}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run folder with questions, chains, adapters that write different things, and a PRMU, none of them
    trained."""
    results = tmp_path_factory.mktemp("results")
    conf = config.load("smoke", [f"results={results}", "name=run", *WORDS])
    step1_prepare.main(conf)
    step2_tag.main(conf)
    model, tokenizer = engine.load(conf.model)
    for name in [*ADAPTERS, ADAPTER]:
        model = engine.add_adapter(model, conf.model, name)
        for param in engine.adapter_parameters(model, name).values():
            seed = torch.Generator(param.device).manual_seed(len(name))
            torch.nn.init.normal_(param, std=0.3, generator=seed)
        if name in ADAPTERS:
            engine.save_adapter(model, name, conf.folder / ADAPTERS[name])
    texts = TextEmbeddings(model, tokenizer, texts_file(conf.folder))
    dev = read_questions(conf.folder, "dev")
    texts.add(dev, conf.reward.history)
    torch.manual_seed(0)
    prmu = PRMU(model, tokenizer, conf.reward, conf.prompt, texts, (), conf.folder)
    prmu.fit(dev, [question.gold for question in dev])
    torch.nn.init.normal_(prmu.parts.head[2].weight)
    prmu.save(conf.folder / "prmu", {"accuracy": 1.0})
    return conf.folder


@pytest.fixture
def run(made, tmp_path):
    """A function systems -> the settings of a run of its own, whose steps 1 to 6 are done."""
    shutil.copytree(made, tmp_path / "run")

    def settings(*systems, more=()):
        words = [f"results={tmp_path}", "name=run", *WORDS, f"evaluate.systems=[{', '.join(systems)}]", *more]
        return config.load("smoke", words)
    return settings


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: (prompts, completions of each) of every call."""
    calls, real = [], rollout.sample_parts

    def counted(model, prompts, group, *args, **kwargs):
        calls.append((len(prompts), group))
        return real(model, prompts, group, *args, **kwargs)

    monkeypatch.setattr(rollout, "sample_parts", counted)
    return calls


def results(folder):
    """{"system/task": its file without the seconds}."""
    found = {}
    for path in sorted((folder / "eval").rglob("*.json")):
        found[f"{path.parent.name}/{path.stem}"] = {**read_json(path), "seconds": 0}
    return found


def texts_of(folder, name):
    """{question id: its texts} of a file of samples."""
    found = {}
    for row in read_jsonl(folder / "samples" / f"{name}.jsonl")[1:]:
        found.setdefault(row["id"], []).extend(part["text"] for part in row["completions"])
    return found


def asked_of(conf, others=False):
    questions = read_questions(conf.folder, "dev")
    by_others = answer.asked_by_others(conf, questions) if others else {}
    return answer.Asked(conf, conf.folder, questions, by_others)


# ---------------------------------------------------------------- drawn once

def test_samples_are_drawn_once_and_serve_all_decodings(run, drawn):
    words = ["sft", "sft@vote8", "sft@vote4", "sft@prmu8", "sft@prmu4-other", "sft@prmu8-none", "sft@best8",
             "sft@random8"]
    conf = run(*words)
    step.main(conf)
    assert drawn == [(6, 1), (6, 8)]  # three questions of each of two tasks
    assert sorted(path.name for path in (conf.folder / "eval").iterdir()) == sorted(words)

    # Each choice by hand, from the samples.
    samples, questions = texts_of(conf.folder, "sft"), read_questions(conf.folder, "dev")
    scores = {whose: {row["id"]: row["scores"] for row in
                      read_jsonl(conf.folder / "samples" / f"sft@prmu{whose}.jsonl")[1:]}
              for whose in ("", "-other", "-none")}
    got = results(conf.folder)
    for question in questions:
        texts = samples[question.id]
        assert len(texts) == 8 and len(set(texts)) > 4

        def chosen(word, name=question.id, task=question.task.name):
            return next(row for row in got[f"{word}/{task}"]["predictions"] if row["id"] == name)["text"]

        rewards = [item_reward(question.task, answer_of(text), question.gold) for text in texts]
        assert chosen("sft@vote4") == texts[voted(question.task, texts[:4])]
        assert chosen("sft@vote8") == texts[voted(question.task, texts)]
        assert chosen("sft@best8") == texts[rewards.index(max(rewards))]
        assert chosen("sft@random8") in texts
        for word, whose, n in (("prmu8", "", 8), ("prmu4-other", "-other", 4), ("prmu8-none", "-none", 8)):
            of_prmu = scores[whose][question.id]
            assert len(of_prmu) == n and chosen(f"sft@{word}") == texts[of_prmu.index(max(of_prmu))]
    assert scores[""] != scores["-none"]
    assert [scores[""][q.id][:4] != scores["-other"][q.id] for q in questions] == [True] * 6
    tokens = got["sft@vote8/LaMP_3"]["predictions"][0]["tokens"]
    assert 0 < tokens <= 16 and got["sft@vote8/LaMP_3"]["reasoning"]["completions"] == 3
    assert got["sft@vote8/LaMP_3"]["reasoning"]["entropy"] > 0


def test_one_more_system_answers_nothing_again(run, drawn, monkeypatch):
    step.main(run("base", "sft"))
    first = results(run("sft").folder)
    step.main(run("base", "sft", "sft@vote4"))
    assert drawn == [(6, 1), (6, 1), (6, 4)]
    step.main(run("sft", "sft@vote8"))  # four more
    assert drawn[3:] == [(6, 4)]
    monkeypatch.setattr(engine, "load", None)  # the model is not even loaded
    step.main(run("base", "sft", "sft@best8", "sft@vote4"))
    last = results(run("sft").folder)
    assert {name: last[name] for name in first} == first


def test_samples_that_are_drawn_later_are_those_that_are_drawn_at_once(run):
    conf = run("sft@vote8")
    at_once = answer.completions_of(asked_of(conf), answer.draw_of(parse_system("sft@vote8")), 8)
    texts = texts_of(conf.folder, "sft")
    (conf.folder / "samples" / "sft.jsonl").unlink()
    for wanted in (2, 7):
        got = answer.completions_of(asked_of(conf), answer.draw_of(parse_system("sft@vote7")), wanted)
    assert texts_of(conf.folder, "sft") == texts
    assert {name: [c.text for c in some] for name, some in got.items()} == texts
    assert {name: [c.text for c in some] for name, some in at_once.items()} == texts


def test_what_was_made_from_something_else_is_not_taken(run, drawn):
    conf = run("sft", "sft@vote4")
    step.main(conf)
    drawn.clear()
    step.main(run("sft", "sft@vote4", more=["grpo.temperature=0.9"]))
    assert drawn == [(6, 4)]  # greedy answers have no temperature
    drawn.clear()
    other = conf.folder / ADAPTERS["explore"] / "adapter_model.safetensors"
    (conf.folder / ADAPTERS["sft"] / "adapter_model.safetensors").write_bytes(other.read_bytes())
    step.main(run("sft", "sft@vote4"))
    assert drawn == [(6, 1), (6, 4)]
    drawn.clear()
    step.main(run("sft", "sft@vote4"))
    assert not drawn


# ---------------------------------------------------------------- memory, kills

def test_answers_do_not_depend_on_what_fits(run, capsys):
    conf = run("sft", "sft@vote4")
    for system, rows in (("sft", 4), ("sft@vote4", 8)):
        draw = answer.draw_of(parse_system(system))
        want = answer.completions_of(asked_of(conf), draw, 4 if draw.sampled else 1)
        assert len({some[0].text for some in want.values()}) > 1
        (conf.folder / "samples" / f"{draw.name}.jsonl").unlink()
        with small_memory(rows=rows) as tried:
            got = answer.completions_of(asked_of(conf), draw, 4 if draw.sampled else 1)
        assert {name: [c.text for c in some] for name, some in got.items()} \
            == {name: [c.text for c in some] for name, some in want.items()}
        if not draw.sampled:
            assert tried == [6]
            assert "from now on 3 prompts at a time (evaluate.batch)" in capsys.readouterr().out
    conf = run("guided")
    with small_memory(rows=0), pytest.raises(UserError, match="(evaluate.batch).*lower prompt.max_tokens"):
        answer.completions_of(asked_of(conf), answer.draw_of(parse_system("guided")), 1)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 5, 6])
def test_killed_anywhere_it_ends_with_the_same_results(run, monkeypatch, after):
    words = ["sft", "sft@vote4", "sft@prmu4-other"]
    more = ["evaluate.batch=8"]  # two batches of samples
    step.main(run(*words, more=more))
    want = results(run("sft").folder)
    for name in ("eval", "samples", "manifests/evaluate.json"):
        path = run("sft").folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    writes, real = [], answer.append_jsonl

    def append(path, rows):
        writes.append(path.name)
        if len(writes) == after:
            rows = list(rows)
            real(path, rows)
            with open(path, "rb+") as stream:  # the last line is cut in the middle
                stream.truncate(path.stat().st_size - 9)
            raise Killed
        real(path, rows)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for module in (answer, prmu_scores):
            patch.setattr(module, "append_jsonl", append)
        step.main(run(*words, more=more))
    step.main(run(*words, more=more))
    assert results(run("sft").folder) == want


# ---------------------------------------------------------------- profiles, choices

def test_the_other_users_profile_is_really_there_and_the_own_is_not(run):
    conf = run("sft@other", "sft@none", "base", "base_profile")
    asked = asked_of(conf, others=True)
    tokenizer = asked.loaded[1]

    def prompt(word, question):
        ids = answer.prompt_of(asked, answer.draw_of(parse_system(word)), question, tokenizer)
        return tokenizer.decode(ids)

    def items_in(text, profile):
        return sum(" ".join(item.text.split())[:40] in text for item in profile)

    for question in asked.questions:
        other = asked.others[question.id]
        assert other.user != question.user and other.task == question.task
        owner = [q for q in asked.questions if q.user == other.user and q.task == question.task]
        assert other.profile == owner[0].profile
        assert len(other.retrieved) == min(conf.lamp.k, len(other.profile))
        assert question.input in prompt("sft@other", question)
        shared = items_in("\n".join(item.text for item in question.profile), other.profile)
        assert items_in(prompt("sft", question), question.profile) > 0
        assert items_in(prompt("sft@other", question), other.profile) > shared == 0
        assert items_in(prompt("sft@other", question), question.profile) == 0
        assert items_in(prompt("sft@none", question), question.profile + other.profile) == 0
        assert prompt("base", question) != prompt("base_profile", question)
    again = answer.asked_by_others(conf, asked.questions)
    assert again == asked.others
    conf.seed = 1
    assert answer.asked_by_others(conf, asked.questions) != asked.others


def test_views_of_a_profile_show_what_they_say(run):
    conf = run("sft")
    asked = asked_of(conf, others=True)
    for question in asked.questions:
        def seen(profile):
            return asked.shown(profile)[question.id]

        own, other = seen("own"), seen("other")
        assert own == seen("none") == question and other == asked.others[question.id]
        # So many items, best first; the larger number begins with the smaller one.
        assert [len(seen(f"k{k}").retrieved) for k in (0, 1, 2)] == [0, 1, 2]
        assert seen("k4").retrieved[:2] == seen("k2").retrieved and seen("k2").profile == question.profile
        # Other retrievers, of the same profile.
        last = len(question.profile) - 1
        assert seen("recency").retrieved == tuple(range(last, last - conf.lamp.k, -1))
        assert seen("bm25").retrieved == question.retrieved
        assert len(set(seen("random").retrieved)) == conf.lamp.k
        assert len(seen("dense").retrieved) == conf.lamp.k
        # The same items in another order.
        assert sorted(seen("shuffled").retrieved) == sorted(question.retrieved)
        # Every second item is the other user's.
        half = seen("half")
        of_other = [item in other.profile for item in half.profile]
        assert len(half.profile) == len(question.profile) and len(half.retrieved) == conf.lamp.k
        assert sum(of_other) == min(len(question.profile) // 2, len(other.profile))
        assert all(item in question.profile for item in half.profile[::2])
    orders = [(asked.shown("shuffled")[q.id].retrieved, q.retrieved) for q in asked.questions]
    assert any(one != two for one, two in orders)
    assert asked_of(conf, others=True).shown("half") == asked.shown("half")


def test_an_answer_is_made_again_behind_a_changed_chain(run, drawn, monkeypatch):
    """Every change by hand, with a policy whose chains are written here: a model of two layers has none."""
    conf = run("sft", more=["evaluate.faithful=[sft]"])
    questions = read_questions(conf.folder, "dev")
    chains = {}
    for n, question in enumerate(questions):
        steps = (Step("examine_examples", f"Look at {n}."), Step("conclude", f"So {n}."))
        chains[question.id] = Chain(steps, "5")
    chains[questions[0].id] = None

    def completions_of(asked, draw, wanted):
        return {name: [answer.Completion(render(chain) if chain else "5", 9, True, 0.1, 0.1)]
                for name, chain in chains.items()}

    monkeypatch.setattr(step, "completions_of", completions_of)
    asked_for = []
    real = faithful.answers_behind

    def watched(asked, system, changes):
        asked_for.append([(change.question.id, change.change, change.thought) for change in changes])
        return real(asked, system, changes)

    monkeypatch.setattr(faithful, "answers_behind", watched)
    step.main(conf)
    rows = read_json(conf.folder / "samples" / "faithful.json")["sft"]
    of_one = {change: thought for name, change, thought in asked_for[0] if name == questions[1].id}
    assert of_one == {"examine_examples": "<think>\n<conclude>So 1.</conclude>\n</think>\n",
                      "conclude": "<think>\n<examine_examples>Look at 1.</examine_examples>\n</think>\n",
                      "nothing": "<think>\n</think>\n", "other": of_one["other"]}
    other = next(name for name, chain in chains.items() if chain and render(replace(chain, answer="")) ==
                 of_one["other"])
    by_id = {question.id: question for question in questions}
    assert by_id[other].user != questions[1].user and by_id[other].task == questions[1].task
    assert {row["id"] for row in rows} == {question.id for question in questions[1:]}
    assert len(rows) == 4 * (len(questions) - 1)
    for row in rows:
        assert row["whole"] == item_reward(by_id[row["id"]].task, "5", by_id[row["id"]].gold)

    # A second time nothing is asked; the answers are those behind the thoughts.
    texts = {(row["id"], row["change"]): row["answer"]
             for row in read_jsonl(conf.folder / "samples" / "sft@faithful.jsonl")[1:]}
    for row in rows:
        question = by_id[row["id"]]
        assert row["score"] == item_reward(question.task, texts[row["id"], row["change"]], question.gold)
    asked = asked_of(conf)
    again = faithful.faithful_rows(asked, parse_system("sft"), completions_of(None, None, 1))
    assert again == rows and asked_for[1] == []


@pytest.mark.parametrize("word", ["sft@vote8", "base", "explore", "nobody"])
def test_only_systems_that_reason_once_have_chains_to_change(word):
    with pytest.raises(UserError, match="evaluate.faithful"):
        config.load("smoke", ["evaluate.systems=[base, sft, 'sft@vote8']", f"evaluate.faithful=['{word}']"])


def test_a_view_is_made_anew_when_its_retrieval_changes(run):
    conf = run("sft@k2", "sft@shuffled")
    names = {word: answer.read_by(conf, answer.draw_of(parse_system(word)))
             for word in ("sft", "sft@none", "sft@shuffled", "sft@k2", "sft@other", "sft@half")}
    assert [word for word, read in names.items() if "lamp.retriever" in read] == ["sft@k2", "sft@other",
                                                                                 "sft@half"]


def test_a_task_with_one_user_has_no_other_and_says_so(run, drawn):
    conf = run("base", "explore@other")
    path = conf.folder / "data" / "dev.jsonl"
    rows = [row for row in read_jsonl(path) if row["task"] == "LaMP_3"][:1]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    accept_changes(conf.folder)
    with pytest.raises(UserError, match="explore@other needs another user, and LaMP_3 has one dev user"):
        step.main(conf)
    assert not drawn


def test_prmu_chooses_among_whole_chains_and_where_there_are_none_among_all(run):
    conf = run("sft@prmu3")
    question = next(q for q in read_questions(conf.folder, "dev") if q.task.name == "LaMP_3")
    whole = "<think>\n<conclude>So 4.</conclude>\n</think>\n4"
    system = parse_system("sft@prmu3")

    def chosen(texts, ended, scores):
        some = [answer.Completion(text, 9, end, 0.4, 0.1) for text, end in zip(texts, ended, strict=True)]
        return step.chosen(conf, system, question, some, scores)

    assert chosen(["<think>\n<conclude>So", whole, whole], [False, True, True], [9.0, 1.0, 2.0]) == 2
    assert chosen([whole, whole, whole], [True, True, False], [1.0, 1.0, 2.0]) == 0
    assert chosen(["no", "chain", "at all"], [True] * 3, [1.0, 3.0, 2.0]) == 1
    bare = run("sft@prmu3", more=["sft.form=answer"])
    some = [answer.Completion(text, 9, True, 0.4, 0.1) for text in ("4", whole, "5")]
    assert step.chosen(bare, system, question, some, [1.0, 9.0, 2.0]) == 2  # who is not to think must not


def test_only_what_the_systems_need_is_an_input(run):
    conf = run("base")
    inputs, settings = step.needs_of(conf, parse_systems(["base"]))
    assert inputs == ["data/dev.jsonl", "data/tasks.json", "plan.json"]
    assert "grpo.completion" not in settings and "reward" not in settings
    inputs, settings = step.needs_of(conf, parse_systems(["explore_last@none@prmu8-other"]))
    assert inputs[3:] == ["chains/kept.jsonl", "explore/last", "prmu"]
    assert {"reward", "lamp.k", "lamp.retriever", "grpo.temperature", "grpo.completion"} <= set(settings)
    (conf.folder / "explore/last/adapter_model.safetensors").unlink()
    (conf.folder / "explore/last").rename(conf.folder / "explore/gone")
    with pytest.raises(UserError, match="explore/last is missing"):
        step.main(run("explore_last"))
    step.main(run("base"))


FIVE = {"text": 5, "tokens": 1, "ended": True, "entropy": 0, "seconds": 0}


@pytest.mark.parametrize("change", [{"id": 5}, {"id": []}, {"completions": [{}]}, {"completions": "x"},
                                    {"completions": None}, {"completions": [FIVE]}])
def test_a_row_of_another_shape_is_one_line(tmp_path, change):
    row = {"id": "q", "completions": [answer.Completion("4", 1, True, 0.0, 0.1)._asdict()]}
    key, path = {"x": 1}, tmp_path / answer.FOLDER / "sft.jsonl"
    answer.rows_made_from(tmp_path, "sft", key, answer.has_completions)
    append_jsonl(path, [row])
    assert answer.rows_made_from(tmp_path, "sft", key, answer.has_completions) == [row]
    append_jsonl(path, [row | change])
    with pytest.raises(UserError, match="remove it, and its answers are made again"):
        answer.rows_made_from(tmp_path, "sft", key, answer.has_completions)
