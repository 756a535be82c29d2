"""python -m tagpr_lite.score --golds dev_outputs.json --preds mine.json

Scores a prediction file in the official LaMP format and prints one JSON object: the official metrics
(`strict`), the same after reading the answer out of the text (`lenient`), the share of unreadable answers and
a 95% interval. ROUGE is the exact mean over items. Ratings: any number counts as it stands ("10", "-1",
"4.7"); what is no number, "nan" and "inf" among them, counts as the end of the scale farther from the gold.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

from .config import UserError
from .lamp.official.files import read_outputs
from .lamp.own import declarations
from .lamp.scorer import score
from .lamp.tasks import TASKS, find_task
from .lamp.values import as_label
from .runs import guard


def main(golds_file: str, predictions_file: str, task_name: str | None, own_file: str | None) -> None:
    """Prints the scores of a prediction file.

    task_name: the task where the golds file does not name it. own_file: the YAML file that declares a task of
    the user's own.
    """
    # The task: as it is given, or as the golds file says. A prediction file may name its task too.
    tasks = dict(TASKS)
    if own_file:
        tasks |= {task.name: task for task, _ in declarations(Path(own_file))}
    golds_task, golds = read_outputs(golds_file)
    predictions_task, predictions = read_outputs(predictions_file)
    if not (task_name or golds_task):
        raise UserError(f"{golds_file} has no `task` field; give --task LaMP_3, say")
    task = find_task(task_name or golds_task, tasks)
    if predictions_task:
        predicted = find_task(predictions_task, tasks)
        if predicted != task:
            raise UserError(f"{predictions_file} is of {predicted.name}, the golds are of {task.name}")

    wrong = [item_id for item_id, gold in golds.items()
             if task.labels and as_label(gold, task.labels) not in task.labels]
    if wrong:
        raise UserError(f"{golds_file}: golds that are no answer to {task.name}: "
                        f"{', '.join(sorted(wrong)[:3])}")
    print(json.dumps({"task": task.name, **score(task, golds, predictions)}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golds", required=True)
    parser.add_argument("--preds", required=True)
    parser.add_argument("--task", help="told from the golds file unless given")
    parser.add_argument("--own", help="the YAML file that declares a task of your own")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args()
    guard(lambda: main(args.golds, args.preds, args.task, args.own), debug=args.debug)
