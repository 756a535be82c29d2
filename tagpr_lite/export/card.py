"""The model card of an export, README.md: what it was made of, what it scores, how to load it, its limits.

Everything is read out of the run's folder. No path of this machine and no text of the run's data stands in
it: a card is made to be passed on.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..answering.run import FinishedRun
from ..config import Config, to_dict
from ..engine.location import find, public_name
from ..lamp.chat import template_of
from ..lamp.prompts import message
from ..lamp.tasks import TASKS, Item, Question
from ..plan.run_plan import read_plan
from ..report.grid import grid
from ..report.markdown import lenient_table
from ..report.references import read_references, reference_rows
from ..report.tables import collect, label
from ..runs import one_line, printable, read_json
from ..runs.steps import value_of
from .agreement import Agreement
from .recipes import recipes
from .weights import ADAPTER_FILES

LICENCES = {"HuggingFaceTB/SmolLM2-135M-Instruct": "Apache-2.0"}
YAML = (".yaml", ".yml")
SYSTEMS = ("`base` is the base model without the history, `base_profile` with it. `sft` was trained on "
           "tagged chains; `guided` and `explore` went on from there by the two stages of GRPO. The mean "
           "relative change is the mean of what each score gained over `base`, where `base` is not 0.")
# Settings that matter, by the step that they are of; a stage shows those of the steps before it too.
SETTINGS = {
    "sft": ("seed", "model.bits", "model.lora_r", "model.lora_alpha", "model.lora_targets", "prompt.style",
            "prompt.max_tokens", "lamp.retriever", "lamp.k", "tag.teacher", "sft.form", "sft.epochs",
            "sft.lr"),
    "guided": ("grpo.guided_steps", "grpo.prompts", "grpo.group", "grpo.lr", "grpo.temperature",
               "grpo.completion", "grpo.alpha_task", "grpo.alpha_tag", "grpo.alpha_prmu", "grpo.alpha_step",
               "grpo.gate", "grpo.beta"),
    "explore": ("grpo.explore_steps", "grpo.explore_lr")}
# An invented question: it shows the form of a prompt, and nothing of anybody's data.
SHOWN = Question("1", TASKS["LaMP_3"], "1", TASKS["LaMP_3"].ask("the handle broke within a week"), None,
                 (Item("1", "good value for the price", "5"), Item("2", "it came a week late", "2")), (0, 1))


@dataclass(frozen=True)
class Facts:
    """What an export is, beside what the run's folder says."""
    merge: str
    """nf4 or dense; "": an adapter."""
    dtype: str
    """Of merged weights, such as float16."""
    room: int
    """Tokens of an answer, at most."""
    tokenizer: Any
    found: Agreement | None = None

    @property
    def compared(self) -> str:
        """The comparison with the run in a sentence."""
        return self.found.sentence if self.found else "Its tokens were not compared with the run's."


def render(run: FinishedRun, facts: Facts) -> str:
    """The card."""
    base = public_name(find(run.config.model))
    title = f"# {base.rpartition('/')[2]} that knows its user: TagPR, run {run.folder.name}, {run.stage}"
    parts = [front(run, facts, base), title, *about(run, facts, base),
             "## Compared with the run", facts.compared, *compared_over(run, facts),
             "## Data", *data(run),
             "## Settings that matter", settings(run),
             "## Scores", *scores(run, facts),
             "## Use", prompt_form(run.config, facts.tokenizer), "FOLDER is where this card lies.",
             *recipes(base, facts.merge, run.config, shown_message(run.config), facts.room),
             "## Limits", *limits(base),
             "## Licences", *licences(run.config, base)]
    return printable("\n\n".join(parts) + "\n")


def front(run: FinishedRun, facts: Facts, base: str) -> str:
    """The lines that a model hub reads."""
    lines = ["---", f"base_model: {base}", f"library_name: {'transformers' if facts.merge else 'peft'}",
             "pipeline_tag: text-generation", "tags: [tagpr, personalization, lamp]"]
    if run.config.lamp.source == "mini" and base in LICENCES:
        lines.append(f"license: {LICENCES[base].lower()}")
    return "\n".join([*lines, "---"])


def about(run: FinishedRun, facts: Facts, base: str) -> list[str]:
    """What it is, in two paragraphs."""
    if facts.merge:
        into = {"nf4": "the values that its NF4 form dequantises to", "dense": "its original weights"}
        what = f"{base} with a LoRA adapter merged into {into[facts.merge]}, in 16 bits ({facts.dtype})"
    else:
        what = f"A LoRA adapter over {base}{' in NF4' if run.config.model.bits == 4 else ''}"
    thinks = "thinks about the user in tagged steps, then " if run.config.sft.thinks else ""
    return [f"{what}. It reads a user's history, {thinks}answers as that user would.",
            f"Stage: {label(run.stage)}. Trained by tagpr_lite, a small reproduction kit of TagPR "
            f"(arXiv 2509.23140); these are not the authors' weights. {kept_weights(run)}".strip()]


def kept_weights(run: FinishedRun) -> str:
    """A sentence where a stage of reinforcement has kept the adapter that it began with."""
    stage = trained_by(run)
    if stage == run.stage:
        return ""
    return (f"The weights are equal to those of {label(stage)}: a stage keeps the adapter that answers "
            "held-out users best, and its own steps brought none that did.")


def trained_by(run: FinishedRun) -> str:
    """The first stage whose adapter has these weights: "sft" where `explore` has kept them."""
    def weights(stage: str) -> bytes:
        path = run.folder / stage / "adapter" / ADAPTER_FILES[0]
        return path.read_bytes() if path.is_file() else b""

    stages = ["sft", "guided", "explore"]
    until_this = stages[:stages.index(run.stage) + 1]
    return next(stage for stage in until_this if stage == run.stage or weights(stage) == weights(run.stage))


def compared_over(run: FinishedRun, facts: Facts) -> list[str]:
    """Over which weights the adapter is exact, where that is not all there is to say."""
    if run.config.model.bits != 4:
        return []
    if facts.merge == "dense":
        return ["The adapter was trained over NF4 and is merged into other weights: the outputs are not "
                "those that were trained and scored."]
    if facts.merge:
        return ["Weights are rounded to 16 bits once; nothing else differs from what was trained."]
    return ["It is exact over the base in NF4 with double quantisation. Over the original weights, as most "
            "servers load them, its outputs differ. On a CPU with bf16 instructions bitsandbytes rounds the "
            "products of NF4 layers to bf16, which the run does not."]


# ---------------------------------------------------------------- data, settings, scores

def data(run: FinishedRun) -> list[str]:
    """Where the questions come from, and how many there are of each task."""
    tasks = read_json(run.folder / "data/summary.json")["tasks"]
    rows = [[name, one_line(task.get("title", ""), 60)]
            + [str(task.get(key, "–")) for key in ("train", "val", "dev", "users")]
            for name, task in sorted(tasks.items())]
    table = grid(["Task", "what", "train", "of held-out users", "dev", "users"], rows)
    return [source(run), table, "Nothing was trained on the held-out users: their answers decided which "
            "adapter was kept. Dev questions were for scoring alone."]


def source(run: FinishedRun) -> str:
    """The kind of data in a sentence."""
    named = run.config.lamp.source
    if named == "mini":
        return ("Source: the built-in benchmark of tagpr_lite, invented users whose answers follow hidden, "
                "known rules. Scores on it are not LaMP's.")
    if Path(named).suffix in YAML:
        return "Source: records of the run's owner, a task of their own."
    if read_plan(run.folder).source:
        return "Source: the official LaMP files, time-based split (https://lamp-benchmark.github.io)."
    return "Source: files in LaMP's format that the run's owner gave."


def settings(run: FinishedRun) -> str:
    """A table of the settings that the weights depend on most."""
    tree = to_dict(run.config)
    names = []
    for step, of_step in SETTINGS.items():
        names += of_step
        if step == trained_by(run):
            break
    return grid(["Setting", "value"], [[f"`{name}`", str(value_of(tree, name))] for name in names])


def scores(run: FinishedRun, facts: Facts) -> list[str]:
    """The run's dev scores with their intervals, every system that was evaluated."""
    rows = collect(run.folder)
    if run.stage not in [row["system"] for row in rows]:
        return [f"The run has not evaluated `{run.stage}`."]
    other_weights = facts.merge == "dense" and run.config.model.bits == 4
    what = f"`{run.stage}` is the adapter over NF4, and not what is here" if other_weights else \
        f"This model is `{run.stage}`"
    return [f"{what}. Dev questions, the answer read out of the text. In brackets: 95% intervals over the "
            "questions. Bold: the best of a column.", SYSTEMS,
            lenient_table(rows, reference_rows(read_references(run.folder)))]


# ---------------------------------------------------------------- use

def shown_message(config: Config) -> str:
    """A whole user's message, of invented items."""
    return message(SHOWN, list(SHOWN.profile), config.prompt.style, with_profile=True,
                   reason=config.sft.thinks)


def prompt_form(config: Config, tokenizer: Any) -> str:
    """What a prompt is."""
    request = ", and the request to think" if config.sft.thinks else ""
    return (f"A prompt is one user message: facts counted over the history, {config.lamp.k} items of it "
            f"({config.lamp.retriever}), the question{request}. `tagpr_lite/lamp/prompts.py` makes it; the "
            f"code below shows one of invented items. The chat template {template_of(tokenizer).sentence()}.")


# ---------------------------------------------------------------- limits, licences

def limits(base: str) -> list[str]:
    """What is known to be missing, and what nobody has looked at."""
    lines = ["It answers in the form of the tasks above, and was trained on nothing else.",
             "It repeats what a history says: a history of false or hurtful texts gives such answers.",
             "No safety training was added, and no bias was measured.",
             "It is one run of one seed: another seed gives other scores, which the intervals do not cover."]
    if base == "tiny":
        lines.insert(0, "The base is a random model of two layers, which shows that the code works.")
    return ["\n".join(f"- {line}" for line in lines)]


def licences(config: Config, base: str) -> list[str]:
    """Of the base, the data, the teacher and the code."""
    named = LICENCES.get(base, "see the base model's card")
    if config.lamp.source == "mini":
        of_data = "the built-in benchmark is tagpr_lite's own, Apache-2.0"
    elif Path(config.lamp.source).suffix in YAML:
        of_data = "records of the run's owner, who knows what may be done with them"
    else:
        of_data = ("LaMP is CC BY-NC-SA 4.0, and the data sets that it is made of have licences of their "
                   "own: read them before you pass these weights on")
    lines = [f"base model ({base}): {named}", f"data: {of_data}", "tagpr_lite: Apache-2.0"]
    if config.tag.teacher != "template" or config.tag.chains:
        teacher = public_name(config.tag.model) if config.tag.model else "another program"
        lines.append(f"chains: written by {teacher}, whose terms may bind what is trained on them")
    return ["\n".join(f"- {line}" for line in lines)]
