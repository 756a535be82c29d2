"""Several tokens a forward, the tokens of one a forward."""
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.engine import drafted
from tagpr_lite.engine.drafted import DRAFT, LONGEST_MATCH, Drafts, write_greedily
from tagpr_lite.engine.prompt_cache import PromptCache
from tagpr_lite.engine.sample import sample
from tests.engine.test_prefix import FAMILIES, build, group

ROOM = 40


def lively(family):
    """A random model that does not repeat one token: its weights are three times as large."""
    model = build(family).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data *= 3
    return model


def plain(model, ids, room=ROOM, ends=(), listen=None):
    return sample(model, [ids], 1, room, set(ends), temperature=0, listen=listen)[0][0]


def with_drafts(model, ids, drafts, room=ROOM, ends=(), listen=None):
    return write_greedily(model, PromptCache().forward(model, ids), ids, room, set(ends), drafts, listen)


@pytest.fixture
def widths(monkeypatch):
    """Tokens of each forward behind a prompt, as they happen."""
    seen = []
    forward = drafted.forward
    monkeypatch.setattr(drafted, "forward", lambda model, mode, ids, **where: (
        seen.append(ids.shape[1]), forward(model, mode, ids=ids, **where))[1])
    return seen


def prepared(kind, prompt, answer):
    """Drafts that know nothing, the very answer, the answer with every fifth token changed, or noise."""
    drafts = Drafts()
    if kind == "right":
        drafts.add(prompt + answer)
    elif kind == "half right":
        drafts.add(prompt + [token + 1 if place % 5 == 0 else token for place, token in enumerate(answer)])
    elif kind == "wrong":
        noise = torch.randint(0, 60, (3000,), generator=torch.Generator().manual_seed(1))
        drafts.add(noise.tolist())
    return drafts


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["none", "right", "half right", "wrong"])
def test_whatever_the_drafts_are_the_completion_is_greedy(family, kind):
    model = lively(family)
    for seed in (2, 3, 4):
        prompt = group(seed=seed, P=23)[0]
        slow = plain(model, prompt)
        fast = with_drafts(model, prompt, prepared(kind, prompt, slow.ids))
        assert fast.ids == slow.ids and fast.ended == slow.ended
        assert fast.logps == pytest.approx(slow.logps, abs=1e-4)
        assert fast.entropy == pytest.approx(slow.entropy, abs=1e-4)


def test_right_drafts_take_few_forwards_and_wrong_ones_cost_none(widths):
    model = lively("llama")
    prompt = group(seed=2, P=23)[0]
    answer = plain(model, prompt).ids
    assert len(set(answer)) > 10  # else any draft is right
    with_drafts(model, prompt, prepared("right", prompt, answer))
    assert widths == [1 + DRAFT] * -(-(ROOM - 1) // (1 + DRAFT))  # the prompt predicts the first token
    widths.clear()
    with_drafts(model, prompt, prepared("wrong", prompt, answer))
    assert len(widths) <= ROOM - 1  # each forward gives a token of the model's own at least


@pytest.mark.parametrize("room", [1, 2, 17, 18])
def test_it_ends_where_greedy_decoding_ends(room):
    """At the room, at an end token in the middle of a draft, and where nobody listens any more."""
    model = lively("llama")
    prompt = group(seed=2, P=23)[0]
    answer = plain(model, prompt).ids
    drafts = prepared("right", prompt, answer)
    assert with_drafts(model, prompt, drafts, room).ids == answer[:room]

    place = next(place for place in range(2, 30) if answer[place] not in answer[:place])
    cut = with_drafts(model, prompt, drafts, ends=[answer[place]])
    assert cut.ids == answer[:place + 1] and cut.ended

    heard = []
    left = with_drafts(model, prompt, drafts, room=30,
                       listen=lambda row, token: heard.append((row, token)) or len(heard) < room)
    assert left.ids == answer[:room] and heard == [(0, token) for token in answer[:room]]
    assert not left.ended


def test_states_that_are_no_numbers_are_refused():
    model = lively("llama")
    prompt = PromptCache().forward(model, [5, 6, 7])
    prompt.last = prompt.last * float("nan")
    with pytest.raises(UserError, match="not finite"):
        write_greedily(model, prompt, [5, 6, 7], 4, set(), Drafts())


# ---------------------------------------------------------------- what is drafted

def slow_next(ids, most):
    """The continuation of the longest match of the end; of equal ones the last."""
    best, longest = [], 0
    for place in range(1, len(ids)):
        length = max(n for n in range(min(place, LONGEST_MATCH) + 1)
                     if ids[place - n:place] == ids[len(ids) - n:])
        if length and length >= longest:
            best, longest = ids[place:place + most], length
    return best


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 5))
def test_a_draft_is_what_followed_the_longest_match(ids, most):
    drafts = Drafts()
    drafts.add(ids[:len(ids) // 2])
    drafts.add(ids[len(ids) // 2:])
    assert drafts.next(most) == slow_next(ids, most)


def test_old_texts_are_forgotten(monkeypatch):
    monkeypatch.setattr(drafted, "REMEMBERED", 10)
    drafts = Drafts()
    for text in ([1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 2], [1]):
        drafts.add(text)
    assert drafts.ids == [6, 7, 8, 9, 1, 2, 1]
    assert drafts.next(2) == [2, 1] and drafts.places[4] == []
