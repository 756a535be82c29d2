"""A person's own users and histories: one JSONL of records beside the YAML that declares their task
(declaration.py).

A record is {"user", "input", "output", "history": [{"wine", "note", "date"}, ...]}; `id`, `date` and `split`
(train or dev) may be added. Without `history` it is the user's earlier records (by `date`, else in file
order). A null is as if its key were absent; numbers may stand for texts (values.py, dates.py).

Decisions. The same Task that describes LaMP's tasks describes these, so that the whole pipeline works on
them. Splits are by user, never by record, unless a record names its split. Records without any history are
left out and counted: there is nothing to personalise on.
"""
from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..config import UserError
from ..runs import read_jsonl, seed_of
from .dates import check_order, month_comes_first, oldest_first, read_dates
from .declaration import check, declarations, held_out
from .sampling import group_by
from .tasks import Item, Question, Task
from .values import as_label, as_text, shown, without_nulls


def load_own(path: str | Path, seed: int) -> dict[str, dict[str, list[Question]]]:
    """{task: {"train": [...], "dev": [...]}} of the tasks that a file declares."""
    path = Path(path)
    splits_of_task = {}
    for task, declaration in declarations(path):
        records_path = path.parent / declaration["records"]
        records = read_records(records_path, task)
        splits_of_task[task.name] = divide(records, held_out(declaration, path), seed)
        check(bool(records), records_path, "no record has a history, so there is nothing to personalise on")
    return splits_of_task


# ---------------------------------------------------------------- the records

def read_records(path: Path, task: Task) -> list[tuple[str, Question]]:
    """(the record's own split or "", question) of every record that has a history, in file order."""
    rows = [without_nulls(row) for row in read_jsonl(path)]
    places = [f"{path} record {number}" for number in range(1, len(rows) + 1)]
    records = [_record(where, task, row, f"{task.name}-{number}")
               for number, (where, row) in enumerate(zip(places, rows), 1)]
    times = Counter(record.id for record in records)
    doubled = [name for name, count in times.items() if count > 1]
    check(not doubled, path, f"doubled ids: {', '.join(map(shown, doubled[:3]))}")

    # Dates, then histories: the record's own one, or the user's earlier records.
    histories = [_history_rows(where, row) for where, row in zip(places, rows)]
    month_first = month_comes_first(_dates_of([*rows, *chain.from_iterable(histories)]))
    dates = [_read_dates(where, [row], month_first)[0] for where, row in zip(places, rows)]
    earlier = _earlier_records(path, task, records, dates, ["history" in row for row in rows])
    kept = []
    for place, (record, row) in enumerate(zip(records, rows)):
        items = earlier[place]
        if "history" in row:
            items = _history(f"{places[place]} history", task, histories[place], month_first)
        if items:
            question = Question(record.id, task, record.user, task.ask(record.input), record.gold, items,
                                date=dates[place])
            kept.append((record.split, question))
    if len(kept) < len(rows):
        print(f"  {task.name}: {len(rows) - len(kept)} of {len(rows)} records have no history and are left "
              "out")
    return kept


class Record(NamedTuple):
    """What a row of the file says, checked, but for its date and its history."""
    id: str
    user: str
    input: str
    gold: str
    split: str


def _record(where: str, task: Task, row: dict, default_id: str) -> Record:
    """A user, an input and an output of the task's kind; perhaps an id and a split. where: the file and the
    record."""
    user, input = _text(where, row, "user"), _text(where, row, "input")
    gold = _answer(where, task, row, "output")
    for key, text in (("user", user), ("input", input), ("output", gold)):
        check(bool(text.strip()), where, f"'{key}' is empty")
    split = row.get("split", "")
    check(split in ("", "train", "dev"), where, f"split {shown(split)} should be train or dev")
    name = _text(where, row, "id") if "id" in row else ""
    return Record(name.strip() or default_id, user, input, gold, split)


def _text(where: str, row: dict, key: str) -> str:
    """The text or number under a key. A value of another type is named, not taken for a missing one."""
    check(key in row, where, f"has no '{key}'")
    with _named(where, f"'{key}' is "):
        return as_text(row[key])


def _answer(where: str, task: Task, row: dict, key: str) -> str:
    """The answer under a key, without white space around it. A task with labels takes no other answers."""
    if isinstance(row.get(key), bool) and task.labels:  # `labels: [true, false]` are so in JSON, too
        row = {**row, key: str(row[key]).lower()}
    text = as_label(_text(where, row, key), task.labels)
    known = ", ".join(task.labels[:6]) + (", ..." if len(task.labels) > 6 else "")
    check(not task.labels or text in task.labels, where,
          f"{shown(text)} is no answer to {task.name}; they are {known}")
    return text


def _earlier_records(path: Path, task: Task, records: list[Record], dates: list[str],
                     have_history: list[bool]) -> list[tuple[Item, ...]]:
    """For each record, the records that its user has before it in time, as items, oldest first."""
    earlier: list[tuple[Item, ...]] = [()] * len(records)
    for user, places in group_by(range(len(records)), lambda place: records[place].user).items():
        if all(have_history[place] for place in places):
            continue
        of_user = [dates[place] for place in places]
        with _named(path, f"user {shown(user)}: "):
            check_order(of_user)
        items: list[Item] = []
        for place in (places[index] for index in oldest_first(of_user)):
            earlier[place] = tuple(items)
            record = records[place]
            items.append(Item(record.id, record.input, record.gold, dates[place]))
    return earlier


def _history_rows(where: str, row: dict) -> list[dict]:
    """A record's own history, as it stands in the file."""
    history = row.get("history", [])
    check(isinstance(history, list), where, "'history' should be a list of items")
    for number, item in enumerate(history, 1):
        check(isinstance(item, dict), where, f"history item {number} is {shown(item)}, no object")
    return [without_nulls(item) for item in history]


def history_items(where: str, task: Task, rows: list[dict]) -> tuple[Item, ...]:
    """The items of a history that stands alone. where: the name of its file."""
    rows = [without_nulls(row) for row in rows]
    return _history(where, task, rows, month_comes_first(_dates_of(rows)))


def _history(where: str, task: Task, rows: list[dict], month_first: bool | None) -> tuple[Item, ...]:
    """The items of a history: oldest first when every item is dated, otherwise in file order. where: the file
    and what in it."""
    dates = _read_dates(where, rows, month_first)
    with _named(where):
        check_order(dates)
    items = []
    for number, (row, date) in enumerate(zip(rows, dates), 1):
        item_place = f"{where} item {number}"
        name = _text(item_place, row, "id") if "id" in row else str(number)
        items.append(Item(name, _text(item_place, row, task.text_key),
                          _answer(item_place, task, row, task.label_key), date))
    return tuple(items[place] for place in oldest_first(dates))


def _dates_of(rows: Iterable[dict]) -> list:
    return [row.get("date") for row in rows]


def _read_dates(where: str, rows: list[dict], month_first: bool | None) -> list[str]:
    with _named(where):
        return read_dates(_dates_of(rows), month_first)


def divide(records: list[tuple[str, Question]], heldout: float, seed: int) -> dict[str, list[Question]]:
    """{"train": questions, "dev": questions}: by the records' own `split`, the others by user.

    heldout: the share of users that go to dev, at least one of them when it is above 0.
    """
    users = sorted({question.user for split, question in records if not split})
    random.Random(seed_of("own", seed)).shuffle(users)
    dev_count = max(round(heldout * len(users)), 1 if heldout > 0 else 0)
    dev_users = set(users[:dev_count])
    splits: dict[str, list[Question]] = {"train": [], "dev": []}
    for split, question in records:
        own_split = split or ("dev" if question.user in dev_users else "train")
        splits[own_split].append(question)
    return splits


@contextmanager
def _named(where: Any, what: str = "") -> Iterator[None]:
    """A ValueError about a value becomes an error that says where it stands."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{where}: {what}{error}") from None
