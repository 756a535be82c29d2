"""LaMP_1 and LaMP_5: authors who keep to their subjects, and who title in their own way.

In LaMP_1 the paper asked about has a title that says nothing of its subject, so that only the author's past
papers tell which reference fits. No word of a subject occurs in another one. Distinct texts: about 27,000
reference titles, so that hardly two questions have the same pair; about 415,000 abstracts in LaMP_5.
"""
from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from .text import Text, capital, fresh, in_forms, pick

# ---------------------------------------------------------------- LaMP_1: the author's two subjects

SUBJECTS = {"graphs": ("graph networks", "node embeddings", "link prediction", "community structure",
                       "spectral clustering", "random walks", "edge sampling", "shortest routes"),
            "vision": ("image segmentation", "object detection", "depth estimation", "face matching",
                       "video tracking", "optical flow", "scene understanding", "photo captions"),
            "speech": ("speech recognition", "speaker turns", "voice synthesis", "acoustic models",
                       "phoneme alignment", "audio denoising", "accent adaptation", "vowel length"),
            "robots": ("robot grasping", "motion planning", "legged locomotion", "drone swarms",
                       "tactile sensing", "collision avoidance", "wheel odometry", "gripper design"),
            "privacy": ("differential privacy", "federated learning", "secure aggregation",
                        "data anonymisation", "membership attacks", "encrypted inference", "access control",
                        "consent forms"),
            "health": ("patient records", "clinical notes", "disease progression", "hospital triage",
                       "drug interactions", "sepsis alarms", "cancer screening", "nursing schedules"),
            "markets": ("auction bidding", "stock volatility", "portfolio risk", "credit scoring",
                        "market makers", "price discovery", "fraud rings", "option hedging"),
            "language": ("machine translation", "word senses", "syntax parsing", "question answering",
                         "text summaries", "named entities", "coreference chains", "grammar correction"),}
MANNER = ("robust", "scalable", "fair", "sparse", "cheap", "interpretable", "online", "hierarchical",
          "adaptive", "weakly supervised")
LINK = ("for", "with", "beyond", "guided by", "in the wild:", "without")
ABSTRACT = ("This paper revisits {a} by way of {manner} {b} and {c}. {result}",
            "We connect {a} with {b}. A {manner} treatment of {c} follows. {result}",
            "Work on {a} often forgets {b}. We add {manner} {c}. {result}",
            "How far do {a} and {b} go together? We test {manner} {c}. {result}")
RESULT = ("Errors fall by a third.", "The gain holds on four data sets.", "Old methods remain strong.",
          "Code is released.", "We prove a lower bound.", "A user study agrees.", "The cost stays linear.",
          "Failures are discussed.")
STANCE = ("Lessons from", "Notes on", "A second look at", "The limits of", "Open questions about",
          "The case for", "What we learned from", "Against", "A short history of", "In defence of")
TOPIC = ("simple baselines", "small studies", "negative results", "careful evaluation", "shared benchmarks",
         "replication", "failed experiments", "long projects", "open reviews", "human judgement",
         "strong assumptions", "tidy theories")


def paper(rng: random.Random, things: tuple[str, ...]) -> tuple[str, str]:
    """(title, abstract) of a paper on a subject."""
    a, b, c = rng.sample(things, 3)
    facts = pick(rng, manner=MANNER, result=RESULT)
    title = capital(f"{rng.choice(MANNER)} {a} {rng.choice(LINK)} {b}")
    return title, rng.choice(ABSTRACT).format(a=a, b=b, c=c, **facts)


def plain_title(rng: random.Random) -> str:
    return f"{rng.choice(STANCE)} {rng.choice(TOPIC)}"


def cite(title: str, references: list[str]) -> str:
    return (f'"{title}", which reference is related? Just answer with [1] or [2] without explanation. '
            f'[1]: "{references[0]}" [2]: "{references[1]}"')


def citations(rng: random.Random, profile: int, questions: int, subjects: dict = SUBJECTS,
              paper: Callable = paper, plain_title: Callable = plain_title,
              cite: Callable = cite) -> tuple[int, list[Text]]:
    """A rule is a pair of subjects (28 rules of 8 subjects); the author writes on both in turn.

    One candidate is on a subject of the author's, the other on none. A rule that holds both candidates'
    subjects or neither takes the one that is listed first in `subjects`.
    """
    things = list(subjects.values())
    rules = list(itertools.combinations(range(len(things)), 2))
    rule, texts, seen = rng.randrange(len(rules)), [], set()
    for n in range(profile + questions):
        papers = [paper(rng, t) for t in things]
        written = [papers[r[n % 2]] for r in rules]
        if n < profile:
            titles = tuple(title for title, _ in written)
            seen.add(titles[rule])
            texts.append(Text("", titles, tuple((abstract, title) for title, abstract in written)))
            continue
        own = plain_title(rng)
        pair = [rules[rule][n % 2], rng.choice([s for s in range(len(things)) if s not in rules[rule]])]
        rng.shuffle(pair)
        asked = cite(own, [fresh(lambda: paper(rng, things[s])[0], seen) for s in pair])
        texts.append(Text(asked, tuple(f"[{_cited(r, pair) + 1}]" for r in rules),
                          tuple((abstract, own) for _, abstract in written)))
    return rule, texts


def _cited(held: tuple[int, ...], pair: list[int]) -> int:
    """Which of a pair of subjects an author cites who holds the subjects `held`."""
    fits = [subject in held for subject in pair]
    return fits.index(True) if sum(fits) == 1 else pair.index(min(pair))


# ---------------------------------------------------------------- LaMP_5: the form of a title

NAME = ("Kestrel", "Marmot", "Heron", "Otter", "Lynx", "Puffin", "Ibex", "Gecko", "Plover", "Badger", "Tapir",
        "Wren")
METHOD = ("sparse attention", "contrastive pretraining", "tree search", "active sampling",
          "low-rank adapters", "energy models", "rule induction", "kernel averaging",
          "curriculum distillation", "latent planning", "noise injection", "prototype matching")
PROBLEM = ("crop disease diagnosis", "protein folding", "traffic forecasting", "legal retrieval",
           "handwriting recognition", "flood warning", "music tagging", "bridge inspection",
           "language tutoring", "energy pricing", "bird counting", "code repair")
PLACE = ("village clinics", "city sensors", "museum archives", "school classrooms", "satellite photos",
         "court files", "river stations", "phone recordings", "factory floors", "ship logs")
FINDING = ("few labels suffice", "simple features win", "errors fall by half", "old data mislead",
           "size matters little", "human feedback pays off", "rare cases dominate", "training can stop early")
SUMMARY = ("We introduce {name}, which brings {method} to {problem}. Tests in {place} show that {finding}.",
           "{Problem} is still hard in {place}. Our system {name} uses {method} and shows that {finding}.",
           "In {place} we compare ways of {problem}. With {method}, as {name} has it, {finding}.")
TITLES = (
    "{name}: {method} for {problem}",
    "Can we trust {method} in {place}?",
    "Rethinking {problem} with {method}",
    "Towards reliable {problem} in {place}",
    "{Problem} via {method}",
    "{name} goes to {place}",
    "{Finding}: evidence from {place}",
    "An empirical study of {method} across {place}",
)


def abstract(rng: random.Random) -> tuple[str, dict[str, str]]:
    facts = pick(rng, name=NAME, method=METHOD, problem=PROBLEM, place=PLACE, finding=FINDING)
    facts |= {"Problem": capital(facts["problem"]), "Finding": capital(facts["finding"])}
    return rng.choice(SUMMARY).format(**facts), facts


WRITERS = {"LaMP_1": citations, "LaMP_5": in_forms(abstract, TITLES)}
