"""User embeddings: generic + history + own; the question decides what is read; a longer history needs no
training."""
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import Reward
from tagpr_lite.lamp.tasks import Item
from tagpr_lite.prmu.users import TextEmbeddings, UserTokens, about, history, said


def test_texts_do_not_depend_on_the_batch_and_are_kept(make, questions, tmp_path):
    prmu, q = make(), questions[0]
    alone = TextEmbeddings(prmu.model, prmu.tokenizer, tmp_path / "alone")
    alone.add([q], 4)
    for a, b in zip(alone.of(q, 4), prmu.texts.of(q, 4)):
        assert torch.allclose(a, b, atol=1e-5)
    again = TextEmbeddings(None, None, prmu.texts.path)
    again.add([q], 4)  # nothing is new: no model is asked
    assert all(torch.equal(a, b) for a, b in zip(again.of(q, 4), prmu.texts.of(q, 4)))


def test_an_item_is_its_text_and_what_was_said_to_it(make, questions):
    prmu, q = make(), questions[0]
    query, items = prmu.texts.of(q, 4)
    first = history(q, 4)[0]
    assert items.shape == (4, 3, len(query)) and torch.equal(query, prmu.texts[about(q)][0])
    assert torch.equal(items[0], torch.stack([prmu.texts[first.text][0], *prmu.texts[said(first)]]))
    assert said(Item("0", "a tweet", "")) == "a tweet"


def test_history_is_retrieved_first_then_newest(questions):
    q = questions[0]
    got = history(q, 5)
    assert got[:3] == [q.profile[i] for i in q.retrieved] and len(got) == len(set(got)) == 5


def users(tokens=4, hidden=32, names=()):
    torch.manual_seed(0)
    made = UserTokens(hidden, tokens, 2.5, names)
    made.fit(torch.randn(50, 3, hidden) * 3 + 1)
    return made


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9), st.integers(1, 6))
def test_tokens_have_the_norm_of_embeddings(n, tokens):
    got = users(tokens)(torch.randn(32), torch.randn(n, 3, 32))
    assert got.shape == (tokens, 32) and torch.allclose(got.norm(dim=-1), torch.full((tokens,), 2.5),
                                                        atol=1e-4)


def test_generic_history_and_own_add_up():
    made = users(names=("ann",))
    query, items = torch.randn(32), torch.randn(5, 3, 32)
    torch.nn.init.normal_(made.own.weight)
    row = made.own.weight[0].view(4, 32)
    f = made.read(query, items)
    assert torch.allclose(made(query, items, "ann"), made.scaled(made.generic + f + row))
    assert torch.allclose(made(query, items, "bob"), made.scaled(made.generic + f))  # no row: history alone
    assert torch.allclose(made(query, items[:0], "ann"), made.scaled(made.generic + row))
    assert torch.equal(made(query, items[:0], "bob"), made.generic_user())  # nothing is known: e_0
    assert not users(names=("ann",)).own.weight.any()  # rows begin at 0


def test_the_order_of_the_history_does_not_matter_and_its_content_does():
    made, query, items = users(), torch.randn(32), torch.randn(6, 3, 32)
    assert torch.allclose(made(query, items), made(query, items.flip(0)), atol=1e-5)
    assert not torch.allclose(made(query, items), made(query, items[:5]), atol=1e-3)


def test_half_of_the_tokens_begin_by_saying_what_was_said_to_the_likest_item():
    made = users()
    items = torch.randn(6, 3, 32) * 3 + 1
    query = items[4, 0] + 0.05 * torch.randn(32)
    toward = torch.nn.functional.cosine_similarity(made.read(query, items)[:, None], (torch.nn.functional.normalize(items[:, 2], dim=-1) - made.usual)[None], dim=-1)  # [t, n]
    assert toward[1].argmax() == toward[3].argmax() == 4 and toward[1, 4] > 0.95 > toward[0, 4]


def test_an_item_more_updates_the_embedding_without_training(make, questions):
    prmu, q = make(Reward(tokens=3, history=20)), questions[0]
    before, parameters = prmu.user(q), [p.clone() for p in prmu.parts.parameters()]
    longer = replace(q, profile=(*q.profile, Item("new", "something else entirely", "9")))
    with pytest.raises(KeyError):
        prmu.user(longer)  # the new text has to be embedded, once
    prmu.texts.add([longer], 20)
    after = prmu.user(longer)
    assert not torch.allclose(before, after, atol=1e-4) and torch.equal(before, prmu.user(q))
    assert all(torch.equal(a, b) for a, b in zip(parameters, prmu.parts.parameters()))
