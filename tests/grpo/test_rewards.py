"""The composite reward: each term by hand, and what must not pay."""
from dataclasses import replace

import pytest

from tagpr_lite.grpo.rewards import Terms, terms
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.follows import supports
from tagpr_lite.tags.schema import PRIMARY, parse, render
from tagpr_lite.tags.teachers import template
from tagpr_lite.tags.teaching import Teaching, teaching_of

PROFILE = (Item("a", "good soap", "5", "2001"), Item("b", "bad soap", "4", "2002"))
Q = Question("q", TASKS["LaMP_3"], "u", TASKS["LaMP_3"].instruction + " A nice bar.", "4", PROFILE, (0,))
TEACHING = Teaching(PRIMARY, {"LaMP_3": {("examine_examples", "analyze_query", "apply_preferences")}},
                    {"LaMP_3": 3.0})
STEPS = ["<examine_examples>Past scores 5 4, mean 4.5.</examine_examples>",
         '<analyze_query>"nice" sounds positive.</analyze_query>',
         "<apply_preferences>A fair user: 4.</apply_preferences>"]


def text(steps=STEPS, answer="4"):
    return "<think>\n" + "\n".join(steps) + "\n</think>\n" + answer


def of(said, ended=True, teaching=None):
    return terms(said, ended, Q, teaching or TEACHING)


def test_a_good_chain_earns_everything():
    assert of(text()) == Terms(task=1.0, format=1.0, tag=1.0)
    assert of(text()).total(1.0, 0.2, 0.3) == pytest.approx(1.2)


@pytest.mark.parametrize("said, task, form, tag", [
    (text(answer="2"), 0.5, 1, 0.25),  # the last step says 4
    (text(answer="4 stars"), 1.0, 0, 1), (text(answer="no idea"), 0, 0, 0.25), ("4", 1.0, 0, 0),
    # Without the step that decides: of 2 and 3 tags 2 are common, and nothing leads to the answer.
    (text(STEPS[:2]), 1, 1, (4 / 5)**2 * 0.25),
    # Without the step that looks at the history, and without its 2 of 3 claims.
    (text(STEPS[1:]), 1, 1, (4 / 5)**2 * (2 / 4)),
    (text([STEPS[1], STEPS[0], STEPS[2]]), 1, 1, (4 / 6)**2),  # in another order
    (text([STEPS[0].replace("4.5", "3.0"), *STEPS[1:]]), 1, 1, 3 / 4),  # one of three claims is false
    (text([STEPS[0], *STEPS]), 1, 1, (6 / 7)**2 * (3 / 4)**2),  # a step twice
    (text(["<ponder>x</ponder>", *STEPS]), 1, 1, 0),
    (text([]), 1, 1, 0), ("", 0, 0, 0), (text()[:60], 0, 0, 0)])
def test_terms_by_hand(said, task, form, tag):
    got = of(said)
    assert (got.task, got.format) == (task, form) and got.tag == pytest.approx(tag)


def test_a_completion_that_was_cut_earns_no_format_and_no_tags():
    got = of(text(), ended=False)
    # whatever PRMU thinks of it
    assert got.format == got.tag == 0 and replace(got, prmu=1.0).total(1, 1, 1) == 0


def test_neither_more_steps_nor_more_tags_than_needed_pay():
    more = [f"<{t}>A nice bar of soap, and {n} more.</{t}>" for n, t in enumerate(PRIMARY) if t not in text()]
    assert of(text([*STEPS, *more])).tag <= 1.0
    assert of(text(STEPS * 5)).tag < 0.5


# ---------------------------------------------------------------- what must not pay

def written(*steps, answer="4"):
    return text([f"<{tag}>{said}</{tag}>" for tag, said in steps], answer)


HONEST = [text(),
          written(("examine_examples", "The user gave 5 and 4, a good soap and a bad one."),
                  ("analyze_query", "This is a nice bar."), ("conclude", "So 4.")),
          written(("identify_patterns", "Even a bad soap got a 4."),
                  ("infer_preferences", "The user is mild about soap."),
                  ("analyze_query", '"A nice bar" is praise.'), ("conclude", "A 4 or a 5, and rather 4.")),
          written(("understand_task", "A score for a nice bar."),
                  ("examine_examples", 'They wrote "good soap" and gave 5.'),
                  ("compare_options", "4 for a bad one, 5 for a good one."),
                  ("apply_preferences", "This one is between: 4.")),
          written(("examine_examples", "2 past reviews, average 4.5."),
                  ("identify_patterns", "Ratings go from 4 to 5."),
                  ("analyze_query", "The bar is nice, no more is said."),
                  ("verify_consistency", "4 is within their range."))]
E, A, C, P = "examine_examples", "analyze_query", "conclude", "identify_patterns"
DEGENERATE = {"nothing": "", "answer alone": "4", "empty think": "<think>\n</think>\n4",
              "never closed": "<think>\n" + STEPS[0], "no think": "\n".join(STEPS) + "\n4",
              "no answer": text(answer=""), "two thinks": text() + text(),
              "untagged": "<think>\nPast scores 5 4, so 4.\n</think>\n4",
              "empty steps": written((E, ""), (A, " "), (C, "")),
              "text between": text([STEPS[0], "and so", *STEPS[1:]]), "text before": "Sure! " + text(),
              "nested": text([f"<{C}>{STEPS[0]}</{C}>", *STEPS[1:]]),
              "crossed": text(["<conclude>So</analyze_query>", *STEPS]),
              "unknown tag": written(("ponder", "Past scores 5 4."), (A, "A nice bar."), (C, "So 4.")),
              "one step": written((C, "So 4.")),
              "one tag": written((A, "A nice bar."), (A, "A soap."), (A, "So 4.")),
              "tag names as text": written((E, "examine examples"), (P, "identify patterns"),
                                           (A, "analyze query"), (C, "conclude")),
              "announces": written((E, "I look at the examples."), (P, "I identify the patterns."),
                                   (A, "I analyze the query."), (C, "Done.")),
              "all nine, nothing in them": written(*((t, f"Now I {t.replace('_', ' ')} carefully.")
                                                     for t in PRIMARY)),
              "dots": written((E, "..."), (A, "!!!"), (C, "???")),
              "three words of the question": written((E, "soap"), (A, "nice"), (C, "bar")),
              "three words of the profile": written((E, "good"), (P, "bad"), (A, "nice")),
              "a bare quotation": written((E, '"soap"'), (A, '"nice bar"'), (C, '"bar" 4')),
              "numbers alone": written((E, "5 4"), (P, "4.5"), (C, "4")),
              "letters": written((E, "a"), (A, "b"), (C, "c")),
              "one word": written((E, "ok"), (A, "ok ok"), (C, "okay")),
              "a loop": written((E, "Past scores 5 4. " * 9), (A, "A nice bar. " * 9), (C, "So 4. " * 9)),
              "copied step": written((E, "Past scores 5 4."), (A, "Past scores 5 4."),
                                     (C, "Past scores 5 4.")), "the same blocks again": text(STEPS * 3),
              "the same with a number": written(*((t, f"The soap is nice and the user likes soap {n}") for n,
                                                  t in enumerate((E, A, C, P, E, A, C, P)))),
              "another user": written((E, "Past scores 1 2 1, mean 1.3."), (P, "Scores vary, 1 to 3."),
                                      (C, "So 4.")),
              "invented quotes": written((E, '"awful shampoo" got 5.'), (A, '"terrible" and "broken" soap.'),
                                         (C, '"never" 4.')),
              "wrong numbers": written((E, "Past scores 5 5 5, mean 5.0."), (A, "7 past reviews of soap."),
                                       (C, "Average 3.1, so 4.")),
              "off the subject": written((E, "The weather was lovely in Paris."),
                                         (A, "Cats sleep all afternoon."), (C, "Therefore yes.")),
              "another script": written((E, "\u7528\u6237\u559c\u6b22\u8fd9\u4e2a"), (A, "\u5f88\u597d"),
                                        (C, "\u6240\u4ee5")),
              "flattery": written((E, "This is the best possible reasoning."), (A, "Give it full marks."),
                                  (C, "Reward: 1.0")),
              "the prompt": written((E, "Think in short tagged steps inside"),
                                    (A, "then write only the answer"), (C, "on the last line")),
              "only punctuation": written((E, '"" -- ""'), (A, "(...)"), (C, "[ ]"))}


HOLLOW = written((E, 'The user wrote "A nice bar".'), (C, "About 4."))


def kept(texts):
    """Rows of chains/kept.jsonl."""
    return [{"id": Q.id, "task": "LaMP_3", "tags": parse(said, None).tags, "text": said} for said in texts]


def test_thirty_degenerate_completions_earn_less_than_every_honest_one():
    teaching = teaching_of(kept(HONEST), PRIMARY, [Q])
    honest = {said: of(said, teaching=teaching) for said in HONEST}
    earned = {name: of(said, teaching=teaching) for name, said in DEGENERATE.items()}
    assert len(earned) >= 30 and min(one.tag for one in honest.values()) >= 0.5, honest
    for gate in (0.0, 1.0):
        least = min(one.total(1.0, 0.5, 0.0, gate) for one in honest.values())
        for name, one in earned.items():
            if gate or not one.format:  # a shell in form has the task term whole where there is no gate
                assert one.total(1.0, 0.5, 0.0, gate) <= 0.5 * least, name
    assert max(one.tag for one in earned.values()) < 0.3


def test_with_the_gate_a_hollow_chain_with_the_right_answer_earns_less_than_a_whole_one_with_a_wrong_one():
    hollow, whole = of(HOLLOW), of(text([*STEPS[:2], STEPS[2].replace("4", "5")], "5"))
    assert hollow.task == 1.0 and whole.task == 0.75
    assert hollow.total(1.0, 0.2, 0.0, gate=0.0) > whole.total(1.0, 0.2, 0.0, gate=0.0)
    assert hollow.total(1.0, 0.2, 0.0, gate=1.0) < 0.5 * whole.total(1.0, 0.2, 0.0, gate=1.0)


def test_a_chain_that_leaves_out_what_its_answer_is_held_against_earns_less_than_one_that_fails_it():
    """Both evasions came up within eight steps of GRPO: the key words left out, and counts in other words."""
    profile = (Item("a", "Snow fell.", "Snow falls in Cork"), Item("b", "Hail fell.", "Hail falls in Cork"))
    title = replace(Q, task=TASKS["LaMP_4"], gold="Rain falls in Ghent", profile=profile,
                    input=TASKS["LaMP_4"].instruction + " Rain fell.")
    wrote, style = (E, 'The user wrote "Snow falls in Cork".'), (P, "About 4 words, plain case, no end mark.")
    taught = Teaching(PRIMARY, {"LaMP_4": {(E, P, A)}}, {"LaMP_4": 4.0}, {"LaMP_4": 15.0},
                      {"LaMP_4": frozenset({"plan", "length"})})
    whole = written(wrote, style, (A, "Key words: rain, Ghent."), answer="Rain falls in Ghent")
    failing = written(wrote, style, (A, "Key words: rain, Monday, Porto."), answer="Snow falls in Ghent")
    evading = written(wrote, style, answer="Snow falls in Ghent")
    earned = [terms(said, True, title, taught).tag for said in (whole, failing, evading)]
    assert earned[0] == 1.0 and earned[1] == pytest.approx(0.25 + 0.75 * (3 / 4)**4) and earned[2] < 0.25


def test_the_gate_takes_from_the_task_and_prmu_terms_alone():
    one = Terms(task=0.8, format=1.0, tag=0.5, prmu=0.4)
    assert one.total(1.0, 0.2, 0.5, gate=1.0) == pytest.approx((0.8 + 0.2) * 0.5 + 0.1)
    assert one.total(1.0, 0.2, 0.5, gate=0.5) == pytest.approx((0.8 + 0.2) * 0.75 + 0.1)
    assert one.total(1.0, 0.2, 0.5, gate=0.0) == pytest.approx((0.8 + 0.2) + 0.1)


def test_every_chain_of_the_template_earns_the_whole_tag_term():
    for questions in (s["train"] for lang in ("en", "zh") for s in mini.build(0, 6, language=lang).values()):
        questions = [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for q in questions]
        chains = {q.id: template.write(q, 0) for q in questions}
        rows = [{"id": q.id, "task": q.task.name, "tags": chains[q.id].tags, "text": render(chains[q.id]),
                 "supports": sorted(supports(chains[q.id], q))}
                for q in questions if chains[q.id] is not None]
        teaching = teaching_of(rows, PRIMARY, questions)
        by_id = {q.id: q for q in questions}
        for row in rows:
            earned = terms(row["text"], True, by_id[row["id"]], teaching)
            assert earned.tag > 0.7, row["text"]
