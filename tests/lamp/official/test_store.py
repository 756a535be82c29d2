import json
import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lamp_files import review
from lamp_files import write as write_json

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import __main__ as command
from tagpr_lite.lamp.official import fetch, store
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.official.store import open_store, write
from tagpr_lite.lamp.tasks import TASKS, Item, Question

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
items = st.builds(Item, text, text, text, text)
rows = st.lists(st.builds(Question, text, st.just(TASKS["LaMP_3"]), text, text, text | st.none(),
                          st.lists(items, max_size=3).map(tuple)), min_size=1, max_size=8)


def reviews(n):
    return [Question(str(i), TASKS["LaMP_3"], f"u{i // 3}", f"review: {i}", "5",
                     (Item("a", "good " * 300, "4", "2012"),)) for i in range(n)]


@settings(max_examples=60, deadline=None)
@given(rows)
def test_a_store_gives_back_every_question_exactly(tmp_path_factory, questions):
    stored = write(tmp_path_factory.getbasetemp() / "x.db", "dev", questions, {})
    assert list(stored) == questions == [stored[i] for i in range(len(stored))] == stored[:]
    assert (stored.users, stored.ids) == ([q.user for q in questions], [q.id for q in questions])
    assert (stored.task.name, stored.split, stored.n) == ("LaMP_3", "dev", len(questions))


def test_it_is_a_sequence(tmp_path):
    questions = reviews(10)
    stored = write(tmp_path / "x.db", "dev", questions, {})
    assert stored[-1] == questions[-1] and stored[2:8:3] == questions[2:8:3] and stored.take([7, 1, 7]) == [
        questions[i] for i in (7, 1, 7)]
    with pytest.raises(IndexError):
        stored[10]


def test_the_same_questions_give_the_same_bytes(tmp_path):
    for name in "ab":
        write(tmp_path / name, "dev", reviews(50), {"x.json": [1, "f"]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_only_the_questions_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "x.db"
    stored = write(path, "dev", reviews(40), {})
    with sqlite3.connect(path) as db:
        db.execute("update rows set row = x'00' where position != 7")
    db.close()
    assert stored[7] == reviews(8)[7] and len(stored.users) == 40
    with pytest.raises(UserError, match="damaged"):
        stored[8]


def test_rows_that_changed_places_are_noticed(tmp_path):
    stored = write(tmp_path / "x.db", "dev", reviews(3), {})
    with sqlite3.connect(stored.path) as db:
        db.execute("update rows set row = (select row from rows where position = 1) where position = 2")
    db.close()
    assert stored[1] == reviews(2)[1]
    with pytest.raises(UserError, match="mixed up"):
        list(stored)


def test_a_fault_while_writing_leaves_what_was_there(tmp_path):
    def cut():
        yield from reviews(20)
        raise UserError("cut off")

    for before in (None, reviews(3)):
        if before:
            write(tmp_path / "x.db", "dev", before, {})
        with pytest.raises(UserError, match="cut off"):
            write(tmp_path / "x.db", "dev", cut(), {})
        assert [p.name for p in tmp_path.iterdir()] == (["x.db"] if before else [])
    assert list(open_store(tmp_path / "x.db")) == reviews(3)


def test_a_changed_source_is_noticed(tmp_path):
    source = tmp_path / "dev_questions.json"
    source.write_text("one")
    stored = write(tmp_path / "dev.db", "dev", reviews(2), {source.name: store.fingerprint(source)})
    assert open_store(stored.path).changed_source() is None
    source.write_text("two")
    assert stored.changed_source() == source
    source.unlink()
    assert stored.changed_source() is None


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "foreign": b"PK\x03\x04" * 5000, "cut": content[:-4096],
                      "cut in a page": content[:-100],
                      "flipped": content[:100] + bytes(b ^ 0xFF for b in content[100:])}[how])


@pytest.mark.parametrize("how", ["empty", "foreign", "cut", "cut in a page", "flipped"])
def test_a_damaged_or_foreign_file_is_one_line(tmp_path, how):
    path = write(tmp_path / "x.db", "dev", reviews(30), {}).path
    damage(path, how)
    with pytest.raises(UserError, match="damaged or no store") as error:
        open_store(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 300


def test_a_foreign_database_and_a_store_of_another_form_are_refused(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("create table meta (key text, value text)")
    db.close()
    with pytest.raises(UserError, match="its format is not"):
        open_store(tmp_path / "x.db")
    with pytest.raises(UserError, match="is missing"):
        open_store(tmp_path / "y.db")


def test_a_view_without_end_is_not_counted(tmp_path):
    path = write(tmp_path / "x.db", "dev", reviews(3), {}).path
    with sqlite3.connect(path) as db:
        db.execute("alter table questions rename to real")
        db.execute("create view questions as with recursive c(x) as (select 1 union all select x + 1 from c) "
                   "select x as position, x as id, x as user from c")
    db.close()
    with pytest.raises(UserError, match="other tables"):
        open_store(path)


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_byte_is_found_or_harmless(tmp_path, seed):
    questions = reviews(12)
    path = write(tmp_path / "x.db", "dev", questions, {}).path
    content, rng = path.read_bytes(), random.Random(seed)
    for _ in range(40):
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1:])
        try:
            for q, original in zip(open_store(path), questions, strict=True):
                assert q == original  # the row itself is under zlib's checksum
        except UserError as e:
            assert "\n" not in str(e)


# ---------------------------------------------------------------- stores of folders

def test_a_folder_is_converted_in_place_once(tmp_path, capsys):
    write_json(tmp_path / "one")
    before = load_folder(tmp_path)["LaMP_3"]
    (tmp_path / "one" / "test_questions.json").write_text(json.dumps([review(9)]))
    command.main(["--convert", str(tmp_path)])
    assert sorted(p.name for p in (tmp_path / "one").glob("*.db")) == ["dev.db", "test.db", "train.db"]
    assert len(list((tmp_path / "one").glob("*.json"))) == 5
    assert {s: list(q) for s, q in load_folder(tmp_path / "one")["LaMP_3"].items()} == before
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.db")}
    capsys.readouterr()
    command.main(["--convert", str(tmp_path)])
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.db")}
    assert capsys.readouterr().out.count("are here already") == 3


def test_a_store_is_made_again_when_its_source_changed_or_it_is_damaged(tmp_path, capsys):
    folder = write_json(tmp_path / "one")
    command.main(["--convert", str(folder)])
    path = folder / "dev_outputs.json"
    path.write_text(path.read_text().replace('"5"', '"4"'))
    (folder / "train.db").write_bytes(b"rubbish")
    for said in ("train.db is damaged", "dev_outputs.json is not what dev.db was made from"):
        with pytest.raises(UserError, match=said):
            load_folder(folder)
        command.main(["--convert", str(folder)]) if "outputs" in said else fetch.convert(folder, "train")
    assert load_folder(folder)["LaMP_3"]["dev"][0].gold == "4"


def test_a_fault_found_late_leaves_no_half_store_and_the_old_one(tmp_path):
    folder = write_json(tmp_path / "one", train=[review(n) for n in range(10, 60)])
    command.main(["--convert", str(folder)])
    good = (folder / "train.db").read_bytes()
    path = folder / "train_questions.json"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UserError, match="premature EOF after 49 whole entries"):
        fetch.convert(folder, "train")
    assert (folder / "train.db").read_bytes() == good and not list(folder.glob(".*"))
