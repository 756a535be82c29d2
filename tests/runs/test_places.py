"""Places: which card, and how many threads, each of several runs has."""
import pytest
import torch

from tagpr_lite.config import UserError
from tagpr_lite.runs import places


@pytest.fixture
def machine(monkeypatch):
    """A machine with four cards and eight cores, and none of the variables set."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(places, "cores", lambda: 8)
    monkeypatch.delenv(places.VISIBLE, raising=False)
    monkeypatch.delenv(places.THREADS, raising=False)


@pytest.mark.parametrize("words, cards", [("4", ["0", "1", "2", "3"]), ("1", ["0"]),
                                          ("0,2,3", ["0", "2", "3"]), ("3,", ["3"]), (" 2 , 0 ", ["2", "0"])])
def test_each_place_shows_one_card(machine, words, cards):
    found = places.places_on_cards(words)
    assert [place.environment[places.VISIBLE] for place in found] == cards
    assert [place.name for place in found] == [f"card {card}" for card in cards]


def test_a_card_is_one_of_those_that_are_visible(machine, monkeypatch):
    monkeypatch.setenv(places.VISIBLE, "6,GPU-1f,2,7")
    found = places.places_on_cards("1,2")
    assert [place.environment[places.VISIBLE] for place in found] == ["GPU-1f", "2"]


@pytest.mark.parametrize("words", ["0", "", ",", "1,,2", "two", "-1", "1.5", "1,1", "0,1,", "9" * 5000])
def test_words_that_name_no_cards_are_refused(machine, words):
    if words == "0,1,":  # a comma too many does no harm
        assert len(places.places_on_cards(words)) == 2
        return
    with pytest.raises(UserError, match="--cards"):
        places.places_on_cards(words)


@pytest.mark.parametrize("words", ["5", "0,4", "4,"])
def test_a_card_that_is_not_there_is_refused(machine, words):
    with pytest.raises(UserError, match="no card 4; this machine shows 4.*--at-once"):
        places.places_on_cards(words)


@pytest.mark.parametrize("count, threads", [(2, "4"), (3, "2"), (8, "1"), (9, "1")])
def test_runs_divide_the_cores(machine, count, threads):
    found = places.places_on_cores(count)
    assert [place.environment for place in found] == [{places.THREADS: threads}] * count
    if count <= 4:
        assert places.places_on_cards(str(count))[0].environment[places.THREADS] == threads


def test_one_run_has_all_cores_and_what_the_user_has_set_stands(machine, monkeypatch):
    assert places.places_on_cores(1)[0].environment == {}
    assert list(places.places_on_cards("1")[0].environment) == [places.VISIBLE]
    monkeypatch.setenv(places.THREADS, "3")
    assert places.places_on_cores(2)[0].environment == {}
    with pytest.raises(UserError, match="--at-once 0"):
        places.places_on_cores(0)
