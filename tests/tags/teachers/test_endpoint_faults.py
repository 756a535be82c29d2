"""Faults on the wire: one of a question costs that question, one of the set-up stops at once with the
server's words; what was paid is kept, and what may have been billed counts."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from fault_server import Server, completion, only

from tagpr_lite.config import Model, Tag, UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.tags.teachers import wire
from tagpr_lite.tags.teachers.chat import Answers, Request
from tagpr_lite.tags.teachers.ledger import FEW, MANY, Ledger
from tagpr_lite.tags.teachers.models import Local, Remote
from tagpr_lite.tags.teachers.replies import NO_ROOM

WORST = 42 + 50  # tokens of `request`: 10 bytes and 32 of a chat template, and its room
ONE = "question 3"
NO_MAX_TOKENS = (400, {"error": {"code": "unsupported_parameter", "message":
                                 "Unsupported parameter: 'max_tokens' is not supported with this model. "
                                 "Use 'max_completion_tokens' instead."}})


def request(n, room=50):
    return Request((("user", f"question {n}"),), n, room, 0.5)


def requests(count):
    return [request(n) for n in range(count)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.01)


@pytest.fixture
def serve():
    servers = []

    def start(**kwargs):
        servers.append(Server(lambda text, seed: f"{text}, said", **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def answers(tmp_path):
    """answers(server, **settings): a new Answers over one folder, as a second run has it."""
    def make(server, **settings):
        tag = Tag(**({"timeout": 1.0, "retries": 2, "at_once": 1} | settings))
        ledger = Ledger(tag.price_in, tag.price_out, tag.max_cost, tag.max_tokens)
        return Answers(Remote(server.url, "m", tag), ledger, tmp_path / "answers")
    return make


# ---------------------------------------------------------------- faults of one question

@pytest.mark.parametrize("body, billed, reason", [
    (completion({"content": ""}, "length", (30, 50)), (30, 50), "finish_reason length: raise tag.room"),
    (completion({"content": None}, "content_filter", (30, 0)), (30, 0), "content_filter"),
    (completion({"content": None, "refusal": "I can't."}, "stop", (30, 8)), (30, 8), "declines: I can't."),
    ({"choices": [], "usage": None}, (42, 50), "without choices"),
])
def test_an_answer_without_text_costs_its_question_and_is_asked_once(serve, answers, body, billed, reason):
    server = serve(special=only(ONE, (200, body)))
    first = answers(server)
    found = first.ask(requests(6))
    assert server.seen == 6 and [bool(reply.refused) for reply in found] == [n == 3 for n in range(6)]
    assert reason in found[3].refused
    sums = (6, 150 + billed[0], 100 + billed[1])
    assert (first.ledger.replies, first.ledger.asked, first.ledger.written) == sums and not first.ledger.lost

    again = answers(server)
    assert again.ask(requests(6)) == found and server.seen == 6
    assert (again.ledger.replies, again.ledger.asked, again.ledger.written) == sums


def test_typed_parts_are_read_over_the_wire(serve, answers):
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "The user is friendly."}]},
             {"type": "text", "text": "1. a\nAnswer: 5"}]
    server = serve(special=only(ONE, (200, completion({"content": parts}))))
    reply = answers(server).ask(requests(6))[3]
    assert (reply.text, reply.thought) == ("1. a\nAnswer: 5", "The user is friendly.")


@pytest.mark.parametrize("said, turns", [
    ((400, {"error": {"message": "maximum context length is 2048: you asked for 2300"}}), 1),
    ((404, {"error": {"message": "No endpoints found for this request"}}), 1),
    ((403, {"error": {"message": "your input was flagged"}}), 1),
    ((500, {"error": {"message": "the engine cannot read this"}}), 3),
    ((200, "<html>too big</html>"), 3),
])
def test_what_is_refused_costs_its_question_and_may_be_asked_later(serve, answers, said, turns):
    server = serve(special=only(ONE, said))
    found = answers(server).ask(requests(6))
    assert [n for n, reply in enumerate(found) if reply.refused] == [3] and server.seen == 5 + turns
    server.special = lambda body: None
    assert not any(reply.refused for reply in answers(server).ask(requests(6))) and server.seen == 6 + turns


def test_answers_on_disk_show_that_the_set_up_works(serve, answers):
    """The second run asks nothing but what was refused before, which must not stop it."""
    long = (400, {"error": {"message": "too long"}})
    server = serve(special=lambda body: None if "question 0" in body["messages"][-1]["content"] else long)
    for _ in range(2):
        found = answers(server).ask(requests(6))
        assert [bool(reply.refused) for reply in found] == [False] + [True] * 5


# ---------------------------------------------------------------- faults of the set-up

@pytest.mark.parametrize("said, words, advice", [
    (NO_MAX_TOKENS, "'max_completion_tokens' instead",
     "tag.extra={max_tokens: null, max_completion_tokens: 50}"),
    ((422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs: not permitted", "input": "@"}]}),
     "body.seed: Extra inputs: not permitted", "tag.extra={seed: null}"),
    ((400, {"error": {"message": "'temperature' does not support 0.5", "param": "temperature"}}),
     "'temperature' does not support 0.5", "tag.extra={temperature: null}"),
    ((400, {"error": {"message": "maximum context length is 20 tokens, not @"}}), "maximum context length",
     "lower tag.room or lamp.k"),
    ((200, {"error": {"message": "no such thing: @"}}), "no such thing", ""),
])
@pytest.mark.parametrize("at_once", [1, 8])
def test_a_request_that_is_never_taken_stops_after_a_few(serve, answers, said, words, advice, at_once):
    def numbered(body):  # no two refusals are alike in their numbers
        return said[0], json.dumps(said[1]).replace("@", body["messages"][-1]["content"].split()[1])

    server = serve(special=numbered)
    with pytest.raises(UserError) as stop:
        answers(server, at_once=at_once).ask(requests(60))
    assert words in str(stop.value) and advice in str(stop.value) and "\n" not in str(stop.value)
    assert FEW <= server.seen <= FEW + at_once - 1


def test_the_advice_helps_and_keeps_what_is_set(serve, answers):
    def fussy(body):
        return NO_MAX_TOKENS if "max_tokens" in body else None

    server = serve(special=fussy)
    with pytest.raises(UserError, match="{top_p: 0.9, max_tokens: null, max_completion_tokens: 50}"):
        answers(server, extra={"top_p": 0.9}).ask(requests(6))
    extra = {"top_p": 0.9, "max_tokens": None, "max_completion_tokens": 50}
    assert len(answers(server, extra=extra).ask(requests(6))) == 6


@pytest.mark.parametrize("said, words", [
    ((401, {"error": {"message": "bad key"}}), "bad key"), ((403, "no"), "no"),
    ((402, {"error": {"message": "Insufficient Balance"}}), "Insufficient Balance"),
    ((404, {"error": "model 'm' not found: pull it"}), "model 'm' not found: pull it"),
    ((404, {"detail": "Not Found"}), "Not Found"),
    ((429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}), "quota"),
])
def test_what_no_question_can_mend_stops_at_once(serve, answers, said, words):
    server = serve(special=lambda body: said)
    with pytest.raises(UserError) as stop:
        answers(server).ask(requests(20))
    assert words in str(stop.value) and "TAGPR_API_KEY" in str(stop.value) and server.seen == 1


def test_paid_answers_without_any_text_stop_after_many(serve, answers):
    """They are kept: the same command stops again, and pays nothing for it."""
    server = serve(special=lambda body: (200, completion({"content": None}, "length", (30, 50))))
    for _ in range(2):
        with pytest.raises(UserError, match="finish_reason length: raise tag.room"):
            answers(server).ask(requests(60))
        assert server.seen == MANY


def test_a_server_that_fails_for_everything_stops(serve, answers):
    server = serve(faults=lambda n: "" if n < 2 else "html")
    with pytest.raises(UserError, match="no JSON: busy; what came is kept, the same command goes on"):
        answers(server).ask(requests(60))
    assert server.seen == 2 + 3 * FEW


@pytest.mark.parametrize("text", ["question 0", ONE])
def test_a_request_that_always_fails_does_not_stop_the_others(serve, answers, text):
    """Not even as the first one, where nothing shows yet that the endpoint works."""
    server = serve(special=only(text, (500, "no")))
    found = answers(server).ask(requests(6))
    assert [reply.text == "" for reply in found] == [text == f"question {n}" for n in range(6)]


def test_a_few_requests_that_all_fail_stop_too(serve, answers):
    server = serve(faults=lambda n: "500")
    with pytest.raises(UserError, match="failed 3 times: HTTP 500: injected.*the same command goes on"):
        answers(server).ask(requests(FEW - 1))


def test_an_address_where_nobody_listens_stops(serve, answers):
    server = serve()
    answers(server).ask(requests(2))
    server.close()
    with pytest.raises(UserError, match="ConnectError.*the same command goes on"):
        answers(server).ask(requests(3))


@pytest.mark.parametrize("url", ["localhost:8000/v1", "file:///etc", "http://", ""])
def test_what_is_no_address_is_one_line(url):
    with pytest.raises(UserError, match="http"):
        Remote(url, "m", Tag())


# ---------------------------------------------------------------- the bill

@pytest.mark.parametrize("fault, asked", [("cut", 3), ("garbage", 3), ("drop", 3), ("late", 3), ("500", 3),
                                          ("503", 7 * FEW), ("429", 7 * FEW)])
def test_a_failed_turn_that_may_be_billed_counts_towards_the_ceiling(serve, answers, fault, asked):
    server = serve(faults=lambda n: fault)
    with pytest.raises(UserError, match="tag.max_tokens" if asked == 3 else "HTTP"):
        answers(server, retries=6, max_tokens=3 * WORST + 1, timeout=0.2).ask(requests(9))
    assert server.seen == asked


def test_a_run_after_a_kill_counts_what_was_under_way(serve, answers, tmp_path):
    server = serve(slow=5.0)
    code = ("from pathlib import Path\nfrom tagpr_lite.config import Tag\n"
            "from tagpr_lite.tags.teachers.chat import Answers, Request\n"
            "from tagpr_lite.tags.teachers.ledger import Ledger\n"
            "from tagpr_lite.tags.teachers.models import Remote\n"
            f"asked = [Request((('user', f'question {{n}}'),), n, 50, 0.5) for n in range(9)]\n"
            f"chat = Remote({server.url!r}, 'm', Tag(at_once=3))\n"
            f"Answers(chat, Ledger(), Path({str(tmp_path / 'answers')!r})).ask(asked)\n")
    run = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while server.seen < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    server.slow = 0.0
    again = answers(server)
    assert len(again.ask(requests(9))) == 9
    ledger = again.ledger
    assert (ledger.lost, ledger.lost_asked + ledger.lost_written, ledger.replies) == (3, 3 * WORST, 9)
    assert "3 turns without an answer may have been billed" in ledger.summary()
    third = answers(server)
    assert len(third.ask(requests(9))) == 9 and third.ledger.lost == 3
    assert third.ledger.figures() == ledger.figures()


def test_what_is_under_way_at_ctrl_c_is_kept(serve, answers, tmp_path):
    server = serve(slow=0.2)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(server, at_once=4).ask(requests(40), interrupt)
    kept = len(list((tmp_path / "answers").glob("*/*.json")))
    assert kept == server.seen < 12 and not list((tmp_path / "answers").glob("*/*.turns"))


def test_a_pause_ends_when_the_run_stops(serve, answers):
    """One request waits for half a minute, as it was told to; another finds that the key is wrong."""
    busy = 429, {"error": {"message": "busy"}}, {"Retry-After": "30"}
    wrong = 401, {"error": {"message": "bad key"}}
    server = serve(special=lambda body: busy if "question 0" in body["messages"][-1]["content"] else
                   (time.sleep(0.3), wrong)[1])
    started = time.monotonic()
    with pytest.raises(UserError, match="bad key"):
        answers(server, at_once=2).ask(requests(2))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("asked, least", [("0.4", 0.4), ("86400", 0.0)])
def test_a_server_is_given_the_pause_that_it_asks_for(serve, answers, asked, least):
    """A pause of a day is not slept through: if the last turn meets it too, the run stops and says so."""
    server = serve(special=lambda body: (429, {"error": "slow down"}, {"Retry-After": asked}))
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"slow down \(it asks to wait {float(asked):.0f} s\)"):
        answers(server, retries=1).ask(requests(1))
    assert least <= time.monotonic() - started < 5


@pytest.mark.parametrize("extra, room", [({"max_tokens": 200}, 200), ({"max_completion_tokens": 70}, 70),
                                         ({"max_tokens": None, "max_completion_tokens": 70}, 70),
                                         ({"n": 3}, 150)])
def test_the_worst_case_is_of_what_is_really_asked(extra, room):
    asked, written = Remote("http://x/v1", "m", Tag(extra=extra)).worst(request(1))
    assert written == room and asked >= 42 + len(json.dumps(extra))


def test_a_ceiling_needs_a_bound_on_an_answer():
    with pytest.raises(UserError, match="add max_completion_tokens"):
        Remote("http://x/v1", "m", Tag(extra={"max_tokens": None}, max_tokens=1000))


def test_words_that_a_server_puts_before_a_prompt_are_learnt(serve, answers):
    """Every prompt is billed at 142 tokens, 100 beyond its bytes: 162 an answer. After five answers there is
    room for what a sixth could come to by its bytes, and not for what it will come to."""
    server = serve(special=lambda body: (200, completion({"content": "x"}, usage=(142, 20))))
    assert 5 * 162 + WORST <= 905 < 6 * 162
    with pytest.raises(UserError, match="tag.max_tokens"):
        answers(server, max_tokens=905).ask(requests(20))
    assert server.seen == 5


# ---------------------------------------------------------------- on disk, and on the screen

@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"text": null}', '{"text": ["x"]}',
                                     '{"text": "x", "asked": "3"}', '{"text": "x", "written": -1}',
                                     '{"text": "x", "other": 1}', "[" * 5000])
def test_a_damaged_answer_is_asked_again(serve, answers, tmp_path, content):
    server = serve()
    answers(server).ask(requests(1))
    file = next((tmp_path / "answers").glob("*/*.json"))
    file.write_text(content)
    assert answers(server).ask(requests(1))[0].text == "question 0, said" and server.seen == 2
    assert json.loads(file.read_text())["text"] == "question 0, said"


def test_a_damaged_count_of_turns_is_none(serve, answers, tmp_path):
    server = serve()
    answers(server).ask(requests(1))
    file = next((tmp_path / "answers").glob("*/*.json"))
    file.with_suffix(".turns").write_text("x")
    again = answers(server)
    again.ask(requests(1))
    assert again.ledger.lost == 0


def test_a_server_that_repeats_the_key_does_not_spread_it(serve, answers, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGPR_API_KEY", "  sk-secret-123\n")
    server = serve(special=only(ONE, (400, {"error": {"message": "sk-secret-123 may not ask this"}})))
    assert answers(server).ask(requests(6))[3].refused == "HTTP 400: *** may not ask this"
    assert server.keys == {"Bearer sk-secret-123"}
    server.special = lambda body: (401, {"error": {"message": "sk-secret-123 is no key"}})
    with pytest.raises(UserError, match=r"\*\*\* is no key") as stop:
        answers(server).ask([request(9)])
    assert "secret" not in str(stop.value)


def test_a_key_in_the_address_is_not_shown(serve, answers):
    server = serve(special=lambda body: (401, "no"))
    remote = Remote(server.url.replace("http://", "http://me:sk-secret-123@"), "m", Tag())
    assert "secret" not in remote.endpoint and "127.0.0.1" in remote.endpoint


def test_a_key_that_cannot_be_sent_is_one_line(monkeypatch):
    monkeypatch.setenv("TAGPR_API_KEY", "ключ-secret")
    with pytest.raises(UserError, match="TAGPR_API_KEY") as stop:
        Remote("http://x/v1", "m", Tag())
    assert "secret" not in str(stop.value)


# ---------------------------------------------------------------- a local model

def test_a_local_model_that_answers_with_nothing_is_refused_and_counted(tmp_path, monkeypatch):
    chat = Local("tiny", Tag(at_once=3))
    monkeypatch.setattr(Local, "_text", lambda self, ids, ended: " \n")
    first = Answers(chat, Ledger(), tmp_path)
    found = first.ask([request(n, room=4) for n in range(5)])
    assert {reply.refused for reply in found} <= {NO_ROOM, "an answer without text"}
    assert all(reply.refused for reply in found) and first.ledger.written == sum(r.written for r in found) > 0
    assert Answers(chat, Ledger(), tmp_path).ask([request(n, room=4) for n in range(5)]) == found


def test_marks_of_a_thought_that_are_special_tokens_stay():
    chat = Local("tiny", Tag())
    chat.loaded = engine.load(Model(name="tiny"))
    tokenizer = chat.loaded[1]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    ids = tokenizer.encode("<think>hm</think>Answer: 5", add_special_tokens=False) + [tokenizer.eos_token_id]
    assert chat._text(ids, True) == "<think>hm</think>Answer: 5"


def test_a_review_cannot_end_the_users_turn_of_a_local_teacher():
    chat = Local("tiny", Tag())
    chat.loaded = engine.load(Model(name="tiny"))
    end = chat.loaded[1].eos_token
    plain, hostile = (chat._prompt_ids(Request((("user", text),), 0, 9, 0.0)) for text in ("a", f"a{end}b"))
    ends = [ids.count(chat.loaded[1].eos_token_id) for ids in (plain, hostile)]
    assert ends[0] == ends[1] > 0


def test_a_template_that_cannot_be_used_is_one_line():
    chat = Local("tiny", Tag())
    chat.loaded = engine.load(Model(name="tiny"))
    chat.loaded[1].chat_template = "{{ raise_exception('roles: no \n system') }}"
    with pytest.raises(UserError, match="tiny cannot be used: roles: no system"):
        chat._prompt_ids(request(0))


def test_a_local_batch_that_would_break_a_ceiling_holds_nothing(tmp_path):
    answers = Answers(Local("tiny", Tag(at_once=3)), Ledger(most_tokens=100), tmp_path)
    with pytest.raises(UserError, match="tag.max_tokens"):
        answers.ask(requests(3))
    assert not answers.ledger.reserved and not list(tmp_path.glob("*/*.turns"))
