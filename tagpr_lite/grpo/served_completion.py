"""One completion as a server sent it, read into a Sample. What cannot be trained on is refused in words.

The form is that of vLLM's /v1/completions, with the fields that served_rollouts.py asks for:

    {"model": "tagpr-3f2a...", "choices": [{
        "prompt_token_ids": [1, 17, 4],              as they were sent
        "token_ids": [9, 12, 2],                     the completion, its end token included
        "finish_reason": "stop",                     or "length"
        "logprobs": {"tokens": ["token_id:9", ...],  the same ids in words
                     "token_logprobs": [-0.7, -1.2, -0.1]}}]}

Servers older than `token_ids` have the ids in words alone; that is enough. A silent fault is worse than a
stop: a wrong id or log-prob would be trained on. So everything that is said twice is compared.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..engine.sample import Sample
from ..tags.teachers.replies import Failure, safe

ABOVE_ZERO = 1e-3  # nats by which rounding may lift a log-prob above 0
IN_WORDS = "token_id:"  # how an id is written where a token's text would stand


@dataclass(frozen=True)
class Asked:
    """What a completion was asked for, which it is held against."""
    model: str
    """The adapter's name at the server."""
    prompt_ids: list[int]
    """[P]."""
    room: int
    """Most tokens."""
    ends: set[int]
    """The ids that end a completion."""
    vocabulary: int
    """Ids are below this."""


def read_completion(body: dict, asked: Asked) -> Sample:
    """The one completion of a response: its ids [R], their log-probs [R], and whether it ended. The server
    does not say the entropy; it stays 0, and nothing in GRPO reads it. Failure: it cannot be trained on."""
    choices = body.get("choices")
    count = len(choices) if isinstance(choices, list) else 0
    if count != 1 or not isinstance(choices[0], dict):
        raise fault(f"{count} completions, where one was asked for")
    choice = choices[0]
    if choice.get("finish_reason") == "abort":  # it was interrupted, and may do better a moment later
        raise Failure("the completion was aborted", "passing")
    check_source(body, choice, asked)
    ids = ids_of(choice, asked)
    logps = logps_of(choice, len(ids))
    return Sample(ids, logps, ids[-1] in asked.ends)


def check_source(body: dict, choice: dict, asked: Asked) -> None:
    """Failure where it was not written by the adapter, or not behind the prompt; both may be left unsaid."""
    model = body.get("model")
    if model is not None and model != asked.model:
        raise fault(f"the completion is of the model {safe(model)!r}, not of the adapter {asked.model}")
    prompt_ids = choice.get("prompt_token_ids")
    if prompt_ids is not None and prompt_ids != asked.prompt_ids:
        raise fault("the prompt that it completed is not the one that was sent")


def ids_of(choice: dict, asked: Asked) -> list[int]:
    """The completion's ids [R]. Failure: none, too many, unknown ones, two versions of them, or no end."""
    ids = choice.get("token_ids")
    in_words = ids_in_words(choice)
    if ids is None:
        ids = in_words
    if not isinstance(ids, list) or not ids:
        raise fault("a completion without token ids")
    unknown = [token for token in ids if type(token) is not int or not 0 <= token < asked.vocabulary]
    if unknown:
        raise fault(f"the token id {safe(unknown[0])}, where the model has {asked.vocabulary}")
    if in_words is not None and in_words != ids:
        raise fault("log-probs that are of other token ids than the completion")
    if len(ids) > asked.room:
        raise fault(f"{len(ids)} tokens, where at most {asked.room} were asked for")
    if any(token in asked.ends for token in ids[:-1]):
        raise fault("a completion that goes on behind its end token")
    if len(ids) < asked.room and ids[-1] not in asked.ends:
        reason = safe(choice.get("finish_reason"))
        raise fault(f"a completion that stops after {len(ids)} of {asked.room} tokens without an end token "
                    f"(finish_reason {reason})")
    return ids


def ids_in_words(choice: dict) -> list[int] | None:
    """The ids of ["token_id:9", "token_id:12"]; None where they are not written so."""
    tokens = field_of_logprobs(choice, "tokens")
    if not isinstance(tokens, list):
        return None
    numbers = [token[len(IN_WORDS):] for token in tokens
               if isinstance(token, str) and token.startswith(IN_WORDS)]
    is_whole = len(numbers) == len(tokens) and all(number.isdecimal() for number in numbers)
    return [int(number) for number in numbers] if is_whole else None


def logps_of(choice: dict, count: int) -> list[float]:
    """The log-probs [R] in nats. Failure: they are missing, or no log-probs."""
    logps = field_of_logprobs(choice, "token_logprobs")
    if not isinstance(logps, list):
        raise fault("a completion without log-probs")
    if len(logps) != count:
        raise fault(f"{len(logps)} log-probs for {count} tokens")
    for logp in logps:
        is_number = isinstance(logp, (int, float)) and not isinstance(logp, bool)
        if not is_number or not math.isfinite(logp) or logp > ABOVE_ZERO:
            raise fault(f"the log-prob {safe(logp)}")
    return [float(logp) for logp in logps]


def field_of_logprobs(choice: dict, name: str) -> Any:
    """A field of the completion's log-probs; None where there is none."""
    logprobs = choice.get("logprobs")
    return logprobs.get(name) if isinstance(logprobs, dict) else None


def fault(words: str) -> Failure:
    """A failure that asking again would not mend."""
    return Failure(words, "setup")
