"""Step 4: who is trained on, stopped on and reported on; chains for those whom no teacher was asked about;
too few pairs."""
from collections import Counter
from dataclasses import replace

import pytest

from tagpr_lite.config import Config, Reward, UserError
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.prmu.pairs import Pair, chain_of
from tagpr_lite.steps import step4_reward as step
from tagpr_lite.tags.facts import groundedness
from tagpr_lite.tags.teachers.cues import learn


@pytest.fixture(scope="module")
def data():
    found = mini.build(0, 12)
    return {split: [replace(q, retrieved=retrieve(q, "bm25", 3, 0)) for s in found.values() for q in s[split]]
            for split in ("train", "dev")}


def test_the_report_is_on_users_whom_nothing_was_trained_on(data, capsys):
    sides = step.divided(Config(reward=Reward(heldout=0.3)), data["train"], data["dev"])
    users = {side: {q.user for q in qs} for side, qs in sides.items()}
    assert all(users.values()) and not users["train"] & users["tune"] and not users["held"] & {q.user for q in data["train"]}
    assert users["train"] | users["tune"] == {q.user for q in data["train"]}
    assert "shop_reviews" not in {q.task for q in sides["held"]}  # a task that is never trained on
    same = step.divided(Config(reward=Reward(heldout=0.3)), data["train"], data["train"][:9])
    assert same["held"] == same["tune"] and "every dev user is a training user" in capsys.readouterr().out


def test_held_out_users_get_chains_that_are_right_and_true(data):
    dev = [q for q in data["dev"] if q.task.name != "shop_reviews"]
    found = step.good_chains(dev, Config(), learn(data["train"]))
    assert len(found) > len(dev) / 2
    for q in dev:
        if q.id in found:
            chain = chain_of(found[q.id])
            assert chain.answer == q.gold.strip() and groundedness(chain, q) == 1.0


def test_a_side_gets_its_share_of_pairs_and_none_is_an_error(data):
    pairs = [Pair(q, "a", str(n), kind, 0.0, "template") for q in data["train"][:40] for n,
             kind in enumerate(("other_user", "contradiction"))]
    got = step.chosen(Config(reward=Reward(pairs=16, reported=24)),
                      {"train": pairs, "tune": pairs, "held": pairs})
    assert [len(got[s]) for s in ("train", "tune", "held")] == [16, 8, 24]
    assert set(Counter(p.kind for p in got["train"]).values()) == {8}
    with pytest.raises(UserError, match="80 train, 0 tune, 80 held"):
        step.chosen(Config(reward=Reward(pairs=800)), {"train": pairs, "tune": [], "held": pairs})


def test_the_hidden_rules_are_the_benchmarks_alone(data):
    config = Config()
    config.lamp.mini_users = 12
    rules = step.known_rules(config)
    for q in data["train"] + data["dev"]:
        rule, answers = rules[q.id]
        assert answers[rule] == q.gold
    config.lamp.source = "data/lamp"
    assert step.known_rules(config) == {}
