"""PRMU's training: Bradley-Terry with a margin, generic-user mixing, centring, and early stopping on users
that are not trained on.

    loss = -log sigmoid(r(u, x, y+) - r(u, x, y-) - margin * gap)  +  CENTRING * mean r^2

gap is the pair's difference in task reward: the further apart two answers are, the further apart their scores
must be. With probability `generic` a case is scored under e_0 in the place of its user. In expectation this
is P-RLHF's weighted sum of the two losses, at half its cost. It teaches e_0 what holds for every user;
mirrored pairs teach e_0 to have no taste of its own. Pairs that share a question, a user and the chosen chain
are a case, and share their forwards (engine/prefix.py).

A case's loss couples the scores of all its chains. Where these do not fit into memory together, its gradient
is made in two passes, exactly, as GradCache does (arXiv 2101.06983): the scores without a graph; the gradient
of the loss with respect to the scores; then every micro-batch again, with a graph, sent back with its part of
that gradient.
"""
from __future__ import annotations

import math
import random
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import UserError
from ..engine.finite import FiniteSteps, fault_of_gradient
from ..engine.memory import BatchLimit, keep_gradient
from ..engine.model import load_training_state, save_training_state
from ..engine.prefix import SharedPrefix
from ..engine.reduce import require_equal, sum_gradients, sum_reports
from ..engine.state import read_checked, save_checked
from ..runs import (
    drop_metrics,
    finishing_steps,
    log_metrics,
    progress,
    read_json,
    require_finite_number,
    seed_of,
    whole_file,
    write_json,
)
from ..runs.processes import all_of, gathered, part_of
from .model import PRMU
from .pair import Pair
from .selection import cases, shuffled

CENTRING = 0.01  # Bradley-Terry fixes differences only: this keeps r near 0, where sigmoid(r) is not flat
AGAIN = "remove the folder {}, and the same command trains PRMU again"
WARM_UP = 0.1  # share of all steps; then cosine to a tenth


def train(prmu: PRMU, pairs: list[Pair], tune_pairs: list[Pair], seed: int, folder: Path) -> dict:
    """Trains to the end, or until `patience` checks in a row brought nothing; leaves the best parameters in.

    A run that was cut off goes on from its last check. Returns {"steps": planned, "stopped_at": steps done,
    "untrained_loss", "tune_loss": the best}.
    """
    settings = prmu.settings
    params = prmu.trainable()
    home = folder / "prmu"
    optimizer = torch.optim.AdamW(params.values(), lr=settings.lr, weight_decay=0.01)
    batches = planned_batches(pairs, settings.epochs, settings.batch, seed)
    check_steps = {max(1, round(len(batches) * check / settings.checks))
                   for check in range(1, settings.checks + 1)}  # 12 steps and 3 checks: {4, 8, 12}

    together = chain_limit(pairs, settings.micro, folder)
    finite_steps = FiniteSteps("reward", "lower reward.lr")

    # Where a cut run goes on. A cut may lie between the writing of the two files: the losses count as far as
    # the steps do, one before training and one a check.
    state_file = home / "state.safetensors"
    done, _, _ = load_training_state(state_file, params, optimizer)
    checks_done = 1 + sum(step <= done for step in check_steps)
    tune_losses = losses_so_far(home)[:checks_done] if done else []
    if not tune_losses:  # the untrained model, whose match is right about most users, is the first to beat
        check_tune_loss(prmu, tune_pairs, tune_losses, params, home)
    drop_metrics(folder, "reward", from_index=done)

    bar = progress(len(batches), "reward", "step")
    bar.update(done)
    prmu.train()
    with finishing_steps() as stop:
        while done < len(batches) and not is_stalled(tune_losses, settings.patience):
            set_learning_rate(optimizer, settings.lr, (done + 1) / len(batches))
            rng = random.Random(seed_of(seed, "generic", done))
            stats = optimizer_step(prmu, batches[done], optimizer, params, rng, together)
            finite_steps.see(stats.pop("fault", ""))
            done += 1
            if done in check_steps:
                stats["tune_loss"] = check_tune_loss(prmu, tune_pairs, tune_losses, params, home)
            # Logged before it is saved: a run that is cut in between writes the line again.
            log_metrics(folder, "reward", index=done - 1, **stats)
            stop.agree()
            if done in check_steps or stop.asked:
                require_equal(params, f"reward, step {done}")
                save_training_state(state_file, done, params, optimizer)
            bar.set_postfix(accuracy=f"{stats.get('accuracy', 0):.2f}", refresh=False)
            bar.update()
            stop.now()
    bar.close()
    prmu.eval()
    restore_best(params, home)
    return {"steps": len(batches), "stopped_at": done, "untrained_loss": tune_losses[0],
            "tune_loss": min(tune_losses)}


# ---------------------------------------------------------------- schedule

def planned_batches(pairs: list[Pair], epochs: int, size: int, seed: int) -> list[list[list[Pair]]]:
    """The cases of every optimiser step of all epochs. They are laid out before training, so that a resumed
    run only has to count."""
    order: list[list[Pair]] = []
    for epoch in range(epochs):
        order += shuffled(cases(pairs), random.Random(seed_of(seed, "epoch", epoch)))
    return batched(order, size)


def batched(order: list[list[Pair]], size: int) -> list[list[list[Pair]]]:
    """Cases in batches of at least `size` pairs; the last one may have fewer.

    A case is never divided: cases of 3, 1, 4 and 2 pairs in batches of 4 are [3, 1], [4], [2].
    """
    batches: list[list[list[Pair]]] = []
    missing = 0  # pairs until the last batch is full
    for case in order:
        if missing <= 0:
            batches.append([])
            missing = size
        batches[-1].append(case)
        missing -= len(case)
    return batches


def set_learning_rate(optimizer, lr: float, share: float) -> None:
    """lr * min(share / WARM_UP, 0.55 + 0.45 cos(pi share)), at this share of all steps, in (0, 1]."""
    for param_group in optimizer.param_groups:
        param_group["lr"] = lr * min(share / WARM_UP, 0.55 + 0.45 * math.cos(math.pi * share))


# ---------------------------------------------------------------- early stopping

def is_stalled(losses: list[float], patience: int) -> bool:
    """Whether the last `patience` losses are all worse than the best one before them; patience 0: never."""
    if patience == 0 or len(losses) <= patience:
        return False
    return min(losses[-patience:]) > min(losses)


def losses_so_far(home: Path) -> list[float]:
    """The losses of all checks. UserError: their file was damaged."""
    try:
        losses = read_json(home / "tried.json")
        if not isinstance(losses, list) or not all(isinstance(loss, float) for loss in losses):
            raise UserError(f"{home / 'tried.json'} is no list of losses")
    except UserError as error:
        raise UserError(f"{error}: {AGAIN.format(home)}") from None
    return losses


def check_tune_loss(prmu: PRMU, tune_pairs: list[Pair], tune_losses: list[float], params: dict[str, Tensor],
                    home: Path) -> float:
    """The loss on the tuning users, appended to `tune_losses`; the parameters are saved if none was lower."""
    prmu.eval()
    loss = tune_loss(prmu, tune_pairs)
    tune_losses.append(require_finite_number(loss, "reward: the loss of tuning users", "lower reward.lr"))
    prmu.train()
    if tune_losses[-1] == min(tune_losses):
        with whole_file(home / "best.safetensors") as beside:
            save_checked(beside, params)
    write_json(home / "tried.json", tune_losses)
    return tune_losses[-1]


@torch.no_grad()
def restore_best(params: dict[str, Tensor], home: Path) -> None:
    """Copies the parameters of the best check into the model. UserError: their file was damaged."""
    try:
        best, _ = read_checked(home / "best.safetensors")
    except ValueError as error:
        file = home / "best.safetensors"
        raise UserError(f"{file} cannot be used ({error}): {AGAIN.format(home)}") from None
    for name, param in params.items():
        param.copy_(best[name])


@torch.no_grad()
def tune_loss(prmu: PRMU, pairs: list[Pair]) -> float:
    """Mean Bradley-Terry loss, without margin, on pairs of users who are not trained on."""
    losses = []
    for case in part_of(cases(pairs)):
        scores = prmu.rate(case[0].question, encode_case(prmu, case))  # [1 + rejected chains]
        losses.append(float(pair_loss(scores, case, 0.0)))
    return round(sum(gathered(losses)) / len(pairs), 5)


# ---------------------------------------------------------------- one optimiser step

def chain_limit(pairs: list[Pair], micro: int, folder: Path | None) -> BatchLimit:
    """Chains in one forward with gradients: `reward.micro`, or all of the largest case."""
    largest = max(1 + len(case) for case in cases(pairs))
    return BatchLimit("reward.micro", "chains", min(micro or largest, largest), folder,
                      "lower prompt.max_tokens, or use a smaller model")


def optimizer_step(prmu: PRMU, batch: list[list[Pair]], optimizer, params: dict[str, Tensor],
                   rng: random.Random, together: BatchLimit) -> dict:
    """One optimiser step on the mean loss of the batch's pairs. Returns the means over these pairs, {"loss",
    "accuracy", "margin"}. Cases whose gradient is not finite are left out, and counted as "skipped". Where
    none is left, no step is taken, and "fault" says what was not finite."""
    pair_count = sum(len(case) for case in batch)
    # Drawn once, whatever memory does, and for all cases, whoever computes them.
    draws = [(case, rng.random() >= prmu.settings.generic) for case in batch]
    sums = {"loss": 0.0, "accuracy": 0.0, "margin": 0.0}
    fault, skipped = "", 0
    for case, under_own_user in part_of(draws):
        put_back = keep_gradient(params.values())
        loss, scores = together.attempt(partial(case_gradient, prmu, case, under_own_user, pair_count),
                                        present=1 + len(case), undo=put_back)
        fault_of_case = fault_of_gradient(loss.item(), params.values())
        if fault_of_case:
            put_back()
            fault, skipped = fault_of_case, skipped + 1
            continue
        margins = scores[0] - scores[1:]  # [rejected chains]; above 0: told apart
        sums["loss"] += loss.item() / pair_count
        sums["accuracy"] += float((margins > 0).sum()) / pair_count
        sums["margin"] += float(margins.sum()) / pair_count
    sum_gradients(params.values())
    sums, fault, skipped = sum_reports(all_of((sums, fault, skipped)))
    if skipped == len(batch):
        optimizer.zero_grad(set_to_none=True)
        return {"skipped": skipped, "fault": fault}
    torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    means = {name: round(value, 5) for name, value in sums.items()}
    return means | {"skipped": skipped} if skipped else means


def case_gradient(prmu: PRMU, case: list[Pair], under_own_user: bool, pair_count: int,
                  micro: int) -> tuple[Tensor, Tensor]:
    """Adds the gradient of the case's loss / pair_count, `micro` chains in one forward; returns the case's
    loss and its scores [1 + n], detached."""
    question = case[0].question
    chains = encode_case(prmu, case)  # [1 + n][R]
    user = prmu.user(question) if under_own_user else prmu.generic_user()  # [t, H]
    # The user enters twice, in the prompt and in the match: the gradients of both meet in one leaf.
    user_leaf = user.detach().requires_grad_()
    shared_prompt = prmu.shared_prompt(question, user_leaf, grad=True)

    # Backward in three parts: the chains, then their prompt, then the user encoder. Under e_0 the match is 0
    # and so is its gradient: a cosine with the vector 0 would give rounding instead.
    matched_user = user_leaf if under_own_user and not prmu.settings.blind else None
    backward = chains_backward if micro >= len(chains) else partial(chains_backward_in_parts, micro=micro)
    loss, scores = backward(prmu, shared_prompt, chains, matched_user, case, pair_count)
    shared_prompt.backward()
    user.backward(user_leaf.grad)
    return loss, scores


def chains_backward(prmu: PRMU, shared_prompt: SharedPrefix, chains: list[list[int]],
                    matched_user: Tensor | None, case: list[Pair], pair_count: int) -> tuple[Tensor, Tensor]:
    """Forward and backward of all chains together; (loss, scores [1 + n]), detached. A function of its own,
    so that nothing of the graph, which holds the prompt's keys and values, outlives it."""
    scores = prmu.scores(shared_prompt, chains, matched_user)
    loss = case_loss(prmu, scores, case)
    (loss / pair_count).backward()
    return loss.detach(), scores.detach()


def chains_backward_in_parts(prmu: PRMU, shared_prompt: SharedPrefix, chains: list[list[int]],
                             matched_user: Tensor | None, case: list[Pair], pair_count: int,
                             micro: int) -> tuple[Tensor, Tensor]:
    """The same with `micro` chains in one forward: first all scores and the loss's gradient with respect to
    them, then the chains again, part by part, from that gradient."""
    with torch.no_grad():
        scores = prmu.rate_after(shared_prompt, chains, matched_user, micro)
    loss = case_loss(prmu, scores.requires_grad_(), case)
    (loss / pair_count).backward()  # it ends at the scores
    for first in range(0, len(chains), micro):
        part = slice(first, first + micro)
        prmu.scores(shared_prompt, chains[part], matched_user).backward(scores.grad[part])
    return loss.detach(), scores.detach()


def case_loss(prmu: PRMU, scores: Tensor, case: list[Pair]) -> Tensor:
    """The loss of a case from its scores [1 + n]: of its pairs, and of centring."""
    centring = CENTRING * len(case) * (scores**2).mean()
    return pair_loss(scores, case, prmu.settings.margin) + centring


def pair_loss(scores: Tensor, case: list[Pair], margin: float) -> Tensor:
    """Sum over the n pairs of a case of -log sigmoid(r+ - r- - margin * gap).

    scores [1 + n]: r+ of the chosen chain, then r- of every rejected one.
    """
    gaps = torch.tensor([pair.gap for pair in case], device=scores.device)  # [n]
    return -F.logsigmoid(scores[0] - scores[1:] - margin * gaps).sum()


def encode_case(prmu: PRMU, case: list[Pair]) -> list[list[int]]:
    """The texts of a case as tokens [1 + n][R]: the chosen chain, then the rejected ones."""
    texts = [case[0].chosen]
    texts += [pair.rejected for pair in case]
    return [prmu.encode(text) for text in texts]
