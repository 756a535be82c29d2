"""The composite reward: each term by hand, and what must not pay."""
import pytest

from tagpr_lite.grpo.rewards import Terms, terms
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.schema import PRIMARY

PROFILE = (Item("a", "good soap", "5", "2001"), Item("b", "bad soap", "4", "2002"))
Q = Question("q", "LaMP_3", "u", TASKS["LaMP_3"].instruction + " A nice bar.", "4", PROFILE, (0,))
STEPS = ["<examine_examples>Past scores 5 4, mean 4.5.</examine_examples>", '<analyze_query>"nice" sounds positive.</analyze_query>',
         "<apply_preferences>A fair user: 4.</apply_preferences>"]


def text(steps=STEPS, answer="4"):
    return "<think>\n" + "\n".join(steps) + "\n</think>\n" + answer


def of(said, ended=True):
    return terms(said, ended, Q, PRIMARY, min_tags=3)


def test_a_good_chain_earns_everything():
    assert of(text()) == Terms(task=1.0, format=1.0, tag=1.0)
    assert of(text()).total(1.0, 0.2, 0.3) == pytest.approx(1.2)


@pytest.mark.parametrize("said, task, form, tag", [
    (text(answer="2"), 0.5, 1, 1), (text(answer="4 stars"), 1.0, 0, 1), (text(answer="no idea"), 0, 0, 1),
    ("4", 1.0, 0, 0), (text(STEPS[:2]), 1, 1, 2 / 3), (text([*STEPS, STEPS[0]]), 1, 1, 3 / 4),
    (text([STEPS[0].replace("4.5", "3.0"), *STEPS[1:]]), 1, 1, 2 / 3), (text(["<ponder>x</ponder>", *STEPS]), 1, 1, 0),
    (text([]), 1, 1, 0), ("", 0, 0, 0), (text()[:60], 0, 0, 0)])
def test_terms_by_hand(said, task, form, tag):
    got = of(said)
    assert (got.task, got.format) == (task, form) and got.tag == pytest.approx(tag)


def test_a_completion_that_was_cut_earns_no_format_and_no_tags():
    got = of(text(), ended=False)
    assert got.format == got.tag == 0 and got.total(1, 1, 1) == 0


def test_neither_more_steps_nor_more_tags_than_needed_pay():
    more = [f"<{t}>Step about {t}.</{t}>" for t in PRIMARY if t not in text()]
    assert of(text([*STEPS, *more])).tag == 1.0
    assert of(text(STEPS * 5)).tag < 0.5
