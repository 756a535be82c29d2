"""What a process does to files, by the audit events of Python (PEP 578): which of them write."""
from __future__ import annotations

import os

FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
           "shutil.rmtree")


def written_path(event: str, details: tuple) -> str | None:
    """The path that an audit event opens for writing, makes, moves or removes; None of any other event, and
    where a file is known by its number alone."""
    if event == "open":
        flags = details[2]
        writes = isinstance(flags, int) and bool(flags & FLAGS)
    else:
        writes = event in CHANGES
    if not writes or not isinstance(details[0], str | bytes | os.PathLike):
        return None
    return os.fsdecode(details[0])
