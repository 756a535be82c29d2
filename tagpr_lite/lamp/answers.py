"""How an answer is read out of what a model wrote. Ours: official LaMP compares the raw string (scorer.py,
`strict`).

    reference   "The answer is [2]."                 [2]         a citation
    label       "a dark comedy, I think"             dark comedy the other choices
    rating      "on a scale of 1 to 5 I give it 2"   2           a rating
    line        'Title: "Late trains"'               Late trains a text

Every reader returns the answer in the gold's form, or None. None of them guesses, because an answer that is
not there must earn nothing. Chinese is our extension. It has other markers and number words, and no word
boundaries.
"""
from __future__ import annotations

import re

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
LINE_NAME = re.compile(rf"^[\s*_#]*(?:{LINE_NAMES})\s*[*_]*[:：][*_]*", re.IGNORECASE)


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
    """The label named earliest, the longest of those that begin there; case, hyphens and spaces do not
    matter."""
    candidates = []  # (where it begins, minus its length, label): the least is the answer
    for name in labels:
        pattern = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]", name)))
        if name.isascii():  # a word of its own; Chinese is written without spaces
            pattern = rf"(?<![a-zA-Z0-9_]){pattern}(?![a-zA-Z0-9_])"
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            candidates.append((match.start(), -len(name), name))
    return min(candidates)[2] if candidates else None


def rating(text: str, low: int = 1, high: int = 5) -> str | None:
    """A number in low..high, rounded to a whole one; a scale is no rating ("1 to 5", "/5"), nor is a rating
    on another scale ("7/10" where high is 5)."""
    # Scales that are written out, then ratings on another scale, and the "/5" after a rating.
    text = re.sub(rf"1, 2, 3, 4,? or 5|1、2、3、4或5|\b{low} ?(?:to|-|–|到|至) ?{high}(?![0-9])", " ", text)
    other_scale = rf"[0-9.]+ *(?:/|out of) *(?!{high}(?![0-9]))[0-9]+"
    text = re.sub(rf"{other_scale}|(?:/|out of) *{high}(?![0-9])", " ", text)

    for number in NUMBER.findall(text):
        if low <= float(number) <= high:
            return str(int(float(number) + 0.5))
    word = ENGLISH_RATING.match(text) or CHINESE_RATING.match(text)
    if not word:
        return None
    number = NUMBER_WORDS[word.group(1).lower()]
    return number if low <= int(number) <= high else None


def line(text: str) -> str | None:
    """The first line that holds anything, without a "Title:" before it and quotation marks around it."""
    for written in text.splitlines():
        content = LINE_NAME.sub("", written).strip()
        while len(content) > 1 and content[0] + content[-1] in QUOTES:
            content = content[1:-1].strip()
        if content:
            return content
    return None
