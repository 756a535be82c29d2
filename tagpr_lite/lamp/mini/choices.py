"""LaMP_2 and LaMP_3: users who tag a theme in their own way, and who judge by their own measure.

Both writers take their word lists and the way to join them as arguments, so that the Chinese tasks have the
same rules. Distinct texts: about 45,000 films, 246,000 reviews.
"""
from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from .text import Text, capital, fresh

# ---------------------------------------------------------------- LaMP_2: what tag a theme means to a user

# theme -> (its three possible tags, who, what they do, how it ends); a theme's nouns recur in the last three
THEMES = {
    "heist": (("action", "comedy", "twist ending"),
              ("a retired bank robber", "a card shark", "a crew of thieves", "a getaway driver",
               "a con artist", "a jewel thief", "a painting forger", "a bank clerk",
               "a safecracker's daughter", "a casino dealer"),
              ("plans to rob a casino vault", "breaks into a museum of diamonds",
               "digs a tunnel under a bank", "swaps a stolen painting for a forgery",
               "cracks the safe of a crime boss", "hijacks a bank truck", "robs the same casino twice",
               "swipes diamonds from a jewel show"),
              ("while the alarm is off", "before the bank guards return", "with a thief nobody trusts",
               "on the night of the casino gala", "for one last robbery", "and leaves an empty safe",
               "with a stolen key", "under the eyes of the museum")),
    "future": (("sci-fi", "dystopia", "thought-provoking"),
               ("a lonely robot", "the last pilot on Mars", "an android clerk", "a space colony engineer",
                "a clone", "a starship cook", "a robot repairer", "a moon miner", "an exiled android",
                "a space station nurse"),
               ("finds out which computer controls the orbiting city",
                "wakes after a century of sleep in space", "repairs a computer that decides who may breathe",
                "is hunted by robot drones under a glass dome", "smuggles memory chips to a space station",
                "teaches a computer to dream", "receives a signal from a dead planet",
                "steers an ark of frozen humans to Mars"),
               ("as the oxygen runs low", "while the robot guards watch",
                "and learns what the computer erased", "before the next starship leaves",
                "on a planet without oxygen", "against the orders of the machines",
                "until the reactor of the station fails", "and cannot return from space")),
    "legend": (("fantasy", "classic", "based on a book"),
               ("a young wizard", "an exiled queen", "a blacksmith's son", "a nameless knight",
                "a witch's maid", "a cursed king", "an old minstrel", "a dwarf king", "a dragon tamer",
                "the last knight of the castle"),
               ("carries an enchanted sword across the mountains", "bargains with a dragon for a crown",
                "searches for the spell that woke the dead king", "leads elves and giants against a sorcerer",
                "opens a castle door sealed by magic", "follows a unicorn into the forest of a witch",
                "wins a magic sword under a false name", "guards the egg of a dragon"),
               ("before the dragon wakes", "as the old prophecy said", "while the kingdom sleeps",
                "with a cloak of magic", "to break the spell", "against the will of the queen",
                "at the edge of the kingdom", "and gives up the crown")),
    "marriage": (("romance", "dark comedy", "psychology"),
                 ("a shy florist", "a divorced couple", "a bride with doubts", "a jealous husband",
                  "an old flame", "a wedding singer", "a lonely widow", "a best man in love",
                  "a married couple", "a runaway bride"),
                 ("meets again at a wedding by the lake", "writes love letters to the wrong address",
                  "pretends to be engaged for one weekend", "falls in love with the therapist next door",
                  "hides an affair during the honeymoon", "loses the wedding ring in the cake",
                  "spies on the honeymoon of an old flame", "moves in with the mother-in-law"),
                 ("until the bride finds out", "over one long wedding dinner", "and cannot say the words",
                  "while the wedding guests applaud", "on the eve of the divorce", "for the sake of love",
                  "and blames the husband", "before the last dance")),
    "injustice": (("true story", "violence", "social commentary"),
                  ("a striking miner", "a young lawyer", "a war reporter", "a jailed boxer",
                   "a village teacher", "a prison nurse", "a striking dock worker", "a retired judge",
                   "a protest leader", "a prison cook"),
                  ("stands up to a brutal sheriff", "uncovers the massacre that the army denies",
                   "defends a man beaten by the police", "is caught between gangs and a corrupt mayor",
                   "documents a riot in the prison", "testifies against a corrupt judge",
                   "hides witnesses of a police shooting", "leads a protest of evicted families"),
                  ("as the trial begins", "while the police look away", "and goes to prison",
                   "in the year of the strike", "against a corrupt court", "with nothing but a camera",
                   "until the army comes", "and pays a heavy price")),
}
SETTINGS = ("", "In this film ", "Once again ", "Years later, ", "In the second part, ", "One winter, ",
            "By accident, ", "Far from home, ", "In this remake ", "Against all advice, ",
            "After a long silence, ", "On a bet, ", "Overnight, ", "For the first time ")


def plot(setting: str, who: str, does: str, ends: str) -> str:
    """What happens in a film, in one sentence."""
    return capital(f"{setting}{who} {does} {ends}.")


def movies(rng: random.Random, profile: int, questions: int, themes: dict = THEMES,
           settings: tuple[str, ...] = SETTINGS, tell: Callable = plot) -> tuple[int, list[Text]]:
    """A rule gives each of the five themes one of its three tags (243 rules); a user watches three themes."""
    rules = list(itertools.product(range(3), repeat=len(themes)))  # [(0, 0, 0, 0, 0), ..., (2, 2, 2, 2, 2)]
    rule = rng.randrange(len(rules))
    watched = rng.sample(range(len(themes)), 3)
    order = [watched[n % 3] for n in range(profile)]  # six items or more: every theme at least twice
    rng.shuffle(order)
    texts: list[Text] = []
    seen: set[str] = set()

    def new_plot(parts: list[tuple[str, ...]]) -> str:
        return fresh(lambda: tell(rng.choice(settings), *map(rng.choice, parts)), seen)

    for n in range(profile + questions):
        theme = order[n] if n < profile else rng.choice(watched)
        tags, *parts = list(themes.values())[theme]
        answers = tuple(tags[tag_of_theme[theme]] for tag_of_theme in rules)
        texts.append(Text(new_plot(parts), answers))
    return rule, texts


# ---------------------------------------------------------------- LaMP_3: how strict, and what counts most

ASPECTS = {  # aspect -> (praise, complaint)
    "price": (("a real bargain", "cheap for what you get", "worth every cent", "I paid very little"),
              ("far too expensive", "overpriced", "not worth the money", "it costs twice what it should")),
    "quality": (("solidly built", "it works perfectly", "still like new after months",
                 "the material feels great"),
                ("it broke within a week", "flimsy plastic", "it stopped working", "poorly made")),
    "service": (("the seller was friendly", "support answered at once", "shipping was quick",
                 "it arrived early"),
                ("nobody answered my mails", "delivery took a month", "the seller was rude",
                 "the box came damaged")),
}
PRODUCTS = ("kettle", "desk lamp", "backpack", "phone case", "coffee grinder", "garden hose", "toaster",
            "headset", "umbrella", "yoga mat", "razor", "keyboard", "water bottle", "alarm clock", "blender",
            "office chair")
OPENINGS = ("Bought this {} last month:", "About this {}:", "My new {}:", "We use the {} daily:",
            "This {} was a gift:")


def verdict(opening: str, remarks: list[str]) -> str:
    """The review that opens so and makes three remarks."""
    return f"{opening} {remarks[0]}, {remarks[1]}, {remarks[2]}."


def reviews(rng: random.Random, profile: int, questions: int, aspects: dict = ASPECTS,
            products: tuple[str, ...] = PRODUCTS, openings: tuple[str, ...] = OPENINGS,
            tell: Callable = verdict) -> tuple[int, list[Text]]:
    """A rule is (strictness -1, 0 or 1; the aspect that counts double): 9 rules.

    Score = 3 + strictness + sign(main) + mean of the two other aspects' signs, with sign = +1 for praise and
    -1 for a complaint, kept within 1..5.
    """
    rules = list(itertools.product((-1, 0, 1), aspects))
    rule = rng.randrange(len(rules))
    texts: list[Text] = []
    seen: set[str] = set()

    def new_review(remarks: list[str]) -> str:
        return fresh(lambda: tell(rng.choice(openings).format(rng.choice(products)), remarks), seen)

    for _ in range(profile + questions):
        # One remark on every aspect, praise or complaint, in any order.
        signs = {aspect: rng.choice((1, -1)) for aspect in aspects}
        remarks = []
        for aspect, sign in signs.items():
            praise, complaint = aspects[aspect]
            remarks.append(rng.choice(praise if sign > 0 else complaint))
        rng.shuffle(remarks)
        text = new_review(remarks)

        # sign(main) + (sum - sign(main)) / 2 = (sign(main) + sum) / 2, a whole number for three aspects
        answers = []
        for strictness, main in rules:
            stars = 3 + strictness + (signs[main] + sum(signs.values())) // 2
            answers.append(str(min(max(stars, 1), 5)))
        texts.append(Text(text, tuple(answers)))
    return rule, texts


WRITERS = {"LaMP_2": movies, "LaMP_3": reviews}
