"""Seconds of a rollout, and what is gained where rows end before the limit.

Prompts, seeds and lengths are given; only seconds differ from run to run. A base model never writes an end
token in time, so rows are made to end: a first, free rollout shows what each row writes, and for each row one
token that no other row writes is declared an end token, as near as possible to a length drawn around the mean
that was asked for. With `--against generate` the same groups are sampled by transformers' `generate`, which
forwards a prompt once for each of its rows, pads shorter prompts, and goes on until the last row has ended.
Its rows are other samples of the same model, so that tokens a second are compared, not seconds.
"""
from __future__ import annotations

import random
import statistics

import torch

from ..config import Config, UserError
from ..engine.prefix import base_of
from ..engine.sample import Sample, sample
from ..runs import seed_of
from .grpo import policy, prompts_of, setting
from .measure import now

SPREAD = 0.2  # of the mean: the deviation of the lengths


def bench_sample(config: Config, prompts: int, mean: int, against: str, repeat: int) -> dict:
    """The rollout of `prompts` groups, `repeat` times: free, and with rows that end after `mean` tokens in
    the mean."""
    g = config.grpo
    for option, value, most in (("groups", prompts, 64), ("repeat", repeat, 1000),
                                ("mean", mean, g.completion)):
        if not 1 <= value <= most:
            raise UserError(f"--{option} {value}: 1 to {most} are possible")
    model, tokenizer, _ = policy(config)
    # A tenth apart, as real prompts are not all equal.
    lengths = [config.prompt.max_tokens * (10 - n % 4) // 10 for n in range(prompts)]
    longest = prompts_of(tokenizer, prompts, config.prompt.max_tokens)
    prompt_ids = [ids[:length] for ids, length in zip(longest, lengths, strict=True)]
    seeds = [[seed_of(config.seed, "bench", b, n) for n in range(g.group)] for b in range(prompts)]

    def rollout(ends: set[int]) -> list[list[Sample]]:
        return sample(model, prompt_ids, g.group, g.completion, ends, temperature=g.temperature, seeds=seeds)

    free = rollout(set())
    ends = ends_near([s.ids for rows in free for s in rows], mean, config.seed)
    want = [[cut(s.ids, ends) for s in rows] for rows in free]
    runs = {"free": [], "ended": []}
    for _ in range(repeat):
        for name, end_tokens in (("free", set()), ("ended", ends)):
            started = now()
            got = rollout(end_tokens)
            runs[name].append(now() - started)
        # What ends beside a row changes nothing in the row: each is the free one, cut at its end token.
        if [[s.ids for s in rows] for rows in got] != want and base_of(model).device.type == "cpu":
            raise RuntimeError("a row changed with what was sampled beside it")
    sampled = {"free": sum(len(s.ids) for rows in free for s in rows),
               "ended": sum(len(ids) for rows in want for ids in rows)}
    if against == "generate":
        runs["generate"], sampled["generate"] = generate(config, prompt_ids, ends, repeat)
    found = {name: {"seconds": round(statistics.median(seconds), 2), "runs": [round(s, 2) for s in seconds],
                    "tokens": sampled[name],
                    "tokens_per_second": round(sampled[name] / statistics.median(seconds), 1)}
             for name, seconds in runs.items()}
    return {"bench": "sample", **setting(config), "prompts": lengths,
            "mean_length": round(sampled["ended"] / (prompts * g.group), 1), **found}


def ends_near(rows: list[list[int]], mean: int, seed: int) -> set[int]:
    """End tokens, one for each row, that cut rows [N][R] to lengths of about `mean` in the mean: tokens that
    one row alone writes, at the place of their first use in it."""
    draw, ends = random.Random(seed), set()
    rows_of: dict[int, int] = {}  # token -> rows that write it
    for row in rows:
        for token in set(row):
            rows_of[token] = rows_of.get(token, 0) + 1
    for row in rows:
        wanted = draw.gauss(mean, SPREAD * mean)
        own = [n for n, token in enumerate(row) if rows_of[token] == 1 and token not in row[:n]]
        if own and wanted < len(row):  # else it runs into the limit, as some do
            ends.add(row[min(own, key=lambda n: abs(n + 1 - wanted))])
    return ends


def cut(ids: list[int], ends: set[int]) -> list[int]:
    """The tokens up to the first end token, which is kept."""
    for n, token in enumerate(ids):
        if token in ends:
            return ids[:n + 1]
    return ids


def generate(config: Config, prompts: list[list[int]], ends: set[int],
             repeat: int) -> tuple[list[float], int]:
    """(seconds of each run, tokens sampled in the last) of transformers' own sampling, rows together."""
    model, _, _ = policy(config, "sdpa")
    g, longest, device = config.grpo, max(len(ids) for ids in prompts), base_of(model).device
    padded = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    seconds = []
    for turn in range(repeat):
        torch.manual_seed(seed_of(config.seed, "bench", turn))
        started = now()
        out = model.generate(input_ids=padded, attention_mask=mask, do_sample=True, top_k=0, top_p=1.0,
                             temperature=g.temperature, num_return_sequences=g.group,
                             max_new_tokens=g.completion, eos_token_id=sorted(ends), pad_token_id=0)
        seconds.append(now() - started)
    return seconds, sum(len(cut(row, ends)) for row in out[:, longest:].tolist())


def table(found: dict) -> str:
    """The same figures as text."""
    lines = [f"model {found['model']}, bits {found['bits']}, prompts {found['prompts']}, "
             f"{found['group']} rows of each, at most {found['completion']} tokens, "
             f"{found['mean_length']} in the mean where they end, device {found['device']}, "
             f"threads {found['threads']}", f"{'':10s}{'seconds':>10s}{'tokens':>10s}{'tokens/s':>10s}"]
    lines += [f"{name:10s}{found[name]['seconds']:10.2f}{found[name]['tokens']:10d}"
              f"{found[name]['tokens_per_second']:10.1f}"
              for name in ("free", "ended", "generate") if name in found]
    return "\n".join(lines)
