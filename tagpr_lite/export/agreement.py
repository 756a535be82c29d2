"""Does an export write what the run's model writes? Both answer dev questions greedily, token by token.

The run's model is the adapter over the weights that it was trained over, sampled by engine/sample.py. The
export is loaded anew from its folder by transformers and peft, as anybody else loads it, and none of the
engine takes part. Where tokens differ, rounding has decided between two that were nearly as likely, or the
weights are other ones: an adapter that was trained over NF4 and is merged into the original weights.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig

from ..answering.answerer import Answerer
from ..engine.model import nf4, placement
from ..engine.rollout import prompt_limit, sample_all
from ..lamp.rows import read_questions
from ..lamp.sampling import group_by, round_robin
from ..runs import progress
from .weights import words


@dataclass(frozen=True)
class Probe:
    """What both models are asked. prompts: token ids [P] of every question. room: tokens of an answer, at
    most. ends: the ids that end one."""
    prompts: list[list[int]]
    room: int
    ends: set[int]


@dataclass(frozen=True)
class Agreement:
    """How far the tokens of an export are those of the run's model."""
    questions: int
    equal: int
    """Questions whose tokens are all equal."""
    share: float
    """Of the run's tokens, those that stand before the first difference of their question."""
    computed: str
    """Where the export was computed, and in which type."""

    @property
    def sentence(self) -> str:
        return (f"Of {self.questions} dev questions {self.equal} were answered with exactly the run's tokens "
                f"(greedy decoding); {self.share:.1%} of the run's tokens stand before the first difference "
                f"of their question. The export was computed {self.computed}.")


# ---------------------------------------------------------------- the run's model

def probe_of(answerer: Answerer, count: int) -> Probe:
    """The prompts of `count` dev questions, the tasks taking turns; fewer where the run has fewer."""
    by_task = group_by(read_questions(answerer.run.folder, "dev"), lambda question: question.task.name)
    questions = round_robin(by_task.values())[:count]
    if len(questions) < count:
        print(f"--check {count}: the run has {len(questions)} dev questions; all are compared", flush=True)
    return Probe([answerer.prompt(question)[0] for question in questions], answerer.room, answerer.ends)


def tokens_of_run(answerer: Answerer, probe: Probe) -> list[list[int]]:
    """The greedy tokens [R] behind every prompt, the one that ends the answer included."""
    limit = prompt_limit("evaluate.batch", answerer.run.config.evaluate.batch)
    groups = sample_all(answerer.model, probe.prompts, 1, probe.room, probe.ends, together=limit,
                        temperature=0.0)
    return [sample.ids for sample, in groups]


# ---------------------------------------------------------------- the export

def load_plainly(folder: Path, base: str, is_adapter: bool, in_nf4: bool):
    """The exported model, loaded by transformers and peft alone.

    base: the folder of the base model, for an adapter. in_nf4: whether the adapter was trained over NF4.
    """
    device, dtype = placement()
    how = {"device_map": {"": device}, "trust_remote_code": False}
    if not is_adapter:
        # A card computes in the type of the weights; a CPU is slow and coarse in 16 bits.
        own_type = dtype if device.type == "cpu" else "auto"
        return AutoModelForCausalLM.from_pretrained(folder, dtype=own_type, **how).eval()
    quantised = {"quantization_config": nf4(dtype)} if in_nf4 else {}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, **quantised, **how)
    return PeftModel.from_pretrained(model, str(folder)).eval()


@torch.inference_mode()
def tokens_of_export(model, probe: Probe) -> list[list[int]]:
    """The greedy tokens [R] behind every prompt, by transformers' own decoding, one prompt at a time."""
    ends = sorted(probe.ends)
    greedy = GenerationConfig(do_sample=False, max_new_tokens=probe.room, eos_token_id=ends,
                              pad_token_id=ends[0], repetition_penalty=1.0)
    tokens = []
    with progress(len(probe.prompts), "the exported model", "answer") as bar:
        for prompt in probe.prompts:
            ids = torch.tensor([prompt], device=model.device)
            written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
            tokens.append(written[0, len(prompt):].tolist())
            bar.update()
    return tokens


# ---------------------------------------------------------------- both

def compare(of_run: list[list[int]], of_export: list[list[int]], computed: str) -> Agreement:
    """of_run, of_export: the tokens of every question."""
    pairs = list(zip(of_run, of_export, strict=True))
    equal = sum(ours == theirs for ours, theirs in pairs)
    before = sum(first_difference(ours, theirs) for ours, theirs in pairs)
    return Agreement(len(pairs), equal, before / sum(len(ours) for ours in of_run), computed)


def first_difference(ours: list[int], theirs: list[int]) -> int:
    """How many tokens two answers begin with alike."""
    for place, (one, other) in enumerate(zip(ours, theirs)):
        if one != other:
            return place
    return min(len(ours), len(theirs))


def where_computed(model) -> str:
    """Such as "on a CPU in float32"."""
    device = "a CPU" if model.device.type == "cpu" else "a CUDA card"
    return f"on {device} in {words(model.dtype)}"
