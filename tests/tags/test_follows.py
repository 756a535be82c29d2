"""Whether an answer follows from its chain: right chains do, and every kind of wrong one does not."""
from dataclasses import replace
from time import process_time

import pytest

from tagpr_lite.config import Tag
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags import chains
from tagpr_lite.tags.arithmetic import next_scores
from tagpr_lite.tags.follows import follows, soundness, stated_rating, supports
from tagpr_lite.tags.schema import Chain, Step
from tagpr_lite.tags.teachers.teacher import Template
from tagpr_lite.tags.teachers.template import learn_reading

PROFILE = (Item("a", "The soap leaked", "2"), Item("b", "A fine box", "4"))


def question(task, input="The text", profile=PROFILE):
    return Question("q", TASKS[task], "u", f"{TASKS[task].instruction} {input}", None, profile, (0,))


RATING, MOVIE, TITLE = question("LaMP_3"), question("LaMP_2"), question("LaMP_5")
CITATION = question("LaMP_1", '"My title", which reference is related? Just answer with [1] or [2] without '
                              'explanation. [1]: "Fast parsing" [2]: "Cooking"')


def chain(answer, *steps):
    return Chain(tuple(Step("examine_examples", step) for step in steps), answer)


# ---------------------------------------------------------------- ratings

SUM = 'Usually 3; "soap" bad 3 to 2, "box" good 2 to 3, "lid" bad 3 to 2.'


@pytest.mark.parametrize("answer, steps", [
    ("2", (SUM, "Comes to 2.")),
    ("2", (SUM,)),  # the last step is the sum itself
    ("3", ('Usually 3; "It arrived" says little.', "Comes to 3.")),
    ("5", ('Usually 5; "soap" good 5 to 5.', "Comes to 5.")),  # the scale ends
    ("1", ('Usually 1; "soap" bad 1 to 1.', "So 1.")),
    ("4", ('Usually 3; "it broke 3 to 1" good 3 to 4.', "Comes to 4.")),  # a quotation has numbers of its own
    ("4", ('Usually 3; "soap" good 3 -> 4 stars', "Therefore 4 stars.")),
    ("4", ('"It arrived" says little. Usually 3.', "So 4.")),  # not said of the usual score
    # free prose of a teacher
    ("2", ("The user is strict, with scores from 1 to 5.", "They complain, so I would give 2 out of 5.")),
    ("4", ("Their usual score is 3.", "So 4, one above the usual 3.")),
    ("4", ("Usually 3; delivery took 2 to 3 weeks.", "The praise is warm. I would give it 4 out of 5.")),
    ("2", ("They gave 5 reviews with 4.", "The score would be 2, below their mean of 4.")),
    ("3", ("All is fine.", "Therefore three stars.")),
    ("4", ("用户通常给4分。", "所以4分。")),
])
def test_a_rating_that_its_steps_lead_to(answer, steps):
    assert follows(chain(answer, *steps), RATING)


@pytest.mark.parametrize("answer, steps", [
    ("3", (SUM, "Comes to 2.")),  # the answer is not what the last step states
    ("3", (SUM, "Comes to 3.")),  # the sum ends at 2
    ("2", (SUM.replace("Usually 3", "Usually 4"), "Comes to 2.")),  # begins elsewhere
    ("2", (SUM.replace("good 2 to 3", "good 3 to 4"), "Comes to 2.")),  # the moves do not connect
    ("1", ('Usually 3; "soap" bad 3 to 1.', "Comes to 1.")),  # two stars at once
    ("4", ('Usually 3; "soap" bad 3 to 4.', "Comes to 4.")),  # the wrong direction
    ("3", ('Usually 3; "soap" good 3 to 3.', "Comes to 3.")),  # no move, and the scale does not end there
    ("5", ('"soap" good 3 to 4, "box" good 4 to 4.', "Comes to 5.")),  # the usual score was left out
    ("5", ('Usually 3; "It arrived" says little.', "Comes to 5.")),
    ("2", (SUM, "The user would not be glad.")),  # states no number
    ("4", ('The user wrote "soap".', "About 4 words, plain case, no end mark.")),  # a title's step
    ("4", ("Comes to 4.", "This user gave 4 reviews.")),
    ("much", (SUM, "Comes to 2.")),  # no answer that could be read
])
def test_a_rating_that_its_steps_do_not_lead_to(answer, steps):
    assert not follows(chain(answer, *steps), RATING)


@pytest.mark.parametrize("answer, steps, share", [
    ("2", (SUM, "Comes to 2."), 1.0),
    ("2", (SUM.replace("good 2 to 3", "good 2 to 4"), "Comes to 2."), 3 / 5),  # the next begins at 3
    ("2", (SUM.replace("good 2 to 3", "good 2 to 2"), "Comes to 2."), 3 / 5),
    ("3", (SUM, "Comes to 2."), 3 / 5),  # neither the sum nor the last step ends at 3
    ("3", (SUM, "Comes to 3."), 4 / 5),
    ("4", ('Got 3; without "a" good 3 to 2.', 'From 3; with "b" good 3 to 4.', "So 4."), 4 / 5),
    ("4", ('Got 3; without "a" good 3 to 3.', 'From 3; with "b" good 3 to 4.', "So 4."), 4 / 5),
    ("5", ("Comes to 4.",), 0.0),
])
def test_how_much_of_what_leads_to_a_rating_is_right(answer, steps, share):
    """One slip is one fault: what comes after it is held against what it says."""
    assert soundness(chain(answer, *steps), RATING) == pytest.approx(share)
    assert soundness(chain(answer, *steps), RATING, {"comparison", "sum"}) == 0.0  # none states both


THERE = 'Got 3; without "soap" good 3 to 2, "box" bad 2 to 2.'
HERE = 'From 2; with "a" good 2 to 3, "b" good 3 to 4.'


@pytest.mark.parametrize("answer, steps, leads", [
    ("4", (THERE, HERE, "Comes to 4."), True),
    ("3", (THERE, HERE, "Comes to 4."), False),  # another answer
    ("3", (THERE, HERE, "Comes to 3."), False),  # the last remark leads to 4
    ("5", (THERE, HERE.replace("3 to 4", "3 to 5"), "Comes to 5."), False),  # a good one adds one star
    ("4", (THERE, HERE.replace("3 to 4", "2 to 4"), "Comes to 4."), False),  # the moves do not connect
    ("4", (THERE.replace("bad 2 to 2", "bad 2 to 1"), HERE, "Comes to 4."), False),  # a bad one is nothing
    ("4", ('Got 3; without "a" good 3 to 4.', 'From 4; with "b" bad 4 to 4.', "Comes to 4."), False),
    ("4", (THERE, HERE.replace("From 2", "From 3"), "Comes to 4."), False),  # begins elsewhere
    ("4", (HERE, "Comes to 4."), False),  # compared with nothing
    ("2", (THERE, "Comes to 2."), False),  # nothing is compared with it
    ("5", ('Got 5; without "a" good 5 to 4.', 'From 4; with "a" good 4 to 5, "b" good 5 to 5.', "5."), True),
    ("1", ('Got 1; without "a" good 1 to 1.', 'From 1; with "b" bad 1 to 1.', "Comes to 1."), True),
])
def test_a_comparison_of_two_texts(answer, steps, leads):
    assert follows(chain(answer, *steps), RATING) is leads


@pytest.mark.parametrize("asked, steps, stated", [
    (RATING, (SUM, "Comes to 2."), {"sum", "conclusion"}),
    (RATING, ("Past scores 5 4.", "About 2."), set()),
    (RATING, (THERE, HERE, "Comes to 4."), {"comparison", "conclusion"}),
    (RATING, ('Got 3; "soap" good.', "From 2; the box.", "1 to 1: 1 to 1."), set()),
    (MOVIE, ("This user used comedy 3 times.", "So comedy."), {"conclusion"}),
    (MOVIE, ("This user used comedy 3 times.",), set()),
    (CITATION, ("[2] shares fast.", "So [2]."), {"conclusion"}),
    (TITLE, ("About 8 words, plain case, no end mark.", "Key words: rain."),
     {"length", "case", "end mark", "plan"}),
    (TITLE, ('The user wrote "Rain in Cork".', 'The text says "Snow fell".'), {"plan"}),
    (TITLE, ("About 8 words, case with a few.",), {"length"}),
])
def test_what_a_chain_states_for_its_answer(asked, steps, stated):
    assert supports(chain("2", *steps), asked) == stated


def test_what_is_needed_must_be_stated():
    made = chain("Rain", "The user wrote rain.", "Key words: rain.")
    assert follows(made, TITLE) and follows(made, TITLE, {"plan"})
    assert not follows(made, TITLE, {"plan", "length"})


RAIN, SNOW = 'The user wrote "Late rain in Cork".', 'The text says "On Monday snow fell in Graz".'


@pytest.mark.parametrize("answer, steps, leads", [
    ("Late snow in Graz", (RAIN, SNOW), True),
    ("Late rain in Cork", (RAIN, SNOW), False),  # nothing of the sentence
    ("Snow surprises tired drivers everywhere", (RAIN, SNOW), False),  # hardly anything of a quotation
    ("Late snow in Graz", (RAIN, "About 9 words.", SNOW), False),
])
def test_a_title_is_made_of_the_quoted_sentence(answer, steps, leads):
    assert follows(chain(answer, *steps), TITLE) is leads


def test_a_hollow_chain_follows_and_is_seen_by_its_form_and_its_claims():
    """`follows` asks for a stated result. That nothing led to the result is what `form` and `claims` say."""
    assert follows(chain("4", 'The user wrote "soap". About 4.'), RATING)
    assert not follows(chain("5", 'The user wrote "soap". About 4.'), RATING)


def test_a_step_that_repeats_itself_is_read_soon():
    """A damaged policy writes the same words over and over; numbers may be of any length."""
    began = process_time()
    for step in ("so " * 4000, "So comedy " * 2000, "comedy rather than " * 2000,
                 "Usually " + 5000 * "9" + " to 3"):
        follows(chain("comedy", step), MOVIE)
        follows(chain("4", step), RATING)
    assert process_time() - began < 5


def test_moves_stay_within_the_scale():
    assert next_scores(3, "good", (1, 5)) == {4} and next_scores(3, "Bad", (1, 5)) == {2}
    assert next_scores(5, "good", (1, 5)) == {5} and next_scores(1, "bad", (1, 5)) == {1}
    assert next_scores(3, None, (1, 5)) == {2, 4} and next_scores(6, "bad", (1, 5)) == set()


def test_a_person_s_own_scale_is_kept_to():
    ten = replace(RATING, task=replace(RATING.task, labels=tuple(map(str, range(1, 11)))))
    assert follows(chain("9", 'Usually 8; "soap" good 8 to 9.', "Comes to 9."), ten)
    assert stated_rating("Comes to 9.", ten.task) == "9" and stated_rating("Comes to 9.", RATING.task) is None


# ---------------------------------------------------------------- choices

@pytest.mark.parametrize("answer, step", [
    ("comedy", "So comedy."), ("dark comedy", "So dark comedy."), ("Dark Comedy", "so dark-comedy"),
    ("comedy", "Both action and comedy fit, and more so comedy."),
    ("comedy", "So comedy rather than action."), ("comedy", "So it is not action but comedy."),
    ("comedy", "Action and romance are rare, what is left is comedy."),
    ("true story", "They used it so often that it is a true story."),
])
def test_a_label_that_the_last_step_names(answer, step):
    assert follows(chain(answer, "This user used action 3 times.", step), MOVIE)


@pytest.mark.parametrize("answer, step", [
    ("comedy", "So action."), ("comedy", "So dark comedy."), ("dark comedy", "So comedy."),
    ("action", "So comedy rather than action."), ("comedy", "About 6 words, plain case."),
    ("comedy", "Key words: comedian."), ("comedy", "So comedy, then again action, or better: so action."),
])
def test_a_label_that_the_last_step_does_not_name(answer, step):
    assert not follows(chain(answer, "This user used comedy 3 times.", step), MOVIE)


def test_a_chinese_label_that_holds_a_word_of_conclusions():
    movie = question("LaMP_2_zh")
    assert follows(chain("真实故事", "So 真实故事."), movie) and follows(chain("喜剧", "所以喜剧。"), movie)
    assert not follows(chain("喜剧", "所以黑色喜剧。"), movie)


def test_a_candidate_is_named_by_its_number_or_its_title():
    for step in ("So [2].", "So [2], since [1] is about grammars.", "It must be option 2.",
                 "The second is nearer.", 'So "Cooking" it is.', "[2] rather than [1]."):
        assert follows(chain("[2]", step), CITATION), step
        assert not follows(chain("[1]", step), CITATION), step
    assert not follows(chain("[2]", "Closer in kind."), CITATION)


# ---------------------------------------------------------------- free texts

STYLE = "About 4 words, Title Case, no end mark."


@pytest.mark.parametrize("answer, steps", [
    ("Rain on the Roof", (STYLE, "Key words: rain, roof.")),
    ("Rain on the Roof", (STYLE, "Key words: rain, snow.")),  # half of them
    ("Rain in Old Spanish Towns", (STYLE, "Key words: rain.")),  # a word longer
    ("Rain", (STYLE.replace("4", "1"), "Key words: rain.")),
    ("Rain on the Roof", ("Keywords: **rain** and roof",)),
    ("Rain on the Roof", (STYLE, "The text's own words do not fit; name its point.")),
    ("rain again.", ("About 2 words, plain case, an end mark.",)),
    ("Rain on the Roof", ("The title should mention the rain.",)),
    ("Rain again", ('A short one: "Rain again" says it.',)),  # a draft, no past text
    ("夏天的雨", ("About 4 characters, no end mark.", "Key words: 夏天, 天的.")),
])
def test_a_text_that_its_steps_lead_to(answer, steps):
    task = "LaMP_5_zh" if answer == "夏天的雨" else "LaMP_5"
    assert follows(chain(answer, *steps), question(task))


@pytest.mark.parametrize("answer, steps", [
    ("Late Trains at Night", (STYLE, "Key words: rain, roof.")),
    ("The Training of Roofers", (STYLE, "Key words: rain, roof.")),  # parts of words
    ("Rain on the Roof", (STYLE, "Key words: rain, snow, ice.")),  # one of three
    ("Rain on the Roof", (STYLE, "Key words: rain, rain, snow, ice.")),  # a word counts once
    ("Rain on the Roof of the House", (STYLE, "Key words: rain.")),
    ("Rain", (STYLE, "Key words: rain.")),
    ("rain on the roof", (STYLE, "Key words: rain.")),
    ("Rain on the Roof", (STYLE.replace("Title Case", "plain case"), "Key words: rain.")),
    ("Rain on the Roof.", (STYLE, "Key words: rain.")),
    ("Rain on the Roof", (STYLE.replace("no end", "an end"), "Key words: rain.")),
    ("The soap leaked", ('The user wrote "The soap leaked".',)),  # a past text, copied
    ("Rain on the Roof", ("Comes to 4.",)),
])
def test_a_text_that_its_steps_do_not_lead_to(answer, steps):
    assert not follows(chain(answer, *steps), TITLE)


# ---------------------------------------------------------------- the teacher

@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_teacher_s_own_answers_follow_and_those_of_its_neighbours_do_not(language):
    data = mini.build(0, 12, language=language)
    questions = [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for splits in data.values()
                 for q in splits["train"]]
    by_id = {q.id: q for q in questions}
    kept, _ = chains.generate(questions, Template(learn_reading(questions)), Tag())
    own, others = [], []
    for row, neighbour in zip(kept, kept[1:]):
        steps = row["steps"]
        own.append(follows(chain(row["answer"], *steps), by_id[row["id"]]))
        if row["task"] == neighbour["task"] and row["answer"] != neighbour["answer"]:
            others.append(follows(chain(neighbour["answer"], *steps), by_id[row["id"]]))
    assert len(own) > 100 and sum(own) >= 0.95 * len(own)
    assert len(others) > 80 and sum(others) <= 0.1 * len(others)
