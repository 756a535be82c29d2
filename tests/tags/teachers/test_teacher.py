"""A model's words become drafts, the filter keeps the good ones, shares and turns are kept."""
import time
from dataclasses import replace
from datetime import date

import pytest

from tagpr_lite.config import Config, Tag, UserError
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags import chains
from tagpr_lite.tags.schema import Chain, Step
from tagpr_lite.tags.teachers import teacher
from tagpr_lite.tags.teachers.chat import Reply
from tagpr_lite.tags.teachers.ledger import Ledger
from tagpr_lite.tags.teachers.replies import NO_ROOM
from tagpr_lite.tags.teachers.teacher import Draft, draft

PROFILE = tuple(Item(str(n), f"A jar of honey number {n}", str(s), f"2020-01-0{n + 1}") for n,
                s in enumerate((5, 4, 5)))
RATING = Question("r", TASKS["LaMP_3"], "u1", f"{TASKS['LaMP_3'].instruction} The lid broke.", "2", PROFILE,
                  (0, 2))
TITLE = Question("t", TASKS["LaMP_5"], "u2", f"{TASKS['LaMP_5'].instruction} We parse honey jars with care.",
                 "Parsing honey jars with great care", (Item("a", "On bees", "Bees at work", "2001"),), (0,))
STEPS = "1. The past scores are 5, 4 and 5.\n2. **The lid** broke, which is bad.\n3. So it is low."


@pytest.mark.parametrize("text, thought, steps, answer", [
    (f"{STEPS}\nAnswer: 2", "", 3, "2"), (f"<think>long thought</think>\n{STEPS}\n**Answer: 2**", "", 3, "2"),
    (f"Here we go:\n{STEPS}\n\nFinal answer: 2 stars", "", 3, "2"),
    ("Answer: 2", "They gave 5, 4 and 5. The lid broke. So it is low.", 3, "2"),
    ("<think>They gave five. The lid broke.\n\nSo it is low.</think>Answer: 2", "", 3, "2"),
    ("- one thing here\n- two things here\nAnswer:\n2", "", 2, "2"),
    (f"Answer: 5\n{STEPS}\nAnswer: 2", "", 3, "2"), (f"{STEPS}\n**Answer**: 2", "", 3, "2"),
    (f"{STEPS}\nThe answer\nFinal answer is: 2", "", 3, "2")])
def test_answers_are_read(text, thought, steps, answer):
    found = draft(text, thought, RATING)
    assert (len(found.steps), found.answer, found.fault) == (steps, answer, "")
    assert not any(c in "".join(found.steps) for c in "<>*")


@pytest.mark.parametrize("text, fault", [
    (STEPS, "no answer line"),
    (f"{STEPS}\nAnswer: none", "unreadable answer"),
    ("", "no answer line"),
    ("Answer: 3", "no steps"),
    (f"{STEPS}\nAnswer: 9", "unreadable answer"),
    (f"<think>{STEPS}\nAnswer: 2\nor is it", "no answer line"),
])
def test_what_is_no_chain_says_why(text, fault):
    assert draft(text, "", RATING).fault == fault


@pytest.mark.parametrize("text, answer", [
    (f"{STEPS}\nAnswer: 2\nThe next", "2"),
    (f"{STEPS}\nAnswer: 2", ""),
    (STEPS, ""),
    (f"<think>{STEPS}\nAnswer: 2\nor is", ""),
])
def test_the_last_line_of_a_cut_answer_is_not_read(text, answer):
    """`Answer: 1` may be the beginning of `Answer: 10`, and a title may lack its end."""
    found = draft(text, "", RATING, cut=True)
    assert found.answer == answer
    assert (found.fault, found.detail) == (("", "") if answer else ("cut", NO_ROOM))


@pytest.mark.parametrize("unit", ["\n", " ", "*", "answer ", "- ", "answer: \n", "<think>", "1. "])
def test_a_hundred_thousand_of_anything_is_read_quickly(unit):
    started = time.monotonic()
    draft(unit * 100_000 + "x", "", RATING)
    draft("1. a" + unit * 100_000 + "x\nAnswer: 2", "", RATING)
    assert time.monotonic() - started < 5


def test_a_title_loses_its_quotation_marks():
    assert draft('1. It parses jars.\n2. They write short.\nAnswer: "Parsing jars"', "",
                 TITLE).answer == "Parsing jars"


def test_the_teacher_is_not_told_the_answer_unless_it_explains():
    blind, told = teacher.prompt(TITLE, False), teacher.prompt(TITLE, True)
    assert TITLE.gold not in blind and TITLE.gold in told and blind in told and "Bees at work" in blind


def test_the_worked_example_is_read_as_we_want_it():
    found = draft(teacher.EXAMPLE[1], "", RATING)
    assert (len(found.steps), found.answer, found.fault) == (4, "4", "")
    assert len(teacher.messages(TITLE, False, True)) == 3 and len(teacher.messages(TITLE, False, False)) == 1


def why(*steps, answer="2", question=RATING, settings=Tag(), told=False, own_words=True):
    return chains.rejection_reason(Chain(tuple(Step("step", s) for s in steps), answer), question, settings,
                                   told, own_words)


GOOD = ("The past scores are 5 4 5.", "The lid broke, and that is bad.")


@pytest.mark.parametrize("found, reason", [
    (why(*GOOD), ""),
    (why(*GOOD, answer="3"), "wrong answer"),
    (why(*GOOD, answer="3", settings=Tag(within=1)), ""),
    (why(*GOOD, answer="x"), "unreadable answer"),
    (why(GOOD[0]), "too few or too many steps"),
    (why(*(f"Step {n} is about lid {n}." for n in range(13))), "too few or too many steps"),
    (why(*GOOD, settings=Tag(words=8)), "too long"),
    (why(*GOOD, GOOD[0]), "repeats itself"),
    (why("a lid is a lid is a lid is a lid is a lid", "Broken."), "repeats itself"),
    (why(*GOOD, "The correct answer is 2.", told=True), "leaks the answer"),
    (why(*GOOD, "As I was told it is 2.", told=True), "leaks the answer"),
    (why(*GOOD, "The correct answer is 2."), ""),
    (why("用户喜欢蜂蜜。", "盖子坏了。"), "in another language"),
    (why("The past scores are 1 1 1.", GOOD[1]), "contradicts its profile"),
    (why("It parses jars.", "parsing honey jars with great care", answer="Parsing jars", question=TITLE),
     "leaks the answer"),
    (why("They write about bees.", "It parses jars.", answer="Parsing jars", question=TITLE), ""),
    (why(GOOD[0], "A dull book got 2, so the story counts for them and damage does not."),
     "copies the worked example"),
    (why("<b>", "x"), "malformed"),
])
def test_the_filter_by_hand(found, reason):
    assert found.startswith(reason) and bool(found) == bool(reason)


def test_a_refused_question_keeps_the_servers_words_whole():
    class Refusing:
        def ask(self, requests, tick):
            return [Reply("", refused="HTTP 400: 'seed': not: here")] * len(requests)

    writer = teacher.ModelTeacher(Refusing(), Config())
    kept, dropped = chains.generate([RATING], writer, Tag(samples=1))
    assert not kept and [(row["kind"], row["reason"], row["detail"]) for row in dropped] == [
        (kind, "refused", "HTTP 400: 'seed': not: here") for kind in ("reasoned", "rationalised")]


class Scripted:
    """Gives the drafts of a script {question id: [draft, ...]}, and one explanation each."""
    source = "script"

    def __init__(self, script, explained=None):
        self.script, self.explained, self.asked = script, explained or {}, []

    def drafts(self, questions, attempt, tick):
        self.asked.append([q.id for q in questions])
        return [self.script[q.id][attempt] if attempt < len(self.script[q.id]) else None for q in questions]

    def explain(self, questions, tick):
        return [self.explained.get(q.id) for q in questions]


def of(answer, word="bad", kind="reasoned"):
    return Draft((GOOD[0], f"The lid broke, and that is {word}."), answer, (), kind)


def test_a_solved_question_is_not_asked_again():
    other = replace(RATING, id="s")
    script = Scripted({"r": [of("3"), of("2"), of("2", "sad")], "s": [of("2")] * 3})
    kept, dropped = chains.generate([RATING, other], script, Tag(samples=3))
    assert script.asked == [["r", "s"], ["r"], []] and [k["id"] for k in kept] == ["r", "s"]
    assert [(d["id"], d["reason"]) for d in dropped] == [("r", "wrong answer")]


def test_several_chains_of_a_question_differ():
    kept, dropped = chains.generate([RATING], Scripted({"r": [of("2"), of("2"), of("2", "sad")]}),
                                    Tag(samples=3, per_question=2))
    assert len(kept) == 2 and [d["reason"] for d in dropped] == ["the same as another"]


def test_free_texts_are_kept_by_rank():
    steps = ("They write about bees.", "It parses jars.")
    script = Scripted({"t": [Draft(steps, a)
                             for a in ("Bees", "Honey jars", "Parsing honey jars", "Cooking")]})
    kept, dropped = chains.generate([TITLE], script, Tag(samples=4, percentile=50))
    assert [k["answer"] for k in kept] == ["Parsing honey jars"] and len(script.asked) == 4
    assert {d["reason"] for d in dropped} == {"the same as another"} or len(dropped) == 3


def test_rationalised_chains_stay_within_their_share():
    questions = [replace(RATING, id=f"q{n}", user=f"u{n % 2}") for n in range(12)]
    script = {q.id: [of("2" if n < 6 else "4")] for n, q in enumerate(questions)}
    told = {q.id: of("2", "dreadful", "rationalised") for q in questions}
    for share, most in ((0.0, 0), (0.25, 2), (0.5, 6), (1.0, 6)):
        kept, dropped = chains.generate(questions, Scripted(script, told), Tag(samples=1, rationalised=share))
        kinds = [k["kind"] for k in kept]
        assert kinds.count("reasoned") == 6 and kinds.count("rationalised") == most
        assert share in (0.0, 1.0) or kinds.count("rationalised") <= share * len(kinds)


def test_tasks_and_users_take_turns():
    rows = [{"task": t, "user": u, "n": n} for t, users in (("A", "xxxxy"), ("B", "z")) for n,
            u in enumerate(users)]
    assert [(r["task"], r["user"]) for r in chains.balanced(rows, 3)] == [("A", "x"), ("A", "y"), ("B", "z")]
    assert chains.balanced(rows, 99) == rows


@pytest.mark.parametrize("settings, says", [
    ({"teacher": "gpt"}, "known are template"),
    ({"teacher": "openai", "url": "http://x/v1"}, "needs tag.model"),
    ({"teacher": "openai", "model": "m"}, "needs tag.url"),
    ({"teacher": "openai", "model": "m", "extra": {"day": date(2020, 1, 1)}}, "tag.extra"),
    ({"teacher": "local", "model": "m", "extra": {"top_p": float("nan")}}, "tag.extra"),
])
def test_a_teacher_without_what_it_needs_is_one_line(settings, says):
    with pytest.raises(UserError, match=says):
        teacher.teacher(Config(tag=Tag(**settings)), Ledger(), [])
