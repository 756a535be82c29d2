"""How an answer is read out of what a model wrote: the one reader of rewards, scores and filters. Ours:
official LaMP compares the raw string (scorer.py, `strict`).

    answer_of   "<think>2 is low</think> 5"      5           what follows the thought
    reference   "The answer is [2]."             [2]         a citation
    label       "a dark comedy, I think"         dark comedy the other choices
    rating      "on a scale of 1 to 5 I give it 2"   2       a rating
    line        'Title: "Late trains"'           Late trains a text of one line
    whole       'Tweet: one line\nand another'   both lines  a text of several

Every reader returns the answer in the gold's form, or None. None of them guesses, because an answer that is
not there must earn nothing. Chinese is our extension. It has other markers and number words, and no word
boundaries.
"""
from __future__ import annotations

import re
from string import punctuation, whitespace

from .words import MARKS, UNSPACED

THOUGHT_MARK = re.compile(r"</?(?i:think|thinking)>|\[/?THINK\]")
# "Answer: x", "**Score**: x", "the tag is x": what follows the last marker is the answer.
MARKER = re.compile(r"\b(?:answer|score|rating|tag)\b[\s*_\"']*(?:is\b|:|=)"
                    r"|(?:答案|评分|打分|标签)\s*\**\s*(?:是|为|：|:)", re.IGNORECASE)
NUMBER_WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
                "一": "1", "二": "2", "两": "2", "三": "3", "四": "4", "五": "5"}
LINE_NAMES = (r"(?:(?:the|new|paraphrased?) )*(?:title|headline|subject|tweet|paraphrase|review|answer)"
              r"|标题|题目|主题|推文|评论|答案")
QUOTES = ('""', "''", "“”", "**", "__", "``", "《》", "「」")
BOTH_REFERENCES = re.compile(r"\[[12]\]\s*(?:or|and|/|或|和)\s*\[[12]\]")
BARE_REFERENCE = re.compile(r"\W*(?:(?:option|reference|number)\W*)?([12])(?![0-9])(?!\.[0-9])",
                            re.IGNORECASE)
NUMBER = re.compile(r"(?<![a-zA-Z0-9_.-])[0-9]{1,9}(?:\.[0-9]{1,9})?(?![0-9])")
ENGLISH_RATING = re.compile(r"\W*(one|two|three|four|five)\b(?:\W*$|\s+(?:stars?|out)\b)", re.IGNORECASE)
CHINESE_RATING = re.compile(r"\W*([一二两三四五])(?:\W*$|[颗]?[星分])")
BLANKS_AND_MARKS = whitespace + punctuation + "“”《》「」。，！？…"
LINE_NAME = re.compile(rf"^[\s*_#]*(?:{LINE_NAMES})\s*[*_]*[:：][*_]*", re.IGNORECASE)


def answer_of(text: str) -> str:
    """What stands after the last closing mark of a thought. A text without a thought is all answer (a system
    that does not reason); one whose last thought is never closed has none: ""."""
    answer = text
    for mark in THOUGHT_MARK.finditer(text):
        is_closing = mark[0][1] == "/"
        answer = text[mark.end():] if is_closing else ""
    return answer.strip()


def after_marker(text: str) -> str:
    """What follows the last marker; the whole text when there is no marker or nothing after it."""
    end = 0
    for marker in MARKER.finditer(text):
        end = marker.end()
    after = text[end:]
    return after if after.strip() else text


def reference(text: str) -> str | None:
    """[1] or [2]. Naming both decides for the first only when it opens the text ("[1], because [2] is
    ...")."""
    if BOTH_REFERENCES.search(text):
        return None
    bracketed = re.findall(r"\[([12])\]", text)
    opens_the_text = re.match(r"\W*[12]\]", text)
    if bracketed:
        is_clear = len(set(bracketed)) == 1 or opens_the_text
        return f"[{bracketed[0]}]" if is_clear else None
    if opens_the_text:  # by half a bracket, "1]"
        return None
    bare = BARE_REFERENCE.match(text)
    return f"[{bare.group(1)}]" if bare else None


def label(text: str, labels: tuple[str, ...]) -> str | None:
    """The label that the answer is; else the one named earliest after the last marker, the longest of those
    that begin there. Case, hyphens and spaces do not matter, unless two labels differ in nothing else."""
    # 1. The whole text, or all that follows a marker, is a label: "score: high" where a label is called so.
    for start in [0, *(marker.end() for marker in MARKER.finditer(text))]:
        for written in (text[start:].strip(), bare(text[start:])):
            if written in labels:
                return written

    # 2. A label is named in a sentence.
    text = after_marker(text)
    candidates = []  # (where it begins, minus its length, whether its case differs, label): the least is it
    for name in labels:
        match = re.search(label_pattern(name), text, re.IGNORECASE)
        if match:
            candidates.append((match.start(), -len(name), match[0] != name, name))
    return min(candidates)[-1] if candidates else None


def label_pattern(name: str) -> str:
    """Finds a label as words of their own. Where a script is written without spaces there are none."""
    in_word = rf"(?:(?![{UNSPACED}])\w|[{MARKS}])"
    begins = "" if re.match(f"[{UNSPACED}]", name) else rf"(?<!{in_word})"
    ends = "" if re.search(f"[{UNSPACED}]$", name) else rf"(?!{in_word})"
    return begins + r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", name))) + ends


def bare(text: str) -> str:
    """A text without the quotation marks, asterisks and full stop that stand around it."""
    text = text.strip()
    while True:
        if len(text) > 1 and text[0] + text[-1] in QUOTES:
            shorter = text[1:-1].strip()
        else:
            shorter = text.rstrip(".。").strip()
        if shorter == text:
            return text
        text = shorter


def rating(text: str, low: int = 1, high: int = 5) -> str | None:
    """A number in low..high, rounded to a whole one; a scale is no rating ("1 to 5", "/5"), nor is a rating
    on another scale ("7/10" where high is 5)."""
    in_range = ratings(text, low, high)
    if in_range:
        return in_range[0]
    text = without_scales(text, low, high)
    word = ENGLISH_RATING.match(text) or CHINESE_RATING.match(text)
    if not word:
        return None
    number = NUMBER_WORDS[word.group(1).lower()]
    return number if low <= int(number) <= high else None


def ratings(text: str, low: int, high: int) -> list[str]:
    """All that `rating` could be where ratings are written in digits, in order."""
    numbers = map(float, NUMBER.findall(without_scales(text, low, high)))
    return [str(int(number + 0.5)) for number in numbers if low <= number <= high]


def without_scales(text: str, low: int, high: int) -> str:
    """The text without scales that are written out, ratings on another scale, and the "/5" of a rating."""
    text = re.sub(rf"1, 2, 3, 4,? or 5|1、2、3、4或5|\b{low} ?(?:to|-|–|到|至) ?{high}(?![0-9])", " ", text)
    other_scale = rf"[0-9.]+ *(?:/|out of) *(?!{high}(?![0-9]))[0-9]+"
    return re.sub(rf"{other_scale}|(?:/|out of) *{high}(?![0-9])", " ", text)


def line(text: str) -> str | None:
    """The first line that holds anything, without a "Title:" before it and quotation marks around it."""
    for written in without_lead_in(text).splitlines():
        if content := unquoted(written):
            return content
    return None


def whole(text: str) -> str | None:
    """All lines, without a "Tweet:" before the first and quotation marks around them."""
    return unquoted(without_lead_in(text)) or None


def without_lead_in(text: str) -> str:
    """The text without "Title:" before it, unless nothing but marks follows: "review:." is all there is."""
    rest = LINE_NAME.sub("", text)
    return rest if rest.strip(BLANKS_AND_MARKS) else text


def unquoted(text: str) -> str:
    """The text without white space and pairs of quotation marks or asterisks around it."""
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in QUOTES:
        text = text[1:-1].strip()
    return text
