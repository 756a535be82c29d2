"""The held-out score: how the policy answers users on whom nothing is trained, and which adapter was best.

Before the first step of a stage, every `grpo.check_every` steps and after the last one, the policy answers
the held-out questions greedily, as in the evaluation. The score of a check is the mean over tasks of the mean
task score. A check is better than the best one so far where the paired difference of their scores is above
its standard error, and the tag term has not fallen by more than its own; so a tie, or a difference within its
noise, keeps the earlier adapter (the one-standard-error rule of Breiman et al., Classification and Regression
Trees, 1984, section 3.4.3, read step by step), and a score that was bought with the reasoning does not count.
"""
from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from ..config import Config, UserError
from ..engine.rollout import prompt_limit, sample_all
from ..engine.sample import end_tokens
from ..lamp.chat import completion_text
from ..lamp.differences import Scored, gain, standard_error
from ..lamp.prompts import build
from ..lamp.sampling import group_by
from ..lamp.tasks import Question
from ..runs import append_jsonl, log_metrics, read_jsonl, write_jsonl
from ..runs.processes import gathered, part_of
from ..tags.reasoning import Written, states
from ..tags.teaching import Teaching
from .rewards import terms

FILE = "checks.jsonl"


@dataclass(frozen=True)
class Answer:
    """One held-out question, answered. score, format and tag are terms of the reward (rewards.py)."""
    question: str
    task: str
    user: str
    text: str
    tokens: int
    entropy: float | None
    score: float
    format: float
    tag: float


@dataclass(frozen=True)
class Check:
    """All answers after `index` optimiser steps of a stage."""
    index: int
    answers: list[Answer]


class HeldOut:
    """The checks of a stage, and its best parameters.

    best: the best check so far. params: the values of the adapter's parameters then, on the CPU, for callers
    that save them. A check is a line of <stage>/checks.jsonl, from which a resumed run decides again.
    """

    def __init__(self, config: Config, folder: Path, stage: str, questions: list[Question],
                 teaching: Teaching):
        """questions: of the held-out users; without any there are no checks."""
        self.config, self.folder, self.stage = config, folder, stage
        self.questions, self.teaching = questions, teaching
        self.file = folder / stage / FILE
        self.together = prompt_limit("evaluate.batch, checks", config.evaluate.batch, folder)
        self.best: Check | None = None
        self.params: dict[str, Tensor] = {}
        self.since_best = 0  # checks

    @property
    def is_stalled(self) -> bool:
        """Whether as many checks in a row as `grpo.patience` were no better."""
        return 0 < self.config.grpo.patience <= self.since_best

    def is_due(self, index: int, steps: int) -> bool:
        """Whether there is a check after `index` of a stage's `steps`."""
        every = self.config.grpo.check_every
        return bool(self.questions and every) and (index % every == 0 or index == steps)

    def resume(self, done: int, params: dict[str, Tensor]) -> None:
        """Goes on after `done` steps: later checks are dropped, the earlier ones decide again. params: the
        best ones as they were saved."""
        rows = read_jsonl(self.file, partial=True) if done else []
        try:
            checks = [Check(row["index"], [Answer(**answer) for answer in row["answers"]]) for row in rows]
        except (KeyError, TypeError):
            raise UserError(f"{self.file} is not as GRPO writes it; remove {self.file.parent} and run the "
                            "step again") from None
        for check in checks:
            if check.index <= done:
                self._decide(check)
        write_jsonl(self.file, [asdict(check) for check in checks if check.index <= done])
        self.params = params

    def check(self, model: nn.Module, tokenizer, params: dict[str, nn.Parameter], index: int) -> None:
        """Answers the held-out questions after `index` steps, keeps `params` where they are the best, and
        writes the check down."""
        check = Check(index, self.answer(model, tokenizer))
        is_best = self._decide(check)
        if is_best:
            self.params = {name: p.detach().to("cpu", copy=True) for name, p in params.items()}
        append_jsonl(self.file, [asdict(check)])
        log_metrics(self.folder, f"{self.stage}_check", index=index, **self.summary(check), best=is_best)
        print(f"  {self.stage}, held-out users after {index} steps: {self.sentence(check, is_best)}",
              flush=True)

    def _decide(self, check: Check) -> bool:
        """Whether the check is the best so far; notes it."""
        is_best = self.best is None or is_better(check, self.best)
        self.best = check if is_best else self.best
        self.since_best = 0 if is_best else self.since_best + 1
        return is_best

    def answer(self, model: nn.Module, tokenizer) -> list[Answer]:
        """The policy's greedy answers, scored."""
        config = self.config
        thinks = config.sft.thinks
        prompts = [build(question, tokenizer, config.prompt, with_profile=True, reason=thinks)[0]
                   for question in self.questions]
        completions = gathered(sample_all(
            model, part_of(prompts), 1, config.grpo.completion, end_tokens(model, tokenizer),
            together=self.together, temperature=0))  # [questions][1]
        answers = []
        for question, (completion,) in zip(self.questions, completions, strict=True):
            text = completion_text(tokenizer, completion.ids, completion.ended)
            found = terms(text, completion.ended, question, self.teaching, thinks)
            answers.append(Answer(question.id, question.task.name, question.user, text, len(completion.ids),
                                  round(completion.entropy, 5), found.task, found.format, found.tag))
        return answers

    def summary(self, check: Check) -> dict:
        """What metrics.jsonl holds of a check: the score and its standard error, the score by task, the share
        in form, the mean tag term, and the state of the reasoning (tags/reasoning.py)."""
        of_questions = {question.id: question for question in self.questions}
        written = [Written(of_questions[answer.question], answer.text, answer.tokens, answer.entropy)
                   for answer in check.answers]
        by_task = mean_by_task(check)
        count = len(check.answers)
        return {"score": round(mean_score(check), 5),
                "error": round(standard_error(scored(check)), 5),
                "by_task": {task: round(score, 5) for task, score in by_task.items()},
                "format": round(sum(answer.format for answer in check.answers) / count, 5),
                "tag": round(sum(answer.tag for answer in check.answers) / count, 5),
                "reasoning": states(written, self.teaching)}

    def sentence(self, check: Check, is_best: bool) -> str:
        """Such as "0.523 +- 0.031, the best so far"."""
        text = f"{mean_score(check):.3f} +- {standard_error(scored(check)):.3f}"
        if is_best:
            return text + ", the best so far"
        return text + f"; the best is {mean_score(self.best):.3f} after {self.best.index} steps"


def is_better(new: Check, old: Check) -> bool:
    """Whether the new score is above the old one by more than the standard error of their difference, and the
    tag term is not below the old one by more than its standard error."""
    difference, error = gain(scored(old), scored(new))
    tag_loss, tag_error = gain(scored(new, "tag"), scored(old, "tag"))
    return difference > error and tag_loss <= tag_error


def scored(check: Check, term: str = "score") -> list[Scored]:
    """A term of every answer, `score` or `tag`."""
    return [Scored(answer.task, answer.user, answer.question, getattr(answer, term))
            for answer in check.answers]


def mean_by_task(check: Check) -> dict[str, float]:
    """{task: mean score of its questions}, by name."""
    by_task = group_by(check.answers, lambda answer: answer.task)
    return {task: sum(answer.score for answer in by_task[task]) / len(by_task[task])
            for task in sorted(by_task)}


def mean_score(check: Check) -> float:
    """The mean over tasks of their mean scores."""
    by_task = mean_by_task(check)
    return sum(by_task.values()) / len(by_task)
