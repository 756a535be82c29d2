"""PRMU's training: Bradley-Terry with a margin, generic-user mixing, centring, early stopping on users not
trained on.

    loss = -log sigmoid(r(u, x, y+) - r(u, x, y-) - margin * gap)  +  pull * mean r^2

gap is the pair's difference in task score: a pair that is further apart has to be told apart by more. With
probability `generic` a case is scored under e_0 in the place of its user, which in expectation is P-RLHF's
weighted sum of the two losses at half its cost; it teaches e_0 what holds for everyone, and mirrored pairs
teach it to say nothing about taste. Pairs that share a question, a user and the better chain share their
forwards (engine/prefix.py).
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
from .pairs import Pair, cases, shuffled

PULL = 0.01  # Bradley-Terry fixes differences only; the pull keeps r centred, and sigmoid(r) away from its flat ends
WARMUP = 0.1  # of all steps; then cosine to a tenth


def train(prmu: PRMU, pairs: list[Pair], tune: list[Pair], seed: int, folder: Path) -> dict:
    """Trains to the end, or until `patience` checks brought nothing, and leaves the best parameters in. A run
    that was cut off goes on from its last check. {"steps": of all, "stopped_at", "untrained_loss",
    "tune_loss"}."""
    settings, params, home = prmu.settings, prmu.trainable(), folder / "prmu"
    optimizer = torch.optim.AdamW(params.values(), lr=settings.lr, weight_decay=0.01)

    # Every epoch's order is laid out beforehand, so that a resumed run only has to count.
    order: list[list[Pair]] = []
    for epoch in range(settings.epochs):
        order += shuffled(cases(pairs), random.Random(seed_of(seed, "epoch", epoch)))
    batches = batched(order, settings.batch)
    checked_after = {max(1, round(len(batches) * n / settings.checks)) for n in range(1, settings.checks + 1)}

    # Where a cut run goes on. A cut may lie between the two files, so the losses count as far as the steps
    # do.
    state = home / "state.safetensors"
    done, _ = load_training_state(state, params, optimizer)
    checks_done = 1 + sum(step <= done for step in checked_after)
    tune_losses = read_json(home / "tried.json")[:checks_done] if done else []
    if not tune_losses:  # what the match says before any training is the first to beat
        check(prmu, tune, tune_losses, params, home)
    drop_metrics(folder, "reward", from_index=done)

    bar = progress(len(batches), "reward", "step")
    bar.update(done)
    prmu.train()
    while done < len(batches) and not is_stalled(tune_losses, settings.patience):
        set_rate(optimizer, settings.lr, (done + 1) / len(batches))
        stats = step(prmu, batches[done], optimizer, params, random.Random(seed_of(seed, "generic", done)))
        done += 1
        if done in checked_after:
            stats["tune_loss"] = check(prmu, tune, tune_losses, params, home)
            save_training_state(state, done, params, optimizer)
        log_metrics(folder, "reward", index=done - 1, **stats)
        bar.set_postfix(accuracy=f"{stats['accuracy']:.2f}", refresh=False)
        bar.update()
    bar.close()
    prmu.eval()
    best = load_file(home / "best.safetensors")
    with torch.no_grad():
        for name, p in params.items():
            p.copy_(best[name])
    return {"steps": len(batches), "stopped_at": done, "untrained_loss": tune_losses[0],
            "tune_loss": min(tune_losses)}


def is_stalled(losses: list[float], patience: int) -> bool:
    """Whether the last `patience` losses are all worse than the best one before them; patience 0: never."""
    if patience == 0 or len(losses) <= patience:
        return False
    return min(losses[-patience:]) > min(losses)


def check(prmu: PRMU, tune: list[Pair], tune_losses: list[float], params: dict, home: Path) -> float:
    """The loss on users that are not trained on, appended to `tune_losses`; the parameters are saved when
    none was lower."""
    prmu.eval()
    tune_losses.append(tune_loss(prmu, tune))
    prmu.train()
    if tune_losses[-1] == min(tune_losses):
        with whole_file(home / "best.safetensors") as beside:
            save_file({name: p.detach().cpu().contiguous() for name, p in params.items()}, beside)
    write_json(home / "tried.json", tune_losses)
    return tune_losses[-1]


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
    pairs = sum(len(case) for case in batch)
    sums = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
    for case in batch:
        question = case[0].question
        as_themselves = rng.random() >= prmu.settings.generic
        user = prmu.user(question) if as_themselves else prmu.generic_user()  # [t, H]
        # The user enters twice, in the prompt and in the match: the gradients of both meet in one leaf.
        user_leaf = user.detach().requires_grad_()
        shared_prompt = prmu.shared_prompt(question, user_leaf, grad=True)
        scores = prmu.scores(shared_prompt, encoded(prmu, case), user_leaf)  # [1 + rejected chains]
        pull = PULL * len(case) * (scores**2).mean()
        loss = pair_loss(scores, case, prmu.settings.margin) + pull
        (loss / pairs).backward()
        shared_prompt.backward()
        user.backward(user_leaf.grad)
        margins = (scores[0] - scores[1:]).detach()  # above 0: told apart
        sums["loss"] += loss.item() / pairs
        sums["accuracy"] += float((margins > 0).sum()) / pairs
        sums["margin"] += float(margins.sum()) / pairs
    torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name: round(value, 5) for name, value in sums.items()}


def pair_loss(scores: Tensor, case: list[Pair], margin: float) -> Tensor:
    """Sum over a case's pairs; scores [1 + n]: the chosen chain's, then the rejected ones'."""
    gaps = torch.tensor([p.gap for p in case], device=scores.device)
    return -F.logsigmoid(scores[0] - scores[1:] - margin * gaps).sum()


@torch.no_grad()
def tune_loss(prmu: PRMU, pairs: list[Pair]) -> float:
    """Mean Bradley-Terry loss, without margin, on pairs of users who are not trained on."""
    total = sum(float(pair_loss(prmu.rate(case[0].question, encoded(prmu, case)), case, 0.0))
                for case in cases(pairs))
    return round(total / len(pairs), 5)


def encoded(prmu: PRMU, case: list[Pair]) -> list[list[int]]:
    """The texts of a case as tokens: the chosen one, then the rejected ones."""
    return [prmu.encode(t) for t in (case[0].chosen, *(p.rejected for p in case))]
