"""A local server in the place of the Hugging Face hub, with the bad manners that downloads meet."""
import json
import re
import threading
import time
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from tagpr_lite.engine import hub, location
from tagpr_lite.engine.location import find

SHA = "a" * 40
PAGE = b"<!DOCTYPE html><html><body>Not here, but 200 all the same</body></html>"
AGAINST_CODE = {401: "RepoNotFound", 403: "GatedRepo"}


class HubSite:
    """A hub whose every model has the files of one folder; it keeps a log of "GET /path" and misbehaves as
    told by `manner`. sizes: whether it tells how large files are.

    manner: "" behaves, "503" and other codes are its answer to everything, "page" sends a web page
    in the place of JSON, "silent" says nothing, "cut N" and "stall N" close the connection of the weights, or
    say nothing more, N bytes after where each answer begins. `times`: so many answers are so; None: all."""

    def __init__(self, folder):
        self.files = {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
        self.log, self.manner, self.times, self.sizes = [], "", None, True
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"site": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def misbehaves(self, *words):
        """The number behind a manner's word, 1 where there is none, if the hub has this manner now."""
        word, _, number = self.manner.partition(" ")
        if word not in words or self.times == 0:
            return None
        self.times = self.times and self.times - 1
        return int(number or 1)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        site, path = self.site, unquote(urlsplit(self.path).path)
        site.log.append(f"{self.command} {path}")
        if site.misbehaves("silent"):
            time.sleep(2)
            self.close_connection = True
            return None
        if site.manner.isdecimal() and site.misbehaves(site.manner):
            code = int(site.manner)
            return self.answer(code, b"no", {"X-Error-Code": AGAINST_CODE[code]} if code in AGAINST_CODE
                               else {})
        if path.startswith("/api/"):
            return self.answer(200, PAGE if site.misbehaves("page") else json.dumps(self.api(path)).encode())
        name = re.fullmatch(r"/[^/]+/[^/]+/resolve/[^/]+/(.+)", path)[1]
        if name not in site.files:
            return self.answer(404, b"no", {"X-Error-Code": "EntryNotFound"})
        return self.send_file(name, site.files[name])

    def api(self, path):
        files = self.site.files
        if "/tree/" in path:
            return [{"type": "file", "path": name, "size": len(body), "oid": sha1(body).hexdigest()}
                    for name, body in files.items()]
        return {"id": "a/b", "sha": SHA, "siblings": [
            {"rfilename": name, **({"size": len(body)} if self.site.sizes else {})}
            for name, body in files.items()]}

    def send_file(self, name, body):
        asked, status = self.headers.get("Range"), 200
        head = {"ETag": f'"{sha1(body).hexdigest()}"', "X-Repo-Commit": SHA}
        if asked:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            status, head["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:]
        number = None
        if self.command == "GET" and name.endswith(".safetensors"):
            number = self.site.misbehaves("cut", "stall")
        self.answer(status, body, head, number)

    def answer(self, status, body, head={}, number=None):
        self.send_response(status)
        for name, value in (head | {"Content-Length": len(body)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:number])
        self.wfile.flush()
        if number is not None:
            if self.site.manner.startswith("stall"):
                time.sleep(1)
            self.close_connection = True


@pytest.fixture
def hub_site(monkeypatch, tmp_path):
    """A hub with the tiny model under every name, an empty cache, and short patience."""
    site = HubSite(find(location.Model(name="tiny")))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", site.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                        site.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    monkeypatch.setattr(hub, "NOTICE", 0.5)
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    huggingface_hub.close_session()
    yield site
    site.close()
    huggingface_hub.set_client_factory(_http.default_client_factory)
