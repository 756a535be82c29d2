"""The GRPO loop on the tiny model: what a step computes, and that nothing about how it is cut up changes
it."""
import weakref
from dataclasses import replace

import pytest
import torch

from tagpr_lite import config, runs
from tagpr_lite.config import GRPO, UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.grpo import loop
from tagpr_lite.grpo.guard import Guard
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.tags.schema import PRIMARY


@pytest.fixture
def conf(tmp_path):
    return config.load("smoke",
                       [f"results={tmp_path}", "name=r", "grpo.completion=20", "grpo.prompts=2",
                        "grpo.beta=0.1"])


@pytest.fixture(scope="module")
def questions():
    data = mini.build(0, 8, ["LaMP_2", "LaMP_3", "LaMP_4"])
    return [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in data.values() for q in s["train"]]


def policy(conf, folder, shaken=True):
    """A policy with a live adapter, and `ref` as its frozen copy."""
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, loop.POLICY)
    if shaken:
        g = torch.Generator().manual_seed(1)
        for p in engine.adapter_parameters(model, loop.POLICY).values():
            torch.nn.init.normal_(p, std=0.2, generator=g)
    engine.save_adapter(model, loop.POLICY, folder / "sft" / "adapter")
    model = engine.load_adapter(model, folder / "sft" / "adapter", loop.REF)
    model.set_adapter(loop.POLICY)
    return model, tokenizer


def groups_of(conf, model, tokenizer, questions, rewards=None):
    stage = loop.Stage("guided", 3, 1.0, 0.2, 0.0)
    groups = loop.rollout(conf, "guided", model, tokenizer, questions[:2], index=0)
    for n, g in enumerate(groups):
        loop.reward(conf, stage, g, tokenizer, PRIMARY)
        g.rewards = torch.tensor([0.0, 1.0, 0.5, float(n)])
        g.advantages = loop.losses.advantages(g.rewards[None], 0.05)[0]
    return groups


def gradient(conf, model, groups):
    weights = loop.losses.token_weights(conf.grpo.loss,
                                        torch.tensor([len(s.ids) for g in groups for s in g.samples]), 20)
    stats = [loop.update_group(conf, model, g, w) for g, w in zip(groups, weights.split(4))]
    params = engine.adapter_parameters(model, loop.POLICY)
    grads = {n: p.grad.clone() for n, p in params.items()}
    model.zero_grad()
    return grads, stats


def test_at_step_0_the_ratio_is_1_and_the_kl_is_0(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    _, stats = gradient(conf, model, groups_of(conf, model, tokenizer, questions))
    for s in stats:
        assert s["kl"] == 0.0 and s["drift"] / s["tokens"] < 1e-5


@pytest.mark.parametrize("kind", loop.losses.KINDS)
def test_the_gradient_does_not_depend_on_the_micro_batch(conf, questions, tmp_path, kind):
    conf.grpo.loss = kind
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    conf.grpo.micro = 4
    want, _ = gradient(conf, model, groups)
    conf.grpo.micro = 1
    got, _ = gradient(conf, model, groups)
    scale = max(g.abs().max() for g in want.values())
    assert scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-5 * scale for n in want)


def test_the_gradient_raises_what_was_good(conf, questions, tmp_path):
    """A small step along the gradient makes better completions likelier, worse ones less likely."""
    model, tokenizer = policy(conf, tmp_path)
    conf.grpo.beta = 0.0
    groups = groups_of(conf, model, tokenizer, questions)
    params = engine.adapter_parameters(model, loop.POLICY)

    def surrogate():
        total = 0.0
        for g in groups:
            ids, mask = loop.padded([s.ids for s in g.samples], model.device)
            with torch.no_grad():
                at = loop.SharedPrefix(model, torch.tensor(g.prompt, device=model.device))
                logps, _ = loop.token_logps(model, at.predict(ids), ids, mask, conf.grpo.temperature)
            total += float((logps.sum(1) * g.advantages).sum())
        return total

    before = surrogate()
    loop.update(conf, model, groups, torch.optim.SGD(params.values(), lr=1e-2), params)
    assert surrogate() > before


def test_end_tokens_are_trained(conf, questions, tmp_path, monkeypatch):
    """A sample that ended carries its end token, and that token's log-prob is among those that are trained
    on."""
    model, tokenizer = policy(conf, tmp_path)
    written = [s.ids[8] for g in groups_of(conf, model, tokenizer, questions) for s in g.samples]
    monkeypatch.setattr(loop, "end_tokens", lambda *_: {written[0]})
    groups = groups_of(conf, model, tokenizer, questions)
    ended = [s for g in groups for s in g.samples if s.ended]
    assert ended and all(s.ids[-1] == written[0] and written[0] not in s.ids[:-1] for s in ended)
    _, stats = gradient(conf, model, groups)
    assert sum(s["tokens"] for s in stats) == sum(len(s.ids) for g in groups for s in g.samples)


def test_groups_without_signal_are_skipped(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    for g in groups:
        g.rewards = torch.full((4,), 0.3)
    params = engine.adapter_parameters(model, loop.POLICY)
    before = {n: p.detach().clone() for n, p in params.items()}
    stats = loop.update(conf, model, groups, torch.optim.AdamW(params.values(), lr=1.0), params)
    assert stats["grad_norm"] == 0 and all(torch.equal(before[n], params[n]) for n in params)
    assert loop.summary(groups)["zero_variance"] == 1.0


def test_tasks_take_turns_and_every_question_of_a_task_comes_once_a_pass(questions):
    few = [replace(q, id=f"few-{n}", task="LaMP_4") for n, q in enumerate(questions[:3])]
    pick = lambda seed: [q for i in range(len(questions) // 2)
                         for q in loop.pick(questions + few, seed, "guided", i, 4)]
    got = pick(0)
    tasks = sorted({q.task for q in questions + few})
    assert [q.task for q in got[:2 * len(tasks)]] == tasks * 2
    for task in tasks:
        own, picked = [q.id for q in questions + few if q.task == task], [q.id for q in got if q.task == task]
        whole = len(picked) // len(own)
        assert whole > 0 and sorted(picked[:whole * len(own)]) == sorted(own * whole)
    assert got != pick(1)


def test_a_stage_has_its_own_learning_rate_after_three_steps_of_warm_up(conf, questions, tmp_path,
                                                                        monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    seen = []
    monkeypatch.setattr(loop, "experience", lambda *_: [])
    monkeypatch.setattr(loop, "summary", lambda _: {"reward": 0.0, "task": 0.0})
    monkeypatch.setattr(loop, "update",
                        lambda c, m, g, optimizer, p: seen.append(optimizer.param_groups[0]["lr"])
                        or {"kl": 0.0})
    conf.grpo.self_check = False
    for lr in (0.0, 3e-4):
        loop.train(conf, tmp_path, loop.Stage("explore", 4, 1.0, 0.0, 0.0, lr=lr), model, tokenizer,
                   questions, PRIMARY)
    assert seen == pytest.approx([r * n / 3 for r in (conf.grpo.lr, 3e-4) for n in (1, 2, 3, 3)])


def test_a_cut_off_stage_resumes_bit_for_bit(conf, questions, tmp_path):
    """4 steps in one go equal 2 steps, a kill during the third, and 2 more: adapter and metrics alike."""
    conf.grpo.save_every = 2

    def stage(fail_at=None):
        calls = []

        def rate(question, completions):
            calls.append(1)
            if fail_at is not None and len(calls) > fail_at:
                raise KeyboardInterrupt
            return torch.linspace(0, 1, len(completions))
        return loop.Stage("guided", 4, 1.0, 0.2, 0.5, rate, Guard(0.9, GRPO()))

    def run(folder, fail_at=None):
        model, tokenizer = policy(conf, folder)
        loop.train(conf, folder, stage(fail_at), model, tokenizer, questions[:5], PRIMARY)

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", fail_at=5)
    run(tmp_path / "cut")
    a, b = (tmp_path / f / "guided" / "adapter" / "adapter_model.safetensors" for f in ("whole", "cut"))
    assert a.read_bytes() == b.read_bytes()
    rows = [[{k: v for k, v in r.items() if k not in ("seconds", "peak_gib")}
             for r in runs.read_metrics(tmp_path / f, "guided")] for f in ("whole", "cut")]
    assert rows[0] == rows[1] and [r["index"] for r in rows[0]] == [0, 1, 2, 3]


def test_the_reference_never_moves(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    ref = {n: p.detach().clone() for n, p in engine.adapter_parameters(model, loop.REF).items()}
    params = engine.adapter_parameters(model, loop.POLICY)
    loop.update(conf, model, groups_of(conf, model, tokenizer, questions),
                torch.optim.AdamW(params.values(), lr=0.1), params)
    assert all(torch.equal(ref[n], p) for n, p in engine.adapter_parameters(model, loop.REF).items())


def test_every_layout_gives_the_loop_the_same_gradient(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    groups, grads = groups_of(conf, model, tokenizer, questions), {}
    for conf.grpo.layout in loop.LAYOUTS:
        grads[conf.grpo.layout], _ = gradient(conf, model, groups)
    want = grads["classic"]
    scale = max(g.abs().max() for g in want.values())
    for got in grads.values():
        assert scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-4 * scale for n in want)


@pytest.mark.parametrize("layout", ["two_phase", "kept", "recompute"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_prompt_forwarded_once_gives_the_same_samples_and_gradient(conf, questions, tmp_path, layout,
                                                                     checkpointing):
    conf.grpo.layout = layout
    model, tokenizer = policy(conf, tmp_path)
    if checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    seen, found = [], {}
    model.get_base_model().model.embed_tokens.register_forward_hook(lambda _, args, out: seen.append(args[0].shape[1]))
    for conf.grpo.once in (False, True):
        seen.clear()
        groups = loop.rollout(conf, "guided", model, tokenizer, questions[:2], index=0)
        for g in groups:
            g.advantages = loop.losses.advantages(torch.tensor([[0.0, 1.0, 0.5, 0.2]]), 0.05)[0]
        grads, _ = gradient(conf, model, groups)
        assert all(g.at is None for g in groups)
        found[conf.grpo.once] = [[s.ids for s in g.samples] for g in groups], grads, sum(n > 60 for n in seen)
    (ids, want, whole), (ids_once, got, fewer) = found[False], found[True]
    scale = max(g.abs().max() for g in want.values())
    assert ids == ids_once and scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-4 * scale for n in want)
    assert whole - fewer == len(groups)  # one prompt forward less for each


def test_a_guard_lowers_the_term_and_drops_it(conf, questions, tmp_path, monkeypatch):
    """PRMU's scores run against the task's; the guard sees it step by step, and in the end nobody asks PRMU
    any more."""
    model, tokenizer = policy(conf, tmp_path)
    group = loop.rollout(conf, "guided", model, tokenizer, questions[:1], index=0)[0]
    asked = []
    guard = Guard(0.6, GRPO(), lambda _: None)
    stage = loop.Stage("guided", 3, 1.0, 0.0, 0.4, lambda q, c: asked.append(q)
                       or torch.linspace(0, 1, len(c)), guard)
    made = iter([Terms(0.9, 1.0, 0.0), Terms(0.6, 0.0, 0.0), Terms(0.4, 1.0, 0.0), Terms(0.1, 1.0, 0.0)])
    monkeypatch.setattr(loop, "terms", lambda *_: next(made))
    loop.reward(conf, stage, group, tokenizer, PRIMARY)
    assert group.rewards.tolist() == pytest.approx([0.9, 0.0, 0.4 + 0.2 * 2 / 3, 0.1 + 0.2], abs=1e-6)  # trust is a half
    monkeypatch.undo()
    for _ in range(4):
        stats = loop.watch(guard, [group])
    assert stats["agreement"] < -0.9 and guard.trust == 0.0
    loop.reward(conf, stage, group, tokenizer, PRIMARY)
    assert len(asked) == 1 and all(t.prmu == 0 for t in group.terms)


def test_a_prompt_of_no_use_is_let_go(conf, questions, tmp_path):
    conf.grpo.once = True
    model, tokenizer = policy(conf, tmp_path)
    group = loop.rollout(conf, "guided", model, tokenizer, questions[:1], index=0)[0]
    assert group.at is not None
    group.samples = [group.samples[0]] * 4  # equal completions, equal rewards
    loop.reward(conf, loop.Stage("guided", 3, 1.0, 0.2, 0.0), group, tokenizer, PRIMARY)
    assert group.at is None


def test_a_prompt_forwarded_once_needs_a_layout_of_its_own(conf, questions, tmp_path):
    conf.grpo.once, conf.grpo.layout = True, "classic"
    model, tokenizer = policy(conf, tmp_path)
    with pytest.raises(UserError, match="grpo.once"):
        loop.rollout(conf, "guided", model, tokenizer, questions[:1], index=0)


def test_out_of_memory_replays_the_group_with_the_same_gradient(conf, questions, tmp_path, monkeypatch,
                                                                capsys):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    params, weights, real = engine.adapter_parameters(model, loop.POLICY), torch.full((4,), 0.1), loop.token_logps
    failed = []

    def short_of_memory(*args):
        """Fails on the second forward of three completions or more: the first group's gradient is there by
        then."""
        logps = real(*args)
        if args[2].shape[0] > 2 and loop.POLICY in args[0].active_adapters and len(failed) < 2:
            failed.append(args[2].shape)
            if len(failed) == 2:
                (logps[0].sum() * 99).backward()  # what was done before it failed must leave no trace
                raise torch.OutOfMemoryError("injected")
        return logps

    def both():
        for g in groups:
            loop.replayed(conf, model, g, weights, params)
        grads = {n: p.grad.clone() for n, p in params.items()}
        model.zero_grad()
        return grads

    conf.grpo.micro, conf.grpo.beta = 4, 0.0
    want = both()
    monkeypatch.setattr(loop, "token_logps", short_of_memory)
    got = both()
    scale = max(g.abs().max() for g in want.values())
    assert len(failed) == 2 and conf.grpo.micro == 2 and "from now on 2" in capsys.readouterr().out
    assert scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-5 * scale for n in want)


def test_nothing_of_a_micro_batch_lives_on_into_the_backward_of_the_prompt(conf, questions, tmp_path,
                                                                           monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    group = groups_of(conf, model, tokenizer, questions)[0]
    made, alive, real, backward = [], [], loop.token_logps, prefix.SharedPrefix.backward

    def kept(*args):
        found = real(*args)
        made.extend(weakref.ref(t) for t in found)
        return found

    def watched(self):
        alive.append(sum(t() is not None for t in made))
        backward(self)

    monkeypatch.setattr(loop, "token_logps", kept)
    monkeypatch.setattr(prefix.SharedPrefix, "backward", watched)
    loop.update_group(conf, model, group, torch.ones(4))
    assert made and alive == [0]


def test_the_self_check_looks_at_tails_only(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    groups, seen = groups_of(conf, model, tokenizer, questions), []
    monkeypatch.setattr(loop, "CHECKED", (9, 5))
    monkeypatch.setattr(loop, "self_check",
                        lambda model, params, prompt, rows, *more: seen.append((prompt, rows)) or {})
    loop.check(conf, model, {}, groups)
    assert seen == [(groups[0].prompt[-9:], [s.ids[-5:] for s in groups[0].samples[:2]])]


def test_out_of_memory_with_one_completion_is_one_line_of_advice(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)

    def full(*args):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(loop, "token_logps", full)
    with pytest.raises(UserError, match="lower prompt.max_tokens"):
        loop.replayed(conf, model, groups[0], torch.ones(4), engine.adapter_parameters(model, loop.POLICY))


def test_the_self_check_passes_on_what_is_right_and_stops_what_is_not(conf, questions, tmp_path, monkeypatch,
                                                                      capsys):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    params = engine.adapter_parameters(model, loop.POLICY)
    for conf.grpo.layout in ("two_phase", "recompute", "packed"):
        loop.check(conf, model, params, groups)
    assert capsys.readouterr().out.count("self-check") == 3 and all(p.grad is None for p in params.values())
    real = prefix.forward
    monkeypatch.setattr(prefix, "forward", lambda model, mode, **how: real(
        model, mode, **(how | {"start": 0} if isinstance(mode, prefix.Suffix) else how)))  # forgets where completions begin
    with pytest.raises(RuntimeError, match="nothing was trained"):
        conf.grpo.layout = "two_phase"
        loop.check(conf, model, params, groups)


def test_groups_without_signal_are_replaced_within_a_bound(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    asked = []

    def judge(config, stage, group, tokenizer, tags):
        """The first three questions give no signal, later ones do."""
        asked.append(group.question.id)
        group.terms = [loop.Terms(0, 0, 0, 0) for _ in group.samples]
        group.rewards = torch.tensor([0.0, 0.0, 0.0, float(len(asked) > 3)])
        group.advantages = loop.losses.advantages(group.rewards[None], 0.05)[0]

    monkeypatch.setattr(loop, "reward", judge)
    stage = loop.Stage("guided", 3, 1.0, 0.2, 0.0)
    for conf.grpo.resample, dead, live in ((0, 2, 0), (1, 3, 1), (5, 3, 2)):
        asked.clear()
        groups = loop.experience(conf, stage, model, tokenizer, questions, PRIMARY, 0)
        signal = [bool(loop.losses.has_signal(g.rewards)) for g in groups]
        assert (signal.count(False), signal.count(True)) == (dead, live)


def test_a_reference_that_is_not_the_start_stops_the_run(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    monkeypatch.setattr(loop.losses, "has_signal",
                        lambda rewards: torch.ones(rewards.shape[:-1], dtype=torch.bool))
    for p in engine.adapter_parameters(model, loop.REF).values():
        p.data += 0.1
    with pytest.raises(RuntimeError, match="is not the SFT adapter"):
        loop.train(conf, tmp_path / "run", loop.Stage("guided", 1, 1.0, 1.0, 0.0, from_ref=True), model,
                   tokenizer, questions, PRIMARY)
