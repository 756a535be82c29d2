"""JSON files of hundreds of megabytes, one entry in memory at a time.

Decisions. ijson's plain events are used. Its ready-made `items` also keeps the path of every open bracket,
which grows with the square of the nesting: 200 KB of brackets took 25 GB; here nesting has a limit. Halves of
surrogate pairs (cut emoji in \\u escapes) become "?" before the parser sees them, since its backends drop
them, join them to the next character or fail. Numbers are Python's ints and floats; NaN and numbers that fit
in neither are not JSON.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ijson

from ...config import UserError

DEPTH = 20  # open brackets; the format has five
BLOCK = 1 << 16
HEX2 = rb"[0-9a-fA-F]{2}"
# an escaped backslash, a high half with perhaps its low half, a low half
SURROGATE = re.compile(rb"\\(?:\\|u[dD](?:[89abAB]%b(\\u[dD][c-fC-F]%b)?|[c-fC-F]%b))" % (HEX2, HEX2, HEX2))
BETWEEN = re.compile(rb'.*[^\\"/bfnrtu0-9a-fA-F]', re.DOTALL)  # up to the last byte that is in no escape


def parts(path: Path, seen: Callable[[int], Any] | None = None) -> Iterator[tuple[str | None, bool, Any]]:
    """(None, True, entry) for each entry of a top-level list. For a top-level object: ("golds", True, entry)
    for each entry of a list `golds`, then ("golds", False, []); and (key, False, value) for every other key.

    seen: is told how many bytes were read, block by block. Anything that is not such JSON is a UserError.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing")
    stack, names, n = [], [], 0  # the open containers, and the key of the next value in each
    try:
        for event, value in ijson.basic_parse(ijson.from_iter(_blocks(path, seen)), use_float=True):
            if event == "map_key":
                names[-1] = value
                continue
            if event in ("start_map", "start_array"):
                if len(stack) == DEPTH:
                    raise UserError(f"{path}: brackets are nested deeper than {DEPTH} levels after {n} whole entries")
                stack.append({} if event == "start_map" else [])
                names.append(None)
                continue
            if event in ("end_map", "end_array"):
                value = stack.pop()
                names.pop()
            listed = bool(stack) and isinstance(stack[-1], list)
            if len(stack) == 1 or (listed and names == ["golds", None]):
                n += listed
                yield names[0], listed, value
            elif listed:
                stack[-1].append(value)
            elif stack:
                stack[-1][names[-1]] = value
    except (ijson.JSONError, ValueError) as e:
        why = e.args[0] if isinstance(e, ijson.JSONError) else str(e)
        why = (why.decode(errors="replace") if isinstance(why, bytes) else why).partition("\n")[0]
        raise UserError(f"{path} is not a JSON file: {short(why, 100).rstrip('.')} after {n} whole entries") from None
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}") from None


def _blocks(path: Path, seen: Callable[[int], Any] | None) -> Iterator[bytes]:
    """The file in blocks that end between escapes, without a byte-order mark and with "?" for lone
    surrogates."""
    held = b""
    with open(path, "rb") as f:
        while block := f.read(BLOCK):
            if f.tell() == len(block):
                block = block.removeprefix(b"\xef\xbb\xbf")
                if block.lstrip().startswith(b"<"):
                    raise UserError(f"{path} holds a web page, not JSON: the download went to a wrong address")
            if seen:
                seen(len(block))
            held += block
            if whole := BETWEEN.match(held):
                yield _without_halves(held[:whole.end()])
                held = held[whole.end():]
    if held:
        yield _without_halves(held)


def _without_halves(block: bytes) -> bytes:
    if b"\\ud" not in block and b"\\uD" not in block:
        return block
    return SURROGATE.sub(lambda m: m[0] if m[1] or m[0] == rb"\\" else b"?", block)


def short(text: Any, most: int) -> str:
    """`text` in one line of printable characters: ids and answers of a broken file may hold anything."""
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return text if len(text) <= most else text[:most - 3] + "..."
