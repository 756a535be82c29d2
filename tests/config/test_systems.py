"""The words for systems: what they mean, and that a word is read as it was written."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagpr_lite.config import ADAPTERS, System, UserError, load, parse_systems
from tagpr_lite.config.systems import PROFILES, parse_system, profile_words
from tagpr_lite.engine.decode import LEAST_SEATS
from tagpr_lite.plan.answers import RATED_TOGETHER, STEP_OF_SAMPLES, rows_of_samples
from tagpr_lite.prmu import model as prmu

DECODINGS = st.one_of(
    st.just(("greedy", 1, "own")),
    st.tuples(st.sampled_from(["vote", "best", "random"]), st.integers(2, 64), st.just("own")),
    st.tuples(st.just("prmu"), st.integers(2, 64), st.sampled_from(["own", "other", "none"])))
SYSTEMS = st.builds(lambda adapter, profile, decoding: System(adapter, profile, *decoding),
                    st.sampled_from(["base", *ADAPTERS]), st.sampled_from([*PROFILES, "k0", "k8", "k12"]),
                    DECODINGS)


@pytest.mark.parametrize("word, system", [
    ("base", System("base", "none")), ("base_profile", System("base")), ("base@own", System("base")),
    ("base_profile@none", System("base", "none")), ("base@other", System("base", "other")),
    ("sft", System("sft")), ("explore_last", System("explore_last")),
    ("explore@vote8", System("explore", "own", "vote", 8)),
    ("explore@none@vote8", System("explore", "none", "vote", 8)),
    ("explore@vote8@none", System("explore", "none", "vote", 8)),
    ("guided@other@prmu16-none", System("guided", "other", "prmu", 16, "none")),
    ("explore@own@greedy", System("explore")), ("explore@k8", System("explore", "k8")),
    ("explore@random", System("explore", "random")),  # random items, the likeliest answer
    ("explore@random8", System("explore", "own", "random", 8)), ("base@k2", System("base", "k2")),
    ("explore@half@vote4", System("explore", "half", "vote", 4))])
def test_what_words_mean(word, system):
    assert parse_system(word) == system


@settings(deadline=None)
@given(SYSTEMS)
def test_a_system_is_its_word(system):
    assert parse_system(system.word) == system
    assert parse_system(system.word).word == system.word and system.word.startswith(system.answerer)
    assert parse_systems([system.word] * 2) == [system]
    # a name of a folder on any machine
    assert not set(system.word) - set("abcdefghijklmnopqrstuvwxyz_@-0123456789")


@settings(deadline=None)
@given(st.text(alphabet="abexploresftguided@vote8prmu-nw01", max_size=24))
def test_any_other_text_is_one_line_that_says_what_is_known(text):
    try:
        assert parse_system(parse_system(text).word)
    except ValueError as error:
        assert "explore_last" in str(error) and "@prmu8-other" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("word", [
    "", "explore@", "explore@vote1", "explore@vote65", "explore@vote08", "explore@vote",
    "explore@vote8-other", "explore@best8-none", "explore@prmu8-others", "explore@none@other",
    "explore@vote8@best8", "@vote8", "explore@k", "explore@k08", "explore@k100", "explore@k2@recency",
    "explore@greedy@vote8", "Explore", "explore@vote８", "explore @none", "explore@none@none"])
def test_what_is_no_system_is_refused_when_settings_are_read(word):
    with pytest.raises(UserError) as error:
        load("smoke", [f"evaluate.systems=[sft, '{word}']"])
    says = str(error.value)
    assert says.startswith(f"evaluate.systems='{word}': known are base")
    assert len(says) < 300 and "\n" not in says


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(2, 64))
def test_samples_are_drawn_in_fours_within_the_batch(batch, wanted):
    drawn, rows, together = rows_of_samples(batch, wanted)
    assert wanted <= drawn < wanted + 4 and drawn % 4 == rows % 4 == 0 and 4 <= rows <= drawn
    assert rows * together <= max(4, batch)


def test_the_plan_counts_as_the_engine_and_prmu_do():
    assert STEP_OF_SAMPLES == LEAST_SEATS and RATED_TOGETHER == prmu.RATED_TOGETHER


def test_every_profile_has_words():
    assert profile_words("k1") == "1 item" and profile_words("k8") == "8 items"
    assert len({profile_words(word) for word in [*PROFILES, "k1", "k8"]}) == len(PROFILES) + 2
