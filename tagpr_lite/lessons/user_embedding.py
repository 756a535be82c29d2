"""Lesson 5: what a user embedding does to PRMU's score.

    python -m tagpr_lite.lessons.user_embedding

PRMU (Personalization Reward Model with User Embeddings) scores a chain y for a question x and a user u. It
does not see the history as text: what it knows of the user comes in through the embedding e_u, a few vectors
that stand in the prompt like tokens.

    r(u, x, y) = head(states of y) + s * cos(e_u - e_0, phi(y))

e_0 is the generic user, phi(y) a summary of what y says. The second term is large where the chain leans to
where this user differs from the others, and 0 for the generic user. It works before any training, which is
what this lesson shows; training (lesson 6, step reward) adds the first term and sharpens the second. The
code: prmu/users.py (e_u), prmu/model.py (r), prmu/train.py.
"""
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ..config import Model, Prompt, Reward
from ..engine.model import add_adapter, load
from ..lamp import mini
from ..lamp.prompts import facts
from ..lamp.retrieve import retrieve
from ..prmu.model import ADAPTER, PRMU
from ..prmu.users import TextEmbeddings

torch.manual_seed(0)

# ---- 1. Users who tag films. Each has habits of their own: users give one film different tags.

TASK = "LaMP_2"
questions = mini.build(seed=0, users=24, tasks=[TASK])[TASK]["train"]
questions = [replace(question, retrieved=retrieve(question, "bm25", 3, 0)) for question in questions]
asked = questions[0]
other = next(each for each in questions if each.user != asked.user and each.gold != asked.gold)
print("The film:      ", asked.task.payload(asked.input)[:90])
print("The user:      ", facts(asked), "->", asked.gold)
print("Another user:  ", facts(other))

# ---- 2. PRMU: the frozen base, an adapter, soft tokens, a head. Nothing is trained.

base, tokenizer = load(Model(name="tiny"))
settings = Reward(tokens=4, history=8)
model = add_adapter(base, Model(name="tiny"), ADAPTER)
folder = tempfile.TemporaryDirectory()
texts = TextEmbeddings(model, tokenizer, Path(folder.name) / "texts.safetensors")
texts.add(questions, settings.history)                       # every text of the histories, embedded once
prmu = PRMU(model, tokenizer, settings, Prompt(), texts)
chain = "<think>\n<conclude>So {0}.</conclude>\n</think>\n{0}"
prmu.fit(questions, [chain.format(question.gold) for question in questions])  # what is said on average
prmu.eval()

# ---- 3. The embeddings: t soft tokens [t, H] from a history, in the space of token embeddings.

with torch.no_grad():
    own, others, generic = prmu.user(asked), prmu.user(other), prmu.generic_user()
print(f"e_u: {own.shape[0]} vectors of {own.shape[1]}; cosine with the other user's "
      f"{torch.cosine_similarity(own, others, dim=-1).mean():.2f}")

# ---- 4. Scores of two chains: the user's own answer, and the other user's.

completions = [prmu.encode(chain.format(answer)) for answer in (asked.gold, other.gold)]
print(f"\n{'asked as':14} {asked.gold:>10} {other.gold:>10}")
for name, user in (("the user", own), ("another user", others)):
    scores = prmu.rate(asked, completions, user)             # [2]
    print(f"{name:14} {scores[0]:10.2f} {scores[1]:10.2f}")

# ---- 5. Is that luck? The same over all users: how often is the own answer above another user's?

right, right_as_other, count = 0, 0, 0
for each in questions:
    stranger = next(one for one in questions if one.user != each.user and one.gold != each.gold)
    completions = [prmu.encode(chain.format(answer)) for answer in (each.gold, stranger.gold)]
    with torch.no_grad():
        scores = prmu.rate(each, completions, prmu.user(each))
        scores_as_other = prmu.rate(each, completions, prmu.user(stranger))
    right += bool(scores[0] > scores[1])
    right_as_other += bool(scores_as_other[0] > scores_as_other[1])
    count += 1
print(f"\nOwn answer above another user's, {count} questions: {right / count:.2f} asked as the user, "
      f"{right_as_other / count:.2f} asked as the other one")

# ---- 6. A history that grows changes the embedding at once, without training. One item says most of it here.

history = asked.profile[-settings.history:]
directions = []
for items in (0, 1, 2, 4, len(history)):
    with torch.no_grad():
        user = prmu.user(replace(asked, profile=history[:items], retrieved=()))
    directions.append((items, (user - generic).mean(0)))     # e_u - e_0, [H]
whole = directions[-1][1]
for items, direction in directions:
    nearness = torch.cosine_similarity(direction, whole, dim=0)
    print(f"{items} items of the history: cosine of e_u - e_0 with that of all {len(history)} {nearness:.2f}")
folder.cleanup()

# Two things to try:
# 1. Ask with prmu.generic_user() too. Which term of r is left?
# 2. TASK = "LaMP_3" (ratings). Does the match still tell users apart? What would training have to add?
