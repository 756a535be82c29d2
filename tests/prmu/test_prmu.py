"""PRMU: the user reaches the score, a group shares its prompt, the base is held once, a file gives the same
scores."""
import pytest
import torch
import torch.nn.functional as F

from tagpr_lite.config import Model, Prompt, Reward
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.prefix import Prefill, base_of, forward
from tagpr_lite.lamp.prompts import build
from tagpr_lite.prmu.model import load_prmu

TINY = Model(name="tiny", lora_r=4)
GROUP = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 11, 12, 13]]


def test_a_group_scores_like_its_members_alone_and_the_user_matters(make, questions, monkeypatch):
    prmu, question = make(), questions[0]
    together = prmu.rate(question, GROUP)
    alone = torch.cat([prmu.rate(question, [completion]) for completion in GROUP])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together, prmu.rate(question, GROUP, user=prmu.user(questions[5])), atol=1e-3)

    micro_batches = []
    real_scores = prmu.scores

    def counted_scores(shared_prompt, completions, user):
        micro_batches.append(len(completions))
        return real_scores(shared_prompt, completions, user)
    monkeypatch.setattr(prmu, "scores", counted_scores)
    assert torch.allclose(together, prmu.rate(question, GROUP, together=BatchLimit("", "", 2)), atol=1e-5)
    assert micro_batches == [2, 1]


def test_a_blind_model_has_the_generic_user_alone(make, questions):
    prmu = make(Reward(tokens=3, history=4, blind=True))
    for question in (questions[0], questions[5]):
        assert torch.equal(prmu.user(question), prmu.generic_user())


def test_gradients_reach_adapter_head_and_user_encoder(make, questions):
    prmu = make()
    params = prmu.trainable()
    # A layer that begins at 0 hides the layers before it from the gradient.
    torch.nn.init.normal_(prmu.parts.users.write[2].weight, std=0.1)
    torch.nn.init.normal_(prmu.parts.say[2].weight, std=0.1)
    user = prmu.user(questions[0])
    leaf = user.detach().requires_grad_()
    shared_prompt = prmu.shared_prompt(questions[0], leaf, grad=True)
    scores = prmu.scores(shared_prompt, [[5, 6, 7], [9, 10]], leaf)
    (scores[0] - scores[1]).backward()
    shared_prompt.backward()
    user.backward(leaf.grad)
    reached = {name for name, param in params.items() if param.grad is not None and param.grad.any()}
    of_users = {name for name in params if name.startswith("users.")}
    assert of_users <= reached | {"users.key.bias"}  # a softmax does not depend on this bias
    assert "head.2.weight" in reached and any("lora_B" in name for name in reached)
    frozen = [param for name, param in prmu.model.named_parameters() if name not in params]
    assert all(param.grad is None for param in frozen)


@pytest.mark.parametrize("users", [(), ("2t000", "name\twith space", "two\nlines")])
def test_save_and_load_give_the_same_scores(make, questions, tmp_path, users):
    prmu = make(users=users)
    if users:
        torch.nn.init.normal_(prmu.parts.users.own.weight)
    want = prmu.rate(questions[0], GROUP)
    prmu.save(tmp_path / "prmu", {"accuracy": 0.7})
    base, tokenizer = engine.load(TINY)
    base = engine.add_adapter(base, TINY, "policy")
    model, again, report = load_prmu(tmp_path / "prmu", base, tokenizer, prmu.settings, Prompt(), prmu.texts)
    model.set_adapter("policy")
    assert torch.allclose(again.rate(questions[0], GROUP), want, atol=1e-6) and report == {"accuracy": 0.7}
    assert model.active_adapter == "policy" and tuple(again.parts.users.rows) == users


def test_fitting_twice_is_fitting_once(make, questions):
    """What users and chains say on average is taken anew, not added to what was there."""
    once = make(asked=questions[:6])
    want = {name: tensor.clone() for name, tensor in once.parts.state_dict().items()}
    once.fit(questions[:3], ["other words"])
    assert not torch.equal(want["users.generic"], once.parts.users.generic)
    once.fit(questions[:6], [question.gold for question in questions[:6]])
    assert all(torch.equal(want[name], tensor) for name, tensor in once.parts.state_dict().items())


def test_the_base_is_in_memory_once(make):
    """Policy, reference and PRMU add adapters: every weight of the base is the very storage that the policy
    computes with."""
    prmu = make()
    model = engine.add_adapter(prmu.model, TINY, "policy")
    def storages(params):
        """{address: bytes}, each storage once."""
        return {param.untyped_storage().data_ptr(): param.untyped_storage().nbytes() for param in params}

    all_weights = storages(model.parameters())
    adapters = storages(param for name, param in model.named_parameters() if "lora_" in name)
    alone, _ = engine.load(TINY)
    base = storages(alone.parameters())
    assert sum(all_weights.values()) - sum(adapters.values()) == sum(base.values())
    assert base_of(prmu.model) is base_of(model)
    assert not storages(prmu.parts.parameters()).keys() & all_weights.keys()


def test_the_score_is_the_head_and_the_match(make, questions):
    """r = head + match * cos(e_u - e_0, phi(y)), by whole forwards without any sharing; the generic user's
    score is the head's alone."""
    prmu, question = make(), questions[0]
    parts = prmu.parts
    prompt_ids, _ = build(question, prmu.tokenizer, prmu.prompt, with_profile=False, reason=True)
    table = base_of(prmu.model).get_input_embeddings()

    def embed(ids):
        return table(torch.tensor(ids, device=table.weight.device))

    @torch.no_grad()
    def score(completion, user, with_match):
        row = torch.cat([embed(prompt_ids[:1]), user, embed(prompt_ids[1:] + completion)])
        states = forward(prmu.model, Prefill(keep=False), embeds=row[None])[0]
        mean_state = states[-len(completion):].mean(0)
        head = parts.head(torch.stack([states[-1], mean_state])[None])[0, 0]
        if not with_match:
            return float(head)
        direction = (user - parts.users.generic_user()).mean(0)
        phi = embed(completion).mean(0) - parts.spoken  # before training its MLP is 0
        return float(head) + float(parts.match * F.cosine_similarity(direction, phi, dim=0))

    for user, with_match in ((prmu.user(question), True), (parts.users.generic_user(), False)):
        want = [score(completion, user, with_match) for completion in GROUP]
        assert prmu.rate(question, GROUP, user).tolist() == pytest.approx(want, abs=2e-4)


def test_before_any_training_it_prefers_what_the_user_would_say(make, questions):
    """Two titles of one text, each in the manner of one user: the untrained match already prefers each user's
    own."""
    asked = [question for question in questions if question.task.name == "LaMP_5"]
    prmu = make(asked=asked)
    torch.nn.init.zeros_(prmu.parts.head[2].weight)
    right = []
    for question in asked:
        first_word = question.gold.split()[0]
        other = next(other for other in asked
                     if other.user != question.user and other.gold.split()[0] != first_word)
        titles = [question.profile[0].label, other.profile[0].label]
        own_score, other_score = prmu.rate(question, [prmu.encode(title) for title in titles]).tolist()
        right.append(own_score > other_score)
    assert sum(right) > 0.8 * len(right)
