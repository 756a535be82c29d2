"""How the page looks: its colours, its style sheet and its HTML, filled in by page.py.

The style sheets and the template are text. A backslash at the end of a line joins it with the next one, so
that a long line of CSS or HTML can be read here and is still one line in the page.
"""
from __future__ import annotations

from markupsafe import Markup

COLOURS = 10  # --t0 is grey, --t1 to --t9 are the hues of the nine primary tags

# The palette: nine hues of equal lightness, each with a contrast of at least 5:1 against its own tint, on
# light and on dark paper. `--t1:0 90 157` is red, green and blue, so that CSS can add a transparency to it.
LIGHT = """--paper:#fbfaf7; --card:#fff; --ink:#1d1f24; --soft:#5a5f69; \
--rule:#e2dfd6; --good:#0b6b3a; --bad:#a3262a;
  --t1:0 90 157; --t2:140 63 0; --t3:0 107 45; --t4:119 59 132; --t5:147 51 49; --t6:0 108 110; \
--t7:106 88 0;
  --t8:83 74 156; --t9:141 50 92; --t0:90 95 105;"""
DARK = """--paper:#14161a; --card:#1b1e24; --ink:#ebe8e1; --soft:#a9adb6; \
--rule:#32363f; --good:#7fd6a4; --bad:#ff9f9a;
  --t1:137 198 255; --t2:248 174 123; --t3:140 213 155; --t4:225 170 237; --t5:255 165 157; --t6:90 215 215;
  --t7:209 195 107; --t8:185 183 255; --t9:250 163 196; --t0:170 175 185;"""

# ---------------------------------------------------------------- the style of a chart

# Classes by colour number: .c3 draws a line in colour 3, .f3 fills with it, .k3 makes it the `--t` of a part.
STROKES_AND_FILLS = "\n".join(
    f".c{number} {{ stroke:rgb(var(--t{number})); }} .f{number} {{ fill:rgb(var(--t{number})); }}"
    for number in range(COLOURS))
PART_COLOURS = "\n".join(f".k{number} {{ --t:var(--t{number}); }}" for number in range(COLOURS))

CHART_STYLE = STROKES_AND_FILLS + """
svg { display:block; width:100%; max-width:430px; height:auto; font-family:inherit; }
svg text { font-size:12.5px; fill:var(--ink); } \
svg text.tick { fill:var(--soft); font-variant-numeric:tabular-nums; }
svg text.best { fill:var(--ink); font-weight:700; }
.grid { stroke:var(--rule); } .cut { stroke:var(--soft); stroke-dasharray:4 4; }
.curve { fill:none; stroke-width:2.2; stroke-linejoin:round; stroke-linecap:round; }
.dots { fill:none; stroke-width:3.4; stroke-linecap:round; opacity:.34; }
.span { stroke:var(--soft); stroke-width:2; stroke-linecap:round; opacity:.6; }
.dot { fill:var(--card); stroke:var(--soft); stroke-width:2; }
.span.best { stroke:rgb(var(--t6)); stroke-width:3; } \
.dot.best { fill:rgb(var(--t6)); stroke:rgb(var(--t6)); }
"""

# ---------------------------------------------------------------- the style of the page

PAGE_STYLE = """
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
code,pre { font:13px/1.5 ui-monospace,Menlo,Consolas,monospace; } \
pre { white-space:pre-wrap; overflow-wrap:anywhere; }
.facts { display:flex; flex-wrap:wrap; gap:.6em 2.2em; margin:1.4em 0 0; } .facts div { min-width:0; }
dt { color:var(--soft); font-size:.82rem; } dd { margin:0; font-weight:600; overflow-wrap:anywhere; }
.steps { list-style:none; counter-reset:s; padding:0; margin:1.2em 0; display:grid; gap:12px;
  grid-template-columns:repeat(auto-fill,minmax(min(100%,236px),1fr)); }
.steps li { counter-increment:s; background:var(--card); border:1px solid var(--rule); border-radius:10px;
  padding:12px 14px 14px; position:relative; overflow:hidden; font-size:.9rem; line-height:1.4; }
.steps b::before { content:counter(s) " "; color:var(--soft); font-weight:400; } .steps b { font-size:1rem; }
.steps em { float:right; font-style:normal; font-variant-numeric:tabular-nums; color:var(--soft); }
.steps span { display:block; } \
.steps i { position:absolute; left:0; bottom:0; height:4px; background:rgb(var(--t6)); }
.scroll { overflow-x:auto; border:1px solid var(--rule); border-radius:10px; background:var(--card); \
margin:1em 0; }
table { border-collapse:collapse; font-size:.92rem; font-variant-numeric:tabular-nums; } \
.scroll table { width:100%; }
th,td { padding:.5em .65em; text-align:right; white-space:nowrap; vertical-align:top;
  border-bottom:1px solid var(--rule); }
tbody tr:last-child > * { border-bottom:0; } th { font-weight:600; }\N{SPACE}
thead th { font-size:.84rem; line-height:1.3; vertical-align:bottom; white-space:normal; }
th:first-child,td:first-child { text-align:left; } td small { display:block; font-size:.76rem; }
thead tr + tr th { white-space:nowrap; } thead tr + tr th:first-child { text-align:right; }
thead .group { text-align:center; }
tbody th { position:sticky; left:0; background:var(--card); } \
.best strong { color:rgb(var(--t6)); font-weight:750; }
.mean { min-width:9.5em; } \
.known th,.known td { color:var(--soft); font-style:italic; font-weight:400; } \
.known tr:first-child > * { border-top:2px solid var(--soft); }
.grid2 { display:grid; gap:16px; grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr)); \
margin:1em 0; }
figure,.card { margin:0; background:var(--card); border:1px solid var(--rule); border-radius:10px;
  padding:14px 16px 10px; break-inside:avoid; }
figure { max-width:540px; display:flex; flex-direction:column; } \
.grid2 .scroll { margin:0; align-self:start; }
figcaption { flex:1; font-size:.86rem; line-height:1.4; margin-bottom:8px; }
figcaption b { display:block; font-size:.98rem; }
.chains { columns:2 380px; column-gap:18px; margin:1em 0; } \
.chains .card { max-width:none; margin:0 0 18px; }
.card header { display:flex; flex-wrap:wrap; gap:.2em .8em; justify-content:space-between; font-size:.84rem; }
.q { font-size:.92rem; color:var(--soft); white-space:pre-wrap; overflow-wrap:anywhere; margin:.5em 0 .8em; }
.thought { list-style:none; margin:.6em 0; padding:0; display:grid; gap:3px; overflow-wrap:anywhere; }
.thought li { padding:.45em .7em .5em; border-left:4px solid rgb(var(--t)); background:rgb(var(--t) / .09);
  border-radius:0 6px 6px 0; line-height:1.45; }
.chip { display:inline-block; font-size:.76rem; font-weight:650; \
color:rgb(var(--t)); background:rgb(var(--t) / .12);
  border-radius:4px; padding:.05em .5em; margin-right:.5em; }
.legend { display:flex; flex-wrap:wrap; gap:.4em; margin:1.3em 0 0; }
.legend .chip { font-size:.86rem; margin:0; padding:.15em .7em; }
.ends { margin:.6em 0 .3em; overflow-wrap:anywhere; } .mark { font-weight:650; } .right { color:var(--good); }
.wrong { color:var(--bad); } .free { color:var(--soft); }\N{SPACE}
.notice { border-left:4px solid var(--bad); padding:.3em .8em; max-width:75ch; overflow-wrap:anywhere; }
details { margin:1em 0; } summary { cursor:pointer; font-weight:600; }
@media (max-width:520px) { th,td { padding:.45em .55em; } h2 { margin-top:1.8em; } }
@media print { body { font-size:11pt; background:#fff; } main { padding:0; max-width:none; }
  table { font-size:8pt; } th,td { padding:.3em .4em; } .scroll { overflow:visible; }
  tr,li,figure { break-inside:avoid; } }
"""

# Markup: the style is ours, so Jinja must not escape it.
STYLE = Markup(f":root {{ color-scheme:light dark; {LIGHT} }}\n"
               f"@media screen and (prefers-color-scheme:dark) {{ :root {{ {DARK} }} }}\n"
               f"{CHART_STYLE}{PAGE_STYLE}{PART_COLOURS}")

# ---------------------------------------------------------------- the HTML

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">\
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; style-src 'unsafe-inline'{{ permission }}">
<title>Tagging the Thought: run {{ name }}</title><style>{{ style }}</style></head><body><main>
<header><p class="over">tagpr_lite · run {{ name }}</p><h1>Tagging the Thought</h1>\
<p class="lede">{{ lede }}</p>
{% if reached %}<p>{{ reached }}</p>{% endif %}
{% for word, sentence in notices %}\
<p class="notice"><strong>{{ word }}</strong> {{ sentence }}</p>{% endfor %}
<dl class="facts">
{% if config.model %}<div><dt>Model</dt>\
<dd>{{ config.model.name }}, {{ config.model.bits }} bit</dd></div>{% endif %}
{% if tasks %}<div><dt>Tasks</dt><dd>{{ tasks|length }}</dd></div>
<div><dt>Questions, train and dev</dt><dd>{{ tasks.values()|map(attribute="train", default=0)|sum }} and
{{ tasks.values()|map(attribute="dev", default=0)|sum }}</dd></div>{% endif %}
<div><dt>Time, all steps</dt><dd>{{ total_time }}</dd></div></dl>
{% if primary %}<p class="legend" aria-label="The primary tags">{% for tag in primary %}
<span class="chip k{{ colour(tag) }}">{{ tag }}</span>{% endfor %}</p>{% endif %}</header>

<section><h2>Eight steps</h2><ol class="steps">{% for step in steps %}
<li><em>{{ step.time }}</em><b>{{ step.name }}</b><span class="soft">{{ step.about }}</span>
<i style="width:{{ step.share }}%"></i></li>
{% endfor %}</ol></section>

{% macro scores(field, mark, full) %}\
<div class="scroll" role="region" tabindex="0" aria-label="Scores, {{ field }}">
<table><thead><tr><th rowspan="2" scope="col">System</th>
{% if full %}<th class="mean" rowspan="2" scope="col">{{ tables.AVERAGE }}</th>{% endif %}
{% for task, group in columns|groupby(0) %}<th class="group" colspan="{{ group|length }}" scope="colgroup">
{{ title(task) }}</th>{% endfor %}{% if full %}<th rowspan="2" scope="col">Questions</th>
<th rowspan="2" scope="col">Parse failures</th>{% endif %}</tr>
<tr>{% for task, metric in columns %}\
<th scope="col">{{ tables.METRICS.get(metric, metric) }}&nbsp;{{ tables.arrow(metric) }}</th>
{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr><th scope="row">{{ row.label }}</th>
{% if full %}<td>{{ tables.signed(row.relative) }}{% if 0 < row.compared < columns|length %}
<small>{{ row.compared }} of {{ columns|length }} scores</small>{% endif %}</td>{% endif %}\
{% for key in columns %}
{% set cell = row.cells.get(key, {}) %}{% set value = tables.decimal(cell.get(field)) %}
<td class="{{ 'best' if cell.get(mark) }}">\
{% if cell.get(mark) %}<strong>{{ value }}</strong>{% else %}{{ value }}{% endif %}
{% if full and cell.get("interval") %}\
<small>{{ "%.2f–%.2f"|format(*cell.interval) }}</small>{% endif %}</td>{% endfor %}
{% if full %}<td>{{ row.n }}</td><td>{{ tables.percent(row.parse_failure) }}</td>{% endif %}</tr>
{% endfor %}</tbody>{% if full and reference_rows %}<tbody class="known">{% for row in reference_rows %}
<tr><th scope="row">{{ row.label }}</th><td></td>{% for key in columns %}\
<td>{{ tables.decimal(row.cells.get(key)) }}</td>{% endfor %}<td></td><td></td></tr>
{% endfor %}</tbody>{% endif %}</table></div>{% endmacro %}
<section><h2>Scores on dev</h2>{% if rows %}
<p class="soft">Lenient reading of the answer. <strong>Bold</strong> is the best of a column; \
↑ higher is better,
↓ lower is better; the small numbers are the 95% interval.</p>{{ scores("value", "best", true) }}
<details><summary>Strict reading of the answer</summary>{{ scores("strict", "best_strict", false) }}</details>
{{ differences }}
<div class="grid2">{% for task, metric, svg in dot_plots %}\
<figure><figcaption><b>{{ task }}</b><span>{{ tables.METRICS.get(metric, metric) }},
{{ "lower" if metric in tables.LOWER_IS_BETTER else "higher" }} is better; dashed: the base model
{%- if reference_rows %}; diamonds: what can be reached{% endif %}</span>
</figcaption>{{ svg }}</figure>{% endfor %}</div>\
{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>Learning curves</h2>{% if charts %}<div class="grid2">{% for chart in charts %}
<figure><figcaption><b>{{ chart.title }}</b><span>{{ chart.note }}</span></figcaption>\
{{ chart.svg }}</figure>{% endfor %}</div>
<p class="soft">Dots are single steps, lines a moving mean.</p>
{% else %}<p class="soft">Not run.</p>{% endif %}</section>

{% if states %}<section><h2>The state of the reasoning</h2><p class="soft">{{ reasoning.NOTE }}</p>
{% macro state_table(task) %}\
<div class="scroll" role="region" tabindex="0" aria-label="State of the reasoning">
<table><thead><tr>{% for head in reasoning.HEADS %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in states if (row[1] == reasoning.ALL) == task %}<tr>{% for cell in row %}\
{% if loop.first %}<th scope="row">{{ cell }}</th>{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}{{ state_table(true) }}
<details><summary>Task by task</summary>{{ state_table(false) }}</details></section>

{% endif %}\
{% if changed %}<section><h2>Does the answer depend on the chain?</h2><p class="soft">{{ faithful.NOTE }}</p>
<div class="scroll" role="region" tabindex="0" aria-label="Answers behind changed chains">
<table><thead><tr>{% for head in faithful.HEADS %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in changed %}<tr>{% for cell in row %}\
{% if loop.first %}<th scope="row">{{ cell }}</th>{% else %}<td>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div></section>

{% endif %}\
<section><h2>Does the reward model know the user?</h2>{% if prmu %}<p>{{ tables.prmu_sentence(prmu) }}</p>
<div class="grid2"><figure><figcaption><b>Pairwise accuracy</b><span>dashed: chance</span></figcaption>
{{ prmu_bars }}</figure>
{% if prmu.by_kind %}<div class="scroll"><table><thead><tr>\
<th scope="col">Kind of pair</th><th scope="col">Pairs</th>
<th scope="col">Own user</th><th scope="col">Another's</th><th scope="col">None</th></tr></thead><tbody>
{% for kind, result in prmu.by_kind.items() %}
<tr><th scope="row">{{ kind }}</th><td>{{ result.n }}</td>\
{% for embedding in ("accuracy", "shuffled", "generic") %}
<td>{{ tables.percent(tables.number(result[embedding])) }}</td>{% endfor %}</tr>{% endfor %}\
</tbody></table></div>{% endif %}</div>
{% if prmu.calibration %}<p class="soft">{{ tables.prmu_manners(prmu) }}</p>{% endif %}
{% if prmu.agreement %}<div class="scroll"><table><thead><tr>\
<th scope="col">Kendall's τ with the hidden rule</th>
{% for task in prmu.agreement %}<th scope="col">{{ task }}</th>{% endfor %}</tr></thead><tbody><tr>\
<th scope="row">mean ± error</th>
{% for result in prmu.agreement.values() %}\
<td>{{ tables.decimal(result.tau, 2) }} ± {{ tables.decimal(result.error, 2) }}</td>{% endfor %}
</tr></tbody></table></div>{% endif %}
{% else %}<p class="soft">Not run.</p>{% endif %}</section>

<section><h2>The tags</h2>{% if primary %}<p>{{ kept_count }} chains kept, {{ dropped_count }} dropped. \
Where the tags are from:
{{ origin }}</p><div class="grid2"><figure><figcaption><b>Steps by tag</b></figcaption>{{ tag_bars }}</figure>
{% for chart in tag_charts %}\
<figure><figcaption><b>{{ chart.title }}</b><span>{{ chart.note }}</span></figcaption>\
{{ chart.svg }}</figure>
{% endfor %}</div>{% else %}<p class="soft">Not run.</p>{% endif %}</section>

{% include "explorer" %}

<section><h2>Chains in colour</h2>\
<p class="soft">By rule, not by taste: of each task the first right, the
first wrong and the first malformed answer in file order; \
of the training chains the first of each task and kind.</p>
{% for heading, chains in chain_sets %}{% if chains %}<h3>{{ heading }}</h3><div class="chains">\
{% for chain in chains %}
<article class="card"><header><b>{{ title(chain.task) }}</b><span class="soft">question
{{ chain.id }}{% if chain.user != "" %}, user {{ chain.user }}{% endif %}</span></header>
{% if chain.input %}<p class="q">{{ chain.input }}</p>{% endif %}
{% if chain.fault %}<p class="mark wrong">Malformed: the text {{ chain.fault }}. As it came:</p>
<pre>{{ chain.text }}</pre>{% else %}<ol class="thought">\
{% for tag, words in chain.steps %}<li class="k{{ colour(tag) }}">
<span class="chip">{{ tag }}</span>
{{ words }}</li>{% endfor %}</ol>{% endif %}\
<p class="ends">Answer <b>{{ chain.answer }}</b> · gold <b>{{ chain.gold }}</b><br>
<span class="mark {{ chain.mark }}">{{ chain.verdict }}</span></p></article>{% endfor %}\
</div>{% endif %}{% endfor %}
{% if not chain_sets[0][1] %}<p class="soft">Evaluation of a reasoning system: not run.</p>{% endif %}
{% if not chain_sets[1][1] %}<p class="soft">Training chains: not run.</p>{% endif %}</section>

<section><h2>What is the paper's and what is ours</h2><ul>
<li>The paper's (TagPR, arXiv 2509.23140) is the method: tagged thoughts, SFT on them, \
a personalization reward model
with user embeddings, and two stages of GRPO, guided and then exploratory.</li>
<li>Ours are the hyper-parameters, the prompts, the tag names, the averaging and the code.</li>
<li>Every number on this page is this run's. None is copied from the paper.</li>
{% if tasks %}<li>The data are LaMP-shaped: LaMP's tasks and fields, \
{{ "but the built-in benchmark's invented users" if
built_in else "read from a folder" }}. \
Scores can be set beside published ones only where the questions are the official
ones.</li>{% endif %}
{% for note in data.notes or [] %}<li>{{ note }}</li>{% endfor %}
{% if data.template %}<li>The chat template {{ data.template }}.</li>{% endif %}</ul>
{% if plan %}<details><summary>Plan</summary><div class="scroll"><table>{% for key, value in plan %}<tr>
<th scope="row">{{ key }}</th><td style="text-align:left;white-space:normal">{{ value }}</td></tr>{% endfor %}
</table></div>
{% if plan_table %}<p class="soft">Planned before the run, for the largest prompts and completions; \
times are estimates.</p><div class="scroll"><table><tr>\
{% for head in plan_table[0] %}<th scope="col">{{ head }}</th>{% endfor %}</tr>
{% for row in plan_table[1:] %}<tr>\
{% for cell in row %}<td style="text-align:left">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}</details>{% endif %}
<details><summary>Settings of this run</summary>{% if config_text %}<pre>{{ config_text }}</pre>{% else %}
<p class="soft">config.yaml is missing.</p>{% endif %}</details></section>
</main></body></html>
"""
