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
from .runs import guard


def main(golds: str, preds: str, task: str | None, own: str | None) -> None:
    tasks = TASKS | ({task.name: task for task, _ in declarations(Path(own))} if own else {})
    said, gold = read_outputs(golds)
    claimed, pred = read_outputs(preds)
    if not (task or said):
        raise UserError(f"{golds} has no `task` field; give --task LaMP_3, say")
    task = find_task(task or said, tasks)
    if claimed and find_task(claimed, tasks) != task:
        raise UserError(f"{preds} is of {find_task(claimed, tasks).name}, the golds are of {task.name}")
    if wrong := [i for i, g in gold.items() if task.labels and g.strip() not in task.labels]:
        raise UserError(f"{golds}: golds that are no answer to {task.name}: {', '.join(sorted(wrong)[:3])}")
    print(json.dumps({"task": task.name, **score(task, gold, pred)}, indent=1))


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
