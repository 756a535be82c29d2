"""Requests that the server refuses, each with an error of the protocol, and what their fields mean."""
import json
import urllib.error
import urllib.request

import pytest

from tagpr_lite.answering.local import names_this_machine
from tests.answering.test_serve import address, folder, message, post  # noqa: F401


def send(address, method, path, body=None):
    """(status, body) of a request with another method than POST."""
    content = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(address + path, content, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("body, status, says", [
    (b"", 400, "no JSON"), (b"[", 400, "no JSON"), (b"[1]", 400, "object"), (b"{}", 400, "'model'"),
    (b"[" * 100_000, 400, "no JSON"),
    ({"model": "LaMP_3"}, 400, "'messages'"),
    ({"model": "gpt", "messages": message("x")}, 404, "no model 'gpt'"),
    ({"model": "LaMP_3", "messages": [{"role": "system", "content": "x"}]}, 400, "role 'user'"),
    ({"model": "LaMP_3", "messages": message("x") * 2}, 400, "single questions"),
    ({"model": "LaMP_3", "messages": message(" ")}, 400, "should be a text"),
    ({"model": "LaMP_3", "messages": message([{"type": "image_url"}])}, 400, "should be a text"),
    ({"model": "LaMP_3", "messages": message("x"), "user": "a\nb"}, 400, "'user'"),
    ({"model": "LaMP_3", "messages": message("x"), "n": 2}, 400, "n is not supported"),
    ({"model": "LaMP_3", "messages": message("x"), "temperature": 0.7}, 400, "temperature is not supported"),
    ({"model": "LaMP_3", "messages": message("x"), "temperature": 0.7}, 400, "leave the field out"),
    ({"model": "LaMP_3", "messages": message("x"), "logit_bias": {"5": 9}}, 400, "logit_bias is not"),
    ({"model": "LaMP_3", "messages": message("x"), "stream": "yes"}, 400, "stream should be"),
    ({"model": "LaMP_3", "messages": message("x"), "stream": 1}, 400, "stream should be"),
    ({"model": "LaMP_3", "messages": message("x"), "user": 0}, 400, "'user'"),
    ({"model": "LaMP_3", "messages": message("x"), "user": {}}, 400, "'user'"),
    ({"model": "LaMP_3", "messages": message("x"), "max_completion_tokens": None, "max_tokens": 0}, 400,
     "max_tokens"),
    ({"model": "LaMP_3", "messages": message("x"), "max_tokens": 0}, 400, "max_tokens"),
    ({"model": "LaMP_3", "messages": message("word " * 9000)}, 400, "tokens"),
    (b'{"model": "LaMP_3", "messages": "' + b"x" * 1_100_000 + b'"}', 413, "bytes")])
def test_bad_requests_get_the_protocols_errors(address, body, status, says):
    got, answer = post(address, body)
    error = answer["error"]
    assert got == status and says in error["message"] and set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v2", "/v1/history/x", "/../etc/passwd", "/v1/chat/completions/"])
def test_there_is_nothing_elsewhere(address, path):
    assert post(address, {}, path)[0] == 404


def test_bad_histories_get_the_protocols_errors(address):
    good = {"user": "eve", "model": "LaMP_3", "text": "x", "label": "4"}
    for change, status in (({"label": "9"}, 400), ({"label": ""}, 400), ({"text": None}, 400),
                           ({"model": "LaMP_9"}, 404), ({"user": "a\0"}, 400)):
        assert post(address, good | change, "/v1/history")[0] == status
    assert post(address, b"[]", "/v1/history")[0] == 400


def test_an_item_comes_back_with_its_number_and_a_label_may_be_a_number(address):
    status, item = post(address, {"user": "kim", "model": "LaMP_3", "text": "x", "label": 5}, "/v1/history")
    assert status == 201 and item["label"] == "5" and item["text"] == "x"
    assert send(address, "DELETE", f"/v1/history/{item['number']}?user=kim&model=LaMP_3")[0] == 200


def test_a_model_has_an_address(address):
    assert send(address, "GET", "/v1/models/LaMP_3")[1]["id"] == "LaMP_3"
    assert send(address, "GET", "/v1/models/LaMP_9")[0] == 404


@pytest.mark.parametrize("host, known", [
    ("LOCALHOST:1", True), ("127.0.0.2", True), ("[::1]:80", True), ("[::1]", True),
    ("evil.example:8000", False), ("127.0.0.1.evil.example", False), ("", False), (":80", False)])
def test_every_name_of_this_machine_alone_is_answered(host, known):
    assert names_this_machine(host) is known


def test_half_a_character_in_a_history_is_a_question_mark(address):
    """The text's and the label's; a label of the task holds none."""
    item = {"user": "zoe", "model": "LaMP_3", "text": "half \ud800 a pair", "label": "4"}
    assert post(address, item, "/v1/history")[0] == 201
    assert post(address, item | {"label": "\ud800 x"}, "/v1/history")[0] == 400
    (kept,) = send(address, "GET", "/v1/history?user=zoe&model=LaMP_3")[1]["data"]
    assert kept["text"] == "half ? a pair"


@pytest.mark.parametrize("number", ["9" * 18, "9" * 23, "9" * 5000])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_number_that_no_item_has_is_the_protocols_error(address, method, number):
    got = send(address, method, f"/v1/history/{number}?user=eve&model=LaMP_3",
               {"user": "eve", "model": "LaMP_3", "label": "2"})
    assert got[0] == 400 and "there is no item 999999" in got[1]["error"]["message"]
