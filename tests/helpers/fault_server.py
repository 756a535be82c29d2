"""A local OpenAI-compatible server that fails in all the ways that servers fail, and keeps the bill.

Its answers are a function of the request, so two runs can be compared byte for byte. `faults` says what
happens to the n-th request that comes in, `special` what is sent to a request in the place of an answer. A
question is paid for when its answer left whole.
"""
from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(message, finish="stop", usage=(30, 20)):
    """The body of a chat completion. message: its fields beside the role. usage: (prompt tokens, answer
    tokens), or whatever a server sends in its place."""
    if isinstance(usage, tuple):
        usage = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "usage": usage,
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}]}


def only(text, said):
    """A `special` for the requests whose last message holds the text. said: (status, content) or (status,
    content, headers)."""
    return lambda body: said if text in body["messages"][-1]["content"] else None


class Server:
    """answer(text of the last message, seed) -> what the model says. special(body of the request) ->
    (status, content) or (status, content, headers), None for an answer as usual."""

    def __init__(self, answer, faults=lambda n: "", slow=0.0, special=lambda body: None):
        self.answer, self.faults, self.slow, self.seen, self.keys = answer, faults, slow, 0, set()
        self.special, self.bodies = special, []
        self.paid: Counter = Counter()
        self.running = self.most_running = 0
        self.starts: list[float] = []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    n, outer.seen = outer.seen, outer.seen + 1
                    outer.running += 1
                    outer.most_running = max(outer.most_running, outer.running)
                    outer.starts.append(time.monotonic())
                    outer.keys.add(self.headers.get("Authorization"))
                    outer.bodies.append(json.loads(body))
                try:
                    outer.handle(self, json.loads(body), outer.faults(n))
                finally:
                    with outer.lock:
                        outer.running -= 1

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def handle(self, http, body: dict, fault: str) -> None:
        time.sleep(self.slow)
        if fault.isdigit():
            return self.send(http, int(fault), {"error": {"message": "injected", "type": "x"}},
                             {"Retry-After": "0.01"})
        if fault == "late":
            time.sleep(1.5)  # longer than the client waits
            return self.send(http, 200, {"late": True})
        if fault == "drop":
            return http.connection.close()
        said = self.special(body)
        if said is not None:
            return self.send(http, *said)
        whole = self.whole(http.path, body)
        if fault == "garbage":
            return self.send(http, 200, "{\"choices\": [", {})
        if fault == "html":
            return self.send(http, 200, "<html>busy</html>", {"Content-Type": "text/html"})
        if fault == "cut":
            return self.send(http, 200, whole[:len(whole) // 2], {"Content-Length": str(len(whole))})
        with self.lock:
            self.paid[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
        self.send(http, 200, whole)

    def whole(self, path: str, body: dict) -> str:
        """The content of an answer as usual."""
        text = self.answer(body["messages"][-1]["content"], body.get("seed"))
        return json.dumps(completion({"content": text}))

    def send(self, http, status: int, content, headers=None) -> None:
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        try:
            http.send_response(status)
            # Said, so that the client does not send its next request into a closed connection.
            for key, value in ({"Content-Type": "application/json", "Content-Length": str(len(data)),
                                "Connection": "close"} | (headers or {})).items():
                http.send_header(key, value)
            http.end_headers()
            http.wfile.write(data)
            http.wfile.flush()
            http.close_connection = True
        except OSError:
            pass  # the client has gone

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
