"""Every lesson runs, shows what it claims to, and is short. The plain GRPO step has the gradient of the real
one."""
import runpy
import sys
from pathlib import Path

import pytest
import torch

from tagpr_lite import lessons
from tagpr_lite.config import GRPO, Model
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo import losses, update
from tagpr_lite.grpo.groups import POLICY, Group

FOLDER = Path(lessons.__file__).parent
NAMES = ("chain", "reward", "grpo_step", "shared_prompt", "user_embedding", "run_folder")
MOST_LINES = 120


@pytest.fixture
def run(capsys, monkeypatch):
    """A function name -> (the lesson's variables, what it printed)."""
    def ran(name, *words):
        monkeypatch.setattr(sys, "argv", [name, *words])
        variables = runpy.run_module(f"tagpr_lite.lessons.{name}", run_name="__main__")
        return variables, capsys.readouterr().out
    return ran


def test_the_list_of_lessons_is_the_folder():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert files == set(NAMES)
    assert all(f"python -m tagpr_lite.lessons.{name} " in lessons.__doc__ for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_is_short_and_ends_with_two_things_to_try(name):
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    assert len(lines) <= MOST_LINES
    last = lines.index("# Two things to try:")
    assert lines[last + 1].startswith("# 1. ") and any(line.startswith("# 2. ") for line in lines[last:])
    assert not any(line.startswith("# 3. ") for line in lines[last:])


def test_chain(run):
    variables, printed = run("chain")
    for fault in ("no_think", "unclosed_think", "text_outside", "bad_pair", "unknown_tag", "no_answer"):
        assert fault in printed
    chain, question = variables["chain"], variables["question"]
    assert all(holds for _, holds in variables["claims"](chain, question))
    assert not all(holds for _, holds in variables["claims"](variables["false_chain"], question))


def test_reward(run):
    variables, _ = run("reward")
    rewards = variables["rewards"]
    best = max(rewards, key=rewards.get)
    assert best == "the teacher's chain"
    assert variables["by_hand"] == pytest.approx(rewards["a false claim"], abs=1e-12)
    # whatever leaves a step out, says nothing or says something false earns less, with the same right answer
    for worse in ("a false claim", "without its middle step", "hollow: says nothing", "unknown tags"):
        assert rewards[worse] < 0.6 * rewards[best]


@pytest.fixture(scope="module")
def lesson():
    """The variables of the GRPO step."""
    return runpy.run_module("tagpr_lite.lessons.grpo_step", run_name="__main__")


def test_the_plain_grpo_step_has_the_gradient_of_the_real_one(lesson):
    """The same tokens, advantages and adapter through policy_gradient, the prompt shared."""
    mask, ids, P = lesson["mask"], lesson["ids"], lesson["P"]
    assert lesson["advantages"].abs().max() > 0.5  # else nothing is compared
    samples = [Sample(ids[n, P:][mask[n]].tolist(), lesson["old_logps"][n][mask[n]].tolist(), True)
               for n in range(lesson["G"])]
    group = Group(lesson["question"], lesson["prompt_ids"], samples, rewards=lesson["rewards"],
                  advantages=lesson["advantages"])

    # The lesson's adapter, as it was before its update, over the base as the method loads it.
    settings = Model(name="tiny", bits=32, lora_r=32, lora_alpha=32)
    base, _ = engine.load(settings)
    model = engine.add_adapter(base, settings, POLICY).double()
    params = list(engine.adapter_parameters(model, POLICY).values())
    with torch.no_grad():
        for weight, value in zip(params, lesson["sft_weights"], strict=True):
            weight.copy_(value)

    g = GRPO(layout="two_phase", beta=0.0, temperature=1.0)
    token_weights = losses.token_weights("dapo", torch.tensor([len(s.ids) for s in samples]), lesson["ROOM"])
    model.train()
    update.policy_gradient(g, model, group, token_weights, micro=3)
    ours = torch.cat([weight.grad.flatten() for weight in params])
    plain = torch.cat([grad.flatten() for grad in lesson["gradient"]])
    assert float((ours - plain).norm() / plain.norm()) < 1e-6


def test_a_good_completion_becomes_likelier(lesson):
    gain, advantages = lesson["gain"], lesson["advantages"]
    assert float(torch.corrcoef(torch.stack([gain, advantages]))[0, 1]) > 0
    assert gain[advantages.argmax()] > 0


def test_shared_prompt(run):
    lesson, printed = run("shared_prompt")
    assert lesson["classic"].norm() > 0
    assert lesson["difference"] < 1e-6
    assert "classic 3,360, shared 552" in printed


def test_user_embedding(run):
    lesson, _ = run("user_embedding")
    assert lesson["right"] / lesson["count"] > 0.75
    assert lesson["right_as_other"] / lesson["count"] < 0.4


def test_run_folder(run):
    _, printed = run("run_folder")
    assert printed.count("done in") == 8 and printed.count("up to date, skipped") == 8
    assert "a chain: <think>" in printed and "the headline: On " in printed
