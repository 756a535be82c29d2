"""Files and words that nobody meant: a good one with something changed in it.

JSON, JSON lines and YAML are changed as trees, or as bytes, as everything else is: a value replaced or
dropped, a bit flipped, a stretch cut out, another encoding. All is drawn from a random.Random, so that a case
can be had again.
"""
from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import yaml

ODD = [None, True, 0, -1, 7, 1.5, float("nan"), float("inf"), 10**30, 10**400, "", " ", "\n", "5", "[1]",
       "110", "\0", "a\nb\x1b[31m", "\ud83d", "\u2028", "x" * 10_000, [], {}, [[]], [None], {"id": 1},
       "LaMP_3", "LaMP-2", "LaMP_9", "__DEEP__"]
NAMES = ["ID", "Input", "", "golds", "output", "x\n"]
BITS = [b"\xff", b"\0", b"NaN", b"1e999", b"-", b"9" * 5000, b"[" * 5000, b"\\ud83d", b"\\", b'"', b"}]",
        b",", b"/*", b"\xed\xa0\xbd"]
OTHER = [b"", b" ", b"null", b"3", b'"x"', b"[]", b"{}", b"[[]]", b"<html>", b"\n<?xml?>", b"{" * 9999,
         b"PK\x03\x04", b"\x1f\x8b\x08" * 9, bytes(range(256))]
DEEP = [5, 19, 25, 900, 3000, 100_000]
WORDS = ["", " ", "-", "--", "-1", "0", "1e999", "nan", "9" * 5000, "[" * 3000, "&a [*a]",
         "{a: &a [1], b: *a}", "a=b", "=", "=b", "a=", "x" * 10_000, "\x1b[31m", "\u202e", "../x",
         "/dev/null", "/dev/zero", "/", "--help", "--unknown", "grpo.group=1", "lamp.k=-1", "name=../x",
         "seed=nan", "LaMP_3", "LaMP_9", "smoke", "."]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The content with one or two changes."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        changed = None
        if rng.random() < 0.6:
            try:
                changed = change_line(content, rng) or change_whole(content, rng)
            except RecursionError:  # the change before this one has nested it deeply
                pass
        content = changed or change_bytes(content or b" ", rng)
    return content


# ---------------------------------------------------------------- trees

def change_line(content: bytes, rng: random.Random) -> bytes | None:
    """JSON lines with one of them changed; None where the content is no such file."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return None
    place = rng.randrange(len(lines))
    try:
        tree = json.loads(lines[place])
    except ValueError:
        return None
    if not isinstance(tree, dict) or not tree:
        return None
    lines[place] = change_tree(tree, rng) + b"\n"
    return b"".join(lines)


def change_whole(content: bytes, rng: random.Random) -> bytes | None:
    """A JSON or YAML file with one value changed; None where the content is neither, or holds no value."""
    if len(content) > 100_000:
        return None
    try:
        tree = json.loads(content)
    except ValueError:
        try:
            tree = yaml.safe_load(content)
        except Exception:  # a broken file, and PyYAML has many ways to say so
            return None
    return change_tree(tree, rng) if isinstance(tree, list | dict) and tree else None


def change_tree(tree: list | dict, rng: random.Random) -> bytes:
    """The tree, as JSON, with one value replaced, dropped, doubled, emptied, renamed or swapped."""
    *above, last = rng.choice([place for place in places(tree) if place])
    node = tree
    for key in above:
        node = node[key]
    how = rng.choice(["replace", "replace", "replace", "drop", "double", "empty", "rename", "swap"])
    if how == "drop":
        del node[last]
    elif how == "double" and isinstance(node, list):
        node.append(node[last])
    elif how == "empty" and isinstance(node[last], list | dict | str):
        node[last] = type(node[last])()
    elif how == "rename" and isinstance(node, dict):
        node[rng.choice(NAMES)] = node.pop(last)
    elif how == "swap" and len(node) > 1:
        other = rng.choice(list(node if isinstance(node, dict) else range(len(node))))
        node[last], node[other] = node[other], node[last]
    else:
        node[last] = rng.choice(ODD)
    depth = rng.choice(DEEP)
    return json.dumps(tree, default=str).replace('"__DEEP__"', "[" * depth + "]" * depth).encode()


def places(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in a tree: {"a": [5]} has (), ("a",) and ("a", 0)."""
    yield path
    children = ()
    if isinstance(tree, dict):
        children = tree.items()
    elif isinstance(tree, list):
        children = enumerate(tree)
    for key, value in children:
        yield from places(value, (*path, key))


# ---------------------------------------------------------------- bytes

def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """One bit flipped, a stretch cut out, doubled or put in, another encoding, or another file
    altogether."""
    at, size = rng.randrange(len(content)), rng.randint(1, 40)
    head, tail = content[:at], content[at:]
    return rng.choice([lambda: head + bytes([tail[0] ^ 1 << rng.randrange(8)]) + tail[1:], lambda: head,
                       lambda: tail, lambda: head + tail[size:], lambda: head + tail[:size] + tail,
                       lambda: head + rng.choice(BITS) + tail, lambda: head + rng.choice(BITS) + tail,
                       lambda: content.decode("latin-1").encode(rng.choice(["utf-16", "utf-32", "cp500",
                                                                            "utf-8-sig"])),
                       lambda: content.replace(b"\\u201c", b"\x93").replace(b"payload", b"p\xe4yload"),
                       lambda: rng.choice(OTHER)])()


# ---------------------------------------------------------------- words of a command

def change_words(words: list[str], rng: random.Random) -> list[str]:
    """One word replaced, dropped, doubled, cut, put in, or with another value."""
    words = list(words)
    place = rng.randrange(len(words))
    how = rng.choice(["replace", "drop", "double", "cut", "insert", "value", "value"])
    if how == "drop":
        del words[place]
    elif how == "double":
        words.insert(place, words[place])
    elif how == "cut":
        words[place] = words[place][:rng.randrange(len(words[place]) + 1)]
    elif how == "insert":
        words.insert(place, rng.choice(WORDS))
    elif how == "value" and "=" in words[place]:
        words[place] = f"{words[place].partition('=')[0]}={rng.choice(WORDS)}"
    else:
        words[place] = rng.choice(WORDS)
    return words
