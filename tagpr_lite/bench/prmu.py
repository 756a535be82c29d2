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
    g, p = config.grpo, config.prompt.max_tokens
    base, tokenizer = engine.load(config.model)
    held = {"base": storages(base)}
    for name in ("policy", "ref", ADAPTER):
        base = engine.add_adapter(base, config.model, name)
    every = storages(base)
    adapters = sum(t.untyped_storage().nbytes() for n, t in base.named_parameters() if "lora_" in n)
    with TemporaryDirectory() as folder:
        prmu = PRMU(base, tokenizer, config.reward, config.prompt,
                    TextEmbeddings(base, tokenizer, Path(folder) / "texts"))
        new_item = seconds_of_a_new_item(prmu, repeat)
    gen = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randint(0, base_of(base).config.vocab_size, (n,), generator=gen).tolist()
    prompt, group = draw(p - config.reward.tokens), [draw(g.completion) for _ in range(g.group)]
    user = prmu.generic_user()
    taken = {1: [], g.group: []}
    for turn in range(repeat + 1):
        for n, seconds in taken.items():
            started = now()
            with torch.no_grad(), engine.using(base, ADAPTER):
                prmu.rate_after(prmu.forward_prompt(prompt, user), group[:n], user, micro=g.micro)
            seconds += [now() - started] if turn else []  # the first turn warms up
    one, all_of = (statistics.median(taken[n]) for n in taken)
    return {"bench": "prmu", "model": config.model.name, "bits": config.model.bits, "prompt": p,
            "group": g.group, "completion": g.completion,
            "rate": {"one_s": round(one, 4), "group_s": round(all_of, 4), "ratio": round(all_of / one, 3),
                     "token_ratio": round((p + g.group * g.completion) / (p + g.completion), 3)},
            "megabytes": {"base alone": held["base"] / 1e6, "with policy, ref and prmu": every / 1e6,
                          "their adapters": adapters / 1e6,
                          "head and user encoder": sum(t.numel() * t.element_size()
                                                       for t in prmu.parts.state_dict().values()) / 1e6},
            "base_copies": round((every - adapters) / held["base"], 6), "new_item_ms": new_item}


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
