"""A corpus of reasoning steps whose functions are known: twelve functions, each under four names, nine of
them frequent.

A step's words come from sentence frames of its function, filled with the words of some user; its name is
drawn from the function's four, by a skewed coin, so that no name says alone what a step does.
"""
from __future__ import annotations

import random

FUNCTIONS = {"examine_examples": (("review_past_items", "look_at_history", "inspect_examples"), 100,
                                  ["The earlier {things} were {a} and {b}.",
                                   "Looking back, this user wrote about {a} in three {things}.",
                                   "In the history stand {things} on {a}, {b} and {c}.",
                                   "Past {things}: {a}, then {b}.",
                                   "Among the earlier {things} one is on {a}."]),
             "identify_patterns": (("find_pattern", "spot_regularities", "detect_patterns"), 90,
                                   ["They usually prefer {a} over {b}.",
                                    "A pattern: whenever {a} comes up, {b} follows.",
                                    "Almost always the {things} mention {a}.",
                                    "There is a habit of putting {a} first, usually with {b}.",
                                    "The same pattern returns in most {things}: {a}."]),
             "understand_task": (("read_the_task", "clarify_task", "restate_task"), 80,
                                 ["The task is to choose one label for a text about {a}.",
                                  "We must answer with one of the given labels.",
                                  "I am asked which label fits the {things}.",
                                  "The task asks for a single answer on {a}.",
                                  "What is asked: one label, given a text about {a}."]),
             "analyze_query": (("parse_query", "study_the_query", "analyze_question"), 75,
                               ["The new text speaks of {a} and its tone is warm.",
                                "The query mentions {a}, in a cold tone.",
                                "This new text is about {a} with {b}.",
                                "In the query the words {a} and {b} stand out.",
                                "The text in the query sounds disappointed by {a}."]),
             "compare_options": (("weigh_options", "contrast_candidates", "compare_candidates"), 70,
                                 ["Option one shares {a} with the history, option two shares nothing.",
                                  "Between both candidates the first is closer on {a}.",
                                  "The second option is about {b}, the first option about {a}.",
                                  "Candidate one against candidate two: {a} decides.",
                                  "Compared with the other candidate, this option has more of {a}."]),
             "infer_preferences": (("deduce_preferences", "infer_taste", "estimate_preference"), 65,
                                   ["So this person likes {a} and does not care for {b}.",
                                    "This suggests a taste for {a}.", "The person seems to like {a} best.",
                                    "Their taste leans to {a} rather than {b}.",
                                    "It seems they enjoy {a}, less so {b}."]),
             "apply_preferences": (("use_preferences", "apply_taste", "map_preferences"), 60,
                                   ["Applied here, a generous reader would add one point for {a}.",
                                    "With that leaning, {a} earns an extra point.",
                                    "Applying this to the case raises the score by one for {a}.",
                                    "For such a reader {a} counts a point more.",
                                    "That leaning, applied to {a}, costs one point."]),
             "verify_consistency": (("check_consistency", "double_check", "confirm_consistency"), 55,
                                    ["This agrees with everything before, no contradiction on {a}.",
                                     "Checking again: nothing contradicts {a}.",
                                     "The result is consistent with {a}.",
                                     "No contradiction is left, even for {b}.",
                                     "Double checked against {a}: it holds."]),
             "conclude": (("draw_conclusion", "state_conclusion", "give_conclusion"), 50,
                          ["Therefore the answer is {a}.", "So the final answer: {a}.", "Hence I answer {a}.",
                           "The answer must then be {a}.", "Therefore I settle on {a}."]),
             "estimate_length": (("count_words", "measure_length", "gauge_length"), 14,
                                 ["About nine words long, {a} included.",
                                  "Seven words is the average length.", "The length is near twelve words."]),
             "note_uncertainty": (("admit_doubt", "flag_uncertainty", "mention_doubt"), 12,
                                  ["It is uncertain whether {a} matters.", "There is some doubt about {a}.",
                                   "Hard to be sure about {b}."]),
             "recall_world": (("use_world_knowledge", "recall_facts", "cite_knowledge"), 10,
                              ["In the world at large {a} was invented long ago.",
                               "It is commonly known that {a} is expensive.",
                               "Generally known: {b} wears out."])}
WORDS = ("soap tea novels pasta boots lamps robots dragons markets poems engines gardens rivers violins maps "
         "clocks knives candles bicycles mirrors puzzles spices blankets kettles cameras").split()
THINGS = ("reviews", "ratings", "titles", "items", "posts")


def corpus(seed: int = 0, chains: int = 260) -> list[list[tuple[str, str, str]]]:
    """Chains of (name, step text, true function)."""
    rng = random.Random(seed)
    functions, found = list(FUNCTIONS), []
    for _ in range(chains):
        chosen = {f for f in functions if rng.random() < FUNCTIONS[f][1] / 120} or {"conclude"}
        chain = []
        for f in functions:
            if f in chosen:
                others, _, frames = FUNCTIONS[f]
                name = rng.choices([f, *others], [5, 3, 2, 1])[0]
                a, b, c = rng.sample(WORDS, 3)
                chain.append((name, rng.choice(frames).format(a=a, b=b, c=c, things=rng.choice(THINGS)), f))
        found.append(chain)
    return found
