"""report.html: one page of a run, made only from what lies in the run folder.

Decision: one file with its style, its drawings and one script inside, and nothing fetched. The script chooses
what the explorer of rollouts shows. The Content-Security-Policy tells the browser that nothing else may run.
The page opens the same in ten years, on paper or on a phone. A part that was not run says "not run". Whatever
a model, a user or a data file wrote is escaped, by Jinja, plots.esc and nodes.py. The example chains are
examples.py's, how the page looks is template.py's.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from ..config import from_dict
from ..lamp.rows import read_tasks
from ..plan import run_plan
from ..runs import duration, printable, read_config, read_jsonl, read_metrics
from ..runs.manifests import read_manifest
from . import differences, explorer_page, faithful, plots, reasoning, references, tables, tag_figures
from .curves import curves
from .examples import dev_examples, training_examples
from .explorer import explorer
from .findings import Findings, read_findings
from .nodes import Looks
from .template import STYLE, TEMPLATE

REASONING_SYSTEMS = ("explore", "guided", "sft")  # the last stage first: its chains are shown

ENVIRONMENT = Environment(loader=DictLoader({"explorer": explorer_page.SECTION}), autoescape=True,
                          trim_blocks=True, lstrip_blocks=True)


# ---------------------------------------------------------------- the parts of the page

def pipeline(folder: Path, descriptions: dict[str, str]) -> list[dict]:
    """The eight steps, each {name, about, seconds, time, share}, from their manifests.

    time: the seconds in words, "cut off" or "not run"; "" for the report, which is still being written.
    share: percent of the longest step's seconds, the width of the bar.
    """
    steps = []
    for name, about in descriptions.items():
        manifest = read_manifest(folder / f"manifests/{name}.json")
        seconds = tables.number((manifest or {}).get("seconds"))
        if name == "report":
            time = ""
        elif manifest and not manifest.get("done", True):
            time = "cut off"
        else:
            time = duration(seconds)
        steps.append({"name": name, "about": about, "seconds": seconds or 0, "time": time})
    longest = max(step["seconds"] for step in steps) or 1
    return [{**step, "share": round(100 * step["seconds"] / longest)} for step in steps]


def plan_lines(folder: Path, settings: dict) -> list[tuple[str, str]]:
    """(what, value) of the run's plan; empty where step 1 or its settings are missing. settings:
    config.yaml's tree."""
    if not (folder / run_plan.FILE).exists() or not settings:
        return []
    return run_plan.lines(run_plan.read_plan(folder), from_dict(settings))


def settings_part(folder: Path) -> dict:
    """The settings, as a tree and as the text of config.yaml; the plan, and the table of the whole run."""
    config = read_config(folder)
    config_text = (folder / "config.yaml").read_text(encoding="utf-8") if config else ""
    rows = run_plan.read_table(folder / run_plan.TABLE).get("rows", [])
    return {"config": config, "config_text": config_text, "plan": plan_lines(folder, config),
            "plan_table": run_plan.table_cells(rows)}


def data_part(folder: Path) -> dict:
    """What step 1 wrote of the data; built_in: whether all of it is the built-in benchmark's."""
    data = tables.maybe(folder / "data/summary.json", {})
    tasks = data.get("tasks") or {}
    built_in = all(task.get("source") == "mini" for task in tasks.values())
    return {"data": data, "tasks": tasks, "built_in": built_in}


def score_part(found: Findings, title: Callable[[str], str]) -> dict:
    """The table's rows and columns, the sentences at the top, the table of differences, and a dot plot of
    each task's main metric."""
    table = ENVIRONMENT.from_string(differences.TEMPLATE).render(
        title=title, **differences.page_values(found.compared))
    dot_plots = []
    for task, metric in tables.main_columns(found.rows):
        drawing = plots.dot_plot(title(task), (task, metric), found.rows,
                                 references.marks(found.references, (task, metric)))
        if drawing:
            dot_plots.append((title(task), metric, Markup(drawing)))
    return {"rows": found.rows, "columns": tables.columns(found.rows), "lede": found.headline,
            "reached": found.reached, "reference_rows": references.reference_rows(found.references),
            "differences": Markup(table) if found.compared else "", "dot_plots": dot_plots}


def reward_part(folder: Path) -> dict:
    """The reward model's report and its drawing."""
    report = tables.maybe(folder / "prmu/report.json", {})
    return {"prmu": report, "prmu_bars": Markup(plots.prmu_bars(report))}


def tag_part(folder: Path, tag_table: dict, primary: list[str]) -> dict:
    """Where the tags are from and how often each is used. tag_table: chains/tags.json."""
    stats = tables.maybe(folder / "chains/stats.json", {})
    bars = Markup(plots.tag_bars(primary, tag_table.get("counts") or {})) if primary else ""
    return {"origin": tag_figures.origin(tag_table), "tag_bars": bars,
            "tag_charts": unescaped(tag_figures.pictures(stats, tag_table)),
            "dropped_count": len(read_jsonl(folder / "chains/dropped.jsonl", partial=True))}


def rollout_part(folder: Path, looks: Looks) -> dict:
    """The explorer of rollouts and its script, which the page's policy allows only where there is one."""
    part = explorer(folder, looks)
    # Markup: nodes.py has escaped the data and the last group.
    shown = {**part, "data": Markup(part["data"]), "last": Markup(part["last"])}
    script = explorer_page.SCRIPT
    return {"explorer": shown, "script": script,
            "permission": Markup(explorer_page.permission(script)) if part["data"] else ""}


def unescaped(charts: list[dict]) -> list[dict]:
    """The charts with their drawings as Markup: they are escaped already, and Jinja must not do it again."""
    return [{**chart, "svg": Markup(chart["svg"])} for chart in charts]


# ---------------------------------------------------------------- the page

def render(folder: Path, descriptions: dict[str, str], found: Findings | None = None) -> str:
    """The whole page as text. descriptions: {name of a step: what it does}, in order. found: what
    read_findings has read of the folder; None: it is read here."""
    found = found or read_findings(folder)
    known_tasks = read_tasks(folder)
    tag_table = tables.maybe(folder / "chains/tags.json", {})
    primary = tag_table.get("primary") or []
    kept = read_jsonl(folder / "chains/kept.jsonl", partial=True)
    steps = pipeline(folder, descriptions)
    metrics = {step: read_metrics(folder, step) for step in
               ("sft", "reward", "guided", "explore", "guided_check", "explore_check")}

    # The example chains: of the last stage that was scored, and of the teacher.
    scored = {row["system"] for row in found.rows}
    system = next((name for name in REASONING_SYSTEMS if name in scored), None)
    dev_chains = dev_examples(folder, system, primary, known_tasks) if system else []
    chain_sets = [(f"Dev questions, answered by {system}", dev_chains),
                  ("Training chains, written by the teacher", training_examples(kept, primary))]

    def title(task: str) -> str:
        return f"{task} · {known_tasks[task].title}" if task in known_tasks else task

    def colour(tag: str) -> int:
        return 1 + primary.index(tag) % 9 if tag in primary else 0

    looks = Looks(primary, known_tasks, colour, title)
    page = ENVIRONMENT.from_string(TEMPLATE).render(
        style=STYLE + explorer_page.STYLE, tables=tables, title=title, colour=colour, name=folder.name,
        notices=found.notices,
        steps=steps, total_time=duration(sum(step["seconds"] for step in steps) or None),
        charts=unescaped(curves(metrics, found.teacher.get("all"))),
        reasoning=reasoning, states=found.states, faithful=faithful, changed=found.faithful,
        primary=primary, kept_count=len(kept), chain_sets=chain_sets,
        **settings_part(folder), **data_part(folder), **score_part(found, title),
        **reward_part(folder), **tag_part(folder, tag_table, primary), **rollout_part(folder, looks))
    # Control characters, direction marks and halves of surrogate pairs are written out, wherever they are.
    return printable(page)
