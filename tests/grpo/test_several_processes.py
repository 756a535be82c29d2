"""Two and three processes take the steps that one takes: gradients, ten steps, faults, groups without
signal."""
import torch

from tagpr_lite.config import GRPO
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo import losses
from tagpr_lite.grpo.groups import Group
from tagpr_lite.grpo.update import completion_limit, optimizer_step
from tests.engine.test_prefix import build
from tests.helpers.processes import apart, in_processes

SETTINGS = {"beta": 0.0, "micro": 3, "group": 4}


def drawn_group(seed, has_signal=True, broken=False):
    """Four completions of one prompt of random tokens. broken: its gradient is no number."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda length: torch.randint(1, 128, (length,), generator=g).tolist()
    lengths = torch.randint(3, 20, (4,), generator=g).tolist()
    samples = [Sample(draw(n), [float("nan") if broken else -4.8] * n, True) for n in lengths]
    rewards = torch.rand(4, generator=g) if has_signal else torch.ones(4)
    return Group(None, draw(15 + seed % 7), samples, rewards=rewards,
                 advantages=losses.advantages(rewards[None], 0.05)[0])


def plain(step):
    """Five groups, which two processes cannot divide evenly."""
    return [drawn_group(10 * step + n) for n in range(5)]


def sparse(step):
    """A step without signal, one with a single group that has signal, and steps with two."""
    return [drawn_group(10 * step + n, has_signal=n < step % 3) for n in range(4)]


def broken(step):
    """One group's gradient is no number; in the second step every group's."""
    return [drawn_group(10 * step + n, broken=n == 1 or step == 1) for n in range(3)]


def trained(steps, groups_of_step, optimizer):
    """(the adapter's parameters after the steps, what each step reported)."""
    model = build("llama")
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = optimizer(params.values(), lr=1.0 if optimizer is torch.optim.SGD else 1e-3)
    g = GRPO(**SETTINGS)
    together = completion_limit(g)
    reports = [optimizer_step(g, model, groups_of_step(step), optimizer, params, together)
               for step in range(steps)]
    return {name: p.detach() for name, p in params.items()}, reports


def untrained():
    return trained(0, plain, torch.optim.SGD)[0]


def check(steps, groups_of_step, optimizer, count, bound):
    """The steps of one process and of several are the same; returns the reports."""
    alone, reports = trained(steps, groups_of_step, optimizer)
    several = in_processes(count, trained, steps, groups_of_step, optimizer)
    for params, told in several:
        assert all(torch.equal(params[name], several[0][0][name]) for name in params)  # to the last bit
        assert apart(alone, params) <= bound
        assert told == several[0][1] and len(told) == len(reports)
        for mine, theirs in zip(told, reports, strict=True):
            assert mine.keys() == theirs.keys()
            assert all(mine[name] == theirs[name] or abs(mine[name] - theirs[name]) <= 2e-5 * max(
                1.0, abs(theirs[name])) for name in mine)
    return reports


def test_one_step_moves_along_the_same_gradient():
    """Plain gradient descent with rate 1: what the parameters move by is the clipped gradient."""
    start = untrained()
    alone, _ = trained(1, plain, torch.optim.SGD)
    moved = {name: alone[name] - start[name] for name in alone}
    for count in (2, 3):
        several, _ = in_processes(count, trained, 1, plain, torch.optim.SGD)[0]
        assert apart(moved, {name: several[name] - start[name] for name in several}) <= 1e-5


def test_ten_steps_end_at_the_same_adapter():
    reports = check(10, plain, torch.optim.AdamW, 2, 1e-5)
    assert all(report["grad_norm"] > 0 for report in reports)


def test_groups_without_signal_leave_a_process_idle():
    reports = check(4, sparse, torch.optim.AdamW, 2, 1e-5)
    assert [report["grad_norm"] > 0 for report in reports] == [False, True, True, False]


def test_a_group_whose_gradient_is_no_number_is_skipped_once():
    reports = check(3, broken, torch.optim.AdamW, 2, 1e-5)
    assert [report["skipped"] for report in reports] == [1, 3, 1]
    assert ["fault" in report for report in reports] == [False, True, False]
