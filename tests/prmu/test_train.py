"""PRMU's training: the loss by hand, a rule that only the user decides is learned, a cut run goes on bit for
bit."""
import json
import math
import random

import pytest
import torch
from small_memory import small_memory

from tagpr_lite.config import Reward, UserError
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.model import adapter_parameters
from tagpr_lite.prmu import train as training
from tagpr_lite.prmu.model import ADAPTER
from tagpr_lite.prmu.pair import Pair
from tagpr_lite.prmu.pairs import make_pairs
from tagpr_lite.prmu.selection import cases, tune_users
from tagpr_lite.prmu.train import batched, case_gradient, is_stalled, pair_loss, train, tune_loss
from tagpr_lite.runs import read_metrics


def test_the_loss_by_hand(questions):
    case = [Pair(questions[0], "a", "b", "other_user", gap, "template") for gap in (0.0, 0.5)]
    want = math.log(1 + math.exp(-(2.0 - 1.0))) + math.log(1 + math.exp(-(2.0 + 1.0 - 0.6 * 0.5)))
    assert float(pair_loss(torch.tensor([2.0, 1.0, -1.0]), case, 0.6)) == pytest.approx(want, abs=1e-6)


def some_pairs(questions, known, limit=16):
    """(pairs to train on, pairs of other users to tune on) of one task, which differ in the user alone."""
    kept, rules, cues = known
    tune = tune_users(questions, 0.3, 0)
    of_task = [question for question in questions if question.task.name == "LaMP_2"]

    def user_only(of_side):
        pairs = make_pairs(of_side, kept, [], rules, cues, 0)
        return [pair for pair in pairs if pair.kind == "other_user"][:limit]
    return (user_only([question for question in of_task if question.user not in tune]),
            user_only([question for question in of_task if question.user in tune]))


SMALL = Reward(tokens=3, history=4, batch=4, epochs=2, lr=3e-3, checks=3)


@pytest.mark.long
def test_mirrored_pairs_are_learned_through_the_user_and_not_without(make, questions, known, tmp_path):
    """The same two chains, with the preference reversed for another user: a blind model cannot get below
    log 2, a model that reads the user must."""
    all_pairs, _ = some_pairs(questions, known, limit=1000)
    reversed_pairs = {(pair.question.input, pair.rejected, pair.chosen): pair for pair in all_pairs}
    pairs = []
    for pair in all_pairs:
        if not pair.mirrored and len(pairs) < 8:
            pairs += [pair, reversed_pairs[pair.question.input, pair.chosen, pair.rejected]]
    losses = {}
    for users in ("own", "blind"):
        settings = Reward(tokens=3, history=4, batch=8, epochs=30, lr=3e-3, checks=1, margin=0.0, generic=0.0,
                          blind=users == "blind")
        prmu = make(settings, asked=[pair.question for pair in pairs])
        train(prmu, pairs, pairs, 0, tmp_path / users)
        losses[users] = tune_loss(prmu, pairs)
    assert losses["own"] < 0.35 < 0.6 < losses["blind"], losses


def test_a_cut_run_goes_on_bit_for_bit(make, questions, known, tmp_path, monkeypatch):
    pairs, tune = some_pairs(questions, known)
    asked = [pair.question for pair in pairs + tune]
    whole = make(SMALL, asked=asked)
    result = train(whole, pairs, tune, 0, tmp_path / "whole")
    real_step = training.optimizer_step
    steps = []

    def step_until_cut(*args):
        steps.append(args)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return real_step(*args)
    monkeypatch.setattr(training, "optimizer_step", step_until_cut)
    with pytest.raises(KeyboardInterrupt):
        train(make(SMALL, asked=asked), pairs, tune, 0, tmp_path / "cut")
    monkeypatch.setattr(training, "optimizer_step", real_step)
    resumed = make(SMALL, asked=asked)
    if torch.cuda.is_available():  # a card's kernels add in an order that changes from run to run
        assert train(resumed, pairs, tune, 0, tmp_path / "cut") == pytest.approx(result, rel=1e-2)
        return
    assert train(resumed, pairs, tune, 0, tmp_path / "cut") == result
    assert read_metrics(tmp_path / "cut", "reward") == read_metrics(tmp_path / "whole", "reward")
    want = whole.trainable()
    for name, param in resumed.trainable().items():
        assert torch.equal(param, want[name]), name


def test_the_best_parameters_are_kept_and_training_stops(make, questions, known, tmp_path, monkeypatch):
    pairs, tune = some_pairs(questions, known)
    losses = [0.8, 0.7, 0.5, 0.6, 0.65, 0.1]
    weights = []  # at every check

    def given_loss(prmu, _):
        weights.append(prmu.parts.head[2].weight.clone())
        return losses[len(weights) - 1]
    monkeypatch.setattr(training, "tune_loss", given_loss)
    prmu = make(Reward(tokens=3, history=4, batch=4, epochs=4, lr=3e-3, checks=5, patience=2),
                asked=[pair.question for pair in pairs + tune])
    result = train(prmu, pairs, tune, 0, tmp_path)
    assert result["untrained_loss"] == 0.8 and result["tune_loss"] == 0.5
    assert len(weights) == 5 and result["stopped_at"] < result["steps"]
    assert torch.equal(prmu.parts.head[2].weight, weights[2])
    assert json.loads((tmp_path / "prmu" / "tried.json").read_text()) == [0.8, 0.7, 0.5, 0.6, 0.65]


@pytest.mark.parametrize("patience, losses, stalled", [
    (2, [0.8, 0.5, 0.6], False), (2, [0.8, 0.5, 0.6, 0.7], True), (2, [0.8, 0.5, 0.6, 0.5], False),
    (1, [0.8], False), (1, [0.8, 0.9], True), (1, [0.8, 0.8], False),
    (0, [0.1, 0.5, 0.6, 0.7, 0.8, 0.9], False), (0, [0.8], False)])
def test_training_stops_after_so_many_checks_without_a_better_one_and_at_0_never(patience, losses, stalled):
    assert is_stalled(losses, patience) == stalled


def test_under_e0_nothing_reaches_the_history_encoder(make, questions, known):
    pairs, _ = some_pairs(questions, known)
    prmu = make(Reward(tokens=3, history=4, generic=1.0), asked=[pair.question for pair in pairs])
    params = prmu.trainable()
    reached = set()

    def note_gradients(*_):
        reached.update(name for name, param in params.items() if param.grad is not None and param.grad.any())
    optimizer = torch.optim.SGD(params.values(), lr=0.0)
    optimizer.register_step_pre_hook(note_gradients)
    training.optimizer_step(prmu, [pairs[:1]], optimizer, params, random.Random(0), BatchLimit("", "", 2))
    assert "users.generic" in reached
    assert not any(name.startswith(("users.write", "users.value", "users.gate")) for name in reached)


def test_batches_have_about_as_many_pairs_as_asked(questions):
    pairs = [Pair(questions[n % 5], "a", str(n), "other_user", 0.0, "template") for n in range(40)]
    sizes = [sum(len(case) for case in batch) for batch in batched(cases(pairs), 6)]
    assert sum(sizes) == 40 and all(6 <= size < 10 for size in sizes[:-1])


# ---------------------------------------------------------------- memory

def one_case(make, questions):
    """(PRMU whose parts are not at 0, a case of four chains of other lengths)."""
    prmu = make(Reward(tokens=3, history=4, margin=0.3))
    for layer in (prmu.parts.users.write[2], prmu.parts.say[2]):
        torch.nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    prmu.parts.head[2].weight.data *= 0.1  # scores near 0: a steep loss would show the rounding of fp32
    for param in adapter_parameters(prmu.model, ADAPTER).values():
        torch.nn.init.normal_(param, std=0.05, generator=torch.Generator().manual_seed(1))
    texts = ["<think>a short one</think>\n3", "<think>one that is longer by some words</think>\n4", "5"]
    return prmu, [Pair(questions[0], "<think>the chosen one</think>\n2", text, "other_user", gap, "template")
                  for text, gap in zip(texts, (0.0, 0.5, 1.0), strict=True)]


def gradient(prmu):
    """{name: gradient}, which is taken away."""
    grads = {name: param.grad for name, param in prmu.trainable().items() if param.grad is not None}
    for param in prmu.trainable().values():
        param.grad = None
    return grads


def difference(ours, theirs):
    """The norm of the difference of two gradients, as a share of the gradient's norm."""
    assert ours.keys() == theirs.keys() and len(ours) > 10
    norm = torch.stack([grad.norm() for grad in theirs.values()]).norm()
    return float(torch.stack([(ours[name] - theirs[name]).norm() for name in theirs]).norm() / norm)


@pytest.mark.parametrize("own_user, blind", [(True, False), (False, False), (True, True)])
def test_the_gradient_does_not_depend_on_the_micro_batch(make, questions, own_user, blind):
    """Two passes, which couple all chains, against one with all of them in it."""
    prmu, case = one_case(make, questions)
    prmu.settings.blind = blind
    prmu.train()
    loss, scores = case_gradient(prmu, case, own_user, 5, micro=4)
    want = gradient(prmu)
    for micro in (1, 2, 3, 8):
        part_loss, part_scores = case_gradient(prmu, case, own_user, 5, micro)
        assert part_scores.tolist() == pytest.approx(scores.tolist(), rel=1e-5, abs=1e-5)
        assert float(part_loss) == pytest.approx(float(loss), rel=1e-5)
        assert difference(gradient(prmu), want) <= 2e-6
        assert part_loss.requires_grad is part_scores.requires_grad is False
    assert want["users.generic"].any() and not loss.requires_grad and not scores.requires_grad
    own_score, = prmu.scores(prmu.shared_prompt(questions[0], prmu.generic_user()), [[5, 6]],
                             prmu.generic_user())
    assert prmu.scores(prmu.shared_prompt(questions[0], prmu.generic_user()), [[5, 6]], None) == own_score


def step_gradient(prmu, batch, together):
    """What one optimiser step would step on."""
    params, grads = prmu.trainable(), {}
    optimizer = torch.optim.SGD(params.values(), lr=0.0)
    optimizer.register_step_pre_hook(lambda *_: grads.update(
        {name: param.grad.clone() for name, param in params.items() if param.grad is not None}))
    prmu.train()
    stats = training.optimizer_step(prmu, batch, optimizer, params, random.Random(4), together)
    return grads, stats


def test_out_of_memory_gives_the_same_step_and_is_remembered(make, questions, tmp_path, capsys):
    """In the last case of the batch, when the gradient of its first two chains is there already. The user of
    each case is drawn once, whatever memory does: with this seed the last case's is its own."""
    prmu, case = one_case(make, questions)
    prmu.settings.generic = 0.3
    draws = random.Random(4)
    assert [draws.random() >= 0.3 for _ in range(3)] == [False, False, True]
    batch = [case, case[:2], case]
    want, want_stats = step_gradient(prmu, batch, BatchLimit("", "", 2))
    limit = training.chain_limit(case, 2, tmp_path)
    # By two, 4 chains are two forwards for their scores and two with a graph, 3 are one and one.
    with small_memory(rows=1, spared=9) as tried:
        got, stats = step_gradient(prmu, batch, limit)
    assert tried == [2] * 10 and stats == pytest.approx(want_stats, abs=2e-5)
    assert difference(got, want) <= 2e-6
    assert capsys.readouterr().out == "  out of memory: from now on 1 chains at a time (reward.micro)\n"
    assert training.chain_limit(case, 2, tmp_path).size == 1
    assert training.chain_limit(case, 0, tmp_path).size == 4  # another plan
    with small_memory(rows=0), pytest.raises(UserError, match="(reward.micro).*lower prompt.max_tokens"):
        step_gradient(prmu, batch, limit)


def test_rating_goes_on_with_what_fits(make, questions, tmp_path, capsys):
    prmu, case = one_case(make, questions)
    want = tune_loss(prmu, case)
    with small_memory(rows=2) as tried:
        assert tune_loss(prmu, case) == pytest.approx(want, abs=2e-5)
        assert tune_loss(prmu, case) == pytest.approx(want, abs=2e-5)
    assert tried == [4] and capsys.readouterr().out.count("from now on 2 chains at a time") == 1
    with small_memory(rows=0), pytest.raises(UserError, match="lower prompt.max_tokens"):
        tune_loss(prmu, case)
