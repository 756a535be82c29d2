"""A prompt of which a part is taken over is forwarded to the same keys, values and state."""
import pytest
import torch

from tagpr_lite.engine import fold
from tagpr_lite.engine.prefix import SharedPrefix
from tagpr_lite.engine.prompt_cache import PromptCache, common_length
from tagpr_lite.engine.sample import sample
from tests.engine.test_prefix import DEVICE, FAMILIES, build, group


@pytest.fixture(scope="module")
def prompts():
    first = group(seed=3, P=37)[0]
    other = group(seed=4, P=20)[0]
    # the same again; longer; with another end; one token; nothing in common
    return [first, first, first + other, first[:30] + other, first[:1], other]


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_it_is_what_the_whole_prompt_gives(family, prompts):
    model = build(family).eval()
    cache = PromptCache()
    reused = []
    for ids in prompts:
        whole = SharedPrefix(model, torch.tensor(ids, device=DEVICE))
        cached = cache.forward(model, ids)
        reused.append(cached.reused)
        torch.testing.assert_close(cached.last, whole.last, atol=2e-5, rtol=2e-5)
        for mine, plain in zip(cached.kv, whole.kv, strict=True):
            torch.testing.assert_close(mine, plain, atol=2e-5, rtol=2e-5)
    assert reused == [0, 36, 37, 30, 0, 0]


def test_completions_after_it_are_those_of_the_whole_prompt(prompts):
    model = build("llama").eval()
    cache = PromptCache()
    plain = sample(model, prompts, 1, 12, set(), temperature=0)
    mine = sample(model, prompts, 1, 12, set(), temperature=0,
                  prefixes=[cache.forward(model, ids) for ids in prompts])
    assert [[s.ids for s in rows] for rows in mine] == [[s.ids for s in rows] for rows in plain]


def test_few_prompts_are_kept_and_none_twice():
    model = build("llama").eval()
    cache = PromptCache(most=2)
    for ids in ([5, 6, 7], [5, 6, 7, 8], [9, 4], [3, 3, 3]):
        cache.forward(model, ids)
    assert [prompt.ids for prompt in cache.prompts] == [[9, 4], [3, 3, 3]]
    cache.empty()
    assert cache.forward(model, [9, 4]).reused == 0


@pytest.mark.parametrize("one, other, length", [([], [1], 0), ([1, 2, 3], [1, 2, 7, 8], 2), ([1], [1], 1),
                                                ([1, 2], [1, 2, 3], 2), ([4], [5], 0)])
def test_common_length(one, other, length):
    assert common_length(one, other) == length == common_length(other, one)


def test_a_model_is_folded_once(monkeypatch):
    model = build("llama").eval()
    calls = []
    product = fold.product
    monkeypatch.setattr(fold, "product", lambda *args: calls.append(1) or product(*args))
    with fold.folded(model):
        folded_once = len(calls)
        with fold.folded(model):
            assert len(calls) == folded_once
        assert model in fold.FOLDED  # the outer block still counts
    assert model not in fold.FOLDED
    with fold.folded(model):
        assert DEVICE.type != "cpu" or len(calls) == 2 * folded_once > 0
