"""A table in Markdown that reads well as text; it needs no package."""
from __future__ import annotations


def grid(head: list[str], body: list[list[str]]) -> str:
    """A Markdown table, padded so that it reads well before it is rendered: the first column to the left,
    the others to the right."""
    lines = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in [head, *body]]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(head))]
    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    padded = []
    for line in lines:
        first = line[0].ljust(widths[0])
        padded.append([first] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])
