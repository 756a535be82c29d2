"""rollouts.jsonl: bounded, whole steps, each line what was really sampled and rewarded."""
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagpr_lite.config import GRPO
from tagpr_lite.engine.sample import Sample
from tagpr_lite.grpo import kept_rollouts
from tagpr_lite.grpo.groups import Group, Stage
from tagpr_lite.grpo.rewards import Terms
from tagpr_lite.lamp import mini
from tagpr_lite.runs import read_jsonl


class Letters:
    """A tokenizer whose tokens are letters."""
    def decode(self, ids, **_):
        return "".join(chr(97 + one) for one in ids)


@given(group=st.integers(2, 16), prompts=st.integers(1, 16), steps=st.integers(1, 300),
       bound=st.integers(0, 5000), resample=st.integers(0, 2))
def test_never_more_than_the_bound_and_evenly_spread(group, prompts, steps, bound, resample):
    g = GRPO(group=group, prompts=prompts, kept_rollouts=bound, resample=resample)
    kept = [index for index in range(steps) if kept_rollouts.is_kept(g, steps, index)]
    of_step = group * prompts * (1 + resample)
    assert len(kept) * of_step <= bound
    if bound >= of_step:
        assert kept[0] == 0 and len({b - a for a, b in zip(kept, kept[1:])}) <= 1
    if bound >= steps * of_step:
        assert kept == list(range(steps))


def test_lines_are_what_was_sampled_and_a_resumed_run_writes_them_once(tmp_path):
    question = mini.build(0, 4, ["LaMP_3"])["LaMP_3"]["train"][0]
    samples = [Sample([1, 2, 0], [-0.1, -0.2, -0.3], True), Sample([3], [-0.5], False)]
    found = [Terms(0.75, 1.0, 0.5, 0.25), Terms(0.0, 0.0, 0.0)]
    group = Group(question, [7, 8, 4], samples, begun_ids=[4], terms=found,
                  rewards=torch.tensor([0.9, 0.0]), advantages=torch.tensor([1.0, -1.0]))
    g, stage = GRPO(group=2, prompts=1, kept_rollouts=100), Stage("guided", 3, 1.0, 0.2, 0.5)
    for index in range(3):
        kept_rollouts.keep(g, tmp_path, stage, index, [group], Letters())
    path = tmp_path / "guided" / "rollouts.jsonl"
    whole = path.read_bytes()
    rows = read_jsonl(path)
    assert [(row["step"], row["n"]) for row in rows] == [(i, n) for i in range(3) for n in range(2)]
    assert rows[0]["text"] == "ebc" and rows[0]["prompt"] == "hi" and "prompt" not in rows[1]
    assert rows[0]["terms"] == {"task": 0.75, "format": 1.0, "tag": 0.5, "prmu": 0.25}
    assert rows[0]["weights"] == {"task": 1.0, "tag": 0.2, "prmu": 0.5}
    assert rows[1]["ended"] is False and rows[1]["tokens"] == 2 and rows[1]["begun"] == 1
    assert rows[1]["advantage"] == -1.0
    assert {row["gold"] for row in rows} == {question.gold}

    kept_rollouts.drop(tmp_path, "guided", from_index=1)
    assert read_jsonl(path) == rows[:2]
    for index in range(1, 3):
        kept_rollouts.keep(g, tmp_path, stage, index, [group], Letters())
    assert path.read_bytes() == whole
