"""The model of a finished run, loaded once and asked as often as wanted.

Decisions. On a CPU the layers stay folded (engine/fold.py) from question to question, and a prompt that
begins like one of the last is computed from where it differs (engine/prompt_cache.py). Answers are greedy:
the same question and the same history give the same answer. One question alone is written several tokens a
forward (engine/drafted.py), drafted from the chains that the run was trained on; several questions are
decoded together, a token a forward each.
"""
from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from ..config import UserError
from ..engine.adapters import load_adapter
from ..engine.drafted import Drafts, write_greedily
from ..engine.fold import folded
from ..engine.model import load
from ..engine.prompt_cache import PromptCache
from ..engine.sample import Listen, Sample, end_tokens, sample
from ..lamp.chat import completion_text
from ..lamp.prompts import PromptReport, build
from ..lamp.retrieve import Embed
from ..lamp.tasks import Question
from ..runs import read_jsonl
from .run import FinishedRun

ADAPTER = "answers"
MOST_CHAINS = 500  # that completions are drafted from


class Answerer:
    """ends: the tokens that end a completion."""

    def __init__(self, run: FinishedRun):
        self.run = run
        base, self.tokenizer = load(run.config.model)
        self.model = load_adapter(base, run.adapter, ADAPTER).eval()
        self.ends = end_tokens(self.model, self.tokenizer)
        self.cache = PromptCache()
        self._folding: ExitStack | None = None  # open while the layers are folded
        self._fold()

    @cached_property
    def drafts(self) -> Drafts:
        """What completions are drafted from; made for the first question that comes alone."""
        drafts = Drafts()
        for chain in chains_of(self.run.folder):
            drafts.add(self.tokenizer(chain, add_special_tokens=False)["input_ids"])
        return drafts

    @cached_property
    def embed(self) -> Embed | None:
        """The encoder of the retriever `dense`, loaded when it is first needed; None of the others."""
        lamp = self.run.config.lamp
        if lamp.retriever != "dense":
            return None
        from ..engine.embed import encoder
        return encoder(lamp.encoder, self.run.config.model)

    def prompt(self, question: Question, with_profile: bool = True) -> tuple[list[int], PromptReport]:
        """(token ids [P], what was cut). A person without a history has no profile to show."""
        return build(question, self.tokenizer, self.run.config.prompt, reason=self.run.config.sft.thinks,
                     with_profile=with_profile and bool(question.profile))

    def write(self, prompts: list[list[int]], listen: Listen | None = None) -> list[Sample]:
        """One greedy completion of each prompt [P]; prompts are decoded together. listen: gets (number of the
        prompt, token) as it is drawn, and says whether the prompt's completion goes on."""
        self._fold()
        forwarded = [self.cache.forward(self.model, ids) for ids in prompts]
        if len(prompts) == 1:
            return [write_greedily(self.model, forwarded[0], prompts[0], self.room, self.ends, self.drafts,
                                   listen)]
        rows = sample(self.model, prompts, 1, self.room, self.ends, temperature=0, prefixes=forwarded,
                      listen=listen)
        return [of_prompt[0] for of_prompt in rows]

    def _fold(self) -> None:
        """Folds the layers, where they are not."""
        if self._folding is None:
            self._folding = ExitStack()
            self._folding.enter_context(folded(self.model))

    @property
    def room(self) -> int:
        """The most tokens of a completion."""
        config = self.run.config
        return config.grpo.completion if config.sft.thinks else config.evaluate.answer_tokens

    def text(self, written: Sample) -> str:
        return completion_text(self.tokenizer, written.ids, written.ended)

    def liking(self, question: Question, text: str) -> tuple[float, float]:
        """PRMU's scores of a completion under the question's own user and under the generic one."""
        if self._folding is not None:  # PRMU's adapter is another one than the folded layers have
            self._folding.close()
            self._folding = None
        self.cache.empty()
        prmu = self._prmu
        prmu.texts.add([question], self.run.config.reward.history, keep=False)
        ids = [prmu.encode(text)]
        own, generic = (float(prmu.rate(question, ids, user)[0])
                        for user in (None, prmu.generic_user()))
        return own, generic

    @cached_property
    def _prmu(self):
        from ..prmu.model import load_prmu
        from ..prmu.users import TextEmbeddings, texts_file
        config, folder = self.run.config, self.run.folder
        if not (folder / "prmu").is_dir():
            raise UserError(f"{folder} has no PRMU")
        texts = TextEmbeddings(self.model, self.tokenizer, texts_file(folder))
        _, prmu, _ = load_prmu(folder / "prmu", self.model, self.tokenizer, config.reward, config.prompt,
                               texts)
        self.model.set_adapter(ADAPTER)
        return prmu


def chains_of(folder: Path) -> list[str]:
    """Some of the chains that a run's SFT has learnt, of every task; [] where they are not there."""
    path = folder / "chains" / "kept.jsonl"
    chains = [str(row["text"]) for row in read_jsonl(path, partial=True) if "text" in row]
    return chains[::-(-len(chains) // MOST_CHAINS) or 1]
