"""One rule for a user's style: the prompt shows it, the teacher states it, and the check accepts it."""
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tagpr_lite.lamp import mini
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.prompts import facts
from tagpr_lite.lamp.style import style_claims, style_sentence, style_stats
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.chains import rejection_reason
from tagpr_lite.tags.facts import claims, groundedness
from tagpr_lite.tags.schema import Step
from tagpr_lite.tags.teachers import template

SHARED = Path(__file__).parents[3] / "shared" / "data"
TITLES = ("A Study of Rivers", "The Case for Small Studies", "On Rain", "Notes on Snow")


def titled(*titles):
    items = tuple(Item(str(n), "some text", title) for n, title in enumerate(titles))
    return Question("q", TASKS["LaMP_5"], "u", TASKS["LaMP_5"].ask("We study snow."), "Snow in Spring", items)


def contradictions(questions):
    """(chains that state a style, of them those that contradict the share in their own prompt)."""
    stated, wrong = 0, []
    for question in questions:
        chain = template.write(question, 0)
        style = next((step.text for step in chain.steps if step.tag == "infer_preferences"), None)
        share = re.search(r"Title Case (\d+)%", facts(question))
        mark = re.search(r"end mark (\d+)%", facts(question))
        if style is None or share is None:
            continue
        stated += 1
        says_title, says_mark = "Title Case" in style, "an end mark" in style
        if says_title and int(share[1]) < 50 or not says_title and int(share[1]) > 50:
            wrong.append((question.id, style, share[0]))
        if says_mark and int(mark[1]) < 50 or not says_mark and int(mark[1]) > 50:
            wrong.append((question.id, style, mark[0]))
    return stated, wrong


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real histories are not here")
@pytest.mark.parametrize("name, least", [("lamp5_peps", 400), ("lamp4_amazon_titles", 600)])
def test_no_chain_contradicts_its_own_prompt_on_real_titles(name, least):
    splits = next(iter(load_folder(SHARED / name).values()))
    questions = [*splits["train"], *splits["dev"]]
    stated, wrong = contradictions(questions)
    assert stated >= least and wrong == []
    assert all(groundedness(template.write(q, 0), q) == 1.0 for q in questions)


def test_no_chain_contradicts_its_own_prompt_on_the_built_in_benchmark():
    stated, wrong = contradictions([q for name, splits in mini.build(0, 40).items() for q in splits["train"]
                                    if TASKS[name].kind == "text"])
    assert stated > 200 and wrong == []


def test_short_words_do_not_decide_about_the_case():
    """"The Case for Small Studies" is Title Case, although `for` is not capitalised."""
    assert style_stats(list(TITLES))["Title Case"] == 0.75  # "On Rain" has one long word: it says nothing
    assert style_sentence(titled(*TITLES)) == "About 4 words, Title Case, no end mark."
    plain = titled("a study of rivers.", "On rain.")
    assert style_sentence(plain) == "About 3 words, plain case, an end mark."


def test_a_chain_that_states_the_style_wrongly_is_dropped_and_costs_reward():
    question = titled(*TITLES)
    chain = template.write(question, 0)
    assert rejection_reason(chain, question, told=True) == "" and groundedness(chain, question) == 1.0
    swaps = [("Title Case", "plain case"), ("no end mark", "an end mark"), ("About 4", "About 9")]
    for right, wrong in swaps:
        steps = tuple(Step(step.tag, step.text.replace(right, wrong)) for step in chain.steps)
        lie = replace(chain, steps=steps)
        assert lie != chain and groundedness(lie, question) < 1.0
        assert rejection_reason(lie, question, told=True) == "contradicts its profile"


def test_only_tasks_of_free_text_have_a_style():
    ratings = tuple(Item(str(n), "Fine Thing", "4") for n in range(3))
    question = Question("q", TASKS["LaMP_3"], "u", TASKS["LaMP_3"].ask("Fine."), "4", ratings)
    step = Step("conclude", "About 9 words, plain case.")
    chain = replace(template.write(titled(*TITLES), 0), steps=(step,))
    assert claims(chain, question) == []


def test_claims_are_found_in_plain_sentences():
    style = style_stats(["Big Rivers", "small rivers!"])
    assert style_claims("They write about 2 words in plain case with no end mark.", style) == [
        ("about 2 words", True), ("plain case", True), ("no end mark", True)]
    assert style_claims("The plain truth about 2 words", style) == [("about 2 words", True)]
    assert style_claims("Nothing here.", style) == []


def test_a_title_with_quotation_marks_of_its_own_can_be_quoted():
    """Ten PEP titles have them, such as `The "python" Command on Unix-Like Systems`."""
    question = titled('The "python" Command', 'Use of "<none>" here')
    chain = template.write(question, 0)
    assert 'The user wrote "Use of none here".' in chain.steps[0].text
    assert claims(chain, question)[0] == ('"Use of none here"', True)


def test_lengths_are_named_for_what_they_are_counted_in():
    """A text without spaces has no words: its characters are counted, and said to be."""
    assert style_sentence(titled("ในใจ", "雨の夜")) == "About 2 characters, plain case, no end mark."
    assert "2 characters on average" in facts(titled("ในใจ", "雨の夜"))
    assert "3 words on average" in facts(titled("A red fox", "Und der Regen"))
    assert style_stats(["x" * 100_000])["words"] > 1000


@pytest.mark.parametrize("text", ["यह मीठी है।", "یہ میٹھا ہے۔", "很好。", "καλό."])
def test_end_marks_of_other_scripts(text):
    assert style_stats([text])["end mark"] == 1
