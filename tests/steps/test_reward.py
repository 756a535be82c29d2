"""Step 4: who is trained on, stopped on and reported on; chains for those whom no teacher was asked about;
too few pairs."""
from collections import Counter
from dataclasses import replace

import pytest

from tagpr_lite.config import Config, Reward, UserError
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.prmu.pair import Pair, chain_of
from tagpr_lite.steps import step4_reward as step
from tagpr_lite.tags.facts import groundedness
from tagpr_lite.tags.teachers.template import learn_reading


@pytest.fixture(scope="module")
def data():
    """{"train", "dev": questions of all tasks}."""
    questions_of = {"train": [], "dev": []}
    for splits in mini.build(0, 12).values():
        for split, questions in questions_of.items():
            questions += [replace(question, retrieved=retrieve(question, "bm25", 3, 0))
                          for question in splits[split]]
    return questions_of


def test_the_report_is_on_users_whom_nothing_was_trained_on(data, capsys):
    sides = step.divide_users(Config(reward=Reward(heldout=0.3)), data["train"], data["dev"])
    users = {side: {question.user for question in questions} for side, questions in sides.items()}
    train_users = {question.user for question in data["train"]}
    assert all(users.values())
    assert not users["train"] & users["tune"] and not users["held"] & train_users
    assert users["train"] | users["tune"] == train_users
    assert "shop_reviews" not in {question.task.name for question in sides["held"]}  # is never trained on
    same = step.divide_users(Config(reward=Reward(heldout=0.3)), data["train"], data["train"][:9])
    assert same["held"] == same["tune"] and "every dev user is a training user" in capsys.readouterr().out


def test_held_out_users_get_chains_that_are_right_and_true(data):
    dev = [question for question in data["dev"] if question.task.name != "shop_reviews"]
    texts = step.template_chains(dev, Config(), learn_reading(data["train"]))
    assert len(texts) > len(dev) / 2
    for question in dev:
        if question.id in texts:
            chain = chain_of(texts[question.id])
            assert chain.answer == question.gold.strip() and groundedness(chain, question) == 1.0


def test_a_side_gets_its_share_of_pairs_and_none_is_an_error(data):
    pairs = []
    for question in data["train"][:40]:
        pairs += [Pair(question, "a", "0", "other_user", 0.0, "template"),
                  Pair(question, "a", "1", "contradiction", 0.0, "template")]
    limits = step.pair_limits(Config(reward=Reward(pairs=16, reported=24)))
    selected = step.select_pairs(limits, {"train": pairs, "tune": pairs, "held": pairs})
    assert [len(selected[side]) for side in ("train", "tune", "held")] == [16, 8, 24]
    assert Counter(pair.kind for pair in selected["train"]) == {"other_user": 8, "contradiction": 8}
    with pytest.raises(UserError, match="16 train, 0 tune, 24 held"):
        step.select_pairs(limits, {"train": pairs, "tune": [], "held": pairs})


def test_the_hidden_rules_are_the_benchmarks_alone(data):
    config = Config()
    config.lamp.mini_users = 12
    rules = step.known_rules(config)
    for question in data["train"] + data["dev"]:
        rule, answers = rules[question.id]
        assert answers[rule] == question.gold
    config.lamp.source = "data/lamp"
    assert step.known_rules(config) == {}
