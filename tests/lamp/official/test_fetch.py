import json
import socket
import subprocess
import sys
from collections import namedtuple

import pytest
from lamp_files import review, write
from lamp_site import Handler, serve, site  # noqa: F401 (site is a fixture)

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import fetch
from tagpr_lite.lamp.official.__main__ import main
from tagpr_lite.lamp.official.fetch import address, download
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.official.store import open_store
from tagpr_lite.lamp.sampling import sample
from tagpr_lite.lamp.tasks import TASKS


@pytest.fixture
def big(site):
    """A file of 1,000 bytes at big.json."""
    site.files["big.json"] = json.dumps(["".join(f"{n:04d}" for n in range(249))]).encode()
    return f"{site.url}/big.json"


# ---------------------------------------------------------------- addresses and the command

def test_addresses_know_the_two_splits_and_the_lamp2_trap():
    for layout, task, name, path in (("user", "LaMP_3", "dev_outputs", "LaMP_3/dev/dev_outputs"),
                                     ("time", "LaMP_1", "test_questions", "time/LaMP_1/test/test_questions"),
                                     ("user", "LaMP_2", "train_questions",
                                      "LaMP_2/new/train/train_questions"),
                                     ("time", "LaMP_2", "dev_questions",
                                      "time/LaMP_2/new/dev/dev_questions")):
        assert address("http://a/LaMP/", layout, task, f"{name}.json") == f"http://a/LaMP/{path}.json"
    assert fetch.BASE == "https://ciir.cs.umass.edu/downloads/LaMP"


def test_a_task_arrives_as_stores_that_load_like_its_json(site, tmp_path, capsys):
    raw = serve(site, write(tmp_path / "raw"))
    main(["--task", "3", "--split", "time", "--to", str(tmp_path / "to"), "--base", site.url])
    folder = tmp_path / "to" / "time" / "LaMP_3"
    assert sorted(p.name for p in folder.iterdir()) == ["dev.db", "test.db", "train.db"]
    stored, plain = (load_folder(f, ["LaMP_3"])["LaMP_3"] for f in (folder.parent, raw))
    assert {s: list(q) for s, q in stored.items()} == plain
    assert sample(stored["train"], 1, 5) == sample(plain["train"], 1, 5)
    test = list(open_store(folder / "test.db"))
    assert [(q.id, q.gold) for q in test] == [("7", None)]
    assert len(site.log) == 5 and f"lamp.source={folder.parent}" in capsys.readouterr().out
    main(["--task", "LaMP-3", "--to", str(tmp_path / "to"), "--base", site.url])
    assert len(site.log) == 5 and "2 questions are here already" in capsys.readouterr().out


def test_all_is_every_public_task_and_both_splits_have_their_place(site, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fetch, "get_task",
                        lambda task, layout, to, base, keep: asked.append((task, layout, keep)))
    main(["--task", "all", "--split", "user", "--keep"])
    main(["--task", "7", "1"])
    assert asked[-2:] == [("LaMP_7", "time", False), ("LaMP_1", "time", False)]
    assert asked[:-2] == [(f"LaMP_{n}", "user", True) for n in (1, 2, 3, 4, 5, 7)]


def test_a_stopped_command_goes_on_and_asks_for_nothing_twice(site, tmp_path):
    serve(site, write(tmp_path / "raw"))
    words = ["--task", "3", "--to", str(tmp_path / "to"), "--base", site.url, "--keep"]
    site.next = [""] * 3 + ["cut 40"] + ["503"] * (fetch.TRIES - 1)  # trouble begins with the dev outputs
    with pytest.raises(SystemExit) as error:
        main(words)
    folder = tmp_path / "to" / "time" / "LaMP_3"
    assert error.value.code == 2 and (folder / "train.db").exists() and not (folder / "dev.db").exists()
    site.log.clear()
    main(words)
    assert site.log == [("/LaMP/time/LaMP_3/dev/dev_outputs.json", "bytes=40-", '"1"'),
                        ("/LaMP/time/LaMP_3/test/test_questions.json", None, None)]
    assert {p.name for p in folder.iterdir()} == {"train.db", "dev.db", "test.db"} | {
        name for split in fetch.SPLITS for name in fetch.raw_files(split)}
    assert len(load_folder(folder)["LaMP_3"]["dev"]) == 1


def test_what_is_wrong_with_a_command_is_one_line(site, tmp_path, capsys):
    for words, said in (([], "nothing to do"), (["--task", "6"], "LDC2015T03"),
                        (["--task", "9"], "unknown task"), (["--task", "shop_reviews"], "no official task"),
                        (["--task", "3", "--base", "ftp://x"], "no http"),
                        (["--convert", str(tmp_path / "no")], "no JSON files"),
                        (["--task", "3", "--base", site.url + "/a b"], "no address")):
        with pytest.raises(SystemExit) as error:
            main(words + ["--to", str(tmp_path / "to")])
        said_in = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.value.code == 2 and said in said_in and said_in.startswith("error: ")


def test_it_runs_as_a_module(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tagpr_lite.lamp.official", "--convert",
                           str(write(tmp_path / "x"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 questions of 2 users" in done.stdout, done.stderr
    assert open_store(tmp_path / "x" / "train.db").n == 2


def test_the_wrong_task_and_the_old_lamp2_are_not_converted(site, tmp_path):
    serve(site, write(tmp_path / "raw"), "LaMP_4")
    with pytest.raises(UserError, match="holds LaMP_3, not LaMP_4.*delete it to download it again"):
        fetch.get_task("LaMP_4", "time", tmp_path / "to", site.url)
    old = {"input": "Which category does this article relate to among the following?", "profile": [{"id": 1}]}
    write(tmp_path / "old", "LaMP_2", [review(1, **old)], [review(2, **old)], "politics")
    for path in (tmp_path / "old").iterdir():
        site.files[address("", "user", "LaMP_2", path.name).removeprefix("/")] = path.read_bytes()
    with pytest.raises(UserError, match="the old LaMP-2"):
        fetch.get_task("LaMP_2", "user", tmp_path / "to", site.url)
    assert not list(tmp_path.rglob("*.db"))


def test_lamp2_question_110_is_repaired_with_a_line_in_the_log(site, tmp_path, capsys):
    profile = [{"id": "i", "tag": "comedy", "description": "d"}]
    train = [{"id": "1", "input": f"{TASKS['LaMP_2'].instruction} a", "profile": profile}]
    write(tmp_path / "raw", "LaMP_2", train, [{"id": "110", "input": "x a man", "profile": profile}],
          "comedy")
    serve(site, tmp_path / "raw", "LaMP_2", "user")
    main(["--task", "2", "--split", "user", "--to", str(tmp_path), "--base", site.url])
    assert load_folder(tmp_path / "user")["LaMP_2"]["dev"][0].input == f"{TASKS['LaMP_2'].instruction} a man"
    assert capsys.readouterr().out.count("110 came without its instruction") == 1
    assert all("/LaMP_2/new/" in path for path, *_ in site.log)


# ---------------------------------------------------------------- one download

def test_a_connection_that_is_cut_again_and_again_is_continued(site, big, tmp_path):
    site.next = ["cut 100", "cut 200", "cut 0", "cut 300"]
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]
    assert [r for _, r, _ in site.log] == [None, "bytes=100-", "bytes=300-", "bytes=300-", "bytes=600-"]
    assert {v for _, _, v in site.log[1:]} == {'"1"'} and [p.name for p in tmp_path.iterdir()] == ["big.json"]


@pytest.mark.parametrize("head", [{}, {"ETag": 'W/"1"'}, {"Last-Modified": "Sun, 01 Feb 2026 10:00:00 GMT"}])
def test_it_goes_on_without_a_strong_etag_too(site, big, tmp_path, head):
    site.head, site.next = head, ["cut 100"]
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]
    assert site.log[1][1:] == ("bytes=100-", head.get("Last-Modified"))


def test_a_server_that_ignores_range_is_read_from_the_start(site, big, tmp_path):
    site.next = ["cut 500", "all"]
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]


def test_a_server_may_send_a_range_that_was_not_asked_for(site, big, tmp_path):
    site.next = ["range"]
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"] and len(site.log) == 1


@pytest.mark.parametrize("head, size", [({"ETag": '"2"'}, 1000), ({"Last-Modified": "x"}, 1000), ({}, 900)])
def test_two_versions_of_a_file_are_never_glued_together(site, big, tmp_path, monkeypatch, head, size):
    def change(_):
        site.files["big.json"], site.head = json.dumps(["y" * (size - 4)]).encode(), head
    site.head = {name: "old" for name in head}
    site.next = ["cut 500"]
    monkeypatch.setattr(fetch.time, "sleep", change)
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]


def test_a_part_of_unknown_origin_or_another_address_is_not_continued(site, big, tmp_path):
    (tmp_path / "big.json.part").write_bytes(b'["from somewhere')
    download(big, tmp_path / "big.json")
    assert site.log[0][1] is None
    site.files["other.json"] = b'["z"]'
    site.next = ["cut 100"] + ["503"] * (fetch.TRIES - 1)
    with pytest.raises(UserError):
        download(big, tmp_path / "again.json")
    download(f"{site.url}/other.json", tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == b'["z"]' and site.log[-1][1] is None


def test_a_part_that_is_complete_needs_no_more_bytes(site, big, tmp_path):
    site.next = ["cut 999"] + ["503"] * (fetch.TRIES - 1)
    with pytest.raises(UserError):
        download(big, tmp_path / "big.json")
    with open(tmp_path / "big.json.part", "ab") as f:
        f.write(b"]")  # killed between the last byte and the renaming
    asked = len(site.log)
    note = json.loads((tmp_path / "big.json.part.json").read_text())
    (tmp_path / "big.json.part.json").write_text(json.dumps(note | {"bytes": None}))  # 416 says it, too
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"] and len(site.log) == asked + 1


def test_a_part_longer_than_the_file_is_started_anew(site, big, tmp_path):
    (tmp_path / "big.json.part").write_bytes(b"x" * 2000)
    (tmp_path / "big.json.part.json").write_text(json.dumps({"url": big, "bytes": None, "version": None}))
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]


@pytest.mark.parametrize("words", [["cut 100", "shift"], ["cut 100", "long"], ["503", "503"], ["stall 10"],
                                   ["bare"]])
def test_other_bad_manners_end_in_the_right_file(site, big, tmp_path, monkeypatch, words):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    site.next = list(words)
    download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json").read_bytes() == site.files["big.json"]


def test_a_web_page_with_status_200_is_an_error_and_destroys_nothing(site, big, tmp_path):
    site.next = ["page"]
    with pytest.raises(UserError, match="a web page, not JSON"):
        download(big, tmp_path / "big.json")
    assert not list(tmp_path.iterdir())
    site.next = ["cut 600", "page"]
    with pytest.raises(UserError, match="a web page, not JSON"):
        download(big, tmp_path / "big.json")
    assert (tmp_path / "big.json.part").stat().st_size == 600
    download(big, tmp_path / "big.json")
    assert site.log[-1][1] == "bytes=600-"


@pytest.mark.parametrize("content", [b"", b'[{"id": "1", "inp', b'{"task": "LaMP_3", "golds": [',
                                     b"not JSON at all"])
def test_json_that_was_cut_on_the_server_is_an_error_and_thrown_away(site, tmp_path, content):
    site.files["x.json"] = content
    with pytest.raises(UserError, match="is empty|is no complete JSON"):
        download(f"{site.url}/x.json", tmp_path / "x.json")
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".json" or p.name == "x.json"]


def test_json_that_is_broken_inside_is_one_line_and_leaves_no_store(site, tmp_path):
    serve(site, write(tmp_path / "raw"))
    name = "time/LaMP_3/train/train_questions.json"
    site.files[name] = site.files[name].replace(b'"input"', b'"input', 2).replace(b'"input', b'"input"', 1)
    with pytest.raises(UserError,
                       match="not a JSON file.*after 1 whole entries; the downloaded file stays") as error:
        fetch.get_task("LaMP_3", "time", tmp_path / "to", site.url)
    assert "\n" not in str(error.value) and not list(tmp_path.rglob("*.db*")) + list(tmp_path.rglob(".*"))


def test_there_is_an_end_to_trying(site, big, tmp_path):
    site.next = ["503"] * 99
    with pytest.raises(UserError, match="answered 503.*6 times in a row"):
        download(big, tmp_path / "big.json")
    assert len(site.log) == fetch.TRIES
    site.log.clear()
    site.next = ["cut 300"] + ["cut 0"] * 99
    with pytest.raises(UserError, match="cut at 300 of 1,000 bytes"):
        download(big, tmp_path / "big.json")
    assert len(site.log) == fetch.TRIES
    site.log.clear()
    site.next = [f"cut {n}" for n in range(1, 13)]  # every one gets further: none is the last
    download(big, tmp_path / "slow.json")
    assert len(site.log) == 13


def test_a_server_that_always_cuts_and_knows_no_range_does_not_loop(site, big, tmp_path, monkeypatch):
    monkeypatch.setattr(Handler, "do_GET",
                        lambda self: (self.site.log.append(self.path),
                                      self.answer(200, self.site.files["big.json"], {}, "cut", 300)))
    with pytest.raises(UserError, match="times in a row"):
        download(big, tmp_path / "big.json")
    assert len(site.log) == fetch.TRIES


def test_errors_that_no_second_try_mends_are_not_tried_again(site, big, tmp_path):
    with pytest.raises(UserError, match="answered 404"):
        download(f"{site.url}/none.json", tmp_path / "none.json")
    site.next = ["gzip"]
    with pytest.raises(UserError, match="sent gzip"):
        download(big, tmp_path / "big.json")
    assert len(site.log) == 2 and not list(tmp_path.iterdir())


def test_a_full_disk_and_a_dead_address_are_said_in_one_line(site, big, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1600))
    with pytest.raises(UserError, match="too full"):
        download(big, tmp_path / "big.json")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(UserError, match="refused"):
        download(f"http://127.0.0.1:{port}/x.json", tmp_path / "x.json")
