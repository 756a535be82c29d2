"""How a campaign's page looks beyond template.py's style: its lists with drawings, and its HTML.

A list's row is a grid: in a narrow card name and number stand above the drawing, in a wide one beside it. The
card's width decides, not the screen's (a container query).
"""
from __future__ import annotations

from markupsafe import Markup

from . import tracks
from .template import STYLE as PAGE_STYLE

STYLE = PAGE_STYLE + Markup(tracks.STYLE + """
figure { container-type:inline-size; } figure.wide { max-width:none; margin:1em 0; }
.grid2 figure.wide { margin:0; } figcaption.close { flex:none; }
h1,.lede,figcaption,.rows { overflow-wrap:anywhere; } .lede { max-width:66ch; }
.reading { font-size:.86rem; color:var(--soft); max-width:none; overflow-wrap:anywhere; }
.rows { list-style:none; margin:0; padding:0; font-size:.9rem; line-height:1.35;
  font-variant-numeric:tabular-nums; }
.rows li { display:grid; column-gap:12px; align-items:center; break-inside:avoid; }
.rows small { display:block; color:var(--soft); font-size:.78rem; }
.rows .name { font-weight:600; min-width:0; } .rows .name small { font-weight:400; }
.rows .value { text-align:right; white-space:nowrap; } .rows .value b { font-weight:650; }
.rows .plot { min-width:0; }
.axis div { position:relative; height:1.5em; color:var(--soft); font-size:.76rem; }
.axis span { position:absolute; white-space:nowrap; transform:translateX(-50%); }
.verdict { color:var(--soft); font-size:.9em; } .verdict.better { color:rgb(var(--t6)); font-weight:600; }
.verdict.worse { color:var(--bad); font-weight:600; }
.differences li { padding:.35em 0;
  grid-template:"name value" auto "plot plot" auto "ends ends" auto / 1fr auto; }
.differences .name { grid-area:name; } .differences .plot { grid-area:plot; margin:2px 0; }
.differences .value { grid-area:value; align-self:start; }
.differences .ends { grid-area:ends; display:flex; flex-wrap:wrap; gap:0 1.2em; color:var(--soft);
  font-size:.78rem; }
.differences .axis { padding:0; }
@container (min-width:780px) {
  .differences li { grid-template:"name plot value ends" auto / 14.5rem 1fr 10rem 13rem; padding:0; }
  .differences .plot { margin:0; align-self:stretch; min-height:42px; position:relative; }
  .differences .axis .plot { min-height:0; }
  .differences .plot svg { position:absolute; inset:0; height:100%; }
  .differences .value { align-self:center; text-align:left; } .differences .ends { display:block; }
  .differences li > .name,.differences li > .ends { padding:.3em 0; }
}
.rows.scores li { grid-template-columns:6.7em 1fr 2.9em; column-gap:8px; }
.rows.noted li { grid-template-columns:6.7em 1fr 2.9em 2.7em; }
.rows.scores .group { display:block; font-size:.82rem; color:var(--soft); padding:.7em 0 .15em; }
.scores .name { font-weight:400; } .scores .known { color:var(--soft); font-style:italic; }
.scores .axis div { grid-column:2; } .scores .head { color:var(--soft); font-size:.76rem; }
.scores .head div { justify-self:end; white-space:nowrap; }
.scores .note { color:var(--soft); text-align:right; white-space:nowrap; }
@container (min-width:421px) {
  .rows.scores li { grid-template-columns:7.6em 1fr 3.4em; column-gap:12px; }
  .rows.noted li { grid-template-columns:7.6em 1fr 3.4em 2.8em; }
}
@container (max-width:420px) { .scores .axis span:not(.first):not(.last) { display:none; } }
@media print { h2,.reading,figcaption { break-after:avoid; } }
td .track { margin-top:4px; min-width:4.5em; } td.left,th.left { text-align:left; }
""")

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">\
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Tagging the Thought: campaign {{ name }}</title><style>{{ style }}</style></head><body><main>
<header><p class="over">tagpr_lite · campaign</p><h1>{{ name }}</h1><p class="lede">{{ lede }}</p>
{% for sentence in replaced %}\
<p class="notice"><strong>Replaced.</strong> {{ sentence }}</p>{% endfor %}
{% if alarms %}<details class="notice"><summary>Alarms of training: {{ alarms|length }}</summary><ul>
{% for run, sentence in alarms %}<li>{{ run }}: {{ sentence }}</li>{% endfor %}</ul></details>{% endif %}
<dl class="facts">{% for term, fact in facts %}<div><dt>{{ term }}</dt><dd>{{ fact }}</dd></div>
{% endfor %}</dl></header>

{% macro axis_row(axis) %}<li class="axis" aria-hidden="true"><div class="plot">
{% for words, place in axis.numbers %}<span class="{{ 'first' if loop.first else 'last' if loop.last }}" \
style="left:{{ place|round(2) }}%">{{ words }}</span>{% endfor %}</div></li>{% endmacro %}
{% macro differences(group, axis) %}<figure class="wide"><figcaption><b>{{ group.title }}</b>
{% if group.said %}<span>{{ group.said }}</span>{% endif %}</figcaption><ul class="rows differences">
{% for row in group.rows %}\
<li><div class="name">{{ row.name }}{% if row.note %}<small>{{ row.note }}</small>{% endif %}
</div><div class="plot">{{ draw(row, axis) }}</div>
<div class="value"><b>{{ plus(row.found.value) }}</b>
<span class="verdict {{ row.verdict }}">{{ row.verdict }}</span></div>
<div class="ends">{% for which, ends in row.ends %}<div>{{ which }} {{ ends }}</div>
{% endfor %}</div></li>{% endfor %}{{ axis_row(axis) }}</ul></figure>{% endmacro %}
{% macro all_of(groups, axis) %}\
{% for group in groups %}{{ differences(group, axis) }}{% endfor %}{% endmacro %}

{% if results %}<section><h2>Does it work, by how much, how sure?</h2>
<p class="reading">{{ reading }}</p>{{ all_of(results, results_axis) }}
{% if words %}<p class="reading">{% for word, meaning in words %}<strong>{{ word }}</strong>: {{ meaning }}\
{{ "." if loop.last else "; " }}{% endfor %}</p>{% endif %}</section>

{% endif %}
{% if task_plots %}<section><h2>Scores by task</h2><p class="reading">The mean over runs; the small dots are \
single runs.{% if has_references %} Squares: what can be reached on this benchmark. Dashed: the best answer \
without the profile. Share: of the way from there to the oracle, in task reward.{% endif %}</p>
<div class="grid2">{% for plot in task_plots %}
<figure><figcaption class="close"><b>{{ plot.title }}</b><span>{{ plot.metric }}, {{ plot.better }}</span>
</figcaption><ul class="rows scores {{ 'noted' if plot.noted }}">
<li class="head" aria-hidden="true"><div></div><div></div><div>{{ plot.metric }}</div>
{% if plot.noted %}<div>share</div>{% endif %}</li>
{% for variant, lines in plot.groups %}{% set known = loop.last and plot.reachable %}
{% if known or plot.many %}<li class="group">{{ variant }}</li>{% endif %}
{% for line in lines %}<li><div class="name {{ 'known' if known }}">{{ line.name }}</div>
<div class="plot">{{ line.svg|drawing }}</div><div class="value">{{ line.value }}</div>
{% if plot.noted %}<div class="note">{{ line.note }}</div>{% endif %}</li>{% endfor %}{% endfor %}
{{ axis_row(plot.axis) }}</ul></figure>{% endfor %}</div>
<details><summary>All systems, mean and range over runs</summary><div class="scroll" role="region"
tabindex="0" aria-label="All scores"><table><thead><tr>
{% for head in score_heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for cells in score_lines %}<tr>{% for cell in cells %}{% if loop.first %}\
<th scope="row">{{ cell }}</th>{% else %}<td class="{{ 'left' if loop.index == 2 }}">{{ cell }}</td>\
{% endif %}{% endfor %}</tr>
{% endfor %}</tbody></table></div></details></section>

{% endif %}
{% if states %}<section><h2>The state of the reasoning</h2><p class="reading">Over all completions, tasks \
and runs. In form: the sequence of tags is one of the teacher's for the task. Follows: the answer is what \
the steps lead to. Claims: what can be checked of a chain against its profile.</p>
<div class="scroll" role="region" tabindex="0" aria-label="State of the reasoning"><table><thead><tr>
{% if many_variants %}<th scope="col">Variant</th>{% endif %}<th class="left" scope="col">System</th>\
{% for head in measures %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
{% for known in (true, false) %}<tbody class="{{ 'known' if known }}">
{% for row in states if row.known == known %}<tr>{% if many_variants %}\
<th scope="row">{{ row.variant if loop.changed(row.variant) }}</th>{% endif %}
<th class="left" scope="row">{{ row.name }}</th>
{% for text, bar in row.cells %}<td>{{ text }}{{ bar|drawing }}</td>{% endfor %}</tr>{% endfor %}</tbody>
{% endfor %}</table></div></section>

{% endif %}
{% if tags %}<section><h2>Which tag matters most?</h2><p class="reading">The answer is decoded again behind \
a chain without the steps of one tag, without any step, or behind the chain of another user. Left of 0: the \
answer was worse without them. Where leaving steps out costs nothing, the answer does not depend on them.</p>
{{ all_of(tags, tags_axis) }}{% if more_tags %}<details><summary>The other variants</summary>
{{ all_of(more_tags, tags_axis) }}</details>{% endif %}</section>

{% endif %}
{% if curves or views %}<section><h2>What does one more profile item buy?</h2>
{% for curve, svg, gains in curves %}<div class="grid2"><figure>
<figcaption class="close"><b>{{ curve.title }}</b>
<span>Task reward, mean over tasks, by the number of items shown; bars: 95% interval of \
{{ "a new run" if curve.several else "these runs" }}</span></figcaption>{{ svg|drawing }}</figure>
{{ differences(gains, views_axis) }}</div>
{% endfor %}{{ all_of(views, views_axis) }}</section>

{% endif %}
{% if choices %}<section><h2>Does PRMU help to choose an answer?</h2><p class="reading">Several answers are \
sampled; vote: what most of them say; prmu: the one that the reward model likes most; random: one of them.</p>
{{ all_of(choices, choices_axis) }}</section>

{% endif %}
<section><h2>How to read this page</h2><ul>
<li>Every number is of the runs of this campaign. None is copied from the paper (TagPR, arXiv \
2509.23140).</li>
{% if compared_count > 1 %}<li>The page shows {{ compared_count }} comparisons. Where nothing has an effect, \
one in twenty intervals still leaves out 0.</li>{% endif %}
{% if tiny %}<li>The model is a tiny random one: the runs show that the parts fit together, and their scores \
mean nothing.</li>{% endif %}
<li>Each run has a page of its own, report.html in its folder.</li></ul></section>
</main></body></html>
"""
