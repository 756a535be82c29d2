"""When memory runs out: half as many, the same result, remembered in the run folder; and one line where one
is too many."""
import json
import weakref

import pytest
import torch
from small_memory import small_memory

from tagpr_lite import runs
from tagpr_lite.config import Model, UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.embed import mean_states, text_limit
from tagpr_lite.engine.memory import FILE, BatchLimit, is_out_of_memory, keep_gradient
from tagpr_lite.engine.rollout import prompt_limit, sample_all, sample_parts


def fits(most, tried=None):
    """A work for which memory suffices up to `most` things."""
    def work(size):
        if tried is not None:
            tried.append(size)
        if size > most:
            raise torch.OutOfMemoryError("injected")
        return size
    return work


def sized(folder, planned=8, name="sft.micro"):
    return BatchLimit(name, "sequences", planned, folder, "buy a card")


def test_it_is_halved_until_it_fits_said_once_each_and_remembered(tmp_path, capsys):
    limit, tried, undone = sized(tmp_path), [], []
    assert limit.attempt(fits(2, tried), undo=lambda: undone.append(limit.size)) == 2
    assert limit.attempt(fits(2, tried)) == 2
    assert tried == [8, 4, 2, 2] and undone == [8, 4]
    assert capsys.readouterr().out == ("  out of memory: from now on 4 sequences at a time (sft.micro)\n"
                                       "  out of memory: from now on 2 sequences at a time (sft.micro)\n")
    assert json.loads((tmp_path / FILE).read_text()) == {"sft.micro": {"planned": 8, "fits": 2}}
    assert sized(tmp_path).size == 2  # a second start
    assert sized(tmp_path, planned=6).size == 6  # another plan
    assert sized(tmp_path, name="evaluate.batch").size == 8 and sized(None).size == 8


def test_others_in_the_file_stay(tmp_path, capsys):
    sized(tmp_path).attempt(fits(4))
    sized(tmp_path, planned=32, name="evaluate.batch").attempt(fits(8))
    assert json.loads((tmp_path / FILE).read_text()) == {"sft.micro": {"planned": 8, "fits": 4},
                                                         "evaluate.batch": {"planned": 32, "fits": 8}}


def test_nothing_is_written_while_everything_fits(tmp_path):
    assert sized(tmp_path).attempt(fits(8)) == 8 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sft.micro": 4}', '{"sft.micro": {"planned": 8}}',
                                  '{"sft.micro": {"planned": 8, "fits": 0}}',
                                  '{"sft.micro": {"planned": 8, "fits": 9}}',
                                  '{"sft.micro": {"planned": 8, "fits": true}}',
                                  '{"sft.micro": {"planned": 8, "fits": 2.5}}'])
def test_a_damaged_file_counts_as_none(tmp_path, text, capsys):
    (tmp_path / FILE).write_text(text)
    limit = sized(tmp_path)
    assert limit.size == 8 and limit.attempt(fits(4)) == 4 and sized(tmp_path).size == 4


def test_what_is_halved_is_what_was_there(tmp_path, capsys):
    """Of a limit of 8, three things were there and did not fit: four would not, either."""
    limit, tried = sized(tmp_path), []

    def work(size):
        tried.append(min(size, 3))
        return fits(1)(min(size, 3))
    assert limit.attempt(work, present=3) == 1 and tried == [3, 1] and limit.size == 1


def test_one_that_is_too_many_is_one_line_and_exit_code_2(tmp_path, capsys):
    undone = []
    with pytest.raises(SystemExit) as end:
        runs.guard(lambda: sized(tmp_path).attempt(fits(0), undo=lambda: undone.append(1)))
    assert end.value.code == 2 and len(undone) == 4
    assert capsys.readouterr().err == ("error: out of memory even with sequences one at a time (sft.micro): "
                                       "buy a card\n")
    with pytest.raises(UserError, match="even with"):  # a single one was there
        sized(None).attempt(fits(0), present=1)


def test_other_errors_pass(tmp_path):
    def broken(size):
        raise RuntimeError("size mismatch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        sized(tmp_path).attempt(broken)
    assert not list(tmp_path.iterdir())


def test_the_machines_own_memory_counts_too(tmp_path, capsys):
    """What torch really raises where the machine, not a card, has too little."""
    def work(size):
        return torch.empty(2**57) if size > 4 else size  # 2^59 bytes
    assert sized(tmp_path).attempt(work) == 4
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"):
        assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_what_filled_memory_is_let_go_before_the_next_attempt(capsys):
    """In an `except` block the traceback would hold the tensors of the work that failed."""
    made = []

    def work(size):
        if made:
            return made[0]() is None
        large = torch.zeros(10)
        made.append(weakref.ref(large))
        raise torch.OutOfMemoryError("injected")
    assert sized(None).attempt(work) is True


def test_parts_keep_the_order_and_become_smaller(capsys):
    limit = sized(None, planned=4)
    parts = list(limit.parts(9, lambda part: fits(2)(len(range(9)[part]))))
    assert [part for part, _ in parts] == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(8, 9)]
    assert [made for _, made in parts] == [2, 2, 2, 2, 1] and list(limit.parts(0, fits(0))) == []


def test_a_gradient_is_put_back_as_it_was():
    with_grad, without = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    with_grad.grad = torch.tensor([1.0, 2.0])
    undo = keep_gradient([with_grad, without])
    for _ in range(2):  # and as often as it takes
        with_grad.grad += 5
        without.grad = torch.ones(2)
        undo()
        assert with_grad.grad.tolist() == [1.0, 2.0] and without.grad is None


# ---------------------------------------------------------------- sampling and embedding

PROMPTS = [[5, 6, 7], [9, 10], [5, 6, 7, 11, 12, 13], [8], [21, 22, 23, 24]]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_do_not_depend_on_what_fits(tmp_path, capsys, temperature):
    model, _ = engine.load(Model(name="tiny"))
    how = {"temperature": temperature, "seeds": [[n, n + 100] for n in range(5)]}
    want = sample_all(model, PROMPTS, 2, 8, {3}, together=prompt_limit("x", 5), **how)
    with small_memory(rows=4) as tried:
        got = sample_all(model, PROMPTS, 2, 8, {3}, together=prompt_limit("x", 5, tmp_path), **how)
        assert [[s.ids for s in group] for group in got] == [[s.ids for s in group] for group in want]
        assert tried == [10] and capsys.readouterr().out.count("from now on 2 prompts at a time (x)") == 1
        sample_all(model, PROMPTS, 2, 8, {3}, together=prompt_limit("x", 5, tmp_path), **how)
        assert tried == [10]  # a second start knows it
    with small_memory(rows=1), pytest.raises(UserError, match="lower prompt.max_tokens or grpo.completion"):
        sample_all(model, PROMPTS, 2, 8, {3}, together=prompt_limit("x", 5), **how)


def test_parts_come_one_after_the_other():
    """What a caller has written down is not asked for again."""
    model, _ = engine.load(Model(name="tiny"))
    seen = []
    for part, rows, forwarded in sample_parts(model, PROMPTS, 1, 4, set(), together=prompt_limit("x", 2),
                                              temperature=0):
        seen += range(5)[part]
        assert len(rows) == len(range(5)[part]) and forwarded is None
        if len(seen) == 4:
            break
    assert seen == [0, 1, 2, 3]


def test_embeddings_do_not_depend_on_what_fits(tmp_path, capsys):
    model, tokenizer = engine.load(Model(name="tiny", bits=32))
    texts = [f"text {'word ' * n}" for n in range(9)]
    want = mean_states(model, tokenizer, texts, 16, text_limit())
    with small_memory(rows=3) as tried:
        ticks = []
        got = mean_states(model, tokenizer, texts, 16, text_limit(tmp_path), ticks.append)
        assert tried == [9, 4] and ticks == [2, 2, 2, 2, 1]
        assert text_limit(tmp_path).size == 2
    assert list(got) == list(want)
    assert all(torch.allclose(got[text], want[text], atol=1e-6) for text in texts)
    with small_memory(rows=0), pytest.raises(UserError, match="use a smaller model"):
        mean_states(model, tokenizer, texts, 16, text_limit())
