import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import stream
from tagpr_lite.lamp.official.stream import stream_entries

text = st.text(st.characters(), max_size=12) | st.text('\\ud83"/bn9\ud83d\ude00\ud800\udfff', max_size=12)
number = st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
value = st.recursive(st.none() | st.booleans() | number | text, max_leaves=8, extend=lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)))


def whole(tree):
    """What json.loads gives, with "?" for the halves of surrogate pairs."""
    if isinstance(tree, str):
        return tree.encode("utf-8", "replace").decode()
    if isinstance(tree, dict):
        return {whole(k): whole(v) for k, v in tree.items()}
    return [whole(v) for v in tree] if isinstance(tree, list) else tree


def read(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(stream_entries(tmp_path / "x.json"))


@settings(max_examples=300, deadline=None)
@given(st.lists(value, max_size=4), st.integers(1, 30), st.booleans())
def test_a_list_comes_entry_by_entry_as_json_would_give_it(tmp_path_factory, rows, block, spaced):
    path = tmp_path_factory.getbasetemp() / "list.json"
    path.write_text(json.dumps(rows, separators=None if spaced else (",", ":")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BLOCK", block)  # escapes fall on the blocks' ends
        assert list(stream_entries(path)) == [(None, True, v) for v in whole(json.loads(path.read_text()))]


def test_halves_of_emoji_become_question_marks_and_whole_ones_stay(tmp_path):
    for written, text in ((r"\ud83d", "?"), (r"\ude00", "?"), (r"\ud83d\ude00", "😀"),
                          (r"\ud83d\u0041", "?A"), (r"\ud83d\ud83d\ude00", "?😀"),
                          (r"\\ud83d", r"\ud83d"), (r"\\\ud83d", "\\?"), (r"\uD83Dx", "?x")):
        assert read(tmp_path, f'["{written}"]') == [(None, True, text)]


def test_an_object_gives_its_golds_one_by_one_and_other_keys_whole(tmp_path):
    tree = {"golds": [{"id": "1", "golds": [2]}, 3], "task": "LaMP_3", "more": [[1], {"golds": [4]}]}
    assert read(tmp_path, json.dumps(tree)) == [
        ("golds", True, tree["golds"][0]), ("golds", True, 3), ("golds", False, []),
        ("task", False, "LaMP_3"), ("more", False, tree["more"])]
    assert read(tmp_path, '{"golds": {"a": [1]}}') == [("golds", False, {"a": [1]})]
    assert read(tmp_path, "\ufeff[1]") == [(None, True, 1)]
    assert read(tmp_path, "3") == []
    assert read(tmp_path, "{}") == []


def test_what_is_not_json_is_one_line_that_says_how_far_it_was_good(tmp_path):
    for content, said in (("", "premature EOF after 0"),
                          ('[{"a": 1}, {"b": 2}, {"c', "premature EOF after 2 whole"),
                          ("[1, 2]]", "trailing garbage after 2"), ("[1, NaN]", "after 1 whole"),
                          ("[1e999]", "overflow"), (b'["\xff"]', "UTF8"), (b'["\xed\xa0\xbd"]', "utf-8"),
                          ("[1" + "0" * 9999 + "]", "overflow"), ('["\\ud83"]', "after 0"),
                          ("\n <!DOCTYPE html>", "holds a web page")):
        with pytest.raises(UserError, match=said) as error:
            read(tmp_path, content)
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    for path, said in ((tmp_path / "none.json", "is missing"), (tmp_path, "is missing")):
        with pytest.raises(UserError, match=said):
            list(stream_entries(path))


def test_nesting_has_a_limit_so_that_brackets_alone_cannot_fill_the_memory(tmp_path):
    deep = stream.DEPTH
    assert len(read(tmp_path, "[" * deep + "]" * deep)) == 1
    tracemalloc.start()
    with pytest.raises(UserError, match="nested deeper than"):
        read(tmp_path, "[" * 300_000)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_one_entry_is_in_memory_at_a_time(tmp_path):
    with open(tmp_path / "x.json", "w") as f:
        f.write("[" + ",".join([json.dumps(["word " * 2000] * 10)] * 100) + "]")  # 10 MB
    tracemalloc.start()
    seen = []
    assert sum(1 for _ in stream_entries(tmp_path / "x.json", seen.append)) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6 and sum(seen) == (tmp_path / "x.json").stat().st_size
