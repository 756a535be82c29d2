"""The report on PRMU: by whose embedding, calibration against the definition, biases, agreement with the
hidden rule."""
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.config import Reward
from tagpr_lite.lamp.scorer import item_reward
from tagpr_lite.prmu import examine as ex
from tagpr_lite.prmu.pairs import chain_of, make_pairs, tune_users


class Judge:
    """Stands for a PRMU: scores a text by a function of (question, text, whose embedding)."""

    def __init__(self, of):
        self.of = of
        self.settings = Reward()

    def generic_user(self):
        return "nobody"

    def user(self, question):
        return question.user

    def encode(self, text):
        return text

    def rate(self, question, texts, user=None):
        return torch.tensor([float(self.of(question, t, user or question.user)) for t in texts])


@pytest.fixture(scope="module")
def held(questions, known):
    kept, rules, cues = known
    found = make_pairs([q for q in questions if q.user in tune_users(questions, 0.5, 0)], kept, [], rules,
                       cues, 0)
    return [p for p in found if p.kind in ("other_user", "others_answer")]


def oracle(known):
    _, rules, _ = known
    rule_of = {q: r for q, (r, _) in rules.items()}
    of_user = {}
    for q, r in rule_of.items():
        of_user[q.partition("-")[0]] = r

    def of(question, text, user):
        if user == "nobody":
            return 0.0
        true = rules[question.id.partition("@")[0]][1][of_user[user]]
        chain = chain_of(text)
        return item_reward(question.task, chain.answer, true) if chain else 0.0
    return of


def test_a_model_that_knows_the_rule_is_right_for_its_own_user_alone(held, known):
    report = ex.examine(Judge(oracle(known)), held, held, 0)
    assert report["accuracy"] == 1.0 == report["user_only"]["accuracy"] and report["generic"] == 0.5
    assert report["user_only"]["shuffled"] < 0.62 and report["shuffled"] < 0.8
    assert sum(k["n"] for k in report["by_kind"].values()) == len(held) == sum(k["n"]
                                                                               for k in report["by_task"].values())
    assert set(report["by_kind"]) == {"other_user", "others_answer"}


def test_a_model_that_likes_a_chain_for_itself_is_half_right_where_only_the_user_differs(held):
    report = ex.examine(Judge(lambda q, text, user: hash(text) % 97), held, held, 0)
    assert 0.4 < report["user_only"]["accuracy"] == report["user_only"]["shuffled"] == report["user_only"]["generic"] < 0.6


def test_a_model_that_likes_length_is_found_out(held):
    report = ex.examine(Judge(lambda q, text, user: len(text)), held, held, 0)["bias"]
    assert report["length_rho"] > 0.99 and report["accuracy_longer"] == 1.0 and report["accuracy_shorter"] == 0.0
    assert report["over_untagged"] == 1.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=80), st.floats(0.1, 5))
def test_the_calibration_error_is_that_of_its_definition(apart, temperature):
    bins = {}
    for d in apart:
        sure = 1 / (1 + np.exp(-abs(d) / temperature))
        bins.setdefault(min(int((sure - 0.5) * 2 * ex.BINS), ex.BINS - 1), []).append((sure, d > 0))
    want = sum(abs(np.mean([s for s, _ in b]) - np.mean([r for _, r in b])) * len(b)
               for b in bins.values()) / len(apart)
    assert ex.ece(apart, temperature) == pytest.approx(want, abs=2e-4)


def test_the_temperature_makes_a_sure_model_honest():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20000)
    apart = np.where(rng.random(20000) < 1 / (1 + np.exp(-np.abs(true))), np.abs(true), -np.abs(true)) * 4  # four times too sure
    found = ex.fit_temperature(list(apart))
    assert found == pytest.approx(4, rel=0.06) and ex.ece(list(apart), found) < 0.02 < 0.1 < ex.ece(list(apart), 1.0)


def test_a_few_pairs_that_are_all_right_do_not_make_it_certain():
    assert ex.fit_temperature([1.0] * 9) == pytest.approx(1 / np.log(9), rel=0.06)  # 9 of 10: log odds of log 9 at distance 1
    assert ex.fit_temperature([]) == 1.0


def test_agreement_is_one_for_the_rule_itself_and_minus_one_against_it(questions, known):
    kept, rules, cues = known
    with_rule, against = (ex.agreement(Judge(lambda q, t, u, s=s: s * oracle(known)(q, t, u)), questions,
                                       kept, rules, cues, 0) for s in (1, -1))
    assert set(with_rule) == {f"LaMP_{n}" for n in range(1, 8)}
    assert all(f["tau"] == 1.0 and f["n"] > 3 for f in with_rule.values()) and all(f["tau"] == -1.0
                                                                                   for f in against.values())
    assert ex.agreement(Judge(lambda *_: 0.0), questions, kept, rules, cues, 0) == {}  # an order is needed to agree or not
    assert ex.agreement(Judge(oracle(known)), questions, kept, {}, cues, 0) == {}  # other data have no rule
