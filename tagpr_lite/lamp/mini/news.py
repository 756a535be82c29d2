"""LaMP_4 and LaMP_6: headlines and e-mail subjects, which take other facts and another form from user to
user.

Distinct texts: about 130,000 articles, and millions of e-mails.
"""
from __future__ import annotations

import random

from .text import capital, in_forms, pick

# ---------------------------------------------------------------- LaMP_4: a headline's facts and its form

WHO = ("city library", "harbour museum", "village school", "local bakery", "football club", "old theatre",
       "central hospital", "bus company", "public pool", "farmers market", "night train", "animal shelter")
DOES = ("opens a new wing", "cuts ticket prices", "hires forty people", "loses its main sponsor",
        "plans longer hours", "repairs its leaking roof", "wins a national award", "bans plastic cups",
        "delays its spring program", "buys electric vans")
WHERE = ("Leeds", "Porto", "Graz", "Ghent", "Aarhus", "Turin", "Cork", "Malmo", "Basel", "Gdansk")
WHEN = ("on Monday", "in April", "this weekend", "next summer", "on Friday", "in October")
FILLER = ("Neighbours had asked for it for years.", "A spokesman gave no further details.",
          "The vote was close.", "Costs are shared with the region.", "Visitors welcomed the news.",
          "Critics remain doubtful.")
ARTICLES = ("The {who} in {where} {does} {when}. {filler}", "{When} the {who} in {where} {does}. {filler}",
            "News from {where}: the {who} {does} {when}. {filler}")
HEADLINES = (
    "{where}: {What}",
    "Why is everyone in {where} talking about the {who}?",
    "BREAKING {who} {does} {when}",
    "Finally, {what} {when}!",
    "{who} news from {where}",
    "What {what} would mean for {where}",
)


def article(rng: random.Random) -> tuple[str, dict[str, str]]:
    """(article, the facts in it)."""
    facts = pick(rng, who=WHO, does=DOES, where=WHERE, when=WHEN, filler=FILLER)
    what = facts["does"].split(" ", 1)[1]
    facts |= {"what": what, "What": capital(what), "When": capital(facts["when"])}
    return rng.choice(ARTICLES).format(**facts), facts


# ---------------------------------------------------------------- LaMP_6: conventions of a subject line

PEOPLE = ("Anna", "Bilal", "Chen", "Dora", "Emeka", "Farah", "Goran", "Hanna", "Ines", "Jonas", "Kofi",
          "Lena", "Marco", "Noor", "Olga", "Priya")
TEAM = ("finance", "legal", "design", "sales", "support", "research", "logistics", "marketing")
THING = ("budget", "contract", "slides", "invoice", "schedule", "report", "survey", "brochure", "minutes",
         "forecast", "agenda", "receipt", "poster", "manual", "newsletter", "roadmap", "checklist",
         "catalogue", "memo", "timetable", "statement", "proposal", "summary", "handout")
ACTION = ("check", "send", "update", "approve", "print", "translate", "sign", "shorten")
PROJECT = ("Orion", "Harbour", "Maple", "Delta", "Lighthouse", "Nimbus", "Atlas", "Cobalt", "Willow",
           "Falcon")
DUE = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "tonight", "noon", "next week")
MAILS = ("Hi {to}, could you {action} the {thing} of the {project} project by {due}? "
         "The {team} team is waiting. {sender}",
         "Dear {to}, the {team} team works on {project} again. "
         "Please {action} the {thing} by {due}. Thanks, {sender}",
         "{to}, a reminder about {project}: {team} asks you to {action} the {thing} by {due}. Best, {sender}")
MAIL_SUBJECTS = (
    "[{team}] {project} {thing}",
    "Re: re: your {project} message to {team}",
    "By {due}: {action} {thing}",
    "{Thing}",
    "{Action} the {thing} for {project}",
    "{to}, {sender} needs you",
    "Quick question about {project} from {team}",
    "URGENT, please {action} before {due}",
)


def email(rng: random.Random) -> tuple[str, dict[str, str]]:
    """(e-mail, the facts in it)."""
    to, sender = rng.sample(PEOPLE, 2)
    facts = pick(rng, team=TEAM, thing=THING, action=ACTION, project=PROJECT, due=DUE)
    facts |= {"to": to, "sender": sender, "Thing": capital(facts["thing"]),
              "Action": capital(facts["action"])}
    return rng.choice(MAILS).format(**facts), facts


WRITERS = {"LaMP_4": in_forms(article, HEADLINES), "LaMP_6": in_forms(email, MAIL_SUBJECTS)}
