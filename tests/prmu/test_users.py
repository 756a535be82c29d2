"""User embeddings: generic + history + own; the question decides what is read; a longer history needs no
training."""
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import Reward
from tagpr_lite.lamp.tasks import Item
from tagpr_lite.prmu.users import TextEmbeddings, UserTokens, history_items, response, topic


def test_texts_do_not_depend_on_the_batch_and_are_kept(make, questions, tmp_path):
    prmu, question = make(), questions[0]
    in_a_batch = prmu.texts.lookup(question, 4)
    alone = TextEmbeddings(prmu.model, prmu.tokenizer, tmp_path / "alone")
    alone.add([question], 4)
    for tensor, want in zip(alone.lookup(question, 4), in_a_batch, strict=True):
        assert torch.allclose(tensor, want, atol=1e-5)
    from_file = TextEmbeddings(None, None, prmu.texts.path)
    from_file.add([question], 4)  # nothing is new: no model is asked
    for tensor, want in zip(from_file.lookup(question, 4), in_a_batch, strict=True):
        assert torch.equal(tensor, want)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


def replace_by_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, flip, replace_by_a_folder])
def test_a_damaged_file_of_texts_is_made_again(make, questions, tmp_path, capsys, damage):
    path = tmp_path / "mine.safetensors"
    first = make().texts
    first.path = path
    first.known.clear()
    first.add(questions[:2], 3, alone=True)
    damage(path)
    again = TextEmbeddings(first.model, first.tokenizer, path)
    assert not again.known and "are embedded again" in capsys.readouterr().out
    again.add(questions[:2], 3, keep=False, alone=True)
    assert again.known.keys() == first.known.keys()
    assert all(torch.equal(again.known[key], first.known[key]) for key in first.known)


def test_an_item_is_its_text_and_the_response_to_it(make, questions):
    prmu, question = make(), questions[0]
    query, items = prmu.texts.lookup(question, 4)
    first = history_items(question, 4)[0]
    assert items.shape == (4, 3, len(query)) and torch.equal(query, prmu.texts[topic(question)][0])
    assert torch.equal(items[0], torch.stack([prmu.texts[first.text][0], *prmu.texts[response(first)]]))
    assert response(Item("0", "a tweet", "")) == "a tweet"


def test_history_is_retrieved_first_then_newest(questions):
    question = questions[0]
    items = history_items(question, 5)
    assert items[:3] == [question.profile[index] for index in question.retrieved]
    assert len(items) == len(set(items)) == 5


def user_tokens(tokens=4, hidden=32, names=()):
    """UserTokens fitted to random items; their norm is 2.5."""
    torch.manual_seed(0)
    users = UserTokens(hidden, tokens, 2.5, names)
    users.fit(torch.randn(50, 3, hidden) * 3 + 1)
    return users


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9), st.integers(1, 6))
def test_tokens_have_the_norm_of_embeddings(n, tokens):
    embedding = user_tokens(tokens)(torch.randn(32), torch.randn(n, 3, 32))
    assert embedding.shape == (tokens, 32)
    assert torch.allclose(embedding.norm(dim=-1), torch.full((tokens,), 2.5), atol=1e-4)


def test_generic_history_and_own_add_up():
    users = user_tokens(names=("ann",))
    assert not users.own.weight.any()  # rows begin at 0
    query, items, no_items = torch.randn(32), torch.randn(5, 3, 32), torch.randn(0, 3, 32)
    torch.nn.init.normal_(users.own.weight)
    row = users.own.weight[0].view(4, 32)
    read = users.read(query, items)
    assert torch.allclose(users(query, items, "ann"), users.scaled(users.generic + read + row))
    assert torch.allclose(users(query, items, "bob"), users.scaled(users.generic + read))  # no row
    assert torch.allclose(users(query, no_items, "ann"), users.scaled(users.generic + row))
    assert torch.equal(users(query, no_items, "bob"), users.generic_user())  # nothing is known: e_0


def test_the_order_of_the_history_does_not_matter_and_its_content_does():
    users, query, items = user_tokens(), torch.randn(32), torch.randn(6, 3, 32)
    assert torch.allclose(users(query, items), users(query, items.flip(0)), atol=1e-5)
    assert not torch.allclose(users(query, items), users(query, items[:5]), atol=1e-3)


def test_half_of_the_tokens_begin_at_the_response_to_the_item_most_like_the_question():
    users = user_tokens()
    items = torch.randn(6, 3, 32) * 3 + 1
    query = items[4, 0] + 0.05 * torch.randn(32)
    responses = F.normalize(items[:, 2], dim=-1) - users.usual  # [n, H]
    tokens = users.read(query, items)  # [t, H]
    likeness = F.cosine_similarity(tokens[:, None], responses[None], dim=-1)  # [t, n]
    assert likeness[1].argmax() == likeness[3].argmax() == 4
    assert likeness[1, 4] > 0.95 > likeness[0, 4]


def test_one_more_item_updates_the_embedding_without_training(make, questions):
    prmu, question = make(Reward(tokens=3, history=20)), questions[0]
    before = prmu.user(question)
    parameters = [parameter.clone() for parameter in prmu.parts.parameters()]
    longer = replace(question, profile=(*question.profile, Item("new", "something else entirely", "9")))
    after = prmu.user(longer)  # the new text is embedded on the way
    assert not torch.allclose(before, after, atol=1e-4) and torch.equal(before, prmu.user(question))
    for parameter, want in zip(prmu.parts.parameters(), parameters, strict=True):
        assert torch.equal(parameter, want)
