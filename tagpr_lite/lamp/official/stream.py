"""JSON files of hundreds of megabytes, one entry in memory at a time.

Decisions. ijson's plain events are used. Its ready-made `items` also keeps the path of every open bracket,
which grows with the square of the nesting: 200 KB of brackets took 25 GB. Here nesting has a limit. A cut
emoji leaves half of a surrogate pair in a \\u escape. ijson's backends drop such a half, join it to the next
character or fail on it, so it becomes "?" before the parser sees it. Numbers are Python's ints and floats;
NaN and numbers that fit in neither are not JSON.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ijson

from ...config import UserError

DEPTH = 20  # open brackets; the format has five
BLOCK = 1 << 16  # bytes
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEX2 = rb"[0-9a-fA-F]{2}"
# an escaped backslash, a high half with perhaps its low half, a low half
SURROGATE = re.compile(rb"\\(?:\\|u[dD](?:[89abAB]%b(\\u[dD][c-fC-F]%b)?|[c-fC-F]%b))" % (HEX2, HEX2, HEX2))
NOT_A_NUMBER = re.compile(r"-?\b(?:NaN|Infinity)\b")
# up to the last byte that is in no escape
BETWEEN_ESCAPES = re.compile(rb'.*[^\\"/bfnrtu0-9a-fA-F]', re.DOTALL)


def stream_entries(path: Path, on_block: Callable[[int], Any] | None = None
                   ) -> Iterator[tuple[str | None, bool, Any]]:
    """Yields (key, is_entry, value) for the parts of a JSON file.

    A top-level list:   (None, True, entry) for each entry.
    A top-level object: ("golds", True, entry) for each entry of a list `golds`, then ("golds", False, []);
                        (key, False, value) for every other key.

    on_block: is called with the number of bytes of every block that is read. Anything that is not such JSON
    is a UserError.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing")
    containers: list[Any] = []  # the open lists and objects, outermost first
    keys: list[str | None] = []  # for each of them the key of its next value; None in a list
    entries = 0
    try:
        for event, value in ijson.basic_parse(ijson.from_iter(_blocks(path, on_block)), use_float=True):
            # An opened container waits until it is closed. Inside '{"golds": [{"id": 1' there are
            # containers [{}, [], {}] and keys ["golds", None, "id"].
            if event == "map_key":
                keys[-1] = value
                continue
            if event in ("start_map", "start_array"):
                if len(containers) == DEPTH:
                    raise UserError(f"{path}: brackets are nested deeper than {DEPTH} levels after {entries} "
                                    "whole entries")
                containers.append({} if event == "start_map" else [])
                keys.append(None)
                continue
            complete = value
            if event in ("end_map", "end_array"):
                complete = containers.pop()
                keys.pop()

            # A complete value is yielded, or it is put into the container that it stands in.
            in_list = bool(containers) and isinstance(containers[-1], list)
            if len(containers) == 1 or (in_list and keys == ["golds", None]):
                entries += in_list
                yield keys[0], in_list, complete
            elif in_list:
                containers[-1].append(complete)
            elif containers:
                containers[-1][keys[-1]] = complete
    except (ijson.JSONError, ValueError) as error:
        raise UserError(f"{path} is not a JSON file: {_parser_message(error)} after {entries} whole entries"
                        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _parser_message(error: Exception) -> str:
    """The first line of a parser's message, which ijson gives as bytes or as a string. The lines after it
    quote the place: what Python writes for a missing number is named."""
    message = error.args[0] if isinstance(error, ijson.JSONError) else str(error)
    if isinstance(message, bytes):
        message = message.decode(errors="replace")
    message, _, place = message.partition("\n")
    if not_a_number := NOT_A_NUMBER.search(place):
        return f"{not_a_number[0]} is no number; write null"
    return one_line(message, 100).rstrip(".")


def _blocks(path: Path, on_block: Callable[[int], Any] | None) -> Iterator[bytes]:
    """The file in blocks that end between escapes, without a byte-order mark and with "?" for lone
    surrogates."""
    pending = b""  # bytes after the last place where a block may end
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            if file.tell() == len(block):  # the first block
                block = block.removeprefix(BYTE_ORDER_MARK)
                if block.lstrip().startswith(b"<"):
                    raise UserError(f"{path} holds a web page, not JSON: the download went to a wrong "
                                    "address")
            if on_block:
                on_block(len(block))
            pending += block
            complete = BETWEEN_ESCAPES.match(pending)
            if complete:
                yield _without_lone_surrogates(pending[:complete.end()])
                pending = pending[complete.end():]
    if pending:
        yield _without_lone_surrogates(pending)


def _without_lone_surrogates(block: bytes) -> bytes:
    if b"\\ud" not in block and b"\\uD" not in block:
        return block
    return SURROGATE.sub(_surrogate_or_question_mark, block)


def _surrogate_or_question_mark(match: re.Match[bytes]) -> bytes:
    """A whole pair and an escaped backslash stay; a half becomes "?"."""
    is_pair = match[1] is not None
    is_backslash = match[0] == rb"\\"
    return match[0] if is_pair or is_backslash else b"?"


def one_line(text: Any, most: int) -> str:
    """`text` in one line of at most `most` printable characters: ids and answers of a broken file may hold
    anything."""
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    return printable if len(printable) <= most else printable[:most - 3] + "..."
