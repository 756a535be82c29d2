"""Asking a model: nothing is lost, nothing is paid for twice, no ceiling is broken, no key is written."""
import json
import time

import pytest
from fault_server import Server
from small_memory import small_memory

from tagpr_lite.config import Tag, UserError
from tagpr_lite.tags.teachers import wire
from tagpr_lite.tags.teachers.chat import Answers, Reply, Request
from tagpr_lite.tags.teachers.ledger import FEW, Ledger
from tagpr_lite.tags.teachers.models import Local, Remote


def request(n, room=50):
    return Request((("user", f"question {n}"),), n, room, 0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The pauses between turns begin at half a second; here they need not."""
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.02)


@pytest.fixture
def serve():
    servers = []

    def start(*args, **kwargs):
        servers.append(Server(*args, **kwargs))
        return servers[-1]

    yield start
    for s in servers:
        s.close()


@pytest.fixture
def ask(tmp_path):
    """ask(server, requests, **settings) -> (texts, ledger)."""
    def go(server, requests, **settings):
        tag = Tag(**({"timeout": 0.5, "retries": 4} | settings))
        ledger = Ledger(tag.price_in, tag.price_out, tag.max_cost, tag.max_tokens)
        replies = Answers(Remote(server.url, "m", tag), ledger, tmp_path / "answers").ask(requests)
        return [r.text for r in replies], ledger
    return go


def echo(text, seed):
    return f"{text}, seed {seed}"


FAULTS = ("429", "500", "503", "late", "drop", "garbage", "html", "cut", "408")
BILLED = 7  # of them: all but 429 and 503 may have been billed


def test_every_fault_is_survived_in_order_and_paid_for_once(serve, ask):
    server = serve(echo, faults=lambda n: FAULTS[n] if n < len(FAULTS) else "")
    texts, ledger = ask(server, [request(n) for n in range(14)], at_once=4)
    assert texts == [f"question {n}, seed {n}" for n in range(14)]
    assert server.seen > 14 and len(server.paid) == 14 and set(server.paid.values()) == {1}
    assert (ledger.replies, ledger.asked, ledger.written,
            ledger.known) == (14, 420, 280, 0) and not ledger.reserved
    # The worst case of each is 42 + 50 tokens.
    assert (ledger.lost, ledger.lost_asked, ledger.lost_written) == (BILLED, BILLED * 42, BILLED * 50)


def test_answers_are_kept_and_equal_requests_are_one(serve, ask, tmp_path):
    server = serve(echo)
    ask(server, [request(n) for n in (0, 1, 1, 0)])
    assert server.seen == 2
    texts, ledger = ask(server, [request(n) for n in (0, 1, 2)])
    assert server.seen == 3 and ledger.known == 2 and len(texts) == 3
    damaged = next((tmp_path / "answers").glob("*/*.json"))
    damaged.write_text("{")
    ask(server, [request(n) for n in (0, 1, 2)])
    assert server.seen == 4


def test_another_request_is_another_answer(serve, ask):
    server = serve(echo)
    for settings in ({}, {"extra": {"top_p": 0.5}}):
        for r in (request(0), request(0, room=51), Request((("user", "question 0"),), 0, 50, 0.6)):
            ask(server, [r], **settings)
    assert server.seen == 6


def test_a_dead_server_is_one_line_and_what_came_is_kept(serve, ask, tmp_path):
    server = serve(echo, faults=lambda n: "" if n < 3 else "500")
    with pytest.raises(UserError, match="the same command goes on"):
        ask(server, [request(n) for n in range(9)], at_once=1, retries=1)
    assert len(list((tmp_path / "answers").glob("*/*.json"))) == 3 and server.seen == 3 + 2 * FEW
    server.faults = lambda n: ""
    assert len(ask(server, [request(n) for n in range(9)])[0]) == 9 and set(server.paid.values()) == {1}


def test_what_a_server_refuses_is_counted_and_not_kept(serve, ask, tmp_path):
    server = serve(echo, faults=lambda n: "400" if n == 1 else "")
    assert ask(server, [request(n) for n in range(3)], at_once=1)[0] == ["question 0, seed 0", "",
                                                                         "question 2, seed 2"]
    assert len(list((tmp_path / "answers").glob("*/*.json"))) == 2


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_wrong_key_or_address_stops_at_once(serve, ask, status):
    server = serve(echo, faults=lambda n: status)
    with pytest.raises(UserError, match="TAGPR_API_KEY"):
        ask(server, [request(0)])
    assert server.seen == 1


def test_ceilings_hold_in_the_worst_case(serve, ask):
    server, requests = serve(echo), [request(n) for n in range(40)]
    with pytest.raises(UserError, match="tag.max_tokens=1000"):
        ask(server, requests, max_tokens=1000)
    # The worst case of a request is 42 + 50 tokens; it really takes 50.
    assert 50 * server.seen <= 1000 and server.seen >= 8
    with pytest.raises(UserError, match="tag.max_cost"):
        ask(server, requests, max_cost=0.002, price_in=1.0, price_out=2.0)
    assert 70e-6 * server.seen <= 0.002 + 1e-9


def test_a_ceiling_counts_what_runs_before_paid(serve, ask):
    server = serve(echo)
    ask(server, [request(n) for n in range(5)])
    with pytest.raises(UserError, match="5 answers, 5 of them known"):
        ask(server, [request(n) for n in range(6)], max_tokens=300)
    assert server.seen == 5 and len(ask(server, [request(n) for n in range(5)], max_tokens=250)[0]) == 5


def test_requests_run_together_and_no_more_than_asked(serve, ask):
    server = serve(echo, slow=0.05)
    ask(server, [request(n) for n in range(12)], at_once=3)
    assert server.most_running == 3


def test_the_pace_is_kept(serve, ask):
    server = serve(echo)
    started = time.monotonic()
    ask(server, [request(n) for n in range(6)], per_minute=1200, at_once=6)  # one in 0.05 s
    assert time.monotonic() - started >= 0.25
    gaps = sorted(b - a for a, b in zip(server.starts, server.starts[1:]))
    assert gaps[2] > 0.02


def test_the_key_is_sent_and_written_nowhere(serve, ask, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAGPR_API_KEY", "sk-secret-123")
    server = serve(echo, faults=lambda n: "" if n == 0 else "401")
    ask(server, [request(0)])
    with pytest.raises(UserError) as stop:
        ask(server, [request(1)])
    assert server.keys == {"Bearer sk-secret-123"}
    written = "".join(p.read_text()
                      for p in tmp_path.rglob("*.json")) + str(stop.value) + "".join(capsys.readouterr())
    assert "sk-secret" not in written and "question 0" in written


def test_a_thinking_models_thought_comes_apart(serve, ask, tmp_path, monkeypatch):
    server = serve(echo)
    send = server.send

    def send_with_thought(http, status, content, headers=None):
        role = '"role": "assistant"'
        return send(http, status, content.replace(role, f'{role}, "reasoning_content": "hm"'), headers)

    monkeypatch.setattr(server, "send", send_with_thought)
    ask(server, [request(0)])
    kept = json.loads(next((tmp_path / "answers").glob("*/*.json")).read_text())
    assert kept["thought"] == "hm" and kept["text"] == "question 0, seed 0"


def test_a_local_model_answers_each_request_alone(tmp_path):
    """The same request has the same answer, whatever is decoded beside it."""
    chat, ledger = Local("tiny", Tag(at_once=3)), Ledger()
    together = Answers(chat, ledger, tmp_path / "a").ask([request(n, room=24) for n in range(5)])
    alone = [Answers(chat, Ledger(), tmp_path / "b").ask([request(n, room=24)])[0] for n in range(5)]
    assert together == alone and len({r.text for r in together}) > 1
    assert ledger.written == sum(r.written for r in together) and all(0 < r.written <= 24 for r in together)


def test_a_local_model_goes_on_with_as_many_as_fit(tmp_path, capsys):
    requests = [request(n, room=8) for n in range(5)]
    want = Answers(Local("tiny", Tag(at_once=3)), Ledger(), tmp_path / "a").ask(requests)
    with small_memory(rows=2) as tried:
        assert Answers(Local("tiny", Tag(at_once=3)), Ledger(), tmp_path / "b").ask(requests) == want
    assert tried == [3] and capsys.readouterr().out.count("from now on 1 prompts at a time") == 1


def test_a_reply_survives_the_disk(tmp_path):
    class Fixed:
        identity = {"x": 1}

        def each(self, requests, ledger):
            yield from enumerate([Reply("é\u2028<x>", "t", 1, 2)] * len(requests))

    first = Answers(Fixed(), Ledger(), tmp_path).ask([request(0)])
    assert Answers(Fixed(), Ledger(), tmp_path).ask([request(0)]) == first
