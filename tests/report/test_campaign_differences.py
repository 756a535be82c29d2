"""What a campaign's page compares, with numbers that a hand can check: 5 stars earn 1, 1 star earns 0."""
import pytest
from invented_campaign import read_run, write_changes, write_ratings

from tagpr_lite.lamp.over_seeds import Pooled
from tagpr_lite.report import campaign_differences as compare
from tagpr_lite.report.campaign_rows import NOISE, Row, headline, sentence, variants_of

SHARES = {0: ["1"] * 4, 0.25: ["5", "1", "1", "1"], 0.5: ["5", "5", "1", "1"], 0.75: ["5", "5", "5", "1"],
          1: ["5"] * 4}


def campaign(folder, runs, text="seed {}"):
    """runs: {(variant, seed): {system: mean reward}}, of four users."""
    made = []
    for (variant, seed), systems in runs.items():
        of_run = folder / f"{variant}-{seed}"
        of_run.mkdir()
        for system, share in systems.items():
            write_ratings(of_run, system, SHARES[share], text.format(seed))
        made.append(read_run(variant, seed, of_run))
    return made


def values(rows):
    return {row.name: row.found.by_run for row in rows}


def test_every_stage_against_sft_and_the_one_before(tmp_path):
    systems = {"base": 0, "base_profile": 0.25, "sft": 0.5, "guided": 0.5, "explore": 0.75, "explore@none": 1,
               "explore@vote8": 0}
    runs = campaign(tmp_path, {("full", 0): systems, ("full", 1): systems | {"explore": 1}})
    rows = compare.stage_rows(runs)
    assert list(values(rows).items()) == [
        ("base_profile − base", (0.25, 0.25)), ("sft − base_profile", (0.25, 0.25)), ("guided − sft", (0, 0)),
        ("explore − sft", (0.25, 0.5)), ("explore − guided", (0.25, 0.5))]
    assert rows[3].found.value == 0.375


def test_a_variant_is_compared_by_the_last_system_that_both_have(tmp_path):
    runs = campaign(tmp_path, {("full", 0): {"sft": 0.5, "guided": 0.75, "explore": 1},
                               ("half", 0): {"sft": 0.5, "guided": 0.5},
                               ("alone", 0): {"guided": 0.5, "guided@vote8": 1}, ("none", 0): {"base": 1}})
    rows = compare.variant_rows(runs, {"half": "sft.epochs=1"})
    assert values(rows) == {"half − full": (-0.25,), "alone − full": (-0.25,)}
    assert [row.note for row in rows] == ["guided; sft.epochs=1", "guided"]
    assert compare.variant_rows(runs[:1], {}) == [] and compare.variant_rows([], {}) == []


def test_the_curve_is_of_the_runs_that_have_all_of_it(tmp_path):
    whole = {"explore": 1, "explore@k0": 0.25, "explore@k2": 0.5, "explore@k10": 0.75}
    runs = campaign(tmp_path, {("full", 0): whole, ("full", 1): whole | {"explore@k2": 1},
                               ("full", 2): {"explore@k0": 1, "explore@k2": 0}})
    (curve, gains), = compare.item_curves(runs)
    assert {items: found.value for items, found in curve.points.items()} == {0: 0.25, 2: 0.75, 10: 0.75}
    assert list(curve.points) == [0, 2, 10] and curve.several and curve.title == "explore"
    assert values(gains.rows) == {"2 items − 0 items": (0.25, 0.75), "10 items − 0 items": (0.5, 0.5)}
    assert gains.said.startswith("With 10 items instead of 0, explore changes by +0.500 (")
    # A single number of items is no curve: it is one more view.
    one = campaign(tmp_path, {("one", 0): {"base_profile": 0.5, "base_profile@k4": 0.25, "base": 0}})
    assert compare.item_curves(one) == [] and not compare.items_of(one, "one")
    (group,) = compare.view_groups(one)
    assert values(group.rows) == {"base_profile@k4 − base_profile": (-0.25,)}
    assert group.rows[0].note == "4 items"


def test_other_views_stand_against_the_plain_system(tmp_path):
    runs = campaign(tmp_path, {("full", 0): {
        "base": 0, "sft": 0.5, "sft@other": 0.25, "explore": 1, "explore@none": 0.5, "explore@recency": 0.75,
        "explore@none@vote8": 1, "explore@k0": 0, "explore@k1": 0, "guided@none": 1, "explore@nonsense": 1}})
    (group,) = compare.view_groups(runs)
    assert values(group.rows) == {"explore@none − explore": (-0.5,), "explore@recency − explore": (-0.25,),
                                  "sft@other − sft": (-0.25,)}
    assert [row.note for row in group.rows] == ["no profile", "the newest items", "another user's profile"]
    assert group.title == "other views of the profile"


def test_prmu_stands_against_the_vote_and_a_random_sample(tmp_path):
    runs = campaign(tmp_path, {("full", 0): {
        "explore@vote8": 0.5, "explore@prmu8": 1, "explore@prmu8-other": 0.75, "explore@random8": 0.25,
        "explore@best8": 1, "explore@vote4": 0, "explore@none@prmu8": 1}})
    (group,) = compare.choice_groups(runs)  # a vote of 4, and PRMU without a profile, stand alone
    assert list(values(group.rows).items()) == [
        ("prmu8 − prmu8-other", (0.25,)), ("prmu8 − vote8", (0.5,)), ("prmu8-other − vote8", (0.25,)),
        ("best8 − vote8", (0.5,)), ("prmu8 − random8", (0.75,)), ("prmu8-other − random8", (0.5,)),
        ("vote8 − random8", (0.25,)), ("best8 − random8", (0.75,))]
    assert group.title == "explore, 8 samples" and group.said.count("95% interval of these runs") == 2
    assert group.rows[3].note == "the oracle: it has seen the gold" and group.rows[1].note == ""
    assert group.rows[2].note == "asked with another user's embedding"


def test_the_tag_that_costs_most_is_first_and_whole_chains_are_last(tmp_path):
    runs = campaign(tmp_path, {("full", seed): {"sft": 0.5} for seed in (0, 1)} | {("half", 0): {"sft": 1}})
    for run, score in zip(runs, (0.5, 0.25, 1.0)):
        write_changes(run.folder, "explore", {"other": [0.0] * 4, "analyze_query": [1.0] * 4,
                                              "conclude": [score] * 3})
    full, half = compare.tag_groups(runs)
    assert list(values(full.rows).items()) == [
        ("conclude", (-0.5, -0.75)), ("analyze_query", (0, 0)), ("all, for another user's chain", (-1, -1))]
    assert full.rows[0].note == "6 chains" and full.rows[0].found.value == -0.625
    assert full.title == "full: explore" and full.variant == "full"
    assert full.said.startswith("Without its conclude steps, the reward of explore changes by −0.625 (")
    assert [row.name for row in half.rows][0] == "analyze_query"  # both cost nothing: by file order
    assert compare.tag_groups([run._replace(folder=None) for run in runs]) == []


def test_users_of_changed_chains_are_others_where_their_questions_are(tmp_path):
    same, other = [campaign(tmp_path / name, {("a", 0): {"sft": 1}, ("a", 1): {"sft": 1}}, text)
                   for name, text in (("same", "one"), ("other", "seed {}")) if not (tmp_path / name).mkdir()]
    widths = []
    for runs in (same, other):
        for run, scores in zip(runs, ([0.0, 0.5, 1.0, 1.0], [0.0, 0.5, 1.0, 0.75])):
            write_changes(run.folder, "sft", {"conclude": scores})
        low, high = compare.tag_groups(runs)[0].rows[0].found.these
        widths.append(high - low)
    assert widths[0] > widths[1]  # the same people share their luck


# ---------------------------------------------------------------- words

def row(name, value, new, these, runs=2):
    return Row(name, Pooled(value, *new, 0.5, 0.1, these, (value,) * runs))


def test_several_runs_are_judged_by_a_new_run_and_one_by_itself():
    assert row("x", 0.2, (-0.1, 0.5), (0.1, 0.3)).verdict == NOISE
    assert row("x", 0.2, (0.01, 0.39), (-0.1, 0.5)).verdict == "better"
    assert row("x", -0.2, (-0.3, -0.1), (-0.3, -0.1)).verdict == "worse"
    assert row("x", 0.2, (-1.0, 1.0), (0.1, 0.3), runs=1).verdict == "better"
    assert row("x", 0.2, (0.0, 0.4), (0.0, 0.4)).verdict == NOISE  # 0 is within
    assert row("x", 0.2, (-1.0, 1.0), (0.1, 0.3), 1).ends == [("these runs", "+0.100 to +0.300")]
    assert [ends for _, ends in row("x", 0.0, (-1.0, 1.0), (-1.0, 1.0)).ends] == ["not known"] * 2
    assert sentence("x", row("x", 0.2, (0.01, 0.39), (0, 1))) == (
        "x: +0.200 (95% interval of a new run +0.010 to +0.390), better beyond noise.")


def test_the_headline_says_when_nothing_is_beyond_noise():
    stage = [row("guided − sft", 0.5, (0.4, 0.6), (0.4, 0.6)), row("explore − sft", 0.1, (-0.1, 0.3), (0, 1)),
             row("explore − guided", -0.4, (-0.6, 0.1), (-0.6, 0.1))]
    said = headline(stage, [], "full")
    assert said.startswith("Explore minus SFT: +0.100 (95% interval of a new run −0.100 to +0.300), within")
    assert "Nothing" not in said and said.endswith("(Over 2 runs; task reward, 0 to 1, mean over tasks.)")
    more = headline([*stage, row("x − y", 0.1, (0, 1), (0, 1), runs=3)], [], "full")
    assert "(Over at most 3 runs;" in more
    assert headline(stage[1:], [], "full").startswith("Nothing here is beyond noise. Explore minus SFT")
    one_run = [row("sft − base", 1, (-1, 1), (0, 1), runs=1)]
    assert "One seed says nothing of another one" in headline(one_run, [], "a")
    assert headline([], [], "").startswith("Nothing was compared")


@pytest.mark.parametrize("sure, unsure, says", [
    (1, 0, "v0 − full: −0.200 (95%"),
    (1, 1, "Against full, beyond noise: v0 (−0.200); within noise: w0 (+0.100)."),
    (2, 4, "beyond noise: v0 (−0.200), v1 (−0.200); within noise: 4 variants."),
    (0, 2, "Against full, within noise:")])
def test_variants_in_the_headline(sure, unsure, says):
    rows = [row(f"v{n} − full", -0.2, (-0.3, -0.1), (-0.3, -0.1)) for n in range(sure)]
    rows += [row(f"w{n} − full", 0.1, (-0.1, 0.3), (-0.1, 0.3)) for n in range(unsure)]
    assert says in headline([], rows, "full")
    stage = [row("sft − base", 0.1, (0, 1), (0, 1))]
    assert "In full, SFT minus base without profile: +0.100" in headline(stage, rows, "full")


def test_no_run_compares_nothing():
    assert variants_of([]) == [] and compare.stage_rows([]) == [] and compare.tag_groups([]) == []
    assert compare.item_curves([]) == compare.view_groups([]) == compare.choice_groups([]) == []
