"""How the explorer of rollouts looks: its style, its HTML, its script, and the permission for that script.

The page forbids every script but this one: the Content-Security-Policy names its hash. So text that slipped
into the page as HTML could still not run.
"""
from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

SCRIPT = Markup(Path(__file__).with_name("explorer.js").read_text(encoding="utf-8"))
"""Markup: the script is ours, so Jinja must not escape it."""


def permission(script: str) -> str:
    """What the Content-Security-Policy says to let exactly this script run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"; script-src 'sha256-{digest}'"


STYLE = Markup("""
.pick { display:grid; gap:.5em 1.2em; grid-template-columns:auto 1fr; align-items:end; margin:1em 0;
  padding:12px 14px; background:var(--card); border:1px solid var(--rule); border-radius:10px; }
.pick[hidden], .pick [hidden] { display:none !important; }
.pick label { display:block; font-size:.82rem; color:var(--soft); min-width:0; }
.pick .wide { grid-column:1/-1; }
.pick select, .pick button { font:inherit; font-size:1rem; color:var(--ink); background:var(--paper);
  border:1px solid var(--rule); border-radius:6px; padding:.35em .6em; min-height:2.4em; max-width:100%; }
.pick select { display:block; width:100%; text-overflow:ellipsis; }
.pick input { display:block; width:100%; min-height:2.4em; margin:0; accent-color:rgb(var(--t6)); }
.pick output { font-variant-numeric:tabular-nums; } .pick b { color:var(--ink); }
.pick button { cursor:pointer; } .pick button:disabled { opacity:.45; cursor:default; }
.pick button[aria-current] { border-color:rgb(var(--t6)); font-weight:650; }
.pick .walk, .pick .again { display:flex; flex-wrap:wrap; gap:.5em .8em; align-items:center; }
.pick .again { gap:.35em; font-size:.82rem; color:var(--soft); max-height:9em; overflow:auto; }
.pick .again span { display:contents; }
.pick .again button { font-size:.84rem; min-height:2em; padding:.1em .6em; }
.pick :focus-visible { outline:2px solid rgb(var(--t6)); outline-offset:2px; }
.asked { margin:.6em 0 1em; } .asked pre { max-height:24em; overflow:auto; } .asked .q { color:var(--ink); }
.asked details { margin:.5em 0; } .asked header { gap:.2em .8em; }
.group, .asked { overflow-wrap:anywhere; }
.group { display:grid; gap:14px; align-items:start; \
grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr)); }
.group .card { border-top:4px solid var(--rule); min-width:0; }
.group .gain { border-top-color:var(--good); } .group .loss { border-top-color:var(--bad); }
.group .gain .earned { color:var(--good); } .group .loss .earned { color:var(--bad); }
.group .earned { font-weight:650; font-variant-numeric:tabular-nums; }
.group .thought li { font-size:.94rem; } .group pre .chip { margin:0; }
.group .judged { display:block; }
.group p { margin:.4em 0; font-size:.9rem; } .group .soft { font-size:.84rem; }
.claim { border-bottom:2px solid var(--good); } .claim b { color:var(--good); padding-left:.1em; }
.claim.false { border-bottom:2px dashed var(--bad); } .claim.false b { color:var(--bad); }
.apart { display:flex; flex-wrap:wrap; gap:.2em .8em; font-size:.84rem; margin-top:.3em; }
.terms { width:100%; margin:.6em 0 .3em; font-size:.82rem; table-layout:fixed; }
.terms th, .terms td { padding:.2em .3em; text-align:right; overflow:hidden; text-overflow:ellipsis; }
.terms th:first-child { text-align:left; position:static; font-weight:400; color:var(--soft); }
@media (max-width:520px) { .pick { grid-template-columns:1fr; } .group .card, .asked { padding:12px; } }
@media print { .pick { display:none; } .asked pre { max-height:none; }
  .group { grid-template-columns:1fr 1fr; } }
""")

SECTION = """<section><h2>Rollouts: what was rewarded</h2>
{% for sentence in explorer.missing %}<p class="soft">{{ sentence }}</p>{% endfor %}
{% if explorer.data %}
<p>What the policy wrote while it was trained, and what each completion earned. The reward is \
(task weight × task + PRMU weight × PRMU{% if explorer.has_own %} + own weight × own{% endif %}) \
× format × (1 − gate × (1 − tag)) + tag weight × tag, \
with the gate of stage 1 (grpo.gate; 0 in stage 2), \
less what a completion loses for length. The advantage compares the rewards within the group; \
completions stand in the order of their reward. \
Claims about the profile that can be checked are marked \
<span class="claim true">true<b>✓</b></span> or <span class="claim false">false<b>✗</b></span>.</p>
<p class="soft">Shown: {{ explorer.shares|join("; ") }}.\
{% if explorer.partly %} The steps are spread evenly over their stage; \
of a step, questions of different tasks come first.{% endif %}</p>
<p class="soft" id="rollouts-still">This browser runs no script: the last group is shown, \
and no other can be chosen.</p>
<div class="pick" id="rollouts-choice" role="group" aria-label="Which group is shown" hidden>
<label>Stage<select id="rollouts-stage" autocomplete="off"></select></label>
<label>Step <b id="rollouts-step-name"></b>\
<input id="rollouts-step" type="range" min="0" max="0" step="1" autocomplete="off"></label>
<label class="wide">Question<select id="rollouts-group" autocomplete="off"></select></label>
<div class="walk wide"><button type="button" id="rollouts-back">← Before</button>
<button type="button" id="rollouts-on">Next →</button>
<output id="rollouts-place" aria-live="polite"></output></div>
<div class="again wide" id="rollouts-again-row" hidden>The same question in step \
<span id="rollouts-again"></span></div></div>
<div id="rollouts-view">{{ explorer.last }}</div>
<script type="application/json" id="rollouts-data">{{ explorer.data }}</script>
<script>{{ script }}</script>
{% endif %}</section>
"""
