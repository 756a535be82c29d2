"""What became of the teacher's chains, drawn: kept and dropped, tags by task, which tag follows which."""
from __future__ import annotations

from ..tags.stats import END, START
from .plots import WIDTH, bars, svg, text

LEFT, CELL = 152, 22  # room for a tag's name; most width of a cell


def grid(label: str, rows: list[tuple[str, int, list[float]]], heads: list[str]) -> str:
    """A table of shares in [0, 1] as squares of ink. rows: (name, colour number, a share a column)."""
    wide = min(CELL, (WIDTH - LEFT) / max(1, len(heads)))
    parts = [text(LEFT + (i + 0.5) * wide, 16, h, "tick", "middle") for i, h in enumerate(heads)]
    for n, (name, colour, shares) in enumerate(rows):
        y = 24 + n * CELL
        parts.append(text(LEFT - 8, y + 15, name, f"name f{colour}", "end"))
        for i, share in enumerate(shares):
            if share > 0:
                parts.append(f'<rect x="{LEFT + i * wide + 1:.1f}" y="{y + 1}" width="{wide - 2:.1f}" height="{CELL - 2}" rx="2" '
                             f'class="f{colour}" fill-opacity="{0.12 + 0.88 * share:.2f}"><title>{share:.0%}</title></rect>')
    return svg(24 + len(rows) * CELL + 4, label, parts)


def pictures(stats: dict, table: dict) -> list[dict]:
    """The drawings of chains/stats.json and chains/tags.json, each {title, note, svg}."""
    if not stats:
        return []
    primary, kept = table.get("primary") or [], stats["kept"]
    colour = {tag: 1 + i % 9 for i, tag in enumerate(primary)}
    outcome = [(k, 3, n, str(n)) for k, n in kept["by_kind"].items()]
    outcome += [(why[:20], 0, sum(c.values()), str(sum(c.values()))) for why, c in stats["dropped"].items()]
    cost = stats.get("cost") or {}
    note = f"{kept['questions']} questions of {kept['users']} users; half of the chains have {stats['words']['quarter']:g} to " f"{stats['words']['three_quarters']:g} words in {stats['steps']['quarter']:g} to {stats['steps']['three_quarters']:g} steps."
    if cost.get("answers"):
        note += f" {cost['answers']} answers of the teacher: {cost['tokens_in']:,} tokens in, {cost['tokens_out']:,} out" + (f", cost {cost['cost']:.2f}."
                                                                                                                             if cost.get("cost")
                                                                                                                             else ".")
    found = [{"title": "Chains kept and dropped", "note": note,
              "svg": bars("Chains by what became of them", outcome, max(n for _, _, n, _ in outcome))}]
    by_task = table.get("by_task") or {}
    if len(by_task) > 1:
        total = {t: sum(c.values()) or 1 for t, c in by_task.items()}
        rows = [(tag, colour[tag], [c.get(tag, 0) / total[t] for t, c in by_task.items()]) for tag in primary]
        found.append({"title": "Tags by task", "note": "The share of a task's steps, a column a task: "
                      + ", ".join(f"{i} {t}" for i, t in enumerate(by_task, 1)) + ".",
                      "svg": grid("Share of a task's steps by tag", rows,
                                  [str(i) for i in range(1, 1 + len(by_task))])})
    if moves := stats.get("transitions"):
        to = [*primary, END]
        rows = [(tag, colour.get(tag, 0),
                 [moves[tag].get(t, 0) / (sum(moves[tag].values()) or 1) for t in to])
                for tag in (START, *primary) if tag in moves]
        found.append({"title": "Which tag follows which",
                      "note": "A row's share by what comes next, numbered as: "
                      + ", ".join(f"{i} {t}" for i, t in enumerate(primary, 1)) + ", ✓ the answer.",
                      "svg": grid("Which tag follows which", rows,
                                  [*map(str, range(1, 1 + len(primary))), "✓"])})
    return found


def origin(table: dict) -> str:
    """Where the tags come from, in a sentence or three."""
    said = f"{table.get('source') or 'not recorded'}."
    if merged := sum(map(len, (table.get("merged") or {}).values())):
        said += f" {len(table['open'])} names stood after {merged} near-synonyms were merged."
    if table.get("merged") or table.get("open") and "ours" not in said:
        came = [n for n, yes in (table.get("known") or {}).items() if yes]
        said += f" Of the two names known of the paper, {' and '.join(came) if came else 'none'} came up."
    if agreed := table.get("agreement"):
        said += f" Named a second time, out of the nine, {agreed['equal']:.0%} of {agreed['steps']} steps got the same tag " f"(kappa {agreed['kappa']:.2f})."
    return said
