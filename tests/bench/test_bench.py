"""The benchmarks on made-up data and the tiny model: what they count and compare, never how long it takes."""
import json
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tagpr_lite.bench import __main__ as bench
from tagpr_lite.bench import grpo as bench_grpo
from tagpr_lite.bench import measure as bench_measure
from tagpr_lite.bench import sample as bench_sample
from tagpr_lite.bench.convert import make_lamp3
from tagpr_lite.config import LAYOUTS, Config, UserError
from tagpr_lite.engine.prefix import base_of
from tagpr_lite.grpo.groups import Group
from tagpr_lite.grpo.update import policy_gradient
from tagpr_lite.lamp.official.files import read_outputs, read_questions

P, G, R = 64, 2, 8


def test_the_made_up_lamp3_file_is_valid_seeded_and_of_the_size_asked_for(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        n = make_lamp3(tmp_path / name, 500_000)
    path = tmp_path / "a" / "dev_questions.json"
    assert path.read_bytes() == (tmp_path / "b" / "dev_questions.json").read_bytes()
    questions = list(read_questions(path, *read_outputs(tmp_path / "a" / "dev_outputs.json")))
    items = [item for q in questions for item in q.profile]
    assert len(questions) == n and 500_000 <= path.stat().st_size < 1_000_000
    assert 99 <= min(len(q.profile) for q in questions)
    assert 600 < sum(len(i.text) for i in items) / len(items) < 1000


def test_the_convert_benchmark_prints_one_json_object():
    done = subprocess.run([sys.executable, "-m", "tagpr_lite.bench", "convert", "--mb", "1"],
                          capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["megabytes"]["dev_questions.json"] >= 1 > said["megabytes"]["dev.db"] > 0
    for work in ("json.load", "convert"):
        assert said[work]["seconds"] >= 0 and said[work]["peak_mb"] >= said["idle"]["peak_mb"] - 2 > 5


# ---------------------------------------------------------------- rollouts

def test_rows_are_made_to_end_by_tokens_that_no_other_row_writes():
    rows = [[1, 2, 3, 4, 5, 6], [1, 7, 8, 9, 10, 11], [1, 1, 1, 1, 1, 1]]
    ends = bench_sample.ends_near(rows, 3, seed=0)
    assert 1 not in ends and len(ends) == 2 and all(len(ends & set(row)) == 1 for row in rows[:2])
    lengths = [len(bench_sample.cut(row, ends)) for row in rows]
    assert all(2 <= length <= 4 for length in lengths[:2]) and lengths[2] == 6


def test_the_rollout_benchmark_counts_the_tokens_that_it_samples():
    config = tiny(group=4, completion=24)
    found = bench_sample.bench_sample(config, prompts=3, mean=12, against="generate", repeat=1)
    assert found["free"]["tokens"] == 3 * 4 * 24
    assert 12 < found["ended"]["tokens"] < 3 * 4 * 20
    assert found["mean_length"] == pytest.approx(found["ended"]["tokens"] / 12, abs=0.05)
    assert 12 <= found["generate"]["tokens"] <= 3 * 4 * 24
    assert json.loads(json.dumps(found)) == found
    assert [line.split()[0] for line in bench_sample.table(found).splitlines()[2:]] == \
        ["free", "ended", "generate"]


@pytest.mark.parametrize("wrong", [{"prompts": 0}, {"mean": 25}, {"mean": 0}, {"repeat": 0}])
def test_a_rollout_that_cannot_be_measured_is_one_line(wrong):
    how = {"prompts": 1, "mean": 12, "against": "none", "repeat": 1} | wrong
    with pytest.raises(UserError, match="are possible"):
        bench_sample.bench_sample(tiny(completion=24), **how)


# ---------------------------------------------------------------- against TRL

def tiny(**grpo):
    config = Config()
    config.model.name, config.model.bits, config.prompt.max_tokens = "tiny", 32, P
    for key, value in ({"group": G, "completion": R, "micro": 1} | grpo).items():
        setattr(config.grpo, key, value)
    return config


@pytest.fixture(scope="module")
def found():
    return bench_grpo.compare(tiny(), "trl", repeat=1)


def test_ours_forwards_the_prompt_once_and_trl_once_a_completion(found):
    once, trl = P + G * (R - 1), G * (P + R)  # nothing is predicted from the last token; TRL forwards it
    assert found["ours"]["tokens"] == {"rollout": once, "update": once, "step": 2 * once}
    assert found["trl"]["tokens"] == {"rollout": trl - G, "update": trl, "step": 2 * trl - G}


def test_both_compute_the_same_log_probs_and_gradient(found):
    exact = found["exact"]
    assert exact["logp"] <= 1e-5 and exact["gradient"] <= 1e-4
    assert exact["logp"] <= exact["ours_from_fp64"] + exact["trl_from_fp64"]
    assert exact["ours_from_fp64"] <= 1e-5


def test_every_figure_is_there_and_the_ratios_are_of_these_figures(found):
    ours, trl = found["ours"], found["trl"]
    for side, steps in ((ours, 2), (trl, 1)):
        assert all(len(side["runs"][p]) == steps and side["seconds"][p] > 0 for p in bench_measure.PHASES)
        assert side["of_flop_bound"]["update"] == pytest.approx(
            side["gflop"]["update"] / found["matmul_gflops"] / side["seconds"]["update"], rel=0.02, abs=0.001)
    assert found["ratio"]["step"] == pytest.approx(trl["seconds"]["step"] / ours["seconds"]["step"], abs=0.01)
    assert found["ratio"]["peak"] == pytest.approx(trl["peak_mb"]["step"] / ours["peak_mb"]["step"], abs=0.01)
    assert [(d["groups"], d["rows"]) for d in found["decode"]] == [(1, G), (2, 2 * G), (4, 4 * G)]
    assert all(0 < d["tokens_per_second"] <= d["decode_tokens_per_second"] for d in found["decode"])


def test_both_hold_the_same_weights_and_trl_takes_more_beside_them(found):
    ours, trl = found["ours"], found["trl"]
    assert ours["peak_mb"]["held"] == trl["peak_mb"]["held"]
    assert all(ours["peak_mb"]["held"] < ours["peak_mb"][p] <= ours["peak_mb"]["step"]
               for p in ("rollout", "update"))
    assert trl["peak_mb"]["update"] > ours["peak_mb"]["update"]
    assert trl["gflop"]["update"] > ours["gflop"]["update"] > 0 < ours["gflop"]["rollout"]


def test_the_result_is_json_and_reads_as_a_table(found):
    assert json.loads(json.dumps(found)) == found
    text = bench_grpo.table(found)
    assert f"{found['ratio']['update']:.2f}" in text and all(len(line) <= 170 for line in text.splitlines())


@pytest.fixture(scope="module")
def known():
    """(our side, a prompt, a group whose log-probs and gradient come from the classic layout)."""
    config = tiny(group=3, completion=5)
    side = bench_grpo.ours(config, P)
    prompt = bench_grpo.prompts_of(side.tokenizer, 1, P)[0]
    rows = bench_grpo.rollout(side, [prompt])[0]
    advantages, adapter = torch.tensor([1.0, -0.5, -0.5]), [p.detach().clone() for p in side.params.values()]
    config.grpo.layout = "classic"
    weights = torch.full((3,), 1 / 15)
    group = Group(None, prompt, rows, advantages=advantages)
    policy_gradient(config.grpo, side.model, group, weights, config.grpo.micro)
    gradient = [p.grad.clone() for p in side.params.values()]
    side.optimizer.zero_grad(set_to_none=True)
    return side, prompt, lambda: bench_trl().Group([s.ids for s in rows], advantages.clone(),
                                                   torch.tensor([s.logps for s in rows]), adapter, gradient)


def bench_trl():
    from tagpr_lite.bench import trl as bench_trl
    return bench_trl


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_comparison_finds_no_difference_where_there_is_none(known, layout):
    side, prompt, group = known
    side.config.grpo.layout = layout
    differs = bench_grpo.differences(side, prompt, group())
    assert differs["logp"] <= 2e-5 and differs["gradient"] <= 1e-4


def test_the_comparison_sees_another_prompt_other_advantages_and_another_adapter(known):
    side, prompt, group = known
    side.config.grpo.layout = "two_phase"
    differs = bench_grpo.differences(side, prompt[1:], group())
    assert differs["logp"] > 1e-3 < differs["gradient"]
    assert differs["ours_from_fp64"] <= 1e-5 < differs["trl_from_fp64"]
    other = group()
    other.advantages[:2] = other.advantages[:2].flip(0)
    differs = bench_grpo.differences(side, prompt, other)
    assert differs["logp"] <= 1e-5 and differs["gradient"] > 0.1
    other = group()
    other.adapter = [1.5 * p for p in other.adapter]
    differs = bench_grpo.differences(side, prompt, other)
    assert differs["logp"] > 1e-3 and differs["gradient"] > 1e-2


# ---------------------------------------------------------------- our step alone

@pytest.mark.long
def test_the_curve_grows_group_and_prompt_around_the_setting():
    said = bench_grpo.curve(tiny(group=4, completion=4, micro=8), repeat=1)
    assert said["micro"] == 1
    points = [(64, 2), (64, 4), (64, 8), (16, 4), (32, 4), (128, 4)]
    assert [(r["prompt"], r["group"]) for r in said["rows"]] == points
    assert [r["tokens"]["update"] for r in said["rows"]] == [p + 3 * g for p, g in points]
    assert len(bench_grpo.table(said).splitlines()) == 2 + len(points)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU's kernels")
def test_attention_on_a_cpu_is_charged_for_the_pairs_it_must_look_at():
    q, k, v = (torch.randn(2, 3, 16, 8, requires_grad=True) for _ in range(3))
    for causal, pairs in ((False, 16 * 16), (True, 16 * 17 // 2)):
        with FlopCounterMode(display=False) as forward:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        with FlopCounterMode(display=False) as backward:
            out.sum().backward()
        assert forward.get_total_flops() == 2 * 2 * (2 * 3 * 8) * pairs
        assert backward.get_total_flops() == 5 * 2 * (2 * 3 * 8) * pairs


def test_the_matmul_rate_is_the_best_of_its_shapes(monkeypatch):
    side = bench_grpo.ours(tiny(), P)
    clock = iter(range(10**6))
    # each look takes a second: one product, three looks
    monkeypatch.setattr(bench_measure, "now", lambda: next(clock))
    config = base_of(side.model).config
    largest = max(P * config.hidden_size * config.intermediate_size,
                  P // 4 * config.hidden_size * config.vocab_size)
    assert bench_measure.matmul_rate(side.model, P, repeat=1, seconds=1.5) == pytest.approx(2 * largest / 3)


@pytest.mark.parametrize("words, says", [
    (["--group", "1"], "--group 1: the least is 2"), (["--prompt", "8"], "--prompt 8: the least is 16"),
    (["--layout", "flat"], "known are two_phase"), (["--prompt", "5000"], "4032 fit")])
def test_settings_that_cannot_be_measured_are_refused_in_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(["grpo", "--model", "tiny", "--threads", str(torch.get_num_threads()), *words])
    assert stop.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize("words", [["kills", "--count", "0"], ["soak", "--steps", "9"],
                                   ["inputs", "--count", "x"]])
def test_a_campaign_of_nothing_is_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(words)
    assert stop.value.code == 2 and re.search("is less than|invalid whole number", capsys.readouterr().err)


def test_the_prmu_benchmark_counts_the_base_once(capsys):
    bench.main("prmu --model tiny --prompt 40 --group 4 --completion 8 --repeat 1".split())
    found = json.loads(capsys.readouterr().out)
    assert found["base_copies"] == 1.0 and found["rate"]["token_ratio"] == round((40 + 4 * 8) / (40 + 8), 3)
    assert found["megabytes"]["their adapters"] > 0 and found["new_item_ms"]["user_tokens"] > 0
    assert found["rate"]["ratio"] > 0
