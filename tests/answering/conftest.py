"""A run of the tiny model that was not trained: what it writes makes no sense, and is always the same."""

import pytest

from tagpr_lite import config
from tagpr_lite.engine.adapters import add_adapter, save_adapter
from tagpr_lite.engine.location import find, identity
from tagpr_lite.engine.model import load
from tagpr_lite.lamp import mini
from tagpr_lite.lamp.rows import write_questions, write_tasks
from tagpr_lite.plan.run_plan import RunPlan, write_plan
from tagpr_lite.runs import save_config, write_json


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of the run; it knows LaMP_2 and LaMP_3."""
    results = tmp_path_factory.mktemp("results")
    conf = config.load("smoke", [f"results={results}", "name=run", "grpo.completion=40"])
    save_config(conf)
    questions = [q for task in mini.build(0, 12, tasks=["LaMP_2", "LaMP_3"]).values() for q in task["train"]]
    write_questions(conf.folder, "train", questions)
    write_tasks(conf.folder, questions)
    write_json(conf.folder / "data" / "summary.json", {"tasks": {"LaMP_2": {}, "LaMP_3": {}}})
    write_plan(conf.folder, RunPlan("tiny", identity(find(conf.model)), 4, "cpu", "float32", 1))
    model, _ = load(conf.model)
    for stage in ("sft", "guided"):
        model = add_adapter(model, conf.model, stage, seed=len(stage))
        for name, parameter in model.named_parameters():
            if f"lora_B.{stage}" in name:  # it begins at 0, where an adapter says nothing
                parameter.data.normal_(0, 0.2)
        save_adapter(model, stage, conf.folder / stage / "adapter")
    return conf.folder
