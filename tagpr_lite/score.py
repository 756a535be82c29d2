"""python -m tagpr_lite.score --golds dev_outputs.json --preds mine.json [--against other.json]

Scores a prediction file in the official LaMP format and prints one JSON object: the official metrics
(`strict`), the same after reading the answer out of the text (`lenient`), the share of unreadable answers and
a 95% interval. ROUGE is the exact mean over items. Ratings: any number counts as it stands ("10", "-1",
"4.7"); what is no number, "nan" and "inf" among them, counts as the end of the scale farther from the gold.

With --against the object also holds `difference`: the task reward (0 to 1, higher is better) of --preds minus
that of --against, paired by question, with a 95% interval and p. Questions of one user are drawn together:
users are the `user_id` of the golds file, or of the file given as --questions; where neither names them each
question counts as a user of its own.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from .config import UserError
from .lamp.differences import Scored, difference
from .lamp.official.entries import fault
from .lamp.official.files import read_outputs
from .lamp.official.stream import stream_entries
from .lamp.own import declarations
from .lamp.scorer import item_reward, score
from .lamp.tasks import TASKS, Task, find_task
from .lamp.values import as_label, as_text
from .runs import guard


def main(golds_file: str, predictions_file: str, task_name: str | None = None, own_file: str | None = None,
         against_file: str | None = None, questions_file: str | None = None) -> None:
    """Prints the scores of a prediction file, and its difference to another one's.

    task_name: the task where the golds file does not name it. own_file: the YAML file that declares a task of
    the user's own. questions_file: names the users.
    """
    # The task: as it is given, or as the golds file says.
    tasks = dict(TASKS)
    if own_file:
        tasks |= {task.name: task for task, _ in declarations(Path(own_file))}
    golds_task, golds = read_outputs(golds_file)
    if not (task_name or golds_task):
        raise UserError(f"{golds_file} has no `task` field; give --task LaMP_3, say")
    task = find_task(task_name or golds_task, tasks)
    predictions = read_predictions(predictions_file, task, tasks)
    wrong = [item_id for item_id, gold in golds.items()
             if task.labels and as_label(gold, task.labels) not in task.labels]
    if wrong:
        raise UserError(f"{golds_file}: golds that are no answer to {task.name}: "
                        f"{', '.join(sorted(wrong)[:3])}")
    printed = {"task": task.name, **score(task, golds, predictions)}
    if against_file:
        others = read_predictions(against_file, task, tasks)
        score(task, golds, others)  # refuses other ids than those of the golds
        printed["difference"] = compare(task, golds, predictions, others,
                                        *read_users(golds, golds_file, questions_file))
    print(json.dumps(printed, indent=1))


def read_predictions(file: str, task: Task, tasks: dict[str, Task]) -> dict[str, str]:
    """{id: answer}. UserError: the file names another task."""
    task_field, predictions = read_outputs(file)
    if task_field and find_task(task_field, tasks) != task:
        raise UserError(f"{file} is of {find_task(task_field, tasks).name}, the golds are of {task.name}")
    return predictions


def read_users(golds: dict[str, str], golds_file: str,
               questions_file: str | None) -> tuple[dict[str, str], str]:
    """({id: user}, a sentence that says where the users are from)."""
    for file in filter(None, (questions_file, golds_file)):
        users = users_in(Path(file))
        if not users:
            continue
        missing = sorted(golds.keys() - users.keys())
        if missing:
            raise UserError(f"{file} names no user of {len(missing)} questions, such as {missing[0]}; give "
                            "the questions file of these golds as --questions")
        return {name: users[name] for name in golds}, f"users as {file} names them"
    if questions_file:
        raise UserError(f"{questions_file} names no users: its questions have no `user_id`")
    return {name: name for name in golds}, "no users are named: each question counts as a user of its own"


def users_in(path: Path) -> dict[str, str]:
    """{id: user_id} of those rows of a golds or questions file that name a user."""
    users = {}
    for key, is_entry, row in stream_entries(path):
        if not is_entry or key not in (None, "golds") or not isinstance(row, dict):
            continue
        if row.get("id") is not None and row.get("user_id") is not None:
            try:
                users[as_text(row["id"])] = as_text(row["user_id"])
            except ValueError as error:
                raise fault(path, f"an id or user_id is {error}") from None
    return users


def compare(task: Task, golds: dict[str, str], predictions: dict[str, str], others: dict[str, str],
            users: dict[str, str], whose: str) -> dict:
    """`difference` of the printed object: predictions minus others."""
    first, second = ([Scored(task.name, users[name], name, item_reward(task, answers[name], gold))
                      for name, gold in golds.items()] for answers in (others, predictions))
    found = difference(first, second)
    return {"what": "task reward of --preds minus that of --against, 0 to 1, higher is better",
            "value": found.value, "interval": [found.low, found.high], "p": found.p, "error": found.error,
            "beyond_noise": found.beyond_noise, "questions": found.questions, "users": found.users,
            "clusters": whose}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golds", required=True)
    parser.add_argument("--preds", required=True)
    parser.add_argument("--against", help="another prediction file, to be compared with")
    parser.add_argument("--questions", help="the questions file, which names the users; for --against")
    parser.add_argument("--task", help="told from the golds file unless given")
    parser.add_argument("--own", help="the YAML file that declares a task of your own")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args()
    guard(lambda: main(args.golds, args.preds, args.task, args.own, args.against, args.questions),
          debug=args.debug)
