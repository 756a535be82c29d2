"""Which parts of each step can be checked, and which are right: the teacher's are, and each fault is counted
in its own step, once."""
from collections import Counter
from dataclasses import replace

import pytest

from tagpr_lite.config import Tag
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags import chains
from tagpr_lite.tags.arithmetic import checks_by_step
from tagpr_lite.tags.schema import Chain, Step
from tagpr_lite.tags.step_checks import checks_of_steps
from tagpr_lite.tags.teachers.teacher import Template
from tagpr_lite.tags.teachers.template import learn_reading

PROFILE = (Item("a", "The soap leaked on a train", "3"), Item("b", "A fine box", "4"))


def question(task, profile=PROFILE, text="The soap and the box on a train"):
    return Question("q", TASKS[task], "u", f"{TASKS[task].instruction} {text}", None, profile, (0,))


def checks(answer, *steps, asked=question("LaMP_3")):
    return checks_of_steps(Chain(tuple(Step("examine_examples", step) for step in steps), answer), asked)


COMPARED = 'Got 3; without "soap" good 3 to 2, "leaked" bad 2 to 2.'
NEW = 'From 2; with "box" good 2 to 3.'


@pytest.mark.parametrize("steps, wanted", [
    # a comparison: the past score, two quotations, two moves | where it begins, a quotation, a move | its end
    ((COMPARED, NEW, "Comes to 3."), [[True] * 5, [True] * 3, [True]]),
    ((COMPARED.replace("Got 3", "Got 4").replace("3 to 2", "4 to 2"), NEW, "Comes to 3."),
     [[False, True, True, False, True], [True] * 3, [True]]),
    ((COMPARED.replace("2 to 2", "2 to 1"), NEW, "Comes to 3."),
     [[True] * 4 + [False], [True, False, True], [True]]),
    ((COMPARED, NEW, "Comes to 4."), [[True] * 5, [True] * 3, [False]]),
    ((COMPARED, NEW.replace("box", "lid"), "Comes to 3."), [[True] * 5, [False, True, True], [True]]),
    # a sum that goes on in the next step
    (('Usually 4; "soap" bad 4 to 3.', '"box" good 3 to 4.', "Comes to 4."),
     [[True, True, True], [True, True], [True]]),
    (('Usually 4; "soap" bad 3 to 2.', '"box" good 2 to 2.', "Comes to 4."),
     [[True, True, False], [True, False], [False]]),
    # nothing moves: a conclusion is free
    (("The user is kind.", "So 4."), [[], []]),
    (("Scores from 3 to 4.", "Comes to 5."), [[True], []]),
])
def test_each_fault_counts_in_its_own_step(steps, wanted):
    profile = (*PROFILE, Item("c", "Another", "4"))  # usually 4
    assert checks("4", *steps, asked=question("LaMP_3", profile)) == wanted


def test_other_tasks_have_the_claims_of_their_steps():
    films = question("LaMP_2", (Item("a", "A spy flees a train", "action"), Item("b", "A clown", "comedy")))
    got = checks("comedy", '"A spy flees" is action. "A clown" is action. "A clown" is short.',
                 "Both have train and soap.", "This user used action 2 times.", "So comedy.", asked=films)
    # Two quotations stand there, one is made twice; one label of two is right; no past film has "soap".
    assert sorted(got[0]) == [False, True, True, True] and got[1:] == [[True, False], [False], []]


@pytest.mark.parametrize("text, wanted", [
    ('"A spy flees" is action and "A clown" was Comedy', {True: 2}), ('"A spy flees" is comedy', {False: 1}),
    ('"A clown" is dark comedy', {False: 1}), ('"A clown" is comedyish', {}), ('"A clown" is sad', {}),
    ("Both have train.", {True: 1}), ("both have train, soap, and clown", {True: 1, False: 2})])
def test_a_film_s_label_and_shared_words_are_claims(text, wanted):
    films = question("LaMP_2", (Item("a", "A spy flees a train", "action"), Item("b", "A clown", "comedy")))
    [got] = checks("comedy", text, asked=films)
    quoted = text.count('"') // 2  # the quotations themselves stand in the profile
    assert Counter(got) == Counter(wanted) + Counter({True: quoted})


def test_moves_are_followed_through_the_steps():
    assert checks_by_step(['Usually 3; "" bad 3 to 2.', '"" good 1 to 2.'], (1, 5)) == ([[True], [False]], 2)
    assert checks_by_step(["nothing", ""], (1, 5)) == ([[], []], None)
    assert checks_by_step(['From 4; with "" good 4 to 5, "" good 5 to 5.'], (1, 5)) == ([[True, True]], 5)
    assert checks_by_step(['"" good 2 to 3'], (1, 5)) == ([[True]], 3)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_that_the_teacher_writes_is_right(language):
    asked = [replace(one, retrieved=retrieve(one, "bm25", 3, 0))
             for splits in mini.build(3, 12, language=language).values() for one in splits["train"][:20]]
    kept, _ = chains.generate(asked, Template(learn_reading(asked)), Tag())
    by_id = {one.id: one for one in asked}
    counts = []
    for row in kept:
        chain = Chain(tuple(Step("examine_examples", step) for step in row["steps"]), row["answer"])
        of_steps = checks_of_steps(chain, by_id[row["id"]])
        assert all(holds for of_step in of_steps for holds in of_step), row["steps"]
        counts.append(sum(map(len, of_steps)))
    assert len(kept) > 40 and sum(counts) > 3 * len(kept)
