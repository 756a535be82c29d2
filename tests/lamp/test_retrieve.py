import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.lamp.retrieve import RETRIEVERS, TOKEN, bm25_scores, retrieve, spaced
from tagpr_lite.lamp.tasks import TASKS, Item, Question


def question(text, items, task="LaMP_3", id="q"):
    return Question(id, TASKS[task], "u", f"{TASKS[task].instruction} {text}", "5", tuple(items))


def letters(texts):
    """A toy encoder: [n, 26] counts of letters, of unit length."""
    counts = np.array([[t.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], float)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def test_dense_ranks_by_the_dot_products_of_its_encoder():
    items = [Item("0", "zzz", "5"), Item("1", "cat", "5"), Item("2", "cart", "5"), Item("3", "act", "5")]
    # Of two equals the newer one comes first.
    assert retrieve(question("Cat", items), "dense", 4, 0, letters) == (3, 1, 2, 0)


def test_chinese_is_found_by_pairs_of_characters():
    items = [Item("0", "这把雨伞漏水", "2"), Item("1", "很好的水壶", "5"), Item("2", "台灯", "4")]
    assert spaced("好雨伞 abc 水") == " 好雨 雨伞  abc  水 "
    assert retrieve(question("买了一把雨伞", items, "LaMP_3_zh"), "bm25", 1, 0) == (0,)


def test_bm25_finds_the_planted_item_and_ties_go_to_the_newer():
    items = [Item(str(n), f"plain words about thing{n}", "5") for n in range(30)]
    items[7] = Item("7", "a violet umbrella that leaks", "2")
    q = question("My Umbrella leaks", items)
    assert retrieve(q, "bm25", 4, 0) == (7, 29, 28, 27)
    assert bm25_scores(q)[7] > 0 == bm25_scores(q)[8]


def test_titles_are_searched_where_the_official_code_searches_them():
    items = [Item("0", "a text", "umbrella"), Item("1", "another text", "x")]
    assert retrieve(question("umbrella", items, "LaMP_4"), "bm25", 1, 0) == (0,)
    assert retrieve(question("umbrella", items, "LaMP_6"), "bm25", 1, 0) == (1,)


@pytest.mark.parametrize("text, items", [("", ["", ""]), ("the", ["of the", "is"]), ("好", ["好", "坏"]),
                                         ("cat", ["dog"])])
def test_texts_without_words_in_common_fall_back_to_recency(text, items):
    q = question(text, [Item(str(n), t, "5") for n, t in enumerate(items)])
    assert retrieve(q, "bm25", 2, 0)[:1] == (len(items) - 1,)


def test_recency_takes_the_last_and_random_is_seeded_by_the_question():
    items = [Item(str(n), "t", "5") for n in range(50)]
    assert retrieve(question("x", items), "recency", 3, 0) == (49, 48, 47)
    first = retrieve(question("x", items), "random", 5, 0)
    assert first == retrieve(question("x", items), "random", 5, 0)
    assert first != retrieve(question("x", items), "random", 5, 1)
    assert first != retrieve(question("x", items, id="r"), "random", 5, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc the", max_size=12), min_size=1, max_size=8), st.text("abc the"),
       st.integers(0, 10))
def test_k_positions_without_repeats(texts, asked, k):
    q = question(asked, [Item(str(n), t, "5") for n, t in enumerate(texts)])
    for retriever in RETRIEVERS:
        got = retrieve(q, retriever, k, 0, letters)
        assert len(got) == len(set(got)) == min(k, len(texts)) and set(got) <= set(range(len(texts)))


def test_unknown_retriever_names_the_known_ones():
    with pytest.raises(UserError, match="bm25, dense, recency, random"):
        retrieve(question("x", [Item("0", "t", "5")]), "sparse", 1, 0)
    with pytest.raises(UserError, match="negative"):
        retrieve(question("x", [Item("0", "t", "5")]), "bm25", -1, 0)


@pytest.mark.parametrize("asked, planted, other", [
    ("ร่มรั่วน้ำ", "ซื้อร่มคันใหม่", "โคมไฟสวยงาม"), ("新しい傘がこわれた", "傘は新しい", "いいランプ"),
    ("मीठी चाय", "यह चाय मीठी है", "नया दीपक"), ("зонт течёт", "новый зонт", "лампа")])
def test_an_item_is_found_in_every_script(asked, planted, other):
    items = [Item("0", planted, "5"), Item("1", other, "5"), Item("2", other * 2, "5")]
    assert retrieve(question(asked, items), "bm25", 1, 0) == (0,)


@given(st.text(st.characters(max_codepoint=0x24f, exclude_characters="İ"), max_size=60))
def test_latin_texts_have_bm25s_own_words(text):
    plain = bm25s.tokenize([text], return_ids=False, show_progress=False)
    assert bm25s.tokenize([spaced(text)], token_pattern=TOKEN, return_ids=False, show_progress=False) == plain
