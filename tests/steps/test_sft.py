"""SFT: our loss and our steps are TRL's own, the end token is learned, and a cut run goes on bit for bit."""
import json
import math
from functools import partial

import pytest
import torch
from small_memory import small_memory

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import update as engine_update
from tagpr_lite.engine.memory import keep_gradient
from tagpr_lite.runs import read_metrics
from tagpr_lite.steps import step1_prepare, step2_tag, step3_sft
from tagpr_lite.steps.step3_sft import batch_gradient, examples, in_order, sequence_limit, train

ROW = {"input_ids": [1, 40, 41, 42, 43, 2, 50, 51, 2], "completion_mask": [0] * 6 + [1] * 3}


def random_rows(count=3):
    """Rows whose prompts and completions have (30, 9), (12, 20), (50, 5) tokens, again and again."""
    g = torch.Generator().manual_seed(0)
    lengths = [(30, 9), (12, 20), (50, 5)] * count
    return [{"input_ids": torch.randint(3, 900, (n + m,), generator=g).tolist(),
             "completion_mask": [0] * n + [1] * m} for n, m in lengths[:count]]


def build(tmp_path, *settings):
    conf = config.load("smoke", [f"results={tmp_path}", "name=run", *settings])
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, "policy")
    if conf.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    return conf, model, tokenizer


def shaken(tmp_path, *settings):
    """(config, model whose adapter is not 0, tokenizer)."""
    conf, model, tokenizer = build(tmp_path, *settings)
    for param in engine.adapter_parameters(model, "policy").values():
        torch.nn.init.normal_(param, std=0.1, generator=torch.Generator(param.device).manual_seed(1))
    return conf, model, tokenizer


def trls(tmp_path, conf, model, tokenizer, rows):
    """TRL's own trainer with the settings of step 3, over torch's attention."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer
    model.config._attn_implementation = "sdpa"
    before = copies(model)
    args = SFTConfig(output_dir=str(tmp_path / "trl"), per_device_train_batch_size=conf.sft.batch,
                     num_train_epochs=1, learning_rate=conf.sft.lr, lr_scheduler_type="cosine",
                     warmup_steps=step3_sft.WARMUP, max_length=None, bf16=False, gradient_checkpointing=False,
                     completion_only_loss=True, train_sampling_strategy="sequential", seed=conf.seed,
                     save_strategy="no", report_to="none", dataloader_pin_memory=False, disable_tqdm=True)
    trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows),
                         processing_class=tokenizer)
    for name, param in engine.adapter_parameters(model, "policy").items():
        param.data = before[name]  # TRL casts a quantised model's adapters to bf16
    return trainer


def copies(model):
    """{name: values} of the adapter."""
    params = engine.adapter_parameters(model, "policy")
    return {name: param.detach().clone() for name, param in params.items()}


def gradient_of(model):
    """{name: gradient} of the adapter; it is taken away from the model."""
    grads = {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}
    model.zero_grad()
    return grads


def difference(ours, theirs):
    """The largest difference of two gradients, as a share of the largest number in them."""
    assert ours.keys() == theirs.keys() and ours
    scale = max(grad.abs().max() for grad in theirs.values())
    return float(max((ours[name] - theirs[name]).abs().max() for name in theirs) / scale)


def gradient_step(conf, model, rows):
    """The loss of one batch, its gradient added as step 3 adds it."""
    model.train()
    params = engine.adapter_parameters(model, "policy").values()
    return sequence_limit(conf, conf.folder).attempt(
        partial(batch_gradient, model, rows, logp_chunk=conf.grpo.logp_chunk), present=len(rows),
        undo=keep_gradient(params))


@pytest.mark.parametrize("micro", [0, 1, 2])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_loss_and_its_gradient_are_trls_own(tmp_path, micro, checkpointing):
    """Both on one batch: the completion's tokens, the end token among them, are scored and no others. The
    trainer's own forward goes through torch's attention, under a mask; in ours nothing hides the padding."""
    conf, model, tokenizer = shaken(tmp_path, f"sft.micro={micro}", f"model.checkpointing={checkpointing}")
    rows = random_rows()
    layer = model.get_base_model().model.layers[0]
    assert layer.gradient_checkpointing == checkpointing
    ours = gradient_step(conf, model, rows)
    grads = gradient_of(model)
    trainer = trls(tmp_path, conf, model, tokenizer, rows)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    assert int((batch["labels"] != -100).sum()) == 9 + 20 + 5
    theirs = trainer.compute_loss(model, batch)
    theirs.backward()
    assert not ours.requires_grad and torch.allclose(ours, theirs, atol=1e-5)
    assert difference(grads, gradient_of(model)) <= 1e-4


def test_a_whole_training_is_trls_own(tmp_path):
    """Schedule, clipping, AdamW and the order of the batches: after eleven steps the same adapter."""
    rows = random_rows(43)
    trained = {}
    for who in ("ours", "trl"):
        conf, model, tokenizer = shaken(tmp_path, "model.bits=32", "sft.lr=1e-2")
        if who == "ours":
            train(conf, conf.folder, model, rows)
        else:
            trls(tmp_path, conf, model, tokenizer, rows).train()
        trained[who] = copies(model)
    _, untrained, _ = shaken(tmp_path, "model.bits=32")
    before = engine.adapter_parameters(untrained, "policy")
    moved = max(float((trained["trl"][name] - before[name]).abs().max()) for name in before)
    apart = max(float((trained["trl"][name] - trained["ours"][name]).abs().max()) for name in before)
    assert moved > 0.02 and apart < 0.02 * moved
    rates = [row["lr"] for row in read_metrics(conf.folder, "sft")]
    assert len(rates) == 11 and rates[0] == 0.0 and rates[1] == 1e-2 and 0 < rates[-1] < 1e-3


def test_the_gradient_does_not_depend_on_the_micro_batch(tmp_path):
    """Only where nothing is quantised is it exact enough to be held to 1e-6."""
    _, model, _ = shaken(tmp_path, "model.bits=32")
    rows = random_rows()
    whole = batch_gradient(model, rows, 3, 64)
    want = gradient_of(model)
    for micro in (1, 2, 4):
        parts = batch_gradient(model, rows, micro, 64)
        assert float(parts) == pytest.approx(float(whole), rel=1e-6)
        assert difference(gradient_of(model), want) <= 1e-6


def test_no_column_is_forwarded_that_a_micro_batch_does_not_need(tmp_path, monkeypatch):
    _, model, _ = shaken(tmp_path)
    seen = []
    monkeypatch.setattr(engine_update, "sft_gradient", lambda model, ids, scored, divisor, chunk: seen.append(
        (tuple(ids.shape), tuple(scored.shape), int(divisor))) or torch.tensor(0.0))
    batch_gradient(model, random_rows(), 2, 64)
    assert seen == [((2, 39), (2, 27), 34), ((1, 55), (1, 5), 34)]  # the first scored token is the 13th


def test_out_of_memory_gives_the_same_gradient_and_is_remembered(tmp_path, capsys):
    conf, model, _ = shaken(tmp_path, "model.bits=32", "sft.micro=2")
    whole = gradient_step(conf, model, random_rows())
    want = gradient_of(model)
    with small_memory(rows=1, spared=1) as tried:  # the first forward fits: its gradient is there and goes
        conf, model, _ = shaken(tmp_path, "model.bits=32", "sft.batch=3")
        tried.append(0)
        loss = gradient_step(conf, model, random_rows())
        assert difference(gradient_of(model), want) <= 1e-6 and float(loss) == pytest.approx(float(whole))
        assert tried == [0, 3] and capsys.readouterr().out.count("from now on 1 sequences") == 1
    conf = config.load("smoke", ["sft.batch=3"])
    assert sequence_limit(conf, tmp_path / "run").size == 1
    conf.sft.micro = 2
    assert sequence_limit(conf, tmp_path / "run").size == 2


def test_what_a_failed_attempt_has_added_to_the_gradient_is_taken_back(tmp_path, capsys):
    conf, model, _ = shaken(tmp_path, "model.bits=32", "sft.micro=2")
    rows = random_rows(4)  # two forwards of two
    gradient_step(conf, model, rows)
    gradient_step(conf, model, rows)  # and a gradient that was there before
    want = gradient_of(model)
    gradient_step(conf, model, rows)
    with small_memory(rows=1, spared=1) as tried:
        gradient_step(conf, model, rows)
    assert tried == [2, 2] and difference(gradient_of(model), want) <= 1e-6


def test_one_sequence_that_is_too_long_is_a_line_of_advice(tmp_path):
    conf, model, _ = shaken(tmp_path)
    with small_memory(rows=0), pytest.raises(UserError, match="(sft.micro).*lower prompt.max_tokens"):
        gradient_step(conf, model, random_rows())


def test_adapters_train_in_full_precision_and_learn_to_stop(tmp_path):
    conf, model, tokenizer = build(tmp_path, "sft.lr=1e-2")
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert ROW["input_ids"][-1] == tokenizer.eos_token_id
    train(conf, conf.folder, model, [ROW] * 120)
    with torch.no_grad():
        model.config._attn_implementation = "sdpa"
        logits = model(input_ids=torch.tensor([ROW["input_ids"][:-1]], device=model.device)).logits[0, 5:]
    assert logits.argmax(-1).tolist() == [50, 51, tokenizer.eos_token_id]


def test_ablations_train_on_other_forms_and_without_the_profile(tmp_path):
    conf = config.load("smoke", [f"results={tmp_path}", "name=x", "lamp.tasks=LaMP_3", "tag.samples=2"])
    step1_prepare.main(conf)
    step2_tag.main(conf)
    _, tokenizer = engine.load(conf.model)
    said = {}
    for conf.sft.form in ("tagged", "untagged", "answer"):
        rows = examples(conf, conf.folder, tokenizer)
        said[conf.sft.form] = [tokenizer.decode([t for t, m in zip(r["input_ids"], r["completion_mask"])
                                                 if m]) for r in rows]
        asked = tokenizer.decode([t for t, m in zip(rows[0]["input_ids"], rows[0]["completion_mask"])
                                  if not m])
        assert ("tagged steps" in asked) == (conf.sft.form != "answer")
    for tagged, untagged, answer in zip(*said.values()):
        assert "<examine_examples>" in tagged and "<examine_examples>" not in untagged
        assert "<think>" in untagged
        assert answer.removesuffix(tokenizer.eos_token).isdigit() and tagged.endswith(f"</think>\n{answer}")
    assert "Past scores:" in asked
    conf.sft.profile = False
    rows = examples(conf, conf.folder, tokenizer)
    assert not any("Past scores:" in tokenizer.decode(ROW["input_ids"]) for row in rows)
    conf.sft.form = "bare"
    with pytest.raises(UserError, match="known are tagged, untagged, answer"):
        step3_sft.work(conf, conf.folder)


def test_the_order_of_training_is_seeded_and_grouped_by_length():
    rows = [{"input_ids": [n] * (n + 1)} for n in range(100)]
    order = in_order(rows, 2.5, 4, seed=0)
    assert order == in_order(rows, 2.5, 4, seed=0) != in_order(rows, 2.5, 4, seed=1)
    ids = [r["input_ids"][0] for r in order]
    assert len(ids) == 250 and sorted(ids[:100]) == sorted(ids[100:200]) == list(range(100))
    spread = [max(ids[i:i + 4]) - min(ids[i:i + 4]) for i in range(0, 200, 4)]
    assert sum(spread) / len(spread) < 15  # at random it is 60


# ---------------------------------------------------------------- not a number, not finished

def test_a_loss_that_is_no_number_stops_training_before_a_state(tmp_path, monkeypatch):
    monkeypatch.setattr(step3_sft, "SAVE_EVERY", 1)
    conf, model, _ = build(tmp_path, "sft.lr=1")
    conf.sft.lr = 1e30
    with pytest.raises(UserError, match="sft: the .* is not a finite number; lower sft.lr"):
        train(conf, conf.folder, model, [ROW] * 40)
    logged = read_metrics(conf.folder, "sft")
    taken = [row for row in logged if "skipped" not in row]
    assert len(logged) < 10 and all(math.isfinite(row["loss"]) for row in taken)
    assert [row.get("skipped") for row in logged[-3:]] == [1, 1, 1]
    with pytest.raises(UserError, match="not finite numbers"):
        next(iter(engine.adapter_parameters(model, "policy").values())).data.fill_(float("nan"))
        engine.save_adapter(model, "policy", tmp_path / "adapter")


def test_a_loss_that_is_no_number_is_seen_where_its_gradient_is_one(tmp_path, monkeypatch):
    conf, model, _ = build(tmp_path)
    real = engine_update.sft_gradient
    monkeypatch.setattr(engine_update, "sft_gradient", lambda *args: real(*args) + float("nan"))
    with pytest.raises(UserError, match="sft: the loss is not a finite number"):
        train(conf, conf.folder, model, [ROW] * 40)


class Cut(Exception):
    """Stands for a kill: nothing that comes after it in the process is done."""


def trained(tmp_path, monkeypatch, cut_at=None, damage=None):
    """(adapter, lines of metrics) after 12 steps; cut before a step, and its state damaged, if asked for."""
    monkeypatch.setattr(step3_sft, "SAVE_EVERY", 3)
    rows = random_rows(46)
    real = step3_sft.batch_gradient
    if cut_at is not None:
        conf, model, _ = shaken(tmp_path)
        steps = []

        def cut(*args, **how):
            steps.append(1)
            if len(steps) > cut_at:
                raise Cut
            return real(*args, **how)

        monkeypatch.setattr(step3_sft, "batch_gradient", cut)
        with pytest.raises(Cut):
            train(conf, conf.folder, model, rows)
        monkeypatch.setattr(step3_sft, "batch_gradient", real)
        if damage is not None:
            damage(conf.folder / "sft" / step3_sft.STATE)
    conf, model, _ = shaken(tmp_path)
    train(conf, conf.folder, model, rows)
    return copies(model), (conf.folder / "metrics.jsonl").read_text()


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


DAMAGES = {"none": None, "flipped": flip, "cut": lambda path: path.write_bytes(path.read_bytes()[:-500]),
           "empty": lambda path: path.write_bytes(b""), "gone": lambda path: path.unlink(),
           "no safetensors": lambda path: path.write_text(json.dumps({"x": 1}))}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cut_run_goes_on_bit_for_bit_whatever_became_of_its_state(tmp_path, monkeypatch, capsys, damage):
    """The state before the last one is there for that: 8 steps were done, states are of 6 and of 3."""
    want, lines = trained(tmp_path / "whole", monkeypatch)
    capsys.readouterr()
    got, lines_again = trained(tmp_path / "cut", monkeypatch, cut_at=8, damage=DAMAGES[damage])
    assert all(torch.equal(want[name], got[name]) for name in want) and lines == lines_again
    said = capsys.readouterr().out.count("cannot be used")
    assert said == (0 if damage in ("none", "gone") else 1)


@pytest.mark.parametrize("losses, warned", [([3.0] * 10 + [1.0] * 10, False), ([15.2] * 20, True),
                                            ([1.0] * 5 + [2.0] * 5, True), ([1.0] * 4 + [2.0] * 4, False),
                                            ([], False)])
def test_a_loss_that_does_not_fall_is_said(capsys, losses, warned):
    step3_sft.warn_unless_fallen(losses)
    assert ("WARNING: the loss has not fallen" in capsys.readouterr().out) == warned
