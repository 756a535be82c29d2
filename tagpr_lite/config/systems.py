"""A system that is evaluated is an adapter, a profile and a decoding, written as one word.

    word                   adapter    profile              decoding
    explore                explore    the user's own       the likeliest token, again and again
    explore@none           explore    none                 the same
    explore@other          explore    another user's       the same
    explore@k8             explore    eight items of it    the same
    explore@recency        explore    its newest items     the same
    explore@vote8          explore    the user's own       the answer that most of 8 samples give
    explore@none@prmu8     explore    none                 PRMU's choice of 8 samples

The parts after the adapter may come in any order, and the defaults @own and @greedy may be written.
`base` has no profile; the base model with one is `base_profile`.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# {adapter: its folder in the run folder}. guided and explore are the best adapters of their stages;
# guided_last and explore_last are those after the last step.
ADAPTERS = {"sft": "sft/adapter", "guided": "guided/adapter", "explore": "explore/adapter",
            "guided_last": "guided/last", "explore_last": "explore/last"}
NAMES = ("base", "base_profile", *ADAPTERS)
PROFILES = {"own": "own profile", "none": "no profile", "other": "another user's profile",
            "half": "half of the profile another user's", "shuffled": "items in random order",
            "bm25": "items by BM25", "dense": "items by a sentence encoder", "recency": "the newest items",
            "random": "random items"}
ITEMS = re.compile(r"k([0-9]|[1-9][0-9])")
"""A profile with so many items shown, such as k8; k0 shows what the prompt says of the whole profile."""
# A decoding that chooses among samples: how, how many, and whose embedding PRMU is asked with.
CHOICE = re.compile(r"(vote|best|random|prmu)([1-9][0-9]?)(-own|-other|-none)?")
LEAST_SAMPLES, MOST_SAMPLES = 2, 64
KNOWN = (f"known are {', '.join(NAMES)}, each with @none, @other, @half, @shuffled, @k8, @bm25, @dense, "
         "@recency or @random (profile) and @vote8, @prmu8, "
         f"@prmu8-other, @prmu8-none, @best8 or @random8 ({LEAST_SAMPLES} to {MOST_SAMPLES} samples)")


class System(NamedTuple):
    """One system. `explore@none@prmu8-other` is System("explore", "none", "prmu", 8, "other")."""
    adapter: str
    """`base`, or a key of ADAPTERS."""
    profile: str = "own"
    """What the prompt shows of a profile: a key of PROFILES, or a number of items such as k8."""
    decoding: str = "greedy"
    """greedy; or how one of the samples is chosen: vote, prmu, best (the oracle), random."""
    samples: int = 1
    """How many completions are looked at; 1 where the decoding is greedy."""
    asked_with: str = "own"
    """Whose embedding PRMU is asked with: own, other, or none (the generic user e_0)."""

    @property
    def answerer(self) -> str:
        """The word without the decoding: systems of one answerer share their samples."""
        if self.adapter == "base":
            named = {"none": "base", "own": "base_profile"}
            return named.get(self.profile, f"base_profile@{self.profile}")
        return self.adapter if self.profile == "own" else f"{self.adapter}@{self.profile}"

    @property
    def word(self) -> str:
        """The shortest word for the system, the name of its folder in eval/."""
        if self.decoding == "greedy":
            return self.answerer
        whose = "" if self.asked_with == "own" else f"-{self.asked_with}"
        return f"{self.answerer}@{self.decoding}{self.samples}{whose}"

    @property
    def folder(self) -> str | None:
        """The adapter's folder in the run folder; None for the base model."""
        return ADAPTERS.get(self.adapter)


def parse_system(word: str) -> System:
    """The system that a word names. ValueError: a line that says what is wrong, and what is known."""
    name, *parts = word.split("@")
    profile = decoding = None
    for part in parts:
        choice = CHOICE.fullmatch(part)
        if (part in PROFILES or ITEMS.fullmatch(part)) and profile is None:
            profile = part
        elif part == "greedy" and decoding is None:
            decoding = ("greedy", 1, "own")
        elif choice and decoding is None and is_choice(choice):
            decoding = (choice[1], int(choice[2]), (choice[3] or "-own")[1:])
        else:
            raise ValueError(KNOWN)
    if name not in NAMES:
        raise ValueError(KNOWN)
    default = "none" if name == "base" else "own"
    adapter = "base" if name == "base_profile" else name
    return System(adapter, profile or default, *(decoding or ("greedy", 1, "own")))


def profile_words(profile: str) -> str:
    """What a profile's word means, such as "8 items" for k8."""
    if profile in PROFILES:
        return PROFILES[profile]
    return "1 item" if profile == "k1" else f"{profile[1:]} items"


def is_choice(found: re.Match) -> bool:
    """Whether a match of CHOICE has a right number of samples; only PRMU is asked with an embedding."""
    in_bounds = LEAST_SAMPLES <= int(found[2]) <= MOST_SAMPLES
    return in_bounds and (found[1] == "prmu" or not found[3])


def parse_systems(words: Iterable[str]) -> list[System]:
    """The systems of some words in their order, each once."""
    return list(dict.fromkeys(parse_system(word) for word in words))
