"""Step 3, sft: QLoRA on `prompt -> tagged chain and answer` with TRL's trainer, loss on the completion
only."""
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..plan.run_plan import follow, planned_models, read_plan
from ..runs import (
    cli,
    drop_metrics,
    log_metrics,
    progress,
    read_json,
    read_jsonl,
    require_finite_number,
    run_step,
    seed_of,
    whole_folder,
)
from ..tags.schema import FORMS, in_form

SAVE_EVERY = 25  # optimiser steps
SORTED_BATCHES = 16  # batches that are sorted by length together
WARMUP = 0.05  # share of the steps
# What a checkpoint of the trainer holds, in the order in which it is written.
PARTS = ("policy/adapter_config.json", "policy/adapter_model.safetensors", "optimizer.pt", "scheduler.pt",
         "rng_state.pth", "trainer_state.json")
IGNORED = -100  # the label of a token that the loss does not cover


def main(config: Config) -> None:
    run_step(config, "sft", inputs=["data/train.jsonl", "data/tasks.json", "chains/kept.jsonl", "plan.json"],
             work=work, settings=["seed", "prompt", "model", "sft", "grpo.logp_chunk"], outputs=["sft"],
             models=planned_models(config))


def work(config: Config, folder: Path) -> None:
    if config.sft.form not in FORMS:
        raise UserError(f"sft.form={config.sft.form}: known are {', '.join(FORMS)}")
    config = follow(config, read_plan(folder))
    from ..engine.model import add_adapter, load, save_adapter
    model, tokenizer = load(config.model)
    model = add_adapter(model, config.model, "policy", config.seed)
    rows = in_order(examples(config, folder, tokenizer), config.sft.epochs, config.sft.batch, config.seed)

    def log(index: int, **values: float) -> None:
        log_metrics(folder, "sft", index=index, **values)

    # A run that was killed goes on from its last checkpoint, such as sft/state/checkpoint-50.
    state = folder / "sft" / "state"
    if rows:
        trainer = make_trainer(config, model, tokenizer, rows, state, log, folder)
        checkpoint = newest_whole(state)
        steps_done = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
        drop_metrics(folder, "sft", from_index=steps_done)
        trainer.train(resume_from_checkpoint=checkpoint)
    else:
        print(f"  sft.epochs={config.sft.epochs:g}: no SFT, the policy starts as the base model")
    with whole_folder(folder / "sft" / "adapter") as beside:
        save_adapter(model, "policy", beside)
    shutil.rmtree(state, ignore_errors=True)


def newest_whole(state: Path) -> str | None:
    """The newest checkpoint that holds everything a resumed run needs, such as "sft/state/checkpoint-50".

    The trainer writes a checkpoint file by file, trainer_state.json last; what a kill left half written is
    removed. A checkpoint without the optimiser's moments would train on as if they were zero.
    """
    whole = []
    for folder in state.glob("checkpoint-*"):
        parts = (folder / part for part in PARTS)
        if all(part.is_file() and part.stat().st_size for part in parts) and is_json(folder / PARTS[-1]):
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    newest = max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None


def is_json(path: Path) -> bool:
    try:
        read_json(path)
    except UserError:
        return False
    return True


def examples(config: Config, folder: Path, tokenizer) -> list[dict]:
    """Rows {input_ids: [P + R], completion_mask: [P + R]} of all kept chains. The mask is 0 on the prompt and
    1 on the completion.

    The tokens are made here, so that SFT, rollouts and evaluation see the same prompt. The completion ends
    with the end-of-sequence token, and the loss covers it: a policy that never learned to stop earns nothing
    in GRPO.
    """
    from ..lamp.chat import completion_ids
    from ..lamp.prompts import build
    questions = {question.id: question for question in read_questions(folder, "train")}
    rows = []
    for chain in read_jsonl(folder / "chains" / "kept.jsonl"):
        prompt_ids, _ = build(questions[chain["id"]], tokenizer, config.prompt,
                              with_profile=config.sft.profile, reason=config.sft.thinks)
        text = in_form(chain["text"], config.sft.form)
        completion = completion_ids(tokenizer, text)
        mask = [0] * len(prompt_ids) + [1] * len(completion)
        rows.append({"input_ids": prompt_ids + completion, "completion_mask": mask})
    return rows


def in_order(rows: list[dict], epochs: float, batch: int, seed: int) -> list[dict]:
    """The rows of all epochs in the order of training: batches of similar length, shuffled, each epoch by its
    own seed. epochs: 2.5 is two epochs and half of a third.

    The order is fixed beforehand, because a sampler's order is lost when a run is killed. The trainer then
    only counts.
    """
    ordered: list[dict] = []
    for epoch in range(math.ceil(epochs)):
        rng = random.Random(seed_of(seed, "sft", epoch))
        shuffled = rng.sample(rows, len(rows))
        # Sorted by length within chunks of 16 batches, then cut into batches.
        batches = []
        for chunk in split(shuffled, SORTED_BATCHES * batch):
            longest_first = sorted(chunk, key=lambda row: len(row["input_ids"]), reverse=True)
            batches += split(longest_first, batch)
        rng.shuffle(batches)
        for rows_of_batch in batches:
            ordered += rows_of_batch
    return ordered[:round(epochs * len(rows))]


def split(rows: list[dict], size: int) -> list[list[dict]]:
    """Parts of `size` rows; the last one may be shorter."""
    return [rows[first:first + size] for first in range(0, len(rows), size)]


def make_trainer(config: Config, model, tokenizer, rows: list[dict], state: Path,
                 log: Callable[..., None], folder: Path | None = None):
    """TRL's SFTTrainer with two changes, both exact: `training_step`, and adapters in float32.

    model: with our own attention. state: the folder of its checkpoints. log: is called as log(index of the
    step, loss=..., lr=...). folder: of the run, which remembers how many sequences fit into memory.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig

    # warmup_steps: a number under 1 is a share of all steps.
    args = SFTConfig(output_dir=str(state), per_device_train_batch_size=config.sft.batch, num_train_epochs=1,
                     learning_rate=config.sft.lr, lr_scheduler_type="cosine", warmup_steps=WARMUP,
                     max_length=None, bf16=False, gradient_checkpointing=False, completion_only_loss=True,
                     train_sampling_strategy="sequential", seed=config.seed, logging_steps=1,
                     logging_nan_inf_filter=False,
                     save_steps=SAVE_EVERY, save_total_limit=1, report_to="none", dataloader_pin_memory=False,
                     disable_tqdm=True)
    if config.model.checkpointing:  # as in the later steps, and not by the trainer
        model.get_base_model().activation_checkpointing_enable()
    trainer = trainer_class(config, sequence_limit(config, folder))(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        callbacks=[log_callback(log)])
    trainer.remove_callback(PrinterCallback)
    # TRL casts a quantised model's adapters to bf16: coarser steps everywhere, and 20 times slower on a CPU.
    # Here they are float32 again. The optimiser is made later, from these.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def sequence_limit(config: Config, folder: Path | None):
    """Sequences in one forward of SFT."""
    from ..engine.memory import BatchLimit
    return BatchLimit("sft.micro", "sequences", min(config.sft.micro or config.sft.batch, config.sft.batch),
                      folder, "lower prompt.max_tokens, or use a smaller model")


def trainer_class(config: Config, together) -> type:
    """SFTTrainer whose batches go through the model `together` (a BatchLimit) sequences at a time; made here,
    because importing TRL takes seconds."""
    from trl import SFTTrainer

    from ..engine.memory import keep_gradient

    class Trainer(SFTTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            """Adds the gradient of the batch's mean negative log-likelihood; returns this loss. The head over
            49k words is applied to completions only: where there is no Triton, TRL 1.16 applies it to every
            token of the prompt as well."""
            model.train()
            batch = self._prepare_inputs(inputs)
            trained = (param for param in model.parameters() if param.requires_grad)
            return together.attempt(
                lambda micro: batch_gradient(model, batch, micro, config.grpo.logp_chunk),
                present=len(batch["input_ids"]), undo=keep_gradient(trained))

    return Trainer


def batch_gradient(model, batch: dict, micro: int, logp_chunk: int):
    """Adds the gradient of the mean over the batch's scored tokens of -log p, `micro` rows at a time; returns
    the mean, detached.

    batch: the collator's {"input_ids", "attention_mask", "labels": [B, T]}, right-padded.
    """
    from ..engine.update import sft_gradient
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    if not bool((mask[:, :-1] >= mask[:, 1:]).all()):
        raise RuntimeError("the collator pads on the left, where our attention would see the padding")
    scored = batch["labels"] != IGNORED  # [B, T]
    divisor = scored[:, 1:].sum()  # no prediction is there for the first token
    loss = 0.0
    for first in range(0, len(ids), micro):
        rows = slice(first, first + micro)
        longest = int(mask[rows].sum(1).max())
        # Columns before the first scored token of any row are prompt alone, at least one token of it.
        begin = max(1, int(scored[rows].any(0).int().argmax()))
        loss = loss + sft_gradient(model, ids[rows, :longest], scored[rows, begin:longest], divisor,
                                   logp_chunk)
    return loss


def log_callback(log: Callable[..., None]):
    """Our progress bar and our metrics file in the place of TRL's."""
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            self.bar = progress(state.max_steps, "sft", "step")
            self.bar.update(state.global_step)

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" not in (logs or {}):
                return
            # Before the trainer saves a checkpoint: a state of NaN must not be one.
            loss = require_finite_number(float(logs["loss"]), "sft: the loss", "lower sft.lr")
            require_finite_number(float(logs.get("grad_norm", 0.0)), "sft: the gradient's norm",
                                  "lower sft.lr")
            log(state.global_step - 1, loss=round(loss, 5), lr=float(logs["learning_rate"]))
            self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self.bar.update()

        def on_train_end(self, args, state, control, **_):
            self.bar.close()

    return Log()


if __name__ == "__main__":
    cli(main, __doc__)
