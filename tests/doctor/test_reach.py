"""The three addresses, with a local server in their place; and the machine's disks and memory."""
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from tagpr_lite.doctor import machine, reach
from tagpr_lite.lamp.official import fetch


class Handler(BaseHTTPRequestHandler):
    """Files under /good are of 1000 bytes, under /gone they are not there, under /slow they come too late."""
    asked: list[str] = []

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.asked.append(self.path)
        if self.path.startswith("/slow"):
            threading.Event().wait(1.5)
        self.send_response(404 if self.path.startswith("/gone") else 200)
        self.send_header("Content-Length", "1000")
        self.end_headers()


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed():
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data and no models are here; no proxy stands between."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_an_address_answers_refuses_or_is_late(site, closed):
    assert reach.ask(f"{site}/good") == reach.Answer("", 1000)
    assert reach.ask(f"{site}/gone").fault.startswith("answered 404")
    assert "refused" in reach.ask(closed).fault
    assert "timed out" in reach.ask(f"{site}/slow", seconds=0.2).fault
    assert reach.ask("nonsense").fault


def test_the_hub_is_asked_where_its_library_says(site, closed, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"{site}/good")
    assert reach.hub_check(needed=True).state == "ok"
    assert "/good/Qwen/Qwen3-0.6B/resolve/main/config.json" in Handler.asked
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    for needed, state in ((True, "attention"), (False, "note")):
        check = reach.hub_check(needed)
        assert check.state == state and "refused" in check.found and "model.name=FOLDER" in check.advice


def test_a_model_that_is_here_already_needs_no_hub(closed, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    snapshot = tmp_path / "hub/models--Qwen--Qwen3-4B/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    check = reach.hub_check(needed=True)
    assert check.state == "note" and "here already: Qwen/Qwen3-4B" in check.found


def test_offline_mode_is_said(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in reach.hub_check(needed=True).found


def test_lamps_site_says_the_size_of_its_largest_file(site, closed, monkeypatch):
    monkeypatch.setattr(fetch, "BASE", f"{site}/good")
    check, needed = reach.lamp_check(needed=True)
    assert check.state == "ok" and needed == int(1000 * fetch.SPACE)
    monkeypatch.setattr(fetch, "BASE", closed)
    assert [reach.lamp_check(needed)[0].state for needed in (True, False)] == ["attention", "note"]


def test_data_that_is_here_already_needs_no_site(closed, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "BASE", closed)
    (tmp_path / "data/lamp/time/LaMP_3").mkdir(parents=True)
    (tmp_path / "data/lamp/time/LaMP_3/dev.db").touch()
    assert reach.lamp_check(needed=True)[0].state == "ok"


@pytest.mark.parametrize("code, said, state", [(0, "pip (26.3)", "ok"),
                                               (1, "ERROR: no such host", "attention"),
                                               (1, "/usr/bin/python3: No module named pip", "attention")])
def test_pip_is_asked_with_its_own_configuration(monkeypatch, code, said, state):
    def run(command, **how):
        assert command[1:5] == ["-m", "pip", "index", "versions"]
        return subprocess.CompletedProcess(command, code, said, f"WARNING: experimental\n{said}\nwarning: x")
    monkeypatch.setattr(reach.subprocess, "run", run)
    check = reach.index_check()
    assert check.state == state and (not code or said in check.found)


def test_pip_without_an_answer(monkeypatch):
    def run(command, **how):
        raise subprocess.TimeoutExpired(command, how["timeout"])
    monkeypatch.setattr(reach.subprocess, "run", run)
    assert "no answer within" in reach.index_check().found


def test_all_are_asked_at_the_same_time(monkeypatch):
    """Each waits for the other two: one after another they would wait for ever."""
    barrier = threading.Barrier(3, timeout=5)
    monkeypatch.setattr(reach, "index_check", lambda: barrier.wait() and None)
    monkeypatch.setattr(reach, "hub_check", lambda needed: barrier.wait() and None)
    monkeypatch.setattr(reach, "lamp_check", lambda needed: (barrier.wait() and None, 7))
    checks, needed = reach.look_at_reach(needed=True)
    assert len(checks) == 3 and needed == 7


# ---------------------------------------------------------------- the machine

def test_a_containers_bound_is_the_memory(tmp_path):
    bound = tmp_path / "memory.max"
    assert machine.memory(bound) > 0
    bound.write_text("max\n")
    whole = machine.memory(bound)
    bound.write_text("1048576\n")
    assert machine.memory(bound) == 1048576 < whole


def test_little_memory_needs_attention(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 4 * machine.GIB)
    cpu, memory = machine.look_at_machine()
    assert cpu.state == "ok" and memory.state == "attention" and "smoke" in memory.advice


def test_disks_are_held_against_what_is_needed(tmp_path):
    free = machine.disk_check("disk", tmp_path / "not/yet", 1, "one byte")
    full = machine.disk_check("disk", tmp_path / "not/yet", 10**18, "an exabyte")
    unknown = machine.disk_check("disk", tmp_path, None, "")
    assert [check.state for check in (free, full, unknown)] == ["ok", "attention", "ok"]
    assert "was not said" in unknown.found


def test_the_model_decides_what_disks_need(monkeypatch, tmp_path):
    small, large = machine.shape_of("Qwen3-0.6B"), machine.shape_of("Qwen3-8B")
    assert 0.55e9 < machine.bytes_of_weights(small) / 2 < 0.8e9
    assert 7.5e9 < machine.bytes_of_weights(large) / 2 < 8.5e9
    monkeypatch.setattr(machine, "planned_shape", lambda has_card: large if has_card else small)
    names = [check.name for check in machine.look_at_disks(True, tmp_path, 5)]
    assert names == ["disk for results", "disk for data", "disk for models"]
    assert len(machine.look_at_disks(False, tmp_path, None)) == 2
