"""Planted names are found again, a person's map comes first, and what fits no primary tag is dropped."""
import json
from collections import Counter

import numpy as np
import pytest
from planted import FUNCTIONS, corpus
from sklearn.metrics import adjusted_rand_score

from tagpr_lite.config import Tag, UserError
from tagpr_lite.tags import discover

TRUTH = {name: f for f, (others, _, _) in FUNCTIONS.items() for name in [f, *others]}
FREQUENT = list(FUNCTIONS)[:9]


def rows_of(planted):
    rows = [{"id": str(n), "task": "LaMP_3", "user": "u", "answer": "4", "gold": "4", "kind": "reasoned",
             "steps": [t for _, t, _ in c], "tags": [name for name, _, _ in c]} for n,
            c in enumerate(planted)]
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_the_planted_nine_are_found_under_four_names_each(seed):
    planted = corpus(seed)
    found = discover.restrict_to_primary_tags(rows_of(planted), (), {}, Tag(), merging=True)
    primary, canonical = found.tag_map.primary, found.tag_map.canonical
    assert {TRUTH[p] for p in primary} == set(FREQUENT)
    names = sorted(canonical)
    assert adjusted_rand_score([TRUTH[n] for n in names], [canonical[n] for n in names]) > 0.95
    named = [TRUTH[t] for r in found.kept for t in r["tags"]]
    true = [f for r in found.kept for _, _, f in planted[int(r["id"])]]
    agreed = discover.agreement(named, true)
    assert agreed["equal"] > 0.97 and agreed["kappa"] > 0.97 and len(found.kept) > 0.6 * len(planted)
    assert len(found.unmapped) == len(planted) - len(found.kept) > 0
    assert all(set(r["tags"]) <= set(primary) and all(f"<{t}>" in r["text"] for t in r["tags"])
               for r in found.kept)


def test_the_result_does_not_depend_on_the_order_of_chains():
    planted = [[(n, t) for n, t, _ in c] for c in corpus(0)]
    assert discover.merge(planted, 0.75) == discover.merge(planted[::-1], 0.7)


def test_without_synonyms_nothing_is_merged_away():
    planted = [[(f, t) for _, t, f in c] for c in corpus(1)]
    canonical = discover.merge(planted, 0.75)
    assert all(canonical[f] == f for f in FREQUENT)


def test_a_persons_map_comes_first_and_its_targets_stay_apart():
    planted = [[(n, t) for n, t, _ in c] for c in corpus(0)]
    given = {"find_pattern": "identify_patterns", "spot_regularities": "see_order",
             "draw_conclusion": "identify_patterns"}
    canonical = discover.merge(planted, 0.75, given)
    assert canonical["find_pattern"] == canonical["draw_conclusion"] == "identify_patterns"
    assert canonical["spot_regularities"] == "see_order"


def test_an_encoder_may_say_what_is_near():
    planted = [[("see_cat", "a"), ("watch_cat", "a")], [("eat_fish", "b"), ("see_cat", "a")]]
    embed = lambda texts: np.array([[1.0, 0.0] if set(t.split()) & {"a", "cat"} else [0.0, 1.0]
                                    for t in texts])
    assert discover.merge(planted, 0.5, None, embed) == {"see_cat": "see_cat", "watch_cat": "see_cat",
                                                         "eat_fish": "eat_fish"}


@pytest.mark.parametrize("chains", [[], [[("only_one", "x")]], [[("a_b", "?"), ("c_d", "!")]]])
def test_few_or_empty_steps_are_no_trouble(chains):
    assert set(discover.merge(chains, 0.5)) == {n for c in chains for n, _ in c}


def test_relabelling_by_hand():
    tag_map = discover.TagMap(("a_b", "c_d"), {"a_x": "a_b", "r_x": "r_y", "z_z": "z_z"}, {"r_y": "c_d"})
    assert tag_map.primary_tags(["a_x", "r_x", "c_d"]) == ["a_b", "c_d", "c_d"]
    assert tag_map.primary_tags(["a_x", "z_z"]) is None


def test_primary_tags_break_ties_by_name():
    assert discover.most_frequent(Counter({"b_b": 2, "a_a": 2, "c_c": 3})) == ("c_c", "a_a", "b_b")


def test_agreement_by_hand():
    assert discover.agreement(list("aabb"), list("aaba")) == {"steps": 4, "equal": 0.75, "kappa": 0.5}
    assert discover.agreement([], []) == {} and discover.agreement(["a"], ["a"])["kappa"] == 1.0


def test_a_map_is_read_and_a_bad_one_is_one_line(tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"a_b": "c_d", "e_f": "a_b"}))
    assert discover.read_synonyms(str(path)) == {"a_b": "c_d", "e_f": "c_d"}
    for bad in ('["a_b"]', '{"a b": "c_d"}', '{"a_b": 3}', "{"):
        path.write_text(bad)
        with pytest.raises(UserError, match="map.json"):
            discover.read_synonyms(str(path))
