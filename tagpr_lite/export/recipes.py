"""How an export is loaded, as text for its card: transformers and peft, vLLM, llama.cpp.

In the texts FOLDER stands for where the export lies. tests/test_export.py runs the code for transformers and
peft as it stands in a card; vLLM and llama.cpp were not tried, and the card says so.
"""
from __future__ import annotations

from ..config import Config

RANKS = (8, 16, 32, 64, 128, 256, 512)  # what vLLM may be told of as the largest rank

ADAPTER_IN_NF4 = """import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype=compute)
tokenizer = AutoTokenizer.from_pretrained("{base}")
model = AutoModelForCausalLM.from_pretrained("{base}", dtype=compute, quantization_config=nf4,
                                             device_map="auto")
model = PeftModel.from_pretrained(model, "FOLDER")
"""
ADAPTER = """import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
tokenizer = AutoTokenizer.from_pretrained("{base}")
model = AutoModelForCausalLM.from_pretrained("{base}", dtype=compute, device_map="auto")
model = PeftModel.from_pretrained(model, "FOLDER")
"""
WHOLE = """import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

compute = "auto" if torch.cuda.is_available() else torch.float32
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER", dtype=compute, device_map="auto")
"""
ANSWER = '''
message = """{message}"""
ids = tokenizer.apply_chat_template([{{"role": "user", "content": message}}], add_generation_prompt=True,
                                    return_tensors="pt", return_dict=True).to(model.device)
written = model.generate(**ids, max_new_tokens={room}, do_sample=False)
print(tokenizer.decode(written[0, ids["input_ids"].shape[1]:]))
'''

VLLM_ADAPTER = """vLLM (not tried):

```bash
vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules tagpr=FOLDER
```"""
VLLM_WHOLE = """vLLM (not tried):

```bash
vllm serve FOLDER --served-model-name tagpr
```"""
OVER_16_BITS = ("It loads the base in 16 bits, over which an adapter that was trained over NF4 answers "
                "differently. A whole model, exported with `--merge`, has no such difference.")
LLAMA_WHOLE = """llama.cpp (not tried), in its folder:

```bash
python convert_hf_to_gguf.py FOLDER --outfile tagpr.gguf
llama-server -m tagpr.gguf
```"""
LLAMA_ADAPTER = "llama.cpp (not tried) converts whole models: export with `--merge`, and that card says how."


def recipes(base: str, merge: str, config: Config, message: str, room: int) -> list[str]:
    """The paragraphs. message: what the code asks. room: tokens of an answer, at most."""
    in_nf4 = config.model.bits == 4
    code = WHOLE if merge else ADAPTER_IN_NF4 if in_nf4 else ADAPTER
    code = code.format(base=base) + ANSWER.format(message=message, room=room)
    libraries = "transformers" if merge else "transformers and peft"
    paragraphs = [f"With {libraries}:\n\n```python\n{code}```"]
    if merge:
        return [*paragraphs, VLLM_WHOLE, LLAMA_WHOLE]
    rank = next((rank for rank in RANKS if rank >= config.model.lora_r), config.model.lora_r)
    return [*paragraphs, VLLM_ADAPTER.format(base=base, rank=rank), *([OVER_16_BITS] if in_nf4 else []),
            LLAMA_ADAPTER]
