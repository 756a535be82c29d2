"""Step 4, reward: PRMU is trained on preference pairs, and must show that it listens to the user embedding."""
import random
from collections.abc import Callable
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..runs import cli, drop_metrics, log_metrics, progress, read_jsonl, run_step, seed_of


def main(config: Config) -> None:
    run_step(config, "reward", inputs=["data/train.jsonl", "data/tasks.json", "chains/kept.jsonl", "chains/dropped.jsonl", "plan.json"],
             settings=["seed", "prompt", "model", "reward"], outputs=["prmu"], work=work)


def work(config: Config, folder: Path) -> None:
    import torch

    from ..engine import model as engine
    from ..prmu.model import ADAPTER, PRMU
    from ..prmu.pairs import make_pairs, split_users
    from ..prmu.users import ItemEmbeddings, history, items_file
    r = config.reward
    questions = {q.id: q for q in read_questions(folder, "train")}
    pairs = make_pairs(questions, read_jsonl(folder / "chains" / "kept.jsonl"),
                       read_jsonl(folder / "chains" / "dropped.jsonl"), config.seed)
    train, held = split_users(pairs, r.heldout, config.seed)
    train, held = train[:r.pairs], held[:max(8, r.pairs // 4)]
    if not train or not held:
        raise UserError(f"too few preference pairs ({len(train)} to train on, {len(held)} held out); use more questions")
    base, tokenizer = engine.load(config.model)
    model = engine.add_adapter(base, config.model, ADAPTER, config.seed)
    if config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    items = ItemEmbeddings(model, tokenizer, items_file(folder))
    read = {i for p in train + held for i in history(p.question, r.history)}
    bar = progress(len(read), "embedding profiles", "item")
    items.add(list(read), bar.update)
    bar.close()

    torch.manual_seed(config.seed)
    prmu = PRMU(model, tokenizer, r, config.prompt, items)
    params = prmu.trainable()
    optimizer = torch.optim.AdamW(params.values(), lr=r.lr, weight_decay=0.01)
    order = [p for epoch in range(r.epochs) for p in random.Random(seed_of(config.seed, "epoch", epoch)).sample(train, len(train))]
    batches = [order[i:i + r.batch] for i in range(0, len(order), r.batch)]
    state = folder / "prmu" / "state.safetensors"
    done = engine.load_training_state(state, params, optimizer)
    drop_metrics(folder, "reward", from_index=done)
    bar = progress(len(batches), "reward", "step")
    bar.update(done)
    model.train()
    for index in range(done, len(batches)):
        stats = train_batch(prmu, batches[index], optimizer, params)
        log_metrics(folder, "reward", index=index, **stats)
        bar.set_postfix(accuracy=f"{stats['accuracy']:.2f}", refresh=False)
        bar.update()
        if (index + 1) % 10 == 0:
            engine.save_training_state(state, index + 1, params, optimizer)
    bar.close()
    model.eval()
    report = examine(prmu, held, config.seed) | {"pairs": len(train), "heldout_pairs": len(held)}
    prmu.save(folder / "prmu", report)
    print(f"  pairwise accuracy on {len(held)} pairs of held-out users: {report['accuracy']:.3f}; "
          f"with another user's embedding {report['shuffled']:.3f}; with none {report['generic']:.3f}")


def train_batch(prmu, pairs: list, optimizer, params: dict) -> dict:
    """One step on -log sigmoid(r_chosen - r_rejected) (Bradley-Terry), plus a small pull of r towards 0."""
    import torch
    import torch.nn.functional as F
    loss_sum = right = 0.0
    for p in pairs:
        at = prmu.prefix(p.question, prmu.user(p.question), grad=True)
        chosen, rejected = prmu.scores(at, [token_ids(prmu, p.chosen), token_ids(prmu, p.rejected)])
        # Bradley-Terry fixes differences only; the pull keeps sigmoid(r) away from its flat ends
        loss = (-F.logsigmoid(chosen - rejected) + 0.01 * (chosen + rejected) ** 2) / len(pairs)
        loss.backward()
        at.backward()
        loss_sum, right = loss_sum + float(loss), right + float(chosen > rejected)
    torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": round(loss_sum, 5), "accuracy": right / len(pairs)}


def token_ids(prmu, text: str) -> list[int]:
    """A chain as the policy writes it: its tokens and the end token."""
    return prmu.tokenizer.encode(text, add_special_tokens=False) + [prmu.tokenizer.eos_token_id]


def examine(prmu, held: list, seed: int) -> dict:
    """Pairwise accuracy on held-out users: under their own embedding, another user's of the same task, and e_0."""
    rng = random.Random(seed_of(seed, "shuffle"))

    def stranger(p):
        others = [x.question for x in held if x.question.task == p.question.task and x.question.user != p.question.user]
        return prmu.user(rng.choice(others)) if others else prmu.generic()

    ways: dict[str, Callable] = {"accuracy": lambda p: None, "shuffled": stranger, "generic": lambda p: prmu.generic()}
    bar = progress(len(held) * len(ways), "held-out users", "pair")
    hits: dict[str, list[float]] = {w: [] for w in ways}
    for p in held:
        both = [token_ids(prmu, p.chosen), token_ids(prmu, p.rejected)]
        for way, user in ways.items():
            chosen, rejected = prmu.rate(p.question, both, user(p)).tolist()
            hits[way].append(float(chosen > rejected))
            bar.update()
    bar.close()
    kinds = sorted({p.kind for p in held})
    mean = lambda values: round(sum(values) / len(values), 4)
    by_kind = {k: {"n": sum(p.kind == k for p in held),
                   **{w: mean([h for h, p in zip(hits[w], held) if p.kind == k]) for w in ways}} for k in kinds}
    return {w: mean(h) for w, h in hits.items()} | {"by_kind": by_kind}


if __name__ == "__main__":
    cli(main, __doc__)
