import json
import random
import shutil
import zipfile

import pytest
from lamp_site import site  # noqa: F401 (a fixture)

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import avocado
from tagpr_lite.lamp.official.__main__ import main
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.official.store import open_store
from tagpr_lite.lamp.tasks import Item

ALTERNATIVE = b"""Subject: Two forms
Content-Type: multipart/alternative; boundary=B

--B
Content-Type: text/html

<b>rich</b>
--B
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

soir=E9e
--B--
"""
MAILS = {
    "001-000001-EM": b"From: a@b.c\nSubject: Lunch\n\n  See you at noon.\n\n",
    "001-000002-EM": "Subject: =?utf-8?b?w4l0w6kg?= =?iso-8859-1?q?=E0_Paris?=\n\nbody two".encode(),
    "001-000003-EM": ALTERNATIVE,
    "002-000001-EM": "Subject: Café\nContent-Type: text/plain\n\nvoilà".encode("latin-1"),
    "002-000002-EM": "Subject: a long\n subject\n\nnaïve".encode(),
    "002-000003-EM": b"Subject: never asked for\n\n" + b"x" * 5000,
}


def make_avocado(folder, mails=MAILS):
    """A folder of two zip files, one a custodian, each with one folder of e-mails."""
    folder.mkdir(parents=True, exist_ok=True)
    for custodian in ("001", "002"):
        with zipfile.ZipFile(folder / f"{custodian}.zip", "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(f"{custodian}/", "")
            for name, content in mails.items():
                if name.startswith(custodian):
                    z.writestr(f"{custodian}/{name}.txt", content)
    return folder


def make_ids(folder, ending=""):
    """The official id files: a list for train and dev, an object for test."""
    folder.mkdir(parents=True, exist_ok=True)

    def row(n, mail, *profile):
        items = [{"id": f"{n}{place}", "text": name + ending} for place, name in enumerate(profile)]
        return {"id": str(n), "input": mail + ending, "user_id": n, "profile": items}

    rows = {"train": [row(1, "001-000001-EM", "001-000002-EM", "001-000003-EM")],
            "dev": [row(2, "002-000002-EM", "002-000001-EM", "001-000001-EM")],
            "test": {"task": "LaMP_6", "golds": [row(3, "002-000001-EM", "001-000001-EM")]}}
    for split, tree in rows.items():
        (folder / f"{split}_questions.json").write_text(json.dumps(tree))
    return folder


@pytest.mark.parametrize("ending", ["", ".txt"])
def test_the_id_files_are_filled_and_become_stores(tmp_path, ending):
    mails, ids = make_avocado(tmp_path / "text"), make_ids(tmp_path / "ids", ending)
    main(["--task", "6", "--avocado", str(mails), "--questions", str(ids), "--split", "user",
          "--to", str(tmp_path / "to")])
    folder = tmp_path / "to" / "user" / "LaMP_6"
    assert sorted(p.name for p in folder.iterdir()) == ["dev.db", "test.db", "train.db"]
    (train,), (dev,) = (list(q) for q in load_folder(folder)["LaMP_6"].values())
    assert train.input == "Generate a subject for the following email: See you at noon."
    assert (train.gold, train.user, dev.gold) == ("Lunch", "1", "a long subject")
    assert train.profile == (Item("10", "body two", "Été à Paris"), Item("11", "soirée", "Two forms"))
    assert dev.input.endswith("email: naïve") and dev.profile[0].text == "voilà"
    (test,) = open_store(folder / "test.db")
    assert (test.gold, test.input[-5:]) == (None, "voilà")


def test_the_id_files_are_downloaded_once_when_not_given(tmp_path, site):
    for path in make_ids(tmp_path / "ids").iterdir():
        site.files[f"LaMP_6/{path.name.split('_')[0]}/{path.name}"] = path.read_bytes()
    words = ["--task", "6", "--avocado", str(make_avocado(tmp_path / "text")), "--split", "user", "--keep",
             "--to", str(tmp_path), "--base", site.url]
    main(words)
    main(words)
    assert len(site.log) == 3
    folder = tmp_path / "user" / "LaMP_6"
    outputs = json.loads((folder / "dev_outputs.json").read_text())
    assert outputs == {"task": "LaMP_6", "golds": [{"id": "2", "output": "a long subject"}]}
    row = json.loads((folder / "dev_questions.json").read_text())[0]
    assert row["profile"][1] == {"id": "21", "text": "See you at noon.", "title": "Lunch"}
    assert not (folder / "test_outputs.json").exists() and (folder / "test_questions.json").exists()
    shutil.rmtree(folder)
    words.remove("--keep")
    main(words)
    assert sorted(p.name for p in folder.iterdir()) == ["dev.db", "test.db", "train.db"]


def test_missing_mails_are_counted_and_three_are_named(tmp_path):
    mails = make_avocado(tmp_path / "text", {"001-000001-EM": MAILS["001-000001-EM"]})
    with pytest.raises(UserError,
                       match=r"lacks 4 of the 5 .*: 001-000002-EM, 001-000003-EM, 002-000001-EM \.\.\.$"):
        avocado.get_task("user", tmp_path / "to", "", mails, make_ids(tmp_path / "ids"))
    assert not list((tmp_path / "to").rglob("*.*"))


def test_what_is_wrong_with_the_folders_is_one_line(tmp_path):
    mails, ids = make_avocado(tmp_path / "text"), make_ids(tmp_path / "ids")
    get = lambda mails, ids: avocado.get_task("user", tmp_path / "to", "", mails, ids)
    with pytest.raises(UserError,
                       match="holds no zip files; it should be the folder avocado-1.0.2/data/text"):
        get(tmp_path, ids)
    with pytest.raises(UserError, match="train_questions.json is missing"):
        get(mails, tmp_path)
    whole = (mails / "001.zip").read_bytes()
    for content in (b"no zip", whole[:100], whole[:60] + b"\xff" * 40 + whole[100:]):
        (mails / "001.zip").write_bytes(content)
        with pytest.raises(UserError, match="001.zip cannot be read") as error:
            get(mails, ids)
        assert "\n" not in str(error.value)
    make_avocado(mails)
    for row in (3, {"id": "1", "input": 5, "profile": []},
                {"id": "1", "input": "a", "profile": [{"id": "2"}]}):
        (ids / "dev_questions.json").write_text(json.dumps([row]))
        with pytest.raises(UserError, match="question 1 does not name its e-mails"):
            get(mails, ids)
    assert not list((tmp_path / "to").rglob("*.*"))


def test_names_in_a_zip_mean_nothing_to_the_file_system_and_huge_members_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.writestr("../../evil", "Subject: s\n\nb")
    assert list(avocado.members(tmp_path / "a.zip", {"evil"})) == [("evil", b"Subject: s\n\nb")]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert not (tmp_path.parent.parent / "evil").exists()
    monkeypatch.setattr(avocado, "LARGEST", 5)
    with pytest.raises(UserError, match="too large for an e-mail"):
        list(avocado.members(tmp_path / "a.zip", {"evil"}))


@pytest.mark.parametrize("raw, subject, content", [
    (b"", "", ""), (b"no header\nbody", "", "no header\nbody"), (b"Subject:\n\nb", "", "b"),
    (b"Subject: s\nContent-Type: text/plain; charset=nope\n\n\xe9", "s", "é"),
    (b"Subject: s\nContent-Transfer-Encoding: base64\n\naGk=", "s", "hi"),
    (b"Subject: s\nContent-Type: multipart/mixed; boundary=B\n\n"
     b"--B\nContent-Type: image/png\n\nx\n--B--\n", "s", ""),
    (b"Subject: s\nContent-Type: text/plain; a*\n\n\xe9", "s", "é"),  # IndexError in the standard library
    (b"Subject: s\nContent-Type: text/plain; charset=utf-7\n\n+2D0-", "s", "?"),
])
def test_odd_mails_are_read(raw, subject, content):
    assert avocado.parse(raw) == (subject, content)


def test_no_mail_however_broken_stops_the_reading():
    rng, read = random.Random(0), 0
    for n in range(1000):
        raw = bytearray(rng.choice(list(MAILS.values())[:5]))
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(raw))
            raw[at:at + rng.randint(0, 3)] = rng.choice([b"", b"=?", b"?=", b"\n", b"\xff", b";", b'"', b"*",
                                                         b":"])
        subject, content = avocado.parse(bytes(raw))
        (subject + content).encode()  # fails for half a surrogate pair
        read += bool(subject and content)
    assert 100 < read < 1000
