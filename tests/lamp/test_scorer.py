import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error

from tagpr_lite.config import UserError
from tagpr_lite.lamp.official.files import read_outputs
from tagpr_lite.lamp.scorer import item_reward, score, words_counted
from tagpr_lite.lamp.tasks import OFFICIAL, TASKS, Task
from tagpr_lite.lamp.words import words_of

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"
NAMES = {"MAE": "mae", "RMSE": "rmse", "rouge-1": "rouge1", "rouge-L": "rougeL"}


def ids(*answers):
    return {str(n): a for n, a in enumerate(answers)}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden scores are not here")
@pytest.mark.parametrize("task", OFFICIAL)
def test_strict_is_the_official_evaluation(task):
    expected = json.loads((GOLDEN / "expected.json").read_text())[task]
    task_field, golds = read_outputs(GOLDEN / f"{task}_golds.json")
    _, preds = read_outputs(GOLDEN / f"{task}_preds.json")
    got = score(TASKS[task], golds, preds)
    assert task_field == task and got["n"] == len(golds)
    for name, value in expected.items():
        if isinstance(value, float):
            assert got["strict"][NAMES.get(name, name)] == pytest.approx(value, abs=1e-9)


def test_choice_by_hand():
    got = score(TASKS["LaMP_1"], ids("[1]", "[1]", "[2]", "[2]"), ids("[1]", "Answer: [1]", "[1]", ""))
    # strict: hits 1 of 4; class 1: tp 1, gold 2, pred 2 -> .5; class 2: no prediction -> 0
    assert got["strict"] == {"accuracy": 0.25, "f1": 0.25}
    # lenient: hits 2; class 1: tp 2, gold 2, pred 3 -> .8
    assert got["lenient"] == {"accuracy": 0.5, "f1": pytest.approx(0.4)}
    assert got["parse_failure"] == 0.25


def test_macro_f1_divides_by_absent_classes_too():
    tags = ids("comedy", "action", "classic")
    assert score(TASKS["LaMP_2"], tags, tags)["strict"] == {"accuracy": 1.0, "f1": pytest.approx(3 / 15)}


def test_rating_by_hand():
    got = score(TASKS["LaMP_3"], ids("5", "3", "1", "4"), ids("4 stars", "", "10", "4.0"))
    # strict: "4 stars" is unparsable: 1 is farther from 5, error 4; "" against 3: 5, error 2; 10: error 9; 0
    assert got["strict"]["mae"] == pytest.approx(15 / 4)
    assert got["strict"]["rmse"] == pytest.approx(math.sqrt((16 + 4 + 81) / 4))
    # lenient: 1, 2, and 10 is no answer: 5, error 4
    assert got["lenient"]["mae"] == pytest.approx(7 / 4) and got["parse_failure"] == 0.5


@pytest.mark.parametrize("answer", ["nan", "inf", "-Infinity", "9" * 200, "1e999"])
def test_numbers_that_break_the_official_metric_are_unparsable(answer):
    assert score(TASKS["LaMP_3"], ids("2"), ids(answer))["strict"] == {"mae": 3.0, "rmse": 3.0}


def test_rouge_by_hand():
    got = score(TASKS["LaMP_4"], ids("the cat sat down"), ids('Title: "Sat the cat"'))
    # lenient: 3 common words of 4 and 3: F = 6/7; the longest common subsequence is "the cat": F = 4/7
    assert got["lenient"] == {"rouge1": pytest.approx(6 / 7), "rougeL": pytest.approx(4 / 7)}
    assert got["strict"]["rouge1"] == pytest.approx(6 / 8)
    # The official tokeniser drops Chinese characters.
    assert score(TASKS["LaMP_7"], ids("完全不同"), ids("完全不同"))["strict"]["rouge1"] == 0


def test_interval_is_seeded_and_holds_the_mean():
    golds, preds = ids(*"1234512345"), ids(*"1133512245")
    one, two = score(TASKS["LaMP_3"], golds, preds), score(TASKS["LaMP_3"], golds, preds)
    low, high = one["interval"]["mae"]
    assert one == two and low < one["lenient"]["mae"] < high
    assert score(TASKS["LaMP_3"], golds, golds)["interval"] == {"mae": [0.0, 0.0]}


@pytest.mark.parametrize("golds, preds, said", [
    (ids(), ids(), "nothing to score"), (ids("5", "4"), ids("5"), "1 missing ids in the predictions: 1"),
    (ids("5"), ids("5", "4", "4"), "2 unknown ids in the predictions: 1, 2")])
def test_the_id_sets_must_agree(golds, preds, said):
    with pytest.raises(UserError, match=said):
        score(TASKS["LaMP_3"], golds, preds)


def test_item_reward_by_hand():
    assert [item_reward(TASKS["LaMP_1"], a, "[2]")
            for a in ("[2]", "so [2]", "[1]", "", None)] == [1, 1, 0, 0, 0]
    assert [item_reward(TASKS["LaMP_3"], a, "5")
            for a in ("5", "4 stars", "1", "10", None)] == [1, 0.75, 0, 0, 0]
    assert item_reward(TASKS["LaMP_5"], "Sat the cat",
                       "the cat sat down") == pytest.approx((6 / 7 + 4 / 7) / 2)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(TASKS)), st.data())
def test_scores_and_rewards_stay_in_range(task, data):
    t = TASKS[task]
    answer = st.one_of(st.sampled_from(t.labels or ("a cat", "the sea")), st.text(max_size=30))
    golds = ids(*data.draw(st.lists(st.sampled_from(t.labels or ("A cat!", "the sea")), min_size=1,
                                    max_size=6)))
    preds = {i: data.draw(answer) for i in golds}
    got = score(TASKS[task], golds, preds)
    top = 4 if t.kind == "rating" else 1
    assert all(0 <= v <= top + 1e-9 for v in got["lenient"].values())
    assert all(math.isfinite(v) and v >= 0 for v in got["strict"].values())
    assert all(0 <= low <= high <= top + 1e-9 for low, high in got["interval"].values())
    assert 0 <= got["parse_failure"] <= 1
    if t.kind == "choice":  # a raw hit is also a hit after reading
        assert got["lenient"]["accuracy"] >= got["strict"]["accuracy"]
    assert all(0 <= item_reward(TASKS[task], preds[i], golds[i]) <= 1 + 1e-9 for i in golds)
    assert all(item_reward(TASKS[task], g, g) == pytest.approx(1) for g in golds.values())


def test_the_command_prints_one_object_and_exits_2_on_bad_input(tmp_path):
    golds, preds = tmp_path / "g.json", tmp_path / "p.json"
    golds.write_text(json.dumps({"task": "LaMP_3",
                                 "golds": [{"id": "1", "output": "5"}, {"id": "2", "output": "4"}]}))
    preds.write_text(json.dumps({"task": "LaMP-3",
                                 "golds": [{"id": "2", "output": "4"}, {"id": "1", "output": "4"}]}))

    def run(*extra):
        return subprocess.run([sys.executable, "-m", "tagpr_lite.score", "--golds", str(golds),
                               "--preds", str(preds), *extra],
                              capture_output=True, text=True, cwd=ROOT, check=False)

    good = run()
    assert good.returncode == 0 and json.loads(good.stdout)["strict"]["mae"] == 0.5
    preds.write_text(preds.read_text().replace('"1"', '"3"'))
    bad = run()
    assert bad.returncode == 2 and bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1


def test_chinese_is_scored_by_characters_and_only_for_chinese_tasks():
    got = score(TASKS["LaMP_4_zh"], ids("雨夜归人 2024"), ids("归人雨夜 2024"))["strict"]
    assert got["rouge1"] == 1 and got["rougeL"] == pytest.approx(3 / 5)  # 5 tokens, of which 3 are in order
    # As in the official evaluation.
    assert score(TASKS["LaMP_4"], ids("雨夜归人"), ids("雨夜归人"))["strict"]["rouge1"] == 0


MESSY = st.one_of(st.sampled_from(["[1]", " [2]", "comedy", "Comedy", "dark comedy ", "4", "4.7", "4 stars",
                                   "", "10", "-1", "5 ", "a new way to sing", "A new, old way!", "雨夜"]),
                  st.text(max_size=12))


@pytest.mark.parametrize("task", OFFICIAL)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_strict_equals_the_official_rules_on_unseen_files(task, data):
    """What the official script does, by scikit-learn and rouge_score, which it calls."""
    labels = TASKS[task].labels
    gold = data.draw(st.lists(st.sampled_from(labels) if labels
                              else st.sampled_from(["a new way", "Sing!", "old"]), min_size=1, max_size=12))
    pred = data.draw(st.lists(MESSY, min_size=len(gold), max_size=len(gold)))
    got = score(TASKS[task], ids(*gold), ids(*pred))["strict"]
    if TASKS[task].kind == "choice":
        g, p = ([labels.index(a.strip()) if a.strip() in labels else -1 for a in x] for x in (gold, pred))
        want = {"accuracy": accuracy_score(g, p),
                "f1": f1_score(g, p, labels=list(range(len(labels))), average="macro", zero_division=0)}
    elif TASKS[task].kind == "rating":
        def number(answer, of):
            try:
                value = float(np.float32(answer.strip()))
                assert np.isfinite(value)
                return value
            except (ValueError, AssertionError):
                return 1.0 if abs(1 - of) > abs(5 - of) else 5.0
        g = [float(a) for a in gold]
        p = [number(a, of) for a, of in zip(pred, g)]
        want = {"mae": mean_absolute_error(g, p), "rmse": mean_squared_error(g, p) ** 0.5}
    else:
        plain = RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
        each = [plain.score(a.strip(), b.strip()) for a, b in zip(gold, pred)]
        want = {name: sum(e[name].fmeasure for e in each) / len(each) for name in ("rouge1", "rougeL")}
    assert got == pytest.approx(want, abs=1e-9)


# ---------------------------------------------------------------- a gold is its own best answer

TEXT_TASKS = [*(task for task in TASKS.values() if task.kind == "text"),
              Task("notes", "notes", "text", "Write."),
              Task("notes_zh", "notes", "text", "写", language="zh")]
LEAD_INS = ["", "Review: ", "Title: ", "Answer: ", "answer:", "new tweet: ", "Subject: Title: ",
            "**Headline:** ", "标题：", "The answer: ", "# Title: ", "Review:\n", "Note: "]
AROUND = ["{}", '"{}"', "**{}**", "“{}”", "{}.", "《{}》", "{}\n", "__{}__", '"{}" and "more"']
WORDS = st.sampled_from(["line", "two", "cats", "the", "a", "8", "Answer", "title", "review:", "x's"])
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=4)
BREAKS = st.sampled_from(["\n", "\n\n", "\r\n", " \n \n", "\u2028"])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TEXT_TASKS), st.lists(st.sampled_from(LEAD_INS), max_size=2).map("".join),
       st.sampled_from(AROUND), LINES, BREAKS)
def test_a_gold_is_its_own_best_answer(task, lead_in, around, lines, line_break):
    gold = lead_in + around.format(line_break.join(lines))
    got = score(task, ids(gold), ids(gold))
    assert got["strict"] == got["lenient"] == {"rouge1": 1.0, "rougeL": 1.0} and got["parse_failure"] == 0
    assert item_reward(task, gold, gold) == 1.0
    # An answer that was read before is read alike.
    if not task.has_one_line or len(gold.strip().splitlines()) == 1:
        assert item_reward(task, task.parse_answer(gold), gold) == 1.0
    thought = f"<think>\nTitle: no\n</think>\n\n{gold}"
    assert score(task, ids(gold), ids(thought))["lenient"] == {"rouge1": 1.0, "rougeL": 1.0}


@given(st.sampled_from(TEXT_TASKS[-2:]), st.text(min_size=1).filter(lambda text: words_of(text.strip())))
def test_so_is_any_text_of_an_own_task(task, gold):
    got = score(task, ids(gold), ids(gold))
    assert got["strict"] == got["lenient"] == {"rouge1": 1.0, "rougeL": 1.0}


def test_what_a_gold_has_besides_is_not_lost():
    """An answer with the first of two lines is half right; what a model adds to one line is no fault."""
    notes = TEXT_TASKS[-2]
    assert item_reward(notes, "red wine", "red wine\ngood price") == pytest.approx(2 / 3)
    assert item_reward(TASKS["LaMP_4"], "Breaking", "Breaking\nstorm hits coast") == pytest.approx(0.4)
    assert item_reward(TASKS["LaMP_4"], "Storm hits\n\nThis headline is short.", "Storm hits") == 1
    assert item_reward(TASKS["LaMP_4"], 'Title: "Storm hits"', "Storm hits") == 1
    assert item_reward(TASKS["LaMP_4"], "Storm <think> hits", "Storm <think> hits") == 1  # about the mark


# ---------------------------------------------------------------- other scripts

SENTENCES = {"ru": ("Сухое вино с ароматом вишни", "Мокрый снег падает на город"),
             "hi": ("यह शराब बहुत मीठी है", "कल बारिश होगी शहर में"),
             "ja": ("とても甘いワインです", "明日は雨がふります"),
             "ko": ("아주 달콤한 와인", "내일 비가 온다"), "ar": ("نبيذ حلو جدا", "سوف تمطر غدا"),
             "el": ("πολύ γλυκό κρασί", "αύριο θα βρέξει"), "zh": ("很甜的酒", "明天城里下雨"),
             "th": ("ไวน์หวานมากกลิ่นเชอร์รี่", "พรุ่งนี้ฝนจะตกในเมือง"),
             "km": ("ស្រានេះផ្អែមណាស់", "ថ្ងៃស្អែកមានភ្លៀង"),
             "my": ("ဒီဝိုင်ကအရမ်းချိုတယ်", "မနက်ဖြန်မိုးရွာမယ်"),
             "lo": ("ເຫຼົ້ານີ້ຫວານຫຼາຍ", "ມື້ອື່ນຝົນຈະຕົກ"), "ta": ("மிகவும் இனிப்பு", "நாளை மழை"),
             "he": ("יין מתוק מאוד", "מחר ירד גשם"), "emoji": ("😀😀", "🍷")}


@pytest.mark.parametrize("script", SENTENCES)
@pytest.mark.parametrize("task", TEXT_TASKS[-2:], ids=lambda task: task.name)
def test_a_perfect_answer_scores_1_in_every_script_and_an_unrelated_one_about_0(task, script):
    gold, unrelated = SENTENCES[script]
    got = score(task, ids(gold), ids(gold))
    assert got["strict"] == got["lenient"] == {"rouge1": 1.0, "rougeL": 1.0}
    assert score(task, ids(gold), ids(unrelated))["lenient"]["rouge1"] < 0.2
    assert score(task, ids(gold), ids(gold.upper()))["strict"]["rougeL"] == 1


def test_the_official_words_are_for_the_official_tasks_alone():
    cafe = ids("Café"), ids("Caf")
    assert score(TASKS["LaMP_4"], *cafe)["strict"]["rouge1"] == 1  # é is dropped
    assert score(TASKS["shop_reviews"], *cafe)["strict"]["rouge1"] == 0
    in_ascii = {name for name, task in TASKS.items() if words_counted(task, "Café 2") == ["caf", "2"]}
    assert in_ascii == set(OFFICIAL)


def test_golds_and_predictions_that_are_numbers(tmp_path):
    """As the official script has them: str(prediction).strip(), and what is no number is the farther end."""
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({"task": "LaMP_3", "golds": [
        {"id": n, "output": output} for n, output in enumerate([4, 2.0, "3.0", None, True, 4.5])]}))
    _, preds = read_outputs(file)
    assert list(preds.values()) == ["4", "2", "3.0", "", "True", "4.5"]
    got = score(TASKS["LaMP_3"], ids("4", "2", "3", "5", "1", "4"), preds)
    assert got["strict"]["mae"] == (0 + 0 + 0 + 4 + 4 + 0.5) / 6 and got["parse_failure"] == 2 / 6
    assert score(TASKS["LaMP_3"], ids("4.0"), ids("4"))["lenient"]["mae"] == 0
