"""Models of the hub: fetched once, found without a network, and every way in which they cannot be had."""
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hub_site import SHA, hub_site  # noqa: F401 (hub_site is a fixture)
from huggingface_hub import constants
from peft.utils import save_and_load

from tagpr_lite.config import Model, UserError
from tagpr_lite.engine import hub, location
from tagpr_lite.engine import model as engine
from tagpr_lite.runs import digest

NAME = "Qwen/Qwen3-0.6B"
TINY = Model(name="tiny")


def no_network(monkeypatch, hub_site):
    """From now on every question to the hub is an error."""
    hub_site.log.clear()
    hub_site.manner = "500"
    ask = lambda *words, **more: hub_site.log.append(f"peft asks for {words}")
    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", ask)


def test_a_model_is_fetched_once_after_a_line_that_says_what_comes(hub_site, monkeypatch, capsys):
    hub_site.files |= {"README.md": b"x" * 999, "pytorch_model.bin": b"x", "consolidated.safetensors": b"x"}
    folder = Path(location.find(Model(name=NAME)))
    wanted = {name: body for name, body in hub_site.files.items()
              if name.endswith((".json", ".jinja")) or name == "model.safetensors"}
    size = sum(map(len, wanted.values())) / 1e6
    assert f"fetching {NAME} from the hub: {len(wanted)} files, {size:,.0f} MB\n" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted
    assert folder == Path(constants.HF_HUB_CACHE) / "models--Qwen--Qwen3-0.6B" / "snapshots" / SHA
    no_network(monkeypatch, hub_site)
    assert location.find(Model(name=NAME)) == str(folder)
    assert hub_site.log == [] and capsys.readouterr().out == ""


def test_a_fetched_model_is_loaded_trained_and_saved_without_the_hub(hub_site, monkeypatch, tmp_path):
    here = location.find(Model(name=NAME))
    assert location.public_name(here) == NAME and location.identity(here) == location.identity(here)
    no_network(monkeypatch, hub_site)
    model, _ = engine.load(Model(name=NAME))
    model = engine.add_adapter(model, TINY, "policy")
    engine.save_adapter(model, "policy", tmp_path / "a")
    model = engine.load_adapter(engine.load(Model(name=NAME))[0], tmp_path / "a", "policy")
    engine.save_adapter(model, "policy", tmp_path / "b")
    assert hub_site.log == []
    weights = "adapter_model.safetensors"
    assert digest(tmp_path / "a" / weights) == digest(tmp_path / "b" / weights)
    for name in ("adapter_config.json", "README.md"):
        assert NAME in (tmp_path / "a" / name).read_text()
    assert str(tmp_path) not in (tmp_path / "a" / "adapter_config.json").read_text()


def test_the_weights_are_those_of_the_folder(hub_site):
    fetched, local = (engine.load(Model(name=name, bits=32))[0].state_dict() for name in (NAME, "tiny"))
    assert all(torch.equal(fetched[name], local[name]) for name in local)


@pytest.mark.parametrize("manner", ["cut 3000", "stall 3000"])
def test_a_cut_or_a_stall_goes_on_from_where_it_was(hub_site, manner):
    hub_site.manner, hub_site.times = manner, 2
    folder = Path(location.find(Model(name=NAME)))
    assert (folder / "model.safetensors").read_bytes() == hub_site.files["model.safetensors"]
    assert sum(line.startswith("GET") and line.endswith("model.safetensors") for line in hub_site.log) == 3


@pytest.mark.parametrize("manner, says", [
    ("503", "the hub answered 503"), ("404", "the hub answered 404"), ("401", "knows no such model"),
    ("403", "gated"), ("page", "cannot be read"), ("silent", "does not answer"),
    ("stall 0", "does not answer"), ("cut 0", "cannot be reached|does not answer")])
def test_why_a_model_cannot_be_had_is_one_line_and_the_next_start_has_it(hub_site, manner, says):
    hub_site.manner = manner
    with pytest.raises(UserError, match=f"model '{NAME}' cannot be had: .*({says})") as error:
        location.find(Model(name=NAME))
    assert "\n" not in str(error.value)
    assert location.find_auto(Model(name="auto", vram=4)) == ("smollm2", (
        f"model.name=auto: {NAME} cannot be had ({str(error.value).partition(': ')[2]}); "
        "SmolLM2-135M-Instruct takes its place; the next start tries again"))
    hub_site.manner = ""
    assert location.find_auto(Model(name="auto", vram=4)) == (NAME, "")


def test_a_hub_that_is_not_there(hub_site, monkeypatch):
    hub_site.close()
    with pytest.raises(UserError, match="cannot be reached"):
        location.find(Model(name=NAME))


def test_offline_mode(hub_site, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        location.find(Model(name=NAME))
    assert hub_site.log == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    folder = location.find(Model(name=NAME))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert location.find(Model(name=NAME)) == folder


def test_a_full_disk_is_known_before_the_first_byte(hub_site, monkeypatch, capsys):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100))
    with pytest.raises(UserError, match="has 0 MB free, and 2 MB are needed"):
        location.find(Model(name=NAME))
    assert not any("resolve" in line for line in hub_site.log) and "2 MB" in capsys.readouterr().out


def test_sizes_that_the_hub_does_not_tell_are_said_to_be_unknown(hub_site, capsys):
    hub_site.sizes = False
    location.find(Model(name=NAME))
    assert "of them of a size that the hub does not tell" in capsys.readouterr().out


def test_a_part_of_a_model_in_the_cache_is_no_model(hub_site, capsys):
    folder = Path(location.find(Model(name=NAME)))
    (folder / "model.safetensors").unlink()
    assert hub.cached(NAME) is None
    shutil.rmtree(folder.parents[1] / "trees", ignore_errors=True)  # as another program leaves it
    assert hub.cached(NAME) is None
    blobs = folder.parents[1] / "blobs"
    assert Path(location.find(Model(name=NAME))) == folder and (folder / "model.safetensors").exists()
    assert "files are here already" in capsys.readouterr().out and blobs.is_dir()

    (folder / hub.INDEX).write_text('{"weight_map": {"a": "model.safetensors", "b": "other.safetensors"}}')
    assert not hub.is_whole(folder)
    (folder / hub.INDEX).write_text('{"weight_map": {"a": "model.safetensors"}}')
    assert hub.is_whole(folder)
    (folder / hub.INDEX).write_text("[]")
    assert not hub.is_whole(folder)


def test_a_model_without_safetensors_is_one_line(hub_site):
    del hub_site.files["model.safetensors"]
    with pytest.raises(UserError, match="lacks a configuration, a tokenizer or weights"):
        location.find(Model(name=NAME))


def test_ctrl_c_while_files_come_ends_the_threads(hub_site, monkeypatch):
    made = []
    bar_class = hub._bar_class
    monkeypatch.setattr(hub, "_bar_class", lambda: made.append(bar_class()) or made[-1])

    def interrupted(seconds, work):
        if seconds is None:
            raise KeyboardInterrupt
        return work()
    monkeypatch.setattr(hub, "within", interrupted)
    with pytest.raises(KeyboardInterrupt):
        location.find(Model(name=NAME))
    with pytest.raises(InterruptedError):
        made[0](total=3).update(1)


def test_names_of_cached_folders():
    assert hub.hub_id(Path("/x/models--Qwen--Qwen3-4B/snapshots/abc")) == "Qwen/Qwen3-4B"
    assert hub.hub_id(Path("/x/Qwen3-4B")) is None and hub.hub_id(Path("/x/snapshots/abc")) is None


def test_by_its_environment_in_a_process_of_its_own(hub_site, tmp_path):
    """HF_ENDPOINT and HF_HOME are the hub's own; an unreachable hub is noticed within ten seconds."""
    code = ("from tagpr_lite.config import Model; from tagpr_lite.engine.location import find; "
            f"from tagpr_lite.runs import guard; guard(lambda: print(find(Model(name='{NAME}'))))")
    env = {**os.environ, "HF_ENDPOINT": hub_site.url, "HF_HOME": str(tmp_path / "home"),
           "no_proxy": "127.0.0.1"}
    got = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60,
                         check=False)
    assert got.returncode == 0 and str(tmp_path / "home") in got.stdout.splitlines()[-1], got.stderr
    env["HF_ENDPOINT"], env["HF_HOME"] = "http://127.0.0.1:9", str(tmp_path / "other")
    got = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30,
                         check=False)
    assert got.returncode == 2 and got.stderr.count("\n") == 1 and "cannot be reached" in got.stderr
