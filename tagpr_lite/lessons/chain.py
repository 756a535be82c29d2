"""Lesson 1: a tagged chain, its faults, and its claims.

    python -m tagpr_lite.lessons.chain

A chain is a reasoning in steps, followed by an answer. Each step has a semantic tag, a name for what the step
does. A program must be able to read a chain, to say what is wrong with its form, and to check what it says
about the user. The code: tags/schema.py (the form), tags/facts.py (the claims), tags/follows.py (whether the
answer follows), tags/teachers/template.py (the teacher of this lesson).
"""
from dataclasses import replace

from ..lamp import mini
from ..lamp.prompts import facts, item_line
from ..lamp.retrieve import retrieve
from ..tags.facts import claims
from ..tags.follows import soundness
from ..tags.schema import FAULTS, Fault, parse, render
from ..tags.teachers import template

# ---- 1. A question. The built-in benchmark has users with hidden rules; task LaMP_3 asks for a rating.

train_questions = mini.build(seed=0, users=40, tasks=["LaMP_3"])["LaMP_3"]["train"]
train_questions = [replace(each, retrieved=retrieve(each, "bm25", 2, 0)) for each in train_questions]
question = train_questions[2]

print("The user's history:", facts(question))
for index in question.retrieved:  # the two items that are most like the question
    print(" ", item_line(question.task, question.profile[index]))
print("The question:", question.task.payload(question.input))
print("The user's own answer:", question.gold)

# ---- 2. The teacher's chain. This teacher is a set of rules; a language model can take its place.

# It compares two reviews: from an old one's score it takes away what the old one alone says, then adds what
# the new one alone says. "bad 2 to 2": that complaint leaves the score at 2; "good 2 to 3": it rises to 3.
cues = template.learn_reading(train_questions)  # which remarks were praise and which were complaints
chain = template.write(question, attempt=0, cues=cues)
text = render(chain)
print("\nThe teacher's chain:\n" + text)

# ---- 3. The form. `parse` gives the chain, or the first fault.

assert parse(text) == chain
first_tag = chain.steps[0].tag
broken_texts = [
    text.replace("<think>\n", ""),                            # the thinking is never opened
    text.replace("</think>\n", ""),                           # or never closed
    text.replace(f"</{first_tag}>", f"</{first_tag}> so,"),    # words that belong to no step
    text.replace(f"</{first_tag}>", "</conclude>", 1),        # a step that is closed by another tag
    text.replace(first_tag, "guess_wildly"),                  # a tag that is none of the nine
    text.removesuffix(chain.answer),                          # no answer
]
print("\nFaults of form:")
for broken in broken_texts:
    fault = parse(broken)
    assert isinstance(fault, Fault)
    print(f"  {fault.name:15} the chain {FAULTS[fault.name]}")

# ---- 4. The claims. What a chain says about the history is checked against the history.

print("\nClaims of the teacher's chain (the first: a review with both remarks got 4):")
for claim, holds in claims(chain, question):
    print(f"  {holds!s:6} {claim}")

# The same chain with another number in its first step: the form is right, and a claim is false.
step = chain.steps[0]
digits = [character for character in step.text if character.isdigit()]
other_digit = "1" if digits[0] != "1" else "2"
false_step = replace(step, text=step.text.replace(digits[0], other_digit, 1))
false_chain = replace(chain, steps=(false_step, *chain.steps[1:]))
print(f"\nThe same with {other_digit} in the place of the first {digits[0]}:")
for claim, holds in claims(false_chain, question):
    print(f"  {holds!s:6} {claim}")

# ---- 5. The answer. It should follow from the steps, right or wrong. Each move of the sum is a part, and the
# last one must end at the answer. ("comparison" is what this teacher's chains consist of.)

scale_low, scale_high = question.task.scale
for answer in [chain.answer, str(scale_low if chain.answer != str(scale_low) else scale_high)]:
    answered = replace(chain, answer=answer)
    print(f"\nWith the answer {answer}: share of right parts in what leads to it "
          f"{soundness(answered, question, ('comparison',)):.2f}")

# Two things to try:
# 1. Another task: "LaMP_2" (a film's tag) or "LaMP_4" (a headline). Which claims can be checked there? (Leave
#    out the false claim in part 4, and part 5: they are about ratings.)
# 2. Write a chain of your own as text, with a quotation that does not stand in the history, and print
#    claims(parse(text), question).
