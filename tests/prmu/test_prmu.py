"""PRMU: the user reaches the score, a group shares its prompt, the base is held once, a file gives the same
scores."""
import pytest
import torch

from tagpr_lite.config import Model, Prompt, Reward
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.prefix import Prefill, base_of, forward
from tagpr_lite.lamp.prompts import build
from tagpr_lite.prmu.model import load_prmu

TINY = Model(name="tiny", lora_r=4)
GROUP = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 11, 12, 13]]


def test_a_group_scores_like_its_members_alone_and_the_user_matters(make, questions, monkeypatch):
    prmu, q, sizes = make(), questions[0], []
    together = prmu.rate(q, GROUP)
    alone = torch.cat([prmu.rate(q, [c]) for c in GROUP])
    assert torch.allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(prmu, "scores", lambda at, part, user, real=prmu.scores: sizes.append(len(part))
                        or real(at, part, user))
    assert torch.allclose(together, prmu.rate(q, GROUP, micro=2), atol=1e-5) and sizes == [2, 1]
    assert not torch.allclose(together, prmu.rate(q, GROUP, user=prmu.user(questions[5])), atol=1e-3)


def test_a_blind_model_knows_nobody(make, questions):
    prmu = make(Reward(tokens=3, history=4, blind=True))
    assert all(torch.equal(prmu.user(questions[n]), prmu.generic_user()) for n in (0, 5))


def test_gradients_reach_adapter_head_and_user_encoder(make, questions):
    prmu = make()
    params = prmu.trainable()
    torch.nn.init.normal_(prmu.parts.users.write[2].weight, std=0.1)  # what begins at 0 hides what lies before it
    torch.nn.init.normal_(prmu.parts.say[2].weight, std=0.1)
    user = prmu.user(questions[0])
    leaf = user.detach().requires_grad_()
    at = prmu.shared_prompt(questions[0], leaf, grad=True)
    scores = prmu.scores(at, [[5, 6, 7], [9, 10]], leaf)
    (scores[0] - scores[1]).backward()
    at.backward()
    user.backward(leaf.grad)
    alive = {n for n, p in params.items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {n for n in params if n.startswith("users.")} <= alive | {"users.key.bias"}  # the softmax takes a bias out
    assert "head.2.weight" in alive and any("lora_B" in n for n in alive)
    assert not any(p.grad is not None for n, p in prmu.model.named_parameters() if n not in params)


@pytest.mark.parametrize("users", [(), ("2t000", "name\twith space")])
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
    want = {name: t.clone() for name, t in once.parts.state_dict().items()}
    once.fit(questions[:3], ["other words"])
    assert not torch.equal(want["users.generic"], once.parts.users.generic)
    once.fit(questions[:6], [q.gold for q in questions[:6]])
    assert all(torch.equal(want[name], t) for name, t in once.parts.state_dict().items())


def test_the_base_is_in_memory_once(make):
    """Policy, reference and PRMU add adapters: every weight of the base is the very storage that the policy
    computes with."""
    prmu = make()
    model = engine.add_adapter(prmu.model, TINY, "policy")
    stored = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    lora = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for n, p in model.named_parameters()
            if "lora_" in n}
    alone, _ = engine.load(TINY)
    base = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in alone.parameters()}
    assert sum(stored.values()) - sum(lora.values()) == sum(base.values())
    assert base_of(prmu.model) is base_of(model)
    assert not any(p.untyped_storage().data_ptr() in stored for p in prmu.parts.parameters())


def test_the_score_is_the_head_and_the_match(make, questions):
    """r = head + match * cos(e_u - e_0, phi(y)), by whole forwards without any sharing; nobody's is the
    head's alone."""
    prmu, q = make(), questions[0]
    ids, _ = build(q, prmu.tokenizer, prmu.prompt, with_profile=False, reason=True)
    table = base_of(prmu.model).get_input_embeddings()
    embed = lambda ids: table(torch.tensor(ids, device=table.weight.device))
    for user, matches in ((prmu.user(q), True), (prmu.parts.users.generic_user(), False)):
        want = []
        for c in GROUP:
            row = torch.cat([embed(ids[:1]), user, embed(ids[1:] + c)])[None]
            with torch.no_grad():
                states = forward(prmu.model, Prefill(keep=False), embeds=row)[0]
                head = float(prmu.parts.head(torch.stack([states[-1], states[-len(c):].mean(0)])[None])[0, 0])
                lean, phi = (user - prmu.parts.users.generic_user()).mean(0), embed(c).mean(0) - prmu.parts.spoken
            want.append(head
                        + matches * float(prmu.parts.match * torch.nn.functional.cosine_similarity(lean, phi, dim=0)))
        assert prmu.rate(q, GROUP, user).tolist() == pytest.approx(want, abs=2e-4)


def test_before_any_training_it_leans_to_what_the_user_says(make, questions):
    """Two titles of one text, each in the manner of one user: the untrained match already prefers each user's
    own."""
    asked = [q for q in questions if q.task.name == "LaMP_5"]
    prmu, right = make(asked=asked), []
    torch.nn.init.zeros_(prmu.parts.head[2].weight)
    for q in asked:
        other = next(o for o in asked if o.user != q.user and o.gold.split()[0] != q.gold.split()[0])
        mine, theirs = prmu.rate(q,
                                 [prmu.encode(q.profile[0].label),
                                  prmu.encode(other.profile[0].label)]).tolist()
        right.append(mine > theirs)
    assert sum(right) > 0.8 * len(right)
