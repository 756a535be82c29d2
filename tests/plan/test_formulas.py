"""The planner: formulas against the counter, choices against the budget, refusals against their own
advice."""
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, Phi3Config, Qwen3Config

from tagpr_lite.config import LAYOUTS, Model, UserError
from tagpr_lite.plan import count, counter
from tagpr_lite.plan.choice import CHUNKS, candidates, make, reserve
from tagpr_lite.plan.flops import update_flops
from tagpr_lite.plan.formulas import Job, held, rollout_bytes
from tagpr_lite.plan.layers import GIB
from tagpr_lite.plan.meta import meta_model
from tagpr_lite.plan.shapes import SHAPES, Shape, shape_of

QWEN3 = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b")
# prompt, group, completion, micro
SIZES = ((1024, 4, 1024, 4), (4096, 8, 256, 8), (2048, 4, 512, 2), (3072, 2, 256, 1), (1024, 16, 256, 8))


def fastest(job, budget):
    plan = candidates(job, budget)[0]
    assert plan.fits
    return plan


def shallow(name, layers=2):
    return replace(SHAPES[name], layers=layers)


def counted(job, layout, micro, chunk, adapters=("policy",)):
    adapters = (*adapters, "ref") if job.reference else adapters
    model = meta_model(job.shape, job.settings, adapters)
    return count.count_update(model, layout, job.prompt, job.group, job.completion, micro, chunk,
                              "ref" if job.reference else None)


def agree(job, layout, micro, chunk):
    """Bytes beside what is held: at least what is counted, at most 10% more; what is held: to the byte."""
    found = counted(job, layout, micro, chunk)
    plan = make(job, 0, layout, micro, chunk, job.settings.checkpointing)
    assert sum(held(job, adapters=2 if job.reference else 1).values()) == found.static
    assert 1 <= plan.parts["update"] / (found.peak - found.static) <= 1.1
    assert abs(update_flops(job, layout, micro, job.settings.checkpointing) / found.flops - 1) < 0.03


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", QWEN3)
def test_update_formulas_agree_with_the_counter(name, layout):
    n = QWEN3.index(name) + LAYOUTS.index(layout)
    prompt, group, completion, micro = SIZES[n % len(SIZES)]
    agree(Job(shallow(name), Model(), prompt, group, completion), layout, micro, CHUNKS[n % len(CHUNKS)])


@pytest.mark.parametrize("shape, layout", [
    (shallow("smollm2"), "two_phase"), (shallow("qwen2.5-7b"), "packed"),
    (Shape("grouped by one", "mistral", 512, 1536, 2, 8, 8, 64, 32000, False), "recompute")])
def test_they_agree_for_other_families(shape, layout):
    agree(Job(shape, Model(), 1024, 8, 256), layout, 4, 64)


@pytest.mark.parametrize("job, layout", [
    (Job(shallow("qwen3-1.7b"), Model(checkpointing=False), 1024, 4, 256), "two_phase"),
    (Job(shallow("qwen3-1.7b"), Model(checkpointing=False), 1024, 4, 256), "recompute"),
    (Job(shallow("qwen3-1.7b"), Model(lora_r=64, lora_targets="q_proj,v_proj"), 1024, 4, 256), "classic"),
    (Job(shallow("qwen3-1.7b"), Model(), 2048, 4, 256, reference=True), "two_phase"),
    (Job(shallow("qwen3-1.7b"), Model(), 1024, 4, 256, reference=True), "packed")],
    ids=["no checkpoints", "no checkpoints, recompute", "two targets", "reference", "reference, packed"])
def test_they_agree_without_checkpoints_with_few_targets_and_with_a_reference(job, layout):
    if job.settings.lora_targets == "all-linear":
        agree(job, layout, 2, 128)
    else:  # fewer copies are kept than are priced
        found = counted(job, layout, 2, 128)
        assert make(job, 0, layout, 2, 128).parts["update"] >= found.peak - found.static
        assert sum(held(job, adapters=2 if job.reference else 1).values()) == found.static


@pytest.mark.parametrize("name, together, prompt, group, completion, micro", [
    ("qwen3-0.6b", 4, 1024, 16, 256, 8), ("qwen3-1.7b", 1, 4096, 8, 512, 4),
    ("qwen3-4b", 2, 2048, 8, 1024, 1),
    ("qwen3-8b", 3, 4096, 4, 512, 2), ("smollm2", 4, 1024, 8, 128, 8)])
def test_rollout_and_scoring_formulas_agree_with_the_counter(name, together, prompt, group, completion,
                                                             micro):
    job = Job(shallow(name), Model(), prompt, group, completion)
    model = meta_model(job.shape, Model())
    parts = make(job, 0, "two_phase", micro, 64, together=together).parts
    for phase, found in (("rollout", count.count_rollout(model, together, prompt, group, completion)),
                         ("scoring", count.count_scoring(model, prompt, completion, micro))):
        assert 1 <= parts[phase] / (found.peak - found.static) <= 1.1, phase


@pytest.mark.parametrize("bits, adapters", [(4, ("policy", "ref", "prmu")), (32, ("policy",))])
def test_what_is_held_is_known_to_the_byte(bits, adapters):
    for name in ("qwen3-8b", "qwen2.5-3b", "smollm2"):
        chosen = Model(bits=bits, lora_r=8)
        model = meta_model(shallow(name), chosen, adapters)
        found = counter.count(lambda: None, model).static  # without the two moments
        told = held(Job(shallow(name), chosen, 1, 1, 1), len(adapters))
        assert told["weights"] + told["adapters"] * len(adapters) // (len(adapters) + 2) == found


def test_the_peak_does_not_grow_with_the_group():
    few, many = (Job(shallow("qwen3-0.6b"), Model(), 2048, g, 256) for g in (4, 16))
    a, b = (counted(job, "two_phase", 2, 64) for job in (few, many))
    assert b.peak - b.static <= 1.05 * (a.peak - a.static)
    for layout in LAYOUTS:
        assert make(few, 0, layout, 2, 64).parts["update"] == make(many, 0, layout, 2, 64).parts["update"]


@pytest.mark.parametrize("name, budget, prompt",
                         [("qwen3-1.7b", 6, 2048), pytest.param("qwen3-4b", 8, 2048, marks=pytest.mark.long),
                          ("qwen3-8b", 12, 4096)])
def test_the_promised_sizes_fit_by_the_counter(name, budget, prompt):
    """Two and three layers are counted; the others add what the third one did."""
    job = Job(SHAPES[name], Model(), prompt, 8, 512)
    plan = fastest(job, budget * GIB)
    assert plan.layout == "two_phase" and abs(plan.budget - plan.reserve - (0.9 * budget - 0.75) * GIB) <= 1
    two, three = (counted(replace(job, shape=shallow(name, n)), plan.layout, plan.micro, plan.logp_chunk,
                          ("policy", "ref", "prmu")).peak for n in (2, 3))
    peak = two + (job.shape.layers - 2) * (three - two)
    assert peak <= plan.budget - plan.reserve
    assert peak <= plan.parts["weights"] + plan.parts["adapters"] + plan.parts["update"] <= 1.1 * peak


def test_counts_are_linear_in_the_layers():
    peaks = [counted(Job(shallow("qwen3-0.6b", n), Model(), 1024, 2, 128), "two_phase", 2, 32).peak
             for n in (2, 3, 4)]
    assert peaks[2] - peaks[1] == peaks[1] - peaks[0]


JOBS = st.builds(Job, st.sampled_from(list(SHAPES.values())), st.just(Model()), st.integers(64, 4096),
                 st.integers(1, 16), st.integers(16, 1024))


@settings(deadline=None, max_examples=30)
@given(JOBS, st.floats(2, 48))
def test_what_is_chosen_fits_and_more_memory_is_never_slower(job, gib):
    plans = candidates(job, gib * GIB)
    assert {p.layout for p in plans} == set(LAYOUTS)
    if plans[0].fits:
        best = fastest(job, gib * GIB)
        assert best.peak <= gib * GIB - reserve(gib * GIB)
        assert best.cost == min(p.cost for p in plans if p.fits)
        assert fastest(job, 2 * gib * GIB).cost <= best.cost
        assert fastest(job, 0).cost <= best.cost  # no bound
    else:
        assert all(p.peak > gib * GIB - p.reserve for p in plans)


@settings(deadline=None, max_examples=30)
@given(JOBS, st.sampled_from(LAYOUTS), st.sampled_from([1, 2, 8]))
def test_longer_prompts_and_completions_never_need_less(job, layout, micro):
    parts = make(job, 0, layout, micro, 64).parts
    for longer in (replace(job, prompt=job.prompt + 256), replace(job, completion=job.completion + 64)):
        assert all(b >= a for a, b in zip(parts.values(), make(longer, 0, layout, micro, 64).parts.values()))


def test_fewer_prompts_are_decoded_together_when_memory_is_short():
    job = Job(SHAPES["qwen3-4b"], Model(), 4096, 8, 512, prompts=8)
    small, large = (fastest(job, n * GIB).rollout_prompts for n in (9, 24))
    assert small < large and rollout_bytes(job, small) < rollout_bytes(job, large)


def test_shapes_come_by_name_or_from_a_folder(tmp_path):
    assert shape_of("Qwen/Qwen3-4B") is shape_of("qwen3-4b")
    assert shape_of("Qwen/Qwen2.5-3B-Instruct").layers == 36
    sizes = dict(hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
                 num_key_value_heads=8, head_dim=128, vocab_size=151936, tie_word_embeddings=True)
    Qwen3Config(**sizes).save_pretrained(tmp_path / "Qwen3-4B")
    assert shape_of(str(tmp_path / "Qwen3-4B")) == SHAPES["qwen3-4b"]
    LlamaConfig(hidden_size=64, num_attention_heads=4).save_pretrained(tmp_path / "llama")
    assert shape_of(str(tmp_path / "llama")).head_dim == 16
    Phi3Config(pad_token_id=0).save_pretrained(tmp_path / "phi")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    for name, says in (("phi", "phi3"), ("broken", "no decoder's configuration"), ("nowhere", "not known")):
        with pytest.raises(UserError, match=says):
            shape_of(str(tmp_path / name))
