"""A completion as a server sends it: read, or refused in words that say what is wrong."""
from copy import deepcopy

import pytest

from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo.served_completion import Asked, read_completion
from tagpr_lite.tags.teachers.replies import Failure

ASKED = Asked("tagpr-1", [1, 17, 4], room=4, ends={2}, vocabulary=100)
BODY = {"model": "tagpr-1", "choices": [
    {"index": 0, "finish_reason": "stop", "prompt_token_ids": [1, 17, 4], "token_ids": [9, 12, 2],
     "logprobs": {"tokens": ["token_id:9", "token_id:12", "token_id:2"],
                  "token_logprobs": [-0.7, -1.25, 0]}}]}


def body(**changed):
    """BODY with fields of its completion changed; None removes one. ids: with the words that fit."""
    made = deepcopy(BODY)
    choice = made["choices"][0]
    if "ids" in changed:
        ids = changed.pop("ids")
        changed["token_ids"] = ids
        choice["logprobs"] = {"tokens": [f"token_id:{token}" for token in ids],
                              "token_logprobs": [-1.0] * len(ids)}
    for name, value in changed.items():
        place = choice["logprobs"] if name in ("tokens", "token_logprobs") else choice
        place[name] = value
        if value is None:
            del place[name]
    return made


def test_a_completion_is_read():
    assert read_completion(body(), ASKED) == Sample([9, 12, 2], [-0.7, -1.25, 0.0], True)
    cut = body(ids=[9, 12, 9, 12], finish_reason="length")
    assert read_completion(cut, ASKED) == Sample([9, 12, 9, 12], [-1.0] * 4, False)


def test_what_a_server_may_leave_unsaid():
    """Older ones say the ids in words alone; other ones say them as numbers alone."""
    whole = read_completion(body(), ASKED)
    assert read_completion(body(token_ids=None, prompt_token_ids=None), ASKED) == whole
    assert read_completion(body(tokens=["a", "b", ""]), ASKED) == whole
    unnamed = body()
    del unnamed["model"]
    assert read_completion(unnamed, ASKED) == whole


@pytest.mark.parametrize("changed, says", [
    ({"ids": [9, 100, 2]}, "the token id 100, where the model has 100"),
    ({"ids": [9, -1, 2]}, "the token id -1"),
    ({"token_ids": [9, True, 2]}, "the token id True"),
    ({"token_ids": [9, 12.0, 2]}, "the token id 12.0"),
    ({"token_ids": [9, 13, 2]}, "of other token ids"),
    ({"token_ids": None, "tokens": ["a", "b", ""]}, "without token ids"),
    ({"ids": []}, "without token ids"),
    ({"ids": [9] * 5}, "5 tokens, where at most 4"),
    ({"ids": [9, 2, 9, 2]}, "goes on behind its end token"),
    ({"ids": [9, 12]}, "stops after 2 of 4 tokens without an end token (finish_reason stop)"),
    ({"logprobs": None}, "without log-probs"),
    ({"token_logprobs": None}, "without log-probs"),
    ({"token_logprobs": [-1.0, -1.0]}, "2 log-probs for 3 tokens"),
    ({"token_logprobs": [-1.0, None, -1.0]}, "the log-prob None"),
    ({"token_logprobs": [-1.0, float("nan"), -1.0]}, "the log-prob nan"),
    ({"token_logprobs": [-1.0, 0.5, -1.0]}, "the log-prob 0.5"),
    ({"token_logprobs": [-1.0, "-1", -1.0]}, "the log-prob -1"),
    ({"prompt_token_ids": [17, 4]}, "not the one that was sent")])
def test_what_cannot_be_trained_on_is_refused(changed, says):
    with pytest.raises(Failure) as error:
        read_completion(body(**changed), ASKED)
    assert says in error.value.words and error.value.kind == "setup"


@pytest.mark.parametrize("whole, says", [
    ({}, "0 completions"), ({"choices": "no"}, "0 completions"), ({"choices": [None]}, "1 completions"),
    ({"choices": BODY["choices"] * 2}, "2 completions"),
    (BODY | {"model": "base"}, "of the model 'base', not of the adapter tagpr-1")])
def test_another_number_or_another_model(whole, says):
    with pytest.raises(Failure) as error:
        read_completion(whole, ASKED)
    assert says in error.value.words


def test_an_aborted_one_may_be_asked_for_again():
    with pytest.raises(Failure) as error:
        read_completion(body(finish_reason="abort"), ASKED)
    assert error.value.kind == "passing"
