"""Step 3, sft: QLoRA on `prompt -> tagged chain and answer`, loss on the completion only.

A plain loop over batches whose order is laid out beforehand. It has one training state, as GRPO and PRMU have
(engine/state.py), so that a cut run goes on bit for bit.
"""
import math
import random
from functools import partial
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..plan.run_plan import follow, planned_models, read_plan
from ..runs import (
    cli,
    drop_metrics,
    finishing_steps,
    log_metrics,
    progress,
    read_jsonl,
    read_metrics,
    run_step,
    seed_of,
    whole_folder,
)
from ..runs.processes import all_of, part_of
from ..tags.schema import FORMS, in_form

SAVE_EVERY = 25  # optimiser steps
SORTED_BATCHES = 16  # batches that are sorted by length together
WARMUP = 0.05  # share of the steps
POLICY = "policy"  # the adapter's name
STATE = "state.safetensors"


def main(config: Config) -> None:
    run_step(config, "sft", inputs=["data/train.jsonl", "data/tasks.json", "chains/kept.jsonl", "plan.json"],
             work=work, settings=["seed", "prompt", "model", "sft", "grpo.logp_chunk"], outputs=["sft"],
             models=planned_models(config))


def work(config: Config, folder: Path) -> None:
    if config.sft.form not in FORMS:
        raise UserError(f"sft.form={config.sft.form}: known are {', '.join(FORMS)}")
    config = follow(config, read_plan(folder))
    from ..engine.model import add_adapter, load, remove_training_state, save_adapter
    model, tokenizer = load(config.model)
    model = add_adapter(model, config.model, POLICY, config.seed)
    rows = in_order(examples(config, folder, tokenizer), config.sft.epochs, config.sft.batch, config.seed)
    if rows:
        train(config, folder, model, rows)
        warn_unless_fallen([row["loss"] for row in read_metrics(folder, "sft") if "loss" in row])
    elif config.sft.epochs:
        raise UserError("chains/kept.jsonl holds no chain to train on")
    else:
        print(f"  sft.epochs={config.sft.epochs:g}: no SFT, the policy starts as the base model")
    with whole_folder(folder / "sft" / "adapter") as beside:
        save_adapter(model, POLICY, beside)
    remove_training_state(folder / "sft" / STATE)


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

    The order is fixed beforehand, because a sampler's order is lost when a run is killed.
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


def train(config: Config, folder: Path, model, rows: list[dict]) -> None:
    """Trains the policy's adapter on the rows, in their order, `sft.batch` rows a step; goes on from the last
    saved state where a run was cut.

    AdamW without decay, gradients clipped to a norm of 1, and the schedule of `learning_rate`: what TRL's
    SFTTrainer does with these settings, step for step (tests/steps/test_sft.py).
    """
    import torch

    from ..engine.finite import FiniteSteps, fault_of_gradient
    from ..engine.memory import keep_gradient
    from ..engine.model import adapter_parameters, load_training_state, save_training_state
    from ..engine.reduce import require_equal, sum_gradients
    if config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    params = adapter_parameters(model, POLICY)
    optimizer = torch.optim.AdamW(params.values(), lr=config.sft.lr, weight_decay=0.0)
    batches = split(rows, config.sft.batch)
    together = sequence_limit(config, folder)
    finite_steps = FiniteSteps("sft", "lower sft.lr")

    # Where a cut run goes on: the order is laid out beforehand, so that it only has to count.
    state_file = folder / "sft" / STATE
    done, _, _ = load_training_state(state_file, params, optimizer)
    drop_metrics(folder, "sft", from_index=done)

    bar = progress(len(batches), "sft", "step")
    bar.update(done)
    model.train()
    with finishing_steps() as stop:
        while done < len(batches):
            batch = batches[done]
            lr = learning_rate(config.sft.lr, done, len(batches))
            for param_group in optimizer.param_groups:
                param_group["lr"] = lr
            # Several processes divide the rows; the divisor is the whole batch's.
            rows_here = part_of(batch)
            gradient = partial(batch_gradient, model, rows_here, divisor=scored_tokens(batch),
                               logp_chunk=config.grpo.logp_chunk)
            loss_here = together.attempt(gradient, present=len(rows_here),
                                         undo=keep_gradient(params.values()))
            loss = sum(all_of(float(loss_here)))
            sum_gradients(params.values())
            fault = fault_of_gradient(loss, params.values())
            if fault:
                log_metrics(folder, "sft", index=done, skipped=1, lr=lr)
            else:
                torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
                optimizer.step()
                log_metrics(folder, "sft", index=done, loss=round(loss, 5), lr=lr)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            optimizer.zero_grad(set_to_none=True)
            finite_steps.see(fault)
            bar.update()
            done += 1
            stop.agree()
            if done % SAVE_EVERY == 0 or stop.asked:
                require_equal(params, f"sft, step {done}")
                save_training_state(state_file, done, params, optimizer)
            stop.now()
    bar.close()
    model.eval()


def warn_unless_fallen(losses: list[float]) -> None:
    """Says so where the loss is as high at the end as at the beginning: a rate that is too high shows no
    other sign."""
    part = max(5, len(losses) // 10)
    if len(losses) < 2 * part:
        return
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    if last >= first:
        print(f"  WARNING: the loss has not fallen, {first:.2f} at first and {last:.2f} at last: lower "
              "sft.lr, and look at chains/kept.jsonl", flush=True)


def learning_rate(peak: float, done: int, steps: int) -> float:
    """The rate of the step after `done` of `steps`: from 0 to the peak over WARMUP of all steps, then along a
    cosine to 0."""
    warm_up_steps = math.ceil(WARMUP * steps)
    if done < warm_up_steps:
        return peak * (done / warm_up_steps)
    share = (done - warm_up_steps) / max(1, steps - warm_up_steps)
    return peak * (0.5 * (1 + math.cos(math.pi * share)))


def sequence_limit(config: Config, folder: Path):
    """Sequences in one forward of SFT."""
    from ..engine.memory import BatchLimit
    return BatchLimit("sft.micro", "sequences", min(config.sft.micro or config.sft.batch, config.sft.batch),
                      folder, "lower prompt.max_tokens, or use a smaller model")


def batch_gradient(model, rows: list[dict], micro: int, logp_chunk: int, divisor: int | None = None):
    """Adds the gradient of the sum over the rows' scored tokens of -log p / divisor, `micro` rows at a time;
    returns the sum, detached. rows: as `examples` makes them. divisor: the scored tokens of the batch that
    the rows are a part of; None: the rows are the batch."""
    from ..engine.logps import padded
    from ..engine.prefix import base_of
    from ..engine.update import sft_gradient
    device = base_of(model).device
    divisor = divisor or scored_tokens(rows)
    loss = 0.0
    for first in range(0, len(rows), micro):
        some = rows[first:first + micro]
        ids, _ = padded([row["input_ids"] for row in some], device)  # [m, T]
        scored, _ = padded([row["completion_mask"] for row in some], device)  # [m, T], 1 on completions
        # Columns before the first scored token of any row are prompt alone, at least one token of it.
        begin = max(1, int(scored.any(0).int().argmax()))
        loss = loss + sft_gradient(model, ids, scored[:, begin:].bool(), divisor, logp_chunk)
    return loss


def scored_tokens(rows: list[dict]) -> int:
    """The tokens that the loss covers."""
    return sum(sum(row["completion_mask"]) for row in rows)


if __name__ == "__main__":
    cli(main, __doc__)
