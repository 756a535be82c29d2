"""Numbers, nulls and other values in people's files."""
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp.values import as_label, as_text, shown, without_nulls


@pytest.mark.parametrize("value, text", [(4, "4"), (4.0, "4"), (-0.0, "0"), (4.5, "4.5"), ("4.0", "4.0"),
                                         ("", ""), (1e300, "1e+300"), (12345678901, "12345678901")])
def test_a_number_is_a_text(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("value, named", [(math.nan, "nan"), (-math.inf, "-inf"), (None, "null"),
                                          (True, "True, true or false"), ([4], "[4], a list"),
                                          ({"a": 1}, "an object")])
def test_what_is_neither_is_named(value, named):
    with pytest.raises(ValueError, match=named.replace("[", r"\[")):
        as_text(value)


@given(st.integers(-10**14, 10**14))
def test_a_whole_number_is_one_text_whether_int_or_float(number):
    assert as_text(number) == as_text(float(number))


def test_a_label_may_be_written_as_another_number():
    assert [as_label(text, ("1", "2")) for text in (" 2", "2.0", "2.00", "02", "2.5", "two", "nan")] == [
        "2", "2", "2", "2", "2.5", "two", "nan"]
    assert as_label("1.0", ("1", "1.0")) == "1.0" and as_label(" a ", ()) == "a"


def test_a_null_is_as_if_its_key_were_absent():
    assert without_nulls({"a": None, "b": 0, "c": ""}) == {"b": 0, "c": ""}


def test_a_value_is_shown_in_one_short_line():
    deep = []
    for _ in range(900):
        deep = [deep]
    for value in (deep, "x\n" * 9999, [9] * 9999):
        assert len(shown(value)) < 100 and "\n" not in shown(value)
