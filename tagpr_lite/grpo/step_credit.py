"""Credit for single steps: a step that is right more often than the same step of the group's other chains is
raised, one that is wrong more often is lowered (grpo.alpha_step).

    <examine_examples>Got 3; without "soap" bad 3 to 2.</examine_examples>    one of four parts is wrong
    <apply_preferences>Comes to 2.</apply_preferences>                        right, if the moves ended at 2

One reward for a whole chain blames every token for one wrong move. Each step says much by itself: its claims
about the profile, its moves, its conclusion can be checked without the gold answer (tags/step_checks.py). Its
tag says which steps of the other chains it is comparable with. So each step has an advantage of its own,

    score     (1 + right parts) / (1 + parts), where the teacher's mean number of parts counts if it is larger
    advantage (score - mean) / max(deviation, grpo.std_floor), over the group's steps with the same tag

and its tokens are trained with  A_chain + alpha_step * A_step. The step advantages of a tag sum to zero over
the group's chains, so there is nothing to gain by more steps or by fewer. GRPO with process supervision
(Shao et al. 2024, arXiv 2402.03300, section 4.1.3) normalises the rewards of steps too, over all steps of a
group; there a token is credited with all steps that follow, here with its own step alone: less variance, and
blind to what a step does for later ones, which the chain's own advantage sees. The paper's second version
calls tags process supervision in its title (2509.23140v2); how it credits a step is not known, and all of the
above is our choice.
"""
from __future__ import annotations

from statistics import mean, pstdev

import torch
from torch import Tensor

from ..lamp.answers import answer_of
from ..lamp.tasks import Question
from ..tags.schema import Chain
from ..tags.step_checks import checks_of_steps
from ..tags.teaching import Teaching
from .written_steps import written_steps


def step_scores(chain: Chain, question: Question, teaching: Teaching) -> list[float | None]:
    """For each step (1 + right parts) / (1 + parts), in (0, 1]: 3 right parts of 4 give 0.8. `parts` is the
    teacher's mean for the task's steps of this tag, if that is larger. None where nothing can be checked."""
    scores: list[float | None] = []
    for step, checks in zip(chain.steps, checks_of_steps(chain, question), strict=True):
        parts = max(len(checks), teaching.checks.get((question.task.name, step.tag), 0.0))
        scores.append((1 + sum(checks)) / (1 + parts) if parts else None)
    return scores


def step_advantages(tokenizer, question: Question, chains: list[list[int]], teaching: Teaching,
                    std_floor: float) -> Tensor:
    """The advantage of every token's step, 0 outside of steps. chains: token ids of the group's G whole
    chains -> [G, longest chain]."""
    # 1. Each step with its score, tag by tag: {"conclude": [(0, its tokens, 0.5), (1, its tokens, 1.0)]}.
    by_tag: dict[str, list[tuple[int, slice, float]]] = {}
    for n, ids in enumerate(chains):
        steps = [step for step in written_steps(tokenizer, ids) if step.step.text]
        if not steps:
            continue
        chain = Chain(tuple(step.step for step in steps), answer_of(tokenizer.decode(ids)))
        for step, score in zip(steps, step_scores(chain, question, teaching), strict=True):
            if score is not None:
                by_tag.setdefault(step.step.tag, []).append((n, slice(step.start, step.end), score))

    # 2. Compared with the steps of the same tag.
    advantages = torch.zeros(len(chains), max(len(ids) for ids in chains))
    for rows in by_tag.values():
        scores = [score for _, _, score in rows]
        deviation = max(pstdev(scores), std_floor)
        for n, tokens, score in rows:
            advantages[n, tokens] = (score - mean(scores)) / deviation
    return advantages
