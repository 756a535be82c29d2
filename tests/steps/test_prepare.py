"""Step 1 on every kind of source and with every choice that shapes a prompt."""
import dataclasses
import json
import shutil

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tagpr_lite.config import LAYOUTS, Model, UserError, load
from tagpr_lite.engine.location import find
from tagpr_lite.engine.usable import check_usable
from tagpr_lite.lamp import tasks
from tagpr_lite.lamp.prompts import build
from tagpr_lite.lamp.rows import read_questions
from tagpr_lite.plan.layers import GIB
from tagpr_lite.plan.run_plan import SHOWN, follow, read_plan
from tagpr_lite.plan.shapes import SHAPES
from tagpr_lite.plan.whole import Load, plan_run, with_settings
from tagpr_lite.runs import read_json
from tagpr_lite.steps import step1_prepare


def prepare(tmp_path, *words):
    config = load("smoke", [f"results={tmp_path / 'results'}", "name=x", "lamp.mini_users=16",
                            "lamp.mini_tasks=[]", "prompt.max_tokens=700", *words])
    step1_prepare.main(config)
    return config.folder


def test_the_built_in_benchmark_has_eight_tasks_and_the_eighth_is_never_trained_on(tmp_path, capsys):
    folder = prepare(tmp_path)
    summary = read_json(folder / "data/summary.json")["tasks"]
    assert set(summary) == {*tasks.OFFICIAL, "shop_reviews"}
    assert summary["shop_reviews"]["train"] == 0 < summary["shop_reviews"]["dev"]
    assert all(s["leaks"]["shared"] == {"train": 0, "dev": 0} for s in summary.values())
    assert "prompts show" in capsys.readouterr().out
    references = read_json(folder / "data/references.json")
    assert set(references) == set(summary)
    assert all(row["oracle"]["reward"] == pytest.approx(1) for row in references.values())


def test_a_preset_may_name_fewer_tasks_of_the_built_in_benchmark(tmp_path):
    def made(*words):
        return set(read_json(prepare(tmp_path, *words) / "data/summary.json")["tasks"])

    assert made("lamp.mini_tasks=LaMP_3,LaMP_4") == {"LaMP_3", "LaMP_4"}
    assert made("lamp.mini_tasks=LaMP_3,LaMP_4", "lamp.tasks=LaMP_5") == {"LaMP_5"}  # the user's word counts
    assert made("lamp.mini_tasks=LaMP_3", "lamp.mini_language=zh") == {"LaMP_3_zh"}


def test_held_out_users_are_trained_on_nowhere(tmp_path):
    """Of every task that is trained on some users are set aside, and nothing of theirs is in train."""
    folder = prepare(tmp_path, "lamp.val=0.3", "lamp.val_limit=9", "lamp.train_limit=99",
                     "lamp.from_profile={LaMP_3: 40}")
    train, val, dev = (read_questions(folder, split) for split in ("train", "val", "dev"))
    users = {q.user for q in val}
    assert {q.task.name for q in val} == {q.task.name for q in train}
    assert not users & {q.user for q in train + dev}
    assert len({q.id for q in train + val + dev}) == len(train + val + dev)
    of_ratings = {q.user for q in train if q.task.name == "LaMP_3"}, {q.user for q in val
                                                                      if q.task.name == "LaMP_3"}
    assert [len(side) for side in of_ratings] == [11, 5]  # of 16 users
    summary = read_json(folder / "data/summary.json")["tasks"]
    assert sum(task["val"] for task in summary.values()) == len(val) == read_plan(folder).load["val"]
    assert all(q.retrieved for q in val)


def test_without_held_out_users_there_are_no_held_out_questions(tmp_path):
    folder = prepare(tmp_path, "lamp.val=0", "lamp.train_limit=99")
    assert read_questions(folder, "val") == []
    assert len({q.user for q in read_questions(folder, "train") if q.task.name == "LaMP_3"}) == 16


def test_no_profile_that_is_trained_on_holds_a_held_out_question(tmp_path):
    """With lamp.exclude=[taught], items of training profiles that are held-out questions go, too."""
    instruction = tasks.TASKS["LaMP_3"].instruction
    texts = [f"review number {n} of a thing" for n in range(8)]
    rows = [{"id": str(n), "input": f"{instruction} {text}",
             "profile": [{"id": f"p{n}", "text": texts[(n + 1) % 8], "score": "4"},
                         {"id": f"q{n}", "text": f"own text {n}", "score": "5"}]}
            for n, text in enumerate(texts)]
    for split in ("train", "dev"):
        data = tmp_path / "lamp" / "LaMP_3"
        data.mkdir(parents=True, exist_ok=True)
        here = rows if split == "train" else [rows[0] | {"id": "d", "input": f"{instruction} another one"}]
        (data / f"{split}_questions.json").write_text(json.dumps(here))
        golds = [{"id": row["id"], "output": "4"} for row in here]
        (data / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_3", "golds": golds}))
    folder = prepare(tmp_path, f"lamp.source={tmp_path / 'lamp'}", "lamp.exclude=[taught]", "lamp.val=0.4",
                     "lamp.train_limit=99", "lamp.dev_limit=9")
    train, val = (read_questions(folder, split) for split in ("train", "val"))
    asked = {q.task.payload(q.input) for q in val}
    assert len(val) == 3 and not any(item.text in asked for q in train for item in q.profile)
    assert all(len(q.profile) in (1, 2) for q in train) and any(len(q.profile) == 1 for q in train)


@pytest.mark.parametrize("retriever, k", [("dense", 2), ("recency", 0), ("random", 999)])
def test_retrievers(tmp_path, retriever, k):
    folder = prepare(tmp_path, f"lamp.retriever={retriever}", f"lamp.k={k}", "lamp.tasks=LaMP_3",
                     "prompt.style=official")
    for q in read_questions(folder, "dev"):
        assert len(q.retrieved) == min(k, len(q.profile)) == len(set(q.retrieved))


def test_chinese_and_the_same_people_later(tmp_path, capsys):
    folder = prepare(tmp_path, "lamp.mini_language=zh", "lamp.mini_people=same", "lamp.tasks=LaMP_2,LaMP_4",
                     "lamp.train_limit=99")
    train, val, dev = (read_questions(folder, split) for split in ("train", "val", "dev"))
    assert {q.task.name for q in train} == {"LaMP_2_zh", "LaMP_4_zh"}
    assert {q.user for q in dev} <= {q.user for q in train + val}
    assert "users in both splits" in capsys.readouterr().out


def test_a_task_of_ones_own(tmp_path):
    records = [{"user": n % 4, "input": f"wine {n}", "output": str(n % 3),
                "history": [{"text": "older wine", "label": "2"}]} for n in range(12)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "wine.yaml").write_text("name: cups\nkind: rating\nscale: [0, 3]\nrecords: "
                                        "r.jsonl\ninstruction: Rate it.")
    folder = prepare(tmp_path, f"lamp.source={tmp_path / 'wine.yaml'}")
    train = read_questions(folder, "train")
    assert {(q.task.name, q.task.scale) for q in train} == {("cups", (0, 3))}
    assert not (folder / "data/references.json").exists()  # they are the built-in benchmark's


def test_nothing_to_train_on_is_one_line(tmp_path):
    (tmp_path / "r.jsonl").write_text(json.dumps({"user": "u", "input": "x", "output": "y",
                                                  "history": [{"text": "a", "label": "b"}]}))
    (tmp_path / "t.yaml").write_text("name: alone\nkind: text\nheldout: 1\nrecords: r.jsonl")
    with pytest.raises(UserError, match="leaves 0 questions to train on and 1 to score"):
        prepare(tmp_path, f"lamp.source={tmp_path / 't.yaml'}")


def test_a_memory_budget_decides_how_grpo_computes(tmp_path):
    folder = prepare(tmp_path, "lamp.tasks=LaMP_3", "model.vram=2", "grpo.micro=1", "grpo.completion=32")
    plan = read_plan(folder)
    assert plan.decided["grpo.layout"] in LAYOUTS and plan.decided["grpo.micro"] == 8
    assert plan.decided["sft.micro"] == 4 and plan.decided["evaluate.batch"] >= 1
    assert 0 < plan.peak_gib + plan.reserve_gib <= plan.budget_gib == 2
    # what really runs is what config.yaml says, and the settings that were given are left alone
    shown = yaml.safe_load((folder / "config.yaml").read_text())["grpo"]
    assert shown["micro"] == 8 and shown["completion"] == 32
    assert shown["layout"] == plan.decided["grpo.layout"]
    given = load("smoke", ["grpo.micro=1"])
    assert follow(given, plan).grpo.micro == 8 and given.grpo.micro == 1
    (folder / "plan.json").write_text('{"model": "tiny"}')
    with pytest.raises(UserError, match="run step 1"):
        read_plan(folder)
    with pytest.raises(UserError, match="What would fit"):
        prepare(tmp_path, "lamp.tasks=LaMP_3", "model.vram=0.8")


def test_what_the_plan_decides_by_is_in_the_key():
    """Any other setting of the sections that the table shows may change without another plan."""
    config = load("gpu", [])
    asked = Load(prompt=900, mean_prompt=700, question=300, train=500, dev=100)
    in_key = {"lamp", "prompt", "model", *step1_prepare.PLANNED}

    def decided(config):
        return plan_run(SHAPES["qwen3-1.7b"], config, asked, 5 * GIB).decided

    want, changed = decided(config), 0
    for section in SHOWN:
        for field in dataclasses.fields(getattr(config, section)):
            value = getattr(getattr(config, section), field.name)
            if {section, f"{section}.{field.name}"} & in_key or type(value) not in (int, float):
                continue
            other = with_settings(config, {f"{section}.{field.name}": type(value)(3 * value + 2)})
            assert decided(other) == want, f"{section}.{field.name}"
            changed += 1
    assert changed > 20
    assert decided(with_settings(config, {"sft.batch": 1})) != want


def test_the_table_is_made_anew_when_a_setting_that_it_shows_changes(tmp_path, capsys):
    prepare(tmp_path, "lamp.tasks=LaMP_3")
    assert "the whole run" in capsys.readouterr().out
    prepare(tmp_path, "lamp.tasks=LaMP_3")
    assert "the whole run" not in capsys.readouterr().out
    folder = prepare(tmp_path, "lamp.tasks=LaMP_3", "grpo.guided_steps=50")
    said = capsys.readouterr().out
    assert "up to date" in said and "the whole run" in said
    rows = {f"{row['step']} {row['what']}": row for row in read_json(folder / "plan_table.json")["rows"]}
    assert rows["guided updates"]["seconds"] > 5 * rows["explore updates"]["seconds"]
    assert all(row["peak"] is None for row in rows.values())  # a CPU has no budget
    (folder / "plan_table.json").write_text("[{")
    prepare(tmp_path, "lamp.tasks=LaMP_3", "grpo.guided_steps=50")
    assert "the whole run" in capsys.readouterr().out


def test_the_plan_knows_the_longest_prompt_and_question(tmp_path):
    """A training question over the prompt budget was left out and does not count; a dev question does."""
    records = [{"user": n % 4, "input": "wine " * (60 if n < 4 else 1) + str(n), "output": str(n % 3),
                "history": [{"text": "older wine", "label": "2"}]} for n in range(16)]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "wine.yaml").write_text("name: cups\nkind: rating\nscale: [0, 3]\nrecords: r.jsonl\n"
                                        "instruction: Rate it.\nheldout: 0.5")
    folder = prepare(tmp_path, f"lamp.source={tmp_path / 'wine.yaml'}", "prompt.max_tokens=100")
    loaded = read_plan(folder).load
    tokenizer = check_usable(Model(name="tiny"))
    lengths = {split: [len(build(q, tokenizer, load("smoke", ["prompt.max_tokens=100"]).prompt,
                                 with_profile=True, reason=True)[0]) for q in read_questions(folder, split)]
               for split in ("train", "dev")}
    assert loaded["prompt"] == max(lengths["train"] + lengths["dev"]) > loaded["mean_prompt"]
    assert loaded["question"] <= loaded["prompt"]
    assert (loaded["train"], loaded["dev"]) == (len(lengths["train"]), len(lengths["dev"]))


# ---------------------------------------------------------------- ids, limits, and what the key holds

def lamp_task(folder, task, numbers, gold, text="a film"):
    """A task's files whose questions are numbered from 1, as most people number theirs."""
    folder.mkdir(parents=True)
    item = {"id": "a", "text": "older", "score": "4", "description": "older", "tag": "comedy"}
    for split, numbers in (("train", numbers), ("dev", [100 + n for n in numbers])):
        rows = [{"id": str(n), "input": tasks.TASKS[task].ask(f"{text} {split} {n}"),
                 "profile": [item, {**item, "id": "b"}], "user_id": f"{split}{n}"} for n in numbers]
        golds = [{"id": str(n), "output": gold} for n in numbers]
        (folder / f"{split}_questions.json").write_text(json.dumps(rows))
        (folder / f"{split}_outputs.json").write_text(json.dumps({"task": task, "golds": golds}))


def test_tasks_that_number_from_1_are_kept_apart(tmp_path):
    source = tmp_path / "lamp"
    lamp_task(source / "LaMP_2", "LaMP_2", range(1, 5), "comedy")
    lamp_task(source / "LaMP_3", "LaMP_3", range(1, 4), "5")
    folder = prepare(tmp_path, f"lamp.source={source}", "lamp.train_limit=99", "lamp.dev_limit=99")
    questions = [q for split in ("train", "val", "dev") for q in read_questions(folder, split)]
    assert len(questions) == 14 == len({q.id for q in questions})
    films = {q.id for q in questions if q.gold == "comedy"}
    assert films == {"LaMP_2/1", "LaMP_2/2", "LaMP_2/3", "4", "LaMP_2/101", "LaMP_2/102", "LaMP_2/103", "104"}


def test_a_limit_of_a_task_that_is_not_there_is_refused(tmp_path):
    for key in ("train_limit", "val_limit", "dev_limit", "from_profile"):
        with pytest.raises(UserError, match=f"lamp.{key} names a task 'LaMP_77'"):
            prepare(tmp_path, f"lamp.{key}={{LaMP_77: 3}}")


def own_task(folder, number=8):
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    records = [{"user": n % 4, "input": f"wine {n}", "output": str(n % 3),
                "history": [{"text": "older wine", "label": "2"}]} for n in range(number)]
    (folder / "sub" / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "task.yaml").write_text(yaml.safe_dump({"name": "wines", "kind": "choice", "labels": [0, 1, 2],
                                                      "instruction": "How good?", "records": "sub/r.jsonl"}))
    return folder / "task.yaml"


def test_records_in_a_sub_folder_are_in_the_key(tmp_path, capsys):
    source = own_task(tmp_path / "own")
    words = (f"lamp.source={source}", "lamp.train_limit=99", "lamp.val_limit=99")
    prepare(tmp_path, *words)
    own_task(tmp_path / "own", number=12)
    (tmp_path / "own" / "notes.jsonl").write_text("not of this task")
    folder = prepare(tmp_path, *words)
    assert capsys.readouterr().out.count("[prepare] started") == 2
    assert sum(len(read_questions(folder, split)) for split in ("train", "val", "dev")) == 12


@pytest.mark.parametrize("word, again", [
    ("grpo.group=64", True), ("grpo.completion=999", True), ("grpo.layout=kept", True),
    ("grpo.lr=1e-6", False), ("sft.lr=1e-6", False), ("lamp.k=1", True), ("prompt.max_tokens=600", True)])
def test_what_the_plan_is_made_of_is_in_the_key(tmp_path, capsys, word, again):
    prepare(tmp_path, "lamp.tasks=LaMP_3")
    prepare(tmp_path, "lamp.tasks=LaMP_3", word)
    assert ("up to date" not in capsys.readouterr().out) == again


def test_other_weights_in_a_models_folder_are_another_model(tmp_path, capsys):
    model = shutil.copytree(find(Model(name="tiny")), tmp_path / "model")
    words = (f"model.name={model}", "lamp.tasks=LaMP_3")
    prepare(tmp_path, *words)
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model / "model.safetensors",
              metadata={"format": "pt"})
    prepare(tmp_path, *words)
    assert capsys.readouterr().out.count("[prepare] started") == 2
