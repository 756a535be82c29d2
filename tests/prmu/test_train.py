"""PRMU's training: the loss by hand, a rule that only the user decides is learned, a cut run goes on bit for
bit."""
import json
import math
import random

import pytest
import torch

from tagpr_lite.config import Reward
from tagpr_lite.prmu import train as training
from tagpr_lite.prmu.pairs import Pair, cases, make_pairs, tune_users
from tagpr_lite.prmu.train import batched, is_stalled, pair_loss, train, tune_loss
from tagpr_lite.runs import read_metrics


def test_the_loss_by_hand(questions):
    case = [Pair(questions[0], "a", "b", "other_user", gap, "template") for gap in (0.0, 0.5)]
    want = math.log(1 + math.exp(-(2.0 - 1.0))) + math.log(1 + math.exp(-(2.0 + 1.0 - 0.6 * 0.5)))
    assert float(pair_loss(torch.tensor([2.0, 1.0, -1.0]), case, 0.6)) == pytest.approx(want, abs=1e-6)


def some(questions, known, tasks=("LaMP_2",), most=16):
    kept, rules, cues = known
    tune = tune_users(questions, 0.3, 0)
    train_side = [q for q in questions if q.task.name in tasks and q.user not in tune]
    other = [q for q in questions if q.task.name in tasks and q.user in tune]
    only = lambda qs: [p for p in make_pairs(qs, kept, [], rules, cues, 0) if p.kind == "other_user"]
    return only(train_side)[:most], only(other)[:most]


SMALL = Reward(tokens=3, history=4, batch=4, epochs=2, lr=3e-3, checks=3)


def test_mirrored_pairs_are_learned_through_the_user_and_not_without(make, questions, known, tmp_path):
    """The same two chains, the other way round for another user: a blind model cannot get below log 2, ours
    must."""
    pairs, _ = some(questions, known, most=1000)
    twins = {(p.question.input, p.rejected, p.chosen): p for p in pairs}
    pairs = [x for p in pairs if not p.mirrored
             for x in (p, twins[p.question.input, p.chosen, p.rejected])][:8]
    losses = {}
    for users in ("own", "blind"):
        settings = Reward(tokens=3, history=4, batch=8, epochs=30, lr=3e-3, checks=1, margin=0.0, generic=0.0,
                          blind=users == "blind")
        prmu = make(settings, asked=[p.question for p in pairs])
        train(prmu, pairs, pairs, 0, tmp_path / users)
        losses[users] = tune_loss(prmu, pairs)
    assert losses["own"] < 0.35 < 0.6 < losses["blind"], losses


def test_a_cut_run_goes_on_bit_for_bit(make, questions, known, tmp_path, monkeypatch):
    pairs, tune = some(questions, known)
    asked = [p.question for p in pairs + tune]
    whole = make(SMALL, asked=asked)
    found = train(whole, pairs, tune, 0, tmp_path / "whole")
    real, count = training.step, [0]

    def cut(*args):
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return real(*args)
    monkeypatch.setattr(training, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        train(make(SMALL, asked=asked), pairs, tune, 0, tmp_path / "cut")
    monkeypatch.setattr(training, "step", real)
    again = make(SMALL, asked=asked)
    assert train(again, pairs, tune, 0, tmp_path / "cut") == found
    assert read_metrics(tmp_path / "cut", "reward") == read_metrics(tmp_path / "whole", "reward")
    for (n, a), (_, b) in zip(whole.trainable().items(), again.trainable().items()):
        assert torch.equal(a, b), n


def test_the_best_parameters_are_kept_and_training_stops(make, questions, known, tmp_path, monkeypatch):
    pairs, tune = some(questions, known)
    said = iter([0.8, 0.7, 0.5, 0.6, 0.65, 0.1])
    seen = []
    monkeypatch.setattr(training, "tune_loss", lambda prmu, _: seen.append(prmu.parts.head[2].weight.clone())
                        or next(said))
    prmu = make(Reward(tokens=3, history=4, batch=4, epochs=4, lr=3e-3, checks=5, patience=2),
                asked=[p.question for p in pairs + tune])
    found = train(prmu, pairs, tune, 0, tmp_path)
    assert found["untrained_loss"] == 0.8 and found["tune_loss"] == 0.5 and len(seen) == 5 and found["stopped_at"] < found["steps"]
    assert torch.equal(prmu.parts.head[2].weight, seen[2])
    assert json.loads((tmp_path / "prmu" / "tried.json").read_text()) == [0.8, 0.7, 0.5, 0.6, 0.65]


@pytest.mark.parametrize("patience, losses, stalled", [
    (2, [0.8, 0.5, 0.6], False), (2, [0.8, 0.5, 0.6, 0.7], True), (2, [0.8, 0.5, 0.6, 0.5], False),
    (1, [0.8], False), (1, [0.8, 0.9], True), (1, [0.8, 0.8], False),
    (0, [0.1, 0.5, 0.6, 0.7, 0.8, 0.9], False), (0, [0.8], False)])
def test_training_stops_after_so_many_checks_without_a_better_one_and_at_0_never(patience, losses, stalled):
    assert is_stalled(losses, patience) == stalled


def test_under_e0_nothing_reaches_the_history_encoder(make, questions, known):
    pairs, _ = some(questions, known)
    prmu = make(Reward(tokens=3, history=4, generic=1.0), asked=[p.question for p in pairs])
    params = prmu.trainable()
    training.step(prmu, [pairs[:1]], torch.optim.SGD(params.values(), lr=0.0), params, random.Random(0))
    seen = []
    optimizer = torch.optim.SGD(params.values(), lr=0.0)
    optimizer.register_step_pre_hook(lambda *_: seen.append({n for n, p in params.items()
                                                             if p.grad is not None and p.grad.any()}))
    training.step(prmu, [pairs[:1]], optimizer, params, random.Random(0))
    assert "users.generic" in seen[0] and not any(n.startswith(("users.write", "users.value", "users.gate"))
                                                  for n in seen[0])


def test_batches_have_about_as_many_pairs_as_asked(questions):
    pairs = [Pair(questions[n % 5], "a", str(n), "other_user", 0.0, "template") for n in range(40)]
    found = batched(cases(pairs), 6)
    assert sum(len(c) for b in found for c in b) == 40 and all(6 <= sum(map(len, b)) < 10 for b in found[:-1])
