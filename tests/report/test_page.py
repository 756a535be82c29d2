"""The page: honest when parts are missing, safe with hostile text, silent in a browser."""
from __future__ import annotations

import html
import json
import shutil
import subprocess

import pytest
from invented_run import EVIL, TAGS, make_run
from whole_page import check

from tagpr_lite.config import Config, UserError
from tagpr_lite.lamp.tasks import TASKS
from tagpr_lite.report.examples import chain, verdict
from tagpr_lite.report.markdown import markdown
from tagpr_lite.report.notices import kept_beginnings
from tagpr_lite.report.page import render
from tagpr_lite.runs import append_jsonl, digest, save_config, write_json, write_jsonl
from tagpr_lite.steps import STEPS, step8_report

ABOUT = {name: step.about for name, step in STEPS.items()}
PARTS = ["config.yaml", "plan.json", "data", "data/summary.json", "chains", "chains/kept.jsonl",
         "chains/dropped.jsonl", "chains/tags.json", "metrics.jsonl", "prmu", "eval", "eval/base", "eval/sft",
         "eval/explore", "eval/explore/LaMP_3.json", "manifests", "manifests/sft.json"]


def test_page_shows_the_numbers_and_is_small_and_whole(run):
    page = render(run, ABOUT)
    check(page)
    assert len(page.encode()) < 200_000
    assert "<strong>0.700</strong>" in page and "0.34–0.46" in page and "+57.1%" in page
    assert "10.7 min" in page and "LaMP-shaped" in page and "explore minus SFT is 0.000" in page
    assert "not run" not in page.lower()


def test_hostile_text_is_text(run):
    page = render(run, ABOUT)
    assert EVIL not in page and "<script" not in page and "<img" not in page
    assert html.escape(EVIL, quote=False).replace("'", "&#39;") in page


@pytest.mark.parametrize("part", PARTS)
def test_any_part_may_be_missing(run, part):
    path = run / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    check(render(run, ABOUT))
    if part in ("eval", "chains", "prmu", "metrics.jsonl", "manifests"):
        assert "not run" in render(run, ABOUT).lower()


def test_an_empty_folder_is_a_page_too(tmp_path):
    page = render(tmp_path, ABOUT)
    check(page)
    assert page.lower().count("not run") >= 10 and "no result to summarise" in page


def test_rows_with_nothing_in_them_do_not_stop_the_page(run):
    write_jsonl(run / "chains/kept.jsonl", [{}, {"text": None}])
    append_jsonl(run / "metrics.jsonl",
                 [{"step": "guided"}, {"step": "explore", "index": 90, "by_task": None}])
    half_a_pair = r'{"scores": {}, "predictions": [{}, {"text": "\ud800"}]}'
    (run / "eval/explore/LaMP_3.json").write_text(half_a_pair)
    write_json(run / "manifests/guided.json", {"key": {}, "done": False})
    page = render(run, ABOUT)
    check(page)
    page.encode("utf-8")
    assert "cut off" in page


def test_what_steers_a_terminal_or_hides_is_written_out(run):
    said = "<think>\n<conclude>a\x1b[31m\x00\u202eb</conclude>\n</think>\n4"
    write_jsonl(run / "chains/kept.jsonl", [{"id": "1", "user": "u", "text": said, "tags": []}])
    page = render(run, ABOUT)
    assert "a\\x1b[31m\\x00\\u202eb" in page
    assert not set(page) & set("\x1b\x00\u202e")


def test_a_chain_is_its_steps_or_is_said_to_be_malformed(run):
    good = chain("<think>\n<conclude>So 5.</conclude>\n</think>\n5", TAGS)
    assert good["steps"] == [("conclude", "So 5.")] and not good["fault"]
    for text in ("", None, "4", "<think>", "<think><conclude>x</think>4", "<think><other>x</other></think>4"):
        bad = chain(text, TAGS)
        assert bad["fault"] and bad["steps"] == [] and bad["text"] == (text or "")
    page = render(run, ABOUT)
    assert "Malformed: the text has no single &lt;/think&gt;" in page
    assert page.count('<span class="chip">conclude</span>') == 3 * 2 + 6


def test_verdicts_are_words():
    assert verdict(TASKS["LaMP_1"], "[1]", "[1]") == ("right", "✓ right")
    assert verdict(TASKS["LaMP_1"], "[2]", "[1]") == ("wrong", "✗ wrong")
    # read as the lenient table reads it
    assert verdict(TASKS["LaMP_3"], "Score: 4 stars", "4") == ("right", "✓ right")
    assert verdict(TASKS["LaMP_3"], "2", "4") == ("wrong", "✗ off by 2")
    assert verdict(TASKS["LaMP_3"], None, "4")[1] == "✗ no answer could be read"
    assert verdict(TASKS["LaMP_5"], "Another title", "A title")[0] == "free"
    assert verdict(None, "a", "b")[0] == "wrong"


def test_the_step_writes_both_files_says_what_came_out_and_skips_itself(tmp_path, capsys):
    config = Config(name="demo", results=str(tmp_path))
    make_run(config.folder)
    save_config(config)
    step8_report.main(config)
    printed = capsys.readouterr().out
    assert "explore minus SFT is" in printed and str(config.folder / "report.html") in printed
    check((config.folder / "report.html").read_text(encoding="utf-8"))
    step8_report.main(config)
    printed = capsys.readouterr().out  # also then it says where the page is
    assert "up to date, skipped" in printed and str(config.folder / "report.html") in printed


@pytest.mark.parametrize("text", ["a: [", "3", "\xff\xfe", "&a [*a]", "grpo: {gruop: 3}", "seed: x"])
def test_damaged_settings_are_one_line(run, tmp_path, text):
    (run / "config.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(UserError) as error:
        render(run, ABOUT)
    assert "config.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("row", ["3", "{}", '{"step": 1, "what": "", "at_once": "", "held": 1, "peak": 1, '
                                 '"seconds": "x"}', '{"step": "a", "what": "b", "at_once": "c"}'])
def test_a_damaged_table_of_the_whole_run_is_left_out(run, row):
    (run / "plan_table.json").write_text(f'{{"rows": [{row}]}}')
    assert "</html>" in render(run, ABOUT)


def test_a_tiny_model_and_a_term_that_counts_less_are_said_first(run):
    write_jsonl(run / "metrics.jsonl", [{"step": "guided", "index": n, "trust": trust}
                                        for n, trust in enumerate((0.5, 0.5, 0.12))])
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("name: smollm2", "name: tiny"))
    top = markdown(run).partition("\n## ")[0]
    assert "**Tiny model.**" in top and "PRMU's term 50.0% of its weight at first and 12.0% at last" in top
    (run / "config.yaml").write_text(text)
    write_jsonl(run / "metrics.jsonl", [{"step": "guided", "index": 0, "trust": 1.0}, {"step": "guided"}])
    top = markdown(run).partition("\n## ")[0]
    assert "Tiny model" not in top and "PRMU's term" not in top


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
def test_a_browser_opens_it_without_a_word(run, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(render(run, ABOUT), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-sync", "--disable-background-networking", "--disable-component-update",
             "--enable-logging=stderr", "--v=0"]
    browser = subprocess.run([BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
                           page.as_uri()], capture_output=True, text=True, timeout=60, check=False)
    assert "CONSOLE" not in browser.stderr
    assert browser.stdout.count("<svg") == render(run, ABOUT).count("<svg")
    assert "Tagging the Thought" in browser.stdout


def test_a_stage_that_keeps_what_it_began_with_says_so(run):
    """Without it, a reader takes an adapter that is SFT's for what reinforcement made."""
    def check(index, best):
        return {"step": "guided_check", "index": index, "score": 0.5, "best": best}

    write_jsonl(run / "metrics.jsonl", [check(0, True), check(4, False), check(8, False)])
    sentence, = kept_beginnings(run)
    assert sentence.startswith("guided keeps SFT's adapter: no later check on held-out users was better")
    assert sentence in html.unescape(render(run, ABOUT)).partition("<h2")[0]
    assert f"**Kept.** {sentence}" in markdown(run)
    write_jsonl(run / "metrics.jsonl", [check(0, True), check(4, True), check(8, False)])
    assert kept_beginnings(run) == []
    write_jsonl(run / "metrics.jsonl", [check(0, True)])
    assert kept_beginnings(run) == []


def test_alarms_stand_at_the_top_of_both_reports(run):
    append_jsonl(run / "metrics.jsonl", [
        {"step": "explore_alarm", "index": 4, "text": "40% <b>were cut</b>", "advice": "wait"},
        {"step": "guided_alarm", "index": 2, "text": EVIL, "advice": EVIL}, {"step": "guided_alarm"}])
    page = render(run, ABOUT)
    check(page)
    top = page.partition("<h2")[0]
    assert top.count("<strong>Alarm.</strong>") == 3
    assert "explore, after 4 steps: 40% &lt;b&gt;were cut&lt;/b&gt;. What to change: wait." in top
    text = markdown(run)
    assert text.index("guided, after 2 steps") < text.index("explore, after 4 steps: 40%") < text.index("## ")


def test_a_score_that_was_changed_by_hand_is_named_on_the_page(run):
    path = run / "eval" / "sft" / "LaMP_3.json"
    manifest = run / "manifests" / "evaluate.json"
    write_json(manifest, json.loads(manifest.read_text()) | {"outputs": ["eval"], "made": {
        "eval/sft/LaMP_3.json": digest(path)}})
    assert "not as step evaluate wrote it" not in markdown(run)
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert "eval/sft/LaMP_3.json is not as step evaluate wrote it" in markdown(run)
    write_json(run / "eval" / "sft" / "LaMP_9.json", "hello")  # what is no result is left out
    assert "</html>" in render(run, ABOUT)


def test_a_step_that_was_done_alone_with_other_settings_is_named(run):
    manifest = run / "manifests" / "guided.json"
    as_shown = {"seed": 0, "grpo": {"group": Config().grpo.group, "lr": Config().grpo.lr}, "model.name": "x"}
    write_json(manifest, {"done": True, "key": {"settings": as_shown}})
    assert "**Settings.**" not in markdown(run)
    write_json(manifest, {"done": True, "key": {"settings": as_shown | {"grpo.guided_steps": 1}}})
    assert "guided was done with grpo.guided_steps=1, and config.yaml says otherwise" in markdown(run)


def test_scores_of_an_adapter_that_was_trained_again_are_stale(run):
    (run / "guided" / "adapter").mkdir(parents=True)
    (run / "guided" / "adapter" / "weights").write_text("1")
    key = {"inputs": {"guided/adapter": digest(run / "guided" / "adapter"), "data/dev.jsonl": "old"}}
    write_json(run / "manifests" / "evaluate.json", {"done": True, "key": key})
    assert "**Stale.**" not in markdown(run)
    (run / "guided" / "adapter" / "weights").write_text("2")
    assert "of another guided/adapter than the one that is there now" in markdown(run)
