"""The streaming converter against json.load: seconds, and the most memory that each takes.

Decisions. Memory is the peak resident set of a process that does nothing else, as the system counts it;
`idle` is the same process without the work, so that differences can be taken. Made-up data are seeded and
shaped like the real.
"""
from __future__ import annotations

import json
import platform
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from ..lamp.official.fetch import convert
from ..lamp.tasks import TASKS
from ..runs import seed_of


def alone(work: str, folder: Path) -> dict:
    """Seconds and peak memory of one of WORK in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tagpr_lite.bench", "alone", work, str(folder)], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(work: str, folder: str) -> None:
    started = time.perf_counter()
    kept = WORK[work](Path(folder))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    del kept
    print(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak / 1e6, 1)}))


def load_whole(folder: Path) -> list:
    with open(folder / "dev_questions.json", encoding="utf-8") as f:
        return json.load(f)


WORK = {"idle": lambda folder: None, "json.load": load_whole,
        "convert": lambda folder: convert(folder, "dev")}


# ---------------------------------------------------------------- convert

def bench_convert(megabytes: float) -> dict:
    with TemporaryDirectory() as name:
        folder = Path(name)
        n = make_lamp3(folder, int(megabytes * 1e6))
        results = {work: alone(work, folder) for work in WORK}
        sizes = {file: round((folder / file).stat().st_size / 1e6, 1)
                 for file in ("dev_questions.json", "dev.db")}
    return {"bench": "convert", "python": platform.python_version(), "questions": n, "megabytes": sizes,
            **results}


def make_lamp3(folder: Path, size: int) -> int:
    """Dev files of at least `size` bytes shaped like the official LaMP-3: 99 to 281 reviews a user, some 800
    characters each. Returns how many questions there are.
    """
    rng = random.Random(seed_of("lamp3", 0))
    words = ["".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 9))) for _ in range(5000)]
    words += ["don't", '"so"', "é", "😀"]
    pieces = [" ".join(rng.choices(words, k=16)) + rng.choice([". ", "! ", ".\n"]) for _ in range(20_000)]
    review = lambda: "".join(rng.choices(pieces, k=8))
    golds = []
    with open(folder / "dev_questions.json", "w", encoding="utf-8") as f:
        while f.tell() < size:
            name = f"2{len(golds)}"
            profile = [{"id": f"{name}{i}", "text": review(), "score": rng.choice("12345"),
                        "date": f"20{rng.randint(10, 18)}"} for i in range(rng.randint(99, 281))]
            row = {"id": name, "input": TASKS["LaMP_3"].ask(review()), "profile": profile,
                   "user_id": len(golds)}
            f.write(("," if golds else "[") + json.dumps(row))
            golds.append({"id": name, "output": rng.choice("12345")})
        f.write("]")
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_3", "golds": golds}))
    return len(golds)
