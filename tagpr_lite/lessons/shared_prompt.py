"""Lesson 4: the same gradient, with the prompt forwarded once.

    python -m tagpr_lite.lessons.shared_prompt

A personalization prompt carries a user's history and is long; the G completions of a group are short. The
classic layout forwards the prompt with every completion: G (P + R) tokens. Here it is forwarded once, P + G R
tokens:

    1. The prompt goes forward. Its keys, its values and its last state are cut off from the graph: leaves.
    2. Completions go forward and backward, a few at a time. Each adds its gradient to the leaves.
    3. One backward through the prompt, from the gradients that its leaves have collected.

By the chain rule the gradient is that of the classic layout, and memory does not grow with G. The full
version is in engine/prefix.py and engine/update.py; sampling shares the prompt in the same way. Prior art:
schedule-level prefix reuse (arXiv 2606.01143), PrefixGrouper (2506.05433).
"""
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DynamicCache, logging

from ..config import Model
from ..engine.model import find

P, R, G = 400, 20, 8   # tokens of the prompt, tokens of a completion, completions
MICRO = 4              # completions that go forward and backward together
torch.manual_seed(0)
logging.disable_progress_bar()

# ---- 1. A model with a LoRA adapter that is not zero, one prompt, G completions, and their advantages.

model = AutoModelForCausalLM.from_pretrained(find(Model(name="tiny")))
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).double()
weights = [weight for weight in model.parameters() if weight.requires_grad]
for weight in weights:
    torch.nn.init.normal_(weight, std=0.05)
vocabulary = model.config.vocab_size
prompt = torch.randint(vocabulary, (1, P))                   # [1, P]
completions = torch.randint(vocabulary, (G, R))              # [G, R]
advantages = torch.randn(G, dtype=torch.float64)             # [G]


def policy_loss(logits, tokens, advantage):
    """- sum of A log p(token) / (G R): the policy gradient where the ratio is 1. logits [m, R, V]."""
    logps = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]  # [m, R]
    return -(advantage[:, None] * logps).sum() / (G * R)


def taken_gradient():
    """The gradient of all adapter weights as one vector; afterwards they have none."""
    vector = torch.cat([weight.grad.flatten() for weight in weights])
    model.zero_grad()
    return vector


model(prompt)  # the first forward of a process is slow: it is not timed

# ---- 2. The classic layout: prompt and completion together, row by row.

started = time.perf_counter()
for first in range(0, G, MICRO):
    rows = slice(first, first + MICRO)
    tokens = completions[rows]
    logits = model(torch.cat([prompt.expand(len(tokens), -1), tokens], 1)).logits[:, P - 1:-1]
    policy_loss(logits, tokens, advantages[rows]).backward()
classic = taken_gradient()
classic_seconds = time.perf_counter() - started

# ---- 3. The shared prompt, phase 1: forward, and its outputs cut off as leaves.

started = time.perf_counter()
output = model(prompt, use_cache=True)
outputs = [output.logits[:, -1]]                             # what predicts a completion's first token
for layer in output.past_key_values.layers:
    outputs += [layer.keys, layer.values]                    # [1, heads, P, size of a head]
leaves = [tensor.detach().requires_grad_() for tensor in outputs]

# ---- 4. Phase 2: completions against the leaves, forward and backward, MICRO at a time.

for first in range(0, G, MICRO):
    rows = slice(first, first + MICRO)
    tokens = completions[rows]
    shared = [leaf.expand(len(tokens), *leaf.shape[1:]) for leaf in leaves]  # seen by every row, not copied
    first_logits, keys, values = shared[0], shared[1::2], shared[2::2]
    cache = DynamicCache(list(zip(keys, values)))
    later_logits = model(tokens[:, :-1], past_key_values=cache).logits
    logits = torch.cat([first_logits[:, None], later_logits], 1)
    policy_loss(logits, tokens, advantages[rows]).backward()  # ends in the leaves and in the adapter

# ---- 5. Phase 3: one backward through the prompt.

torch.autograd.backward(outputs, [leaf.grad for leaf in leaves])
shared_gradient = taken_gradient()
shared_seconds = time.perf_counter() - started

# ---- 6. They are equal, up to rounding: the model is in float64, its norms compute in float32.

difference = float((classic - shared_gradient).norm() / classic.norm())
print(f"tokens forwarded: classic {G * (P + R):,}, shared {P + G * (R - 1):,}")
print(f"seconds:          classic {classic_seconds:.2f}, shared {shared_seconds:.2f}")
print(f"gradient's norm {classic.norm():.6f}; relative difference {difference:.0e}")

# Two things to try:
# 1. Leave out torch.autograd.backward in part 5. How much of the gradient came through the prompt?
# 2. Set MICRO = 1, then 8. What changes in the gradient? P = 50, R = 200: what is left of the gain?
