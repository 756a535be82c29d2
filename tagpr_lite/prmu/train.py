"""PRMU's training: Bradley-Terry with a margin, generic-user mixing, centring, early stopping on users not trained on.

    loss = -log sigmoid(r(u, x, y+) - r(u, x, y-) - margin * gap)  +  pull * mean r^2

gap is the pair's difference in task score: a pair that is further apart has to be told apart by more. With probability
`generic` a case is scored under e_0 in the place of its user, which in expectation is P-RLHF's weighted sum of the two
losses at half its cost; it teaches e_0 what holds for everyone, and mirrored pairs teach it to say nothing about taste.
Pairs that share a question, a user and the better chain share their forwards (engine/prefix.py).
"""
from __future__ import annotations

import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..engine.model import load_training_state, save_training_state
from ..runs import drop_metrics, log_metrics, progress, read_json, seed_of, whole_file, write_json
from .model import PRMU
from .pairs import Pair, cases

PULL = 0.01  # Bradley-Terry fixes differences only; the pull keeps r centred, and sigmoid(r) away from its flat ends
WARMUP = 0.1  # of all steps; then cosine to a tenth


def train(prmu: PRMU, pairs: list[Pair], tune: list[Pair], seed: int, folder: Path) -> dict:
    """Trains to the end, or until `patience` checks brought nothing, and leaves the best parameters in. A run that was cut off
    goes on from its last check. {"steps": of all, "stopped_at", "untrained_loss", "tune_loss"}."""
    r, params, every, home = prmu.settings, prmu.trainable(), cases(pairs), folder / "prmu"
    optimizer = torch.optim.AdamW(params.values(), lr=r.lr, weight_decay=0.01)
    order = [c for epoch in range(r.epochs) for c in random.Random(seed_of(seed, "epoch", epoch)).sample(every, len(every))]
    batches, state = batched(order, r.batch), home / "state.safetensors"
    marks = {max(1, round(len(batches) * n / r.checks)) for n in range(1, r.checks + 1)}
    done = load_training_state(state, params, optimizer)
    tried = read_json(home / "tried.json")[:1 + sum(m <= done for m in marks)] if done else []  # a cut may lie between the two
    if not tried:  # what the match says before any training is the first to beat
        check(prmu, tune, tried, params, home)
    drop_metrics(folder, "reward", from_index=done)
    bar = progress(len(batches), "reward", "step")
    bar.update(done)
    prmu.model.train()
    while done < len(batches) and (len(tried) <= r.patience or min(tried[-r.patience:]) <= min(tried)):
        set_rate(optimizer, r.lr, (done + 1) / len(batches))
        stats = step(prmu, batches[done], optimizer, params, random.Random(seed_of(seed, "generic", done)))
        done += 1
        if done in marks:
            stats["tune_loss"] = check(prmu, tune, tried, params, home)
            save_training_state(state, done, params, optimizer)
        log_metrics(folder, "reward", index=done - 1, **stats)
        bar.set_postfix(accuracy=f"{stats['accuracy']:.2f}", refresh=False)
        bar.update()
    bar.close()
    prmu.model.eval()
    best = load_file(home / "best.safetensors")
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(best[n])
    return {"steps": len(batches), "stopped_at": done, "untrained_loss": tried[0], "tune_loss": min(tried)}


def check(prmu: PRMU, tune: list[Pair], tried: list[float], params: dict, home: Path) -> float:
    """The loss on users that are not trained on, appended to `tried`; the parameters are saved when none was lower."""
    prmu.model.eval()
    tried.append(tune_loss(prmu, tune))
    prmu.model.train()
    if tried[-1] == min(tried):
        with whole_file(home / "best.safetensors") as beside:
            save_file({n: p.detach().cpu().contiguous() for n, p in params.items()}, beside)
    write_json(home / "tried.json", tried)
    return tried[-1]


def set_rate(optimizer, lr: float, share: float) -> None:
    """Warm-up, then cosine to a tenth, at this share of all steps."""
    for group in optimizer.param_groups:
        group["lr"] = lr * min(share / WARMUP, 0.55 + 0.45 * math.cos(math.pi * share))


def batched(order: list[list[Pair]], size: int) -> list[list[list[Pair]]]:
    """Cases in optimiser steps of about `size` pairs."""
    found: list[list[list[Pair]]] = []
    room = 0
    for case in order:
        if room <= 0:
            found.append([])
            room = size
        found[-1].append(case)
        room -= len(case)
    return found


def step(prmu: PRMU, batch: list[list[Pair]], optimizer, params: dict, rng: random.Random) -> dict:
    """One optimiser step on the mean loss of the batch's pairs."""
    n, sums = sum(map(len, batch)), {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
    for case in batch:
        q, known = case[0].question, rng.random() >= prmu.settings.generic
        user = prmu.user(q) if known else prmu.users.nobody()
        leaf = user.detach().requires_grad_()  # it enters twice, as part of the prompt and in the match: its gradients meet here
        at = prmu.prefix(q, leaf, grad=True)
        scores = prmu.scores(at, encoded(prmu, case), leaf)
        loss = pair_loss(scores, case, prmu.settings.margin) + PULL * len(case) * (scores**2).mean()
        (loss / n).backward()
        at.backward()
        user.backward(leaf.grad)
        apart = (scores[0] - scores[1:]).detach()
        sums = {"loss": sums["loss"] + loss.item() / n, "accuracy": sums["accuracy"] + float((apart > 0).sum()) / n,
                "margin": sums["margin"] + float(apart.sum()) / n}
    torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {k: round(v, 5) for k, v in sums.items()}


def pair_loss(scores: Tensor, case: list[Pair], margin: float) -> Tensor:
    """Sum over a case's pairs; scores [1 + n]: the chosen chain's, then the rejected ones'."""
    gaps = torch.tensor([p.gap for p in case], device=scores.device)
    return -F.logsigmoid(scores[0] - scores[1:] - margin * gaps).sum()


@torch.no_grad()
def tune_loss(prmu: PRMU, pairs: list[Pair]) -> float:
    """Mean Bradley-Terry loss, without margin, on pairs of users who are not trained on."""
    total = sum(float(pair_loss(prmu.rate(case[0].question, encoded(prmu, case)), case, 0.0)) for case in cases(pairs))
    return round(total / len(pairs), 5)


def encoded(prmu: PRMU, case: list[Pair]) -> list[list[int]]:
    """The texts of a case as tokens: the chosen one, then the rejected ones."""
    return [prmu.encode(t) for t in (case[0].chosen, *(p.rejected for p in case))]
