"""Small LaMP-format files that the tests of reading, storing and fetching share."""
import json

from tagpr_lite.lamp.tasks import TASKS


def review(n, **changes):
    return {"id": str(n), "input": f"{TASKS['LaMP_3'].instruction} fine {n}", "user_id": n,
            "profile": [{"id": "a", "text": "new", "score": "5", "date": "2013-01-02"},
                        {"id": "b", "text": "old", "score": 4, "date": "2012-03-04"}], **changes}


def write(folder, task="LaMP_3", train=None, dev=None, golds="5"):
    """A folder of the four files; every gold is `golds`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train or [review(1), review(2)]), ("dev", dev or [review(3)])):
        (folder / f"{split}_questions.json").write_text(json.dumps(rows))
        outputs = {"task": task, "golds": [{"id": str(r["id"]), "output": golds} for r in rows]}
        (folder / f"{split}_outputs.json").write_text(json.dumps(outputs))
    return folder
