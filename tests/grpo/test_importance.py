"""Truncated importance weights against a slow, obvious computation, token by token."""
import json
import math

import pytest
import torch

from tagpr_lite.grpo.importance import Mismatch, figures, weigh

CAP = 1.5
TRAINER = [[-0.5, -1.0, -2.0], [-0.1, -3.0, 0.0]]
SAMPLER = [[-0.5, -1.2, -3.0], [-0.4, -1.0, 0.0]]
LENGTHS = [3, 2]


def tensors():
    mask = torch.arange(3)[None] < torch.tensor(LENGTHS)[:, None]
    return torch.tensor(TRAINER, requires_grad=True), torch.tensor(SAMPLER), mask


def slow_ratios():
    """[tokens] p / q of every real token."""
    return [math.exp(TRAINER[row][t]) / math.exp(SAMPLER[row][t])
            for row in range(2) for t in range(LENGTHS[row])]


def test_a_weight_is_the_ratio_of_the_probabilities_up_to_the_cap():
    logps, sampler_logps, mask = tensors()
    old_logps, weights = Mismatch(CAP).weigh(logps, sampler_logps, mask)
    ratios = slow_ratios()
    assert any(ratio > CAP for ratio in ratios) and any(ratio < 1 for ratio in ratios)
    assert weights[mask].tolist() == pytest.approx([min(ratio, CAP) for ratio in ratios])
    assert weights[~mask].tolist() == [1.0]
    assert torch.equal(old_logps, logps) and not old_logps.requires_grad and not weights.requires_grad


def test_what_is_reported_is_of_all_tokens_of_the_step():
    logps, sampler_logps, mask = tensors()
    one, two = Mismatch(CAP), Mismatch(CAP)
    one.weigh(logps[:1], sampler_logps[:1], mask[:1])
    two.weigh(logps[1:], sampler_logps[1:], mask[1:])
    ratios = slow_ratios()
    gaps = [abs(math.log(ratio)) for ratio in ratios]
    found = figures([one, None, two, Mismatch(CAP)])["importance"]
    assert found == {"mean": pytest.approx(sum(min(ratio, CAP) for ratio in ratios) / 5, abs=1e-5),
                     "max": pytest.approx(max(ratios), abs=1e-5),
                     "truncated": sum(ratio > CAP for ratio in ratios) / 5,
                     "difference": pytest.approx(sum(gaps) / 5, abs=1e-5)}
    both = Mismatch(CAP)
    both.weigh(logps, sampler_logps, mask)
    assert figures([both])["importance"] == pytest.approx(found, abs=2e-6)


def test_an_update_that_begins_again_counts_once():
    mismatch = Mismatch(CAP)
    for _ in range(2):
        mismatch.begin()
        mismatch.weigh(*tensors())
    assert mismatch.tokens == 5


def test_a_token_that_the_server_thought_impossible_has_the_cap():
    """vLLM says -9999 for minus infinity."""
    mismatch = Mismatch(CAP)
    _, weights = mismatch.weigh(torch.tensor([[-1.0]]), torch.tensor([[-9999.0]]), torch.tensor([[True]]))
    assert weights.item() == CAP
    assert json.loads(json.dumps(figures([mismatch]), allow_nan=False))["importance"]["max"] == 1e9


def test_where_the_engine_here_samples_its_log_probs_are_the_old_ones():
    logps, sampler_logps, mask = tensors()
    old_logps, weights = weigh(None, logps, sampler_logps, mask)
    assert torch.equal(old_logps, sampler_logps) and bool((weights == 1).all())
    assert figures([None, Mismatch(CAP)]) == {}
