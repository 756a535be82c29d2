"""Words that nobody meant: each is a setting or one short line, never a traceback, and never slow."""
import random
import time

import pytest
import yaml

from tagpr_lite import config

KEYS = [key for key, _, _ in config.fields()]
ODD = ["", " ", "0", "-1", "1", "7", "1.5", "-0.5", "1e999", "-1e999", "nan", ".nan", ".inf", "1e-400",
       "9" * 400, "9" * 5000, "true", "no", "null", "~", "[]", "{}", "[1]", "[a, b]", "[[]]", "{a: 1}",
       "{default: 3}", "{a: {b: 1}}", "{default: -3}", "{default: 1.5}", "[" * 3000, "{a: " * 900,
       "!!python/object:os.system x", "!!float x", "&a [*a]", "{a: &a [1], b: *a}", "2026-02-30",
       "2026-02-28", "0x10", "1_000", "'", '"', "\\", "\x00", "\x1b[31m", "\u202e", "\ud83d", "x" * 10000,
       "../../x", "/etc/passwd", "a/b", ".", "..", "a\nb", "=", "a=b", "#", "- a", "? a", "|", ">", "%",
       "@", "`", "*", "&", "LaMP_3", "sft", "explore@vote8", "cpu", "http://x:1/v1"]


def change(key, rng):
    """A key with one character dropped, doubled or replaced."""
    place = rng.randrange(len(key))
    return key[:place] + rng.choice(["", key[place] * 2, rng.choice("abcxyz._-")]) + key[place + 1:]


def outcome(words):
    """"read" or "refused"; whatever else an error is comes through."""
    started = time.process_time()
    try:
        conf = config.load("smoke", words)
        config.from_dict(config.to_dict(conf))
        assert isinstance(str(conf.folder), str)
        result = "read"
    except config.UserError as error:
        line = str(error)
        assert line and "\n" not in line and len(line) < 1000, (words, line[:300])
        result = "refused"
    assert time.process_time() - started < 5, words
    return result


WORDS = [f"{key}={value}" for key in KEYS for value in ODD]


def test_a_thousand_odd_words():
    outcomes = [outcome([word]) for word in random.Random(0).sample(WORDS, 1000)]
    assert outcomes.count("read") > 100 and outcomes.count("refused") > 300


@pytest.mark.long
def test_every_setting_with_every_odd_value():
    """Some eight thousand words, two minutes and a half."""
    outcomes = [outcome([word]) for word in WORDS]
    assert len(outcomes) > 8000
    assert outcomes.count("read") > 1000 and outcomes.count("refused") > 3000


@pytest.mark.parametrize("seed", range(2))
def test_names_that_are_none_and_words_without_sense(seed):
    rng = random.Random(seed)
    for _ in range(300):
        key = change(rng.choice(KEYS), rng)
        words = [f"{key}={rng.choice(ODD)}" if rng.random() < 0.8 else rng.choice([key, *ODD])
                 for _ in range(rng.randint(1, 3))]
        outcome(words)


@pytest.mark.parametrize("seed", range(3))
def test_presets_with_a_value_changed(tmp_path, seed):
    rng = random.Random(seed)
    text = (config.PRESETS / "cpu.yaml").read_text()
    for n in range(200):
        path = tmp_path / f"p{n}.yaml"
        cut, more = rng.randrange(len(text)), rng.choice([*ODD, "", "\t", ":", "- "])
        changed = text[:cut] + more + text[cut + rng.choice([0, 0, 1, 20]):]
        path.write_bytes(changed.encode("utf-8", "surrogatepass"))
        try:
            config.load(str(path), [])
        except config.UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 2500


def test_the_odd_values_are_odd():
    """At least a third of them are no YAML, or no word."""
    strange = 0
    for value in ODD:
        try:
            strange += not isinstance(yaml.safe_load(value), str)
        except Exception:
            strange += 1
    assert strange > len(ODD) / 3
