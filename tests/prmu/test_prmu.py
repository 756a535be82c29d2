"""PRMU: the user reaches the score, a group shares its prompt, and no user is on both sides of the split."""
from dataclasses import replace

import pytest
import torch

from tagpr_lite.config import Model, Prompt, Reward, Tag
from tagpr_lite.engine import model as engine
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.prmu.model import ADAPTER, PRMU, load_prmu
from tagpr_lite.prmu.pairs import make_pairs, split_users
from tagpr_lite.prmu.users import ItemEmbeddings, UserTokens, history
from tagpr_lite.tags import chains
from tagpr_lite.tags.teacher import Template

SETTINGS, TINY = Reward(tokens=3, history=4), Model(name="tiny", lora_r=4)


@pytest.fixture(scope="module")
def questions():
    data = mini.build(0, 12)
    return [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in data.values() for q in s["train"]]


@pytest.fixture
def prmu(questions, tmp_path):
    base, tokenizer = engine.load(TINY)
    model = engine.add_adapter(base, TINY, ADAPTER)
    items = ItemEmbeddings(model, tokenizer, tmp_path / "items.safetensors")
    items.add([i for q in questions[:6] for i in history(q, 4)])
    torch.manual_seed(0)
    made = PRMU(model, tokenizer, SETTINGS, Prompt(), items)
    torch.nn.init.normal_(made.head[1].weight)
    return made


def test_item_embeddings_do_not_depend_on_the_batch_and_are_kept(prmu, questions, tmp_path):
    items = history(questions[0], 4)
    alone = ItemEmbeddings(prmu.model, prmu.tokenizer, tmp_path / "alone")
    for i in items:
        alone.add([i])
    assert torch.allclose(alone.of(items), prmu.items.of(items), atol=1e-5)
    again = ItemEmbeddings(None, None, prmu.items.path)
    assert torch.equal(again.of(items), prmu.items.of(items))


def test_history_is_retrieved_first_then_newest(questions):
    q = questions[0]
    got = history(q, 5)
    assert got[:3] == [q.profile[i] for i in q.retrieved] and len(got) == len(set(got)) == 5


def test_user_tokens_have_the_norm_of_embeddings_and_differ_by_history():
    users = UserTokens(hidden=32, tokens=3, norm=2.5)
    a, b, nobody = users(torch.randn(5, 32)), users(torch.randn(5, 32)), users(None)
    for tokens in (a, b, nobody):
        assert tokens.shape == (3, 32) and torch.allclose(tokens.norm(dim=-1), torch.full((3,), 2.5))
    assert (a - b).abs().max() > 1e-3


def test_a_group_scores_like_its_members_alone_and_the_user_matters(prmu, questions, monkeypatch):
    q, group, sizes = questions[0], [[5, 6, 7, 8], [9, 10], [5, 6, 7, 11, 12, 13]], []
    together = prmu.rate(q, group)
    alone = torch.cat([prmu.rate(q, [c]) for c in group])
    assert torch.allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(prmu, "scores", lambda at, part, real=prmu.scores: sizes.append(len(part)) or real(at, part))
    assert torch.allclose(together, prmu.rate(q, group, micro=2), atol=1e-5) and sizes == [2, 1]
    assert not torch.allclose(together, prmu.rate(q, group, user=prmu.user(questions[5])), atol=1e-3)


def test_gradients_reach_adapter_head_and_user_encoder(prmu, questions):
    params = prmu.trainable()
    at = prmu.prefix(questions[0], prmu.user(questions[0]), grad=True)
    scores = prmu.scores(at, [[5, 6, 7], [9, 10]])
    (scores[0] - scores[1]).backward()
    at.backward()
    alive = {n for n, p in params.items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"users.generic", "users.queries", "users.read.1.weight", "users.write.2.weight", "head.1.weight"} <= alive
    assert any("lora_B" in n for n in alive)
    assert not any(p.grad is not None for n, p in prmu.model.named_parameters() if n not in params)


def test_save_and_load_give_the_same_scores(prmu, questions, tmp_path):
    q, group = questions[0], [[5, 6, 7, 8], [9, 10]]
    want = prmu.rate(q, group)
    prmu.save(tmp_path / "prmu", {"accuracy": 0.7})
    base, tokenizer = engine.load(TINY)
    base = engine.add_adapter(base, TINY, "policy")
    model, again, report = load_prmu(tmp_path / "prmu", base, tokenizer, SETTINGS, Prompt(), prmu.items)
    model.set_adapter("policy")
    assert torch.allclose(again.rate(q, group), want, atol=1e-6) and report == {"accuracy": 0.7}
    assert model.active_adapter == "policy"


def test_pairs_say_why_and_no_user_crosses_the_split(questions):
    by_id = {q.id: q for q in questions}
    kept, dropped = chains.generate(questions, Template(), Tag())
    kept, dropped = ([chains.tagged(r, r["tags"]) for r in rows] for rows in (kept, dropped))
    pairs = make_pairs(by_id, kept, dropped, seed=0)
    assert {p.kind for p in pairs} == {"other_user", "worse_answer"} and pairs == make_pairs(by_id, kept, dropped, seed=0)
    assert all(p.chosen != p.rejected for p in pairs)
    train, held = split_users(pairs, 0.3, seed=0)
    assert len(train) + len(held) == len(pairs) and len(held) > 5
    assert not {(p.question.task, p.question.user) for p in train} & {(p.question.task, p.question.user) for p in held}
