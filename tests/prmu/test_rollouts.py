"""The policy's own chains: every view, by seed, and a cut file goes on."""
from tagpr_lite.config import GRPO, Config, Model, Prompt
from tagpr_lite.engine import model as engine
from tagpr_lite.prmu.rollouts import SAMPLES, other_user_question, roll

TINY = Model(name="tiny", lora_r=4)


def test_rollouts_have_every_view_and_go_on_where_they_were_cut(questions, tmp_path, monkeypatch):
    base, tokenizer = engine.load(TINY)
    config = Config(prompt=Prompt(max_tokens=300, item_tokens=16), grpo=GRPO(completion=12))
    asked = questions[:3] + questions[30:33]
    from tagpr_lite.prmu import rollouts
    monkeypatch.setattr(rollouts, "end_tokens", lambda *_: set(range(10**5)))  # a random model would not end
    whole = roll(config, tmp_path / "a.jsonl", base, tokenizer, asked)
    assert {w.view for w in whole} == {"own", "none", "other"} and {w.question.id for w in whole} == {q.id for q in asked}
    assert len(whole) == len(asked) * 3 * SAMPLES
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(lines[:2]) + lines[2][:20])  # cut in the middle of a line
    ticks = []
    assert roll(config, tmp_path / "b.jsonl", base, tokenizer, asked, ticks.append) == whole
    assert ticks[0] == 2 and (tmp_path / "b.jsonl").read_text() == (tmp_path / "a.jsonl").read_text()


def test_a_stranger_is_of_the_task_and_another_user(questions):
    for q in questions:
        by = other_user_question(q, questions, 0)
        assert by.task == q.task and by.user != q.user and other_user_question(q, questions, 0) == by
    assert other_user_question(questions[0], questions[:1], 0) is None
