"""Differences over the runs of a campaign: what is paired with what, and who is the same person."""
from __future__ import annotations

import pytest

from tagpr_lite.lamp.differences import Scored
from tagpr_lite.lamp.over_seeds import over_seeds as pooled
from tagpr_lite.report import over_seeds
from tagpr_lite.report.differences import Answers, plus


def answers(seed, text="", **systems):
    """A run of eight users with a question each. systems: {name: mean value}."""
    spread = [-0.1, -0.05, 0.05, 0.1, -0.1, 0.1, 0.02, -0.02]
    scored = {name: [Scored("t", f"u{n}", f"q{n}", value + (shift + 0.01 * seed if value else 0))
                     for n, shift in enumerate(spread)] for name, value in systems.items()}
    return Answers(scored, {("t", f"q{n}"): (f"{text} {n}", "gold") for n in range(8)})


def cells(text, name):
    row = next(row for row in text.splitlines() if row.startswith(f"| {name} "))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_systems_are_compared_within_a_variant_and_variants_with_the_first():
    runs = [over_seeds.Run(variant, seed, answers(seed, base_profile=0.0, sft=0.4, explore=last))
            for seed in (0, 1) for variant, last in (("whole", 0.6), ("half", 0.5))]
    text = over_seeds.differences_text(runs)
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert [name for name in names if "−" in name] == [
        "whole: sft − base_profile", "whole: explore − base_profile", "whole: explore − sft",
        "half: sft − base_profile", "half: explore − base_profile", "half: explore − sft",
        "base_profile: half − whole", "sft: half − whole", "explore: half − whole"]
    assert cells(text, "explore: half − whole")[1:3] == ["2", "−0.100"]
    assert cells(text, "whole: explore − sft")[6] == "+0.200, +0.200"
    found = pooled([(run.answers.scored["base_profile"], run.answers.scored["sft"]) for run in runs[::2]])
    row = cells(text, "whole: sft − base_profile")
    assert row[3] == f"{plus(found.low)} to {plus(found.high)}"
    assert row[5] == f"{plus(found.these[0])} to {plus(found.these[1])}"


def test_users_of_one_name_are_other_people_where_their_questions_are_others():
    same = [over_seeds.Run("a", seed, answers(seed, "text", base=0.0, sft=0.5)) for seed in (0, 1)]
    other = [over_seeds.Run("a", seed, answers(seed, f"text {seed}", base=0.0, sft=0.5)) for seed in (0, 1)]
    assert over_seeds.apart(same) == same
    assert [run.answers.scored["sft"][0].user for run in over_seeds.apart(other)] == ["0/u0", "1/u0"]
    # Users that are shared share their luck: the interval of a new run is wider.
    widths = []
    for runs in (same, other):
        interval = cells(over_seeds.differences_text(runs), "a: sft − base")[3]
        low, high = map(float, interval.replace("−", "-").split(" to "))
        widths.append(high - low)
    assert widths[0] > widths[1]


def test_one_run_says_nothing_of_other_seeds_and_no_run_nothing_at_all():
    text = over_seeds.differences_text([over_seeds.Run("a", 0, answers(0, base=0.0, sft=0.5))])
    row = cells(text, "a: sft − base")
    assert row[1:5] == ["1", "+0.500", "–", "–"] and "to" in row[5]
    assert over_seeds.differences_text([]) == ""
    assert over_seeds.differences_text([over_seeds.Run("a", 0, Answers({}, {}))]) == ""


def test_variants_on_other_questions_are_not_compared():
    runs = [over_seeds.Run(variant, 0, answers(0, text, sft=0.5))
            for variant, text in (("a", "one text"), ("b", "another"))]
    assert over_seeds.differences_text(runs) == ""


@pytest.mark.parametrize("value, sure", [(0.5, True), (0.0, False)])
def test_what_is_beyond_noise_is_bold(value, sure):
    runs = [over_seeds.Run("a", seed, answers(seed, base=0.0, sft=value)) for seed in (0, 1, 2)]
    assert cells(over_seeds.differences_text(runs), "a: sft − base")[2].startswith("**") == sure
