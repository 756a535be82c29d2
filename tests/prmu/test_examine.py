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
from tagpr_lite.prmu.pair import chain_of
from tagpr_lite.prmu.pairs import make_pairs
from tagpr_lite.prmu.selection import tune_users


class Judge:
    """In the place of a PRMU: scores a text by a function of (question, text, whose embedding)."""

    def __init__(self, score):
        self.score = score
        self.settings = Reward()

    def generic_user(self):
        return "generic"

    def user(self, question):
        return question.user

    def encode(self, text):
        return text

    def rate(self, question, texts, user=None):
        return torch.tensor([float(self.score(question, text, user or question.user)) for text in texts])


@pytest.fixture(scope="module")
def held(questions, known):
    """Pairs of held-out users."""
    kept, rules, cues = known
    users = tune_users(questions, 0.5, 0)
    pairs = make_pairs([q for q in questions if q.user in users], kept, [], rules, cues, 0)
    return [pair for pair in pairs if pair.kind in ("other_user", "others_answer")]


def oracle(known):
    """A score that knows every user's rule: the task reward under the rule of the embedding's user."""
    _, rules, _ = known
    rule_of_user = {question_id.partition("-")[0]: rule for question_id, (rule, _) in rules.items()}

    def score(question, text, user):
        if user == "generic":
            return 0.0
        _, answers = rules[question.id.partition("@")[0]]
        chain = chain_of(text)
        return item_reward(question.task, chain.answer, answers[rule_of_user[user]]) if chain else 0.0
    return score


def test_a_model_that_knows_the_rule_is_right_for_its_own_user_alone(held, known):
    report = ex.examine(Judge(oracle(known)), held, held, 0)
    assert report["accuracy"] == 1.0 == report["user_only"]["accuracy"] and report["generic"] == 0.5
    assert report["user_only"]["shuffled"] < 0.62 and report["shuffled"] < 0.8
    for groups in (report["by_kind"], report["by_task"]):
        assert sum(group["n"] for group in groups.values()) == len(held)
    assert set(report["by_kind"]) == {"other_user", "others_answer"}


def test_a_model_that_ignores_the_user_is_half_right_where_only_the_user_differs(held):
    report = ex.examine(Judge(lambda question, text, user: hash(text) % 97), held, held, 0)
    user_only = report["user_only"]
    assert 0.4 < user_only["accuracy"] < 0.6
    assert user_only["accuracy"] == user_only["shuffled"] == user_only["generic"]


def test_a_model_that_likes_length_is_found_out(held):
    bias = ex.examine(Judge(lambda question, text, user: len(text)), held, held, 0)["bias"]
    assert bias["length_rho"] > 0.99
    assert bias["accuracy_longer"] == 1.0 and bias["accuracy_shorter"] == 0.0
    assert bias["over_untagged"] == 1.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=80), st.floats(0.1, 5))
def test_the_calibration_error_is_that_of_its_definition(margins, temperature):
    bins = {}
    for margin in margins:
        confidence = 1 / (1 + np.exp(-abs(margin) / temperature))
        index = min(int((confidence - 0.5) * 2 * ex.BINS), ex.BINS - 1)
        bins.setdefault(index, []).append((confidence, margin > 0))
    want = 0.0
    for members in bins.values():
        confidence, accuracy = np.mean(members, axis=0)
        want += abs(confidence - accuracy) * len(members) / len(margins)
    assert ex.ece(margins, temperature) == pytest.approx(want, abs=2e-4)


def test_the_temperature_calibrates_a_model_that_is_too_sure():
    rng = np.random.default_rng(0)
    true = np.abs(rng.normal(0, 2, 20000))
    is_right = rng.random(20000) < 1 / (1 + np.exp(-true))
    margins = list(np.where(is_right, true, -true) * 4)  # four times too sure
    temperature = ex.fit_temperature(margins)
    assert temperature == pytest.approx(4, rel=0.06)
    assert ex.ece(margins, temperature) < 0.02 < 0.1 < ex.ece(margins, 1.0)


def test_a_few_pairs_that_are_all_right_do_not_make_it_certain():
    # 9 of 10 pairs are right: log odds of log 9 at margin 1.
    assert ex.fit_temperature([1.0] * 9) == pytest.approx(1 / np.log(9), rel=0.06)
    assert ex.fit_temperature([]) == 1.0


def test_agreement_is_one_for_the_rule_itself_and_minus_one_against_it(questions, known):
    kept, rules, cues = known
    by_rule = oracle(known)

    def agreement(score, rules=rules):
        return ex.agreement(Judge(score), questions, kept, rules, cues, 0)
    with_rule = agreement(by_rule)
    against = agreement(lambda *asked: -by_rule(*asked))
    assert set(with_rule) == {f"LaMP_{n}" for n in range(1, 8)}
    assert all(result["tau"] == 1.0 and result["n"] > 3 for result in with_rule.values())
    assert all(result["tau"] == -1.0 for result in against.values())
    assert agreement(lambda *_: 0.0) == {}  # equal scores have no order to agree with
    assert agreement(by_rule, rules={}) == {}  # other data have no rule
