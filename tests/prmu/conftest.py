"""A tiny PRMU with its texts, and the benchmark's questions with their kept chains."""
from dataclasses import replace

import pytest
import torch

from tagpr_lite.config import Model, Prompt, Reward, Tag
from tagpr_lite.engine import model as engine
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.prmu.model import ADAPTER, PRMU
from tagpr_lite.prmu.users import TextEmbeddings
from tagpr_lite.tags import chains
from tagpr_lite.tags.discover import tagged
from tagpr_lite.tags.teachers import template
from tagpr_lite.tags.teachers.teacher import Template

TINY, USERS = Model(name="tiny", lora_r=4), 12


@pytest.fixture(scope="session")
def questions():
    data = mini.build(0, USERS)
    train = [question for splits in data.values() for question in splits["train"]]
    return [replace(question, retrieved=retrieve(question, "bm25", 3, 0)) for question in train]


@pytest.fixture(scope="session")
def known(questions):
    """(kept chains by question id, hidden rules, cues)."""
    learned_cues = template.learn_reading(questions)
    rows, _ = chains.generate(questions, Template(learned_cues), Tag())
    kept = {row["id"]: tagged(row, row["tags"])["text"] for row in rows}
    return kept, mini.rules_of(0, USERS), learned_cues


@pytest.fixture
def make(questions, tmp_path):
    """A function settings -> PRMU over a tiny model, its texts embedded for the first questions."""
    def made(settings=Reward(tokens=3, history=4), users=(), asked=questions[:6]):
        base, tokenizer = engine.load(TINY)
        model = engine.add_adapter(base, TINY, ADAPTER)
        texts = TextEmbeddings(model, tokenizer, tmp_path / "texts.safetensors")
        texts.add(asked, settings.history)
        torch.manual_seed(0)
        prmu = PRMU(model, tokenizer, settings, Prompt(), texts, users)
        prmu.fit(asked, [question.gold for question in asked])
        torch.nn.init.normal_(prmu.parts.head[2].weight)
        return prmu
    return made
