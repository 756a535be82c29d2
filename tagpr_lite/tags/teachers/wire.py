"""The way to one OpenAI-compatible server: its address, its key, and one request at a time.

A request is sent once. Who asks decides what a failure means, and whether to send it again. Teachers ask in
this way (models.py), and so does GRPO where a server samples (grpo/served_rollouts.py). The key comes from
the environment and is written nowhere.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ...config import UserError
from .replies import Failure, safe

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between two turns of a request: 0.5, 1, 2, ...
LONGEST_ASKED = 60.0  # a server that asks for a longer pause than this is asked at our own pace
LEAST_KEY = 8  # a shorter key is none, and may stand in any text
NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol",
            "LocalProtocolError"}
"""Errors of the client's transport before the request has left, so that nothing is billed."""
RAW = {"X-Stainless-Raw-Response": "true"}
"""Tells the client to hand over the response as it came, unread."""


class Wire:
    """One server. `address` is what may be said of it: "http://127.0.0.1:8000/v1", without a user's name."""

    def __init__(self, url: str, setting: str, keys: tuple[str, ...], timeout: float):
        """setting: where the url comes from, for messages ("tag.url"). keys: environment variables that may
        hold the key. timeout: seconds to wait for a response. UserError: no address, or no key."""
        from openai import OpenAI
        self.key = api_key(keys)
        parts = urlsplit(url)
        self.address = safe(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"{setting}={safe(url)}: an address begins with http:// or https://")
        try:
            self.client = OpenAI(base_url=url, api_key=self.key, timeout=timeout, max_retries=0)
        except ValueError as error:
            raise UserError(f"{setting}={safe(url)}: {safe(error)}") from None

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, content) of the response to one request, whatever its status. path: behind the
        address, "/chat/completions". Failure: no whole response came."""
        import openai
        try:
            response = self.client.post(path, cast_to=object, body=body,
                                        options={"headers": dict(RAW)}).http_response
        except openai.APIStatusError as error:
            response = error.response
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            words = safe(f"{type(cause).__name__}: {cause}")
            if type(cause).__name__ in NOT_SENT:
                raise Failure(words, "unreachable") from None
            raise Failure(words, "passing", may_be_billed=True) from None
        content = response.content
        if len(self.key) >= LEAST_KEY:  # a server may repeat the key that it does not like
            content = content.replace(self.key.encode(), b"***")
        return response.status_code, response.headers, content


def api_key(names: tuple[str, ...]) -> str:
    """The key in the first of these environment variables that is set; `none` where there is none, since
    local servers want no key."""
    for name in names:
        key = os.environ.get(name, "").strip()
        if key:
            if not (key.isascii() and key.isprintable()):
                raise UserError(f"{name} holds characters that cannot stand in a key")
            return key
    return "none"


def pause_before(turn: int, asked: float | None) -> float:
    """Seconds before the turn after this one: what the server asks for, or twice as long each time."""
    own = min(LONGEST_PAUSE, FIRST_PAUSE * 2**turn)
    return own if asked is None or asked > LONGEST_ASKED else asked
