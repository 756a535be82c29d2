"""The teacher is honest, the filter filters, the nine most frequent tags win."""
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.config import Tag, UserError
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.prompts import rating_stats
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags import chains, stats
from tagpr_lite.tags.discover import PrimaryChains, TagMap, most_frequent
from tagpr_lite.tags.facts import claims, groundedness, substance
from tagpr_lite.tags.schema import PRIMARY, Chain, Step, parse, render
from tagpr_lite.tags.teachers import template
from tagpr_lite.tags.teachers.cues import Cues, learn
from tagpr_lite.tags.teachers.teacher import Template


def review(scores=(5, 4, 5), text="It broke, terrible and cheap.", gold="2"):
    profile = tuple(Item(str(n), f"Item number {n} was fine", str(s), f"2020-01-0{n + 1}") for n,
                    s in enumerate(scores))
    return Question("q", TASKS["LaMP_3"], "u", f"{TASKS['LaMP_3'].instruction} {text}", gold, profile, (0,))


def paper():
    profile = (Item("a", "On the parsing of grammars", "Fast parsing", "2001"),
               Item("b", "Memory", "Garbage", "2002"))
    words = ('"My title", which reference is related? Just answer with [1] or [2] without explanation. '
             '[1]: "A "quoted" parsing" [2]: "Cooking"')
    return Question("c", TASKS["LaMP_1"], "u", f"{TASKS['LaMP_1'].instruction} {words}", "[1]", profile, (0,))


def benchmark():
    data = mini.build(3, 12)
    return [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in data.values()
            for q in s["train"]] + [review(), paper()]


def test_every_chain_of_the_teacher_is_valid_and_grounded():
    seen = 0
    for q in benchmark():
        for attempt in range(5):
            chain = template.write(q, attempt)
            if chain is not None:
                assert parse(render(chain)) == chain
                assert groundedness(chain, q) == 1.0, (claims(chain, q), q)
                seen += bool(claims(chain, q))
    assert seen > 100


def test_the_teacher_does_not_see_the_gold_of_a_checkable_question():
    for q in benchmark():
        if q.task.kind != "text":
            blind = replace(q, gold="no such answer")
            assert [template.write(q, n) for n in range(5)] == [template.write(blind, n) for n in range(5)]


def test_a_rating_is_the_sum_of_its_own_steps():
    """From the usual score one star at a time, within the scale; no second reading ends beside the sum."""
    known = learn([q for q in benchmark() if q.task.name == "LaMP_3"])
    moved = 0
    for q in (q for q in benchmark() if q.task.kind == "rating"):
        chain = template.write(q, 0, known)
        score = rating_stats(q.profile)[2]
        for side, before, after in re.findall(r'" (good|bad) (\d) to (\d)', chain.steps[1].text):
            assert int(before) == score
            score = min(5, max(1, score + (1 if side == "good" else -1)))
            assert int(after) == score
            moved += 1
        assert chain.answer == str(score) and chain.steps[-1].text == f"Comes to {score}."
        assert template.write(q, 1, known) is None
    assert moved > 20


def test_a_rating_begins_with_the_nearest_past_text_and_judges_clause_by_clause():
    profile = (Item("b", "a lovely gift", "5"), Item("a", "Terrible soap, dry", "2"),
               Item("c", "terrible too", "1"))
    text = "The soap is terrible, the box is nice. I would have wanted a much better lid here."
    q = replace(review(text=text), profile=profile, retrieved=(1, 0))
    assert [s.text for s in template.write(q, 0).steps] == [
        '"Terrible soap" and "dry" got 2. Past scores 5 2 1, mean 2.7.',
        'Usually 3; "The soap is terrible" bad 3 to 2, "the box is nice" good 2 to 3.',
        "Comes to 3.",
    ]


COMPARED = Cues(compared=frozenset({"LaMP_3"}))


def test_a_rating_may_be_compared_with_the_first_past_text_that_can_be_read():
    profile = (Item("b", "A lovely gift, the box is terrible", "5"), Item("a", "Nothing to say", "2"))
    q = replace(review(text="Great soap, nice box. I would have wanted a much better lid here."),
                profile=profile, retrieved=(1, 0))
    got = template.write(q, 0, COMPARED)
    assert [s.text for s in got.steps] == [
        'Got 5; without "A lovely gift" good 5 to 4, "the box is terrible" bad 4 to 4.',
        'From 4; with "Great soap" good 4 to 5, "nice box" good 5 to 5.', "Comes to 5."] and got.answer == "5"
    assert template.write(q, 1, COMPARED) is None
    # A text that cannot be compared is summed up.
    without = replace(q, retrieved=(1,))
    assert template.write(without, 0, COMPARED) == template.write(without, 0)


def test_a_score_moves_by_as_many_stars_as_remarks_differ():
    for first, second, score in (("good, nice", "bad, terrible", "2"), ("bad, terrible", "good, nice", "5"),
                                 ("bad, nice", "good, terrible", "4")):
        q = replace(review(text=f"{second}"), profile=(Item("a", f"{first}", "4"),), retrieved=(0,))
        assert template.write(q, 0, COMPARED).answer == score


def test_the_reading_that_scores_better_on_the_training_questions_is_taken():
    train = [replace(q, retrieved=retrieve(q, "bm25", 3, 0))
             for q in mini.build(0, 60, ["LaMP_3"])["LaMP_3"]["train"]]
    learnt = template.learn_reading(train)
    assert learnt.compared == {"LaMP_3"} and learnt.weights == learn(train).weights

    def score(cues):
        return sum(item_reward(q.task, template.write(q, 0, cues).answer, q.gold) for q in train)

    assert score(learnt) > score(learn(train))
    # Where the usual score is the better guide, the texts are summed up.
    usual = [replace(q, gold=template.rate(q, learnt).answer) for q in train]
    assert template.learn_reading(usual).compared == frozenset()


def test_a_long_clause_is_cut_from_its_first_cue_on():
    text = "My aunt in Paris said it is a great little machine for beginners"
    cues = Cues().read("LaMP_3", "u", text)
    assert [clause for clause, _ in template.clauses(text, cues)] == ["great little machine for"]


def test_a_clause_that_is_good_and_bad_is_left_out():
    text = "good and bad"
    assert template.clauses(text, Cues().read("LaMP_3", "u", text)) == []


def test_wrong_attempts_are_dropped_with_a_reason_and_right_ones_kept():
    for q in benchmark():
        kept, dropped = chains.generate([q], Template(), Tag(samples=5))
        assert len(kept) <= 1 and all(d["reason"] for d in dropped)
        if q.task.kind == "text":
            assert [k["kind"] for k in kept] == ["rationalised"] and kept[0]["answer"] == q.gold.strip()
        else:
            assert all(k["answer"] == q.gold and k["kind"] == "reasoned" for k in kept)
            assert all(d["answer"] != q.gold for d in dropped if d["reason"] == "wrong answer")


def test_chains_do_not_depend_on_the_hash_seed():
    """Sets iterate in an order that changes from process to process; a chain must not."""
    code = ("from tagpr_lite.config import Tag\nfrom tagpr_lite.lamp import mini\n"
            "from tagpr_lite.tags.chains import generate\n"
            "from tagpr_lite.tags.teachers.teacher import Template\n"
            "print(generate([q for s in mini.build(0, 10).values() for q in s['train']], Template(), Tag()))")
    said = [subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
                           text=True, capture_output=True, check=True).stdout for seed in "123"]
    assert said[0] and len(set(said)) == 1


@pytest.mark.parametrize("text, holds", [
    ("Past scores 5 4 5, mean 4.7.", [True, True]),
    ("Past scores 5 5 5, mean 4.7.", [False, True]),
    ("Past scores 4 5.", [True]),
    ("mean of 3.9", [False]),
    ("Usually 5; nice", [True]),
    ("usually 4", [False]),
    ('"It broke" sounds negative', [True]),
    ('"never said" sounds negative', [False]),
    ("Nothing to check.", []),
    ("average 4.7 and \"broke\"", [True, True]),
    ('"Item number 1" got 4.', [True, True]),
    ('"number 1" and "fine" got 5.', [False, True, True]),
    ('"fine" got 3.', [False, True]),
    ('Got 4; without "number 1" bad 4 to 4, "fine" good 4 to 3.', [True, True, True]),
    ('Got 5; without "number 1" bad 5 to 5, "fine" good 5 to 4.', [False, True, True]),
    ('"zz" "" and "it"', [False]),  # "it" stands in every text, and shows nothing
    ('"broke", "broke" and "It broke"', [True, True]),  # said again it is no further claim
    ('"It broke" is" is" is"', [True, False, False]),  # what a policy wrote after a hundred steps of GRPO
    ('" broke" and "broke', [False, False]),
])
def test_claims_are_checked_against_the_profile(text, holds):
    assert [ok for _, ok in claims(Chain((Step("conclude", text),), "2"), review())] == holds


@pytest.mark.parametrize("task", TASKS)
def test_without_a_history_no_claim_about_it_holds(task):
    """A person who asks for the first time has none."""
    question = Question("q", TASKS[task], "u", "It broke", None, ())
    text = 'Past scores 5 4, mean 4.5, usually 4. 3 past reviews, "fine" got 4, about 4 words, plain case.'
    made = claims(Chain((Step("examine_examples", text),), "4"), question)
    assert made and not any(holds for _, holds in made)


@pytest.mark.parametrize("text", ['"" -- ""', '"  "', '"a"'])
def test_an_empty_quotation_is_about_nothing(text):
    assert substance(Chain((Step("examine_examples", text),), "2"), review()) == 0.0


def test_a_chain_that_contradicts_its_profile_is_dropped():
    chain = Chain((Step("examine_examples", "Past scores 1 1 1, mean 1.0."),), "2")
    assert chains.rejection_reason(chain, review()) == "contradicts its profile"


def test_primary_tags_are_the_nine_most_frequent():
    rows = [{"task": "LaMP_3", "tags": [f"tag_{c}" for c in "abcdefghijkl"[:n]]} for n in range(1, 13)]
    counts = Counter(t for r in rows for t in r["tags"])
    assert most_frequent(counts) == tuple(f"tag_{c}" for c in "abcdefghi")
    table = stats.tag_table(rows, "test",
                            PrimaryChains(rows, [], TagMap(most_frequent(counts)), dict(counts)))
    assert table["counts"]["tag_a"] == 12 and table["by_task"]["LaMP_3"]["tag_l"] == 1


def test_given_chains_are_read_and_unknown_tags_named(tmp_path):
    path, q = tmp_path / "c.jsonl", review()
    good = render(Chain((Step("conclude", "So 2."),), "2"))
    write = lambda *rows: path.write_text("".join(__import__("json").dumps(r) + "\n" for r in rows))
    write({"id": "q", "text": good}, {"id": "q", "text": good.replace("2", "4")})
    kept, dropped = chains.read_chains(str(path), {"q": q}, PRIMARY)
    assert [render(Chain(tuple(map(Step, k["tags"], k["steps"])), k["answer"]))
            for k in kept] == [good] and dropped[0]["reason"] == "wrong answer"
    for row, says in (({"id": "q", "text": good.replace("conclude", "ponder")},
                       "line 1: unknown tag 'ponder'"), ({"id": "z", "text": good}, "line 1: needs `id`"),
                      ({"id": "q"}, "needs `id`")):
        write(row)
        with pytest.raises(UserError, match=says):
            chains.read_chains(str(path), {"q": q}, PRIMARY)


@pytest.mark.parametrize("lines, says", [(["a_b"] * 9, "there are 1"), (list(PRIMARY[:8]), "there are 8"),
                                         ([*PRIMARY[:8], "Bad Tag"], "'Bad Tag' is none")])
def test_a_bad_tags_file_is_one_clear_line(tmp_path, lines, says):
    path = tmp_path / "tags.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match=says):
        chains.read_tags(str(path))


def test_a_tags_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "tags.txt"
    path.write_text("\n".join(PRIMARY), encoding="utf-8-sig")
    assert chains.read_tags(str(path)) == PRIMARY


def test_a_chain_in_the_script_of_its_question_is_not_foreign():
    """A Russian task of a person's own: chains in Russian are right, chains in Chinese are not."""
    russian = replace(review(text="Сломалось на второй день, ужасно и дёшево."), gold="2")
    assert chains._foreign_share("Пользователь ставил 5 и 4, но это сломалось.", russian) == 0
    assert chains._foreign_share("The user gave 5 and 4.", russian) == 0
    assert chains._foreign_share("用户喜欢蜂蜜。", russian) == 1 == chains._foreign_share("5, 4!", russian)
    assert chains._foreign_share("Пользователь", review()) == 1


def test_no_chain_quotes_a_word_without_an_end():
    """A text without spaces, a link or a line of one letter was quoted whole: 100,000 characters a chain."""
    endless = "x" * 100_000
    for text in (endless, "ก" * 100_000, f"https://example.org/{endless}", f"terrible {endless}"):
        question = review(text=text)
        question = replace(question, profile=tuple(replace(item, text=text) for item in question.profile))
        for gold in "12345":
            chain = template.write(replace(question, gold=gold), 0)
            assert len(render(chain)) < 1000


# ---------------------------------------------------------------- what a title takes over

@pytest.mark.parametrize("gold, text, sentence", [
    ("Snow in Graz", "News today. Heavy snow fell in Graz! All is well.", "Heavy snow fell in Graz!"),
    ("Snow in Graz", "Snow fell here. Snow fell there.", "Snow fell here"),  # the first of two
    ("Rivers", "All is well.", ""),
    ("Rivers rise", "rivers " + "and so on " * 9, "rivers " + "and so on " * 4 + "and so on"),
    ("A \"wide\" river", 'The "wide" river rose.', "The wide river rose"),  # what a quotation can hold
    ("Wheels", f"Wheels use {'w' * 41} tags", f"Wheels use {'w' * 40}"),  # a word that is cut is the last
    ("Wheels", f"Wheels use {'w' * 40} tags", f"Wheels use {'w' * 40} tags"),
])
def test_the_sentence_that_a_title_is_made_of(gold, text, sentence):
    assert template.told_in(gold, text) == sentence


SHORT_OR_LONG = st.one_of(st.text(alphabet="abrivers,.!\n ", max_size=9),
                          st.text(alphabet="rivers", min_size=38, max_size=44))


@given(st.text(alphabet="abrivers,.!\n ", max_size=40), st.lists(SHORT_OR_LONG, max_size=12).map(" ".join))
def test_the_sentence_stands_in_the_text(gold, text):
    sentence = template.told_in(gold, text)
    assert " ".join(sentence.split()) in " ".join(text.split())
    assert len(sentence.split()) <= template.SENTENCE_WORDS
