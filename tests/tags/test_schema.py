"""The form of a chain: render then parse is the identity, and no string makes the parser raise."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.tags.schema import (
    FAULTS,
    MARK,
    PRIMARY,
    Chain,
    Fault,
    Step,
    answer_of,
    in_form,
    parse,
    render,
)

plain = st.text(min_size=1, max_size=60).map(str.strip).filter(
    lambda t: t and not MARK.search(t) and "think>" not in t)
chains = st.builds(Chain,
                   st.lists(st.builds(Step, st.sampled_from(PRIMARY), plain), min_size=1,
                            max_size=6).map(tuple), plain)
pieces = st.sampled_from(["<think>", "</think>", "<conclude>", "</conclude>", "<examine_examples>", "<odd>",
                          "</odd>", "text", " ", "\n", "<", ">", "</", "5", ""])


@given(chains)
def test_render_then_parse_is_the_identity(chain):
    assert parse(render(chain)) == chain


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=300), st.lists(pieces, max_size=14).map("".join)))
def test_any_string_is_a_chain_or_a_named_fault(text):
    got = parse(text)
    assert isinstance(got, Chain) or got.name in FAULTS
    if isinstance(got, Chain):
        assert parse(render(got)) == got and set(got.tags) <= set(PRIMARY)
    assert isinstance(answer_of(text), str)


GOOD = "<think>\n<conclude>So 5.</conclude>\n</think>\n5"


@pytest.mark.parametrize("text, fault", [
    ("5", "no_think"),
    ("so <think>\n</think>5", "no_think"),
    ("<think>\n<conclude>a</conclude>", "unclosed_think"),
    (GOOD + "\n</think>", "unclosed_think"),
    ("<think><think><conclude>a</conclude></think>5", "unclosed_think"),
    ("<think></think>5", "no_steps"),
    ("<think>hm<conclude>a</conclude></think>5", "text_outside"),
    ("<think><conclude>a</conclude> then</think>5", "text_outside"),
    ("<think><conclude><conclude>a</conclude></conclude></think>5", "bad_pair"),
    ("<think><conclude>a</analyze_query></think>5", "bad_pair"),
    ("<think></conclude>a</think>5", "bad_pair"),
    ("<think><conclude>a</think>5", "bad_pair"),
    ("<think><conclude> \n</conclude></think>5", "empty_step"),
    ("<think><ponder>a</ponder></think>5", "unknown_tag"),
    ("<think><conclude>a</conclude></think> \n", "no_answer"),
])
def test_each_fault_has_its_name(text, fault):
    got = parse(text)
    assert isinstance(got, Fault) and got.name == fault and "\n" not in str(got)


def test_open_vocabulary_and_less_than_signs():
    assert parse("<think><ponder>1 < 2</ponder></think>5",
                 allowed=None) == Chain((Step("ponder", "1 < 2"),), "5")


@pytest.mark.parametrize("text, answer", [
    (GOOD, "5"),
    ("5", "5"),
    ("<think>never closed 5", ""),
    ("a</think>b</think> c", "c"),
])
def test_answer_of(text, answer):
    assert answer_of(text) == answer


@given(chains)
def test_forms_for_ablations_keep_the_words_and_the_answer(chain):
    text = render(chain)
    assert in_form(text, "tagged") == text and in_form(text, "answer") == answer_of(text) == chain.answer
    bare = in_form(text, "untagged")
    assert answer_of(bare) == chain.answer and [m[2] for m in MARK.finditer(bare)] == ["think", "think"]
    assert bare == "<think>\n" + "".join(f"{s.text}\n" for s in chain.steps) + f"</think>\n{chain.answer}"
