"""The GRPO loop on the tiny model: what a step computes, and that nothing about how it is cut up changes
it."""
import weakref
from dataclasses import replace

import pytest
import tiny_policy
import torch
from small_memory import small_memory

from tagpr_lite import config, runs
from tagpr_lite.config import GRPO, LAYOUTS, UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.engine import update as engine_update
from tagpr_lite.engine.logps import padded, token_logps
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.grpo import groups as rollouts
from tagpr_lite.grpo import loop, losses, update
from tagpr_lite.grpo.guard import Guard
from tagpr_lite.grpo.held_out import Answer, HeldOut
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.tags.teaching import Teaching


@pytest.fixture
def conf(tmp_path):
    return config.load("smoke",
                       [f"results={tmp_path}", "name=r", "grpo.completion=20", "grpo.prompts=2",
                        "grpo.group=4", "grpo.micro=2", "grpo.temperature=1", "grpo.gate=1", "grpo.beta=0.1"])


@pytest.fixture(scope="module")
def questions():
    data = mini.build(0, 8, ["LaMP_2", "LaMP_3", "LaMP_4"])
    return [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in data.values() for q in s["train"]]


TEACHING = Teaching()


def policy(conf, folder, shaken=True):
    """A policy with a live adapter, and `ref` as its frozen copy."""
    return tiny_policy.policy(conf.model, folder, shaken)


def held_out(conf, folder, stage, questions=()):
    """The checks of a stage; without questions there are none."""
    return HeldOut(conf, folder, stage.name, list(questions), TEACHING)


@pytest.fixture
def in_form(monkeypatch):
    """Every completion counts as one in form, so that PRMU scores it."""
    real = rollouts.terms
    monkeypatch.setattr(rollouts, "terms", lambda *args: replace(real(*args), format=1.0))


def limit(size):
    """So many at a time, remembered nowhere."""
    return BatchLimit("a test", "completions", size, advice="lower prompt.max_tokens")


def rolled_out(conf, model, tokenizer, questions):
    return rollouts.roll_out(conf, "guided", model, tokenizer, questions, 0,
                             rollouts.rollout_limit(conf.grpo))


def groups_of(conf, model, tokenizer, questions):
    """Two scored groups whose rewards are made up."""
    stage = rollouts.Stage("guided", 3, 1.0, 0.2, 0.0)
    groups = []
    for n, rollout in enumerate(rolled_out(conf, model, tokenizer, questions[:2])):
        group = rollouts.score_group(conf.grpo, stage, rollout, tokenizer, TEACHING, limit(2))
        rewards = torch.tensor([0.0, 1.0, 0.5, float(n)])
        groups.append(replace(group, rewards=rewards, advantages=losses.advantages(rewards[None], 0.05)[0],
                              shared_prompt=rollout.shared_prompt))
    return groups


def gradient(conf, model, groups):
    lengths = torch.tensor([len(s.ids) for g in groups for s in g.samples])
    weights = losses.token_weights(conf.grpo.loss, lengths, 20)
    stats = [update.policy_gradient(conf.grpo, model, g, w, conf.grpo.micro)
             for g, w in zip(groups, weights.split(4), strict=True)]
    params = engine.adapter_parameters(model, rollouts.POLICY)
    grads = {n: p.grad.clone() for n, p in params.items()}
    model.zero_grad()
    return grads, stats


def test_at_step_0_the_ratio_is_1_and_the_kl_is_0(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    _, stats = gradient(conf, model, groups_of(conf, model, tokenizer, questions))
    for s in stats:
        assert s["kl"] == 0.0 and s["drift"] / s["tokens"] < 1e-5


@pytest.mark.parametrize("kind", losses.KINDS)
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
    params = engine.adapter_parameters(model, rollouts.POLICY)

    def surrogate():
        total = 0.0
        for g in groups:
            ids, mask = padded([s.ids for s in g.samples], model.device)
            with torch.no_grad():
                prompt = prefix.SharedPrefix(model, torch.tensor(g.prompt_ids, device=model.device))
                logps, _ = token_logps(model, prompt.predict(ids), ids, mask, conf.grpo.temperature)
            total += float((logps.sum(1) * g.advantages).sum())
        return total

    before = surrogate()
    update.optimizer_step(conf.grpo, model, groups, torch.optim.SGD(params.values(), lr=1e-2), params,
                          limit(2))
    assert surrogate() > before


def test_only_the_most_different_completions_are_trained_on(conf, questions, tmp_path):
    """grpo.trained: the step is that of groups which never held the other completions; their rewards count
    neither in the mean nor in the deviation."""
    model, tokenizer = policy(conf, tmp_path)
    params = engine.adapter_parameters(model, rollouts.POLICY)
    start = {name: values.detach().clone() for name, values in params.items()}
    everyone = [0.9, 0.1, 0.8, 0.7]

    def step(some, trained):
        """The parameters after a step on those completions of every group."""
        for name, values in start.items():
            params[name].data.copy_(values)
        conf.grpo.trained = trained
        groups = []
        for group in groups_of(conf, model, tokenizer, questions):
            rewards = torch.tensor([everyone[n] for n in some])
            kept = losses.most_different(rewards, trained)
            advantages = torch.zeros(len(some))
            advantages[kept] = losses.advantages(rewards[kept][None], conf.grpo.std_floor)[0]
            groups.append(replace(group, samples=[group.samples[n] for n in some], rewards=rewards,
                                  advantages=advantages))
        update.optimizer_step(conf.grpo, model, groups, torch.optim.SGD(params.values(), lr=1.0), params,
                              limit(2))
        return {name: values.detach().clone() for name, values in params.items()}

    chosen, alone, all_four = step([0, 1, 2, 3], 2), step([0, 1], 0), step([0, 1, 2, 3], 0)
    assert all(torch.allclose(chosen[name], alone[name], atol=1e-7) for name in start)
    assert not all(torch.allclose(chosen[name], all_four[name], atol=1e-7) for name in start)


def test_end_tokens_are_trained(conf, questions, tmp_path, monkeypatch):
    """A sample that ended carries its end token, and that token's log-prob is among those that are trained
    on."""
    model, tokenizer = policy(conf, tmp_path)
    written = [s.ids[8] for g in groups_of(conf, model, tokenizer, questions) for s in g.samples]
    monkeypatch.setattr(rollouts, "end_tokens", lambda *_: {written[0]})
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
    params = engine.adapter_parameters(model, rollouts.POLICY)
    before = {n: p.detach().clone() for n, p in params.items()}
    optimizer = torch.optim.AdamW(params.values(), lr=1.0)
    stats = update.optimizer_step(conf.grpo, model, groups, optimizer, params, limit(2))
    assert stats["grad_norm"] == 0 and all(torch.equal(before[n], params[n]) for n in params)
    assert rollouts.summary(groups)["zero_variance"] == 1.0


def test_tasks_take_turns_and_every_question_of_a_task_comes_once_a_pass(questions):
    few = [replace(q, id=f"few-{n}", task=TASKS["LaMP_4"]) for n, q in enumerate(questions[:3])]
    pick = lambda seed: [q for i in range(len(questions) // 2)
                         for q in loop.next_questions(questions + few, seed, "guided", i, 4)]
    got = pick(0)
    tasks = sorted({q.task.name for q in questions + few})
    assert [q.task.name for q in got[:2 * len(tasks)]] == tasks * 2
    for task in tasks:
        own = [q.id for q in questions + few if q.task.name == task]
        picked = [q.id for q in got if q.task.name == task]
        whole = len(picked) // len(own)
        assert whole > 0 and sorted(picked[:whole * len(own)]) == sorted(own * whole)
    assert got != pick(1)


def test_a_stage_has_its_own_learning_rate_after_three_steps_of_warm_up(conf, questions, tmp_path,
                                                                        monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    seen = []

    def step(g, model, groups, optimizer, params, micro):
        seen.append(optimizer.param_groups[0]["lr"])
        return {"kl": 0.0}

    monkeypatch.setattr(loop, "collect_groups", lambda *_: [])
    monkeypatch.setattr(loop, "summary", lambda _: {"reward": 0.0, "task": 0.0})
    monkeypatch.setattr(loop.Alarms, "look", lambda *_: None)
    monkeypatch.setattr(loop, "optimizer_step", step)
    conf.grpo.self_check = False
    for lr in (0.0, 3e-4):
        stage = rollouts.Stage("explore", 4, 1.0, 0.0, 0.0, lr=lr)
        loop.train(conf, tmp_path, stage, model, tokenizer, questions, TEACHING,
                   held_out(conf, tmp_path, stage))
    assert seen == pytest.approx([r * n / 3 for r in (conf.grpo.lr, 3e-4) for n in (1, 2, 3, 3)])


@pytest.mark.parametrize("fail_at", [pytest.param(3, marks=pytest.mark.long), 5,
                                     pytest.param(6, marks=pytest.mark.long), 8])
def test_a_cut_off_stage_resumes_bit_for_bit(conf, questions, tmp_path, in_form, fail_at):
    """4 steps in one go equal a run that is killed in the second, third or fourth one, or in the last check,
    and goes on: adapters, metrics, rollouts and checks alike."""
    conf.grpo.save_every, conf.grpo.check_every = 2, 1

    def run(folder, fail_at=None):
        calls = []

        def score(question, completions, together):
            calls.append(1)
            if fail_at is not None and len(calls) > fail_at:
                raise KeyboardInterrupt
            return torch.linspace(0, 1, len(completions))

        model, tokenizer = policy(conf, folder)
        stage = rollouts.Stage("guided", 4, 1.0, 0.2, 0.5, score, Guard(0.9, GRPO()))
        checks = held_out(conf, folder, stage, questions[5:8])
        if fail_at == 8:  # all of PRMU's scores are there: in the last check
            check = checks.check

            def cut(*args):
                if args[-1] == 4:
                    raise KeyboardInterrupt
                check(*args)
            checks.check = cut
        loop.train(conf, folder, stage, model, tokenizer, questions[:5], TEACHING, checks)

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", fail_at)
    run(tmp_path / "cut")
    for name in ("adapter/adapter_model.safetensors", "last/adapter_model.safetensors", "rollouts.jsonl",
                 "checks.jsonl"):
        whole, cut = (tmp_path / run_folder / "guided" / name for run_folder in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes(), name
    for step in ("guided", "guided_check", "guided_alarm"):
        rows = [[{k: v for k, v in r.items() if k not in ("seconds", "peak_gib")}
                 for r in runs.read_metrics(tmp_path / f, step)] for f in ("whole", "cut")]
        assert rows[0] == rows[1], step
    assert [r["index"] for r in runs.read_metrics(tmp_path / "cut", "guided")] == [0, 1, 2, 3]
    assert [r["index"] for r in runs.read_metrics(tmp_path / "cut", "guided_check")] == [0, 1, 2, 3, 4]


class Answers(HeldOut):
    """Checks whose scores are given, after so many steps."""
    def answer(self, model, tokenizer):
        score = self.scores[len(self.file.read_text().splitlines())]
        return [Answer(q.id, q.task.name, q.user, "", 1, None, score, 1.0, 1.0) for q in self.questions]


@pytest.mark.parametrize("scores, best, steps", [
    ([0.2, 0.6, 0.4, 0.3, 0.9], 1, 3),  # two checks in a row are no better: the fourth step is never made
    ([0.5, 0.5, 0.5, 0.9, 0.9], 0, 2),
    ([0.1, 0.2, 0.3, 0.4, 0.5], 4, 4)])
def test_the_best_adapter_is_kept_beside_the_last(conf, questions, tmp_path, scores, best, steps):
    conf.grpo.check_every, conf.grpo.patience = 1, 2
    model, tokenizer = policy(conf, tmp_path)
    params = engine.adapter_parameters(model, rollouts.POLICY)
    seen = []
    stage = rollouts.Stage("guided", 4, 1.0, 0.5)
    checks = Answers(conf, tmp_path, "guided", questions[:4], TEACHING)
    checks.scores = scores
    check = checks.check

    def look(*args):
        seen.append({name: param.detach().clone() for name, param in params.items()})
        check(*args)
    checks.check = look
    loop.train(conf, tmp_path, stage, model, tokenizer, questions, TEACHING, checks)
    assert len(seen) == steps + 1 == len(runs.read_metrics(tmp_path, "guided")) + 1
    for name, index in (("adapter", best), ("last", steps)):
        again, _ = engine.load(conf.model)
        again = engine.load_adapter(again, tmp_path / "guided" / name, rollouts.POLICY)
        found = engine.adapter_parameters(again, rollouts.POLICY)
        assert all(torch.equal(found[key], seen[index][key]) for key in seen[index]), name
    assert all(torch.equal(params[key], seen[best][key]) for key in params)  # and it is left in the model


def test_the_reference_never_moves(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    ref = {n: p.detach().clone() for n, p in engine.adapter_parameters(model, rollouts.REFERENCE).items()}
    params = engine.adapter_parameters(model, rollouts.POLICY)
    optimizer = torch.optim.AdamW(params.values(), lr=0.1)
    update.optimizer_step(conf.grpo, model, groups_of(conf, model, tokenizer, questions), optimizer, params,
                          limit(2))
    assert all(torch.equal(ref[n], p) for n,
               p in engine.adapter_parameters(model, rollouts.REFERENCE).items())


def test_every_layout_gives_the_loop_the_same_gradient(conf, questions, tmp_path):
    model, tokenizer = policy(conf, tmp_path)
    groups, grads = groups_of(conf, model, tokenizer, questions), {}
    for conf.grpo.layout in LAYOUTS:
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
    model.get_base_model().model.embed_tokens.register_forward_hook(
        lambda _, args, out: seen.append(args[0].shape[1]))
    for conf.grpo.once in (False, True):
        seen.clear()
        rewards = torch.tensor([0.0, 1.0, 0.5, 0.2])
        groups = [rollouts.Group(r.question, r.prompt_ids, r.samples, r.shared_prompt, rewards=rewards,
                                 advantages=losses.advantages(rewards[None], 0.05)[0])
                  for r in rolled_out(conf, model, tokenizer, questions[:2])]
        grads, _ = gradient(conf, model, groups)
        assert all(g.shared_prompt is None for g in groups)
        found[conf.grpo.once] = [[s.ids for s in g.samples] for g in groups], grads, sum(n > 60 for n in seen)
    (ids, want, whole), (ids_once, got, fewer) = found[False], found[True]
    scale = max(g.abs().max() for g in want.values())
    assert ids == ids_once and scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-4 * scale for n in want)
    assert whole - fewer == len(groups)  # one prompt forward less for each


def test_a_guard_lowers_the_term_and_drops_it(conf, questions, tmp_path, monkeypatch):
    """PRMU's scores run against the task's; the guard sees it step by step, and in the end nobody asks PRMU
    any more."""
    model, tokenizer = policy(conf, tmp_path)
    rollout = rolled_out(conf, model, tokenizer, questions[:1])[0]
    asked = []

    def score(question, completions, together):
        asked.append(question)
        return torch.linspace(0, 1, len(completions))

    guard = Guard(0.6, GRPO(), lambda _: None)
    stage = rollouts.Stage("guided", 3, 1.0, 0.0, 0.4, score, guard)
    made = iter([Terms(0.9, 1.0, 0.0), Terms(0.6, 0.0, 0.0), Terms(0.4, 1.0, 0.0), Terms(0.1, 1.0, 0.0)])
    monkeypatch.setattr(rollouts, "terms", lambda *_: next(made))
    group = rollouts.score_group(conf.grpo, stage, rollout, tokenizer, TEACHING, limit(2))
    # trust: a half; the second one is not in form, and PRMU is not asked about it
    assert group.rewards.tolist() == pytest.approx([0.9, 0.0, 0.4 + 0.2 * 0.5, 0.1 + 0.2], abs=1e-6)
    monkeypatch.undo()
    for _ in range(4):
        stats = loop.update_guard(guard, [group])
    assert stats["agreement"] < -0.9 and guard.trust == 0.0
    group = rollouts.score_group(conf.grpo, stage, rollout, tokenizer, TEACHING, limit(2))
    assert len(asked) == 1 and all(t.prmu == 0 for t in group.terms)


def test_a_prompt_of_no_use_is_let_go(conf, questions, tmp_path):
    conf.grpo.once = True
    model, tokenizer = policy(conf, tmp_path)
    rollout = rolled_out(conf, model, tokenizer, questions[:1])[0]
    assert rollout.shared_prompt is not None
    alike = replace(rollout, samples=[rollout.samples[0]] * 4)  # equal completions, equal rewards
    stage = rollouts.Stage("guided", 3, 1.0, 0.2, 0.0)
    assert rollouts.score_group(conf.grpo, stage, alike, tokenizer, TEACHING, limit(2)).shared_prompt is None


def test_a_prompt_forwarded_once_needs_a_layout_of_its_own(conf, questions, tmp_path):
    conf.grpo.once, conf.grpo.layout = True, "classic"
    model, tokenizer = policy(conf, tmp_path)
    with pytest.raises(UserError, match="grpo.once"):
        rolled_out(conf, model, tokenizer, questions[:1])


def test_out_of_memory_replays_the_group_with_the_same_gradient(conf, questions, tmp_path, monkeypatch,
                                                                capsys):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    params = engine.adapter_parameters(model, rollouts.POLICY)
    real, failed = engine_update.token_logps, []

    def short_of_memory(*args):
        """Fails on the second forward of three completions or more: the first group's gradient is there by
        then."""
        logps = real(*args)
        if args[2].shape[0] > 2 and rollouts.POLICY in args[0].active_adapters and len(failed) < 2:
            failed.append(args[2].shape)
            if len(failed) == 2:
                (logps[0].sum() * 99).backward()  # what was done before it failed must leave no trace
                raise torch.OutOfMemoryError("injected")
        return logps

    def both(together):
        grads = {}
        optimizer = torch.optim.SGD(params.values(), lr=0.0)
        optimizer.register_step_pre_hook(lambda *_: grads.update({n: p.grad.clone()
                                                                  for n, p in params.items()}))
        update.optimizer_step(conf.grpo, model, groups, optimizer, params, together)
        return grads, together.size

    conf.grpo.beta = 0.0
    want, micro = both(limit(4))
    assert micro == 4
    monkeypatch.setattr(engine_update, "token_logps", short_of_memory)
    got, micro = both(limit(4))
    scale = max(g.abs().max() for g in want.values())
    assert len(failed) == 2 and micro == 2 and "from now on 2" in capsys.readouterr().out
    assert scale > 0 and all((want[n] - got[n]).abs().max() <= 1e-5 * scale for n in want)


@pytest.mark.parametrize("once", [False, True])
def test_groups_do_not_depend_on_how_many_prompts_fit(conf, questions, tmp_path, capsys, once):
    conf.grpo.once = once
    model, tokenizer = policy(conf, tmp_path)
    want = rolled_out(conf, model, tokenizer, questions[:3])
    with small_memory(rows=4) as tried:  # one group of four
        got = rollouts.roll_out(conf, "guided", model, tokenizer, questions[:3], 0,
                                rollouts.rollout_limit(conf.grpo, tmp_path))
    assert [r.question for r in got] == questions[:3] and tried == [12]
    assert [[s.ids for s in r.samples] for r in got] == [[s.ids for s in r.samples] for r in want]
    assert all((r.shared_prompt is not None) == once for r in got)
    assert capsys.readouterr().out == "  out of memory: from now on 1 prompts at a time (grpo.decode_rows)\n"
    assert rollouts.rollout_limit(conf.grpo, tmp_path).size == 1


def test_a_halved_micro_batch_is_kept_and_a_resumed_run_begins_with_it(conf, questions, tmp_path,
                                                                       monkeypatch):
    """Memory runs out in step 1 and the run is killed in step 3: the rest of it knows what fits."""
    conf.grpo.micro, conf.grpo.save_every = 4, 2
    asked, real, failed = [], loop.optimizer_step, []

    def step(g, model, groups, optimizer, params, together):
        asked.append(together.size)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(g, model, groups, optimizer, params, together)

    def short_of_memory(g, model, group, weights, micro):
        if micro > 2 and not failed:
            failed.append(micro)
            raise torch.OutOfMemoryError("injected")
        return policy_gradient(g, model, group, weights, micro)

    def run():
        model, tokenizer = policy(conf, tmp_path)
        stage = rollouts.Stage("guided", 4, 1.0, 0.2)
        loop.train(conf, tmp_path, stage, model, tokenizer, questions[:5], TEACHING,
                   held_out(conf, tmp_path, stage))

    policy_gradient = update.policy_gradient
    monkeypatch.setattr(update, "policy_gradient", short_of_memory)
    monkeypatch.setattr(rollouts.Group, "has_signal", True)
    monkeypatch.setattr(loop, "optimizer_step", step)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert failed == [4] and asked == [4, 2, 2]
    run()
    assert asked[3:] == [2, 2] and conf.grpo.micro == 4  # the settings are left alone
    assert [r["micro_batch"] for r in runs.read_metrics(tmp_path, "guided")] == [2, 2, 2, 2]


def test_nothing_of_a_micro_batch_lives_on_into_the_backward_of_the_prompt(conf, questions, tmp_path,
                                                                           monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    group = groups_of(conf, model, tokenizer, questions)[0]
    made, alive = [], []
    real, backward = engine_update.token_logps, prefix.SharedPrefix.backward

    def kept(*args):
        found = real(*args)
        made.extend(weakref.ref(t) for t in found)
        return found

    def watched(self):
        alive.append(sum(t() is not None for t in made))
        backward(self)

    monkeypatch.setattr(engine_update, "token_logps", kept)
    monkeypatch.setattr(prefix.SharedPrefix, "backward", watched)
    update.policy_gradient(conf.grpo, model, group, torch.ones(4), conf.grpo.micro)
    assert made and alive == [0]


def test_the_self_check_looks_at_tails_only(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    groups, seen = groups_of(conf, model, tokenizer, questions), []
    monkeypatch.setattr(update, "CHECKED_PROMPT", 9)
    monkeypatch.setattr(update, "CHECKED_COMPLETION", 5)
    monkeypatch.setattr(update, "self_check",
                        lambda model, params, prompt, rows, *more: seen.append((prompt, rows)) or {})
    update.check_layout(conf.grpo, model, {}, groups[0])
    assert seen == [(groups[0].prompt_ids[-9:], [s.ids[-5:] for s in groups[0].samples[:2]])]


def test_out_of_memory_with_one_completion_is_one_line_of_advice(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)

    def full(*args):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(engine_update, "token_logps", full)
    with pytest.raises(UserError, match="lower prompt.max_tokens"):
        params = engine.adapter_parameters(model, rollouts.POLICY)
        update.optimizer_step(conf.grpo, model, groups, torch.optim.SGD(params.values(), lr=0.0), params,
                              update.completion_limit(conf.grpo))


def test_the_self_check_passes_on_what_is_right_and_stops_what_is_not(conf, questions, tmp_path, monkeypatch,
                                                                      capsys):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    params = engine.adapter_parameters(model, rollouts.POLICY)
    for conf.grpo.layout in ("two_phase", "recompute", "packed"):
        update.check_layout(conf.grpo, model, params, groups[0])
    assert capsys.readouterr().out.count("self-check") == 3 and all(p.grad is None for p in params.values())
    real = prefix.forward
    monkeypatch.setattr(prefix, "forward", lambda model, mode, **how: real(
        # forgets where completions begin
        model, mode, **(how | {"start": 0} if isinstance(mode, prefix.Suffix) else how)))
    with pytest.raises(RuntimeError, match="nothing was trained"):
        conf.grpo.layout = "two_phase"
        update.check_layout(conf.grpo, model, params, groups[0])


def test_groups_without_signal_are_replaced_within_a_bound(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    asked = []

    def judge(g, stage, rollout, tokenizer, tags, together):
        """The first three questions give no signal, later ones do."""
        asked.append(rollout.question.id)
        rewards = torch.tensor([0.0, 0.0, 0.0, float(len(asked) > 3)])
        return rollouts.Group(rollout.question, rollout.prompt_ids, rollout.samples, rewards=rewards)

    monkeypatch.setattr(loop, "score_group", judge)
    stage = rollouts.Stage("guided", 3, 1.0, 0.2, 0.0)
    for conf.grpo.resample, dead, live in ((0, 2, 0), (1, 3, 1), (5, 3, 2)):
        asked.clear()
        groups = loop.collect_groups(conf, stage, model, tokenizer, questions, TEACHING, 0, limit(2),
                                     limit(2))
        signal = [g.has_signal for g in groups]
        assert (signal.count(False), signal.count(True)) == (dead, live)


def test_a_reference_that_is_not_the_start_stops_the_run(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    monkeypatch.setattr(losses, "has_signal",
                        lambda rewards: torch.ones(rewards.shape[:-1], dtype=torch.bool))
    for p in engine.adapter_parameters(model, rollouts.REFERENCE).values():
        p.data += 0.1
    with pytest.raises(RuntimeError, match="is not the adapter that the stage begins with"):
        stage = rollouts.Stage("guided", 1, 1.0, 1.0, 0.0)
        loop.train(conf, tmp_path / "run", stage, model, tokenizer, questions, TEACHING,
                   held_out(conf, tmp_path / "run", stage))


# ---------------------------------------------------------------- not a number

def test_a_gradient_that_is_no_number_is_not_stepped_on(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    params = engine.adapter_parameters(model, rollouts.POLICY)
    before = {name: param.detach().clone() for name, param in params.items()}
    real = losses.policy_loss
    monkeypatch.setattr(losses, "policy_loss", lambda *args: real(*args) * float("nan"))
    optimizer = torch.optim.AdamW(params.values())
    stats = update.optimizer_step(conf.grpo, model, groups, optimizer, params, limit(4))
    assert stats["skipped"] == 2 and stats["fault"] == "the loss" and stats["loss"] == 0.0
    assert all(torch.equal(param, before[name]) for name, param in params.items())
    assert all(param.grad is None for param in params.values())


@pytest.mark.parametrize("broken", [0, 1])
def test_a_group_whose_gradient_is_no_number_is_left_out(conf, questions, tmp_path, monkeypatch, broken):
    """The step is the one that the other group alone would have made."""
    def stepped(groups):
        params = engine.adapter_parameters(model, rollouts.POLICY)
        start = {name: param.detach().clone() for name, param in params.items()}
        optimizer = torch.optim.SGD(params.values(), lr=1e-2)
        stats = update.optimizer_step(conf.grpo, model, groups, optimizer, params, limit(4))
        moved = {name: param.detach() - start[name] for name, param in params.items()}
        with torch.no_grad():
            for name, param in params.items():
                param.copy_(start[name])
        return stats, moved

    conf.grpo.loss = "dr_grpo"  # its weights do not depend on the other group
    model, tokenizer = policy(conf, tmp_path)
    groups = groups_of(conf, model, tokenizer, questions)
    real = update.policy_gradient

    def one_is_broken(g, model, group, weights, micro):
        sums = real(g, model, group, weights, micro)
        if group.question == groups[broken].question:
            next(iter(engine.adapter_parameters(model, rollouts.POLICY).values())).grad[0, 0] = float("inf")
        return sums

    monkeypatch.setattr(update, "policy_gradient", one_is_broken)
    stats, moved = stepped(groups)
    assert stats["skipped"] == 1 and "fault" not in stats
    monkeypatch.setattr(update, "policy_gradient", real)
    _, want = stepped([groups[1 - broken]])
    # Of the same direction; its length differs, because the divisor counts the completions of both groups.
    got, wanted = (torch.cat([move[name].flatten() for name in want]) for move in (moved, want))
    assert wanted.norm() > 0 and (got / got.norm() - wanted / wanted.norm()).norm() < 1e-4


def test_three_gradients_in_a_row_that_are_no_numbers_end_the_stage(conf, questions, tmp_path, monkeypatch):
    """In one line, and with nothing but finite numbers left behind."""
    model, tokenizer = policy(conf, tmp_path)
    conf.grpo.save_every, conf.grpo.std_floor = 1, 1e-6
    real = losses.policy_loss
    monkeypatch.setattr(losses, "policy_loss", lambda *args: real(*args) * float("nan"))
    monkeypatch.setattr(rollouts, "terms", lambda text, *_: Terms(len(text) % 7 / 7, 1.0, 1.0))
    stage = rollouts.Stage("guided", 9, 1.0, 1.0, 0.0)
    folder = tmp_path / "run"
    says = "guided: the loss is not a finite number; lower grpo.lr. None of the last 3 steps was taken"
    with pytest.raises(UserError, match=says):
        loop.train(conf, folder, stage, model, tokenizer, questions, TEACHING, held_out(conf, folder, stage))
    params = engine.adapter_parameters(model, rollouts.POLICY)
    assert all(bool(param.isfinite().all()) for param in params.values())
    assert [row["skipped"] > 0 for row in runs.read_metrics(folder, "guided")] == [True] * 2
    assert any("not a finite number" in row["text"] for row in runs.read_metrics(folder, "guided_alarm"))


def test_a_reward_that_is_no_number_is_not_taken_for_a_group_without_signal(conf, questions, tmp_path,
                                                                            in_form):
    model, tokenizer = policy(conf, tmp_path)
    stage = rollouts.Stage("guided", 3, 1.0, 0.2, 1.0, guard=Guard(1.0, conf.grpo),
                           score_prmu=lambda *_: torch.full((4,), float("nan")))
    rollout = rolled_out(conf, model, tokenizer, questions[:1])[0]
    with pytest.raises(UserError, match="guided: a reward is not a finite number"):
        rollouts.score_group(conf.grpo, stage, rollout, tokenizer, TEACHING, limit(4))


def test_a_first_kl_that_is_no_number_stops_the_run(conf, questions, tmp_path, monkeypatch):
    model, tokenizer = policy(conf, tmp_path)
    monkeypatch.setattr(loop, "optimizer_step", lambda *_: {"kl": float("nan")})
    monkeypatch.setattr(loop, "check_layout", lambda *_: None)
    with pytest.raises(RuntimeError, match="is not the adapter that the stage begins with"):
        stage = rollouts.Stage("guided", 1, 1.0, 1.0, 0.0)
        loop.train(conf, tmp_path / "run", stage, model, tokenizer, questions, TEACHING,
                   held_out(conf, tmp_path / "run", stage))
