"""LaMP_7 and shop_reviews: how a user writes of their own: openers, register, hashtags; order, selection, set
phrases.

A rule is one of each of three habits, so that a user's style must be put together from several traits. ROUGE
sees neither case nor punctuation, so each habit shows in words. Distinct texts: about 46,000 neutral tweets,
over a million lists of impressions.
"""
from __future__ import annotations

import itertools
import random

from .text import capital, in_forms, pick

# ---------------------------------------------------------------- LaMP_7: tweets

GADGET = ("the bus", "the lift", "the printer", "the coffee machine", "the wifi", "my laptop", "the heating",
          "the dishwasher", "my phone", "the car", "the washing machine", "the projector", "my bike",
          "the oven", "the doorbell", "the toaster")
EVENT = (  # neutral, brief, slang, big
    ("stopped working", "dead", "straight up died", "completely broke down"),
    ("is working again", "fixed", "came back from the grave", "finally rises from the ashes"),
    ("makes a strange noise", "noisy", "be acting weird", "will not stop howling"),
    ("needs a repair", "broken", "is begging for mercy", "demands a rescue mission"),
    ("was replaced", "swapped", "got a glow up", "has a shiny new successor"),
    ("is slower than usual", "slow", "takes its sweet time", "crawls like a snail"),
    ("is free for everyone now", "free", "costs zilch now", "no longer empties any pocket"),
    ("was stolen", "gone", "got yoinked", "vanished without a trace"),
)
MOMENT = ("this morning", "during lunch", "after the meeting", "before breakfast", "last night",
          "on the way home", "in the rain", "right before the weekend", "at school", "during the match")
DID = ("walked home", "called my sister", "made soup", "read a book", "went for a run", "stayed in bed",
       "baked bread", "missed the news", "learned to juggle", "wrote a poem", "cleaned the fridge",
       "ordered pizza")
TWEETS = ("{Gadget} {event} {moment}, so I {did}.", "{Moment} {gadget} {event} and I {did}.",
          "I {did} {moment} because {gadget} {event}.")
OPENERS = ("ok so basically", "Friends, hear me out:", "BREAKING NEWS")
REGISTERS = ("{moment}: {gadget} {brief}", "{gadget} {slang}, so yeah, {did} lol",
             "{gadget} {big}!!! Guess who {did}")
CLOSERS = ("#{tag} #monday #mood", "somebody send help please", "and I have zero regrets")
TWEET_FORMS = tuple(" ".join(habits) for habits in itertools.product(OPENERS, REGISTERS, CLOSERS))


def tweet(rng: random.Random) -> tuple[str, dict[str, str]]:
    """(neutral tweet, the facts in it)."""
    facts = pick(rng, gadget=GADGET, moment=MOMENT, did=DID)
    facts |= zip(("event", "brief", "slang", "big"), rng.choice(EVENT))
    facts |= {"Gadget": capital(facts["gadget"]), "Moment": capital(facts["moment"]),
              "tag": "".join(facts["gadget"].split()[1:])}
    return rng.choice(TWEETS).format(**facts), facts


# ---------------------------------------------------------------- shop_reviews

PRAISE = ("sturdy", "easy to clean", "quiet", "quick delivery", "fair price", "lovely colour", "light",
          "comfortable grip", "clear manual", "long battery life", "soft fabric", "pretty box", "saves space",
          "works at once", "nice smell", "good sound")
COMPLAINT = ("slow delivery", "flimsy lid", "loud", "scratches easily", "too heavy", "short cable",
             "smells of plastic", "hard to open", "missing screws", "dull colour", "wobbly feet",
             "weak battery", "confusing manual", "runs small", "rude seller", "high price")
VERDICTS = (  # one a voice: verdicts for 1 to 5 stars, what leads to the impressions, how the review ends
    (("never again", "not my thing", "does the job", "good buy", "absolutely love it"), "my notes say",
     "cheers from a picky buyer"),
    (("the kids hate it", "the family is unconvinced", "we can live with that", "everybody here likes this",
      "the whole house adores this"), "at home we found", "greetings out of our kitchen"),
    (("fails every test", "below specification", "meets minimum requirements", "solid engineering",
      "top marks"),
     "measured results", "tested over two weeks"),
)
MENTIONS = ("{all}", "mainly {first}", "pity about {complaints}")
ORDERS = ("{{Verdict{v}}}. {{Lead{v}}}: {mention}. {{End{v}}}.",
          "{{Lead{v}}}: {mention}. {{End{v}}}. {{Verdict{v}}}, in short.")
REVIEW_FORMS = tuple(order.format(v=v, mention=mention)
                     for order, mention, v in itertools.product(ORDERS, MENTIONS, range(len(VERDICTS))))


def impressions(rng: random.Random, praise: tuple[str, ...],
                complaint: tuple[str, ...]) -> tuple[int, list[str], list[str]]:
    """(stars, impressions in the order of the question, the complaints among them); always both kinds."""
    good = rng.randint(1, 3)
    bad = rng.sample(complaint, 4 - good)
    listed = rng.sample(praise, good) + bad
    rng.shuffle(listed)
    stars = good + 1 + rng.choice((-1, 0, 0, 1))
    return min(max(stars, 1), 5), listed, [impression for impression in listed if impression in bad]


def purchase(rng: random.Random) -> tuple[str, dict[str, str]]:
    """(a rating with impressions, the facts that reviews are written from, with every voice's phrases)."""
    stars, listed, complaints = impressions(rng, PRAISE, COMPLAINT)
    facts = {"all": ", ".join(listed[:-1]) + f" and {listed[-1]}", "first": listed[0],
             "complaints": " and ".join(complaints)}
    for voice, (verdicts, lead, end) in enumerate(VERDICTS):
        facts[f"Verdict{voice}"] = capital(verdicts[stars - 1])
        facts[f"Lead{voice}"] = capital(lead)
        facts[f"End{voice}"] = capital(end)
    return f"rating: {stars} impressions: {', '.join(listed)}", facts


WRITERS = {"LaMP_7": in_forms(tweet, TWEET_FORMS, bare=True),
           "shop_reviews": in_forms(purchase, REVIEW_FORMS)}
