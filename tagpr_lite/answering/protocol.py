"""The OpenAI protocol's chat completions: a request's body read, an answer's body written.

A model of this server is a task of the run, "LaMP_3"; the user is the request's `user`. The thought is in
`reasoning_content`, as other servers of reasoning models have it, and the answer in `content`. What else is
known of an answer, its steps with their checked claims, is in `tagpr` of the last choice.
"""
from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from ..lamp.tasks import Question, Task
from ..tags.facts import claims_of_steps
from ..tags.schema import Chain, Step

MOST_LETTERS = 200  # of a user's name
ANYBODY = "anybody"
"""The user of a request that names none."""
WITHOUT_EFFECT = {"n": (None, 1), "tools": (None, []), "functions": (None, []), "logprobs": (None, False),
                  "response_format": (None, {"type": "text"}), "temperature": (None, 0, 1),
                  "top_p": (None, 1), "stop": (None, []), "presence_penalty": (None, 0),
                  "frequency_penalty": (None, 0), "logit_bias": (None, {}), "top_logprobs": (None, 0),
                  "modalities": (None, ["text"]), "audio": (None,), "prediction": (None,)}
"""Fields that change nothing with these values; with another one a request is refused."""


class ProtocolError(Exception):
    """What the protocol answers in place of a completion. param: the field that is wrong."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Asked:
    """What a request asks. text: the last message of the user. room: the most tokens of the answer, or None.
    with_usage: whether a streamed answer ends with the number of tokens."""
    model: str
    text: str
    user: str = ANYBODY
    stream: bool = False
    with_usage: bool = False
    room: int | None = None


def asked(content: bytes) -> Asked:
    """The request of a body. ProtocolError: it is none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise ProtocolError(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise ProtocolError(400, "the body should be an object")
    for name, harmless in WITHOUT_EFFECT.items():
        if body.get(name) not in harmless:
            raise ProtocolError(400, f"{name} is not supported with this value: answers are greedy, one text "
                                     "each; leave the field out", name)
    options = body.get("stream_options")
    with_usage = isinstance(options, dict) and options.get("include_usage") is True
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise ProtocolError(400, "stream should be true or false", "stream")
    room = body.get("max_completion_tokens")
    if room is None:
        room = body.get("max_tokens")
    if room is not None and (type(room) is not int or room < 1):
        raise ProtocolError(400, "max_tokens should be a whole number above 0", "max_tokens")
    return Asked(word(body, "model"), text_of(body.get("messages")), user_of(body),
                 stream is True, with_usage, room)


def word(body: dict, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ProtocolError(400, f"'{name}' is missing, a text", name)
    return value


def label_in(body: dict) -> str:
    """An answer: a text, or a number, as in a JSONL history."""
    label = body.get("label")
    return str(label) if type(label) is int else word(body, "label")


def user_of(body: dict) -> str:
    """The name under which a person's history is kept."""
    user = body.get("user")
    if user is None or user == "":
        return ANYBODY
    if not isinstance(user, str) or len(user) > MOST_LETTERS or not user.isprintable():
        raise ProtocolError(400, f"'user' should be a name of at most {MOST_LETTERS} printable characters",
                            "user")
    return user


def text_of(messages: Any) -> str:
    """The text of the one message of the user: what is asked about. The history is the server's to show, and
    the model was not trained on conversations."""
    if not isinstance(messages, list) or not messages:
        raise ProtocolError(400, "'messages' is missing, a list", "messages")
    if len(messages) > 1 or not isinstance(messages[0], dict) or messages[0].get("role") != "user":
        raise ProtocolError(400, "one message of the role 'user' is needed, and no other: the model answers "
                                 "single questions", "messages")
    content = messages[0].get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
                 for part in content]
        content = "".join(parts) if parts and all(isinstance(part, str) for part in parts) else None
    if not isinstance(content, str) or not content.strip():
        raise ProtocolError(400, "the message's content should be a text", "messages")
    return content


# ---------------------------------------------------------------- answers

@dataclass
class Answer:
    """An answer as the protocol has it, whole or in pieces."""
    model: str
    prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    tokens: int = 0

    def usage(self) -> dict:
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens,
                "total_tokens": self.prompt_tokens + self.tokens}

    def whole(self, thought: str, content: str, finish: str, more: dict) -> dict:
        message = {"role": "assistant", "content": content, "reasoning_content": thought}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish, "tagpr": more}
        return self._object("chat.completion") | {"choices": [choice], "usage": self.usage()}

    def piece(self, delta: dict, finish: str | None = None, more: dict | None = None) -> dict:
        """A chunk of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        if more is not None:
            choice["tagpr"] = more
        return self._object("chat.completion.chunk") | {"choices": [choice]}

    def last(self) -> dict:
        """The chunk behind all others, where the usage is asked for."""
        return self._object("chat.completion.chunk") | {"choices": [], "usage": self.usage()}

    def _object(self, kind: str) -> dict:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def checked(steps: list[Step], question: Question, answer: str) -> dict:
    """{"steps": [{"tag", "text", "claims": [[claim, whether it holds]]}], "answer": as the task reads it}."""
    claims = claims_of_steps(Chain(tuple(steps), answer), question)
    return {"steps": [{"tag": step.tag, "text": step.text, "claims": [list(claim) for claim in of_step]}
                      for step, of_step in zip(steps, claims, strict=True)],
            "answer": question.task.parse_answer(answer)}


def models(tasks: dict[str, Task], run: str) -> dict:
    """The body of /v1/models."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": run,
                                        "title": task.title, "labels": list(task.labels)}
                                       for name, task in sorted(tasks.items())]}
