"""report.html: one page of a run, made only from what lies in the run folder.

Decision: one file with its style and its drawings inside, no script and nothing fetched (the
Content-Security-Policy tells the browser so as well): it opens the same in ten years, on paper or on a phone.
A part that was not run says "not run". Whatever a model, a user or a data file wrote is escaped, by Jinja and
by plots.esc. The example chains are the first ones by rule (see `examples`), never picked by hand.
"""
from __future__ import annotations

from pathlib import Path

import yaml
from jinja2 import Environment
from markupsafe import Markup

from ..config import from_dict
from ..lamp.rows import read_tasks
from ..lamp.tasks import Task
from ..plan import run_plan
from ..runs import read_json, read_jsonl, read_metrics
from ..tags.schema import Fault, parse
from . import plots, tables, tag_figures

LONGEST = 1500  # characters of one text on the page; a longer one is cut and says so


# ---------------------------------------------------------------- chains

def chain(text: object, primary: list[str]) -> dict:
    """A completion as `steps` (tag, words), or as its plain text with `fault`, the reason why it is no
    chain."""
    text = str(text or "")
    found = parse(text, tuple(primary) or None)
    if isinstance(found, Fault):
        return {"steps": [], "fault": str(found), "text": cut(text)}
    return {"steps": [(s.tag, cut(s.text)) for s in found.steps], "fault": "", "text": ""}


def cut(text: object, most: int = LONGEST) -> str:
    text = str(text)
    return text if len(text) <= most else f"{text[:most]} … [{len(text) - most:,} more characters]"


def verdict(task: Task | None, answer: object, gold: object) -> tuple[str, str]:
    """(class, words): right or wrong where the task has one right answer, neither where ROUGE judges free
    text. task: None where the run folder does not say what the task is."""
    gold, read = str(gold).strip(), str(answer or "").strip()
    read = task.parse_answer(read) if task else read  # the lenient reading, as in the main table
    if not read:
        return "wrong", "✗ no answer could be read"
    if read == gold:
        return "right", "✓ right"
    if task and task.kind == "text":
        return "free", "≈ free text, judged by ROUGE"
    if task and task.kind == "rating":
        return "wrong", f"✗ off by {abs(float(read) - float(gold)):g}"
    return "wrong", "✗ wrong"


def examples(folder: Path, system: str, primary: list[str], tasks: dict[str, Task]) -> list[dict]:
    """Of each task, the first of the system's dev predictions of every verdict, and the first malformed
    one."""
    shown = []
    for path in sorted((folder / "eval" / system).glob("[!.]*.json")):
        seen = set()
        for p in read_json(path).get("predictions") or []:
            mark, said = verdict(tasks.get(path.stem), p.get("answer"), p.get("gold"))
            thought = chain(p.get("text"), primary)
            kind = "malformed" if thought["fault"] else mark
            if kind not in seen:
                seen.add(kind)
                shown.append({**thought, "task": path.stem, "id": p.get("id", ""), "user": p.get("user", ""),
                              "input": cut(p.get("input") or ""),
                              "answer": cut(p.get("answer") or "none", 200),
                              "gold": cut(p.get("gold", ""), 200), "mark": mark, "said": said})
    return shown


def training(kept: list[dict], primary: list[str]) -> list[dict]:
    """The first kept chain of every task and kind."""
    first: dict[tuple, dict] = {}
    for row in kept:
        first.setdefault((row.get("task"), row.get("kind")), row)
    said = {"reasoned": "the teacher found the answer itself",
            "rationalised": "the teacher was shown the answer"}
    return [{**chain(r.get("text"), primary), "task": r.get("task", ""), "id": r.get("id", ""), "user": "",
             "input": "", "answer": cut(r.get("answer", "")), "gold": cut(r.get("gold", "")), "mark": "free",
             "said": f"{r.get('kind', '')}: {said.get(r.get('kind'), '')}"} for r in first.values()]


# ---------------------------------------------------------------- what the page says

def plan_lines(folder: Path, settings: dict) -> list[tuple[str, str]]:
    """(what, value) of the run's plan; empty where step 1 or its settings are missing. settings:
    config.yaml's tree."""
    if not (folder / run_plan.FILE).exists() or not settings:
        return []
    return run_plan.lines(run_plan.read_plan(folder), from_dict(settings))


def pipeline(folder: Path, descriptions: dict[str, str]) -> list[dict]:
    """The eight steps with the seconds of their manifests; the report itself is still being written."""
    steps = []
    for name, about in descriptions.items():
        seen = tables.maybe(folder / f"manifests/{name}.json", None)
        seconds = tables.number((seen or {}).get("seconds"))
        said = "cut off" if seen and not seen.get("done", True) else tables.duration(seconds)
        steps.append({"name": name, "about": about, "seconds": seconds or 0, "said": "" if name == "report"
                      else said})
    most = max(s["seconds"] for s in steps) or 1
    return [{**s, "share": round(100 * s["seconds"] / most)} for s in steps]


def render(folder: Path, descriptions: dict[str, str]) -> str:
    """The whole page as text. descriptions: {name of a step: what it does}, in order."""
    known_tasks, config_file, rows = read_tasks(folder), folder / "config.yaml", tables.collect(folder)
    config_text = config_file.read_text(encoding="utf-8") if config_file.exists() else ""
    config = yaml.safe_load(config_text) or {}
    data, tags = tables.maybe(folder / "data/summary.json", {}), tables.maybe(folder / "chains/tags.json", {})
    tasks, primary = data.get("tasks") or {}, tags.get("primary") or []
    kept = read_jsonl(folder / "chains/kept.jsonl", partial=True)
    prmu = tables.maybe(folder / "prmu/report.json", {})
    title = lambda name: f"{name} · {known_tasks[name].title}" if name in known_tasks else name
    dots = [(title(t), m, plots.dot_plot(title(t), (t, m), rows)) for t, m in tables.main_columns(rows)]
    system = next((s for s in ("explore", "guided", "sft") if any(r["system"] == s for r in rows)), None)
    shown = examples(folder, system, primary, known_tasks) if system else []
    steps = pipeline(folder, descriptions)
    seconds = sum(s["seconds"] for s in steps)
    metrics = {s: read_metrics(folder, s) for s in ("sft", "reward", "guided", "explore")}
    page = ENV.from_string(TEMPLATE).render(name=folder.name, lede=tables.summary(rows), steps=steps,
                                            total=tables.duration(seconds or None), config=config,
                                            config_text=config_text, plan=plan_lines(folder, config),
                                            data=data, tasks=tasks, rows=rows, columns=tables.columns(rows),
                                            tables=tables, title=title,
                                            dots=[(t, m, Markup(s)) for t, m, s in dots if s],
                                            charts=[{**c, "svg": Markup(c["svg"])}
                                                    for c in plots.curves(metrics)], prmu=prmu,
                                            prmu_bars=Markup(plots.prmu_bars(prmu)), primary=primary,
                                            tags=tags, kept=len(kept),
                                            dropped=len(read_jsonl(folder / "chains/dropped.jsonl",
                                                                   partial=True)),
                                            tag_charts=[{**c, "svg": Markup(c["svg"])}
                                                        for c in tag_figures.pictures(tables.maybe(folder / "chains/stats.json", {}),
                                                                                      tags)],
                                            origin=tag_figures.origin(tags),
                                            bars=Markup(plots.tag_bars(primary, tags.get("counts") or {}))
                                            if primary else "", colour=lambda tag: 1 + primary.index(tag) % 9
                                            if tag in primary else 0,
                                            sets=[(f"Dev questions, answered by {system}", shown),
                                                  ("Training chains, written by the teacher",
                                                   training(kept, primary))],
                                            built_in=all(t.get("source") == "mini" for t in tasks.values()))
    return page.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair in the data cannot be written


# ---------------------------------------------------------------- how it looks

STYLE = Markup(":root { color-scheme:light dark; " + plots.LIGHT + " }\n"
               "@media screen and (prefers-color-scheme:dark) { :root { " + plots.DARK + " } }\n" + plots.STYLE + """
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif; }
main { max-width:1120px; margin:0 auto; padding:clamp(20px,4vw,56px) clamp(16px,4vw,40px) 64px; }
h1,h2 { font-family:ui-serif,Georgia,"Times New Roman",serif; font-weight:600; line-height:1.15; }
h1 { font-size:clamp(2.2rem,6vw,3.6rem); margin:.1em 0 .35em; }
h2 { font-size:1.6rem; margin:2.4em 0 .5em; padding-top:.7em; border-top:1px solid var(--rule); }
h3 { font-size:1rem; margin:0 0 .3em; } p { max-width:70ch; margin:.4em 0 1em; }
.over,.soft,small,caption,figcaption span { color:var(--soft); }
.over { font-size:.85rem; letter-spacing:.04em; margin:0; }
.lede { font:clamp(1.12rem,2.2vw,1.35rem)/1.5 ui-serif,Georgia,serif; max-width:60ch; }
code,pre { font:13px/1.5 ui-monospace,Menlo,Consolas,monospace; } pre { white-space:pre-wrap; overflow-wrap:anywhere; }
.facts { display:flex; flex-wrap:wrap; gap:.6em 2.2em; margin:1.4em 0 0; } .facts div { min-width:0; }
dt { color:var(--soft); font-size:.82rem; } dd { margin:0; font-weight:600; overflow-wrap:anywhere; }
.steps { list-style:none; counter-reset:s; padding:0; margin:1.2em 0; display:grid; gap:12px;
  grid-template-columns:repeat(auto-fill,minmax(min(100%,236px),1fr)); }
.steps li { counter-increment:s; background:var(--card); border:1px solid var(--rule); border-radius:10px;
  padding:12px 14px 14px; position:relative; overflow:hidden; font-size:.9rem; line-height:1.4; }
.steps b::before { content:counter(s) " "; color:var(--soft); font-weight:400; } .steps b { font-size:1rem; }
.steps em { float:right; font-style:normal; font-variant-numeric:tabular-nums; color:var(--soft); }
.steps span { display:block; } .steps i { position:absolute; left:0; bottom:0; height:4px; background:rgb(var(--t6)); }
.scroll { overflow-x:auto; border:1px solid var(--rule); border-radius:10px; background:var(--card); margin:1em 0; }
table { border-collapse:collapse; font-size:.92rem; font-variant-numeric:tabular-nums; } .scroll table { width:100%; }
th,td { padding:.5em .65em; text-align:right; white-space:nowrap; vertical-align:top;
  border-bottom:1px solid var(--rule); }
tbody tr:last-child > * { border-bottom:0; } th { font-weight:600; } 
thead th { font-size:.84rem; line-height:1.3; vertical-align:bottom; white-space:normal; }
th:first-child,td:first-child { text-align:left; } td small { display:block; font-size:.76rem; }
thead tr + tr th { white-space:nowrap; } thead tr + tr th:first-child { text-align:right; }
thead .group { text-align:center; }
tbody th { position:sticky; left:0; background:var(--card); } .best strong { color:rgb(var(--t6)); font-weight:750; }
.mean { min-width:9.5em; }
.grid2 { display:grid; gap:16px; grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr)); margin:1em 0; }
figure,.card { margin:0; background:var(--card); border:1px solid var(--rule); border-radius:10px;
  padding:14px 16px 10px; break-inside:avoid; }
figure { max-width:540px; display:flex; flex-direction:column; } .grid2 .scroll { margin:0; align-self:start; }
figcaption { flex:1; font-size:.86rem; line-height:1.4; margin-bottom:8px; }
figcaption b { display:block; font-size:.98rem; }
.chains { columns:2 380px; column-gap:18px; margin:1em 0; } .chains .card { max-width:none; margin:0 0 18px; }
.card header { display:flex; flex-wrap:wrap; gap:.2em .8em; justify-content:space-between; font-size:.84rem; }
.q { font-size:.92rem; color:var(--soft); white-space:pre-wrap; overflow-wrap:anywhere; margin:.5em 0 .8em; }
.thought { list-style:none; margin:.6em 0; padding:0; display:grid; gap:3px; overflow-wrap:anywhere; }
.thought li { padding:.45em .7em .5em; border-left:4px solid rgb(var(--t)); background:rgb(var(--t) / .09);
  border-radius:0 6px 6px 0; line-height:1.45; }
.chip { display:inline-block; font-size:.76rem; font-weight:650; color:rgb(var(--t)); background:rgb(var(--t) / .12);
  border-radius:4px; padding:.05em .5em; margin-right:.5em; }
.legend { display:flex; flex-wrap:wrap; gap:.4em; margin:1.3em 0 0; }
.legend .chip { font-size:.86rem; margin:0; padding:.15em .7em; }
.ends { margin:.6em 0 .3em; overflow-wrap:anywhere; } .mark { font-weight:650; } .right { color:var(--good); }
.wrong { color:var(--bad); } .free { color:var(--soft); } 
details { margin:1em 0; } summary { cursor:pointer; font-weight:600; }
@media (max-width:520px) { th,td { padding:.45em .55em; } h2 { margin-top:1.8em; } }
@media print { body { font-size:11pt; background:#fff; } main { padding:0; max-width:none; }
  table { font-size:8pt; } th,td { padding:.3em .4em; } .scroll { overflow:visible; }
  tr,li,figure { break-inside:avoid; } }
""" + "\n".join(f".k{i} {{ --t:var(--t{i}); }}" for i in range(10)))

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Tagging the Thought: run {{ name }}</title><style>{{ style }}</style></head><body><main>
<header><p class="over">tagpr_lite · run {{ name }}</p><h1>Tagging the Thought</h1><p class="lede">{{ lede }}</p>
<dl class="facts">
{% if config.model %}<div><dt>Model</dt><dd>{{ config.model.name }}, {{ config.model.bits }} bit</dd></div>{% endif %}
{% if tasks %}<div><dt>Tasks</dt><dd>{{ tasks|length }}</dd></div>
<div><dt>Questions, train and dev</dt><dd>{{ tasks.values()|map(attribute="train", default=0)|sum }} and
{{ tasks.values()|map(attribute="dev", default=0)|sum }}</dd></div>{% endif %}
<div><dt>Time, all steps</dt><dd>{{ total }}</dd></div></dl>
{% if primary %}<p class="legend" aria-label="The primary tags">{% for t in primary %}
<span class="chip k{{ colour(t) }}">{{ t }}</span>{% endfor %}</p>{% endif %}</header>

<section><h2>Eight steps</h2><ol class="steps">{% for s in steps %}
<li><em>{{ s.said }}</em><b>{{ s.name }}</b><span class="soft">{{ s.about }}</span>
<i style="width:{{ s.share }}%"></i></li>
{% endfor %}</ol></section>

{% macro scores(field, mark, full) %}<div class="scroll" role="region" tabindex="0" aria-label="Scores, {{ field }}">
<table><thead><tr><th rowspan="2" scope="col">System</th>
{% if full %}<th class="mean" rowspan="2" scope="col">{{ tables.AVERAGE }}</th>{% endif %}
{% for task, group in columns|groupby(0) %}<th class="group" colspan="{{ group|length }}" scope="colgroup">
{{ title(task) }}</th>{% endfor %}{% if full %}<th rowspan="2" scope="col">Questions</th>
<th rowspan="2" scope="col">Parse failures</th>{% endif %}</tr>
<tr>{% for task, m in columns %}<th scope="col">{{ tables.METRICS.get(m, m) }}&nbsp;{{ tables.arrow(m) }}</th>
{% endfor %}</tr></thead>
<tbody>{% for r in rows %}<tr><th scope="row">{{ r.label }}</th>
{% if full %}<td>{{ tables.signed(r.relative) }}{% if 0 < r.compared < columns|length %}
<small>{{ r.compared }} of {{ columns|length }} scores</small>{% endif %}</td>{% endif %}{% for key in columns %}
{% set c = r.cells.get(key, {}) %}{% set v = tables.decimal(c.get(field)) %}
<td class="{{ 'best' if c.get(mark) }}">{% if c.get(mark) %}<strong>{{ v }}</strong>{% else %}{{ v }}{% endif %}
{% if full and c.get("interval") %}<small>{{ "%.2f–%.2f"|format(*c.interval) }}</small>{% endif %}</td>{% endfor %}
{% if full %}<td>{{ r.n }}</td><td>{{ tables.percent(r.parse_failure) }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}
<section><h2>Scores on dev</h2>{% if rows %}
<p class="soft">Lenient reading of the answer. <strong>Bold</strong> is the best of a column; ↑ higher is better,
↓ lower is better; the small numbers are the 95% interval.</p>{{ scores("value", "best", true) }}
<details><summary>Strict reading of the answer</summary>{{ scores("strict", "best_strict", false) }}</details>
<div class="grid2">{% for t, m, svg in dots %}<figure><figcaption><b>{{ t }}</b><span>{{ tables.METRICS.get(m, m) }},
{{ "lower" if m in tables.LOWER_IS_BETTER else "higher" }} is better; dashed: the base model</span>
</figcaption>{{ svg }}</figure>{% endfor %}</div>{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>Learning curves</h2>{% if charts %}<div class="grid2">{% for c in charts %}
<figure><figcaption><b>{{ c.title }}</b><span>{{ c.note }}</span></figcaption>{{ c.svg }}</figure>{% endfor %}</div>
<p class="soft">Dots are single steps, lines a moving mean.</p>
{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>Does the reward model know the user?</h2>{% if prmu %}<p>{{ tables.prmu_sentence(prmu) }}</p>
<div class="grid2"><figure><figcaption><b>Pairwise accuracy</b><span>dashed: chance</span></figcaption>
{{ prmu_bars }}</figure>
{% if prmu.by_kind %}<div class="scroll"><table><thead><tr><th scope="col">Kind of pair</th><th scope="col">Pairs</th>
<th scope="col">Own user</th><th scope="col">Another's</th><th scope="col">None</th></tr></thead><tbody>
{% for k, v in prmu.by_kind.items() %}
<tr><th scope="row">{{ k }}</th><td>{{ v.n }}</td>{% for way in ("accuracy", "shuffled", "generic") %}
<td>{{ tables.percent(tables.number(v[way])) }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>{% endif %}</div>
{% if prmu.calibration %}<p class="soft">{{ tables.prmu_manners(prmu) }}</p>{% endif %}
{% if prmu.agreement %}<div class="scroll"><table><thead><tr><th scope="col">Kendall's τ with the hidden rule</th>
{% for task in prmu.agreement %}<th scope="col">{{ task }}</th>{% endfor %}</tr></thead><tbody><tr><th scope="row">mean ± error</th>
{% for v in prmu.agreement.values() %}<td>{{ tables.decimal(v.tau, 2) }} ± {{ tables.decimal(v.error, 2) }}</td>{% endfor %}
</tr></tbody></table></div>{% endif %}
{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>The tags</h2>{% if primary %}<p>{{ kept }} chains kept, {{ dropped }} dropped. Where the tags are from:
{{ origin }}</p><div class="grid2"><figure><figcaption><b>Steps by tag</b></figcaption>{{ bars }}</figure>
{% for c in tag_charts %}<figure><figcaption><b>{{ c.title }}</b><span>{{ c.note }}</span></figcaption>{{ c.svg }}</figure>
{% endfor %}</div>{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>Chains in colour</h2><p class="soft">By rule, not by taste: of each task the first right, the
first wrong and the first malformed answer in file order; of the training chains the first of each task and kind.</p>
{% for heading, chains in sets %}{% if chains %}<h3>{{ heading }}</h3><div class="chains">{% for c in chains %}
<article class="card"><header><b>{{ title(c.task) }}</b><span class="soft">question
{{ c.id }}{% if c.user != "" %}, user {{ c.user }}{% endif %}</span></header>
{% if c.input %}<p class="q">{{ c.input }}</p>{% endif %}
{% if c.fault %}<p class="mark wrong">Malformed: the text {{ c.fault }}. As it came:</p>
<pre>{{ c.text }}</pre>{% else %}<ol class="thought">{% for tag, words in c.steps %}<li class="k{{ colour(tag) }}">
<span class="chip">{{ tag }}</span>
{{ words }}</li>{% endfor %}</ol>{% endif %}<p class="ends">Answer <b>{{ c.answer }}</b> · gold <b>{{ c.gold }}</b><br>
<span class="mark {{ c.mark }}">{{ c.said }}</span></p></article>{% endfor %}</div>{% endif %}{% endfor %}
{% if not sets[0][1] %}<p class="soft">Evaluation of a reasoning system: not run.</p>{% endif %}
{% if not sets[1][1] %}<p class="soft">Training chains: not run.</p>{% endif %}</section>

<section><h2>What is the paper's and what is ours</h2><ul>
<li>The paper's (TagPR, arXiv 2509.23140) is the method: tagged thoughts, SFT on them, a personalization reward model
with user embeddings, and two stages of GRPO, guided and then exploratory.</li>
<li>Ours are the hyper-parameters, the prompts, the tag names, the averaging and the code.</li>
<li>Every number on this page is this run's. None is copied from the paper.</li>
{% if tasks %}<li>The data are LaMP-shaped: LaMP's tasks and fields, {{ "but the built-in benchmark's invented users" if
built_in else "read from a folder" }}. Scores can be set beside published ones only where the questions are the official
ones.</li>{% endif %}
{% if config.model and config.model.name == "tiny" %}<li>The model is a tiny random one: the run shows that the parts
fit together, and its scores mean nothing.</li>{% endif %}
{% for note in data.notes or [] %}<li>{{ note }}</li>{% endfor %}</ul>
{% if plan %}<details><summary>Plan</summary><div class="scroll"><table>{% for k, v in plan %}<tr>
<th scope="row">{{ k }}</th><td style="text-align:left;white-space:normal">{{ v }}</td></tr>{% endfor %}
</table></div></details>{% endif %}
<details><summary>Settings of this run</summary>{% if config_text %}<pre>{{ config_text }}</pre>{% else %}
<p class="soft">config.yaml is missing.</p>{% endif %}</details></section>
</main></body></html>
"""

ENV = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
ENV.globals["style"] = STYLE
