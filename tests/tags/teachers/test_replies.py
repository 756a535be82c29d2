"""What servers send is read: texts and thoughts in every form, the bill, and the words of every error."""
import json
import math
import time
from email.utils import formatdate

import pytest
from fault_server import completion

from tagpr_lite.tags.teachers import replies
from tagpr_lite.tags.teachers.replies import NO_ROOM, Failure, read, usage

WORST = (500, 100)


def sent(body, status=200, headers=None):
    return read(status, headers or {}, json.dumps(body).encode(), WORST)


def failed(body, status=200, headers=None):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Failure) as failure:
        read(status, headers or {}, content, WORST)
    return failure.value


@pytest.mark.parametrize("message, text, thought", [
    ({"content": "Answer: 5"}, "Answer: 5", ""),
    ({"content": "x", "reasoning_content": "hm"}, "x", "hm"),
    ({"content": "x", "reasoning": "hm", "reasoning_content": None}, "x", "hm"),
    ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "It is "},
                                                    {"type": "text", "text": "friendly."}]},
                  {"type": "text", "text": "1. a\n"}, {"type": "text", "text": "Answer: 5"}]},
     "1. a\nAnswer: 5", "It is friendly."),
    ({"content": [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "x"}]}, "x", "hm"),
    ({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "reference", "reference_ids": [1]},
                  {"text": "x"}, "y"]}, "xy", "hm"),
    ({"content": {"type": "text", "text": "x"}}, "x", ""),
    ({"content": "a\ud83d\x00\x1b[31mb\tc\n"}, "a?  [31mb\tc\n", ""),
])
def test_texts_and_thoughts_of_every_server(message, text, thought):
    reply = sent(completion(message))
    assert (reply.text, reply.thought, reply.refused) == (text, thought, "")


@pytest.mark.parametrize("body, refused", [
    (completion({"content": None}, "length"), NO_ROOM),
    (completion({"content": " \n\t"}, "length"), NO_ROOM),
    (completion({"content": "", "reasoning": "hm, so"}, "length"), NO_ROOM),
    (completion({"content": None}, "content_filter"),
     "an answer without text (finish_reason content_filter)"),
    (completion({"content": None, "refusal": "I can't."}), "the model declines: I can't."),
    (completion({"content": [{"type": "refusal", "refusal": "No."}]}), "the model declines: No."),
    (completion({"content": [], "reasoning_content": "hm"}),
     "a thought without an answer (finish_reason stop)"),
    (completion({}, None), "an answer without text (finish_reason not given)"),
    (completion({"content": None, "tool_calls": [{}]}, "tool_calls"),
     "an answer without text (finish_reason tool_calls)"),
    ({"choices": [], "usage": {"prompt_tokens": 7}}, "an answer without choices"),
    ({"choices": None}, "an answer without choices"),
])
def test_an_answer_without_text_says_why(body, refused):
    reply = sent(body)
    assert (reply.text, reply.refused) == ("", refused) and reply.is_answer


@pytest.mark.parametrize("reported, has_text, billed", [
    ({"prompt_tokens": 30, "completion_tokens": 20}, True, (30, 20)),
    ({"prompt_tokens": 30.0, "completion_tokens": 20.5}, True, (30, 21)),
    ({"prompt_tokens": "30", "completion_tokens": "20"}, True, (30, 20)),
    ({"prompt_tokens": 30, "completion_tokens": 0}, False, (30, 0)),
    ({"prompt_tokens": 30, "completion_tokens": 0}, True, (30, 100)),
    ({"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 90}, True, (30, 60)),
    ({"prompt_tokens": 0, "completion_tokens": None}, True, WORST),
    ({"prompt_tokens": -4, "completion_tokens": math.nan}, True, WORST),
    ({"prompt_tokens": True, "completion_tokens": math.inf}, True, WORST),
    ({"prompt_tokens": 10**400, "completion_tokens": 10**12}, True, WORST),
    ({"prompt_tokens": [30], "completion_tokens": "many"}, True, WORST),
    (None, True, WORST), ([], True, WORST), ("50", True, WORST), ({}, True, WORST),
])
def test_what_is_not_reported_counts_at_its_worst(reported, has_text, billed):
    assert usage(reported, WORST, has_text) == billed


@pytest.mark.parametrize("content", [b"", b"<html><title>busy</title></html>", b'{"choices": [', b"[1]", b"3",
                                     b'"x"', b"null", b"\xff\xfe", b"[" * 5000, b'{"status": "loading"}'])
def test_what_is_no_completion_may_come_right_and_may_be_billed(content):
    failure = failed(content)
    assert (failure.kind, failure.may_be_billed) == ("passing", True) and failure.words.isprintable()


@pytest.mark.parametrize("body, status, kind, billed", [
    ({"error": {"message": "m"}}, 400, "question", False),
    ({"error": {"message": "m"}}, 422, "question", False),
    ({"error": {"message": "m"}}, 413, "question", False),
    ({"error": {"message": "m"}}, 401, "setup", False),
    ({"error": {"message": "m"}}, 402, "setup", False),
    ({"error": {"message": "m"}}, 403, "setup", False),
    ({"error": {"message": "your input was flagged"}}, 403, "question", True),
    ({"error": {"message": "m", "code": "content_filter"}}, 400, "question", True),
    ({"error": {"message": "The model `m` does not exist."}}, 404, "setup", False),
    ({"error": 'model "m" not found, try pulling it first'}, 404, "setup", False),
    ({"detail": "Not Found"}, 404, "question", False),
    ({"error": {"message": "m"}}, 405, "setup", False),
    ({"error": {"message": "slow down"}}, 429, "passing", False),
    ({"error": {"message": "m", "code": "insufficient_quota"}}, 429, "setup", False),
    ({"error": {"message": "m"}}, 503, "passing", False),
    ({"error": {"message": "m"}}, 500, "passing", True),
    ({"error": {"message": "m"}}, 504, "passing", True),
    ({"error": {"message": "m", "code": 429}}, 200, "passing", True),
    ({"error": {"message": "m", "code": 402}}, 200, "setup", True),
    ({"error": {"message": "m"}, "choices": []}, 200, "question", True),
    ({"choices": [{"error": {"message": "m", "code": 502}, "message": {"content": ""}}]}, 200, "passing",
     True),
])
def test_kinds_of_faults(body, status, kind, billed):
    failure = failed(body, status)
    assert (failure.kind, failure.may_be_billed) == (kind, billed)


def test_an_error_beside_a_text_is_no_fault():
    assert sent(completion({"content": "x"}) | {"error": None}).text == "x"
    assert sent(completion({"content": "x"}) | {"error": {"message": "late"}}).text == "x"


@pytest.mark.parametrize("body, words", [
    ({"error": {"message": "Bad: 'seed': no.", "param": "seed", "code": "x"}}, "Bad: 'seed': no. (x)"),
    ({"error": {"message": "No.", "param": "top_k"}}, "No. (top_k)"),
    ({"error": "no model"}, "no model"),
    ({"object": "error", "message": "context: too long", "code": 400}, "context: too long"),
    ({"detail": [{"loc": ["body", "seed"], "msg": "not permitted", "input": 5},
                 {"loc": ["body", "n"], "msg": "too many"}]}, "body.seed: not permitted; body.n: too many"),
    ({"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra"}]}},
     "body.seed: Extra"),
    ([{"error": {"message": "in a list", "code": 400}}], "in a list"),
    ({"error": {"message": "Provider returned error", "metadata": {"raw": "seed: no"}}},
     "Provider returned error (seed: no)"),
    ({"why": 3}, "{'why': 3}"),
    ({"error": {"message": "\x1b[31mred\x1b[0m\r\nline \x00\u202eend"}}, "red line \\x00\\u202eend"),
])
def test_a_servers_words_are_whole_safe_and_in_one_line(body, words):
    assert failed(body, 400).words == f"HTTP 400: {words}"


def test_a_page_of_html_is_its_text():
    page = b"<html><head><title>502 Bad Gateway</title><style>p {}</style></head><p>nginx</p></html>"
    assert failed(page, 502).words == "HTTP 502: 502 Bad Gateway nginx"
    assert failed(b"", 400).words == "HTTP 400: no words"


@pytest.mark.parametrize("text", ["x" * 5_000_000, "<" * 5_000_000, "\x1b[" * 2_000_000, "<style" * 1_000_000,
                                  " " * 5_000_000 + "x"])
def test_megabytes_of_words_are_short_and_quick(text):
    started = time.monotonic()
    for body in (text.encode(), json.dumps({"error": {"message": text}}).encode()):
        words = failed(body, 400).words
        assert len(words) <= len("HTTP 400: ") + replies.MOST_WORDS and words.isprintable()
    assert time.monotonic() - started < 2


def test_an_answer_of_many_megabytes_costs_its_question():
    assert failed(b" " * (replies.MOST_BYTES + 1)).kind == "question"


def test_a_stream_is_the_settings_fault():
    assert "leave `stream` out" in failed(b'data: {"choices": []}\n\n').words


@pytest.mark.parametrize("said, pause", [
    ("2", 2.0), ("0.5", 0.5), ("86400", 86400.0), ("-3", None), ("nan", None), ("inf", None), ("soon", None),
    ("", None), (formatdate(0, usegmt=True), 0.0), ("99 Foo 2020", None)])
def test_a_pause_is_read(said, pause):
    assert replies.pause_of({"retry-after": said}) == pause


def test_a_pause_may_be_a_date():
    assert 25 < replies.pause_of({"retry-after": formatdate(time.time() + 30, usegmt=True)}) <= 31
