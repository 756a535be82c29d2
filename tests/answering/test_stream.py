"""A chain that is read while it is written is the chain that is read when it is whole."""
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.answering.stream import ChainReader, TextStream, split_at_mark
from tagpr_lite.config import Model
from tagpr_lite.engine.model import load
from tagpr_lite.lamp.chat import completion_text
from tagpr_lite.tags.schema import PRIMARY, Chain, Step, parse, render

WORDS = st.text("ab <>/_4é\n", max_size=12)
MARKS = ["<think>", "</think>", "<conclude>", "</conclude>", "<", ">", "a < b", " 4", "\n", "<x y>",
         "<analyze_query>", "</analyze_query>", "<unknown>"]
PIECES = st.lists(st.sampled_from(MARKS) | WORDS)


def read(text, seed=0):
    """The parts of a text that comes in pieces of random length, those of one kind that follow joined."""
    rng = random.Random(seed)
    reader, parts = ChainReader(), []
    while text:
        cut = rng.randint(1, 7)
        parts += reader.read(text[:cut])
        text = text[cut:]
    parts += reader.end()
    assert not reader.waiting
    # Blanks between steps are shown or not, as they come.
    parts = [part._replace(text="".join(part.text.split())) if part.kind == "loose" else part
             for part in parts]
    joined = []
    for part in parts:
        if joined and part.kind in ("step", "loose", "answer") and joined[-1][0] == part.kind:
            joined[-1] = (part.kind, joined[-1][1] + part.text)
        else:
            joined.append((part.kind, part.step or part.text))
    return joined


STEPS = st.lists(st.builds(Step, st.sampled_from(PRIMARY),
                           st.text("ab 4,é<", min_size=1, max_size=20).map(lambda text: f"x{text}y")),
                 min_size=1, max_size=4)


@given(STEPS, st.text("a 4.", max_size=8).map(lambda text: f"4{text}5"), st.integers(0, 9))
def test_the_steps_and_the_answer_are_those_of_parse(steps, answer, seed):
    chain = Chain(tuple(steps), answer)
    assert parse(render(chain)) == chain
    found = read(render(chain), seed)
    assert [step for kind, step in found if kind == "close"] == list(chain.steps)
    assert [text for kind, text in found if kind == "open"] == chain.tags
    assert found[-1][0] == "answer" and found[-1][1].strip() == chain.answer
    assert not any(kind == "loose" for kind, _ in found)


@given(PIECES, st.integers(0, 9), st.integers(10, 19))
def test_how_it_is_cut_changes_nothing_and_no_word_is_lost(pieces, one, other):
    text = "".join(pieces)
    parts = read(text, one)
    assert parts == read(text, other)
    shown = "".join(part for kind, part in parts if kind in ("step", "loose", "answer"))
    assert [shown.count(c) for c in "4é"] == [text.count(c) for c in "4é"]  # no mark has one of these


@pytest.mark.parametrize("text, kinds", [
    ("4", ["answer"]), ("\n\n4", ["answer"]), ("<think>\n</think>\n4", ["answer"]), ("", []),
    ("<think> hm <conclude>a</conclude></think>4", ["loose", "open", "step", "close", "answer"]),
    ("<think><conclude>a <b> c</conclude>", ["open", "step", "close"]),
    ("<think><conclude>a</analyze_query>", ["open", "step"]), ("<conclude>a", ["answer"]),
    ("<think><conclude>a</think>4", ["open", "step", "answer"]), ("<think>a <", ["loose"])])
def test_what_is_no_chain_is_shown_as_what_it_is(text, kinds):
    assert [kind for kind, _ in read(text)] == kinds


@pytest.mark.parametrize("text, parts", [
    ("a < b <conc", ("a < b ", "", "<conc")), ("a<think>b", ("a", "<think>", "b")),
    ("<<x>", ("<", "<x>", "")), ("a <B> c", ("a <B> c", "", "")),
    ("<" + "a" * 60, ("<" + "a" * 60, "", "")), ("<", ("", "", "<"))])
def test_marks_are_split_off(text, parts):
    assert split_at_mark(text) == parts


def test_characters_of_several_tokens_come_whole():
    _, tokenizer = load(Model(name="tiny", bits=32))
    text = "naïve 日本 \U0001f600 é <think> ok"
    ids = tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(tokenizer, {tokenizer.eos_token_id})
    pieces = [stream.add(token) for token in [*ids, tokenizer.eos_token_id]]
    assert "".join(pieces) == stream.text == completion_text(tokenizer, ids, ended=False) == text
    assert "\ufffd" not in "".join(pieces) and "" in pieces[:-1] and stream.ids == ids
