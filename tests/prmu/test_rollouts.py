"""The policy's own chains: every view, by seed, and a cut file goes on."""
from tagpr_lite.config import GRPO, Config, Model, Prompt
from tagpr_lite.engine import model as engine
from tagpr_lite.prmu import rollouts as rollouts_module
from tagpr_lite.prmu.rollouts import SAMPLES, other_user_question, sample_rollouts

TINY = Model(name="tiny", lora_r=4)


def test_rollouts_have_every_view_and_go_on_where_they_were_cut(questions, tmp_path, monkeypatch):
    base, tokenizer = engine.load(TINY)
    config = Config(prompt=Prompt(max_tokens=300, item_tokens=16), grpo=GRPO(completion=12))
    asked = questions[:3] + questions[30:33]
    # Every token ends a completion: a random model would not end by itself.
    monkeypatch.setattr(rollouts_module, "end_tokens", lambda *_: set(range(10**5)))
    whole = sample_rollouts(config, tmp_path / "a.jsonl", base, tokenizer, asked)
    assert {rollout.view for rollout in whole} == {"own", "none", "other"}
    assert {rollout.question.id for rollout in whole} == {question.id for question in asked}
    assert len(whole) == len(asked) * 3 * SAMPLES
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(lines[:2]) + lines[2][:20])  # cut in the middle of a line
    ticks = []
    assert sample_rollouts(config, tmp_path / "b.jsonl", base, tokenizer, asked, ticks.append) == whole
    assert ticks[0] == 2 and (tmp_path / "b.jsonl").read_text() == (tmp_path / "a.jsonl").read_text()


def test_the_other_question_is_of_the_same_task_and_another_user(questions):
    for question in questions:
        other = other_user_question(question, questions, 0)
        assert other.task == question.task and other.user != question.user
        assert other_user_question(question, questions, 0) == other
    assert other_user_question(questions[0], questions[:1], 0) is None
