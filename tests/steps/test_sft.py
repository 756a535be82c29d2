"""SFT: our loss is TRL's own on the same batch, and the end token is learned."""
import math
import shutil

import pytest
import torch

from tagpr_lite import config
from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.steps import step1_prepare, step2_tag, step3_sft
from tagpr_lite.steps.step3_sft import examples, in_order, make_trainer
from tagpr_lite.steps.step5_guided import grpo_settings


def build(tmp_path, rows, *settings):
    conf = config.load("smoke", [f"results={tmp_path}", *settings])
    model, tokenizer = engine.load(conf.model, attention="sdpa")
    model = engine.add_adapter(model, conf.model, "policy")
    return make_trainer(conf, model, tokenizer, rows, tmp_path / "state",
                        lambda *a, **k: None), model, tokenizer


def test_the_loss_is_trls_own(tmp_path):
    """Both on one batch: the completion's tokens, the end token among them, are scored and no others."""
    from trl import SFTTrainer
    g = torch.Generator().manual_seed(0)
    rows = [{"input_ids": torch.randint(3, 900, (n + m,), generator=g).tolist(), "completion_mask": [0] * n
             + [1] * m} for n, m in ((30, 9), (12, 20), (50, 5))]
    trainer, model, _ = build(tmp_path, rows)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    assert int((batch["labels"] != -100).sum()) == 9 + 20 + 5
    model.train()
    ours = trainer.compute_loss(model, dict(batch))
    theirs = SFTTrainer.compute_loss(trainer, model, dict(batch))
    assert torch.allclose(ours, theirs, atol=1e-5)
    grads = []
    for loss in (ours, theirs):
        model.zero_grad()
        loss.backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    scale = max(g.abs().max() for g in grads[0].values())
    assert all((grads[0][n] - grads[1][n]).abs().max() <= 1e-4 * scale for n in grads[0])


def test_adapters_train_in_full_precision_and_learn_to_stop(tmp_path):
    row = {"input_ids": [1, 40, 41, 42, 43, 2, 50, 51, 2], "completion_mask": [0] * 6 + [1] * 3}
    trainer, model, tokenizer = build(tmp_path, [row] * 120, "sft.lr=1e-2")
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert row["input_ids"][-1] == tokenizer.eos_token_id
    trainer.train()
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row["input_ids"][:-1]], device=model.device)).logits[0, 5:]
    assert logits.argmax(-1).tolist() == [50, 51, tokenizer.eos_token_id]


def test_ablations_train_on_other_forms_and_never_reach_grpo(tmp_path):
    conf = config.load("smoke", [f"results={tmp_path}", "name=x", "lamp.tasks=LaMP_3", "tag.samples=2"])
    step1_prepare.main(conf)
    step2_tag.main(conf)
    _, tokenizer = engine.load(conf.model, attention="sdpa")
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
    with pytest.raises(UserError, match="the reward of GRPO reads tagged chains"):
        grpo_settings(conf, conf.folder)
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
    model, tokenizer = engine.load(conf.model, attention="sdpa")
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


def test_a_loss_that_is_no_number_is_seen_where_its_gradient_is_one(tmp_path):
    trainer, _, _ = build(tmp_path, [ROW] * 40)
    real = trainer.compute_loss
    trainer.compute_loss = lambda *args, **how: real(*args, **how) + float("nan")
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
