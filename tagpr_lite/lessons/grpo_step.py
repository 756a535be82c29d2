"""Lesson 3: one step of GRPO (Group Relative Policy Optimization), from the prompt to the gradient.

    python -m tagpr_lite.lessons.grpo_step

GRPO samples G completions of one prompt, and makes those likelier whose reward is above the group's mean.

    A_i  = (r_i - mean(r)) / max(std(r), floor)                      the advantage of completion i
    rho  = exp(log p(token) - log p_old(token))                      1 before the first update
    loss = - sum over tokens of min(rho A, clip(rho, 0.8, 1.28) A) / number of tokens       (DAPO's mean)

This is the plain version, in the classic layout: prompt and completion are forwarded together, G times. The
full one is in grpo/loop.py, grpo/update.py and grpo/losses.py. A test holds its gradient against this one.
"""
from dataclasses import replace

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

from ..config import Model, Prompt
from ..engine.model import find
from ..grpo.rewards import terms
from ..lamp import mini
from ..lamp.prompts import build
from ..lamp.retrieve import retrieve
from ..tags.schema import render
from ..tags.teachers import template
from ..tags.teaching import Teaching

G = 8             # completions in the group
ROOM = 100        # most tokens of a completion
LEARNT = 0.04     # nats a token at which SFT stops: completions that are all equal teach nothing
torch.manual_seed(0)
logging.disable_progress_bar()

# ---- 1. A question, and the teacher's chain for it.

questions = mini.build(seed=0, users=40, tasks=["LaMP_3"])["LaMP_3"]["train"]
questions = [replace(question, retrieved=retrieve(question, "bm25", 2, 0)) for question in questions]
question = questions[2]
chain = template.write(question, attempt=0, cues=template.learn_reading(questions))

# ---- 2. A model, frozen, with a LoRA adapter. It is random, in float64 so that what is equal looks equal.

tokenizer = AutoTokenizer.from_pretrained(find(Model(name="tiny")))
model = AutoModelForCausalLM.from_pretrained(find(Model(name="tiny")))
model = get_peft_model(model, LoraConfig(r=32, lora_alpha=32, target_modules="all-linear"), "policy").double()
weights = [weight for weight in model.parameters() if weight.requires_grad]  # the adapter's, base frozen
prompt_ids, _ = build(question, tokenizer, Prompt(), with_profile=True, reason=True)
P = len(prompt_ids)


def token_logps(ids):
    """log p of every token behind the prompt. ids [n, P + R] -> [n, R]."""
    logits = model(ids).logits[:, P - 1:-1]  # the state before a token predicts it
    return logits.log_softmax(-1).gather(-1, ids[:, P:, None])[..., 0]


# ---- 3. SFT (supervised fine-tuning): the model learns the chain, not quite by heart.

target = tokenizer(render(chain)).input_ids + [tokenizer.eos_token_id]
optimizer = torch.optim.AdamW(weights, lr=5e-3)
loss = torch.tensor(1.0)
while loss > LEARNT:
    loss = -token_logps(torch.tensor([prompt_ids + target])).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
sft_weights = [weight.detach().clone() for weight in weights]
print(f"SFT: {loss:.3f} nats a token on one chain of {len(target)} tokens")

# ---- 4. The group: G completions, sampled token by token from the policy itself.

ids = new_ids = torch.tensor([prompt_ids] * G)             # [G, P], and soon [G, P + R]
cache = None                                               # the keys and values of what was forwarded
mask = torch.ones(G, 0, dtype=torch.bool)                  # [G, R]: True at tokens of a completion
old_logps = torch.zeros(G, 0, dtype=torch.float64)         # [G, R]
running = torch.ones(G, dtype=torch.bool)                  # [G]: whether a completion has not ended yet
with torch.no_grad():
    while running.any() and mask.shape[1] < ROOM:
        output = model(new_ids, past_key_values=cache)
        cache = output.past_key_values
        logps = output.logits[:, -1].log_softmax(-1)       # [G, V]
        new_ids = torch.multinomial(logps.exp(), 1)        # [G, 1]
        ids = torch.cat([ids, new_ids], 1)
        mask = torch.cat([mask, running[:, None]], 1)
        old_logps = torch.cat([old_logps, logps.gather(1, new_ids)], 1)
        running = running & (new_ids[:, 0] != tokenizer.eos_token_id)

# ---- 5. The rewards of their texts (lesson 2; there is no teacher to compare with), and the advantages.

rewards = torch.zeros(G, dtype=torch.float64)
for n in range(G):
    text = tokenizer.decode(ids[n, P:][mask[n]], skip_special_tokens=True)
    rewards[n] = terms(text, not running[n], question, Teaching()).total(1.0, 0.2, 0.0, gate=0.5)
advantages = (rewards - rewards.mean()) / rewards.std(unbiased=False).clamp(min=0.05)  # [G]
print("rewards    ", " ".join(f"{reward:5.2f}" for reward in rewards))
print("advantages ", " ".join(f"{advantage:5.2f}" for advantage in advantages))

# ---- 6. The loss and its gradient.

ratio = (token_logps(ids) - old_logps).exp()               # [G, R], all 1: no update lies between
clipped = ratio.clamp(1 - 0.2, 1 + 0.28)
surrogate = torch.min(ratio * advantages[:, None], clipped * advantages[:, None])
loss = -(surrogate * mask).sum() / mask.sum()
loss.backward()
gradient = [weight.grad.clone() for weight in weights]
norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
print(f"loss {loss:.4f}, gradient's norm {norm:.3f}, largest |ratio - 1| {(ratio - 1)[mask].abs().max():.0e}")

# ---- 7. The update: good completions become likelier, bad ones less likely.

torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.0).step()
with torch.no_grad():
    gain = ((token_logps(ids) - old_logps) * mask).sum(1)  # [G]
print("log p, gain", " ".join(f"{value:+5.2f}" for value in gain))

# Two things to try:
# 1. Set LEARNT = 0.001, then 0.5. What happens to the rewards, the advantages and the gradient?
# 2. Parts 6 and 7 four times, model.zero_grad() before each. From which update on does the clip matter?
