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
    """(title, abstract) of a paper on a subject. things: the subject's words, three of which are taken."""
    a, b, c = rng.sample(things, 3)
    facts = pick(rng, manner=MANNER, result=RESULT)
    title = capital(f"{rng.choice(MANNER)} {a} {rng.choice(LINK)} {b}")
    return title, rng.choice(ABSTRACT).format(a=a, b=b, c=c, **facts)


def plain_title(rng: random.Random) -> str:
    """A title that says nothing of the paper's subject."""
    return f"{rng.choice(STANCE)} {rng.choice(TOPIC)}"


def cite(title: str, references: list[str]) -> str:
    """The question about a paper and two references, after the instruction."""
    return (f'"{title}", which reference is related? Just answer with [1] or [2] without explanation. '
            f'[1]: "{references[0]}" [2]: "{references[1]}"')


def citations(rng: random.Random, profile: int, questions: int, subjects: dict = SUBJECTS,
              paper: Callable = paper, plain_title: Callable = plain_title,
              cite: Callable = cite) -> tuple[int, list[Text]]:
    """A rule is a pair of subjects (28 rules of 8 subjects); the author writes on both in turn.

    One candidate is on a subject of the author's, the other on none. A rule that has both candidates'
    subjects or neither takes the one that is listed first in `subjects`.
    """
    things = list(subjects.values())
    rules = list(itertools.combinations(range(len(things)), 2))  # [(0, 1), (0, 2), ..., (6, 7)]
    rule = rng.randrange(len(rules))
    others = [subject for subject in range(len(things)) if subject not in rules[rule]]
    texts: list[Text] = []
    seen: set[str] = set()

    def new_title(subject: int) -> str:
        return fresh(lambda: paper(rng, things[subject])[0], seen)

    for n in range(profile + questions):
        # The n-th paper under every rule: on a rule's first subject when n is even, on its second when odd.
        papers = [paper(rng, words) for words in things]  # [subjects] (title, abstract)
        written = [papers[own_subjects[n % 2]] for own_subjects in rules]  # [rules] (title, abstract)

        # A past paper is its abstract, labelled with its title.
        if n < profile:
            titles = tuple(title for title, _ in written)
            seen.add(titles[rule])
            texts.append(Text("", titles, tuple((abstract, title) for title, abstract in written)))
            continue

        # A question has a plain title and two candidates, one on a subject of the author's.
        own_title = plain_title(rng)
        pair = [rules[rule][n % 2], rng.choice(others)]
        rng.shuffle(pair)
        candidates = [new_title(subject) for subject in pair]
        answers = tuple(f"[{_cited(own_subjects, pair) + 1}]" for own_subjects in rules)
        items = tuple((abstract, own_title) for _, abstract in written)
        texts.append(Text(cite(own_title, candidates), answers, items))
    return rule, texts


def _cited(own_subjects: tuple[int, ...], pair: list[int]) -> int:
    """Which of a pair of subjects, 0 or 1, an author cites who works on `own_subjects`."""
    fits = [subject in own_subjects for subject in pair]
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
    """(abstract, the facts in it)."""
    facts = pick(rng, name=NAME, method=METHOD, problem=PROBLEM, place=PLACE, finding=FINDING)
    facts |= {"Problem": capital(facts["problem"]), "Finding": capital(facts["finding"])}
    return rng.choice(SUMMARY).format(**facts), facts


WRITERS = {"LaMP_1": citations, "LaMP_5": in_forms(abstract, TITLES)}
