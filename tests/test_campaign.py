"""Campaigns: the runs they are made of, that they go on, side by side too, and the table at the end."""
import shutil

import pytest

from tagpr_lite import campaign, config
from tagpr_lite.bench import kills
from tagpr_lite.config import UserError
from tagpr_lite.runs import write_json, write_jsonl
from tagpr_lite.runs.places import places_on_cores
from tagpr_lite.steps import StepInfo


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(f"""
preset: smoke
seeds: [0, 1]
steps: [prepare]
settings:
  results: {tmp_path / 'results'}
  lamp: {{tasks: [LaMP_3], train_limit: {{LaMP_3: 4}}, from_profile: {{}}}}
variants:
  short: {{}}
  long: {{lamp: {{train_limit: 6}}, tag: {{words: 40}}}}
""")
    return str(path)


def test_every_campaign_that_is_shipped_has_right_settings():
    for path in campaign.FOLDER.glob("*.yaml"):
        shipped = campaign.read(path.stem)
        for variant, seed, words in campaign.runs(shipped, []):
            conf = config.load(shipped["preset"], words)
            assert conf.seed == seed and conf.folder.name == f"{path.stem}-{variant}-{seed}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "x" * 200])
def test_a_name_that_is_no_name_of_a_folder_is_refused(small, capsys, name):
    with pytest.raises(SystemExit) as stop:
        campaign.main([small, "--table", "--name", name])
    assert stop.value.code == 2 and "no plain name" in capsys.readouterr().err


@pytest.mark.long
def test_it_runs_seed_by_seed_and_goes_on(small, tmp_path, capfd):
    campaign_settings = campaign.read(small)
    planned = [(variant, seed) for variant, seed, _ in campaign.runs(campaign_settings, [])]
    assert planned == [("short", 0), ("long", 0), ("short", 1), ("long", 1)]
    campaign.run(campaign_settings | {"seeds": [0]}, [])
    assert "run 2 of 2: long, seed 0" in capfd.readouterr().out
    for name, questions in (("short-0", 4), ("long-0", 6)):
        lines = (tmp_path / "results" / f"small-{name}" / "data" / "train.jsonl").read_text().splitlines()
        assert len(lines) == questions
    campaign.run(campaign_settings | {"seeds": [0]}, [])
    assert capfd.readouterr().out.count("up to date, skipped") == 2


def test_the_table_has_means_and_ranges_of_finished_seeds(small, tmp_path, capsys):
    for name, mae in (("short-0", 0.5), ("short-1", 0.7), ("long-0", 0.4)):
        write_json(tmp_path / "results" / f"small-{name}" / "eval" / "sft" / "LaMP_3.json",
                   {"scores": {"n": 9, "lenient": {"mae": mae, "rmse": 1.0}}})
    campaign.main([small, "--table"])
    printed = capsys.readouterr().out
    assert "| short | sft | 2 | 0.600 (0.500 to 0.700) |" in printed
    assert "| long | sft | 1 | 0.400 (0.400 to 0.400) |" in printed
    assert (tmp_path / "results" / "small.md").read_text().strip() in printed
    campaign.main([small, "--table", "--name", "other"])  # the same campaign on other data, beside it
    assert "short" not in capsys.readouterr().out and (tmp_path / "results" / "other.md").is_file()


def test_the_differences_over_seeds_stand_below_the_table(small, tmp_path, capsys):
    for variant, rating in (("short", "4"), ("long", "5")):
        for seed in (0, 1):
            rows = [{"id": f"q{n}", "user": f"u{n}", "input": f"seed {seed}", "gold": "5", "answer": answer}
                    for n, answer in enumerate([rating] * 5 + ["3"] * (1 + seed))]
            write_json(tmp_path / "results" / f"small-{variant}-{seed}" / "eval" / "sft" / "LaMP_3.json",
                       {"scores": {"n": 6, "lenient": {"mae": 0.5}}, "predictions": rows})
    campaign.main([small, "--table"])
    text = capsys.readouterr().out
    # Five of six gain a quarter, then five of seven: 0.208 and 0.179.
    assert "| sft: long − short " in text and "**+0.193**" in text and "+0.208, +0.179" in text
    assert (tmp_path / "results" / "small.md").read_text().strip() == text.strip()
    page = (tmp_path / "results" / "small.html").read_text()
    assert "<b>+0.193</b>" in page and "sft; lamp.train_limit=6 tag.words=40" in page


@pytest.mark.parametrize("text, says", [("seeds: [0]", "`variants` is missing"), ("variants: [", "not YAML"),
                                        ("variants: {a: {}}\nsteps: [nap]", "unknown step 'nap'"),
                                        ("variants: {a: {}}\nsteps: [[]]", "unknown step"),
                                        ("variants: {}", "`variants` is empty")])
def test_a_bad_file_is_one_line(tmp_path, text, says):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        campaign.read(str(path))


def test_a_wrong_setting_is_said_before_anything_runs(small, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        campaign.main([small, "lamp.user=3"])
    assert stop.value.code == 2 and "unknown key 'lamp.user'" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    with pytest.raises(UserError, match="known: learning, prmu, proof, proof_tiny, robustness"):
        campaign.read("nothing")


@pytest.mark.long
def test_variants_share_what_their_settings_do_not_touch(small, tmp_path, capfd):
    campaign_settings = campaign.read(small) | {"seeds": [0], "share": True}
    campaign_settings["steps"] = ["prepare", "tag"]
    campaign_settings["settings"]["lamp"] |= {"dev_limit": 2, "mini_users": 4}
    campaign_settings["variants"] = {"short": {}, "long": {"tag": {"words": 299}}}
    campaign.run(campaign_settings, [])
    second_run = capfd.readouterr().out.partition("run 2 of 2")[2]
    assert "[prepare] up to date, skipped" in second_run and "[tag] done" in second_run
    # The second run has a copy of its own: to change it does not change the first one.
    (tmp_path / "results" / "small-long-0" / "data" / "train.jsonl").write_text("")
    assert (tmp_path / "results" / "small-short-0" / "data" / "train.jsonl").stat().st_size


def test_a_run_begins_without_the_scores_of_the_first_one(tmp_path):
    """Else the table would show them as its own until its evaluation is done."""
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("eval/sft/LaMP_3.json", "manifests/evaluate.json", "manifests/sft.json", "prmu/report.json",
                 "samples/sft@greedy.jsonl"):
        write_json(first / name, {})
    (first / "report.md").write_text("# scores")
    campaign.begin_with(first, second)
    copied = sorted(str(path.relative_to(second)) for path in second.rglob("*") if path.is_file())
    assert copied == ["manifests/sft.json", "prmu/report.json", "samples/sft@greedy.jsonl"]


def test_curves_are_of_the_runs_that_have_both_stages(small, tmp_path):
    """A campaign may have variants without GRPO; they hold up neither the table nor the curves."""
    rows = [{"step": stage, "index": index, "reward": 0.5, "task": 0.4, "tag": 0.3}
            for stage in ("guided", "explore") for index in (0, 1)]
    write_jsonl(tmp_path / "results" / "small-short-0" / "metrics.jsonl", rows)
    write_jsonl(tmp_path / "results" / "small-long-0" / "metrics.jsonl", rows[:2])
    campaign.main([small, "--table"])
    curves = (tmp_path / "results" / "small.svg").read_text()
    assert "small-short-0" in curves and "small-long-0" not in curves


# ---------------------------------------------------------------- side by side

# A step that adds its run's name to the file `history` of the run's folder, and fails where it is told to.
INVENTED = """
import sys
from pathlib import Path
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
results = Path(words["results"])
if words["name"] in (results / "fail").read_text():
    sys.exit("error: bad luck")
(results / words["name"]).mkdir(exist_ok=True)
with open(results / words["name"] / "history", "a") as stream:
    stream.write(words["name"].removeprefix("invented-") + " ")
"""


@pytest.fixture
def invented(tmp_path, monkeypatch):
    """A campaign of two seeds and three variants that share the one step, which is INVENTED. Returns its file
    and what reads the history of a run: "a-0 b-0 " of b-0 that has begun as a copy of a-0."""
    (tmp_path / "invented_step.py").write_text(INVENTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(campaign, "STEPS", {"sft": StepInfo("invented_step", "")})
    results = tmp_path / "results"
    results.mkdir()
    (results / "fail").write_text("")
    path = tmp_path / "invented.yaml"
    path.write_text(f"preset: smoke\nseeds: [0, 1]\nsteps: [sft]\nshare: true\n"
                    f"settings: {{results: {results}}}\nvariants: {{a: {{}}, b: {{}}, c: {{}}}}\n")

    def history(name):
        file = results / f"invented-{name}" / "history"
        return file.read_text() if file.exists() else None
    return str(path), history, results


@pytest.mark.parametrize("at_once", [1, 2, 6])
def test_a_run_begins_as_a_copy_of_its_seeds_first_one_when_that_is_done(invented, at_once, capsys):
    path, history, _ = invented
    campaign.main([path, "--at-once", str(at_once)])
    for seed in (0, 1):
        assert history(f"a-{seed}") == f"a-{seed} "
        assert history(f"b-{seed}") == f"a-{seed} b-{seed} " and history(f"c-{seed}") == f"a-{seed} c-{seed} "
    printed = capsys.readouterr().out
    assert ("b-1 | [invented] run 5 of 6: b, seed 1\n" if at_once > 1 else
            "[invented] run 5 of 6: b, seed 1\n") in printed


@pytest.mark.parametrize("at_once", ["1", "3"])
def test_a_run_that_fails_stops_no_other_and_the_same_command_goes_on_with_it(invented, at_once, capsys):
    path, history, results = invented
    (results / "fail").write_text("invented-a-0 invented-c-1")
    with pytest.raises(SystemExit) as stop:
        campaign.main([path, "--at-once", at_once])
    assert stop.value.code == 2
    *each, last = capsys.readouterr().err.splitlines()
    assert last == "error: 2 of 6 runs failed: a-0, c-1; the same command goes on with them"
    assert each[0].startswith("a-0: step sft ended with exit code 1") and each[1].startswith("c-1: ")
    # Of seed 0 the next run takes the first one's place.
    assert [history(f"{name}-0") for name in "abc"] == [None, "b-0 ", "b-0 c-0 "]
    (results / "fail").write_text("")
    campaign.main([path, "--at-once", at_once])
    assert history("a-0") == "a-0 " and history("c-1") == "a-1 c-1 "


def test_a_run_that_has_begun_waits_for_no_other_and_what_all_share_is_written_by_one(invented, monkeypatch):
    path, _, results = invented
    first, second, _, first_of_other, *_ = campaign.planned_runs(campaign.read(path), [])
    assert first.may_begin() and first_of_other.may_begin() and not second.may_begin()
    (results / "invented-b-0").mkdir()
    assert second.may_begin()
    asked = []
    monkeypatch.setattr(campaign, "run_all", lambda jobs, places, one_at_a_time: asked.append(one_at_a_time))
    assert campaign.run(campaign.read(path), []) == [] and asked == [("prepare", "tag")]


def test_two_runs_with_one_folder_are_refused(invented):
    path, history, _ = invented
    with pytest.raises(UserError, match="two runs.*invented-a-0.*a seed or a variant twice"):
        campaign.run(campaign.read(path) | {"seeds": [0, 0]}, [])
    assert history("a-0") is None


def test_cards_and_at_once_exclude_each_other_and_bad_ones_are_one_line(invented, capsys):
    path, history, _ = invented
    for words, says in ((["--cards", "2", "--at-once", "2"], "not allowed with"),
                        (["--cards", "x"], "--cards x"), (["--cards", "77"], "no card"),
                        (["--at-once", "0"], "at least one run")):
        with pytest.raises(SystemExit) as stop:
            campaign.main([path, *words])
        assert stop.value.code == 2 and says in capsys.readouterr().err
    assert history("a-0") is None


@pytest.mark.long
def test_files_are_those_of_the_runs_one_after_another(tmp_path):
    """Two variants that share, of two seeds, with the real steps: file by file, but for the times."""
    settings = {"preset": "smoke", "seeds": [0, 1], "share": True, "steps": list(campaign.STEPS), "name": "c",
                "settings": {}, "variants": {"full": {}, "blind": {"reward": {"blind": True}}}}
    words = [*kills.SHORT, f"results={tmp_path / 'results'}"]
    campaign.run(settings, words)
    shutil.move(tmp_path / "results", tmp_path / "before")
    campaign.run(settings, words, places_on_cores(2))
    for name in ("c-full-0", "c-blind-0", "c-full-1", "c-blind-1"):
        before, after = tmp_path / "before" / name, tmp_path / "results" / name
        for file in kills.differences(before, after):
            # What was copied and is made anew is kept, with its times. A report is kept under the hash of
            # what it was made from, which has times too.
            assert file.startswith(".kept/"), file
            assert file.startswith(".kept/report-") or (kills.comparable(before, file)
                                                        == kills.comparable(after, file)), file
