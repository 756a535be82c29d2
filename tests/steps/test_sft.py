"""SFT: our loss is TRL's own on the same batch, and the end token is learned."""
import math
import shutil

import pytest
import torch
from small_memory import small_memory

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import update as engine_update
from tagpr_lite.steps import step1_prepare, step2_tag, step3_sft
from tagpr_lite.steps.step3_sft import batch_gradient, examples, in_order, make_trainer


def build(tmp_path, rows, *settings):
    conf = config.load("smoke", [f"results={tmp_path}", *settings])
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, "policy")
    return make_trainer(conf, model, tokenizer, rows, tmp_path / "state",
                        lambda *a, **k: None, tmp_path), model, tokenizer


def batch_of_three(tmp_path, *settings):
    """(trainer, model whose adapter is not 0, batch of three rows of other lengths), as the trainer sees
    them."""
    g = torch.Generator().manual_seed(0)
    rows = [{"input_ids": torch.randint(3, 900, (n + m,), generator=g).tolist(), "completion_mask": [0] * n
             + [1] * m} for n, m in ((30, 9), (12, 20), (50, 5))]
    trainer, model, _ = build(tmp_path, rows, *settings)
    for param in engine.adapter_parameters(model, "policy").values():
        torch.nn.init.normal_(param, std=0.1, generator=torch.Generator(param.device).manual_seed(1))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    assert int((batch["labels"] != -100).sum()) == 9 + 20 + 5
    return trainer, model, batch


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


@pytest.mark.parametrize("micro", [0, 1, 2])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_loss_and_its_gradient_are_trls_own(tmp_path, micro, checkpointing):
    """Both on one batch: the completion's tokens, the end token among them, are scored and no others. The
    trainer's own forward goes through torch's attention, under a mask; in ours nothing hides the padding."""
    from trl import SFTTrainer
    trainer, model, batch = batch_of_three(tmp_path, f"sft.micro={micro}",
                                           f"model.checkpointing={checkpointing}")
    layer = model.get_base_model().model.layers[0]
    assert layer.gradient_checkpointing == checkpointing
    ours = trainer.training_step(model, dict(batch))
    grads = gradient_of(model)
    model.config._attn_implementation = "sdpa"
    theirs = SFTTrainer.compute_loss(trainer, model, dict(batch))
    theirs.backward()
    assert not ours.requires_grad and torch.allclose(ours, theirs, atol=1e-5)
    assert difference(grads, gradient_of(model)) <= 1e-4


def test_the_gradient_does_not_depend_on_the_micro_batch(tmp_path):
    """Only where nothing is quantised is it exact enough to be held to 1e-6."""
    trainer, model, batch = batch_of_three(tmp_path, "model.bits=32")
    whole = batch_gradient(model, batch, 3, 64)
    want = gradient_of(model)
    for micro in (1, 2, 4):
        parts = batch_gradient(model, batch, micro, 64)
        assert float(parts) == pytest.approx(float(whole), rel=1e-6)
        assert difference(gradient_of(model), want) <= 1e-6


def test_no_column_is_forwarded_that_a_micro_batch_does_not_need(tmp_path, monkeypatch):
    trainer, model, batch = batch_of_three(tmp_path)
    seen = []
    monkeypatch.setattr(engine_update, "sft_gradient", lambda model, ids, scored, divisor, chunk: seen.append(
        (tuple(ids.shape), tuple(scored.shape), int(divisor))) or torch.tensor(0.0))
    batch_gradient(model, batch, 2, 64)
    assert seen == [((2, 39), (2, 27), 34), ((1, 55), (1, 5), 34)]  # the first scored token is the 13th


def test_out_of_memory_gives_the_same_gradient_and_is_remembered(tmp_path, capsys):
    trainer, model, batch = batch_of_three(tmp_path, "model.bits=32", "sft.micro=2")
    whole = trainer.training_step(model, dict(batch))
    want = gradient_of(model)
    with small_memory(rows=1, spared=1) as tried:  # the first forward fits: its gradient is there and goes
        trainer, model, batch = batch_of_three(tmp_path, "model.bits=32", "sft.batch=3")
        tried.append(0)
        loss = trainer.training_step(model, dict(batch))
        assert difference(gradient_of(model), want) <= 1e-6 and float(loss) == pytest.approx(float(whole))
        assert tried == [0, 3] and capsys.readouterr().out.count("from now on 1 sequences") == 1
    conf = config.load("smoke", ["sft.batch=3"])
    assert step3_sft.sequence_limit(conf, tmp_path).size == 1
    conf.sft.micro = 2
    assert step3_sft.sequence_limit(conf, tmp_path).size == 2


def test_what_a_failed_attempt_has_added_to_the_gradient_is_taken_back(tmp_path, capsys):
    trainer, model, batch = batch_of_three(tmp_path, "model.bits=32", "sft.micro=2")
    batch = {name: torch.cat([tensor, tensor[:1]]) for name, tensor in batch.items()}  # two forwards of two
    trainer.training_step(model, dict(batch))
    trainer.training_step(model, dict(batch))  # and a gradient that was there before
    want = gradient_of(model)
    trainer.training_step(model, dict(batch))
    with small_memory(rows=1, spared=1) as tried:
        trainer.training_step(model, dict(batch))
    assert tried == [2, 2] and difference(gradient_of(model), want) <= 1e-6


def test_one_sequence_that_is_too_long_is_a_line_of_advice(tmp_path):
    trainer, model, batch = batch_of_three(tmp_path)
    with small_memory(rows=0), pytest.raises(UserError, match="(sft.micro).*lower prompt.max_tokens"):
        trainer.training_step(model, dict(batch))


def test_padding_on_the_left_is_refused(tmp_path):
    _, model, batch = batch_of_three(tmp_path)
    turned = {name: tensor.flip(1) for name, tensor in batch.items()}
    with pytest.raises(RuntimeError, match="pads on the left"):
        batch_gradient(model, turned, 3, 64)


def test_adapters_train_in_full_precision_and_learn_to_stop(tmp_path):
    row = {"input_ids": [1, 40, 41, 42, 43, 2, 50, 51, 2], "completion_mask": [0] * 6 + [1] * 3}
    trainer, model, tokenizer = build(tmp_path, [row] * 120, "sft.lr=1e-2")
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert row["input_ids"][-1] == tokenizer.eos_token_id
    trainer.train()
    model.eval()
    with torch.no_grad():
        model.config._attn_implementation = "sdpa"
        logits = model(input_ids=torch.tensor([row["input_ids"][:-1]], device=model.device)).logits[0, 5:]
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
    assert not any("Past scores:" in tokenizer.decode(row["input_ids"]) for row in rows)
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

ROW = {"input_ids": [1, 40, 41, 42, 43, 2, 50, 51, 2], "completion_mask": [0] * 6 + [1] * 3}


def test_a_loss_that_is_no_number_stops_training_before_a_checkpoint(tmp_path, monkeypatch):
    """The trainer's default logs such a loss as 0.0 and goes on."""
    monkeypatch.setattr(step3_sft, "SAVE_EVERY", 1)
    conf = config.load("smoke", [f"results={tmp_path}"])
    conf.sft.lr = 1e30
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, "policy")
    logged = []
    trainer = make_trainer(conf, model, tokenizer, [ROW] * 40, tmp_path / "state",
                           lambda index, **values: logged.append(values))
    with pytest.raises(UserError, match="sft: the .* is not a finite number; lower sft.lr"):
        trainer.train()
    assert len(logged) < 10 and all(math.isfinite(row["loss"]) for row in logged)
    with pytest.raises(UserError, match="not finite numbers"):
        next(iter(engine.adapter_parameters(model, "policy").values())).data.fill_(float("nan"))
        engine.save_adapter(model, "policy", tmp_path / "adapter")


def test_a_loss_that_is_no_number_is_seen_where_its_gradient_is_one(tmp_path, monkeypatch):
    trainer, _, _ = build(tmp_path, [ROW] * 40)
    real = engine_update.sft_gradient
    monkeypatch.setattr(engine_update, "sft_gradient", lambda *args: real(*args) + float("nan"))
    with pytest.raises(UserError, match="sft: the loss is not a finite number"):
        trainer.train()


@pytest.mark.parametrize("missing", [*step3_sft.PARTS, "the end of trainer_state.json", "everything"])
def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, monkeypatch, missing):
    """Killed while it is written, or damaged: the one before it is used, as if nothing had been."""
    monkeypatch.setattr(step3_sft, "SAVE_EVERY", 10)
    state = tmp_path / "state"
    trainer, model, _ = build(tmp_path, [ROW] * 120)
    trainer.args.save_total_limit = None
    trainer.train()
    saved = {path.name for path in state.glob("checkpoint-*")}
    assert saved == {"checkpoint-10", "checkpoint-20", "checkpoint-30"}
    newest = state / "checkpoint-30"
    assert step3_sft.newest_whole(state) == str(newest)
    if missing == "everything":
        shutil.rmtree(newest)
        newest.mkdir()
    elif missing.startswith("the end"):
        path = newest / "trainer_state.json"
        path.write_text(path.read_text()[:-20])
    else:
        (newest / missing).unlink()
    assert step3_sft.newest_whole(state) == str(state / "checkpoint-20") and not newest.exists()


def test_without_a_whole_checkpoint_training_begins_anew(tmp_path):
    assert step3_sft.newest_whole(tmp_path / "none") is None
    (tmp_path / "state" / "checkpoint-25").mkdir(parents=True)
    assert step3_sft.newest_whole(tmp_path / "state") is None
