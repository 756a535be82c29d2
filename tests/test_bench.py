import json
import subprocess
import sys

from tagpr_lite.bench import make_lamp3
from tagpr_lite.lamp.files import read_outputs, read_questions


def test_the_made_up_lamp3_file_is_valid_seeded_and_of_the_size_asked_for(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        n = make_lamp3(tmp_path / name, 500_000)
    path = tmp_path / "a" / "dev_questions.json"
    assert path.read_bytes() == (tmp_path / "b" / "dev_questions.json").read_bytes()
    questions = list(read_questions(path, *read_outputs(tmp_path / "a" / "dev_outputs.json")))
    items = [item for q in questions for item in q.profile]
    assert len(questions) == n and 500_000 <= path.stat().st_size < 1_000_000
    assert 99 <= min(len(q.profile) for q in questions) and 600 < sum(len(i.text) for i in items) / len(items) < 1000


def test_the_convert_benchmark_prints_one_json_object():
    done = subprocess.run([sys.executable, "-m", "tagpr_lite.bench", "convert", "--mb", "1"],
                          capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["megabytes"]["dev_questions.json"] >= 1 > said["megabytes"]["dev.db"] > 0
    for work in ("json.load", "convert"):
        assert said[work]["seconds"] >= 0 and said[work]["peak_mb"] >= said["idle"]["peak_mb"] - 2 > 5
