"""What PRMU costs: a group scored against one completion scored, the bytes it adds to the policy, a user's
new item.

Decisions. Both sides of the ratio are PRMU.rate's own work, interleaved; the prompt is random tokens of the
length asked for. The base is counted by its storages, so that a weight held twice would be seen twice.
"""
from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ..config import Config
from ..engine import model as engine
from ..engine.prefix import base_of
from ..lamp.tasks import TASKS, Item, Question
from ..prmu.model import ADAPTER, PRMU
from ..prmu.users import TextEmbeddings
from .measure import now


def bench_prmu(config: Config, repeat: int) -> dict:
    """{"rate": seconds, ratio, token ratio; "megabytes"; "new_item_ms"} of a PRMU beside a policy and its
    reference."""
    P, G, R = config.prompt.max_tokens, config.grpo.group, config.grpo.completion
    model, tokenizer = engine.load(config.model)
    base_bytes = storages(model)
    for name in ("policy", "ref", ADAPTER):
        model = engine.add_adapter(model, config.model, name)
    all_bytes = storages(model)
    adapter_bytes = sum(parameter.untyped_storage().nbytes() for name, parameter in model.named_parameters()
                        if "lora_" in name)
    with TemporaryDirectory() as folder:
        texts = TextEmbeddings(model, tokenizer, Path(folder) / "texts")
        prmu = PRMU(model, tokenizer, config.reward, config.prompt, texts)
        new_item = seconds_of_a_new_item(prmu, repeat)
    part_bytes = sum(tensor.numel() * tensor.element_size() for tensor in prmu.parts.state_dict().values())

    # Random tokens: a prompt of P with the user's, and G completions of R.
    generator = torch.Generator().manual_seed(0)
    vocabulary = base_of(model).config.vocab_size
    prompt = torch.randint(0, vocabulary, (P - config.reward.tokens,), generator=generator).tolist()
    group = [torch.randint(0, vocabulary, (R,), generator=generator).tolist() for _ in range(G)]
    user = prmu.generic_user()

    # One completion and the whole group, in turns; the first turn warms up.
    seconds: dict[int, list[float]] = {1: [], G: []}
    for turn in range(repeat + 1):
        for completions in seconds:
            started = now()
            with torch.no_grad(), engine.using(model, ADAPTER):
                shared_prompt = prmu.forward_prompt(prompt, user)
                prmu.rate_after(shared_prompt, group[:completions], user, micro=config.grpo.micro)
            if turn:
                seconds[completions].append(now() - started)
    one, whole = statistics.median(seconds[1]), statistics.median(seconds[G])
    return {
        "bench": "prmu", "model": config.model.name, "bits": config.model.bits, "prompt": P, "group": G,
        "completion": R,
        "rate": {"one_s": round(one, 4), "group_s": round(whole, 4), "ratio": round(whole / one, 3),
                 "token_ratio": round((P + G * R) / (P + R), 3)},
        "megabytes": {"base alone": base_bytes / 1e6, "with policy, ref and prmu": all_bytes / 1e6,
                      "their adapters": adapter_bytes / 1e6, "head and user encoder": part_bytes / 1e6},
        "base_copies": round((all_bytes - adapter_bytes) / base_bytes, 6),
        "new_item_ms": new_item,
    }


def storages(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, each storage once."""
    seen = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
            for t in (*model.parameters(), *model.buffers())}
    return sum(seen.values())


def seconds_of_a_new_item(prmu: PRMU, repeat: int) -> dict[str, float]:
    """Milliseconds to embed one more review of a history, once, and to make the user's tokens anew,
    medians."""
    items = tuple(Item(str(n), f"Review number {n}: it works, and the seller answered at once.", "4")
                  for n in range(16))
    q = Question("q", TASKS["LaMP_3"], "u", TASKS["LaMP_3"].ask("A kettle: solidly built."), "4", items)
    prmu.texts.add([q], len(items))
    embed, user = [], []
    for n in range(repeat + 1):
        q = replace(q,
                    profile=(*q.profile[1:],
                             Item(f"new{n}", f"Another one, number {n}: it broke within a week.", "2")))
        started = now()
        prmu.texts.add([q], len(items))
        embedded = now()
        with torch.no_grad():
            prmu.user(q)
        embed.append(embedded - started)
        user.append(now() - embedded)
    return {"embed": round(1e3 * statistics.median(embed[1:]), 2),
            "user_tokens": round(1e3 * statistics.median(user[1:]), 2)}
