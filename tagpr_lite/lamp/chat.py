"""What a tokenizer and its chat template do, asked of them instead of guessed from a model's name.

Three questions decide whether what we send and read is what we mean.

1. Does the model think by itself? Qwen3 does, unless its template is told `enable_thinking=False`; others
   open the thought in the prompt ("<think>\n" after the assistant's header). Our chains bring their own
   <think>, and a system that answers at once must not think: its few tokens would end within the thought.

       with reasoning    ... <|im_start|>assistant\n                          the chain's own <think> follows
       without           ... <|im_start|>assistant\n<think>\n\n</think>\n\n    where the model knows thoughts

2. Which texts are control tokens? A review must not be able to end the user's turn, nor a gold answer the
   completion. They are those of the tokenizer's own table; in text from outside they get a space.

3. Which tokens of a completion are no text? Only the one that ended it: `<think>` is a special token of some
   tokenizers, and a decoder that skips special tokens takes it out of what the reward sees.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..config import UserError
from ..runs import one_line

SWITCHES = ("enable_thinking", "thinking")  # Qwen3, GLM and others; Granite, DeepSeek
THOUGHT_MARKS = ("<think>", "</think>")
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
# Where a template's own words after the user's message end with marks of a thought: "<think>\n", a whole
# empty thought, or "</think>".
MARKS_AT_THE_END = re.compile(r"\s*(?:<think>\s*(?:</think>\s*)?|</think>\s*)$")
PROBE = "a message"
# Templates that print today's date print this one, so that a prompt does not depend on the day.
FIXED_DAY = datetime(2024, 7, 26)
# A call whose format is not written out gets this text, whatever the format.
ANY_FORMAT = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")


# ---------------------------------------------------------------- the template

@dataclass(frozen=True)
class ChatTemplate:
    """How a prompt ends after the user's message.

    added_thinking, added_silent: what the template writes there when it is told to think, and when it is told
    not to, such as "<|im_start|>assistant\\n<think>\\n". with_reasoning, without: what stands there in our
    prompts instead, when a chain follows and when an answer follows at once.
    """
    added_thinking: str
    added_silent: str
    with_reasoning: str
    without: str

    @property
    def opens_thought(self) -> bool:
        return self.added_thinking != self.with_reasoning

    @property
    def knows_thinking(self) -> bool:
        """Whether the template has thoughts of its own to be kept from."""
        return self.without != self.with_reasoning

    def sentence(self) -> str:
        """For people: what the template does and what is done about it."""
        if not self.knows_thinking:
            return "has no thoughts of its own"
        opens = "opens the thought, which is taken off" if self.opens_thought else "lets the model think"
        return f"{opens}; systems that answer at once get {self.without[-24:]!r}"


def template_of(tokenizer: Any) -> ChatTemplate:
    """What a tokenizer's template does, from two renderings of a probe. UserError: there is none, or it
    cannot be rendered."""
    return _learn(tokenizer, tokenizer.chat_template)


@lru_cache(maxsize=8)
def _learn(tokenizer: Any, chat_template: str) -> ChatTemplate:
    """chat_template is part of the key: a tokenizer may be given another."""
    added = {}
    for thinking in (True, False):
        rendered = _render(tokenizer, PROBE, thinking)
        if PROBE not in rendered:
            raise UserError(f"the chat template of {tokenizer.name_or_path} leaves the user's message out")
        added[thinking] = rendered.rpartition(PROBE)[2]

    plain = MARKS_AT_THE_END.sub(_kept_space, added[True])
    silent = added[False]
    marks = MARKS_AT_THE_END.search(silent)
    if marks and "</think>" not in marks[0]:  # it opens a thought even when it is told not to think
        silent = silent[:marks.start()] + _kept_space(marks) + EMPTY_THOUGHT
    return ChatTemplate(added[True], added[False], plain, silent)


def _kept_space(marks: re.Match) -> str:
    """The white space before the marks, "\\n" of "assistant\\n<think>\\n"."""
    return marks[0][:len(marks[0]) - len(marks[0].lstrip())]


def _render(tokenizer: Any, text: str, thinking: bool) -> str:
    """One user message and the generation prompt, as text."""
    switches = {"enable_thinking": True} if thinking else dict.fromkeys(SWITCHES, False)
    if tokenizer.chat_template is None:
        raise UserError(f"{tokenizer.name_or_path} has no chat template; use an instruct model")
    try:
        return tokenizer.apply_chat_template([{"role": "user", "content": text}],
                                             chat_template=undated(tokenizer.chat_template),
                                             add_generation_prompt=True, tokenize=False, **switches)
    except Exception as error:  # a template is a program of its own, and may raise anything
        raise UserError(f"the chat template of {tokenizer.name_or_path} cannot be used: "
                        f"{one_line(error, 200)}") from None


def undated(chat_template: str) -> str:
    """The template with FIXED_DAY wherever it prints the day on which it is used."""
    template = TODAY.sub(lambda call: repr(FIXED_DAY.strftime(call[2])), chat_template)
    return ANY_FORMAT + template if "strftime_now(" in template else template


def prompt_ids(tokenizer: Any, text: str, reason: bool) -> list[int]:
    """Token ids [P] of one user message and what the model's turn begins with. reason: a chain will follow;
    else an answer at once. The text is from outside: control tokens in it are text."""
    template = template_of(tokenizer)
    rendered = _render(tokenizer, as_text(tokenizer, text), thinking=reason)
    added, wanted = ((template.added_thinking, template.with_reasoning) if reason
                     else (template.added_silent, template.without))
    return tokenizer.encode(rendered.removesuffix(added) + wanted, add_special_tokens=False)


# ---------------------------------------------------------------- control tokens

def as_text(tokenizer: Any, text: str, keep: Sequence[str] = ()) -> str:
    """A text in which control tokens are text: "<|im_end|>" becomes "< |im_end|>". keep: those that stay."""
    pattern = _control_pattern(tokenizer, len(tokenizer), tuple(keep))
    return pattern.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text) if pattern else text


@lru_cache(maxsize=16)
def _control_pattern(tokenizer: Any, size: int, keep: tuple[str, ...]) -> re.Pattern | None:
    """Matches every control token, the longest first. size is part of the key: tokens may be added."""
    tokens = {entry.content for entry in tokenizer.added_tokens_decoder.values()
              if entry.special or re.fullmatch(r"<.+>", entry.content, re.DOTALL)}
    tokens |= set(tokenizer.all_special_tokens)
    # A token of one character, or of white space, cannot be told from text.
    tokens = {token for token in tokens if len(token.strip()) > 1 and token not in keep}
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))) if tokens else None


def completion_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids [R] of a completion that is trained on or scored: the text and one end token. Of control
    tokens the marks of the thought stay what they are."""
    ids = tokenizer.encode(as_text(tokenizer, text, THOUGHT_MARKS), add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id]


def completion_text(tokenizer: Any, ids: Sequence[int], ended: bool) -> str:
    """What a model wrote, ids [R]: everything but the token that ended it, the last one where `ended`."""
    return tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=False)
