"""The campaign of kills, shortened, and that its comparison sees what differs."""
import errno
import json
import os
import shutil

import pytest

from tagpr_lite.bench import kills, soak


@pytest.mark.long  # a smoke run that is killed in every step is in steps/test_smoke.py
def test_a_few_kills_end_with_equal_files(capsys):
    """At random moments, before operations on files, by faults of the disk; `bench kills` does hundreds."""
    result = kills.bench_kills(4, seed=3)
    assert result["disturbances"] == 4 and result["runs"] == result["equal"] >= 1, capsys.readouterr().out


@pytest.mark.long
def test_the_soak_measures_memory_and_files():
    result = soak.bench_soak(12)
    assert result["steps"] == 12 and result["with_signal"] > 0
    assert result["rss_mb"][0] > 100 and result["open_files"][0] >= 3


def test_the_nth_operation_on_a_file_of_the_run_fails():
    hook = kills.at_operation(kills.Disturbance("disk", 2, errno.ENOSPC), "/results/run")
    writes, reads = os.O_WRONLY | os.O_CREAT, os.O_RDONLY
    hook("open", ("/results/run/a", "w", writes))
    for event, details in (("open", ("/results/run/a", "r", reads)), ("open", (3, "w", writes)),
                           ("open", ("/results/run2/a", "w", writes)), ("import", ("json",))):
        hook(event, details)  # these are not counted
    with pytest.raises(OSError, match="No space left on device.*/results/run/a"):
        hook("os.rename", ("/results/run/a", "/results/run/b", -1, -1))
    hook("os.remove", ("/results/run/a", -1))  # once


SAMPLE = '{"id": "1", "completions": [{"text": "a", "seconds": %d}]}\n'
MANIFEST = '{"done": true, "seconds": %d, "made": {"samples/x": "%d", "sft": "2"}}'


@pytest.fixture
def two_runs(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for place in ("guided/last", "manifests", "samples"):
        (first / place).mkdir(parents=True)
    (first / "guided/last/adapter_model.safetensors").write_bytes(b"weights")
    (first / "metrics.jsonl").write_text('{"step": "sft", "loss": 1.5, "seconds": 2}\n')
    (first / "samples/sft@greedy.jsonl").write_text(SAMPLE % 1)
    (first / "manifests/sft.json").write_text(MANIFEST % (3, 1))
    (first / "config.yaml").write_text("name: first\nseed: 0\n")
    (first / "report.html").write_text("10 minutes")
    (first / ".owner").write_text("1")
    shutil.copytree(first, second)
    (second / "config.yaml").write_text("name: second\nseed: 0\n")
    return first, second


def test_times_may_differ(two_runs):
    first, second = two_runs
    (second / "metrics.jsonl").write_text('{"step": "sft", "loss": 1.5, "seconds": 9}\n')
    (second / "samples/sft@greedy.jsonl").write_text(SAMPLE % 7)
    (second / "manifests/sft.json").write_text(MANIFEST % (4, 9))
    (second / "report.html").write_text("11 minutes")
    (second / ".owner").unlink()
    assert kills.differences(first, second) == []


@pytest.mark.parametrize("name, content", [
    ("guided/last/adapter_model.safetensors", b"weighte"),
    ("metrics.jsonl", b'{"step": "sft", "loss": 1.6}\n'),
    ("samples/sft@greedy.jsonl", b'{"id": "1", "completions": [{"text": "b"}]}\n'),
    ("manifests/sft.json", json.dumps({"done": True, "made": {"sft": "3"}}).encode()),
    ("config.yaml", b"name: second\nseed: 1\n"), ("guided/last/adapter_model.safetensors", None),
    ("new", b"a file more")])
def test_whatever_else_differs_is_seen(two_runs, name, content):
    first, second = two_runs
    if content is None:
        (second / name).unlink()
    else:
        (second / name).write_bytes(content)
    assert kills.differences(first, second) == [name]
