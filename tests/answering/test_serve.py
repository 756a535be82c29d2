"""The server under the real client of the protocol, under curl, and under clients that do not behave."""
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tagpr_lite import serve
from tagpr_lite.answering.answerer import Answerer
from tagpr_lite.answering.history import History
from tagpr_lite.answering.run import open_run, question_of
from tagpr_lite.lamp.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
TEXT = "Fine, but it broke."


def started(run, folder, *words, **env):
    """(process, its address) of a server of the run."""
    command = [sys.executable, "-m", "tagpr_lite.serve", "--run", run, "--port", "0", "--history",
               folder / "histories.db", *words]
    process = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"} | env)
    line = process.stdout.readline()
    assert "http://" in line, process.stderr.read()
    return process, line.split()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def address(run, folder):
    process, address = started(run, folder, "--together", "8")
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def expected(run):
    """What the engine itself writes, as a function of text and items."""
    answerer = Answerer(open_run(run))

    def write(text, items=(), task=TASKS["LaMP_3"]):
        question = question_of(task, text, items, answerer.run.config.lamp, 0)
        return answerer.text(answerer.write([answerer.prompt(question)[0]])[0])
    return write


@pytest.fixture
def client(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)


def message(text):
    return [{"role": "user", "content": text}]


def post(address, body, path="/v1/chat/completions", **headers):
    """(status, body) of a request of the plainest kind."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address + path, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def written(text):
    """A text without blanks: between steps they are not sent."""
    return "".join(text.split())


def unmarked(text):
    """What a model wrote without blanks and without the marks of its thought, of which the protocol makes two
    fields."""
    text = written(text)
    if text.startswith("<think>"):
        text = text.removeprefix("<think>").replace("</think>", "", 1)
    return text


# ---------------------------------------------------------------- answers

def test_the_client_gets_what_the_engine_writes(client, expected):
    got = client.chat.completions.create(model="LaMP_3", messages=message(TEXT), user="nobody")
    choice = got.choices[0]
    both = choice.message.reasoning_content + choice.message.content
    assert written(both) == unmarked(expected(TEXT))
    assert choice.finish_reason in ("stop", "length") and got.model == "LaMP_3"
    assert got.usage.completion_tokens > 0 and got.usage.total_tokens == (got.usage.prompt_tokens
                                                                          + got.usage.completion_tokens)
    assert [task.id for task in client.models.list()] == ["LaMP_2", "LaMP_3"]


def test_a_stream_is_the_same_answer_in_pieces(client):
    whole = client.chat.completions.create(model="LaMP_3", messages=message(TEXT))
    chunks = list(client.chat.completions.create(model="LaMP_3", messages=message(TEXT), stream=True,
                                                 stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == whole.choices[0].message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas).strip() == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage and len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason


def test_a_history_is_its_users_own_and_the_next_answer_knows_it(client, address, folder, expected):
    for text, label in (("It broke at once", "1"), ("Sturdy", "5")):
        body = {"user": "ann", "model": "LaMP_3", "text": text, "label": label}
        status, added = post(address, body, "/v1/history")
        assert status == 201 and added["added"] is True
    items = History(folder / "histories.db").items("ann", TASKS["LaMP_3"])
    assert [(item.text, item.label) for item in items] == [("It broke at once", "1"), ("Sturdy", "5")]
    with_profile, without = expected(TEXT, items), expected(TEXT)
    assert with_profile != without
    for user, text in (("ann", with_profile), ("bob", without)):
        got = client.chat.completions.create(model="LaMP_3", messages=message(TEXT), user=user)
        said = got.choices[0].message
        assert written(said.reasoning_content + said.content) == unmarked(text)
    with urllib.request.urlopen(f"{address}/v1/history?user=ann&model=LaMP_3") as response:
        first = json.loads(response.read())["data"][0]
    assert first["text"] == "It broke at once" and first["label"] == "1"
    for method, body in (("PATCH", json.dumps({"user": "ann", "model": "LaMP_3", "label": "2"}).encode()),
                         ("DELETE", None)):
        place = f"{address}/v1/history/{first['number']}?user=ann&model=LaMP_3"
        request = urllib.request.Request(place, body, method=method)
        assert urllib.request.urlopen(request).status == 200
    left = History(folder / "histories.db").items("ann", TASKS["LaMP_3"])
    assert [item.text for item in left] == ["Sturdy"]


def test_max_tokens_ends_an_answer(client):
    got = client.chat.completions.create(model="LaMP_3", messages=message(TEXT), max_tokens=3)
    assert got.usage.completion_tokens <= 3 and got.choices[0].finish_reason == "length"


def test_fifty_requests_at_once_are_all_answered_as_each_alone(client, expected):
    texts = [f"Number {n} is fine." for n in range(50)]
    create = lambda text: client.chat.completions.create(model="LaMP_3", messages=message(text)).choices[0]
    with ThreadPoolExecutor(50) as pool:
        got = list(pool.map(create, texts))
    assert len({choice.message.reasoning_content + choice.message.content for choice in got}) > 5
    for text, choice in list(zip(texts, got))[::10]:
        assert written(choice.message.reasoning_content + choice.message.content) == unmarked(expected(text))


def test_curl_speaks_with_it(address):
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    body = json.dumps({"model": "LaMP_3", "stream": True, "messages": message(TEXT)})
    got = subprocess.run(["curl", "-sN", f"{address}/v1/chat/completions", "-d", body], capture_output=True,
                         text=True, timeout=60)
    events = got.stdout.split("\n\n")
    assert events[-2] == "data: [DONE]" and all(event.startswith("data: ") for event in events[:-1])
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"


# ---------------------------------------------------------------- clients that do not behave

def test_clients_that_hang_up_cost_no_other_its_answer(address, client):
    body = json.dumps({"model": "LaMP_3", "stream": True, "messages": message(TEXT)}).encode()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n")
    host, port = address.removeprefix("http://").split(":")
    for reads in (0, 0, 1, 60, 300):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head.encode() + body)
            if reads:
                connection.recv(reads)
    create = lambda: client.chat.completions.create(model="LaMP_3", messages=message(TEXT))
    assert create().choices[0].message == create().choices[0].message


# ---------------------------------------------------------------- who is served

def test_a_page_of_another_site_cannot_use_a_name_that_leads_here(address):
    status, answer = post(address, {}, Host="evil.example:8000")
    assert status == 403 and "127.0.0.1" in answer["error"]["message"]
    here = address.removeprefix("http://")
    for origin, expected in (("https://evil.example", 403), ("null", 403), (f"http://{here}", 400)):
        assert post(address, {}, Origin=origin)[0] == expected
    with urllib.request.urlopen(address) as response:
        page, policy = response.read().decode(), response.headers["Content-Security-Policy"]
    assert "<title>tagpr_lite: ask</title>" in page and "default-src 'none'" in policy


def test_a_key_is_needed_where_one_is_set(run, tmp_path):
    process, address = started(run, tmp_path, TAGPR_KEY="sesame")
    try:
        body = {"model": "LaMP_3", "messages": message(TEXT), "max_tokens": 2}
        assert post(address, body)[0] == 401
        assert post(address, body, Authorization="Bearer sesam")[1]["error"]["code"] == "invalid_api_key"
        assert post(address, body, Authorization="Bearer sesame")[0] == 200
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15, 143)


@pytest.mark.parametrize("words, says", [
    (["--host", "0.0.0.0"], "TAGPR_KEY"), (["--port", "99999"], "--port"),
    (["--together", "0"], "--together"), (["--host", "203.0.113.7"], "TAGPR_KEY"),
    (["--host", ""], "--host is empty"), (["--history", "x.json"], "histories.db"),
    (["--stage", "explore"], "no adapter of")])
def test_what_cannot_be_served_is_one_line(run, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.delenv("TAGPR_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        serve.main(["--run", str(run), *words])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and says in err and err.count("\n") == 1


def test_a_key_that_no_request_can_bring_is_refused(run, monkeypatch, capsys):
    monkeypatch.setenv("TAGPR_KEY", "s\u00e9same")
    with pytest.raises(SystemExit):
        serve.main(["--run", str(run)])
    assert "TAGPR_KEY" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        begun = time.time()
        with pytest.raises(SystemExit):
            serve.main(["--run", str(run), "--port", str(taken.getsockname()[1])])
    assert "cannot be served" in capsys.readouterr().err and time.time() - begun < 5


# ---------------------------------------------------------------- the worker

def test_a_fault_of_the_model_ends_its_requests_and_no_other():
    from tagpr_lite.answering.worker import Request, Worker

    class Model:
        def write(self, prompts, listen):
            if [0] in prompts:
                raise RuntimeError("no")
            for token in (7, 8, 9):
                for row in range(len(prompts)):
                    if not dropped[prompts[row][0]]:
                        dropped[prompts[row][0]] = not listen(row, token)

    dropped = {1: False, 2: False, 3: False}
    heard = {n: [] for n in range(4)}
    done = threading.Event()
    requests = [Request([n], 2 if n == 2 else 10, heard[n].append) for n in range(4)]
    worker = Worker(Model(), together=1, waiting=9)
    requests[3].gone.set()
    for request in requests:
        worker.ask(request)
    worker.stop()
    worker.start()
    worker.join(10)
    assert not worker.is_alive() and not done.is_set()
    assert isinstance(heard[0][0], RuntimeError) and heard[1] == [7, 8, 9, None]
    assert heard[2] == [7, 8, None] and heard[3] == []  # its client had gone before it began
