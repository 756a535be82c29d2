"""Dates: the order of their texts is the order of time, and what is none is named."""
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.lamp.dates import (
    DateError,
    check_order,
    is_later,
    oldest_first,
    order_is_known,
    read_dates,
)

MOMENTS = st.datetimes(datetime(2001, 9, 10), datetime(2099, 1, 1)).map(lambda d: d.replace(microsecond=0))
FORMS = {"unix": lambda d: int(d.replace(tzinfo=UTC).timestamp()),
         "float": lambda d: d.replace(tzinfo=UTC).timestamp(),
         "milliseconds": lambda d: 1000 * int(d.replace(tzinfo=UTC).timestamp()),
         "text": lambda d: str(int(d.replace(tzinfo=UTC).timestamp())),
         "iso": lambda d: d.isoformat(), "blank": str, "zulu": lambda d: f"{d.isoformat()}Z",
         "zone": lambda d: d.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=-7))).isoformat(),
         "unpadded": lambda d: f"{d.year}-{d.month}-{d.day} {d.hour}:{d.minute:02}:{d.second:02}"}


@given(MOMENTS, st.sampled_from(sorted(FORMS)))
def test_one_moment_has_one_spelling(moment, form):
    assert read_dates([FORMS[form](moment)]) == [moment.isoformat()]


@given(st.lists(st.tuples(MOMENTS, st.sampled_from(sorted(FORMS))), max_size=8))
def test_the_order_of_the_texts_is_the_order_of_time(drawn):
    dates = read_dates([FORMS[form](moment) for moment, form in drawn])
    moments = [moment for moment, _ in drawn]
    assert [moments[place] for place in oldest_first(dates)] == sorted(moments)
    for one, before in zip(dates, moments):
        for other, after in zip(dates, moments):
            assert is_later(other, one) == (after > before)


@pytest.mark.parametrize("value, date", [
    (970000000, "2000-09-26T20:26:40"), (970000000.5, "2000-09-26T20:26:40.5"), (None, ""), (" ", ""),
    ("2020-9-14", "2020-09-14"), ("2020/09/14", "2020-09-14"), (20200914, "2020-09-14"),
    ("2020-09", "2020-09"),
    (2020, "2020"), (2020.0, "2020"), ("2020.0", "2020"), ("12/20/2019", "2019-12-20"),
    ("20.12.2019 08:00", "2019-12-20T08:00:00"), ("2020-09-14T23:00-0200", "2020-09-15T01:00:00")])
def test_forms_by_hand(value, date):
    assert read_dates([value]) == [date]


@pytest.mark.parametrize("value, named", [
    (float("nan"), "date nan"), ("nan", "'nan'"), ("last May", "'last May'"), ("2020-02-30", "'2020-02-30'"),
    ("2020-13-01", "'2020-13-01'"), ("12/20/19", "'12/20/19'"), (0, "'0'"), (-5, "'-5'"), (True, "True"),
    ([2012], r"\[2012\]"), ("01/02/2020", "may begin with the day or with the month"), (10**400, "10000")])
def test_what_is_no_date_is_named_in_one_line(value, named):
    with pytest.raises(DateError, match=named) as error:
        read_dates(["2020-01-01", value])
    assert len(str(error.value)) < 150 and str(error.value).isprintable()


def test_dates_beside_each_other_tell_the_day_from_the_month():
    assert read_dates(["01/02/2020", "12/20/2019"]) == ["2020-01-02", "2019-12-20"]
    assert read_dates(["01/02/2020", "20/12/2019"]) == ["2020-02-01", "2019-12-20"]
    assert read_dates(["01/02/2020"], month_first=True) == ["2020-01-02"]
    with pytest.raises(DateError, match="may begin"):
        read_dates(["20/12/2019", "12/20/2019"])


@given(st.lists(st.tuples(st.integers(1, 2999), st.integers(0, 99), st.integers(0, 99)), max_size=6))
def test_official_dates_are_ordered_as_the_official_code_orders_them(drawn):
    """It sorts by tuple(map(int, date.split("-"))), whatever the numbers are."""
    texts = [f"{year}-{month}-{day}" for year, month, day in drawn]
    dates = read_dates(texts, official=True)
    assert [drawn[place] for place in oldest_first(dates)] == sorted(drawn)


def test_later_as_far_as_both_are_known():
    assert is_later("2013", "2012-05") and not is_later("2012-05", "2012")
    assert not is_later("", "2012") and not is_later("2012", "")
    assert is_later("2020-01-01T00:00:00.5", "2020-01-01T00:00:00")
    assert not is_later("2020-01-01T10:00:00", "2020-01-01")


def test_an_order_that_nobody_knows_is_refused():
    check_order(["2019", "2020-05", "2020-06"])
    check_order(["2020-05", "", "2020-06"])
    with pytest.raises(DateError, match="2020 and 2020-05 cannot be compared"):
        check_order(["2020-05", "2020"])
    with pytest.raises(DateError, match="2021 stands before 2020, and others have no date"):
        check_order(["2021", "", "2020"])
    assert oldest_first(["2021", "", "2020"]) == [0, 1, 2]
    assert order_is_known(["2019", "2020-05"])
    assert not order_is_known(["2019", ""]) and not order_is_known(["2020", "2020-05"])
