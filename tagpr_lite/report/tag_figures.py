"""What became of the teacher's chains, drawn: kept and dropped, tags by task, which tag follows which."""
from __future__ import annotations

from ..tags.stats import END, START
from .plots import WIDTH, bars, svg, text

NAME_WIDTH = 152  # room for a tag's name
CELL = 22  # height of a cell and its largest width
TOP = 24  # room for the heads
LONGEST_REASON = 20  # characters of the reason why a chain was dropped


def grid(label: str, rows: list[tuple[str, int, list[float]]], heads: list[str]) -> str:
    """A table of shares in [0, 1] as squares of ink. rows: (name, colour number, a share a column)."""
    width = min(CELL, (WIDTH - NAME_WIDTH) / max(1, len(heads)))
    parts = []
    for column, head in enumerate(heads):
        parts.append(text(NAME_WIDTH + (column + 0.5) * width, 16, head, "tick", "middle"))
    for row, (name, colour, shares) in enumerate(rows):
        y = TOP + row * CELL
        parts.append(text(NAME_WIDTH - 8, y + 15, name, f"name f{colour}", "end"))
        for column, share in enumerate(shares):
            if share > 0:
                parts.append(_cell(NAME_WIDTH + column * width, y, width, colour, share))
    return svg(TOP + len(rows) * CELL + 4, label, parts)


def _cell(x: float, y: float, width: float, colour: int, share: float) -> str:
    """One square: the larger the share, the darker; even a small one can be seen."""
    return (f'<rect x="{x + 1:.1f}" y="{y + 1}" width="{width - 2:.1f}" height="{CELL - 2}" rx="2" '
            f'class="f{colour}" fill-opacity="{0.12 + 0.88 * share:.2f}"><title>{share:.0%}</title></rect>')


def pictures(stats: dict, tag_table: dict) -> list[dict]:
    """The drawings of chains/stats.json and chains/tags.json, each {title, note, svg}."""
    if not stats:
        return []
    primary = tag_table.get("primary") or []
    by_task = tag_table.get("by_task") or {}
    drawn = [outcomes(stats)]
    if len(by_task) > 1:
        drawn.append(tags_by_task(primary, by_task))
    if stats.get("transitions"):
        drawn.append(transitions(primary, stats["transitions"]))
    return drawn


def outcomes(stats: dict) -> dict:
    """A bar for each kind of kept chain and for each reason to drop one; the note says what it cost."""
    kept, words, steps = stats["kept"], stats["words"], stats["steps"]
    items = [(kind, 3, count, str(count)) for kind, count in kept["by_kind"].items()]
    for reason, counts_by_task in stats["dropped"].items():
        count = sum(counts_by_task.values())
        items.append((reason[:LONGEST_REASON], 0, count, str(count)))
    largest = max(count for _, _, count, _ in items)

    note = (f"{kept['questions']} questions of {kept['users']} users; half of the chains have "
            f"{words['quarter']:g} to {words['three_quarters']:g} words in {steps['quarter']:g} to "
            f"{steps['three_quarters']:g} steps.")
    cost = stats.get("cost") or {}
    if cost.get("answers"):
        price = f", cost {cost['cost']:.2f}" if cost.get("cost") else ""
        note += (f" {cost['answers']} answers of the teacher: {cost['tokens_in']:,} tokens in, "
                 f"{cost['tokens_out']:,} out{price}.")
    return {"title": "Chains kept and dropped", "note": note,
            "svg": bars("Chains by what became of them", items, largest)}


def tags_by_task(primary: list[str], by_task: dict[str, dict[str, int]]) -> dict:
    """A row a tag, a column a task: the share of the task's steps. by_task: {task: {tag: steps}}."""
    totals = {task: sum(counts.values()) or 1 for task, counts in by_task.items()}
    rows = []
    for tag, colour in colours(primary).items():
        rows.append((tag, colour, [counts.get(tag, 0) / totals[task] for task, counts in by_task.items()]))
    return {"title": "Tags by task",
            "note": f"The share of a task's steps, a column a task: {numbered(by_task)}.",
            "svg": grid("Share of a task's steps by tag", rows, numbers(by_task))}


def transitions(primary: list[str], moves: dict[str, dict[str, int]]) -> dict:
    """A row a tag (or the start), a column what comes next (a tag or the answer). moves: {tag: {next tag:
    how often}}."""
    colour = colours(primary)
    rows = []
    for tag in (START, *primary):
        if tag in moves:
            total = sum(moves[tag].values()) or 1
            rows.append((tag, colour.get(tag, 0),
                         [moves[tag].get(following, 0) / total for following in (*primary, END)]))
    return {"title": "Which tag follows which",
            "note": f"A row's share by what comes next, numbered as: {numbered(primary)}, ✓ the answer.",
            "svg": grid("Which tag follows which", rows, [*numbers(primary), "✓"])}


def colours(primary: list[str]) -> dict[str, int]:
    """{tag: its colour number, 1 to 9}."""
    return {tag: 1 + i % 9 for i, tag in enumerate(primary)}


def numbers(names) -> list[str]:
    """The heads of the columns: ["1", "2", ...]."""
    return [str(number) for number in range(1, 1 + len(names))]


def numbered(names) -> str:
    """The key to the heads: "1 LaMP_1, 2 LaMP_3"."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))


def origin(tag_table: dict) -> str:
    """Where the tags come from, in up to four sentences."""
    sentences = f"{tag_table.get('source') or 'not recorded'}."
    merged = sum(len(synonyms) for synonyms in (tag_table.get("merged") or {}).values())
    if merged:
        sentences += f" {len(tag_table['open'])} names stood after {merged} near-synonyms were merged."

    # The paper names two of its tags. Whether they came up says nothing where we wrote the list ourselves.
    found_freely = tag_table.get("open") and "ours" not in sentences
    if tag_table.get("merged") or found_freely:
        known = tag_table.get("known") or {}
        names = " and ".join(name for name, came_up in known.items() if came_up) or "none"
        sentences += f" Of the two names known of the paper, {names} came up."

    agreement = tag_table.get("agreement")
    if agreement:
        sentences += (f" Named a second time, out of the nine, {agreement['equal']:.0%} of "
                      f"{agreement['steps']} steps got the same tag (kappa {agreement['kappa']:.2f}).")
    return sentences
