"""A local server in the place of the official site, with the bad manners that downloads meet."""
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lamp_files import review

from tagpr_lite.lamp import mini
from tagpr_lite.lamp.official import fetch
from tagpr_lite.lamp.official.fetch import address
from tagpr_lite.lamp.tasks import TASKS

PAGE = b"\n<!DOCTYPE html><html><body>Not here, but 200 all the same</body></html>"


class Site:
    """A server of `files` {path: bytes} that keeps a log of (path, Range, If-Range) and misbehaves as told by
    `next`.

    next: one word for each coming request, then it behaves: "cut 100" closes the connection after 100 bytes
    of the body, "stall 100" says nothing more after them, "page" sends a web page with status 200, "503"
    answers so, "all" ignores Range, "bare" sends no Content-Length, "gzip" says that the body is packed,
    "shift" sends a range one byte further on, "range" sends one where none was asked for, "long" adds a byte.
    heads: the same for requests for the head alone, whose paths are in `asked`: "503", "405", "silent",
    "bare".
    """

    def __init__(self):
        self.files, self.log, self.next, self.head = {}, [], [], {"ETag": '"1"'}
        self.heads, self.asked = [], []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"site": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}/LaMP"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        site, path = self.site, self.path.removeprefix("/LaMP/")
        site.asked.append(path)
        word = site.heads.pop(0) if site.heads else ""
        if word == "silent":
            threading.Event().wait(1)
            return
        code = int(word) if word.isdecimal() else 200 if path in site.files else 404
        self.send_response(code)
        if code == 200 and word != "bare":
            self.send_header("Content-Length", len(site.files[path]))
        self.end_headers()

    def do_GET(self):
        site, asked = self.site, self.headers.get("Range")
        site.log.append((self.path, asked, self.headers.get("If-Range")))
        word, _, number = (site.next.pop(0) if site.next else "").partition(" ")
        body = site.files.get(self.path.removeprefix("/LaMP/"))
        if word == "page":
            return self.answer(200, PAGE)
        if word == "503" or body is None:
            return self.answer(503 if word else 404, b"no")
        status, head, start = 200, dict(site.head), 0
        same = self.headers.get("If-Range") in (None, site.head.get("ETag"), site.head.get("Last-Modified"))
        if asked and same and word != "all":
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            status, start = 206, start + (word == "shift")
            head["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if word == "range":
            status, head["Content-Range"] = 206, f"bytes 0-{len(body) - 1}/{len(body)}"
        if word == "gzip":
            head["Content-Encoding"] = "gzip"
        self.answer(status, body[start:] + b" " * (word == "long"), head, word, int(number or 0))

    def answer(self, status, body, head={}, word="", number=0):
        self.send_response(status)
        for name, value in (head | ({} if word == "bare" else {"Content-Length": len(body)})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:number] if word in ("cut", "stall") else body)
        if word == "stall":
            self.wfile.flush()
            threading.Event().wait(1)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "WAIT", 0.0)
    monkeypatch.setattr(fetch, "BLOCK", 64)
    site = Site()
    yield site
    site.close()


def serve(site, folder, task="LaMP_3", layout="time"):
    """Puts a folder of raw files on the site where the official ones lie; returns the folder."""
    for path in folder.glob("*.json"):
        site.files[address("", layout, task, path.name).removeprefix("/")] = path.read_bytes()
    test = json.dumps([review(7, input=f"{TASKS[task].instruction} x", profile=json.loads(
        (folder / "dev_questions.json").read_text())[0]["profile"])])
    site.files[address("", layout, task, "test_questions.json").removeprefix("/")] = test.encode()
    return folder

def serve_mini(site, tasks, users=8):
    """Puts tasks of the built-in benchmark on the site, in the form of LaMP's files."""
    for task, splits in mini.build(0, users, tasks).items():
        for split, questions in splits.items():
            golds = [{"id": question.id, "output": question.gold} for question in questions]
            for name, value in ((f"{split}_questions.json", [row_of(question) for question in questions]),
                                (f"{split}_outputs.json", {"task": task, "golds": golds})):
                path = address("", "time", task, name).removeprefix("/")
                site.files[path] = json.dumps(value).encode()


def row_of(question):
    """A question of the built-in benchmark as LaMP's files have it."""
    task = question.task
    items = [{"id": item.id, **({task.text_key: item.text} if task.text_key else {}),
              **({task.label_key: item.label} if task.label_key else {}), "date": item.date}
             for item in question.profile]
    return {"id": question.id, "input": question.input, "user_id": question.user, "profile": items}
