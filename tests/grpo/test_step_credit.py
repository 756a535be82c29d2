"""Credit of single steps: which tokens a step has, its score, its advantage, and what is trained with it."""
from dataclasses import replace

import pytest
import torch

from tagpr_lite import config
from tagpr_lite.engine import model as engine
from tagpr_lite.engine import prefix
from tagpr_lite.engine.logps import padded, token_logps
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo import groups, losses, update
from tagpr_lite.grpo.step_credit import step_advantages, step_scores
from tagpr_lite.grpo.written_steps import written_steps
from tagpr_lite.lamp.tasks import TASKS, Item, Question
from tagpr_lite.tags.schema import Chain, Step
from tagpr_lite.tags.teaching import Teaching, teaching_of

PROFILE = (Item("a", "The soap leaked", "3"), Item("b", "A fine box", "3"))
REVIEW = Question("q", TASKS["LaMP_3"], "u", f"{TASKS['LaMP_3'].instruction} The soap and the box", "2",
                  PROFILE, (0, 1))
CHAIN = ('<think>\n<examine_examples>Got 3; without "soap" good 3 to 2.</examine_examples>\n'
         '<analyze_query>From 2; with "box" good 2 to 3.</analyze_query>\n'
         "<apply_preferences>Comes to 3.</apply_preferences>\n</think>\n3")
WRONG_MOVE = CHAIN.replace("good 2 to 3", "good 2 to 4").replace("Comes to 3", "Comes to 4")
WRONG_END = CHAIN.replace("Comes to 3", "Comes to 5")


@pytest.fixture(scope="module")
def conf():
    return config.load("smoke", ["grpo.completion=100", "grpo.group=3", "grpo.temperature=1",
                                 "model.lora_r=4", "grpo.beta=0"])


@pytest.fixture(scope="module")
def policy(conf):
    """A policy whose adapter is not at its beginning, where half of its gradient is 0."""
    model, tokenizer = engine.load(conf.model)
    model = engine.add_adapter(model, conf.model, groups.POLICY)
    for param in engine.adapter_parameters(model, groups.POLICY).values():
        torch.nn.init.normal_(param, std=0.15, generator=torch.Generator(param.device).manual_seed(1))
    return model, tokenizer


@pytest.fixture(scope="module")
def tokenizer(policy):
    return policy[1]


def token_ids(tokenizer, *texts):
    return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]


def advantages_of(tokenizer, *texts, teaching=Teaching(), floor=0.05):
    """{the text under each different advantage} of each chain, with the advantage of each of its steps."""
    chains = token_ids(tokenizer, *texts)
    rows = step_advantages(tokenizer, REVIEW, chains, teaching, floor)
    assert rows.shape == (len(texts), max(map(len, chains)))
    return [[{round(value, 4) for value in row[step.start:step.end].tolist()}
             for step in written_steps(tokenizer, ids)] for row, ids in zip(rows, chains, strict=True)]


def test_a_step_is_written_with_the_tokens_of_its_marks_and_text(tokenizer):
    [ids] = token_ids(tokenizer, CHAIN)
    steps = written_steps(tokenizer, ids)
    assert [step.step.tag for step in steps] == ["examine_examples", "analyze_query", "apply_preferences"]
    for step in steps:
        text = tokenizer.decode(ids[step.start:step.end])
        assert f"<{step.step.tag}>{step.step.text}</{step.step.tag}>" in text
        assert len(text.strip()) <= len(f"<{step.step.tag}>{step.step.text}</{step.step.tag}>") + 1
    for broken in ("", "no steps", "<conclude>no end", "<conclude>a</analyze_query>", "<think>\n</think>\n3"):
        [ids] = token_ids(tokenizer, broken)
        assert written_steps(tokenizer, ids) == []


def test_a_score_is_the_share_of_right_parts():
    def scores(text, teaching=Teaching()):
        steps = tuple(Step(tag, body) for tag, body in
                      (("examine_examples", 'Got 3; without "soap" good 3 to 2, "lid" bad 2 to 1.'),
                       ("analyze_query", text)))
        return step_scores(Chain(steps, "3"), REVIEW, teaching)

    # "Got 3" with "lid" is false, "lid" is quoted from nowhere, and its move is wrong: 2 right parts of 5
    assert scores("Nothing to check.") == [pytest.approx(3 / 6), None]
    assert scores('"box" is there.')[1] == 1.0
    # the teacher has four parts here: one right part is not enough
    taught = Teaching(checks={("LaMP_3", "analyze_query"): 4.0})
    assert scores('"box" is there.', taught)[1] == pytest.approx(2 / 5)
    assert scores("Nothing to check.", taught)[1] == pytest.approx(1 / 5)


def test_steps_are_compared_with_those_of_the_same_tag(tokenizer):
    right, wrong_move, wrong_end = advantages_of(tokenizer, CHAIN, WRONG_MOVE, WRONG_END)
    # All past texts are read alike; one new text is moved wrongly, one conclusion does not follow.
    assert right[0] == wrong_move[0] == wrong_end[0] == {0.0}
    assert right[1] == wrong_end[1] == {0.7071} and wrong_move[1] == {-1.4142}
    assert right[2] == wrong_move[2] == {0.7071} and wrong_end[2] == {-1.4142}
    assert advantages_of(tokenizer, CHAIN, CHAIN) == [[{0.0}] * 3] * 2
    # one wrong part of three: a score of 3/4 beside two of 1; a floor of 1 leaves 1 - 11/12
    assert advantages_of(tokenizer, CHAIN, WRONG_MOVE, WRONG_END, floor=1.0)[0][1] == {0.0833}


def test_the_advantages_of_a_tag_sum_to_zero_however_many_steps_there_are(tokenizer):
    bad_step = '<analyze_query>From 1; with "lid" bad 1 to 1.</analyze_query>\n<apply'
    one_more = CHAIN.replace("<apply", bad_step)
    chains = token_ids(tokenizer, CHAIN, one_more, WRONG_MOVE, "broken <", "<think>")
    rows = step_advantages(tokenizer, REVIEW, chains, Teaching(), 0.05)
    of_query = [rows[n, step.start].item() for n, ids in enumerate(chains)
                for step in written_steps(tokenizer, ids) if step.step.tag == "analyze_query"]
    assert len(of_query) == 4 and max(of_query) > 0 and abs(sum(of_query)) < 1e-5
    assert not rows[3:].any()


def test_the_teacher_s_parts_are_counted_by_task_and_tag():
    tags = ["examine_examples", "analyze_query", "apply_preferences"]
    rows = [{"id": "q", "task": "LaMP_3", "text": text, "tags": tags} for text in (CHAIN, WRONG_END)]
    assert teaching_of(rows, questions=[REVIEW]).checks == {
        ("LaMP_3", "examine_examples"): 3.0, ("LaMP_3", "analyze_query"): 3.0,
        ("LaMP_3", "apply_preferences"): 1.0}


# ---------------------------------------------------------------- in GRPO

def group_of(conf, tokenizer, stage, texts=(CHAIN, WRONG_MOVE, WRONG_END), begun=0):
    """The chains as a group; `begun`: tokens of them that all share."""
    chains = token_ids(tokenizer, *texts)
    prompt = tokenizer("A question: ", add_special_tokens=False).input_ids + chains[0][:begun]
    samples = [Sample(ids[begun:], [-1.0] * len(ids[begun:]), True) for ids in chains]
    rollout = groups.Rollout(REVIEW, prompt, samples, begun_ids=chains[0][:begun])
    together = BatchLimit("a test", "completions", 3, advice="lower prompt.max_tokens")
    return groups.score_group(conf.grpo, stage, rollout, tokenizer, Teaching(), together)


def gradient(conf, model, group):
    lengths = torch.tensor([len(s.ids) for s in group.samples])
    weights = losses.token_weights("dapo", lengths, 100)
    update.policy_gradient(conf.grpo, model, group, weights, conf.grpo.micro)
    params = engine.adapter_parameters(model, groups.POLICY)
    grads = torch.cat([param.grad.flatten() for param in params.values()])
    model.zero_grad()
    return grads


def test_a_weight_of_0_leaves_the_update_as_it_was(conf, tokenizer):
    assert group_of(conf, tokenizer, groups.Stage("explore", 3, 1.0)).step_advantages is None


def test_steps_are_learned_from_where_all_rewards_are_equal(conf, tokenizer):
    """A task term of 0 for all: the chain's advantages are 0, the steps' are not."""
    texts = [text[:-1] + "5" for text in (CHAIN, WRONG_MOVE, WRONG_END)]
    plain = group_of(conf, tokenizer, groups.Stage("guided", 3, 0.0), texts)
    credited = group_of(conf, tokenizer, groups.Stage("guided", 3, 0.0, step_weight=1.0), texts)
    assert not plain.has_signal and credited.has_signal and not credited.advantages.any()
    same = group_of(conf, tokenizer, groups.Stage("guided", 3, 0.0, step_weight=1.0), [CHAIN] * 3)
    assert not same.has_signal


@pytest.mark.parametrize("begun, trained, micro", [(0, 0, 8), (20, 0, 1), (0, 2, 1), (20, 2, 8)])
def test_the_gradient_is_that_of_the_sum_of_both_advantages(conf, policy, tokenizer, begun, trained, micro):
    """Equal to the sum over tokens, one completion at a time, written out."""
    model, _ = policy
    conf = replace(conf, grpo=replace(conf.grpo, trained=trained, micro=micro))
    stage = groups.Stage("guided", 3, 1.0, 0.2, step_weight=0.5)
    group = group_of(conf, tokenizer, stage, begun=begun)
    assert group.step_advantages.shape == (3, max(len(s.ids) for s in group.samples))
    part = update.trained_part(conf.grpo, group)
    lengths = torch.tensor([len(s.ids) for s in part.samples])
    got = gradient(conf, model, part)

    whole = step_advantages(tokenizer, REVIEW, group.chains, Teaching(), conf.grpo.std_floor)
    chosen = losses.most_different(group.rewards, trained).tolist()
    model.train()
    total = 0.0
    for n in chosen:
        ids = group.samples[n].ids
        tokens, mask = padded([ids], model.device)
        prompt = prefix.ClassicPrompt(model, torch.tensor(group.prompt_ids, device=model.device))
        logps, _ = token_logps(model, prompt.predict(tokens), tokens, mask, conf.grpo.temperature)
        ratio = (logps[0] + 1.0).exp()  # the samples' log-probs were -1
        for t in range(len(ids)):
            a = float(group.advantages[n]) + 0.5 * float(whole[n, begun + t])
            clipped = ratio[t].clamp(1 - conf.grpo.clip_low, 1 + conf.grpo.clip_high)
            total = total - torch.min(ratio[t] * a, clipped * a) / int(lengths.sum())
    total.backward()
    model.eval()
    params = engine.adapter_parameters(model, groups.POLICY)
    want = torch.cat([param.grad.flatten() for param in params.values()])
    model.zero_grad()
    assert want.abs().max() > 0 and (got - want).abs().max() <= 1e-4 * want.abs().max()
