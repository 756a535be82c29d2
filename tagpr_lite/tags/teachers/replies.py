"""What a server sent, read: a chat completion becomes a Reply, anything else a Failure with the server's own
words. Nothing here asks, waits or counts.

An answer without text (the thought used up the room, a filter, a refusal, no choices) is an answer: the model
would give it again, and it was billed. It becomes a Reply that says in `refused` why there is no text. A
Failure is of one of these kinds:

    passing       busy, cut, no JSON: the same request may be answered a moment later
    unreachable   no connection: it may be there a moment later
    question      the server does not take this request; it may take others
    setup         no request can be answered: a wrong key, an unknown model, no money left
"""
from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from ...runs import one_line
from .chat import Reply
from .ledger import FEW

MOST_WORDS = 300  # characters that are shown of a server's words
MOST_TOKENS = 10**9  # a usage beyond this is no usage
MOST_BYTES = 2**24  # an answer beyond this is no text that a model wrote
NO_ROOM = "finish_reason length: raise tag.room"
QUESTION = {400, 413, 422, 451}  # what may be wrong with one request and right with the next
PASSING = {408, 409, 425, 429}  # and all from 500 on
NOT_BEGUN = {409, 425, 429, 501, 503, 529}  # of those: the server did no work and bills none
NO_MONEY = re.compile(r"insufficient.(?:quota|balance|credit|funds)|billing|exceeded your current quota",
                      re.I)
NO_MODEL = re.compile(r"model_not_found|\bmodel\b.{0,120}\b(?:not found|not exist|unknown|unavailable)"
                      r"|\b(?:unknown|no such|invalid) model\b", re.I)
MODERATED = re.compile(r"moderation|flagged|content.?(?:filter|policy)|safety", re.I)
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)", re.S)
HTML = re.compile(r"<(script|style)\b.*?</\1>|<[^<>]*>", re.I | re.S)
CONTROLS = {code: " " for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))}
"""All control characters but the tab and the ends of lines."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message, and of a part, that hold a thought: vLLM's, OpenRouter's, Ollama's and Mistral's."""


@dataclass
class Failure(Exception):
    """A turn that brought no answer."""
    words: str
    """The server's, safe and short."""
    kind: str
    may_be_billed: bool = False
    pause: float | None = None
    """Seconds that the server asks to wait."""
    limit: int = FEW
    """How many such refusals before any answer are a fault of the set-up."""


def safe(text: Any) -> str:
    """Words in one printable line of at most MOST_WORDS characters, without a terminal's colours."""
    return one_line(ANSI.sub("", str(text)[:10 * MOST_WORDS]), MOST_WORDS)


def page_words(content: bytes) -> str:
    """What stands in a page of HTML, or in any other content that is no JSON."""
    return safe(HTML.sub(" ", content[:30 * MOST_WORDS].decode(errors="replace")))


# ---------------------------------------------------------------- a completion

def read(status: int, headers: Mapping[str, str], content: bytes, worst: tuple[int, int]) -> Reply:
    """The Reply that a response is; a Failure where it is none.

    worst: (prompt tokens, answer tokens), which are counted where the server reports no usage.
    """
    try:
        body = json.loads(content) if len(content) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        body = None
    if not 200 <= status < 300:
        raise failure(status, headers, body, content)
    if len(content) > MOST_BYTES:
        raise Failure(f"an answer of {len(content) >> 20} MB", "question", True)
    if content.lstrip().startswith(b"data:"):
        raise Failure("a streamed answer: leave `stream` out of tag.extra", "setup", True)
    if not isinstance(body, dict):
        raise Failure(f"an answer that is no JSON: {page_words(content) or 'empty'}", "passing", True)

    # An error inside an answer of status 200, of the whole or of its one choice, has its status as its code.
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = body.get("error") or choice.get("error")
    message = choice.get("message") if isinstance(choice.get("message"), dict) else {}
    text, thought, refusal = spoken(message)
    if error and not text:
        code = error.get("code") if isinstance(error, dict) else None
        code = code if isinstance(code, int) and 400 <= code < 600 else 400
        raise failure(code, headers, {"error": error}, content, answered=True)
    if "choices" not in body:
        raise Failure(f"no chat completion: {page_words(content)}", "passing", True)

    finish = safe(choice.get("finish_reason") or "")
    refused = "" if text else why_no_text(choice, finish, refusal, thought)
    asked, written = usage(body.get("usage"), worst, bool(text or thought))
    return Reply(text, thought, asked, written, refused, finish)


def spoken(message: dict) -> tuple[str, str, str]:
    """(text, thought, refusal) of a message. Its content is a text, or a list of typed parts."""
    content = message.get("content")
    texts, thoughts, refusals = [], [], [message.get("refusal")]
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            texts.append(part)
        elif kind in (None, "text", "output_text"):
            texts.append(part.get("text"))
        elif kind == "refusal":
            refusals.append(part.get("refusal"))
        elif "think" in str(kind) or "reason" in str(kind):
            thoughts += [part.get(name) for name in (*THOUGHTS, "text")]
    in_fields = [joined([message.get(name)]) for name in THOUGHTS]
    thought = joined(thoughts) or next(filter(None, in_fields), "")
    return joined(texts), thought, joined(refusals)


def joined(values: list) -> str:
    """The texts among the values in one, "" for a blank one. A value is a text, a text part or a list of
    those."""
    flat: list[str] = []
    for value in values:
        for inner in value if isinstance(value, list) else [value]:
            said = inner.get("text") if isinstance(inner, dict) else inner
            if isinstance(said, str):
                flat.append(said)
    # Half a surrogate pair cannot be written to a file, and no text needs a control character.
    text = "".join(flat).encode(errors="replace").decode().translate(CONTROLS)
    return text if text.strip() else ""


def why_no_text(choice: dict, finish: str, refusal: str, thought: str) -> str:
    """The reason of an answer without text."""
    if not choice:
        return "an answer without choices"
    if refusal:
        return f"the model declines: {safe(refusal)}"
    if finish == "length":
        return NO_ROOM
    kind = "a thought without an answer" if thought else "an answer without text"
    return f"{kind} (finish_reason {finish or 'not given'})"


def usage(reported: Any, worst: tuple[int, int], has_text: bool) -> tuple[int, int]:
    """(prompt tokens, answer tokens) as billed; the worst case for what is not reported, or cannot be true.

    Some servers count the thought in the total alone.
    """
    reported = reported if isinstance(reported, dict) else {}
    asked = tokens(reported.get("prompt_tokens"), least=1)
    written = tokens(reported.get("completion_tokens"), least=1 if has_text else 0)
    total = tokens(reported.get("total_tokens"), least=1)
    if asked is not None and written is not None and total is not None:
        written = max(written, total - asked)
    return worst[0] if asked is None else asked, worst[1] if written is None else written


def tokens(value: Any, least: int) -> int | None:
    """A number of tokens, written as 30, 30.0 or "30"; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return math.ceil(number) if least <= number < MOST_TOKENS and not isinstance(value, bool) else None


# ---------------------------------------------------------------- an error

def failure(status: int, headers: Mapping[str, str], body: Any, content: bytes, answered: bool = False
            ) -> Failure:
    """The Failure that a status says, with the server's words. answered: it came as an answer of status 200,
    which may be billed whatever it says."""
    words = f"HTTP {status}: {server_words(body, content) or 'no words'}"
    if status in PASSING or status >= 500:
        if NO_MONEY.search(words):
            return Failure(words, "setup", answered)
        return Failure(words, "passing", answered or status not in NOT_BEGUN, pause_of(headers))
    # A prompt that a filter stops is billed by some.
    moderated = MODERATED.search(words) is not None
    if status in QUESTION or status == 403 and moderated:
        return Failure(words, "question", answered or moderated)
    if status == 404 and not NO_MODEL.search(words):
        return Failure(words, "question", answered, limit=1)
    return Failure(words, "setup", answered)


def server_words(body: Any, content: bytes = b"") -> str:
    """The sentence of an error: OpenAI's, vLLM's, Ollama's, FastAPI's, OpenRouter's with its provider's."""
    body = body[0] if isinstance(body, list) and body else body  # Gemini's is in a list
    error = body.get("error") or body if isinstance(body, dict) else body
    if isinstance(error, str):
        return safe(error)
    if not isinstance(error, dict):
        return page_words(content)
    said = error.get("message") or error.get("detail") or error
    details = said.get("detail", said) if isinstance(said, dict) else said
    if isinstance(details, list):  # FastAPI: where, and what is wrong there
        said = "; ".join(_field_fault(detail) for detail in details)
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):
        said = f"{said} ({metadata['raw']})"
    names = [error.get(key) for key in ("param", "code") if isinstance(error.get(key), str)]
    unsaid = [name for name in names if name not in str(said)]
    return safe(f"{said} ({', '.join(unsaid)})" if unsaid else said)


def _field_fault(detail: Any) -> str:
    if not isinstance(detail, dict):
        return str(detail)
    where = detail.get("loc") if isinstance(detail.get("loc"), list) else []
    return f"{'.'.join(map(str, where))}: {detail.get('msg', detail)}"


def pause_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (Retry-After: a number, or a date), None where it does not say."""
    said = headers.get("retry-after") or ""
    try:
        seconds = float(said)
    except ValueError:
        try:
            until = parsedate_to_datetime(said)
            until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
            seconds = max(0.0, (until - datetime.now(timezone.utc)).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < math.inf else None
