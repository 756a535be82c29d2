"""Groups that begin midway: where a chain is cut, that all completions go on from there, and that only what
comes after is trained."""
from dataclasses import replace

import pytest

from tagpr_lite import config
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.sample import Sample, end_tokens, sample
from tagpr_lite.grpo import groups, midway
from tagpr_lite.grpo.written_steps import written_steps
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.chat import completion_text
from tagpr_lite.lamp.prompts import build
from tagpr_lite.lamp.retrieve import retrieve
from tagpr_lite.tags.chains import render
from tagpr_lite.tags.teachers import template
from tagpr_lite.tags.teaching import Teaching

TEACHING = Teaching()


@pytest.fixture(scope="module")
def conf():
    return config.load("smoke", ["grpo.completion=100", "grpo.group=3", "grpo.temperature=1",
                                 "grpo.midway=1"])


@pytest.fixture(scope="module")
def policy(conf):
    return engine.load(conf.model)


@pytest.fixture(scope="module")
def questions():
    asked = mini.build(0, 8, ["LaMP_2", "LaMP_4"])
    some = [question for splits in asked.values() for question in splits["train"][:2]]
    return [replace(question, retrieved=retrieve(question, "bm25", 3, 0)) for question in some]


@pytest.fixture
def teachers_chains(monkeypatch, policy):
    """The chain that the policy begins with is the teacher's. {prompt's ids: the chain's ids}"""
    _, tokenizer = policy
    known = {}

    def sampled(model, prompts, group, room, ends, **_):
        assert group == 1
        chains = [known[tuple(prompt)] for prompt in prompts]
        return [[Sample(ids, [-1.0] * len(ids), True)] for ids in chains]

    def teach(conf, some_questions):
        for question in some_questions:
            prompt, _ = build(question, tokenizer, conf.prompt, with_profile=True, reason=True)
            chain = render(template.write(question, 0))
            known[tuple(prompt)] = tokenizer(chain, add_special_tokens=False).input_ids + [0]
        return known

    monkeypatch.setattr(midway, "sample_all", sampled)
    return teach


def limit(size):
    return BatchLimit("a test", "prompts", size, advice="lower prompt.max_tokens")


def test_a_chain_is_cut_behind_its_steps(policy, questions):
    _, tokenizer = policy
    for question in questions:
        chain = template.write(question, 0)
        ids = tokenizer(render(chain), add_special_tokens=False).input_ids
        ends = [step.end for step in written_steps(tokenizer, ids)]
        assert len(ends) == len(chain.steps)
        for n, step in zip(ends, chain.steps, strict=True):
            assert tokenizer.decode(ids[:n]).rstrip().endswith(f"{step.text}</{step.tag}>")
    assert written_steps(tokenizer, tokenizer("<think> no step </think> 4").input_ids) == []
    assert written_steps(tokenizer, []) == []


def test_all_completions_go_on_from_the_same_steps(conf, policy, questions, teachers_chains):
    model, tokenizer = policy
    chains = teachers_chains(conf, questions)
    rollouts = groups.roll_out(conf, "guided", model, tokenizer, questions, 0, limit(2))
    cuts = set()
    for one in rollouts:
        prompt = one.prompt_ids[:len(one.prompt_ids) - len(one.begun_ids)]
        ids = chains[tuple(prompt)]
        assert one.begun_ids and one.begun_ids == ids[:len(one.begun_ids)]
        assert len(one.begun_ids) in [step.end for step in written_steps(tokenizer, ids)]
        assert one.prompt_ids == prompt + one.begun_ids
        assert all(len(chain) <= conf.grpo.completion for chain in one.chains)
        cuts.add(len(one.begun_ids) / len(ids))
    assert len(cuts) > 1

    # They are what is sampled behind the longer prompt, with the same seeds, whatever is decoded beside them.
    alone = groups.roll_out(conf, "guided", model, tokenizer, questions, 0, limit(1))
    assert [one.chains for one in alone] == [one.chains for one in rollouts]
    first = rollouts[0]
    seeds = [groups.seed_of(conf.seed, "guided", 0, first.question.id, n) for n in range(3)]
    [plain] = sample(model, [first.prompt_ids], 3, conf.grpo.completion - len(first.begun_ids),
                     end_tokens(model, tokenizer), temperature=1.0, seeds=[seeds])
    assert [s.ids for s in plain] == [s.ids for s in first.samples]
    other_step = groups.roll_out(conf, "guided", model, tokenizer, questions, 1, limit(2))
    assert [len(one.begun_ids) for one in other_step] != [len(one.begun_ids) for one in rollouts]


def test_a_share_of_the_groups_begins_midway(conf, policy, questions, teachers_chains):
    model, tokenizer = policy
    teachers_chains(conf, questions)
    begun = {}
    for share in (0.0, 0.5, 1.0):
        some = replace(conf, grpo=replace(conf.grpo, midway=share))
        prompts = [build(question, tokenizer, conf.prompt, with_profile=True, reason=True)[0]
                   for question in questions]
        begun[share] = []
        for index in range(10):
            found = midway.beginnings(some, "guided", model, tokenizer, questions, prompts, index, limit(2))
            begun[share] += [bool(ids) for ids in found]
    assert not any(begun[0.0]) and all(begun[1.0]) and 10 <= sum(begun[0.5]) <= 30


def test_the_reward_is_of_the_whole_chain(conf, policy, questions, teachers_chains):
    model, tokenizer = policy
    chains = teachers_chains(conf, questions)
    question = questions[0]
    prompt, _ = build(question, tokenizer, conf.prompt, with_profile=True, reason=True)
    ids = chains[tuple(prompt)]
    stage = groups.Stage("guided", 3, 1.0, 0.2, 0.0)
    scored = []
    for cut in (0, 40):
        rollout = groups.Rollout(question, prompt + ids[:cut], [Sample(ids[cut:], [], True)] * 2,
                                 begun_ids=ids[:cut])
        scored.append(groups.score_group(conf.grpo, stage, rollout, tokenizer, TEACHING, limit(2)))
    assert completion_text(tokenizer, scored[1].chains[0], True) == render(template.write(question, 0))
    assert scored[0].terms == scored[1].terms and scored[0].terms[0].task == 1.0
    assert groups.summary(scored[1:])["length"] == len(ids)


def test_a_cut_sample_is_one_without_room():
    ended = Sample([5, 6, 0], [-1.0, -2.0, -3.0], True)
    assert midway.within(ended, 3) is ended
    assert midway.within(ended, 2) == Sample([5, 6], [-1.0, -2.0], False)
