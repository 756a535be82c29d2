"""Alarms: what looks wrong while GRPO trains, each said once a stage, with what to change.

They read the numbers that the loop has logged, steps and checks, and decide nothing: a run goes on, and keeps
its best adapter. Every bound below is our choice.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from ..config import GRPO
from ..runs import log_metrics, read_metrics
from .groups import Stage

WINDOW = 3  # steps whose mean is looked at
CUT_OFF = 0.3  # share of completions that ran into the limit
NO_ROOM = 0.02  # share of the teacher's chains that are longer than the limit
EQUAL_GROUPS = 0.6  # share of groups whose rewards are all equal
LOW_FORMAT = 0.5  # share of the first completions in form
ENTROPY_LEFT = 0.5  # of the entropy of the first step
KL_BOUND = 0.5  # nats a token
SAMPLER_DIFFERS = 0.3  # nats a token between the server that samples and the trainer
FLAT = 1e-4  # a term's standard deviation within groups
STEPS_OF_A_TREND = 4  # before a term is called constant, or the reward rising
REASONING_LEFT = 0.7  # of what the chains had before GRPO


class Seen(NamedTuple):
    """What a stage has logged so far. steps, checks: its lines of metrics.jsonl. before: the first check of
    the whole run, of the SFT policy; None where there is none."""
    settings: GRPO
    stage: Stage
    steps: list[dict]
    checks: list[dict]
    before: dict | None

    def recent(self, key: str) -> float:
        """The mean of a number over the last steps."""
        return mean(line[key] for line in self.steps[-WINDOW:])

    @property
    def reward_gain(self) -> float:
        """How much the reward has risen: the mean of the last steps less that of the first ones; 0 before
        there are enough."""
        if len(self.steps) < STEPS_OF_A_TREND:
            return 0.0
        size = min(WINDOW, len(self.steps) // 2)
        first = mean(line["reward"] for line in self.steps[:size])
        return mean(line["reward"] for line in self.steps[-size:]) - first


Found = str | None
"""What was seen, a sentence; None where nothing is wrong."""


# ---------------------------------------------------------------- what is watched

def cut_off(seen: Seen) -> Found:
    share = seen.recent("clipped")
    return f"{share:.0%} of the completions ran into their limit" if share > CUT_OFF else None


def no_room(seen: Seen) -> Found:
    lengths, limit = seen.stage.taught_lengths, seen.settings.completion
    longer = sum(length > limit for length in lengths)
    if longer <= NO_ROOM * len(lengths):
        return None
    return (f"{longer / len(lengths):.0%} of the chains of SFT have more than grpo.completion={limit} tokens,"
            f" the longest {max(lengths)}: such chains are cut off, and only shorter ones are rewarded")


def equal_groups(seen: Seen) -> Found:
    share = seen.recent("zero_variance")
    if len(seen.steps) < WINDOW or share <= EQUAL_GROUPS:
        return None
    return f"in {share:.0%} of the groups all rewards are equal, and nothing is learned from them"


def no_number(seen: Seen) -> Found:
    skipped = seen.steps[-1].get("skipped", 0)
    if not skipped:
        return None
    return f"the gradient of {skipped} groups was not a finite number, and they were skipped"


def low_format(seen: Seen) -> Found:
    share = seen.steps[0]["format"]
    return f"{share:.0%} of the first step's completions are in form" if share < LOW_FORMAT else None


def entropy_collapse(seen: Seen) -> Found:
    first = next((line["entropy"] for line in seen.steps if line["entropy"]), 0.0)
    last = seen.steps[-1]["entropy"]
    if not first or not 0 < last < ENTROPY_LEFT * first:
        return None
    return f"the entropy fell from {first:.2f} to {last:.2f} nats a token"


def far_from_reference(seen: Seen) -> Found:
    kl = seen.recent("kl")
    if kl <= KL_BOUND:
        return None
    return f"the KL to the policy that the stage began with is {kl:.2f} nats a token"


def sampler_differs(seen: Seen) -> Found:
    known = [line["importance"] for line in seen.steps[-WINDOW:] if "importance" in line]
    difference = mean(step["difference"] for step in known) if known else 0.0
    if difference <= SAMPLER_DIFFERS:
        return None
    return (f"the server's log-probs differ from the trainer's by {difference:.2f} nats a token, and "
            f"{mean(step['truncated'] for step in known):.0%} of the importance weights are at their cap")


def prmu_against_task(seen: Seen) -> Found:
    agreements = [line["agreement"] for line in seen.steps if line.get("agreement") is not None]
    if len(agreements) < WINDOW or mean(agreements[-WINDOW:]) >= 0:
        return None
    return (f"PRMU and the task term disagree: their correlation within groups is "
            f"{mean(agreements[-WINDOW:]):.2f}")


def constant_term(seen: Seen) -> Found:
    if len(seen.steps) < STEPS_OF_A_TREND:
        return None
    weights = {"task": seen.stage.task_weight, "tag": seen.stage.tag_weight,
               "prmu": seen.stage.trusted_prmu_weight, "own": seen.stage.own_weight}
    flat = [name for name, weight in weights.items() if weight
            and all(line["spread"][name] < FLAT for line in seen.steps[-STEPS_OF_A_TREND:])]
    return f"the term {' and '.join(flat)} is the same for all completions of a group" if flat else None


def score_falls(seen: Seen) -> Found:
    """The held-out score is below that of the stage's first check by more than two standard errors of the
    larger one."""
    if len(seen.checks) < 2:
        return None
    first, last = seen.checks[0], seen.checks[-1]
    if last["score"] >= first["score"] - 2 * max(first["error"], last["error"]):
        return None
    what = f"the held-out score fell from {first['score']:.3f} to {last['score']:.3f}"
    if seen.reward_gain > 0:
        what += f" while the reward rose by {seen.reward_gain:.3f}: the policy farms the reward"
    return what


def reasoning_evaporates(seen: Seen) -> Found:
    """Form, claims or steps fall below a share of what they were before GRPO."""
    if seen.before is None or not seen.checks:
        return None
    before, now = (check["reasoning"]["all"] for check in (seen.before, seen.checks[-1]))
    words = {"form": "the share of chains in a form of the teacher's",
             "claims": "the checkable claims a chain", "steps": "the steps a chain"}
    fallen = [f"{words[name]} from {before[name]:.2f} to {now[name]:.2f}" for name in words
              if now[name] < REASONING_LEFT * before[name]]
    return f"the reasoning evaporates: {', '.join(fallen)}" if fallen else None


class Alarm(NamedTuple):
    find: Callable[[Seen], Found]
    advice: str


ALARMS = {
    "no_room": Alarm(
        no_room, "raise grpo.completion to the length of the longest"),
    "cut_off": Alarm(
        cut_off, "raise grpo.completion, or train SFT longer (sft.epochs) until its chains end"),
    "no_number": Alarm(
        no_number, "lower grpo.lr (grpo.explore_lr); if it happens once in a long run, nothing"),
    "equal_groups": Alarm(
        equal_groups, "raise grpo.group or grpo.temperature, set grpo.resample=1, or take harder questions"),
    "low_format": Alarm(
        low_format, "train SFT longer (sft.epochs, more chains): GRPO rewards what is in form"),
    "entropy_collapse": Alarm(
        entropy_collapse, "lower grpo.lr (grpo.explore_lr), raise grpo.clip_high, or end the stage earlier"),
    "far_from_reference": Alarm(
        far_from_reference, "lower grpo.lr or raise grpo.beta"),
    "sampler_differs": Alarm(
        sampler_differs, "let the server of grpo.sampler serve the run's own base model; vLLM needs "
        "--logprobs-mode processed_logprobs"),
    "prmu_against_task": Alarm(
        prmu_against_task, "lower grpo.alpha_prmu, or give PRMU more pairs (reward.pairs, reward.rollouts)"),
    "constant_term": Alarm(
        constant_term, "set its weight to 0, or see in rollouts.jsonl why it tells nothing apart"),
    "score_falls": Alarm(
        score_falls, "lower grpo.lr, raise grpo.beta, or set grpo.patience=2; the best adapter is kept"),
    "reasoning_evaporates": Alarm(
        reasoning_evaporates,
        "set grpo.gate=1, raise grpo.alpha_tag or grpo.beta, lower grpo.lr, or train less"),
}


# ---------------------------------------------------------------- saying them

class Alarms:
    """The alarms of one stage. A resumed run knows from metrics.jsonl which were said."""

    def __init__(self, settings: GRPO, folder: Path, stage: Stage, say: Callable[[str], None] = print):
        self.settings, self.folder, self.stage, self.say = settings, folder, stage, say

    def look(self, index: int) -> None:
        """Says what is new after `index` steps, and writes it to metrics.jsonl."""
        name = self.stage.name
        said = {line["name"] for line in read_metrics(self.folder, f"{name}_alarm")}
        checks = read_metrics(self.folder, f"{name}_check")
        before = (read_metrics(self.folder, "guided_check") or checks or [None])[0]
        seen = Seen(self.settings, self.stage, read_metrics(self.folder, name), checks, before)
        for alarm, (find, advice) in ALARMS.items():
            text = find(seen) if seen.steps and alarm not in said else None
            if text is not None:
                log_metrics(self.folder, f"{name}_alarm", index=index, name=alarm, text=text, advice=advice)
                self.say(f"  ALARM ({name}, step {index}): {text}; {advice}")
