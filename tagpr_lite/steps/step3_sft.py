"""Step 3, sft: QLoRA on `prompt -> tagged chain and answer` with TRL's trainer, loss on the completion only."""
import shutil
from pathlib import Path

from ..config import Config
from ..lamp.tasks import from_row
from ..runs import cli, log_metrics, read_jsonl, run_step, whole_folder


def main(config: Config) -> None:
    run_step(config, "sft", inputs=["data/train.jsonl", "chains/kept.jsonl", "plan.json"], work=work,
             settings=["seed", "prompt", "model", "sft"], outputs=["sft/adapter"])


def work(config: Config, folder: Path) -> None:
    from datasets import Dataset
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    from ..engine.model import add_adapter, load, placement, save_adapter
    from ..runs import drop_metrics
    model, tokenizer = load(config.model, attention="sdpa")
    model = add_adapter(model, config.model, "policy")
    rows = examples(config, folder, tokenizer)
    state = folder / "sft" / "state"
    bf16 = "bfloat16" in str(placement()[1])
    args = SFTConfig(
        output_dir=str(state), per_device_train_batch_size=config.sft.batch, num_train_epochs=config.sft.epochs,
        learning_rate=config.sft.lr, lr_scheduler_type="cosine", warmup_steps=0.05, max_length=None, bf16=bf16,
        gradient_checkpointing=config.model.checkpointing, gradient_checkpointing_kwargs={"use_reentrant": False},
        completion_only_loss=True, train_sampling_strategy="group_by_length", seed=config.seed, logging_steps=1,
        save_steps=25, save_total_limit=1, report_to="none", dataloader_pin_memory=False, disable_tqdm=False)

    class Log(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in (logs or {}):
                log_metrics(folder, "sft", index=state.global_step - 1, loss=logs["loss"], lr=logs["learning_rate"],
                            accuracy=logs.get("mean_token_accuracy"))

    trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
                         callbacks=[Log()])
    for p in trainer.model.parameters():  # TRL casts a quantised model's adapters to bf16: less exact on a GPU, and
        if p.requires_grad:  # 20 times slower on a CPU; its optimiser is made later, from these
            p.data = p.data.float()
    last = get_last_checkpoint(state) if state.is_dir() else None
    drop_metrics(folder, "sft", from_index=int(last.rpartition("-")[2]) if last else 0)
    trainer.train(resume_from_checkpoint=last)
    with whole_folder(folder / "sft" / "adapter") as beside:
        save_adapter(model, "policy", beside)
    shutil.rmtree(state, ignore_errors=True)


def examples(config: Config, folder: Path, tokenizer) -> list[dict]:
    """Token ids of prompt and completion, made here so that SFT, rollouts and evaluation see the same prompt.

    The completion ends with the end-of-sequence token, and the loss covers it: a policy that never learned to stop
    earns nothing in GRPO.
    """
    from ..lamp.prompts import build
    questions = {q.id: q for q in map(from_row, read_jsonl(folder / "data" / "train.jsonl"))}
    rows = []
    for chain in read_jsonl(folder / "chains" / "kept.jsonl"):
        prompt, _ = build(questions[chain["id"]], tokenizer, with_profile=True, reason=True,
                          max_tokens=config.prompt.max_tokens, item_tokens=config.prompt.item_tokens)
        completion = tokenizer.encode(chain["text"], add_special_tokens=False) + [tokenizer.eos_token_id]
        rows.append({"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)})
    return rows


if __name__ == "__main__":
    cli(main, __doc__)
