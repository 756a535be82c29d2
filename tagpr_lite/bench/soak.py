"""Do memory and open files stay flat over thousands of steps of GRPO?

Stage 1 of a run of the tiny model, in a process of its own; this one looks at it every second. What grows by
a little in every step fills a machine in a night.
"""
from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from ..runs import read_metrics
from . import kills

SETTINGS = ["sft.epochs=6", "grpo.check_every=500", "grpo.save_every=50", "grpo.completion=112",
            "grpo.prompts=2", "grpo.group=4", "grpo.kept_rollouts=400", "lamp.mini_users=40",
            "lamp.train_limit=60", "lamp.val_limit=4", "reward.pairs=16", "reward.reported=8",
            "reward.rollouts=4"]
BEFORE = ("prepare", "tag", "sft", "reward")
WARM_UP = 0.25  # share of the time in which memory may grow: caches fill


def bench_soak(steps: int) -> dict:
    """{"steps", "with_signal", "seconds", "rss_mb": [at the end of the warm-up, at the end],
    "mb_per_1000_steps", "open_files": [least, most], "threads": [least, most]}, of the time after the
    warm-up."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(kills.PRELOADED)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "soak"
        words = [*SETTINGS, f"grpo.guided_steps={steps}"]
        kills.run_to_end(fork, folder, words, BEFORE)
        started = time.time()
        process = kills.begin(fork, folder, words, ("guided",))
        seen = []
        while process.is_alive():
            process.join(1.0)
            rows = read_metrics(folder, "guided")
            if rows and process.is_alive():
                seen.append((len(rows), *usage(process.pid)))
        if process.exitcode:
            raise RuntimeError(f"the stage ended with exit code {process.exitcode}")
        rows = read_metrics(folder, "guided")
    counts, rss, files, threads = np.array(seen[int(WARM_UP * len(seen)):]).T
    slope = np.polyfit(counts, rss, 1)[0]
    return {"steps": len(rows), "with_signal": sum(row["grad_norm"] > 0 for row in rows),
            "seconds": round(time.time() - started), "rss_mb": [round(rss[0]), round(rss[-1])],
            "mb_per_1000_steps": round(1000 * float(slope), 2),
            "open_files": [int(files.min()), int(files.max())],
            "threads": [int(threads.min()), int(threads.max())]}


def usage(process: int) -> tuple[float, int, int]:
    """(resident MB, open files, threads) of a process on Linux."""
    place = Path("/proc") / str(process)
    pages = int((place / "statm").read_text().split()[1])
    return (pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir(place / "fd")),
            len(os.listdir(place / "task")))
