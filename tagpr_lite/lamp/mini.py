"""The built-in benchmark: questions in LaMP's exact form whose answer depends on a hidden, known rule of the user.

Decisions. It exists so that personalization can be seen to work in minutes, offline, with a known ceiling; scores on
it are never LaMP scores. A user has one rule out of a small set (what a theme means to them, how strictly they judge,
how they phrase a headline) and every text is written with the answer that each rule would give. So the best answers
with and without the profile are computed, not guessed: see `describe`. Train and dev users are disjoint. All texts
are made from the lists below. A task is one function that writes a user's texts; LaMP_2, LaMP_3 and LaMP_4 have one.
"""
from __future__ import annotations

import argparse
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..config import UserError
from ..runs import guard, seed_of
from .scorer import item_reward, score
from .tasks import INSTRUCTION, TASKS, Item, Question, task_name

PROFILE = (6, 12)  # items of a user's profile, at least and at most


@dataclass(frozen=True)
class Text:
    text: str
    answers: tuple[str, ...]
    """[rules] what each rule answers to this text."""


@dataclass(frozen=True)
class User:
    """One user: `rule` indexes the answers of every text; the questions come after the profile in time."""
    name: str
    rule: int
    profile: list[Text]
    questions: list[Text]


# ---------------------------------------------------------------- LaMP_2: a theme means another tag to each user

THEMES = {  # theme -> (its three possible tags, who, what they do, how it ends)
    "heist": (("action", "comedy", "twist ending"),
              ("a retired safecracker", "a card shark", "a crew of thieves", "a getaway driver", "a con artist"),
              ("plans to rob a casino vault", "breaks into a museum of diamonds", "digs a tunnel under a bank",
               "swaps a stolen painting for a forgery", "cracks the safe of a crime boss"),
              ("while the alarm is off", "before the guards return", "with a partner nobody trusts")),
    "future": (("sci-fi", "dystopia", "thought-provoking"),
               ("a lonely robot", "the last pilot on Mars", "an android clerk", "a colony engineer", "a clone"),
               ("finds out who controls the orbiting city", "wakes from cryogenic sleep after a century",
                "repairs a computer that decides who may breathe", "is hunted by drones under a glass dome",
                "smuggles memory chips between space stations"),
               ("as the oxygen runs low", "while the machines watch", "and learns what was erased")),
    "legend": (("fantasy", "classic", "based on a book"),
               ("a young wizard", "an exiled queen", "a blacksmith's son", "a nameless knight", "a witch's maid"),
               ("carries an enchanted sword across the mountains", "bargains with a dragon for a crown",
                "searches for the spell that woke the dead king", "leads elves and giants against a sorcerer",
                "opens a castle door sealed by magic"),
               ("before the winter moon", "as the old prophecy said", "while the kingdom sleeps")),
    "marriage": (("romance", "dark comedy", "psychology"),
                 ("a shy florist", "a divorced couple", "a bride with doubts", "a jealous husband", "an old flame"),
                 ("meets again at a wedding by the lake", "writes love letters to the wrong address",
                  "pretends to be engaged for one weekend", "falls for the therapist next door",
                  "hides an affair during the honeymoon"),
                 ("until the family finds out", "over one long dinner", "and cannot say the words")),
    "injustice": (("true story", "violence", "social commentary"),
                  ("a striking miner", "a young lawyer", "a war reporter", "a jailed boxer", "a village teacher"),
                  ("stands up to a brutal sheriff", "uncovers the massacre that the army denies",
                   "defends a man beaten by the police", "is caught between gangs and a corrupt mayor",
                   "documents a riot in the prison"),
                  ("as the trial begins", "while the town looks away", "and pays a heavy price")),
}


def movies(rng: random.Random, profile: int, questions: int) -> tuple[int, list[Text]]:
    """A rule gives each of the five themes one of its three tags (243 rules); a user watches three themes."""
    rules = list(itertools.product(range(3), repeat=len(THEMES)))
    watched = rng.sample(range(len(THEMES)), 3)
    order = [watched[i % 3] for i in range(profile)]  # six items or more: every theme at least twice
    rng.shuffle(order)
    texts = []
    for theme in order + [rng.choice(watched) for _ in range(questions)]:
        tags, *parts = list(THEMES.values())[theme]
        who, does, ends = map(rng.choice, parts)
        opening = rng.choice(("", "In this film ", "Once again ", "Years later, "))
        text = f"{opening}{who} {does} {ends}."
        texts.append(Text(text[0].upper() + text[1:], tuple(tags[rule[theme]] for rule in rules)))
    return rng.randrange(len(rules)), texts


# ---------------------------------------------------------------- LaMP_3: how strict, and what counts most

ASPECTS = {  # aspect -> (praise, complaint)
    "price": (("a real bargain", "cheap for what you get", "worth every cent", "I paid very little"),
              ("far too expensive", "overpriced", "not worth the money", "it costs twice what it should")),
    "quality": (("solidly built", "it works perfectly", "still like new after months", "the material feels great"),
                ("it broke within a week", "flimsy plastic", "it stopped working", "poorly made")),
    "service": (("the seller was friendly", "support answered at once", "shipping was quick", "it arrived early"),
                ("nobody answered my mails", "delivery took a month", "the seller was rude", "the box came damaged")),
}
PRODUCTS = ("kettle", "desk lamp", "backpack", "phone case", "coffee grinder", "garden hose", "toaster", "headset",
            "umbrella", "yoga mat", "razor", "keyboard", "water bottle", "alarm clock", "blender", "office chair")
OPENINGS = ("Bought this {} last month:", "About this {}:", "My new {}:", "We use the {} daily:", "This {} was a gift:")


def reviews(rng: random.Random, profile: int, questions: int) -> tuple[int, list[Text]]:
    """A rule is (strictness -1, 0 or 1; the aspect that counts double): 9 rules.

    Score = 3 + strictness + s(main) + mean of the two other aspects' s, with s = +1 for praise and -1 for a
    complaint, kept within 1..5.
    """
    rules = list(itertools.product((-1, 0, 1), ASPECTS))
    texts = []
    for _ in range(profile + questions):
        sign = {aspect: rng.choice((1, -1)) for aspect in ASPECTS}
        said = [rng.choice(ASPECTS[a][0 if s > 0 else 1]) for a, s in sign.items()]
        rng.shuffle(said)
        text = f"{rng.choice(OPENINGS).format(rng.choice(PRODUCTS))} {said[0]}, {said[1]}, {said[2]}."
        scores = (3 + strict + (sign[main] + sum(sign.values())) // 2 for strict, main in rules)
        texts.append(Text(text, tuple(str(min(max(s, 1), 5)) for s in scores)))
    return rng.randrange(len(rules)), texts


# ---------------------------------------------------------------- LaMP_4: which facts a headline takes, and its form

WHO = ("city library", "harbour museum", "village school", "local bakery", "football club", "old theatre",
       "central hospital", "bus company", "public pool", "farmers market", "night train", "animal shelter")
DOES = (("opens", "a new wing"), ("cuts", "ticket prices"), ("hires", "forty people"), ("loses", "its main sponsor"),
        ("plans", "longer hours"), ("repairs", "its leaking roof"), ("wins", "a national award"),
        ("bans", "plastic cups"), ("delays", "its spring program"), ("buys", "electric vans"))
WHERE = ("Leeds", "Porto", "Graz", "Ghent", "Aarhus", "Turin", "Cork", "Malmo", "Basel", "Gdansk")
WHEN = ("on Monday", "in April", "this weekend", "next summer", "on Friday", "in October")
FILLER = ("Neighbours had asked for it for years.", "A spokesman gave no further details.", "The vote was close.",
          "Costs are shared with the region.", "Visitors welcomed the news.", "Critics remain doubtful.")


def headlines(rng: random.Random, profile: int, questions: int) -> tuple[int, list[Text]]:
    """A rule is one of six forms; they differ in words, since ROUGE sees neither case nor punctuation."""
    texts = []
    for _ in range(profile + questions):
        who, (does, what), where, when = rng.choice(WHO), rng.choice(DOES), rng.choice(WHERE), rng.choice(WHEN)
        text = rng.choice((f"The {who} in {where} {does} {what} {when}.", f"{when[0].upper()}{when[1:]} the {who} in "
                           f"{where} {does} {what}.", f"News from {where}: the {who} {does} {what} {when}."))
        texts.append(Text(f"{text} {rng.choice(FILLER)}", (
            f"{where}: {what.capitalize()}",
            f"Why is everyone talking about the {who}?",
            f"BREAKING {who} {does} {what} {when}",
            f"Finally, {what}!",
            f"{who} news",
            f"What {what} would mean for {where}",
        )))
    return rng.randrange(len(texts[0].answers)), texts


# ---------------------------------------------------------------- the benchmark

WRITERS: dict[str, Callable] = {"LaMP_2": movies, "LaMP_3": reviews, "LaMP_4": headlines}


def build(seed: int, users: int, tasks: list[str] = ()) -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}}: `users` train users with two questions each, half as many dev users
    (at least four) with one or two. tasks: empty means all that the benchmark has."""
    wanted = {task_name(t) for t in tasks} or set(WRITERS)
    if unknown := wanted - set(WRITERS):
        raise UserError(f"the built-in benchmark has no {', '.join(sorted(unknown))}; it has {', '.join(WRITERS)}")
    return {task: {split: [q for user in _users(seed, users, task, split) for q in _questions(task, user)]
                   for split in ("train", "dev")} for task in WRITERS if task in wanted}


def _users(seed: int, users: int, task: str, split: str) -> list[User]:
    if users < 4:
        raise UserError(f"the built-in benchmark needs 4 users or more, not {users}")
    made = []
    for n in range(users if split == "train" else max(users // 2, 4)):
        rng = random.Random(seed_of("mini", seed, task, split, n))
        profile, questions = rng.randint(*PROFILE), 2 if split == "train" else rng.randint(1, 2)
        rule, texts = WRITERS[task](rng, profile, questions)
        made.append(User(f"{task[-1]}{split[0]}{n:03d}", rule, texts[:profile], texts[profile:]))
    return made


def _questions(task: str, user: User) -> list[Question]:
    items = tuple(Item(f"{user.name}-p{n}", t.text, t.answers[user.rule], f"20{10 + n:02d}-05-01")
                  for n, t in enumerate(user.profile))
    return [Question(f"{user.name}-{n}", task, user.name, f"{INSTRUCTION[task]} {t.text}", t.answers[user.rule], items)
            for n, t in enumerate(user.questions)]


# ---------------------------------------------------------------- what can be reached on it

def describe(seed: int, users: int) -> dict[str, dict[str, float]]:
    """{task: {"metric", "oracle", "no_profile", "trivial", "questions"}} on the dev users, by the task's metric.

    oracle: best answer under the rules that agree with the whole profile. no_profile: best answer under all rules,
    knowing how texts are written. trivial: the best constant answer, or an article's first six words.
    """
    table = {}
    for task in WRITERS:
        t, people = TASKS[task], _users(seed, users, task, "dev")
        train = Counter(q.answers[u.rule] for u in _users(seed, users, task, "train") for q in u.questions)
        constant = _best(task, train) if t.labels else None
        answers = {"gold": {}, "oracle": {}, "no_profile": {}, "trivial": {}}
        for user in people:
            agree = [r for r in range(len(user.profile[0].answers))
                     if all(p.answers[r] == p.answers[user.rule] for p in user.profile)]
            for n, q in enumerate(user.questions):
                for name, answer in (("gold", q.answers[user.rule]), ("no_profile", _best(task, Counter(q.answers))),
                                     ("oracle", _best(task, Counter(q.answers[r] for r in agree))),
                                     ("trivial", constant or " ".join(q.text.split()[:6]))):
                    answers[name][f"{user.name}-{n}"] = answer
        gold = answers.pop("gold")
        table[task] = {"metric": t.metric, "questions": len(gold),
                       **{name: score(task, gold, preds)["lenient"][t.metric] for name, preds in answers.items()}}
    return table


def _best(task: str, answers: Counter) -> str:
    """The answer of highest mean task reward against equally likely `answers`: their mode, median or medoid."""
    return max(sorted(answers), key=lambda a: sum(n * item_reward(task, a, b) for b, n in answers.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description="The built-in benchmark: what can be reached on it, or one example.")
    parser.add_argument("--describe", action="store_true", help="print the table of reachable scores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--users", type=int, default=60)
    args = parser.parse_args()
    if not args.describe:
        for splits in build(args.seed, args.users).values():
            q = splits["train"][0]
            print(q.task, *(f"  {i.date} {i.text} -> {i.label}" for i in q.profile), f"  {q.input} -> {q.gold}",
                  sep="\n")
        return
    print(f"{'task':7s} {'metric':9s} {'dev':>4s} {'with profile':>13s} {'without':>8s} {'trivial':>8s}")
    for task, row in describe(args.seed, args.users).items():
        print(f"{task:7s} {row['metric']:9s} {row['questions']:4d} {row['oracle']:13.3f} {row['no_profile']:8.3f} "
              f"{row['trivial']:8.3f}")


if __name__ == "__main__":
    guard(main)
