import numpy as np
import pytest
import torch

from tagpr_lite.config import Model, UserError
from tagpr_lite.engine.embed import encoder, mean_states, text_limit
from tagpr_lite.engine.memory import BatchLimit
from tagpr_lite.engine.model import load

TEXTS = ["a shy florist", "robots", "", "a bride with doubts and a much longer story behind her", "robots"]


def test_mean_states_are_the_means_of_the_last_hidden_states():
    base, tokenizer = load(Model(name="tiny", bits=32))
    got = mean_states(base, tokenizer, TEXTS, 6, BatchLimit("embedding", "texts", 2))
    assert set(got) == set(TEXTS)
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=6).input_ids or [0]
        alone = mean_states(base, tokenizer, [text], 6, text_limit())[text]
        assert torch.allclose(got[text], alone, atol=1e-5) and len(ids) <= 6
    turned = mean_states(base, tokenizer, TEXTS[::-1], 6, BatchLimit("embedding", "texts", 2))
    assert torch.equal(turned[TEXTS[3]], got[TEXTS[3]])


def test_the_base_itself_ranks_a_text_nearest_to_itself():
    embed = encoder("", Model(name="tiny"))
    vectors = embed(TEXTS)
    assert vectors.shape == (5, 128) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = vectors @ vectors[1]
    assert near.argmax() in (1, 4) and near[4] == pytest.approx(near[1])


def test_a_sentence_encoder_folder_pools_as_it_says(tmp_path):
    from transformers import BertConfig, BertModel, BertTokenizerFast
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a shy florist robots bride with doubts".split()
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    torch.manual_seed(0)
    bert = BertModel(BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2,
                                num_attention_heads=2, intermediate_size=64)).eval()
    tokenizer.save_pretrained(tmp_path / "bert")
    bert.save_pretrained(tmp_path / "bert")
    got = encoder(str(tmp_path / "bert"), Model())(["a shy bride", "robots"])
    for text, row in zip(["a shy bride", "robots"], got):
        with torch.no_grad():
            mean = bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.allclose(row, (mean / mean.norm()).numpy(), atol=1e-5)


def test_no_encoder_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is no sentence encoder") as e:
        encoder(str(tmp_path / "empty"), Model())
    assert "\n" not in str(e.value)
