"""PRMU's scores of what the systems of step 7 wrote: kept in files, made once (answer.py)."""
from __future__ import annotations

from collections.abc import Iterator

from ..lamp.tasks import Question
from ..runs import append_jsonl
from ..runs.processes import joined, part_of
from ..runs.steps import step_key
from .answer import FOLDER, Asked, Completion, Draw, has_scores, key_of, rows_made_from


def scores_of(asked: Asked, draw: Draw, asked_with: str, completions: dict[str, list[Completion]], prmu
              ) -> dict[str, list[float]]:
    """{question id: PRMU's scores of its completions}, under the user's own embedding, another user's or none
    (e_0); those of the file, and what is missing there. prmu: a function that loads it."""
    name = f"{draw.name}@prmu" + ("" if asked_with == "own" else f"-{asked_with}")
    settings = ["reward", *(["lamp.retriever", "lamp.k"] if asked_with == "other" else [])]
    of_prmu = step_key(asked.config, "evaluate", ["prmu"], settings, (), ())
    rows = rows_made_from(asked.folder, name, {"completions": key_of(asked.config, draw), "prmu": of_prmu},
                          has_scores)
    found = {row["id"]: row["scores"] for row in rows}
    missing = [question for question in asked.questions
               if len(found.get(question.id, [])) < len(completions[question.id])]
    asked.tick(sum(len(completions[question.id]) for question in asked.questions if question not in missing))

    def scored() -> Iterator[list[dict]]:
        """A row of each question that this process scores; several processes divide them."""
        for question in part_of(missing):
            texts = [completion.text for completion in completions[question.id]]
            other = asked.others.get(question.id)
            yield [{"id": question.id, "scores": rate(prmu(), question, other, asked_with, texts)}]

    for rows in joined(scored()):
        append_jsonl(asked.folder / FOLDER / f"{name}.jsonl", rows)
        for row in rows:
            found[row["id"]] = row["scores"]
            asked.tick(len(row["scores"]))
    return found


def rate(prmu, question: Question, other: Question | None, asked_with: str, texts: list[str]) -> list[float]:
    """PRMU's scores of texts."""
    if asked_with == "none":
        user = prmu.generic_user()
    else:
        user = prmu.user(question if asked_with == "own" else other)
    return prmu.rate(question, [prmu.encode(text) for text in texts], user).tolist()


def load_scorer(asked: Asked):
    """PRMU of the run over the loaded base, the texts of all dev users and their others embedded."""
    from ..prmu.model import load_prmu
    from ..prmu.users import TextEmbeddings, texts_file
    config, (model, tokenizer) = asked.config, asked.loaded
    texts = TextEmbeddings(model, tokenizer, texts_file(asked.folder))
    for questions in (asked.questions, list(asked.others.values())):
        texts.add(questions, config.reward.history, keep=False)
    _, prmu, _ = load_prmu(asked.folder / "prmu", model, tokenizer, config.reward, config.prompt, texts)
    return prmu
