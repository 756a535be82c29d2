"""Step 7: answers do not depend on how many questions fit into memory, nor on where a run was cut."""
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from small_memory import small_memory

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.rollout import prompt_limit
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.runs import read_jsonl
from tagpr_lite.steps.step7_evaluate import SYSTEMS, answer_questions


def test_answers_do_not_depend_on_what_fits(tmp_path, capsys):
    conf = config.load("smoke", ["evaluate.answer_tokens=6"])
    dev = [replace(question, retrieved=retrieve(question, "bm25", 2, 0))
           for question in mini.build(0, 8, ["LaMP_3"])["LaMP_3"]["dev"]][:5]
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, "policy")
    for param in engine.adapter_parameters(model, "policy").values():  # else it answers each question alike
        torch.nn.init.normal_(param, std=0.3, generator=torch.Generator(param.device).manual_seed(1))

    def answered(name, folder=None):
        """{question id: text}, and how many questions each update of the bar was about."""
        done = []
        rows = answer_questions(conf, tmp_path / name, SYSTEMS["base_profile"], model, tokenizer, dev,
                                SimpleNamespace(update=done.append),
                                prompt_limit("evaluate.batch", 4, folder))
        assert read_jsonl(tmp_path / name) == list(rows.values())
        return {key: row["text"] for key, row in rows.items()}, done

    want, done = answered("whole.jsonl")
    assert len(want) == 5 and len(set(want.values())) > 1 and done == [0, 4, 1]
    with small_memory(rows=2) as tried:
        got, done = answered("small.jsonl", tmp_path)
        assert got == want and done == [0, 2, 2, 1] and tried == [4]
        assert capsys.readouterr().out.count("from now on 2 prompts at a time (evaluate.batch)") == 1
        lines = (tmp_path / "small.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "small.jsonl").write_text("".join(lines[:2]))  # killed after its first part
        assert answered("small.jsonl", tmp_path) == (want, [2, 2, 1]) and tried == [4]
    with small_memory(rows=0), pytest.raises(UserError, match="(evaluate.batch).*lower prompt.max_tokens"):
        answered("none.jsonl")
