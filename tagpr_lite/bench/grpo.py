"""One GRPO step on one prompt: ours against TRL's, on the same model, adapter, prompt and completions of
fixed length.

Decisions. Both sides get a base of their own, loaded alike, and the same adapter with B drawn at random,
since at B = 0 half of its gradient is zero. Rewards are seeded random numbers. Seconds are medians of steps
that follow each other in one process, ours before and after each of TRL's; bytes and FLOPs are counted in
steps of their own, because counting slows everything down. Exactness is seen on TRL's own group: its
completions, advantages and adapter go through our update, and log-probs and gradient are compared with those
that TRL had. Both divide by the group's tokens (dapo).
"""
from __future__ import annotations

import os
import platform
import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version

import torch
from torch import Tensor, nn

from ..config import LAYOUTS, Config, UserError
from ..engine.logps import padded, token_logps
from ..engine.model import adapter_parameters, add_adapter, load, placement
from ..engine.prefix import NAME, base_of, forward_prompt
from ..engine.sample import Sample, sample
from ..grpo import groups, losses
from ..grpo import update as grpo_update
from ..lamp import mini
from ..plan.counter import watched
from ..runs import seed_of
from .measure import Meter, logps_in_fp64, matmul_rate, now

WARM_UP = 16  # tokens of the first, unmeasured prompt
TOGETHER = (1, 2, 4)  # groups decoded at a time


@dataclass
class Side:
    """Our side: a policy, its optimiser, and the meter of its steps."""
    config: Config
    model: nn.Module
    tokenizer: object
    params: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    meter: Meter


# ---------------------------------------------------------------- our step

def policy(config: Config, attention: str = NAME):
    """(model, tokenizer, adapter parameters by name): the same values for both sides."""
    model, tokenizer = load(config.model, attention)
    model = add_adapter(model, config.model, groups.POLICY, config.seed)
    params, draw = adapter_parameters(model, groups.POLICY), torch.Generator().manual_seed(config.seed)
    for name, p in params.items():
        if "lora_B" in name:
            p.data.copy_(0.01 * torch.randn(p.shape, generator=draw))
    return model, tokenizer, params


def ours(config: Config, longest: int) -> Side:
    """longest: tokens of the longest prompt that will come."""
    model, tokenizer, params = policy(config)
    room = base_of(model).config.max_position_embeddings - config.grpo.completion
    if longest > room:
        raise UserError(f"a prompt of {longest} tokens is too long for {config.model.name}: with completions "
                        f"of {config.grpo.completion}, {room} fit")
    if config.model.checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    return Side(config, model, tokenizer, params,
                torch.optim.AdamW(params.values(), lr=1e-6, weight_decay=0.0), Meter(model))


def prompts_of(tokenizer, number: int, length: int) -> list[list[int]]:
    """Token ids of the built-in benchmark's texts, cut to length."""
    questions = mini.build(0, 8)["LaMP_3"]["train"]
    ids = tokenizer("\n".join(t for q in questions
                              for t in [q.input, *(i.text for i in q.profile)]))["input_ids"]
    ids = ids * (1 + number * length // len(ids))
    return [ids[i * length:(i + 1) * length] for i in range(number)]


def rewards_of(config: Config) -> Tensor:
    return torch.rand(config.grpo.group, generator=torch.Generator().manual_seed(config.seed))


def rollout(side: Side, prompts: list[list[int]], prefixes=None, tick=lambda: None) -> list[list[Sample]]:
    """G completions of exactly R tokens each: no token ends one."""
    g = side.config.grpo
    seeds = [[seed_of(side.config.seed, "bench", i, n) for n in range(g.group)] for i in range(len(prompts))]
    return sample(side.model, prompts, g.group, g.completion, set(), temperature=g.temperature, seeds=seeds,
                  prefixes=prefixes, tick=tick)


def group_of(side: Side, prompt: list[int]) -> groups.Group:
    """A rollout with made-up rewards."""
    g = side.config.grpo
    shared_prompt = groups.prompt_for_training(g, side.model, prompt) if g.once else None
    samples = rollout(side, [prompt], [shared_prompt] if shared_prompt else None)[0]
    rewards = rewards_of(side.config)
    advantages = losses.advantages(rewards[None], g.std_floor, g.loss)[0]
    return groups.Group(None, prompt, samples, shared_prompt, rewards=rewards, advantages=advantages)


def update(side: Side, group: groups.Group) -> None:
    g = side.config.grpo
    grpo_update.optimizer_step(g, side.model, [group], side.optimizer, side.params,
                               grpo_update.completion_limit(g))


def step(side: Side, prompt: list[int]) -> None:
    with side.meter.phase("step"):
        with side.meter.phase("rollout"):
            group = group_of(side, prompt)
        update(side, group)


def counted(side: Side, prompt: list[int]) -> dict:
    """{phase: (peak bytes, FLOPs)} of a step, and the bytes `held` before it: weights, adapter, optimiser."""
    with watched(side.model, side.optimizer) as counter:
        group, found = group_of(side, prompt), {"held": counter.static,
                                                "rollout": (counter.peak, counter.flops)}
        counter.restart()
        update(side, group)
    return found | {"update": (counter.peak, counter.flops)}


# ---------------------------------------------------------------- comparison

def compare(config: Config, against: str, repeat: int) -> dict:
    """Everything that `bench grpo` says about one setting."""
    _check(config, repeat)
    side = ours(config, config.prompt.max_tokens)
    prompts = prompts_of(side.tokenizer, max(TOGETHER), config.prompt.max_tokens)
    prompt = prompts[0]
    _say("our first step")
    warm(side, prompt)
    step(side, prompt)
    rate, theirs = matmul_rate(side.model, len(prompt)), None
    if against == "none":
        for _ in range(repeat):
            step(side, prompt)
    else:
        theirs = _trl(config, side, prompt, against, repeat)
    _say("our step, counted")
    counts = counted(side, prompt)
    rate = max(rate, matmul_rate(side.model, len(prompt)))  # another program may have disturbed one
    found = {"bench": "grpo", **setting(config), "against": against, "matmul_gflops": round(rate / 1e9, 1),
             "ours": _summary(side.meter, counts, rate)}
    if theirs:
        found["trl"] = _summary(theirs.meter, theirs.counted, rate)
        found["ratio"] = _ratios(found["ours"], found["trl"])
        _say("TRL's group through our update")
        found["exact"] = differences(side, prompt, theirs.group)
    _say(f"decoding {', '.join(map(str, TOGETHER))} groups together")
    found["decode"] = [decode(side, prompts[:n]) for n in TOGETHER]
    return found


def warm(side: Side, prompt: list[int]) -> None:
    """One step on a short prompt that nothing is measured of."""
    step(side, prompt[:WARM_UP])
    side.meter = Meter(side.model)


def _trl(config: Config, side: Side, prompt: list[int], against: str, repeat: int):
    from .trl import run_trl
    other = deepcopy(config)
    other.model.unpack = False
    model, tokenizer, params = policy(other, "sdpa")
    _say(f"TRL: {repeat + 2} steps, ours between them")
    return run_trl(other, model, tokenizer, list(params.values()), (prompt[:WARM_UP], prompt),
                   rewards_of(config), repeat, lambda: step(side, prompt), against == "trl-completions")


def differences(side: Side, prompt: list[int], group) -> dict[str, float]:
    """Our update on a bench_trl.Group: the largest log-prob difference in nats, and |ours - TRL's| / |TRL's|
    of the adapter's whole gradient. TRL's log-probs are the old ones, so that the ratio is 1 on both sides.
    With an fp32 base also how far each side's log-probs are from those computed in fp64: what is rounding,
    and whose."""
    config, device = side.config, base_of(side.model).device
    with torch.no_grad():
        for p, value in zip(side.params.values(), group.adapter):
            p.copy_(value)
    ids, mask = padded(group.completions, device)
    samples = [Sample(row, lps[:len(row)], False) for row,
               lps in zip(group.completions, group.logps.tolist())]
    weights = losses.token_weights(config.grpo.loss, mask.sum(-1).cpu(), config.grpo.completion)
    side.model.train()
    grpo_update.policy_gradient(config.grpo, side.model,
                                groups.Group(None, prompt, samples, advantages=group.advantages.cpu()),
                                weights, config.grpo.micro)
    side.model.eval()
    mine, theirs = (torch.cat([t.float().flatten() for t in grads])
                    for grads in ([p.grad for p in side.params.values()], group.gradient))
    side.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        at = forward_prompt(config.grpo.layout, side.model, torch.tensor(prompt, device=device))
        logps, _ = token_logps(side.model, at.predict(ids), ids, mask, config.grpo.temperature,
                               config.grpo.logp_chunk)
    found = {"logp": (logps - group.logps)[mask].abs().max(),
             "gradient": (mine - theirs).norm() / theirs.norm()}
    if config.model.bits == 32 and base_of(side.model).dtype == torch.float32:
        exact = logps_in_fp64(side.model, prompt, ids)
        found |= {"ours_from_fp64": (logps - exact)[mask].abs().max(),
                  "trl_from_fp64": (group.logps - exact)[mask].abs().max()}
    return {k: float(f"{float(v):.3g}") for k, v in found.items()}


def decode(side: Side, prompts: list[list[int]]) -> dict:
    """Sampled tokens a second, the prompts' groups decoded together: of the whole rollout, and after the
    prefill."""
    times, g, started = [], side.config.grpo, now()
    rollout(side, prompts, tick=lambda: times.append(now()))
    tokens, prefilled = len(prompts) * g.group * g.completion, times[len(prompts) - 1]
    return {"groups": len(prompts), "rows": len(prompts) * g.group, "seconds": round(now() - started, 2),
            "tokens_per_second": round(tokens / (now() - started), 1),
            "decode_tokens_per_second": round(tokens / (times[-1] - prefilled), 1)}


def curve(config: Config, repeat: int) -> dict:
    """Our step as the group grows at a fixed prompt, and as the prompt grows at a fixed group."""
    g, length = config.grpo, config.prompt.max_tokens
    _check(config, repeat)
    g.micro = max(1, min(g.micro, g.group // 4))  # the same at every point
    side, found = ours(config, 2 * length), []
    rate = matmul_rate(side.model, length)
    points = [(length, n) for n in sorted({max(2, g.group * k // 4) for k in (1, 2, 4, 8)})]
    points += [(length * k // 4, g.group) for k in (1, 2, 4, 8)]
    longest = prompts_of(side.tokenizer, 1, 2 * length)[0]
    for p, n in dict.fromkeys(points):
        _say(f"P = {p}, G = {n}")
        side.config = replace(config, grpo=replace(g, group=n))
        warm(side, longest)
        for _ in range(repeat + 1):
            step(side, longest[:p])
        found.append((p, n, side.meter, counted(side, longest[:p])))
        side.meter = Meter(side.model)
    rate = max(rate, matmul_rate(side.model, length))  # another program may have disturbed one
    rows = [{"prompt": p, "group": n, **_summary(meter, counts, rate)} for p, n, meter, counts in found]
    return {"bench": "grpo curve", **setting(config), "matmul_gflops": round(rate / 1e9, 1), "rows": rows}


def _check(config: Config, repeat: int) -> None:
    g, p = config.grpo, config.prompt.max_tokens
    if g.layout not in LAYOUTS:
        raise UserError(f"--layout {g.layout}: known are {', '.join(LAYOUTS)}")
    for option, value, least in (("prompt", p, WARM_UP), ("group", g.group, 2),
                                 ("completion", g.completion, 2), ("micro", g.micro, 1),
                                 ("repeat", repeat, 1)):
        if value < least:
            raise UserError(f"--{option} {value}: the least is {least}")


def setting(config: Config) -> dict:
    g, m = config.grpo, config.model
    device, _ = placement()
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"model": m.name, "bits": m.bits, "unpack": m.unpack, "prompt": config.prompt.max_tokens,
            "group": g.group, "completion": g.completion, "micro": g.micro, "layout": g.layout,
            "once": g.once, "checkpointing": m.checkpointing, "device": machine,
            "threads": torch.get_num_threads(), "malloc": os.environ.get("GLIBC_TUNABLES") or "plain",
            "versions": {"python": platform.python_version(),
                         **{p: version(p) for p in ("torch", "transformers", "trl")}}}


def _summary(meter: Meter, counts: dict, rate: float) -> dict:
    found = meter.summary()
    mb = {"held": counts["held"], "rollout": counts["rollout"][0], "update": counts["update"][0]}
    mb["step"] = max(mb["rollout"], mb["update"])
    found["peak_mb"] = {k: round(v / 1e6, 2) for k, v in mb.items()}
    if counts["update"][1] is not None:  # of a card no FLOPs are counted
        found["gflop"] = {p: round(counts[p][1] / 1e9, 4) for p in ("rollout", "update")}
        found["of_flop_bound"] = {p: round(counts[p][1] / rate / found["seconds"][p], 3)
                                  for p in ("rollout", "update")}
    return found


def _ratios(mine: dict, theirs: dict) -> dict:
    """How many times more TRL takes."""
    over = lambda key, what: round(theirs[key][what] / mine[key][what], 2)
    ratios = {"rollout": over("seconds", "rollout"), "update": over("seconds", "update"),
              "step": over("seconds", "step"), "update_tokens": over("tokens", "update"),
              "peak": over("peak_mb", "step")}
    if "gflop" in mine:
        ratios["update_gflop"] = over("gflop", "update")
    return ratios


def _say(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- for people

def table(found: dict) -> str:
    """The same figures as text."""
    keys = ("model", "bits", "prompt", "group", "completion", "micro", "layout", "once", "checkpointing",
            "device", "threads")
    lines = [", ".join(f"{k} {found[k]}" for k in keys)
             + f"; {found['matmul_gflops']} GFLOP/s in matrix products"]
    if "rows" in found:
        return "\n".join(lines + _curve_lines(found["rows"]))
    sides = [s for s in ("ours", "trl") if s in found]
    lines.append(f"{'':28s}" + "".join(f"{s:>12s}" for s in sides)
                 + ("       ratio" if "trl" in found else ""))
    for label, key, what, ratio in ROWS:
        if key not in found["ours"]:
            continue
        cells = "".join(f"{found[s][key][what]:12,.6g}" for s in sides)
        lines.append(f"{label:28s}{cells}"
                     + (f"{found['ratio'][ratio]:12.2f}" if ratio and "trl" in found else ""))
    if "exact" in found:
        names = {"logp": "log-probs, largest difference", "gradient": "gradient, of its norm",
                 "ours_from_fp64": "our log-probs from fp64", "trl_from_fp64": "TRL's log-probs from fp64"}
        lines.append("on TRL's group: "
                     + "; ".join(f"{names[k]}: {v:.1e}" for k, v in found["exact"].items()))
    lines.append("groups decoded together, sampled tokens a second, without the prefill:")
    lines += [f"{d['groups']:8d}{d['tokens_per_second']:14.1f}{d['decode_tokens_per_second']:14.1f}"
              for d in found["decode"]]
    return "\n".join(lines)


ROWS = (("rollout, s", "seconds", "rollout", "rollout"), ("update, s", "seconds", "update", "update"),
        ("step, s", "seconds", "step", "step"), ("rollout, tokens", "tokens", "rollout", None),
        ("update, tokens", "tokens", "update", "update_tokens"),
        ("update, GFLOP", "gflop", "update", "update_gflop"),
        ("update, of the FLOP bound", "of_flop_bound", "update", None),
        ("weights and optimiser, MB", "peak_mb", "held", None),
        ("rollout, peak MB", "peak_mb", "rollout", None), ("update, peak MB", "peak_mb", "update", None),
        ("step, peak MB", "peak_mb", "step", "peak"))


def _curve_lines(rows: list[dict]) -> list[str]:
    lines = ["       P    G    tokens  rollout s   update s     step s  update peak MB  of bound"]
    for row in rows:
        seconds = "".join(f"{row['seconds'][phase]:11.2f}" for phase in ("rollout", "update", "step"))
        of_bound = f"{row['of_flop_bound']['update']:10.2f}" if "of_flop_bound" in row else ""
        lines.append(f"{row['prompt']:8d}{row['group']:5d}{row['tokens']['update']:10d}{seconds}"
                     f"{row['peak_mb']['update']:16.1f}{of_bound}")
    return lines
