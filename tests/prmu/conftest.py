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
from tagpr_lite.tags.teachers import cues
from tagpr_lite.tags.teachers.teacher import Template

TINY, USERS = Model(name="tiny", lora_r=4), 12


@pytest.fixture(scope="session")
def questions():
    data = mini.build(0, USERS)
    return [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in data.values() for q in s["train"]]


@pytest.fixture(scope="session")
def known(questions):
    """(kept chains by question id, hidden rules, cues)."""
    found = cues.learn(questions)
    kept, _ = chains.generate(questions, Template(found), Tag())
    return {r["id"]: tagged(r, r["tags"])["text"] for r in kept}, mini.rules_of(0, USERS), found


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
        prmu.fit(asked, [q.gold for q in asked])
        torch.nn.init.normal_(prmu.parts.head[2].weight)
        return prmu
    return made
