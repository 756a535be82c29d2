"""Sampling is exact: against row by row without any cache, whatever ends when, and as a recorded step."""
import gc
import random
import re
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from recorded_step import RecordedStep
from slow_sample import slow_sample

from tagpr_lite.config import UserError
from tagpr_lite.engine import decode, graph, logps, prefix
from tagpr_lite.engine import sample as sampling
from tagpr_lite.engine.decode import Decode, moves
from tagpr_lite.engine.prefix import Prefill, base_of, forward
from tagpr_lite.engine.sample import prefill, sample
from tests.engine.test_prefix import DEVICE, FAMILIES, TEMPERATURE, build, group

on_a_cpu = pytest.mark.skipif(DEVICE.type != "cpu", reason="bit for bit on a CPU")
ROOM = 24
SEEDS = [[10 * b + n for n in range(6)] for b in range(3)]


@pytest.fixture(scope="module")
def model():
    return build("llama").eval()


@pytest.fixture(scope="module")
def prompts():
    return [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11), (5, 20))]


def plain(samples):
    """Everything that was sampled, as lists that can be compared."""
    return [[(s.ids, s.logps, s.ended) for s in rows] for rows in samples]


def ids_of(samples):
    return [[s.ids for s in rows] for rows in samples]


def cut(rows, ends):
    """What is left of free completions when `ends` end them."""
    found = []
    for s in rows:
        length = next((n + 1 for n, token in enumerate(s.ids) if token in ends), len(s.ids))
        found.append((s.ids[:length], s.logps[:length], s.ids[length - 1] in ends))
    return found


def ends_for(free, seed):
    """End tokens that end rows of different prompts at different times."""
    tokens = sorted({token for rows in free for s in rows for token in s.ids})
    return set(random.Random(seed).sample(tokens, max(2, len(tokens) // 12)))


# ---------------------------------------------------------------- exactness

@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_what_row_by_row_sampling_gives(family, temperature, prompts):
    model = build(family).eval()
    ends = ends_for(sample(model, prompts, 6, ROOM, set(), temperature=temperature, seeds=SEEDS), 1)
    got = sample(model, prompts, 6, ROOM, ends, temperature=temperature, seeds=SEEDS)
    assert len({len(s.ids) for rows in got for s in rows}) > 1  # they end at different times
    for prompt, rows, seeds in zip(prompts, got, SEEDS):
        for s, seed in list(zip(rows, seeds))[::3]:
            ids, logps, ended = slow_sample(model, prompt, ROOM, ends, temperature, seed)
            assert (s.ids, s.ended) == (ids, ended)
            assert s.logps == pytest.approx(logps, abs=2e-5)


@on_a_cpu
@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize("seed", range(4))
def test_dropping_rows_changes_no_bit_of_the_others(model, prompts, seed, rows):
    seeds = [of_prompt[:rows] for of_prompt in SEEDS]
    free = sample(model, prompts, rows, ROOM, set(), seeds=seeds)
    ends = ends_for(free, seed)
    got = sample(model, prompts, rows, ROOM, ends, seeds=seeds)
    assert plain(got) == [cut(completions, ends) for completions in free]


def test_a_row_alone_is_the_row_in_a_batch(model, prompts):
    ends = ends_for(sample(model, prompts, 6, ROOM, set(), seeds=SEEDS), 2)
    together = sample(model, prompts, 6, ROOM, ends, seeds=SEEDS)
    for prompt, rows, seeds in zip(prompts, together, SEEDS):
        for s, seed in zip(rows, seeds):
            (alone,), = sample(model, [prompt], 1, ROOM, ends, seeds=[[seed]])
            assert alone.ids == s.ids and alone.logps == pytest.approx(s.logps, abs=1e-5)


def test_a_rows_seed_is_its_own(model, prompts):
    rows = sample(model, prompts[:1], 4, ROOM, set(), seeds=[[7, 8, 7, 9]])[0]
    assert rows[0].ids == rows[2].ids and len({tuple(s.ids) for s in rows}) == 3


def test_the_first_token_may_be_the_last(model, prompts):
    first = sample(model, prompts, 6, 1, set(), seeds=SEEDS)
    assert all(len(s.ids) == len(s.logps) == 1 and not s.ended for rows in first for s in rows)
    ends = {s.ids[0] for rows in first for s in rows}
    ticks = []
    got = sample(model, prompts, 6, ROOM, ends, seeds=SEEDS, tick=lambda: ticks.append(1))
    assert ids_of(got) == ids_of(first) and all(s.ended for rows in got for s in rows)
    assert len(ticks) == len(prompts) + 1  # three prompts and one token: nothing more is decoded


def test_only_rows_that_have_not_ended_are_computed(prompts):
    model, seen = build("llama").eval(), []
    ends = ends_for(sample(model, prompts, 6, ROOM, set(), seeds=SEEDS), 3)
    base_of(model).get_input_embeddings().register_forward_pre_hook(
        lambda _, args: seen.append(args[0].numel()))
    got = sample(model, prompts, 6, ROOM, ends, seeds=SEEDS)
    lengths = [len(s.ids) for rows in got for s in rows]
    alive = [sum(length > t for length in lengths) for t in range(1, max(lengths))]
    if DEVICE.type == "cpu":
        assert seen == [len(prompt) for prompt in prompts] + alive


def test_states_that_are_no_numbers_are_refused(prompts):
    model = build("llama").eval()
    base_of(model).model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite numbers"):
        sample(model, prompts, 2, ROOM, set(), seeds=SEEDS)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_equals_generate(family):
    model = build(family).eval()
    prompts = [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11), (5, 50))]
    ours = sample(model, prompts, 2, 12, set(), temperature=0)
    base = model.get_base_model()
    base.config._attn_implementation = "sdpa"
    for prompt, rows in zip(prompts, ours):
        want = base.generate(torch.tensor([prompt], device=DEVICE),
                             attention_mask=torch.ones(1, len(prompt), device=DEVICE), do_sample=False,
                             max_new_tokens=12, eos_token_id=None, pad_token_id=0)[0, len(prompt):].tolist()
        assert rows[0].ids == rows[1].ids == want


def test_sampled_logps_equal_teacher_forcing():
    model = build("qwen3").eval()
    prompts = [group(seed=s, P=P)[0] for s, P in ((3, 37), (4, 11))]
    rows = sample(model, prompts, 3, 15, {7, 9}, temperature=TEMPERATURE, seeds=[[1, 2, 3], [4, 5, 6]])
    for prompt, samples in zip(prompts, rows):
        ids, mask = logps.padded([s.ids for s in samples], DEVICE)
        with torch.no_grad():
            at = prefix.SharedPrefix(model, torch.tensor(prompt, device=DEVICE))
            got, _ = logps.token_logps(model, at.predict(ids), ids, mask, TEMPERATURE)
        for row, s, m in zip(got, samples, mask):
            assert (row[m] - torch.tensor(s.logps, device=DEVICE)).abs().max() < 1e-5


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_the_entropy_is_that_of_the_model_s_own_distribution(model, prompts, temperature):
    """At every temperature, greedily too, over the tokens of the completion alone."""
    ends = ends_for(sample(model, prompts, 6, ROOM, set(), temperature=temperature, seeds=SEEDS), 1)
    rows = sample(model, prompts, 6, ROOM, ends, temperature=temperature, seeds=SEEDS)
    for prompt, samples in zip(prompts, rows):
        ids, mask = logps.padded([s.ids for s in samples], DEVICE)
        with torch.no_grad():
            at = prefix.SharedPrefix(model, torch.tensor(prompt, device=DEVICE))
            _, entropies = logps.token_logps(model, at.predict(ids), ids, mask, temperature=1.0)
        means = (entropies.sum(-1) / mask.sum(-1)).tolist()
        assert [s.entropy for s in samples] == pytest.approx(means, abs=1e-5)
        assert min(means) > 0.1


def test_samples_follow_the_distribution():
    """8,000 draws of the first token against its softmax: chi-square far from absurd."""
    model = build("llama").eval()
    prompt = group()[0]
    rows = sample(model, [prompt], 8000, 1, set(), seeds=[list(range(8000))])[0]
    with torch.no_grad():
        _, _, hidden = prefill(model, [prompt])
        p = torch.softmax(model.get_base_model().lm_head(hidden)[0], -1)
    counts = torch.bincount(torch.tensor([r.ids[0] for r in rows]), minlength=128).to(DEVICE)
    chi2 = ((counts - 8000 * p) ** 2 / (8000 * p)).sum()
    assert chi2 < 127 + 5 * (2 * 127) ** 0.5


def test_every_end_token_ends_a_row_and_is_kept():
    model = build("llama").eval()
    free = sample(model, [group()[0]], 1, 12, set(), seeds=[[1]])[0][0].ids
    first = {t: free.index(t) for t in free}
    ends = set(list(first)[2:4])
    cut = sample(model, [group()[0]], 1, 12, ends, seeds=[[1]])[0][0]
    stop = min(first[e] for e in ends)
    assert cut.ended and cut.ids == free[:stop + 1]


# ---------------------------------------------------------------- the state of a step

def test_moves_fill_the_places_of_those_that_go():
    assert moves([True, False, False, True], 2) == ([3], [1])
    assert moves([True, True, False], 2) == ([], [])
    assert moves([False, True, False, True, True], 4) == ([4], [0])  # more places than rows: one is kept
    for n in range(200):
        draw = random.Random(n)
        stays = [draw.random() < 0.6 for _ in range(draw.randint(1, 12))]
        size = draw.randint(sum(stays), len(stays))
        source, target = moves(stays, size)
        names = list(range(len(stays)))
        for old, new in zip(source, target, strict=True):
            names[new] = names[old]
        assert set(names[:size]) >= {place for place, stay in enumerate(stays) if stay}


def test_rows_keep_their_seat_at_their_own_prompt(model, prompts):
    with torch.no_grad():
        kv, lengths, _ = prefill(model, prompts)
        state = Decode(kv, lengths, 6, ROOM)
        for ended in ([0, 1, 2, 3, 4, 5], [6, 7, 12], [8, 13, 14, 15, 16]):
            state.drop([row in ended for row in state.rows])
            for place, seat in enumerate(state.seat_of_row.tolist()):
                assert state.prompts[seat // state.seats] == state.rows[place] // 6
                assert state.row_of_seat[seat] == place
            assert state.row_lengths.tolist() == [len(prompts[row // 6]) for row in state.rows]
            for n, b in enumerate(state.prompts):
                mode = Prefill()
                forward(model, mode, ids=torch.tensor([prompts[b]], device=DEVICE))
                for layer, (keys, _) in enumerate(state.kv):
                    assert torch.equal(keys[n, :, :len(prompts[b])], mode.kv[layer][0][0])
    if DEVICE.type == "cpu":
        assert state.prompts == [2, 1] and sorted(state.rows) == [9, 10, 11, 17]


def test_what_is_masked_is_zero_and_no_number_of_old(model, prompts):
    with torch.no_grad():
        kv, lengths, _ = prefill(model, prompts)
    assert not any(side.any() for layer in Decode(kv, lengths, 6, ROOM).own for side in layer)


def test_the_memory_of_a_rollout_is_free_when_it_ends(model, prompts, monkeypatch):
    made = []

    def watched(*args):
        state = Decode(*args)
        made.append(weakref.ref(state))
        return state

    monkeypatch.setattr(sampling, "Decode", watched)
    gc.disable()  # at once, not when circles are looked for
    try:
        sample(model, prompts, 6, ROOM, set(), seeds=SEEDS)
        assert made[0]() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- as a graph

@pytest.fixture
def recorded(monkeypatch):
    """The CPU as if it had graphs: steps of fixed shapes, rows dropped eight at a time."""
    monkeypatch.setattr(decode, "READ_WRITTEN", ())
    monkeypatch.setitem(decode.STEP_OF_ROWS, "cpu", 8)
    monkeypatch.setattr(graph, "GRAPHS", {"cpu": RecordedStep})
    monkeypatch.setattr(graph, "_failed", [])
    monkeypatch.setattr(RecordedStep, "captured", 0)
    monkeypatch.setattr(RecordedStep, "replayed", 0)


@on_a_cpu
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_recorded_step_samples_the_same(family, temperature, prompts, request):
    model = build(family).eval()
    ends = ends_for(sample(model, prompts, 6, ROOM, set(), temperature=temperature, seeds=SEEDS), 1)
    want = sample(model, prompts, 6, ROOM, ends, temperature=temperature, seeds=SEEDS)
    request.getfixturevalue("recorded")
    got = sample(model, prompts, 6, ROOM, ends, temperature=temperature, seeds=SEEDS)
    assert ids_of(got) == ids_of(want)
    for of_prompt, wanted_of_prompt in zip(got, want):
        for row, wanted_row in zip(of_prompt, wanted_of_prompt):
            assert row.entropy == pytest.approx(wanted_row.entropy, abs=1e-5)
    for a, b in zip(plain(got), plain(want)):
        for (_, found, ended), (_, wanted, has_ended) in zip(a, b):
            assert found == pytest.approx(wanted, abs=1e-5) and ended == has_ended
    steps = max(len(s.ids) for rows in got for s in rows) - 1
    # 18 rows are recorded as 18, 16 and 8
    assert 1 <= RecordedStep.captured <= 3 and RecordedStep.replayed == steps


@on_a_cpu
def test_a_recorded_step_does_not_change_with_what_is_beside_a_row(model, prompts, recorded):
    free = sample(model, prompts, 6, ROOM, set(), seeds=SEEDS)
    ends = ends_for(free, 1)
    got = sample(model, prompts, 6, ROOM, ends, seeds=SEEDS)
    assert RecordedStep.captured > 2  # the first run was one, the second more than one
    assert ids_of(got) == [[ids for ids, *_ in cut(rows, ends)] for rows in free]


@on_a_cpu
def test_short_completions_are_not_recorded(model, prompts, recorded):
    sample(model, prompts, 6, graph.LEAST_REPEATS - 1, set(), seeds=SEEDS)
    assert RecordedStep.captured == 0


@on_a_cpu
def test_a_step_that_cannot_be_recorded_is_decoded_plainly_and_says_so_once(prompts, request, capsys):
    """A layer that reads a value on this side, as some do on a card."""
    model = build("llama").eval()
    want = sample(model, prompts, 6, ROOM, set(), seeds=SEEDS)
    mlp = base_of(model).model.layers[1].mlp
    mlp.register_forward_hook(lambda module, args, out: out * (1.0 if float(out.sum()) == 0 else 1.0))
    request.getfixturevalue("recorded")
    for _ in range(2):
        got = sample(model, prompts, 6, ROOM, set(), seeds=SEEDS)
        assert ids_of(got) == ids_of(want)
    assert RecordedStep.captured == 1 and RecordedStep.replayed == 0
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(
        r"decoding without a CUDA graph \(capture failed: operation not permitted[^\n]*\)\n", said.err)


def test_a_card_runs_a_step_beside_its_stream_before_it_records_it(monkeypatch):
    """The side stream waits, the step runs there, the main stream waits; then the step is recorded."""
    said = []

    @contextmanager
    def within(what, *_, **how):
        said.append(f"begin {what} {how.get('capture_error_mode', '')}".strip())
        yield
        said.append(f"end {what}")

    def stream(name):
        return SimpleNamespace(name=name, wait_stream=lambda other: said.append(f"{name} waits {other.name}"))

    cuda = SimpleNamespace(
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: said.append("replay")),
        Stream=lambda: stream("side"), current_stream=lambda: stream("main"),
        stream=lambda which: within(f"on {which.name}"),
        graph=lambda recorded, stream, **how: within(f"record on {stream.name}", **how))
    monkeypatch.setattr(graph.torch, "cuda", cuda)
    recorded = graph.CudaGraph()
    assert recorded.capture(lambda: said.append("step") or (1,)) == (1,)
    recorded.replay()
    assert said == ["side waits main", "begin on side", "step", "end on side", "main waits side",
                    "begin record on side thread_local", "step", "end record on side", "replay"]


def test_who_listens_gets_every_token_and_may_stop_a_row(model, prompts):
    seeds = [of_prompt[:2] for of_prompt in SEEDS]
    free = sample(model, prompts, 2, ROOM, set(), temperature=1.0, seeds=seeds)
    heard = {row: [] for row in range(6)}

    def listen(row, token):
        heard[row].append(token)
        return row != 3 or len(heard[3]) < 4  # nobody wants more than four tokens of the fourth row

    got = sample(model, prompts, 2, ROOM, set(), temperature=1.0, seeds=seeds, listen=listen)
    rows = [s for of_prompt in got for s in of_prompt]
    assert [heard[row] for row in range(6)] == [s.ids for s in rows]
    expected = [s.ids for of_prompt in free for s in of_prompt]
    assert [s.ids for s in rows] == [ids[:4] if row == 3 else ids for row, ids in enumerate(expected)]
    assert not rows[3].ended
