"""Step 3, sft: QLoRA on `prompt -> tagged chain and answer` with TRL's trainer, loss on the completion
only."""
import math
import random
import shutil
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..plan.run_plan import follow, read_plan
from ..runs import cli, drop_metrics, log_metrics, progress, read_jsonl, run_step, seed_of, whole_folder
from ..tags.schema import FORMS, in_form

SAVE_EVERY = 25  # optimiser steps


def main(config: Config) -> None:
    run_step(config, "sft", inputs=["data/train.jsonl", "data/tasks.json", "chains/kept.jsonl", "plan.json"],
             work=work, settings=["seed", "prompt", "model", "sft"], outputs=["sft"])


def work(config: Config, folder: Path) -> None:
    if config.sft.form not in FORMS:
        raise UserError(f"sft.form={config.sft.form}: known are {', '.join(FORMS)}")
    config = follow(config, read_plan(folder))
    from transformers.trainer_utils import get_last_checkpoint

    from ..engine.model import add_adapter, load, save_adapter
    model, tokenizer = load(config.model, attention="sdpa")
    model = add_adapter(model, config.model, "policy", config.seed)
    state = folder / "sft" / "state"
    rows = in_order(examples(config, folder, tokenizer), config.sft.epochs, config.sft.batch, config.seed)
    trainer = make_trainer(config, model, tokenizer, rows, state,
                           lambda index, **values: log_metrics(folder, "sft", index=index, **values))
    last = get_last_checkpoint(state) if state.is_dir() else None
    drop_metrics(folder, "sft", from_index=int(last.rpartition("-")[2]) if last else 0)
    trainer.train(resume_from_checkpoint=last)
    with whole_folder(folder / "sft" / "adapter") as beside:
        save_adapter(model, "policy", beside)
    shutil.rmtree(state, ignore_errors=True)


def examples(config: Config, folder: Path, tokenizer) -> list[dict]:
    """Token ids of prompt and completion, made here so that SFT, rollouts and evaluation see the same prompt.

    The completion ends with the end-of-sequence token, and the loss covers it: a policy that never learned to
    stop earns nothing in GRPO.
    """
    from ..lamp.prompts import build
    questions = {q.id: q for q in read_questions(folder, "train")}
    rows = []
    for chain in read_jsonl(folder / "chains" / "kept.jsonl"):
        prompt, _ = build(questions[chain["id"]], tokenizer, config.prompt, with_profile=True,
                          reason=config.sft.form != "answer")
        text = in_form(chain["text"], config.sft.form)
        completion = tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + completion, "completion_mask": [0] * len(prompt)
                     + [1] * len(completion)})
    return rows


def in_order(rows: list[dict], epochs: float, batch: int, seed: int) -> list[dict]:
    """The rows of all epochs in the order of training: batches of similar length, shuffled, each epoch by its
    seed.

    Laid out beforehand because a sampler's order does not survive a kill: the trainer then only has to count.
    """
    ordered, length = [], lambda r: len(r["input_ids"])
    for epoch in range(math.ceil(epochs)):
        rng = random.Random(seed_of(seed, "sft", epoch))
        pool = rng.sample(rows, len(rows))
        chunks = [sorted(pool[i:i + 16 * batch], key=length, reverse=True)
                  for i in range(0, len(pool), 16 * batch)]
        batches = [c[i:i + batch] for c in chunks for i in range(0, len(c), batch)]
        rng.shuffle(batches)
        ordered += [r for b in batches for r in b]
    return ordered[:round(epochs * len(rows))]


def make_trainer(config: Config, model, tokenizer, rows: list[dict], state: Path, log):
    """TRL's SFTTrainer with two changes, both for the sake of a CPU and both exact."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from ..engine.logps import token_logps
    from ..engine.prefix import base_of

    class Trainer(SFTTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            """The same mean negative log-likelihood, but the 49k-word head is applied to the completion's
            tokens only: where there is no Triton, TRL 1.16 applies it to every token of the prompt as
            well."""
            hidden = base_of(model).model(input_ids=inputs["input_ids"],
                                          attention_mask=inputs["attention_mask"],
                                          use_cache=False).last_hidden_state[:, :-1]
            labels = inputs["labels"][:, 1:]
            logps, _ = token_logps(model, hidden, labels.clamp(min=0), labels != -100,
                                   chunk=config.grpo.logp_chunk)
            return -logps.sum() / ((labels != -100).sum() if num_items_in_batch is None
                                   else num_items_in_batch)

    class Log(TrainerCallback):
        """Our progress bar and our metrics file in the place of TRL's."""
        def on_train_begin(self, args, state, control, **_):
            self.bar = progress(state.max_steps, "sft", "step")
            self.bar.update(state.global_step)

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in (logs or {}):
                log(state.global_step - 1, loss=round(float(logs["loss"]), 5),
                    lr=float(logs["learning_rate"]))
                self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)
                self.bar.update()

        def on_train_end(self, args, state, control, **_):
            self.bar.close()

    args = SFTConfig(output_dir=str(state), per_device_train_batch_size=config.sft.batch, num_train_epochs=1,
                     learning_rate=config.sft.lr, lr_scheduler_type="cosine", warmup_steps=0.05,
                     max_length=None, bf16=False, gradient_checkpointing=config.model.checkpointing,
                     gradient_checkpointing_kwargs={"use_reentrant": False}, completion_only_loss=True,
                     train_sampling_strategy="sequential", seed=config.seed, logging_steps=1,
                     save_steps=SAVE_EVERY, save_total_limit=1, report_to="none", dataloader_pin_memory=False,
                     disable_tqdm=True)
    trainer = Trainer(model=model, args=args, train_dataset=Dataset.from_list(rows),
                      processing_class=tokenizer, callbacks=[Log()])
    trainer.remove_callback(PrinterCallback)
    for p in trainer.model.parameters():  # TRL casts a quantised model's adapters to bf16: coarser steps everywhere,
        if p.requires_grad:  # and 20 times slower on a CPU. The optimiser is made later, from these.
            p.data = p.data.float()
    return trainer


if __name__ == "__main__":
    cli(main, __doc__)
