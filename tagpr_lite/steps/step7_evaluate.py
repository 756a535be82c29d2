"""Step 7, evaluate: every system answers the dev questions, and one scorer scores them all."""
from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from ..config import Config, System, UserError, parse_systems
from ..config.systems import parse_system
from ..grpo.rewards import format_term
from ..lamp import votes
from ..lamp.answers import answer_of
from ..lamp.rows import read_questions
from ..lamp.sampling import group_by
from ..lamp.scorer import score
from ..lamp.tasks import Question
from ..plan.run_plan import follow, planned_models, read_plan
from ..runs import cli, progress, read_jsonl, run_step, seed_of, write_json
from ..tags.reasoning import Written, state_of
from ..tags.teaching import Teaching, teaching_of
from .answer import (
    FOLDER,
    TESTED_ON,
    Asked,
    Completion,
    Draw,
    asked_by_others,
    completions_of,
    draw_of,
    draws_of,
    read_by,
    reasons,
)
from .faithful import faithful_rows
from .prmu_scores import load_scorer, scores_of
from .views import OF_OTHERS

FAITHFUL = "faithful.json"  # {system: rows of faithful.py}
KEPT = "chains/kept.jsonl"  # the teacher's chains, whose forms the systems' are held against


def main(config: Config) -> None:
    systems = parse_systems(config.evaluate.systems)
    inputs, settings = needs_of(config, systems)
    run_step(config, "evaluate", inputs=inputs, settings=settings, work=work, outputs=["eval", FOLDER],
             models=planned_models(config))


def needs_of(config: Config, systems: list[System]) -> tuple[list[str], list[str]]:
    """(files of the run folder, settings) that the results of these systems depend on."""
    adapters = [system.folder for system in systems if system.folder]
    settings = ["evaluate", *(name for draw in draws_of(systems) for name in read_by(config, draw))]
    asks_prmu = any(system.decoding == "prmu" for system in systems)
    prmu, reward = (["prmu"], ["reward"]) if asks_prmu else ([], [])
    chains = [KEPT] if any(reasons(config, system) for system in systems) else []
    other_user = ["lamp.retriever", "lamp.k"] if any(needs_other_user(system) for system in systems) else []
    return ([*TESTED_ON, "plan.json", *chains, *dict.fromkeys(adapters), *prmu],
            sorted({*settings, *reward, *other_user}))


def needs_other_user(system: System) -> bool:
    return system.profile in OF_OTHERS or system.asked_with == "other"


def work(config: Config, folder: Path) -> None:
    config = follow(config, read_plan(folder))
    systems = parse_systems(config.evaluate.systems)
    asked = Asked(config, folder, read_questions(folder, "dev"), {})
    for system in filter(needs_other_user, systems):
        asked.others = asked.others or asked_by_others(config, asked.questions)
        require_others(asked, system)

    # 1. Completions: the greedy answers and the samples of every adapter and profile, each once.
    draws, rated = draws_of(systems), rated_of(systems)
    per_question = sum(draws.values()) + sum(rated.values())
    with progress(per_question * len(asked.questions), "evaluate", "completion") as bar:
        asked.tick = bar.update
        completions = {}
        for draw, wanted in draws.items():
            bar.set_description(f"evaluate {draw.name}")
            completions[draw] = completions_of(asked, draw, wanted)

        # 2. PRMU's scores of the samples among which it is to choose.
        prmu = cache(lambda: load_scorer(asked))
        scores = {}
        for (draw, asked_with), wanted in rated.items():
            bar.set_description(f"PRMU reads {draw.name}")
            read = {name: some[:wanted] for name, some in completions[draw].items()}
            scores[draw, asked_with] = scores_of(asked, draw, asked_with, read, prmu)

    # 3. Every system takes one completion of each question, and these are scored.
    by_task = group_by(asked.questions, lambda question: question.task.name)
    reasoned = any(reasons(config, system) for system in systems)
    teaching = teaching_of(read_jsonl(folder / KEPT)) if reasoned else Teaching()
    for system in systems:
        draw = draw_of(system)
        taken = {}
        for question in asked.questions:
            some = completions[draw][question.id][:system.samples]
            of_prmu = scores.get((draw, system.asked_with), {}).get(question.id, [])
            taken[question.id] = some[chosen(config, system, question, some, of_prmu)]
        for task in sorted(by_task):
            state = state_of_system(asked, system, by_task[task], taken, teaching)
            save_scores(folder, system, by_task[task], taken, completions[draw], state)

    # 4. Chains are changed, and the answers with them.
    if config.evaluate.faithful:
        changed = {word: faithful_rows(asked, parse_system(word), completions[draw_of(parse_system(word))])
                   for word in config.evaluate.faithful}
        write_json(folder / FOLDER / FAITHFUL, changed)


def rated_of(systems: list[System]) -> dict[tuple[Draw, str], int]:
    """{(draw, whose embedding PRMU is asked with): how many completions of a question it reads}."""
    most: dict[tuple[Draw, str], int] = {}
    for system in systems:
        if system.decoding == "prmu":
            asked = draw_of(system), system.asked_with
            most[asked] = max(most.get(asked, 0), system.samples)
    return most


def require_others(asked: Asked, system: System) -> None:
    """UserError: a dev question has no other user whose profile could be shown."""
    for question in asked.questions:
        if question.id not in asked.others:
            raise UserError(f"evaluate.systems: {system.word} needs another user, and {question.task.name} "
                            "has one dev user alone")


# ---------------------------------------------------------------- choosing

def chosen(config: Config, system: System, question: Question, some: list[Completion],
           scores: list[float]) -> int:
    """Which of its completions a system takes, as a position. scores: PRMU's of them, where it decides."""
    texts = [completion.text for completion in some]
    if system.decoding == "vote":
        return votes.voted(question.task, texts)
    if system.decoding == "best":
        return votes.best(question, texts)
    if system.decoding == "random":
        return random.Random(seed_of(config.seed, "random", question.id)).randrange(len(some))
    if system.decoding == "prmu":
        # PRMU has seen whole chains alone: its score of any other text means nothing.
        whole = [position for position, completion in enumerate(some)
                 if is_whole(completion, question, reasons(config, system))]
        return max(whole or range(len(some)), key=lambda position: scores[position])
    return 0


def is_whole(completion: Completion, question: Question, thinks: bool) -> bool:
    """Whether a completion has the form that GRPO rewards."""
    answer = question.task.parse_answer(answer_of(completion.text))
    return bool(format_term(completion.text, completion.ended, answer, question, thinks))


# ---------------------------------------------------------------- scores

def state_of_system(asked: Asked, system: System, questions: list[Question], taken: dict[str, Completion],
                    teaching: Teaching) -> dict | None:
    """The state of the reasoning in the completions that a system took; None where it does not reason. Claims
    are held against the profile that was shown."""
    if not reasons(asked.config, system):
        return None
    shown = asked.shown(system.profile)
    completions = [(shown[question.id], taken[question.id]) for question in questions]
    return state_of([Written(question, completion.text, completion.tokens, completion.entropy)
                     for question, completion in completions], teaching)


def save_scores(folder: Path, system: System, questions: list[Question], taken: dict[str, Completion],
                drawn: dict[str, list[Completion]], state: dict | None) -> None:
    """Writes eval/<system>/<task>.json: the scores and predictions of one task's questions."""
    task = questions[0].task
    golds = {question.id: question.gold for question in questions}
    answers = {question.id: answer_of(taken[question.id].text) for question in questions}
    predictions = [{"id": question.id, "user": question.user, "input": question.input,
                    "text": taken[question.id].text, "answer": answers[question.id], "gold": question.gold,
                    "tokens": taken[question.id].tokens} for question in questions]
    seconds = sum(completion.seconds for question in questions
                  for completion in drawn[question.id][:system.samples])
    write_json(folder / "eval" / system.word / f"{task.name}.json",
               {"system": system.word, "task": task.name, "scores": score(task, golds, answers),
                "reasoning": state, "predictions": predictions, "seconds": round(seconds, 1)})


if __name__ == "__main__":
    cli(main, __doc__)
