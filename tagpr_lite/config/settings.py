"""One dataclass tree holds every setting; each field's docstring is its help text (python -m
tagpr_lite.config).

How they are set is config.py's: presets and `key=value`. Unless a line says otherwise, the defaults are our
choices.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAYOUTS = ("two_phase", "kept", "recompute", "packed", "classic")
"""How a prompt and its completions meet in training (engine/prefix.py); all give the same gradient."""


@dataclass
class Lamp:
    source: str = "mini"
    """`mini` (the built-in benchmark), a folder of LaMP-format files, one sub-folder a task, or a task
    declared in YAML."""
    tasks: list[str] = field(default_factory=list)
    """Tasks to use, such as [LaMP_1, LaMP_3]; empty means every task found in the source."""
    train_limit: dict[str, int] = field(default_factory=dict)
    """Most training questions a task, {default: 60, LaMP_3: 220}; a task that is not named and no default:
    all."""
    dev_limit: dict[str, int] = field(default_factory=dict)
    """Most dev questions a task, in the same form. The sample is seeded, and its size is printed."""
    from_profile: dict[str, int] = field(default_factory=dict)
    """Most further training questions a task made of training users' own profile items; none unless said."""
    retriever: str = "bm25"
    """How profile items are chosen: bm25, dense, recency or random."""
    encoder: str = ""
    """Folder or hub id of the sentence encoder of `dense`; empty: the mean states of the base model
    itself."""
    k: int = 4
    """Profile items shown in the prompt: 0 for none; more than a profile has shows all of it, budget
    permitting."""
    profile_max: int = 64
    """Most profile items kept for a question (the newest, and the retrieved ones)."""
    exclude: list[str] = field(default_factory=list)
    """Leaks to leave out and not only count: gold, asked, future, shared (see lamp/leaks.py)."""
    mini_users: int = 60
    """Users of the built-in benchmark, per task and split; each has a hidden rule of its own."""
    mini_language: str = "en"
    """Language of the built-in benchmark: en, or zh (Chinese, our extension)."""
    mini_people: str = "new"
    """Who its dev users are: new (none of them trained on) or same (the same users, later)."""


@dataclass
class Prompt:
    style: str = "chat"
    """`chat` (ours, for reasoning models) or `official` (profile items folded into the input as the benchmark
    does)."""
    max_tokens: int = 1024
    """Budget of the prompt. Profile items are cut to fit it, the question never is."""
    item_tokens: int = 64
    """Most tokens of one profile item."""


@dataclass
class Model:
    name: str = "smollm2"
    """`smollm2` (from the PyPI wheel), `tiny` (random, built locally), a folder, a hub id, or `auto`: Qwen3
    by `vram`."""
    vram: float = 0.0
    """GPU memory budget in GiB; 0 means what is free (a CPU run has no budget)."""
    bits: int = 4
    """4: NF4 with double quantisation. 32: the base in the compute type (for comparisons)."""
    unpack: bool = False
    """Keep the NF4 weights' values as a dense copy too: the same numbers without unpacking them in every
    forward. For CPUs, where memory is not the limit: a decoded token costs less than half, and 4 bytes a
    parameter are held."""
    lora_r: int = 16
    """LoRA rank."""
    lora_alpha: int = 32
    """LoRA scale is lora_alpha / lora_r."""
    lora_targets: str = "all-linear"
    """Module names separated by commas, or all-linear."""
    checkpointing: bool = True
    """Activation checkpointing: about a third more compute for far less memory."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""


@dataclass
class Tag:
    teacher: str = "template"
    """Who writes the chains: `template` (rules, offline), `openai` (any OpenAI-compatible endpoint), `local`
    (a model loaded here in 4 bits)."""
    model: str = ""
    """The teacher's model: its name at the endpoint, or a folder or hub id."""
    url: str = ""
    """The endpoint, such as http://localhost:8000/v1. The key is read from TAGPR_API_KEY or
    OPENAI_API_KEY."""
    label_model: str = ""
    """Another model that names the steps; empty: the teacher."""
    label_url: str = ""
    """Its endpoint; empty: the teacher's."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request, {chat_template_kwargs: {enable_thinking: true}}; null removes one. A
    local model's go to its chat template."""
    example: bool = True
    """Show the teacher one worked example before each question; small models need it."""
    room: int = 1024
    """Most tokens of a teacher's answer, its thinking included."""
    temperature: float = 0.8
    """Of the teacher's samples."""
    at_once: int = 8
    """Questions on their way to the teacher at a time."""
    per_minute: int = 0
    """Most requests started in a minute; 0: no bound."""
    timeout: float = 300.0
    """Seconds to wait for an answer."""
    retries: int = 6
    """How often a failed request is tried again, with growing pauses."""
    price_in: float = 0.0
    """Price of a million tokens sent."""
    price_out: float = 0.0
    """Price of a million tokens received."""
    max_cost: float = 0.0
    """Ceiling of what all answers of a run may cost, kept even in the worst case of the next one; 0: none."""
    max_tokens: int = 0
    """The same in tokens, sent and received."""
    chains: str = ""
    """Ready-made chains instead of a teacher: a JSONL file of {id, text}."""
    tags_file: str = ""
    """Nine tag names, one a line, instead of finding them (or instead of the template's list, which is
    ours)."""
    synonyms: str = ""
    """A map of names, {"look_at_history": "examine_examples"}: an edited chains/synonyms.json of an earlier
    run."""
    near: float = 0.75
    """Names of steps become one when their distance (1 - cosine) is below this; average linkage."""
    mend: float = 0.3
    """A name outside the nine becomes the nearest of them from this nearness (cosine) on; else its chain is
    dropped."""
    encoder: str = ""
    """Sentence encoder that says which names are near: a folder or hub id; empty: tf-idf of their words and
    steps."""
    samples: int = 4
    """Chains the teacher tries for a question before it gives up."""
    per_question: int = 1
    """Most chains kept for a question."""
    most: int = 0
    """Most chains kept in all, taken in turns from tasks and, within a task, from users; 0: no bound."""
    words: int = 300
    """Most words of a chain's steps."""
    percentile: float = 50.0
    """Free texts: a chain is kept when its ROUGE reaches this percentile of all the teacher's texts for the
    task."""
    within: int = 0
    """Ratings: a chain is kept when its answer is at most this far from the user's."""
    rationalised: float = 1.0
    """Largest share of kept chains whose teacher was told the answer, since it never found it; 0: none. The
    template cannot write titles otherwise; with a real teacher 0.25 is a good bound."""


@dataclass
class SFT:
    form: str = "tagged"
    """What is trained on: tagged chains; for ablations the same chains untagged, or the answer alone."""
    epochs: float = 1.0
    """Passes over the chains."""
    lr: float = 4e-4
    """Peak learning rate of the adapter; cosine to zero after 5% warm-up."""
    batch: int = 4
    """Sequences in an optimiser step."""


@dataclass
class Reward:
    pairs: int = 400
    """Most preference pairs used for training."""
    epochs: int = 1
    """Passes over the pairs."""
    lr: float = 1e-4
    """Learning rate of the PRMU adapter, head and history encoder. The match knows most from the start:
    larger steps spoil it."""
    batch: int = 8
    """Pairs in an optimiser step."""
    tokens: int = 4
    """Soft user tokens."""
    heldout: float = 0.15
    """Share of training users that PRMU is not trained on, to stop and to calibrate on. The report is on dev
    users."""
    reported: int = 200
    """Most pairs of users that nothing was trained on, to report on."""
    history: int = 8
    """Most profile items the history encoder reads."""
    strangers: int = 2
    """Other users whose chains a question's good chain is compared with."""
    rollouts: int = 0
    """Questions for which the SFT policy writes chains, with the profile, without one and with another
    user's; more kinds of pairs come from them."""
    margin: float = 0.5
    """A pair has to be apart by this much times its difference in task score, on top."""
    generic: float = 0.15
    """Share of the cases that are scored under e_0, the user nobody knows, in the place of their own."""
    table: bool = False
    """Give every training user a learned row on top of what the history says. Others have none."""
    checks: int = 5
    """How often held-out users are looked at; the parameters that did best are kept."""
    patience: int = 2
    """Training stops after so many checks in a row without a better one; 0: it never stops early."""
    blind: bool = False
    """Train and ask without user embeddings, under e_0 alone: a reward model that knows nobody, for
    comparison."""


@dataclass
class GRPO:
    group: int = 8
    """Completions sampled for a prompt (G)."""
    prompts: int = 4
    """Prompts in an optimiser step."""
    guided_steps: int = 20
    """Optimiser steps of stage 1 (task + tag + PRMU)."""
    explore_steps: int = 20
    """Optimiser steps of stage 2 (task alone)."""
    lr: float = 5e-5
    """Learning rate, constant after a short warm-up."""
    explore_lr: float = 0.0
    """Stage 2's own; 0: `lr`. Nothing but the format gate holds its chains together, so it wants smaller
    steps."""
    temperature: float = 1.0
    """Sampling temperature; log-probs are of exactly this distribution."""
    completion: int = 128
    """Most tokens of a completion (R)."""
    loss: str = "dapo"
    """The objective: dapo (token mean), grpo (mean of sequence means), dr_grpo (constant divisor), gspo,
    cispo. The default is dapo: a chain's length should not decide how much its tokens count, and with one
    update a batch the rest agree."""
    clip_low: float = 0.2
    """Lower clip of the probability ratio."""
    clip_high: float = 0.28
    """Upper clip; larger than the lower one (DAPO's clip-higher)."""
    beta: float = 0.0
    """Weight of the KL term to the frozen SFT adapter `ref`; at 0 the reference pass is skipped."""
    std_floor: float = 0.05
    """Group rewards are divided by max(std, this): a tiny spread is noise, not signal."""
    alpha_task: float = 1.0
    """Weight of the task term (gated by format)."""
    alpha_tag: float = 0.2
    """Weight of the tag term; stage 2 sets it to 0."""
    alpha_prmu: float = 0.2
    """Weight of the PRMU term; stage 2 sets it to 0."""
    prmu_scale: str = "sigmoid"
    """How PRMU's score becomes a reward in [0, 1]: sigmoid (calibrated) or group (standardised within the
    group)."""
    prmu_users: str = "own"
    """Whose embedding PRMU is asked with: the user's `own`, or another user's (`shuffled`), for
    comparison."""
    guard_accuracy: float = 0.55
    """The PRMU term is dropped where its accuracy on held-out users is below this, and lowered up to 0.1
    above it."""
    guard_agreement: float = -0.1
    """The same for its correlation with the task term within groups, over the last eight steps."""
    overlong: int = 0
    """Tokens before the limit over which the reward falls by up to 1 (DAPO's soft over-long punishment); 0:
    off."""
    resample: int = 0
    """Rounds in which groups without signal are replaced by other questions; 0: they are skipped and
    counted."""
    min_tags: int = 3
    """Distinct tags a chain needs for the full tag reward."""
    layout: str = "two_phase"
    """How prompt and completions meet in training: two_phase, kept, recompute, packed or classic
    (engine/prefix.py). All are exact; two_phase is the fastest, kept spends checkpointing on the prompt
    alone, recompute and packed need less memory, classic is for comparison."""
    once: bool = False
    """Forward a prompt once for sampling and training together: a prompt forward less, for what its backward
    needs being held from one to the other, for all of a step's prompts. A memory budget switches it off."""
    micro: int = 8
    """Completions in one training forward; the gradient does not depend on it. Halved when memory runs out.
    Where there is a memory budget, the plan decides this, `layout`, `once`, `logp_chunk`, `decode_rows` and
    `checkpointing`."""
    checkpointing: bool = True
    """Activation checkpointing in GRPO's updates, where `model.checkpointing` is on too."""
    decode_rows: int = 64
    """Completions decoded together; with more, the rows' own keys and values outgrow the prompts'."""
    self_check: bool = True
    """Compare the layout with the classic one on a real group before training, and stop when they differ."""
    logp_chunk: int = 256
    """Tokens whose logits exist at one time."""
    save_every: int = 5
    """Steps between saved states of the loop."""


@dataclass
class Evaluate:
    systems: list[str] = field(default_factory=lambda: ["base", "base_profile", "sft", "guided", "explore"])
    """What is scored on dev. `base` sees no profile; `base_profile` is the same model with it."""
    batch: int = 32
    """Questions decoded together."""
    answer_tokens: int = 40
    """Most new tokens of a system that answers without reasoning."""


@dataclass
class Config:
    name: str = ""
    """Name of the run: the folder results/<name>. Empty: the preset's name."""
    preset: str = "cpu"
    """The preset this was made from."""
    seed: int = 0
    """Every random choice is a function of this."""
    results: str = "results"
    """Folder that holds the runs."""
    lamp: Lamp = field(default_factory=Lamp)
    prompt: Prompt = field(default_factory=Prompt)
    model: Model = field(default_factory=Model)
    tag: Tag = field(default_factory=Tag)
    sft: SFT = field(default_factory=SFT)
    reward: Reward = field(default_factory=Reward)
    grpo: GRPO = field(default_factory=GRPO)
    evaluate: Evaluate = field(default_factory=Evaluate)

    @property
    def folder(self) -> Path:
        """results/<name>; unnamed runs on other data than the English built-in benchmark get a folder of
        their own."""
        language = "" if self.lamp.mini_language == "en" else f"-{self.lamp.mini_language}"
        source = language if self.lamp.source == "mini" else "-" + Path(self.lamp.source).resolve().stem
        return Path(self.results) / (self.name or self.preset + source)
