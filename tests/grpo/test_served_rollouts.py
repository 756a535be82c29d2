"""Rollouts by a server: with one that samples by the engine here, the run is the engine's own; with one that
differs, each token has its importance weight; and every fault of a server is one line.

The server is a real one over HTTP, in a thread (helpers/sampling_server.py). It speaks vLLM's protocol, and
is not vLLM.
"""
import socket
from dataclasses import replace

import pytest
import tiny_policy
import torch
from sampling_server import SamplingServer, refused

from tagpr_lite import config, runs
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.sample import end_tokens
from tagpr_lite.grpo import groups as rollouts
from tagpr_lite.grpo import loop, losses, served_rollouts, update
from tagpr_lite.grpo.held_out import HeldOut
from tagpr_lite.grpo.served_rollouts import SamplerFault, ServedSampler, served_sampler
from tagpr_lite.tags.teachers import wire
from tagpr_lite.tags.teaching import Teaching

TEACHING = Teaching()
QUESTIONS = tiny_policy.questions()
POLICY = rollouts.POLICY
MANY = 10**9  # more requests than there will be


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_PAUSE", 0.01)


@pytest.fixture
def conf(tmp_path):
    """Four rows are asked for at a time, and two failures are borne."""
    return config.load("smoke", [
        f"results={tmp_path}", "name=r", "grpo.completion=20", "grpo.prompts=2", "grpo.group=4",
        "grpo.micro=2", "grpo.temperature=1", "grpo.gate=1", "grpo.beta=0", "grpo.decode_rows=4",
        "grpo.sampler_timeout=30", "grpo.sampler_retries=2"])


@pytest.fixture
def serve(conf):
    """serve(...): a server, with `conf` pointing to it."""
    servers = []

    def start(**kwargs):
        servers.append(SamplingServer(conf.model, **kwargs))
        conf.grpo.sampler = servers[-1].url
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def limit(size):
    return BatchLimit("a test", "completions", size, advice="lower prompt.max_tokens")


def rolled_out(conf, model, tokenizer, folder, questions=QUESTIONS[:2]):
    """The rollouts of step 0, by the server that conf names, or by the engine here."""
    with served_sampler(conf.grpo, folder, POLICY) as sampler:
        return rollouts.roll_out(conf, "guided", model, tokenizer, questions, 0,
                                 rollouts.rollout_limit(conf.grpo), sampler)


def scored(conf, some):
    """Groups whose rewards are made up, and differ."""
    groups = []
    for n, one in enumerate(some):
        rewards = torch.tensor([0.0, 1.0, 0.5, float(n)])
        groups.append(rollouts.Group(one.question, one.prompt_ids, one.samples, begun_ids=one.begun_ids,
                                     rewards=rewards, mismatch=one.mismatch,
                                     advantages=losses.advantages(rewards[None], conf.grpo.std_floor)[0]))
    return groups


def gradient(conf, model, groups):
    """{parameter: gradient} of a step, before it is clipped, and what the step reported."""
    params = engine.adapter_parameters(model, POLICY)
    kept = {name: param.detach().clone() for name, param in params.items()}
    optimizer = torch.optim.SGD(params.values(), lr=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(0.0))
        stats = update.optimizer_step(conf.grpo, model, groups, optimizer, params, limit(conf.grpo.micro))
    grads = {name: kept[name] - param.detach() for name, param in params.items()}
    for name, param in params.items():
        param.data.copy_(kept[name])
    return grads, stats


def are_equal(got, want, within=1e-4):
    scale = max(values.abs().max() for values in want.values())
    return scale > 0 and all((got[name] - want[name]).abs().max() <= within * scale for name in want)


def run(conf, folder, steps=3):
    """A stage from its beginning, or from where it was cut; the adapter that it leaves. The reward is made
    up, and depends on the text: so small a model writes nothing in form."""
    def made_up(text, *_):
        return rollouts.Terms(sum(text.encode()) % 7 / 6, 1.0, 0.0)

    model, tokenizer = tiny_policy.policy(conf.model, folder)
    stage = rollouts.Stage("guided", steps, 1.0, 0.2)
    checks = HeldOut(conf, folder, "guided", [], TEACHING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollouts, "terms", made_up)
        loop.train(conf, folder, stage, model, tokenizer, QUESTIONS, TEACHING, checks)
    return (folder / "guided" / "last" / "adapter_model.safetensors").read_bytes()


# ---------------------------------------------------------------- a server that samples as the engine does

def test_the_samples_are_those_of_the_engine(conf, serve, tmp_path):
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    want = rolled_out(conf, model, tokenizer, tmp_path)
    server = serve()
    got = rolled_out(conf, model, tokenizer, tmp_path)
    assert [one.prompt_ids for one in got] == [one.prompt_ids for one in want]
    for one, other in zip(got, want, strict=True):
        for sample, expected in zip(one.samples, other.samples, strict=True):
            assert (sample.ids, sample.ended) == (expected.ids, expected.ended)
            assert sample.logps == pytest.approx(expected.logps, abs=1e-5)
    assert all(one.mismatch is not None for one in got) and all(one.mismatch is None for one in want)

    # Each completion is asked for by itself, with the engine's seed, and nothing is left to the server.
    asked = [body for body in server.bodies if "prompt" in body]
    seeds = {runs.seed_of(conf.seed, "guided", 0, question.id, n) for question in QUESTIONS[:2]
             for n in range(4)}
    assert {body["seed"] for body in asked} == seeds and len(asked) == 8
    assert all(body["n"] == 1 and body["top_p"] == 1 and body["top_k"] == 0 and body["min_p"] == 0
               and body["temperature"] == 1 and body["max_tokens"] == 20
               and body["stop_token_ids"] == sorted(end_tokens(model, tokenizer)) for body in asked)
    assert server.most_running <= 4  # grpo.decode_rows


@pytest.mark.parametrize("kind", losses.KINDS)
def test_the_gradient_is_that_of_the_engine(conf, serve, tmp_path, kind):
    conf.grpo.loss = kind
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    want, plain = gradient(conf, model, scored(conf, rolled_out(conf, model, tokenizer, tmp_path)))
    serve()
    groups = scored(conf, rolled_out(conf, model, tokenizer, tmp_path))
    got, stats = gradient(conf, model, groups)
    assert are_equal(got, want)
    assert stats["loss"] == pytest.approx(plain["loss"], abs=1e-5) and stats["drift"] < 1e-5
    with_terms = [replace(group, terms=[rollouts.Terms(0.5, 1.0, 0.0)] * 4) for group in groups]
    found = rollouts.summary(with_terms)["importance"]
    assert found == {"mean": pytest.approx(1, abs=1e-5), "max": pytest.approx(1, abs=1e-4),
                     "truncated": 0.0, "difference": pytest.approx(0, abs=1e-5)}


def test_a_whole_stage_is_that_of_the_engine(conf, serve, tmp_path):
    """Rollouts and rewards, step after step: the adapter is sent after every update."""
    run(conf, tmp_path / "engine")
    server = serve()
    run(conf, tmp_path / "served")
    rows = {name: runs.read_jsonl(tmp_path / name / "guided" / "rollouts.jsonl")
            for name in ("engine", "served")}
    assert len(rows["served"]) == 24
    assert [row["text"] for row in rows["served"]] == [row["text"] for row in rows["engine"]]
    lines = {name: runs.read_metrics(tmp_path / name, "guided") for name in ("engine", "served")}
    for served, plain in zip(lines["served"], lines["engine"], strict=True):
        assert served["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3) and served["grad_norm"] > 0
        assert served["importance"]["mean"] == pytest.approx(1, abs=1e-5) and "importance" not in plain

    # Every step's adapter has a name of its own, and takes the place of the one before.
    names = [name for call, name in server.calls if call == "load"]
    assert len(set(names)) == len(names) == 3
    assert server.calls == [call for name in names for call in (("load", name), ("unload", name))]
    assert not server.adapters and not (tmp_path / "served" / "guided" / "sampler").exists()


def test_what_is_resampled_comes_from_the_adapter_that_is_there(conf, serve, tmp_path):
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    server = serve()
    with served_sampler(conf.grpo, tmp_path, POLICY) as sampler:
        for _ in range(2):
            rollouts.roll_out(conf, "guided", model, tokenizer, QUESTIONS[:1], 0, limit(1), sampler)
    assert [call for call, _ in server.calls] == ["load", "unload"]


def test_groups_that_begin_midway_and_those_of_a_few_completions(conf, serve, tmp_path, monkeypatch):
    """The beginnings are sampled here; what the server adds is the engine's."""
    monkeypatch.setattr(rollouts, "beginnings", lambda *_: [[5, 6, 7], []])
    conf.grpo.trained = 2
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    want = rolled_out(conf, model, tokenizer, tmp_path)
    serve()
    got = rolled_out(conf, model, tokenizer, tmp_path)
    assert [one.begun_ids for one in got] == [[5, 6, 7], []]
    assert [one.chains for one in got] == [one.chains for one in want]
    assert max(len(chain) for one in got for chain in one.chains) <= 20

    # Only tokens of completions that are trained on are counted.
    groups = scored(conf, got)
    gradient(conf, model, groups)
    for group in groups:
        trained = losses.most_different(group.rewards, 2).tolist()
        assert group.mismatch.tokens == sum(len(group.samples[n].ids) for n in trained)


# ---------------------------------------------------------------- a server that differs

def slow_gradient(conf, model, groups, cap):
    """({parameter: gradient}, ratios): the weighted surrogate by one forward of each completion under
    transformers' own attention, and the weights token by token."""
    weights_of_tokens = 1 / sum(len(s.ids) for group in groups for s in group.samples)  # dapo
    ratios = []
    base = model.get_base_model()
    base.config._attn_implementation = "sdpa"
    for group in groups:
        for sample, advantage in zip(group.samples, group.advantages.tolist(), strict=True):
            ids = torch.tensor([group.prompt_ids + sample.ids])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(group.prompt_ids) - 1:-1]
            logps = torch.log_softmax(logits.float() / conf.grpo.temperature, -1)
            for place, (token, sampler_logp) in enumerate(zip(sample.ids, sample.logps, strict=True)):
                ratio = float(logps[place, token].detach().exp()) / float(torch.tensor(sampler_logp).exp())
                ratios.append(ratio)
                loss = -min(ratio, cap) * advantage * logps[place, token] * weights_of_tokens
                loss.backward(retain_graph=True)
    base.config._attn_implementation = engine.prefix.NAME
    params = engine.adapter_parameters(model, POLICY)
    grads = {name: param.grad.clone() for name, param in params.items()}
    model.zero_grad()
    return grads, ratios


def test_a_server_of_another_temperature_is_made_up_for(conf, serve, tmp_path):
    """It samples at 0.7 where 1 was asked for: the gradient is the slow, obvious one with its weights."""
    conf.grpo.importance_cap = 1.2
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    serve(temperature=0.7)
    groups = scored(conf, rolled_out(conf, model, tokenizer, tmp_path))
    want, ratios = slow_gradient(conf, model, groups, cap=1.2)
    got, stats = gradient(conf, model, groups)
    assert are_equal(got, want)

    truncated = sum(ratio > 1.2 for ratio in ratios)
    assert 0 < truncated < len(ratios) and min(ratios) < 0.9
    found = rollouts.figures([group.mismatch for group in groups])["importance"]
    gaps = [abs(float(torch.tensor(ratio).log())) for ratio in ratios]
    assert found == {"mean": pytest.approx(sum(min(ratio, 1.2) for ratio in ratios) / len(ratios), abs=1e-4),
                     "max": pytest.approx(max(ratios), rel=1e-4),
                     "truncated": pytest.approx(truncated / len(ratios), abs=1e-6),
                     "difference": pytest.approx(sum(gaps) / len(gaps), abs=1e-4)}
    assert stats["drift"] == pytest.approx(found["difference"], abs=1e-5)

    uncapped, _ = slow_gradient(conf, model, groups, cap=float("inf"))
    assert not are_equal(uncapped, want, within=1e-2)  # the cap is felt


def test_an_update_that_ran_out_of_memory_counts_its_tokens_once(conf, serve, tmp_path):
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    serve()
    groups = scored(conf, rolled_out(conf, model, tokenizer, tmp_path))
    for _ in range(2):
        gradient(conf, model, groups)
    assert [group.mismatch.tokens for group in groups] == [sum(len(s.ids) for s in group.samples)
                                                           for group in groups]


# ---------------------------------------------------------------- faults

def fault_of(conf, tmp_path):
    """The line that a rollout ends with."""
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    with pytest.raises(UserError) as error:
        rolled_out(conf, model, tokenizer, tmp_path)
    line = str(error.value)
    assert isinstance(error.value, SamplerFault) and "\n" not in line and len(line) < 600
    assert line.startswith("grpo.sampler http://127.0.0.1") and line.endswith("from the last step")
    assert not (tmp_path / "sampler").exists()
    return line


@pytest.mark.parametrize("fault", ["500", "503", "429", "drop", "cut", "garbage", "html"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_fault_that_passes_is_borne(conf, serve, tmp_path, fault, first):
    """The load of the adapter fails twice, or a completion does."""
    conf.grpo.decode_rows = 1
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    want = rolled_out(conf, model, tokenizer, tmp_path)
    server = serve(faults=lambda n: fault if first <= n < first + 2 else "")
    got = rolled_out(conf, model, tokenizer, tmp_path)
    assert [one.chains for one in got] == [one.chains for one in want]
    assert server.seen == 2 + 1 + 8 + 1  # twice in vain, loaded, eight completions, unloaded


@pytest.mark.parametrize("fault, says", [
    ("500", "failed 3 times: HTTP 500: injected"), ("429", "failed 3 times: HTTP 429"),
    ("drop", "failed 3 times: RemoteProtocolError"), ("cut", "failed 3 times: "),
    ("garbage", "an answer that is no JSON"), ("html", "an answer that is no JSON: busy"),
    ("late", "failed 3 times: ReadTimeout"), ("400", "/completions: HTTP 400: injected"),
    ("401", "/completions: HTTP 401"), ("404", "/completions: HTTP 404")])
def test_a_fault_that_stays_is_one_line(conf, serve, tmp_path, fault, says):
    conf.grpo.sampler_timeout = 0.8 if fault == "late" else 30
    server = serve(faults=lambda n: fault if n else "")
    assert says in fault_of(conf, tmp_path)
    if fault in ("400", "401", "404"):
        assert server.seen <= 1 + 4  # loaded; asked once, as are the others of the four at a time


def test_a_server_that_is_not_there(conf, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        conf.grpo.sampler = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        line = fault_of(conf, tmp_path)
    assert "/load_lora_adapter: failed 3 times: ConnectError" in line and "still running?" in line


def spoil(**fields):
    """A `change` of completions: the fields of the completion, or of its log-probs."""
    def change(body):
        choice = body["choices"][0]
        for name, value in fields.items():
            place = choice["logprobs"] if name in ("tokens", "token_logprobs") else choice
            place[name] = value(choice["token_ids"])
    return change


@pytest.mark.parametrize("change, says", [
    (spoil(token_ids=lambda ids: [10**6, *ids[1:]]), "the token id 1000000, where the model has"),
    (spoil(token_ids=lambda ids: [ids[0] ^ 1, *ids[1:]]), "of other token ids than the completion"),
    (spoil(token_ids=lambda ids: ids * 30, tokens=lambda ids: []), "log-probs that are of other token ids"),
    (spoil(token_ids=lambda ids: [9] * 21, tokens=lambda ids: ["a"] * 21), "21 tokens, where at most 20"),
    (spoil(logprobs=lambda ids: None), "without log-probs"),
    (spoil(token_logprobs=lambda ids: [float("nan")] * len(ids)), "the log-prob nan"),
    (lambda body: body.update(model="the base"), "of the model 'the base'"),
    (spoil(prompt_token_ids=lambda ids: ids), "not the one that was sent"),
    (lambda body: body.update(choices=[]), "0 completions")])
def test_a_completion_that_cannot_be_trained_on_is_one_line(conf, serve, tmp_path, change, says):
    conf.grpo.decode_rows = 1
    server = serve(change=change)
    line = fault_of(conf, tmp_path)
    assert says in line and "`Rollouts by a server` in tagpr_lite/README.md" in line
    assert server.seen == 2  # loaded, and asked once: what is wrong would be wrong again


def test_a_server_that_loads_no_adapters(conf, serve, tmp_path):
    serve(updating=False)
    line = fault_of(conf, tmp_path)
    assert "HTTP 404: Not Found" in line and "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve" in line


def test_an_adapter_that_the_server_cannot_load(conf, serve, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setattr(server, "load", lambda *_: refused(500, "LoRA rank 64 is greater than max_lora_rank"))
    line = fault_of(conf, tmp_path)
    assert "LoRA rank 64 is greater than max_lora_rank" in line and "--max-lora-rank" in line


def test_an_adapter_whose_load_was_not_answered_is_there(conf, serve, tmp_path, monkeypatch):
    """Or that a run which was killed has left: its name says that it holds the same values."""
    model, tokenizer = tiny_policy.policy(conf.model, tmp_path)
    server = serve()
    killed = ServedSampler(conf.grpo, tmp_path / "sampler", POLICY)
    killed.send_adapter(model)
    rolled_out(conf, model, tokenizer, tmp_path)
    names = [name for call, name in server.calls if call == "load"]
    assert len(names) == 2 and names[0] == names[1] and not server.adapters


def test_the_first_fault_is_told_and_the_others_end(conf, serve, tmp_path):
    """One request is refused while another one waits for its next turn."""
    conf.grpo.sampler_retries = 1000
    seeds = [runs.seed_of(conf.seed, "guided", 0, QUESTIONS[0].id, n) for n in range(4)]
    said = {seeds[0]: refused(503, "busy"), seeds[3]: refused(400, "too long for max_model_len")}
    serve(special=lambda body: said.get(body.get("seed")))
    assert "/completions: HTTP 400: too long for max_model_len" in fault_of(conf, tmp_path)


def test_the_key_comes_from_the_environment_and_is_told_nobody_else(conf, serve, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGPR_SAMPLER_KEY", "sesame-open")
    monkeypatch.setenv("OPENAI_API_KEY", "another-one")
    server = serve(faults=lambda n: "401" if n else "")
    assert "sesame" not in fault_of(conf, tmp_path) and server.keys == {"Bearer sesame-open"}
    monkeypatch.delenv("TAGPR_SAMPLER_KEY")
    server.keys.clear()
    fault_of(conf, tmp_path)
    assert server.keys == {"Bearer none"}


# ---------------------------------------------------------------- a run that is cut by a fault

def test_the_steps_that_are_done_outlive_the_server(conf, serve, tmp_path):
    """The server breaks in the third step; the run goes on from there when it is back, and ends as an
    undisturbed one: adapter, rollouts and metrics alike."""
    conf.grpo.save_every, conf.grpo.decode_rows = 10, 1
    server = serve()
    whole = run(conf, tmp_path / "whole", steps=4)
    asked = [body["seed"] for body in server.bodies if "seed" in body]
    assert len(asked) == 32

    breaks_at = asked[19]  # in the third step
    server.bodies.clear()
    server.special = lambda body: refused(500, "down") if body.get("seed") == breaks_at else None
    with pytest.raises(SamplerFault, match="HTTP 500: down"):
        run(conf, tmp_path / "cut", steps=4)
    assert [line["index"] for line in runs.read_metrics(tmp_path / "cut", "guided")] == [0, 1]

    server.bodies.clear()
    server.special = lambda body: None
    assert run(conf, tmp_path / "cut", steps=4) == whole
    assert [body["seed"] for body in server.bodies if "seed" in body] == asked[16:]  # steps 3 and 4 alone
    lines = [[{key: value for key, value in line.items() if key not in ("seconds", "peak_gib")}
              for line in runs.read_metrics(tmp_path / name, "guided")] for name in ("whole", "cut")]
    assert lines[0] == lines[1]
    files = [(tmp_path / name / "guided" / "rollouts.jsonl").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]


# ---------------------------------------------------------------- settings

@pytest.mark.parametrize("words, says", [
    (["grpo.sampler=127.0.0.1:8000"], "empty, or an address such as http://127.0.0.1:8000/v1"),
    (["grpo.sampler=http://h/v1", "grpo.once=true"], "set grpo.once=false"),
    (["grpo.sampler=http://me:sesame@h/v1"], "put it into TAGPR_SAMPLER_KEY"),
    (["grpo.importance_cap=0.5"], "outside 1 to 1000"), (["grpo.sampler_timeout=0"], "outside"),
    (["grpo.sampler_retries=-1"], "outside")])
def test_settings_that_cannot_work_are_one_line(words, says):
    with pytest.raises(UserError) as error:
        config.load("smoke", words)
    assert says in str(error.value) and "sesame" not in str(error.value) and "\n" not in str(error.value)


def test_without_a_server_nothing_is_made(conf, tmp_path):
    with served_rollouts.served_sampler(conf.grpo, tmp_path, POLICY) as sampler:
        assert sampler is None
    assert not (tmp_path / "sampler").exists()


def test_several_processes_take_no_server(conf, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    conf.grpo.sampler = "http://127.0.0.1:1/v1"
    with pytest.raises(UserError, match="take one process here"):
        with served_sampler(conf.grpo, tmp_path, "policy"):
            pass
