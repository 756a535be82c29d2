"""doctor.md, made of doctor.json alone: a verdict, what is here, and a table for each kind of part."""
from __future__ import annotations

from ..report.grid import grid
from ..report.tables import decimal
from ..runs import printable
from .card import GIB
from .parts import AGAINST

EXPLAINED = {
    "layouts": "Every layout of a prompt and its completions must compute what the classic one does. "
               "Differences are root mean squares: of log-probs in nats, of the gradient as a share of its "
               "norm. `rounding` is what this machine makes of the same computation done twice.",
    "nf4": "Weights in four bits: how far a value is from what it was, and how far products with packed "
           "weights are from exact ones, beside products with the unpacked weights.",
    "plan": "The most GiB that every phase of a whole run holds, as the plan's formulas say and as they were "
            "measured on the card (or counted without one, where the part ran on a CPU). The budget is the "
            "least that the model is offered for. The ratio is what was measured over the formula.",
    "speed": "Our GRPO step on a model of random weights: tokens sampled a second by one group alone and by "
             "four groups together, and the seconds of an update.",
    AGAINST: "Our GRPO step and TRL's, one after the other on the same machine, model, prompt and sizes. A "
             "ratio is TRL's figure over ours."}
HEADS = {
    "layouts": ["layout", "log-probs", "rounding", "gradient", "rounding of it"],
    "nf4": ["what", "found", "beside it"],
    "plan": ["part and phase", "formula, GiB", "counted, GiB", "measured, GiB", "ratio"],
    "speed": ["part", "rollout, s", "tokens/s, one group", "tokens/s, four groups", "update, s"],
    AGAINST: ["part", "update, s: ours", "TRL", "ratio", "rollout, s: ours", "TRL", "ratio", "step: ratio",
              "peak, GiB: ours", "TRL", "ratio"]}


def attention_of(found: dict, parts: list[str]) -> list[str]:
    """Everything of what is here, and of these parts, that needs attention, with its advice."""
    wanted = [f"{check['name']}: {check['found']}; {check['advice']}" for check in found["here"]
              if check["state"] == "attention"]
    for name in parts:
        entry = found["parts"][name]
        if entry["state"] != "done":
            wanted.append(f"{name}: {entry['state']}: {entry['reason']}")
        wanted += [f"{name}: {advice}" for advice in entry["attention"]]
    return wanted


def markdown(found: dict) -> str:
    wanted = attention_of(found, list(found["parts"]))
    notes = [f"{check['name']}: {check['found']}; {check['advice']}" for check in found["here"]
             if check["state"] == "note"]
    blocks = ["# What this machine can do",
              f"Made on {found['made']} by `python -m tagpr_lite.doctor`. Card: {found['card'] or 'none'}."]
    if wanted:
        things = "One thing needs" if len(wanted) == 1 else f"{len(wanted)} things need"
        blocks += [f"**{things} attention:**", bullets(wanted)]
    else:
        blocks.append("**Nothing needs attention.**")
    blocks += ["## What is here",
               "\n".join(["| what | state | found |", "|---|---|---|",
                          *[f"| {cell(check['name'])} | {check['state']} | {cell(check['found'])} |"
                            for check in found["here"]]])]
    if notes:
        blocks += ["The method runs without what is marked `note`:", bullets(notes)]
    for family in HEADS:
        entries = {name: entry for name, entry in found["parts"].items()
                   if entry["setting"]["family"] == family}
        if entries:
            title = "Against TRL" if family == AGAINST else f"Self-test: {family}"
            blocks += [f"## {title}", EXPLAINED[family], *part_blocks(family, entries)]
    return printable("\n\n".join(blocks) + "\n")


def bullets(texts: list[str]) -> str:
    return "\n".join(f"- {' '.join(text.split())}" for text in texts)


def part_blocks(family: str, entries: dict) -> list[str]:
    """Where the parts ran, their table, and a line for each that did not end well."""
    rows = [row for name, entry in entries.items() for row in ROWS[family](name, entry["figures"])]
    unfinished = [f"{name}: {entry['state']} after {entry['seconds']:g} s: {entry['reason']}"
                  for name, entry in entries.items() if entry["state"] != "done"]
    return [*sizes_lines(entries), *([grid(HEADS[family], rows)] if rows else []),
            *([bullets(unfinished)] if unfinished else [])]


def sizes_lines(entries: dict) -> list[str]:
    """Where the parts ran, and with how many completions of how many tokens; each line once."""
    said = []
    for entry in entries.values():
        setting = entry["setting"]
        line = f"Ran on {cell(setting['device'])}."
        if setting["group"]:
            line = f"Ran on {cell(setting['device'])}, {setting['group']} completions of " \
                   f"{setting['completion']} tokens."
        if line not in said:
            said.append(line)
    return said


# ---------------------------------------------------------------- rows of figures that may be incomplete

def layout_rows(name: str, figures: dict) -> list[list]:
    rows = []
    for layout, found in figures.get("layouts", {}).items():
        if "fault" in found:
            rows.append([layout, found["fault"], "", "", ""])
        else:
            rows.append([layout, *[small(found[key])
                                   for key in ("logp", "logp_noise", "grad", "grad_noise")]])
    if sampling := figures.get("sampling"):
        rows.append(["sampling against training", small(sampling["logp"]),
                     f"at most {small(sampling['bound'])}", "", ""])
    return rows


def nf4_rows(name: str, figures: dict) -> list[list]:
    rows = []
    if trip := figures.get("round trip"):
        rows.append(["a value after the round trip, of its block's largest", small(trip["largest"]), ""])
        rows.append(["all values, of their norm", small(trip["rms"]), ""])
    for count, found in figures.get("product", {}).items():
        rows.append([f"a product of {count} rows, of its norm", small(found["gemm_4bit"]),
                     small(found["dequantised"])])
    return rows


def plan_rows(name: str, figures: dict) -> list[list]:
    return [[f"{name}, budget {figures['budget_gib']:g} GiB: {phase}", *[gib(found.get(who)) for who in
             ("formula", "counted", "measured")], decimal(found["ratio"])]
            for phase, found in figures.get("phases", {}).items()]


def speed_rows(name: str, figures: dict) -> list[list]:
    if not figures:
        return []
    together = figures.get("together", {}).get("tokens_per_second")
    return [[name, decimal(figures["rollout_s"], 2), decimal(figures["tokens_per_second"], 0),
             decimal(together, 0), decimal(figures["update_s"], 2)]]


def against_rows(name: str, figures: dict) -> list[list]:
    """A cell may hold our side alone, and TRL's may be a fault."""
    ours, theirs, ratio = (figures.get(side, {}) for side in ("ours", "trl", "ratio"))
    if not ours:
        return []
    row = [name]
    for what in ("update", "rollout"):
        trl = theirs.get("fault") or decimal(theirs.get(f"{what}_s"), 2)
        row += [decimal(ours[f"{what}_s"], 2), trl, decimal(ratio.get(what), 2)]
    peak = theirs.get("fault") or gib(theirs.get("peak_bytes"))
    return [[*row, decimal(ratio.get("step"), 2), gib(ours["peak_bytes"]), peak,
             decimal(ratio.get("peak"), 2)]]


ROWS = {"layouts": layout_rows, "nf4": nf4_rows, "plan": plan_rows, "speed": speed_rows,
        AGAINST: against_rows}


# ---------------------------------------------------------------- cells

def small(value: float) -> str:
    return f"{value:.2g}"


def gib(value: float | None) -> str:
    return decimal(None if value is None else value / GIB)


def cell(text: object) -> str:
    """Text from outside in a table of Markdown."""
    return str(text).replace("|", "\\|").replace("\n", " ")
