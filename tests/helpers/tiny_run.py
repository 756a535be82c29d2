"""A run of the tiny model whose adapters are random: what the commands that use a finished run read of it."""
import json

import torch

from tagpr_lite import config
from tagpr_lite.engine import model as engine
from tagpr_lite.lamp import mini
from tagpr_lite.runs import write_json
from tagpr_lite.runs.manifests import made_files
from tagpr_lite.steps import step1_prepare

STAGES = {"sft": "sft/adapter", "explore": "explore/adapter"}
WORDS = ["lamp.train_limit=4", "lamp.dev_limit=4", "lamp.from_profile={}", "model.lora_r=4",
         "grpo.completion=24", "evaluate.batch=3"]


def make(results, *words):
    """The folder of a run with step 1 done, and two stages whose adapters write different things."""
    conf = config.load("smoke", [f"results={results}", "name=run", *WORDS, *words])
    step1_prepare.main(conf)
    model, _ = engine.load(conf.model)
    for stage, folder in STAGES.items():
        model = engine.add_adapter(model, conf.model, stage)
        for param in engine.adapter_parameters(model, stage).values():
            seed = torch.Generator(param.device).manual_seed(len(stage))
            torch.nn.init.normal_(param, std=0.05, generator=seed)
        engine.save_adapter(model, stage, conf.folder / folder)
        write_json(conf.folder / "manifests" / f"{stage}.json",
                   {"key": {}, "done": True, "outputs": [stage], "made": made_files(conf.folder, [stage])})
    return conf.folder


def write_official(folder, tasks, users=8, questions=4):
    """The built-in benchmark's questions as files of the official form; the test questions are those of
    dev."""
    for task, splits in mini.build(0, users, tasks).items():
        (folder / task).mkdir(parents=True)
        for number, split in enumerate(("train", "dev")):
            chosen = list(splits[split])[:questions]
            rows = [official_row(f"{number}{place}", question) for place, question in enumerate(chosen)]
            golds = [{"id": row["id"], "output": question.gold} for row, question in zip(rows, chosen)]
            (folder / task / f"{split}_questions.json").write_text(json.dumps(rows))
            (folder / task / f"{split}_outputs.json").write_text(json.dumps({"task": task, "golds": golds}))
        (folder / task / "test_questions.json").write_text(json.dumps(rows))
    return folder


def official_row(name, question):
    """A question as the official files have it."""
    task = question.task
    keys = {"id": "id", "text": task.text_key, "label": task.label_key, "date": "date"}
    items = [{key: getattr(item, field) for field, key in keys.items() if key} for item in question.profile]
    return {"id": name, "input": question.input, "profile": items, "user_id": question.user}
