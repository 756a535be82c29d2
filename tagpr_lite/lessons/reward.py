"""Lesson 2: a reward, term by term.

    python -m tagpr_lite.lessons.reward

Reinforcement learning raises whatever is rewarded, so a reward must be hard to have for nothing. Stage 1 of
this kit (guided GRPO) rewards a completion with

    R = answer * format * (1 - gate * (1 - tag)) + tag_weight * tag
    answer = task_weight * task + prmu_weight * prmu + own_weight * own

    task      nearness of the answer to the user's own, in [0, 1]
    format    1 where the completion ended, thought in one block and answered in the right form, else 0
    tag       how far the chain has the teacher's form, is true to the history, and leads to its answer
    prmu      the reward model's opinion of whether this user would have answered so (lesson 5)
    own       a function of yours, where grpo.reward names one (grpo/own_term.py); here there is none
    gate      how much of the answer's reward depends on the chain

Stage 2 (explore) keeps R = task * format. The code: grpo/rewards.py. That the paper has three weights is
known; the definitions of the terms are ours.
"""
from dataclasses import replace

from ..grpo.rewards import terms
from ..lamp import mini
from ..lamp.retrieve import retrieve
from ..tags.schema import Chain, Step, render
from ..tags.teachers import template
from ..tags.teaching import teaching_of

# ---- 1. A question, the teacher's chain for it, and what the teacher's chains have in common.

train_questions = mini.build(seed=0, users=40, tasks=["LaMP_3"])["LaMP_3"]["train"]
train_questions = [replace(each, retrieved=retrieve(each, "bm25", 2, 0)) for each in train_questions]
question = train_questions[2]
cues = template.learn_reading(train_questions)

kept = []  # the teacher's right chains, as step 2 of the method keeps them
for asked in train_questions:
    written = template.write(asked, attempt=0, cues=cues)
    if written.answer == asked.gold:
        kept.append({"id": asked.id, "task": asked.task.name, "tags": written.tags, "text": render(written),
                     "supports": ("comparison",)})
teaching = teaching_of(kept, questions=train_questions)
chain = template.write(question, attempt=0, cues=cues)

usual_claims, usual_words = teaching.claims["LaMP_3"], teaching.words["LaMP_3"]
print(f"{len(kept)} chains of the teacher; three of four make {usual_claims:.0f} true claims or more, in "
      f"{usual_words:.0f} words or more.")
print(f"A chain with c true claims has at most (1 + c) / (1 + {usual_claims:.0f}) of the tag term.")
print(f"The user's own answer is {question.gold}. The teacher's chain:\n{render(chain)}\n")

# ---- 2. Completions that a policy might write.

first, *middle, last = chain.steps
wrong_answer = "1" if question.gold != "1" else "5"
false_first = replace(first, text=first.text.replace("Got ", "Got 1"))  # "Got 4" becomes "Got 14"
completions = {
    "the teacher's chain": render(chain),
    "the same, a wrong answer": render(replace(chain, answer=wrong_answer)),
    "hollow, a wrong answer": render(Chain((Step(first.tag, "Fine."), Step(last.tag, "So.")), wrong_answer)),
    "a false claim": render(replace(chain, steps=(false_first, *middle, last))),
    "without its middle step": render(replace(chain, steps=(first, last))),
    "hollow: says nothing": render(Chain((Step(first.tag, "Fine."), Step(last.tag, "So.")), question.gold)),
    "one step, said five times": render(replace(chain, steps=(first,) * 5)),
    "unknown tags": render(chain).replace(first.tag, "guess_wildly"),
    "the answer alone": question.gold,
}

# ---- 3. Their terms; R with gate 1, where the chain decides what an answer is worth, and with gate 0.

TASK_WEIGHT, TAG_WEIGHT, PRMU_WEIGHT = 1.0, 0.2, 0.0
print(f"{'completion':27} task  format  tag    R, gate 1  R, gate 0")
rewards = {}
for name, completion in completions.items():
    term = terms(completion, ended=True, question=question, teaching=teaching)
    gated = term.total(TASK_WEIGHT, TAG_WEIGHT, PRMU_WEIGHT, gate=1.0)
    ungated = term.total(TASK_WEIGHT, TAG_WEIGHT, PRMU_WEIGHT, gate=0.0)
    rewards[name] = gated
    columns = f"{term.task:.2f}  {term.format:.0f}       {term.tag:.2f}   {gated:.2f}       {ungated:.2f}"
    print(f"{name:27} {columns}")

# ---- 4. The same formula by hand, for one of them.

term = terms(completions["a false claim"], ended=True, question=question, teaching=teaching)
trust = 1 - 1.0 * (1 - term.tag)
by_hand = (TASK_WEIGHT * term.task + PRMU_WEIGHT * term.prmu) * term.format * trust + TAG_WEIGHT * term.tag
print(f"\nBy hand, 'a false claim': {by_hand:.4f}; by Terms.total: {rewards['a false claim']:.4f}")

# Two things to try:
# 1. Write a completion with the right answer that earns more than the teacher's chain with gate 1. Where you
#    find one, a policy will find it too: that is how the rules of tags/facts.py came to be.
# 2. Set TAG_WEIGHT = 2. A wrong answer with a good chain then earns more, with gate 0, than a right answer
#    with a hollow one. Is that what you want? What does gate 1 make of the two?
