"""The official files that a run asks for: what is here is used, the rest is fetched, or why not is said."""
import shutil
import time
from collections import namedtuple

import pytest
from lamp_files import write
from lamp_site import serve_mini, site  # noqa: F401 (site is a fixture)

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official import fetch, obtain
from tagpr_lite.lamp.official.files import load_folder
from tagpr_lite.lamp.official.obtain import PUBLIC

SIX = ["LaMP_1", "LaMP_2", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_7"]


@pytest.fixture
def here(site, monkeypatch, tmp_path):
    """A folder of nothing to fetch into; the site has LaMP-2 and LaMP-3."""
    serve_mini(site, ["LaMP_2", "LaMP_3"])
    monkeypatch.setenv(obtain.MIRROR, site.url)
    monkeypatch.setattr(obtain, "REACH", 0.6)
    return tmp_path / "data" / "lamp" / "time"


def test_only_the_wanted_tasks_and_no_test_split_are_fetched_once(site, here, capsys):
    assert obtain.obtain(["LaMP_3", "lamp-2"], here) == here
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*.*")) == [
        f"{task}/{split}.db" for task in ("LaMP_2", "LaMP_3") for split in ("dev", "train")]
    loaded = load_folder(here)
    assert set(loaded) == {"LaMP_2", "LaMP_3"} and len(loaded["LaMP_3"]["train"]) > 0
    size = sum(map(len, site.files.values())) / 1e6
    assert (f"fetching LaMP_3, LaMP_2 of the official LaMP files, time-based split, into {here}: 8 files, "
            f"{size:,.1f} MB\n") in capsys.readouterr().out
    asked = len(site.log) + len(site.asked)
    assert obtain.obtain(["LaMP_3"], here) == here and capsys.readouterr().out == ""
    assert len(site.log) + len(site.asked) == asked


def test_no_task_is_all_public_ones(site, here):
    serve_mini(site, SIX)
    obtain.obtain([], here)
    assert sorted(path.name for path in here.iterdir()) == SIX and list(PUBLIC) == SIX


def test_files_of_the_users_own_are_used_and_stay(site, here):
    folder = write(here / "LaMP_3")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    on_server = write(here / "LaMP_2" / "new")
    obtain.obtain(["LaMP_3", "LaMP_2"], here)
    assert site.log == site.asked == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before and on_server.is_dir()


def test_json_that_was_fetched_and_not_yet_converted_is_converted_by_the_next_start(site, here, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt
    convert = fetch.convert
    monkeypatch.setattr(fetch, "convert", killed)
    with pytest.raises(KeyboardInterrupt):
        obtain.obtain(["LaMP_3"], here)
    monkeypatch.setattr(fetch, "convert", convert)
    obtain.obtain(["LaMP_3"], here)
    assert sorted(path.name for path in (here / "LaMP_3").iterdir()) == ["dev.db", "train.db"]


def test_a_damaged_store_is_made_again(site, here):
    obtain.obtain(["LaMP_3"], here)
    (here / "LaMP_3" / "dev.db").write_bytes(b"no store")
    obtain.obtain(["LaMP_3"], here)
    assert len(load_folder(here)["LaMP_3"]["dev"]) > 0


def test_a_cut_in_the_middle_goes_on_from_where_it_was(site, here):
    site.next = ["cut 100", "cut 200"]
    obtain.obtain(["LaMP_3"], here)
    assert [asked for _, asked, _ in site.log[:3]] == [None, "bytes=100-", "bytes=300-"]


def test_a_stopped_fetch_says_what_is_here_already(site, here, capsys):
    site.next = ["", "cut 100"] + ["503"] * fetch.TRIES
    with pytest.raises(UserError, match="answered 503"):
        obtain.obtain(["LaMP_3"], here)
    obtain.obtain(["LaMP_3"], here)
    assert "; 0.0 MB are here already" in capsys.readouterr().out


@pytest.mark.parametrize("heads, gets, says", [
    (["503"] * 9999, [], "the server answered 503"), (["silent"] * 9, [], "timed out|no answer within"),
    ([], ["page"], "a web page, not JSON"), (["405"], ["page"], "a web page"), ("gone", [], "answered 404")])
def test_why_they_cannot_be_had_is_one_line_and_the_next_start_has_them(site, here, heads, gets, says):
    files = dict(site.files)
    if heads == "gone":
        site.files.clear()
    else:
        site.heads, site.next = heads, gets
    begun, is_down = time.monotonic(), heads not in ("gone", []) and not gets
    with pytest.raises(UserError, match=says) as error:
        obtain.obtain(["LaMP_3"], here)
    assert "\n" not in str(error.value) and time.monotonic() - begun < 3
    assert not (is_down and site.log)  # a site that is down is asked for no file
    site.files, site.heads = files, []
    obtain.obtain(["LaMP_3"], here)
    assert load_folder(here)["LaMP_3"]["train"]


def test_a_server_error_that_passes_within_the_time_is_no_reason(site, here, monkeypatch):
    monkeypatch.setattr(fetch, "WAIT", 0.05)
    site.heads = ["503", "503"]
    obtain.obtain(["LaMP_3"], here)
    assert len(site.asked) == 4 + 2


def test_a_pause_that_lasts_too_long_ends_with_what_the_server_said(monkeypatch):
    """A busy machine wakes up after the time is over: there is nothing left to wait with."""
    asked = []

    def ask(url, seconds):
        asked.append(seconds)
        return None, "the server answered 503", True

    sleep = time.sleep
    monkeypatch.setattr(obtain, "REACH", 0.2)
    monkeypatch.setattr(fetch, "WAIT", 0.05)
    monkeypatch.setattr(obtain, "_ask", ask)
    monkeypatch.setattr(obtain.time, "sleep", lambda pause: sleep(pause + 0.3))
    with pytest.raises(UserError, match="^http://x: the server answered 503$"):
        obtain.reach("http://x")
    assert len(asked) == 1


def test_a_site_that_is_not_there(site, here, monkeypatch):
    monkeypatch.setenv(obtain.MIRROR, "http://127.0.0.1:9/LaMP")
    with pytest.raises(UserError, match="refused"):
        obtain.obtain(["LaMP_3"], here)
    monkeypatch.setenv(obtain.MIRROR, "nonsense")
    with pytest.raises(UserError, match="unknown url type"):
        obtain.obtain(["LaMP_3"], here)
    monkeypatch.setenv(obtain.MIRROR, site.url)  # a look-up of its name hangs
    monkeypatch.setattr(obtain.urllib.request, "urlopen", lambda *_, **__: time.sleep(3))
    with pytest.raises(UserError, match="no answer within 0.6 seconds"):
        obtain.obtain(["LaMP_3"], here)


def test_a_full_disk_is_known_before_the_first_byte(site, here, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10))
    with pytest.raises(UserError, match="has 0 MB free"):
        obtain.obtain(["LaMP_3"], here)
    assert site.log == []


def test_sizes_that_the_server_does_not_tell_are_said_to_be_unknown(site, here, capsys):
    site.heads = ["bare"] + ["405"] * 3
    obtain.obtain(["LaMP_3"], here)
    assert "4 files; the server does not tell the size of 4 of them" in capsys.readouterr().out


def test_what_is_not_public_is_not_fetched_and_what_is_here_is_named(site, here):
    obtain.obtain(["LaMP_3"], here)
    with pytest.raises(UserError, match="LaMP_6 is not among the public files"):
        obtain.obtain(["LaMP_6"], here)
    site.heads = ["503"] * 9999
    with pytest.raises(UserError, match="here already: lamp.tasks=LaMP_3$"):
        obtain.obtain(["LaMP_2", "LaMP_3"], here)


def test_a_folder_that_cannot_be_written_is_one_line(site, here):
    here.parent.mkdir(parents=True)
    here.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        obtain.obtain(["LaMP_3"], here)
