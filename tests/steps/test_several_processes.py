"""SFT and PRMU in two processes end where one process ends; what one has begun two go on with."""
import random
import shutil

import pytest
import torch

from tagpr_lite.config import Model, Prompt, Reward
from tagpr_lite.engine import model as engine
from tagpr_lite.prmu.model import ADAPTER, PRMU
from tagpr_lite.prmu.pair import Pair
from tagpr_lite.prmu.train import chain_limit, optimizer_step, planned_batches, tune_loss
from tagpr_lite.prmu.users import TextEmbeddings
from tagpr_lite.runs import processes, read_metrics
from tagpr_lite.steps import step3_sft
from tests.helpers.processes import apart, in_processes
from tests.prmu.conftest import questions  # noqa: F401
from tests.steps.test_sft import copies, random_rows, shaken


def trained(results, cut=None, saved_every=25):
    """(the adapter after SFT on 43 rows in 11 steps, its losses). cut: after so many steps the training is
    killed."""
    results = results / f"of{processes.number()}"
    conf, model, _ = shaken(results, "model.bits=32", "sft.lr=1e-2")
    step3_sft.SAVE_EVERY = saved_every
    try:
        if cut is not None:
            real, done = step3_sft.log_metrics, []

            def log_until_cut(*args, **values):
                real(*args, **values)
                done.append(1)
                if len(done) > cut:
                    raise InterruptedError
            step3_sft.log_metrics = log_until_cut
        step3_sft.train(conf, conf.folder, model, random_rows(43))
    except InterruptedError:
        step3_sft.log_metrics = real
    finally:
        step3_sft.SAVE_EVERY = 25
    return copies(model), [row["loss"] for row in read_metrics(conf.folder, "sft")]


def test_sft_ends_at_the_same_adapter(tmp_path):
    alone, losses = trained(tmp_path / "alone")
    (first, of_first), (second, of_second) = in_processes(2, trained, tmp_path / "two")
    assert len(losses) == 11 and of_first == of_second == pytest.approx(losses, abs=2e-5)
    assert all(torch.equal(first[name], second[name]) for name in first) and apart(alone, first) <= 1e-4


def test_what_one_process_has_begun_two_go_on_with(tmp_path):
    """Seven steps of one process, of which five are saved; then two processes; then one again."""
    whole, losses = trained(tmp_path / "whole")
    trained(tmp_path / "begun", cut=6, saved_every=5)
    shutil.copytree(tmp_path / "begun" / "of0", tmp_path / "begun" / "of1")  # as runs/processes.py copies it
    (first, of_first), _ = in_processes(2, trained, tmp_path / "begun", 3, 4)
    assert len(of_first) == 9  # five of before, four of the two
    last, of_last = trained(tmp_path / "begun")
    assert of_last == pytest.approx(losses, abs=2e-5) and apart(whole, last) <= 1e-4


# ---------------------------------------------------------------- PRMU

def prmu_steps(results, some):
    """(the parameters after three steps of PRMU, what the steps reported, the loss on the pairs)."""
    tiny, settings = Model(name="tiny", lora_r=4), Reward(tokens=3, history=4, batch=4, generic=0.4)
    base, tokenizer = engine.load(tiny)
    model = engine.add_adapter(base, tiny, ADAPTER)
    texts = TextEmbeddings(model, tokenizer, results / f"texts{processes.number()}.safetensors")
    texts.add(some, settings.history, alone=True)
    torch.manual_seed(0)
    prmu = PRMU(model, tokenizer, settings, Prompt(), texts)
    prmu.fit(some, [question.gold for question in some])
    torch.nn.init.normal_(prmu.parts.head[2].weight)
    pairs = [Pair(question, f"good {n} <b>", f"bad {m}", "other_user", 0.5, "template")
             for n, question in enumerate(some) for m in range(1 + n % 3)]
    params = prmu.trainable()
    optimizer = torch.optim.AdamW(params.values(), lr=1e-3)
    together = chain_limit(pairs, 0, None)
    prmu.train()
    reports = [optimizer_step(prmu, batch, optimizer, params, random.Random(step), together)
               for step, batch in enumerate(planned_batches(pairs, 1, settings.batch, 0)[:3])]
    prmu.eval()
    return {name: p.detach() for name, p in params.items()}, reports, tune_loss(prmu, pairs)


def test_prmu_takes_the_same_steps(tmp_path, questions):
    some = questions[:6]
    alone, reports, loss = prmu_steps(tmp_path, some)
    (first, of_first, loss_of_first), (second, of_second, _) = in_processes(2, prmu_steps, tmp_path, some)
    assert all(torch.equal(first[name], second[name]) for name in first) and apart(alone, first) <= 1e-5
    assert of_first == of_second and loss_of_first == pytest.approx(loss, abs=2e-5)
    for mine, theirs in zip(of_first, reports, strict=True):
        assert mine == pytest.approx(theirs, abs=2e-5)
