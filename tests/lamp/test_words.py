"""Words of every script: split, counted, compared."""
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from tagpr_lite.lamp.words import (
    LONGEST_WORD,
    content_tokens,
    counts_characters,
    length_units,
    normalised,
    words_of,
)

OFFICIAL = DefaultTokenizer(use_stemmer=False)


@pytest.mark.parametrize("text, words", [
    ("Сухое вино, 2020!", ["сухое", "вино", "2020"]),
    ("यह शराब मीठी है।", ["यह", "शराब", "मीठी", "है"]),  # the vowel signs stay with their letters
    ("아주 달콤한 와인", ["아주", "달콤한", "와인"]),
    ("نبيذ حلو", ["نبيذ", "حلو"]),
    ("雨夜 2024", ["雨", "夜", "2024"]),
    ("甘いワイン", ["甘", "いワ", "ワイ", "イン"]),
    ("の", ["の"]),
    ("ในใจ", ["ในใจ"]),
    ("Café CAFE\u0301", ["café", "café"]),  # composed and not
    ("ＡＢＣ soft\u00adhyphen", ["abc", "softhyphen"]),
    ("می\u200cروم", ["میروم"]),
    ("😀 !", ["😀", "!"]), ("", []),
])
def test_words_of_any_script(text, words):
    assert words_of(text) == words


@given(st.text(st.characters(max_codepoint=127)))
def test_of_ascii_they_are_the_official_words(text):
    assert OFFICIAL.tokenize(text) == words_of(text) or not OFFICIAL.tokenize(text)


@given(st.text(min_size=1).filter(str.strip))
def test_no_text_is_without_words_but_blank_and_invisible_ones(text):
    assert words_of(text) or not any(character.isprintable() for character in text)


def test_words_and_pairs_that_say_something():
    assert content_tokens("The film 电影很 was Über, 雨") == ["film", "电影", "影很", "Über"]
    assert content_tokens("यह शराब मीठी है") == ["शराब", "मीठी"]
    assert content_tokens("とても甘い") == ["とて", "ても", "も甘", "甘い"]
    assert normalised("  A Study\n of Rivers… ") == "a study of rivers"


def test_lengths_are_counted_in_words_or_in_characters():
    assert length_units("这部 iPhone 15好!", "zh") == ["这", "部", "iPhone", "15", "好"]
    assert length_units("a b!", "en") == ["a", "b!"]
    assert length_units("雨夜 in Rome", "en") == ["雨", "夜", "in", "Rome"]
    assert counts_characters(["雨夜 in Rome", "ในใจ"], "en") and counts_characters(["x"], "zh")
    assert not counts_characters(["A Study of Rivers in 東京"], "en") and not counts_characters([], "en")


@pytest.mark.parametrize("letter", ["x", "я", "ท", "の", "雨", "ក", "म", "ي", "/"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_word_is_without_an_end(letter, language):
    """A text of 10,000 letters without a space has a length, and no word of it is longer than a word."""
    text = letter * 10_000
    if letter != "/" or language == "en":  # in Chinese punctuation has no length
        assert len(length_units(text, language)) >= 10_000 / LONGEST_WORD
    assert all(len(word) <= LONGEST_WORD for word in length_units(text, language) + content_tokens(text))
