"""An export is what the run's model was, to programs that know nothing of this package; what cannot be
exported is one line, and leaves nothing."""
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny_run
import torch
from safetensors.torch import load_file

from tagpr_lite.answering.answerer import Answerer
from tagpr_lite.answering.run import open_run
from tagpr_lite.config import Model, UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.prefix import SharedPrefix, base_of
from tagpr_lite.engine.sample import end_tokens, sample
from tagpr_lite.export import __main__ as command
from tagpr_lite.export import agreement, weights
from tagpr_lite.export.agreement import compare
from tagpr_lite.export.card import shown_message
from tagpr_lite.lamp.chat import prompt_ids
from tagpr_lite.runs import accept_changes, read_json, write_json

# A Python that has not our package runs the code for transformers of every card, and asks each model further.
PLAIN = """
import io, json, sys, torch
from contextlib import redirect_stdout
asked = json.load(sys.stdin)
found = {}
for kind, code in asked["codes"].items():
    names = {}
    with redirect_stdout(io.StringIO()) as written:
        exec(code, names)
    with torch.inference_mode():
        logits = names["model"](input_ids=torch.tensor([asked["ids"]], device=names["model"].device)).logits
    found[kind] = [written.getvalue().removesuffix("\\n"), logits[0, -1].float().tolist()]
assert not [name for name in sys.modules if name.startswith("tagpr_lite")]
print("FOUND", json.dumps(found))
"""
KINDS = {"adapter": [], "nf4": ["--merge"], "dense": ["--merge", "dense"]}
IDS = list(range(5, 40))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tiny_run.make(tmp_path_factory.mktemp("results"))
    for word, mae in (("sft", 1.25), ("explore", 0.75)):
        write_json(folder / "eval" / word / "LaMP_3.json",
                   {"scores": {"n": 4, "lenient": {"mae": mae, "rmse": 1.0}, "strict": {"mae": 2.0},
                               "parse_failure": 0.25, "interval": {"mae": [mae - 0.5, mae + 0.5]}}})
    return folder


def test_exported_files_can_be_read_by_whom_other_new_files_can(exports, tmp_path):
    (tmp_path / "new").touch()
    expected = (tmp_path / "new").stat().st_mode
    for folder, *_ in exports.values():
        assert {path.stat().st_mode for path in folder.iterdir()} == {expected}


def test_a_place_that_cannot_be_written_is_named(run, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        exported(run, tmp_path / "file" / "to")
    err = capsys.readouterr().err
    assert f"cannot be made: {tmp_path / 'file'} cannot be written to" in err and err.count("\n") == 1


def exported(run, to, *words):
    command.main(["--run", str(run), "--to", str(to), *words])
    return (to / "README.md").read_text()


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    """{kind: (its folder, its card, the text that the card's code prints, logits behind IDS)}."""
    to, base = tmp_path_factory.mktemp("exports"), engine.find(Model(name="tiny"))
    cards = {kind: exported(run, to / kind, *words, "--check", "3") for kind, words in KINDS.items()}
    codes = {}
    for kind, card in cards.items():
        (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
        codes[kind] = code.replace('"FOLDER"', repr(str(to / kind)))
    codes["adapter"] = codes["adapter"].replace('"tiny"', repr(base))  # no hub has it
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", PLAIN], input=json.dumps({"codes": codes, "ids": IDS}),
                          capture_output=True, text=True, cwd=to, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.rpartition("FOUND ")[2])
    return {kind: (to / kind, cards[kind], text, torch.tensor(logits))
            for kind, (text, logits) in found.items()}


@torch.no_grad()
def of_ours(run, stage="explore", bits=4):
    """(text, logits) of the run's model, computed by the engine; stage None: of the base alone."""
    finished = open_run(run, stage)
    model, tokenizer = engine.load(replace(finished.config.model, bits=bits))
    model = engine.load_adapter(model, finished.adapter, "it") if stage else model
    prompt = prompt_ids(tokenizer, shown_message(finished.config), True)
    (found,), = sample(model, [prompt], 1, finished.config.grpo.completion, end_tokens(model, tokenizer),
                       temperature=0)
    last = SharedPrefix(model, torch.tensor(IDS, device=model.device)).last
    return tokenizer.decode(found.ids), base_of(model).lm_head(last)[0].float().cpu()


def distance(one, other):
    """Of two rows of logits, in units of the second one's spread."""
    return float((one - other).abs().max() / other.std())


# ---------------------------------------------------------------- what others load

def test_peft_loads_the_adapter_and_computes_what_we_do(run, exports):
    folder, _, _, logits = exports["adapter"]
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", *sorted(weights.ADAPTER_FILES)]
    assert read_json(folder / "adapter_config.json")["base_model_name_or_path"] == "tiny"

    # bitsandbytes rounds to bf16 on a CPU that has the instructions; other weights are farther away by far.
    _, ours = of_ours(run)
    assert distance(logits, ours) < 0.2
    for others in (of_ours(run, None), of_ours(run, "sft"), of_ours(run, bits=32)):
        assert distance(others[1], ours) > 1


def test_transformers_loads_the_merged_model_and_writes_what_we_do(run, exports):
    folder, card, text, logits = exports["nf4"]
    want, ours = of_ours(run)
    assert distance(logits, ours) < 0.02  # weights of 11 bits
    assert text == want
    assert "Of 3 dev questions 3 were" in card and "100.0%" in card and "This model is `explore`." in card
    assert read_json(folder / "config.json")["dtype"] == "float16"


def test_merged_into_the_original_weights_it_is_another_model_and_says_so(run, exports):
    _, card, text, logits = exports["dense"]
    want, dense = of_ours(run, bits=32)
    assert distance(logits, dense) < 0.02 and text == want
    assert distance(logits, of_ours(run)[1]) > 1
    assert "Of 3 dev questions 3 were" not in card and "merged into other weights" in card
    assert "`explore` is the adapter over NF4, and not what is here." in card


# ---------------------------------------------------------------- the comparison

def test_agreement_by_hand():
    found = compare([[1, 2, 3, 4], [5, 6], [7]], [[1, 2, 9, 4], [5, 6], [7, 8]], "here")
    # 2 of 4 tokens, all of 2, and all of 1: of the last the export has written on.
    assert (found.questions, found.equal, found.share) == (3, 1, 5 / 7)


def test_a_model_that_writes_something_else_is_seen(run, tmp_path, monkeypatch):
    """The weights of another stage in the place of the right ones."""
    real = weights.write_adapter
    monkeypatch.setattr(weights, "write_adapter",
                        lambda adapter, folder: real(run / tiny_run.STAGES["sft"], folder))
    assert "Of 4 dev questions 0 were" in exported(run, tmp_path / "a", "--check", "4")


def test_the_tasks_take_turns_and_there_are_no_more_questions_than_there_are(run):
    answerer = Answerer(open_run(run))

    def prompts(count):
        return agreement.probe_of(answerer, count).prompts

    assert [len(prompts(count)) for count in (0, 3, 99)] == [0, 3, 8]
    decoded = [answerer.tokenizer.decode(ids) for ids in prompts(4)]
    assert ["Which tag does" in text for text in decoded] == [True, False, True, False]


# ---------------------------------------------------------------- the card

def test_the_card_has_the_scores_and_no_path_of_this_machine(run, tmp_path, capsys):
    card = exported(run, tmp_path / "a", "--merge", "--check", "0")
    assert "not compared" in card and "not compared" in capsys.readouterr().out
    assert re.search(r"^\| explore +\| .*\*\*0\.750\*\* \(0\.25–1\.25\)", card, re.M)
    assert "base_model: tiny" in card and "see the base model's card" in card
    assert "invented users" in card and "vLLM (not tried)" in card and "convert_hf_to_gguf.py FOLDER" in card
    here = [str(tmp_path), str(run.parent), os.path.expanduser("~")]
    for path in (tmp_path / "a").iterdir():
        data = path.read_bytes()
        assert not [place for place in here if place.encode() in data], path


def test_a_stage_that_kept_the_weights_it_began_with_says_so(run, tmp_path):
    twin = copy_of(run, tmp_path)
    assert "weights are equal" not in exported(run, tmp_path / "a", "--check", "0")
    for name in weights.ADAPTER_FILES:
        (twin / "explore/adapter" / name).write_bytes((twin / "sft/adapter" / name).read_bytes())
    accept_changes(twin)
    assert "weights are equal to those of SFT" in exported(twin, tmp_path / "b", "--check", "0")


# ---------------------------------------------------------------- what is refused

def copy_of(run, tmp_path):
    shutil.copytree(run, tmp_path / "twin")
    return tmp_path / "twin"


def spoil(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


FAULTS = {
    "is no folder of a run": lambda twin, to: ["--run", str(to)],
    "has no adapter of 'last'; it has explore, sft": lambda twin, to: ["--stage", "last"],
    "is not as step explore wrote it": lambda twin, to: spoil(
        twin / "explore/adapter/adapter_model.safetensors"),
    "is not finished": lambda twin, to: write_json(
        twin / "manifests/explore.json", {"key": {}, "done": False, "outputs": ["explore"]}),
    "is not an empty folder": lambda twin, to: to.mkdir() or (to / "mine").write_text("mine") and None,
    "--check -1": lambda twin, to: ["--check", "-1"],
    "say --merge dense": lambda twin, to: (twin / "config.yaml").write_text(
        (twin / "config.yaml").read_text().replace("bits: 4", "bits: 32")) and ["--merge", "nf4"],
    "plan.json is not as step prepare wrote it": lambda twin, to: (twin / "plan.json").unlink()}


@pytest.mark.parametrize("said", FAULTS)
def test_every_fault_is_one_line_and_leaves_nothing(run, tmp_path, capsys, monkeypatch, said):
    monkeypatch.setattr(command, "Answerer", None)  # nothing is loaded before
    twin, to = copy_of(run, tmp_path), tmp_path / "to"
    words = FAULTS[said](twin, to)
    with pytest.raises(SystemExit) as stop:
        command.main(["--run", str(twin), "--to", str(to), *(words if isinstance(words, list) else [])])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and said in error and len(error.splitlines()) == 1
    assert not to.exists() or [path.name for path in to.iterdir()] == ["mine"]


def test_what_fails_on_the_way_leaves_nothing(run, tmp_path, monkeypatch):
    def fails(model, probe):
        raise KeyboardInterrupt

    monkeypatch.setattr(agreement, "tokens_of_export", fails)
    with pytest.raises(SystemExit):
        exported(run, tmp_path / "to", "--check", "1")
    assert list(tmp_path.iterdir()) == []


def test_a_base_in_bf16_stays_in_bf16(tmp_path):
    settings = Model(name=str(tmp_path / "base"), lora_r=4)
    tiny, tokenizer = engine.load(Model(name="tiny", bits=32))
    tiny.to(torch.bfloat16).save_pretrained(settings.name)
    tokenizer.save_pretrained(settings.name)
    policy = engine.add_adapter(engine.load(settings)[0], settings, "policy")
    weights.write_merged(policy, tokenizer, settings.name, tmp_path / "whole")
    tensors = load_file(tmp_path / "whole" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert read_json(tmp_path / "whole" / "config.json")["dtype"] == "bfloat16"


def test_what_16_bits_cannot_hold_is_refused(tmp_path):
    settings = Model(name="tiny", lora_r=4)
    model, tokenizer = engine.load(settings)
    policy = engine.add_adapter(model, settings, "policy")
    for parameter in engine.adapter_parameters(policy, "policy").values():
        parameter.data.fill_(1e3)
    with pytest.raises(UserError, match="the merged model in float16 holds values that are not finite"):
        weights.write_merged(policy, tokenizer, engine.find(settings), tmp_path / "whole")


def test_an_adapter_on_the_embeddings_is_not_merged():
    """The head of a model whose head is its embeddings would change them too."""
    settings = Model(name="tiny", lora_r=4, lora_targets="q_proj,lm_head", bits=32)
    policy = engine.add_adapter(engine.load(settings)[0], settings, "policy")
    whole, _ = engine.load(settings)
    with pytest.raises(UserError, match="lm_head, which cannot be merged"):
        weights.merge_into(whole, base_of(policy))
