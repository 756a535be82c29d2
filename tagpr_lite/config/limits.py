"""What a setting may be: checked when settings are read, so that nothing that cannot work is paid for.

The help of a setting says what it means; here stands what is refused. A bound that a later step would meet
by a traceback, or by training nothing without a word, belongs here.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .systems import parse_system

# Least and largest value of numbers, both allowed; None: no bound. The largest ones are far beyond any use:
# a number of thousands of digits must not be computed with.
HUGE = 10**9
NUMBERS: dict[str, tuple[float | None, float | None]] = {
    "seed": (0, 2**63 - 1),
    "lamp.k": (0, 10_000), "lamp.val": (0, 0.9), "lamp.profile_max": (1, HUGE),
    "lamp.mini_users": (2, 100_000),
    "prompt.max_tokens": (1, HUGE), "prompt.item_tokens": (1, HUGE),
    "model.vram": (0, 10_000), "model.lora_r": (1, 4096), "model.lora_alpha": (1, HUGE),
    "model.threads": (0, 4096),
    "tag.room": (1, HUGE), "tag.temperature": (0, 100), "tag.at_once": (1, 1000), "tag.per_minute": (0, HUGE),
    "tag.timeout": (0.001, HUGE), "tag.retries": (0, 1000), "tag.price_in": (0, HUGE),
    "tag.price_out": (0, HUGE), "tag.max_cost": (0, HUGE), "tag.max_tokens": (0, 10**15), "tag.near": (0, 2),
    "tag.mend": (-1, 1), "tag.samples": (1, 10_000), "tag.per_question": (1, 10_000), "tag.most": (0, HUGE),
    "tag.words": (1, HUGE), "tag.percentile": (0, 100), "tag.within": (0, HUGE), "tag.rationalised": (0, 1),
    "sft.epochs": (0, 10_000), "sft.lr": (0, 10), "sft.batch": (1, 100_000),
    "sft.micro": (0, 100_000),
    "reward.pairs": (1, HUGE), "reward.epochs": (1, 10_000), "reward.lr": (0, 10),
    "reward.batch": (1, 100_000), "reward.micro": (0, 100_000),
    "reward.tokens": (1, 1024), "reward.heldout": (0.001, 0.999), "reward.reported": (1, HUGE),
    "reward.history": (1, HUGE), "reward.strangers": (0, HUGE), "reward.rollouts": (0, HUGE),
    "reward.margin": (0, 1000), "reward.generic": (0, 1), "reward.checks": (1, HUGE),
    "reward.patience": (0, HUGE),
    "grpo.group": (2, 4096), "grpo.trained": (0, 4096), "grpo.prompts": (1, 100_000), "grpo.midway": (0, 1),
    "grpo.guided_steps": (0, HUGE), "grpo.explore_steps": (0, HUGE), "grpo.lr": (0, 10),
    "grpo.explore_lr": (0, 10),
    "grpo.temperature": (0.01, 100), "grpo.completion": (16, HUGE), "grpo.clip_low": (0, 1),
    "grpo.clip_high": (0, 1000), "grpo.beta": (0, 1000), "grpo.std_floor": (1e-6, 1000),
    "grpo.alpha_task": (0, 1000), "grpo.alpha_tag": (0, 1000), "grpo.alpha_prmu": (0, 1000),
    "grpo.alpha_own": (0, 1000), "grpo.alpha_step": (0, 1000),
    "grpo.gate": (0, 1), "grpo.guard_accuracy": (0, 1), "grpo.guard_agreement": (-1, 1),
    "grpo.overlong": (0, HUGE), "grpo.resample": (0, 1000), "grpo.micro": (1, 4096),
    "grpo.sampler_timeout": (0.001, HUGE), "grpo.sampler_retries": (0, 1000),
    "grpo.importance_cap": (1, 1000),
    "grpo.decode_rows": (1, HUGE), "grpo.logp_chunk": (1, HUGE), "grpo.save_every": (1, HUGE),
    "grpo.check_every": (0, HUGE), "grpo.patience": (0, HUGE), "grpo.kept_rollouts": (0, HUGE),
    "evaluate.batch": (1, HUGE), "evaluate.answer_tokens": (1, HUGE),
}
# Why a bound stands where it stands, where the number alone does not say it.
WHY = {"grpo.group": "the completions of a group are compared with each other",
       "grpo.temperature": "completions that are all equal teach nothing",
       "grpo.completion": "a tagged chain is longer",
       "grpo.importance_cap": "a weight of 1 is that of a token on which sampler and trainer agree",
       "sft.lr": "weights of such steps are noise", "reward.lr": "weights of such steps are noise",
       "grpo.lr": "weights of such steps are noise", "grpo.explore_lr": "weights of such steps are noise"}

WORDS: dict[str, tuple[Any, ...]] = {
    "lamp.retriever": ("bm25", "dense", "recency", "random"), "lamp.mini_language": ("en", "zh"),
    "lamp.mini_people": ("new", "same"),
    "lamp.exclude": ("gold", "asked", "future", "taught", "shared"),
    "prompt.style": ("chat", "official"), "model.bits": (4, 32),
    "tag.teacher": ("template", "openai", "local"), "sft.form": ("tagged", "untagged", "answer"),
    "grpo.loss": ("grpo", "dapo", "dr_grpo", "gspo", "cispo"),
    "grpo.layout": ("two_phase", "kept", "recompute", "packed", "classic"),
    "grpo.prmu_scale": ("sigmoid", "group"), "grpo.prmu_users": ("own", "shuffled"),
    "track": ("", "tensorboard", "trackio"),
}
# How a setting is written that is neither a number nor one of some words.
FORMS: dict[str, tuple[re.Pattern, str]] = {
    "grpo.reward": (re.compile(r"(.+\.py:[^\W\d]\w*)?"), "empty, or FILE.py:FUNCTION such as "
                    "my_terms.py:brevity"),
    "grpo.sampler": (re.compile(r"(https?://\S+)?"), "empty, or an address such as "
                     "http://127.0.0.1:8000/v1"),
}
# Settings that hold nothing where they are empty.
NOT_EMPTY = ("lamp.source", "model.name", "model.lora_targets", "evaluate.systems", "results")
SECRET = re.compile(r"key|token|secret|password", re.I)
"""Found in the name of a parameter that is nobody's business."""
PLAIN_NAME = re.compile(r"[^/\\\x00-\x1f]{0,100}")


def fault_of(values: Mapping[str, Any]) -> str | None:
    """What is wrong with the values of dotted keys, in a line; None where nothing is."""
    for key, (least, most) in NUMBERS.items():
        value = values[key]
        if not least <= value <= most:
            why = f": {WHY[key]}" if key in WHY else ""
            return f"{key}={short(value)} is outside {least:g} to {most:g}{why}"
    for key, known in WORDS.items():
        value = values[key]
        unknown = [word for word in (value if isinstance(value, list) else [value]) if word not in known]
        if unknown:
            return f"{key}={short(unknown[0])}: known are {listed(known)}"
    for key, (pattern, form) in FORMS.items():
        if not pattern.fullmatch(values[key]):
            return f"{key}={short(values[key])}: it is {form}"
    for word in values["evaluate.systems"]:
        try:
            parse_system(word)
        except ValueError as error:
            return f"evaluate.systems={short(word)}: {error}"
    answering_once = [word for word in values["evaluate.systems"] if parse_system(word).decoding == "greedy"
                      and parse_system(word).adapter != "base"]
    for word in values["evaluate.faithful"]:
        if word not in answering_once:
            return (f"evaluate.faithful={short(word)}: it must be in evaluate.systems, reason and answer "
                    f"once; such are {', '.join(answering_once) or 'none'}")
    for key, value in values.items():
        words = value if isinstance(value, list) else [value]
        if not all(is_writable(word) for word in words if isinstance(word, str)):
            return f"{key} holds a character that no name and no path can hold"
    for key, variable in (("tag.url", "OPENAI_API_KEY"), ("tag.label_url", "OPENAI_API_KEY"),
                          ("grpo.sampler", "TAGPR_SAMPLER_KEY")):
        if holds_secret(values[key]):
            return f"{key} holds a password or a key, which would stand in files: put it into {variable}"
    for key in NOT_EMPTY:
        if not values[key]:
            return f"{key} is empty"
    for key in ("lamp.train_limit", "lamp.val_limit", "lamp.dev_limit", "lamp.from_profile"):
        negative = [task for task, limit in values[key].items() if limit < 0]
        if negative:
            return f"{key}: a limit below 0, of {short(negative[0])}"
    if not is_plain_name(values["name"]):
        return f"name={short(values['name'])} is no plain name of a folder; results= says where it lies"
    if values["grpo.overlong"] > values["grpo.completion"]:
        return "grpo.overlong is more than grpo.completion"
    if values["grpo.sampler"] and values["grpo.once"]:
        return ("grpo.once=true needs prompts that are forwarded here, and with grpo.sampler a server does "
                "that: set grpo.once=false")
    if values["grpo.trained"] == 1:
        return "grpo.trained=1: the completions that are trained on are compared with each other; 0 is all"
    return None


def listed(words: tuple[Any, ...]) -> str:
    """Words that a setting may be: "(empty), tensorboard, trackio"."""
    return ", ".join("(empty)" if word == "" else str(word) for word in words)


def holds_secret(url: str) -> bool:
    """Whether an address has a user's name before its host, or a key or token among its parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:  # it is no address, and whoever uses it says so
        return False
    return "@" in parts.netloc or any(SECRET.search(name) for name, _ in parse_qsl(parts.query))


def is_plain_name(word: str) -> bool:
    """Whether a word is the name of a file or folder of the place where it stands, or empty."""
    return bool(PLAIN_NAME.fullmatch(word)) and word not in (".", "..") and is_writable(word)


def is_writable(word: str) -> bool:
    """Whether a file could have the word as its name or content: no NUL, no half of a surrogate pair."""
    return "\0" not in word and not any("\ud800" <= character <= "\udfff" for character in word)


def short(value: Any) -> str:
    """A value for an error, in at most 60 characters; a list or a tree by its kind alone, because aliases can
    make it endless."""
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__}"
    text = digits(value) if isinstance(value, int) else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def digits(value: int) -> str:
    """Python refuses to write an integer of more than 4,300 digits."""
    return str(value) if abs(value) < 10**60 else "a number of very many digits"
